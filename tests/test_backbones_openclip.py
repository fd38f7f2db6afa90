"""Image towers of open_clip: their weights, their two taps and their preprocessing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from made_nets import save_open_clip
from probeline.backbones import torchvision_import as vision
from probeline.backbones.build import build
from probeline.backbones.inner_taps import find_inner
from probeline.backbones.penultimate import find_tap
from probeline.backbones.registry import check_name
from probeline.backbones.sources import openclip
from probeline.errors import BadOption, BadWeights, DownloadFailed, MissingData, UnknownName
from probeline.images import Preprocess
from small_runs import extracted

pytest.importorskip("open_clip")

IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("open_clip")
    save_open_clip(path)
    return path


def test_a_folder_gives_its_tower_before_and_after_the_projection(folder: Path, tmp_path: Path) -> None:
    name = f"openclip:{folder}"
    built = build(name, "DEFAULT")
    assert built.preprocess == Preprocess(32, 32, "bicubic", (0.5,) * 3, (0.5,) * 3, resize_mode="square")
    assert {path.name for path in built.files} == {"open_clip_config.json", "open_clip_pytorch_model.bin"}
    tap = find_tap(built.net, 32, name)
    (projected,) = find_inner(built.net, tap.head, 32, ["projection"], name)["projection"]
    assert (tap.dim, projected.dim) == (64, 16)
    assert not [path for path in tap.tensors if "projection" in path]
    whole = vision.open_clip().create_model(f"local-dir:{folder}")
    with torch.no_grad():
        pooled = built.net(IMAGES)
        torch.testing.assert_close(built.net.get_submodule("projection")(pooled), whole.encode_image(IMAGES))
    taps = ("penultimate", "projection", "visual.transformer.resblocks.1:cls")
    session = extracted(tmp_path, backbones=(name,), weights="DEFAULT", image_size=None, taps=taps)
    shapes = [session.features(record, "all").features.shape for record in session.every_tap(name)]
    assert shapes == [(60, 64), (60, 16), (60, 64)]


def test_a_tower_for_another_image_size_takes_its_positions_along(folder: Path) -> None:
    name = str(folder)
    state = build(f"openclip:{name}", "DEFAULT").net.state_dict()
    larger = openclip.create(name, {"image_size": 48})
    larger.load_state_dict(openclip.adapt(larger, state))
    assert openclip.preprocess(larger).crop == 48
    assert larger(torch.randn(1, 3, 48, 48)).shape == (1, 64)
    with pytest.raises(ValueError, match="50 is no multiple of its patches of 8 pixels"):
        openclip.create(name, {"image_size": 50})
    with torch.device("meta"):
        assert next(openclip.create(name, {"image_size": 40}).parameters()).is_meta


def test_random_weights_are_the_same_ones_each_time(folder: Path) -> None:
    first, second = (build(f"openclip:{folder}", "none").net(IMAGES) for _ in range(2))
    assert torch.equal(first, second)


def test_a_file_of_both_towers_is_read_by_open_clip(tmp_path: Path) -> None:
    """A ResNet, whose projection is part of its pooling: the embedding is the tower's output."""
    tower = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}
    text = {"context_length": 8, "vocab_size": 50, "width": 16, "heads": 2, "layers": 1}
    config = {"embed_dim": 16, "vision_cfg": tower, "text_cfg": text}
    (tmp_path / "tiny-RN.json").write_text(json.dumps(config), encoding="utf-8")
    package = vision.open_clip()
    package.add_model_config(tmp_path)
    torch.manual_seed(5)
    net = package.create_model("tiny-RN", pretrained=None)
    torch.save(net.state_dict(), tmp_path / "own.pt")
    built = build("openclip:tiny-RN", str(tmp_path / "own.pt"))
    assert built.weights == "own.pt"
    assert (built.preprocess.resize, built.preprocess.resize_mode) == (32, "shorter")
    with torch.no_grad():
        torch.testing.assert_close(built.net(IMAGES), net.eval().encode_image(IMAGES))
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pt")
    with pytest.raises(BadWeights, match=r"open_clip cannot load the weights of openclip:tiny-RN: \S+other.pt"):
        build("openclip:tiny-RN", str(tmp_path / "other.pt"))
    with pytest.raises(BadOption, match="expected openclip:tiny-RN@none or @PATH of a file"):
        build("openclip:tiny-RN", "DEFAULT")


def test_weights_are_named_unless_there_is_one_set() -> None:
    with pytest.raises(
        BadOption, match=r"no weights are named: openclip:ViT-B-32 \(expected .*@TAG, with TAG one of: op"
    ):
        build("openclip:ViT-B-32", "DEFAULT")
    with pytest.raises(UnknownName, match=r"unknown weights of openclip:ViT-B-32 'laion2b'.*did you mean laion2b_e16"):
        build("openclip:ViT-B-32", "laion2b")


def test_weights_trained_with_another_activation_are_refused() -> None:
    """Where open_clip only warns, and every feature would be a little wrong."""
    remedy = r"\(expected QuickGELU, got GELU\); use openclip:ViT-B-32-quickgelu@openai"
    with pytest.raises(BadOption, match=remedy):
        build("openclip:ViT-B-32", "openai")


def test_names_are_checked(folder: Path, tmp_path: Path) -> None:
    check_name("openclip:ViT-B-32")
    check_name(f"openclip:{folder}")
    with pytest.raises(UnknownName, match=r"unknown architecture of open_clip 'ViT-B-33'; did you mean ViT-B-32 or"):
        check_name("openclip:ViT-B-33")
    with pytest.raises(UnknownName, match=r"did you mean openclip:ViT-B-32\?"):
        check_name("ViT-B-32")
    with pytest.raises(MissingData, match="no model of open_clip in the folder"):
        check_name(f"openclip:{tmp_path}")


def test_a_hub_out_of_reach_takes_a_line_and_no_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    message = (
        r"cannot fetch the weights of openclip:ViT-B-32@laion2b_s34b_b79k: http://127.0.0.1:9.*hf download laion/CLIP"
    )
    with pytest.raises(DownloadFailed, match=message):
        build("openclip:ViT-B-32", "laion2b_s34b_b79k")


def test_an_image_of_another_preprocessing_is_refused(folder: Path, tmp_path: Path) -> None:
    for file in folder.iterdir():
        text = file.read_bytes().replace(b'"squash"', b'"longest"')
        (tmp_path / file.name).write_bytes(text)
    with pytest.raises(BadOption, match=r"cannot be prepared \(expected squares.*got .*32.*, longest"):
        build(f"openclip:{tmp_path}", "DEFAULT")
