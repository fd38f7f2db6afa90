"""Predict: the classes that a stock net itself names, held against torchvision's own transforms and plain softmax."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from probeline import cli
from probeline.backbones import vision, zoo
from probeline.backbones.zoo import random_net
from probeline.errors import BadData, BadOption, UnknownName
from probeline.stages import predict
from probeline.stages.inputs import Inputs
from small_runs import Listening, configuration, make_photos

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
    monkeypatch.setattr(zoo, "check_file_hash", lambda path: None)


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    return sorted(make_photos(tmp_path / "photos", n=2).rglob("*.jpg"))


def told(tmp_path: Path, photos: list[Path], **options: Any) -> tuple[list[dict[str, Any]], list[str]]:
    console = Listening()
    words = tuple(map(str, photos))
    asked = {"imagenet": True, "weights": "IMAGENET1K_V1", "image_size": None, "words": words, **options}
    return predict.run(Inputs(configuration(tmp_path / "cache", console=console, **asked))), console.said


@pytest.mark.usefixtures("stock")
def test_the_five_likeliest_are_those_of_the_stock_net(tmp_path: Path, photos: list[Path]) -> None:
    found, said = told(tmp_path, photos)
    weights = vision.models().get_model_weights(NET)["IMAGENET1K_V1"]
    names, net = weights.meta["categories"], random_net(NET, 3).eval()
    assert [one["image"] for one in found] == [str(path) for path in photos]
    assert len(said) == 6 * len(photos), "a block an image"
    for path, one in zip(photos, found, strict=True):
        with Image.open(path) as image, torch.no_grad():
            shares = net(weights.transforms()(image)[None])[0].double().softmax(0)
        top = shares.topk(5)
        assert [each["index"] for each in one["classes"]] == top.indices.tolist()
        assert [each["class"] for each in one["classes"]] == [names[i] for i in top.indices.tolist()]
        # One float32 pass against another: rounding alone, measured below 1e-6 of a share.
        assert [each["probability"] for each in one["classes"]] == pytest.approx(top.values.tolist(), rel=1e-4)
        assert (one["backbone"], one["weights"]) == (NET, "IMAGENET1K_V1")
    assert said[0] == f"predict: {photos[0]} by {NET} (IMAGENET1K_V1)"
    first = found[0]["classes"][0]
    assert said[1].split("%") == [f"predict:   {100 * first['probability']:5.1f} ", f"  {first['class']}"]


@pytest.mark.usefixtures("stock")
def test_a_default_is_resolved_and_nothing_is_written(tmp_path: Path, photos: list[Path]) -> None:
    found, _ = told(tmp_path, photos[:1], weights="DEFAULT", image_size=64)
    assert found[0]["weights"] == "IMAGENET1K_V1"
    assert not list(tmp_path.rglob("reports"))


@pytest.mark.usefixtures("stock")
def test_a_bad_file_is_named_when_the_others_are_done(tmp_path: Path, photos: list[Path]) -> None:
    photos[1].write_bytes(b"no image")
    with pytest.raises(BadData, match=f"^image cannot be read: {re.escape(str(photos[1]))} ") as caught:
        told(tmp_path, [photos[1], photos[0]])
    assert "\n" not in str(caught.value)
    missing = tmp_path / "nowhere.jpg"
    with pytest.raises(BadData, match=r"^2 images cannot be read: .*No such file.*; remove or replace the files$"):
        told(tmp_path, [photos[1], missing, photos[0]])


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
    assert said.out.count("\n") == 1
    found = json.loads(said.out)["predict"]
    assert [one["image"] for one in found] == files
    assert {len(one["classes"]) for one in found} == {5}
    assert said.err.count(f"by {NET} (IMAGENET1K_V1)") == 2

    assert cli.main(["predict", *files, *small]) == 2
    assert capsys.readouterr().err == (
        "probeline: predict which classes? (expected --artifact FOLDER, those of an exported predictor, or --imagenet, "
        "the stock net's own); add one of them\n"
    )
    assert cli.main(["predict", "--imagenet", *small]) == 2
    assert "the following arguments are required: IMAGE" in capsys.readouterr().err


@pytest.mark.parametrize("photo", ["val/bees/1032546534_06907fe3b3.jpg", "val/ants/10308379_1b6c72e180.jpg"])
def test_the_real_net_knows_ants_and_bees(photo: str, shared: Path, tmp_path: Path) -> None:
    path = shared / "data" / "hymenoptera_data" / photo
    found, _ = told(tmp_path, [path], backbones=("mobilenet_v2",))
    assert {one["class"] for one in found[0]["classes"]} & {"bee", "ant"}
    assert sum(one["probability"] for one in found[0]["classes"]) <= 1
