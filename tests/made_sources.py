"""Data sets loaded by their specs, and pictures whose colour is their number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from probeline.data import registry
from probeline.data.source import LoadRequest, Subset
from probeline.files.memo import Memo
from probeline.types import DataSet
from small_runs import Listening


def load(spec: str, *, limit: int | None = None, memo: Path | None = None, **request: Any) -> DataSet:
    """Return the data set of a spec; downloads nothing, and remembers hashes only if `memo` is a file."""
    remembered = Memo(memo)
    facts = {"data": Path("nowhere"), "console": Listening(), "download": False, **request}
    dataset = registry.load(spec, LoadRequest(subset=Subset(limit), memo=remembered, **facts))
    remembered.save()
    return dataset


def make_pictures(root: Path, *names: str, size: int = 6) -> Path:
    """Make pictures below a folder, PNG or JPEG by their names; the red of each is its number."""
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        picture(number, size).save(root / name)
    return root


def picture(number: int, size: int = 6) -> Image.Image:
    """Return a picture of one colour whose red is `number`."""
    return Image.new("RGB", (size, size + 2), (number, 9, 90))
