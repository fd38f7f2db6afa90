"""What the functions say: options by their keywords, commands as they are typed."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest

import probeline
from probeline.api.console import in_keywords
from probeline.errors import DownloadFailed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("choose --weights none or --image-size 64", "choose weights none or image_size 64"),
        (
            "run: curl --create-dirs -o a, or choose --weights none",
            "run: curl --create-dirs -o a, or choose weights none",
        ),
        (
            "run: probeline probe --limit 5; use less --batch-size",
            "run: probeline probe --limit 5; use less batch_size",
        ),
        ("a file of --groups, which --labels need not name", "a file of groups, which labels need not name"),
        ("well-known words -- and dashes - stay", "well-known words -- and dashes - stay"),
    ],
)
def test_options_are_called_as_a_function_calls_them(text: str, expected: str) -> None:
    assert in_keywords(text) == expected


def test_errors_name_keywords(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise DownloadFailed("cannot fetch the weights", remedy="choose --weights none or --weights PATH")

    monkeypatch.setattr("probeline.backbones.build.build", refuse)
    images = np.zeros((6, 32, 32, 3), np.uint8)
    options = {"labels": list("ababab"), "cache": tmp_path / "cache", "reports": tmp_path / "reports"}
    with pytest.raises(DownloadFailed, match=r"weights; choose weights none or weights PATH$"):
        probeline.extract(images, "resnet18", **options)


def test_functions_keep_their_signatures() -> None:
    for name in ("board", "compare", "curve", "doctor", "extract", "finetune", "probe", "probe_targets", "quality"):
        function = getattr(probeline, name)
        assert function.__name__ == name
        assert "verbose" in inspect.signature(function).parameters or name in ("board", "compare")
