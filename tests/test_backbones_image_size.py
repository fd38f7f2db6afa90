"""Nets at another image size than their own: tables of positions are interpolated, and other nets stay as they are."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from conftest import Install
from probeline.backbones import torchvision_import as vision
from probeline.backbones.build import bare_net, build, random_net
from probeline.backbones.resolve import load
from probeline.backbones.source import CLASSIC
from probeline.backbones.sources import timm as timm_source
from probeline.backbones.sources import torchvision as torchvision_source
from probeline.errors import BadOption, BadWeights
from probeline.export.modules import describe_net
from small_sources import GROUP, HEADLESS, PREFIX, SOURCE
from variants import slow_after

TINY = "timm:vit_tiny_patch16_224"

pytestmark = pytest.mark.usefixtures("one_thread")


def save(net: nn.Module, path: Path) -> str:
    torch.save(net.state_dict(), path)
    return str(path)


@pytest.mark.parametrize(
    "name",
    [
        "vit_tiny_patch16_224",
        pytest.param("deit_tiny_distilled_patch16_224", marks=pytest.mark.slow),
        pytest.param("vit_small_patch14_dinov2", marks=pytest.mark.slow),
    ],
)
def test_a_file_at_another_size_is_what_timm_makes_of_it(name: str, tmp_path: Path) -> None:
    net = random_net(f"timm:{name}", 1, {"image_size": 112})
    path = save(net, tmp_path / "weights.pth")
    size = 56 if "14" in name else 96
    built = build(f"timm:{name}", path, size)
    theirs = vision.timm().create_model(
        name, pretrained=True, img_size=size, pretrained_cfg_overlay={"file": path, "input_size": (3, 112, 112)}
    )
    for key, tensor in theirs.state_dict().items():
        assert torch.equal(built.net.state_dict()[key], tensor), key
    (table,) = [key for key in net.state_dict() if key == "pos_embed"]
    before, after = (list(each.state_dict()[table].shape) for each in (net, built.net))
    assert built.options == {"image_size": size}
    assert built.notes == (f"weights.pth: pos_embed {before} fitted to {after}",)
    loaded, _ = load(f"timm:{name}", path, size)
    assert loaded.backbone.preprocess.crop == size


@pytest.mark.slow
def test_a_swin_at_half_its_size(tmp_path: Path) -> None:
    loaded, _ = load("timm:swin_tiny_patch4_window7_224", "none", 112)
    assert (loaded.options, loaded.tap.dim) == ({"image_size": 112}, 768)
    path = save(loaded.net, tmp_path / "weights.pth")
    again, _ = load("timm:swin_tiny_patch4_window7_224", path, 224)
    table = "layers.3.blocks.0.attn.relative_position_bias_table"
    assert again.backbone.notes == (f"weights.pth: {table} [49, 24] and 1 more fitted to [169, 24]",)
    assert again.options == {}


def test_the_table_of_torchvisions_transformer_is_interpolated() -> None:
    transformer = vision.models().vision_transformer.VisionTransformer

    def make(size: int) -> Any:
        torch.manual_seed(0)
        return transformer(size, 8, num_layers=1, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=4)

    with torch.random.fork_rng(devices=[]):
        whole, half = make(64), make(32)
    state = torchvision_source.adapt(half, dict(whole.state_dict()))
    half.load_state_dict(state)
    before = whole.encoder.pos_embedding
    assert torch.equal(half.encoder.pos_embedding[:, 0], before[:, 0]), "of the class token"
    grid: Tensor = before[:, 1:].reshape(1, 8, 8, 16).permute(0, 3, 1, 2)
    expected = nn.functional.interpolate(grid, size=4, mode="bicubic", align_corners=True)
    torch.testing.assert_close(half.encoder.pos_embedding[:, 1:], expected.flatten(2).transpose(1, 2))


@pytest.mark.slow
def test_torchvisions_transformer_at_another_size(tmp_path: Path) -> None:
    random, _ = load("vit_b_32", "none", 96)
    assert random.options == {"image_size": 96}
    path = save(random_net("vit_b_32", 1), tmp_path / "weights.pth")
    loaded, _ = load("vit_b_32", path, 96)
    assert loaded.backbone.notes == ("weights.pth: encoder.pos_embedding [1, 50, 768] fitted to [1, 10, 768]",)
    assert load("vit_b_32", path, 224)[0].options == {}
    with pytest.raises(BadOption, match=r"^vit_b_32 cannot take images of 100 .*; choose --image-size 96 or 128$"):
        load("vit_b_32", path, 100)


@pytest.mark.parametrize("name", ["resnet18", "timm:test_convnext", "timm:vit_tiny_patch16_dinov3_qkvb"])
def test_a_net_that_takes_any_size_is_the_same_net(name: str) -> None:
    at_own, at_other = (load(name, "none", size)[0] for size in (None, 64))
    assert at_own.options == at_other.options == {}
    assert at_own.backbone.weights_sha256 == at_other.backbone.weights_sha256
    assert at_other.backbone.preprocess == CLASSIC.at(64)


def test_published_weights_at_another_size(install: Install) -> None:
    install("toy", GROUP, f"{PREFIX} = toy", SOURCE)
    own, _ = load(HEADLESS, "DEFAULT", None)
    other, _ = load(HEADLESS, "DEFAULT", 64)
    assert (own.options, other.options) == ({}, {"image_size": 64})
    assert other.backbone.preprocess.crop == 64
    expected = timm_source.adapt(other.net, dict(own.net.state_dict()))
    for key, tensor in expected.items():
        assert torch.equal(other.net.state_dict()[key], tensor), key
    assert own.backbone.weights_sha256 != other.backbone.weights_sha256


@pytest.mark.parametrize(
    ("name", "size", "reason", "sizes"),
    slow_after(
        2,
        [
            (TINY, 100, "100 is no multiple of its patches of 16 pixels", "96 or 112"),
            ("timm:vit_small_patch14_dinov2", 225, "225 is no multiple of its patches of 14 pixels", "224 or 238"),
            ("timm:vit_tiny_patch16_dinov3_qkvb", 225, "225 is no multiple of its patches of 16 pixels", "224 or 240"),
            ("alexnet", 20, ".*Output size is too small", "63"),
        ],
    ),
)
def test_a_size_that_does_not_fit_names_those_that_do(name: str, size: int, reason: str, sizes: str) -> None:
    bare = name.removeprefix("timm:")
    with pytest.raises(
        BadOption,
        match=rf"{bare} cannot take images of {size} pixels \(got {reason}\); choose --image-size {sizes}$",
    ):
        load(name, "none", size)


def test_weights_that_cannot_be_interpolated_are_refused(tmp_path: Path) -> None:
    """A mixer's layers over tokens have no other size."""
    path = save(random_net("timm:gmlp_ti16_224", 0), tmp_path / "weights.pth")
    with pytest.raises(BadOption, match=r"^these weights cannot be fitted to images of 96 pixels.*got \[196, 196\]\)"):
        build("timm:gmlp_ti16_224", path, 96)
    with pytest.raises(BadWeights, match="of another net"):
        build(TINY, path, 96)


