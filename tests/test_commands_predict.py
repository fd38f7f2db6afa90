"""Predict: the classes that a stock net itself names, held against torchvision's own transforms and plain softmax."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from probeline.backbones import build
from probeline.backbones import torchvision_import as vision
from probeline.backbones.build import random_net
from probeline.backbones.frozen import Normalize
from probeline.backbones.weights import published
from probeline.cli import program as cli
from probeline.commands import predict
from probeline.errors import BadData, BadOption, UnknownName
from probeline.export.loading import load_stock
from probeline.session import Session
from small_runs import Listening, configuration, make_photos
from variants import slow_after

NET = "squeezenet1_1"

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def stock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random tensors in the place of the published weights' file, whose hash is not asked for."""
    name = vision.models().get_model_weights(NET)["IMAGENET1K_V1"].url.rsplit("/", 1)[-1]
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(random_net(NET, 3).state_dict(), folder / name)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(published, "check_file_hash", lambda *_: None)


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    return sorted(make_photos(tmp_path / "photos", n=2).rglob("*.jpg"))


def told(tmp_path: Path, photos: Sequence[Path | str], **options: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return what the stage returns, and the JSON lines it says."""
    console = options.pop("console", Listening())
    words = tuple(map(str, photos))
    asked = {"imagenet": True, "weights": "IMAGENET1K_V1", "image_size": None, "format": "jsonl", "words": words}
    found = predict.run(Session(configuration(tmp_path / "cache", console=console, **{**asked, **options})))
    return found, [json.loads(line) for line in console.said]


@pytest.mark.usefixtures("stock")
def test_the_five_likeliest_are_those_of_the_stock_net(tmp_path: Path, photos: list[Path]) -> None:
    found, lines = told(tmp_path, photos)
    weights = vision.models().get_model_weights(NET)["IMAGENET1K_V1"]
    names, net = weights.meta["categories"], random_net(NET, 3).eval()
    assert found == {"backbone": NET, "weights": "IMAGENET1K_V1", "images": len(photos), "unlike": None}
    assert [one["image"] for one in lines] == [str(path) for path in photos]
    for path, one in zip(photos, lines, strict=True):
        with Image.open(path) as image, torch.no_grad():
            shares = net(weights.transforms()(image)[None])[0].double().softmax(0)
        top = shares.topk(5)
        assert [each["class"] for each in one["top"]] == [names[i] for i in top.indices.tolist()]
        # One float32 pass against another: rounding alone, measured below 1e-6 of a share.
        assert [each["probability"] for each in one["top"]] == pytest.approx(top.values.tolist(), rel=1e-4)
        assert (one["unlike"], one["distance"], one["nearest"]) == (None, None, [])


@pytest.mark.parametrize(
    "name", slow_after(2, [NET, "alexnet", "densenet121", "swin_v2_t", "efficientnet_b0", "convnext_tiny"])
)
def test_a_stock_nets_own_logits_whatever_its_head_is(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, side = random_net(name, 0).eval(), 64
    monkeypatch.setattr(build, "categories", lambda *_: tuple(map(str, range(1000))))
    predictor = load_stock(Session(configuration(tmp_path, backbones=(name,), weights="none", image_size=side)))
    pixels = np.random.default_rng(0).integers(0, 256, (2, side, side, 3), np.uint8)
    with torch.no_grad():
        wanted = net(Normalize(predictor.artifact.preprocess, torch.device("cpu"))(torch.from_numpy(pixels)))
    assert wanted.std() > 0
    # BatchNorm is folded, so sums are rounded otherwise.
    torch.testing.assert_close(predictor.outputs(pixels).logits, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("stock")
def test_a_default_is_resolved_and_nothing_is_written(tmp_path: Path, photos: list[Path]) -> None:
    found, _ = told(tmp_path, photos[:1], weights="DEFAULT", image_size=64)
    assert found["weights"] == "IMAGENET1K_V1"
    assert not list(tmp_path.rglob("reports"))


@pytest.mark.usefixtures("stock")
def test_folders_and_bad_files(tmp_path: Path, photos: list[Path]) -> None:
    found, lines = told(tmp_path, [tmp_path / "photos"], image_size=64)
    assert found["images"] == len(photos)
    assert [one["image"] for one in lines] == [str(path) for path in photos]
    photos[1].write_bytes(b"no image")
    with pytest.raises(BadData, match=f"^1 of {len(photos)} images could not be read \\(see above\\)"):
        told(tmp_path, [tmp_path / "photos"], image_size=64)


class Warned(Listening):
    """A console that keeps its warnings apart, and no details."""

    def __init__(self) -> None:
        super().__init__()
        self.warned: list[str] = []

    def detail(self, line: str) -> None:
        """Drop the line."""

    def warn(self, line: str) -> None:
        self.warned.append(line)


@pytest.mark.usefixtures("stock")
def test_what_a_folder_has_but_images_is_counted_once(
    tmp_path: Path, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, console = tmp_path / "photos", Warned()
    (folder / "loop").symlink_to(folder)
    (folder / "notes.txt").touch()
    found, lines = told(tmp_path, [folder], image_size=64, console=console)
    assert (found["images"], len(lines)) == (len(photos), len(photos))
    (line,) = console.warned
    assert line.startswith("skipped 2 files: ")
    assert "1 a link back to a folder around it (loop), 1 not a photo (.txt)" in line
    scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("shut"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    (folder / "shut").mkdir()
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(BadData, match=r"^1 folder or link could not be read \(see above\)"):
        told(tmp_path, [folder], image_size=64, console=console)
    assert "1 a folder or link that cannot be read (shut)" in console.warned[-1]


def test_one_net_answers(tmp_path: Path, photos: list[Path]) -> None:
    with pytest.raises(
        BadOption, match=r"^--imagenet uses one net: --backbone \(got resnet18 alexnet\); name one of them$"
    ):
        told(tmp_path, photos, backbones=("resnet18", "alexnet"))


@pytest.mark.parametrize("weights", ["none", "wheel", "mine.pth", "some/where"])
def test_weights_without_categories(weights: str, tmp_path: Path, photos: list[Path]) -> None:
    line = f"^these weights have no ImageNet categories: {NET} with --weights {re.escape(weights)} .*IMAGENET1K_V1"
    with pytest.raises(BadOption, match=line):
        told(tmp_path, photos, weights=weights)
    with pytest.raises(BadOption, match="no ImageNet categories: timm:resnet18"):
        told(tmp_path, photos, backbones=("timm:resnet18",))


def test_unknown_weights_and_nets_list_the_known(tmp_path: Path, photos: list[Path]) -> None:
    with pytest.raises(UnknownName, match=r"unknown weights of squeezenet1_1 'IMAGENET9'.*IMAGENET1K_V1"):
        told(tmp_path, photos, weights="IMAGENET9")
    with pytest.raises(UnknownName, match="unknown backbone 'resnet19'"):
        told(tmp_path, photos, backbones=("resnet19",))


@pytest.mark.usefixtures("stock")
def test_the_command_line(tmp_path: Path, photos: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--backbone", NET, "--weights", "IMAGENET1K_V1", "--image-size", "64", f"--cache={tmp_path / 'cache'}"]
    files = [str(path) for path in photos[:2]]
    assert cli.main(["predict", *files, "--imagenet", "--json", *small]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["predict"]["images"] == 2
    told = [line for file in files for line in said.err.splitlines() if file in line and line.count("%") == 5]
    assert len(told) == len(files)

    assert cli.main(["predict", *files, *small]) == 2
    assert capsys.readouterr().err == (
        "probeline: predict needs --artifact FOLDER or --imagenet (expected the folder of an exported predictor, or a "
        "stock net with ImageNet's classes); give one of them\n"
    )
    assert cli.main(["predict", "--imagenet", *small]) == 2
    assert "the following arguments are required: IMAGE" in capsys.readouterr().err


@pytest.mark.parametrize("photo", ["val/bees/1032546534_06907fe3b3.jpg", "val/ants/10308379_1b6c72e180.jpg"])
def test_the_real_net_knows_ants_and_bees(photo: str, shared: Path, tmp_path: Path) -> None:
    path = shared / "data" / "hymenoptera_data" / photo
    _, (one,) = told(tmp_path, [path], backbones=("mobilenet_v2",))
    assert {each["class"] for each in one["top"]} & {"bee", "ant"}
    assert sum(each["probability"] for each in one["top"]) <= 1