def test_random_weights_have_the_nets_own_size_where_the_classic_one_does_not_fit() -> None:
    loaded, _ = load("timm:vit_tiny_patch16_384", "none", None)
    assert (loaded.backbone.preprocess, loaded.options) == (CLASSIC.at(384), {})


def test_the_crop_keeps_its_share_of_the_image() -> None:
    """As timm records it: all of the image for DINOv2 at 518, nine tenths for a ViT at 224."""
    for name, size, crop, resize in (
        ("vit_small_patch14_dinov2.lvd142m", 518, 224, 224),
        ("vit_tiny_patch16_224.augreg_in21k_ft_in1k", 224, 96, 106),
    ):
        with torch.device("meta"):
            own = timm_source.preprocess(vision.timm().create_model(name))
        assert own.crop == size
        assert (own.at(crop).resize, own.at(crop).crop) == (resize, crop)
        assert own.at(size) == own


def test_an_exported_net_is_built_for_its_size() -> None:
    loaded, _ = load(TINY, "none", 64)
    record = describe_net(loaded, TINY, "none", taps=("penultimate",), own_head=False, precision="fp32")
    assert record.options == {"image_size": 64}
    net = bare_net(TINY, record.options)
    net.load_state_dict(copy.deepcopy(loaded.net).state_dict())
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(net(image), loaded.net(image))
