"""Preprocessing records from what others state: mappings, torchvision's transforms, transformers' processors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torchvision import transforms as v1
from torchvision.transforms import v2

from probeline.backbones import torchvision_import as vision
from probeline.backbones.preprocessing.read import read_preprocess
from probeline.backbones.preprocessing.verify import check_same
from probeline.errors import BadOption, UnknownName
from probeline.images import Preprocess

FIELDS: dict[str, Any] = {
    "resize": 36,
    "crop": 32,
    "interpolation": "bicubic",
    "mean": (0.5, 0.4, 0.3),
    "std": (0.2, 0.25, 0.3),
}
RECORD = Preprocess(36, 32, "bicubic", (0.5, 0.4, 0.3), (0.2, 0.25, 0.3))
SQUARE = Preprocess(32, 32, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), resize_mode="square")

ALIASED = v2.Compose(
    [v2.ToImage(), v2.Resize(36, antialias=False), v2.CenterCrop(32), v2.ToDtype(torch.float32, scale=True)]
)
NORMALIZE = v1.Normalize(FIELDS["mean"], FIELDS["std"])
BICUBIC = v1.InterpolationMode.BICUBIC


# Mappings and records


def test_a_mapping_has_every_field() -> None:
    assert read_preprocess(FIELDS, "net") == RECORD
    assert read_preprocess({**FIELDS, "mean": [0.5] * 3, "std": 0.2}, "net").std == (0.2, 0.2, 0.2)
    assert read_preprocess({**FIELDS, "resize_mode": "square"}, "net").resize_mode == "square"
    assert read_preprocess(RECORD, "net") is RECORD


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"crap": 1}, r"unknown field of net 'crap'.*did you mean crop"),
        ({"crop": 40}, r"bad crop of net \(expected at most the resize, 36, got 40\)"),
        ({"resize": 36.5}, "bad resize of net"),
        ({"interpolation": "nearest"}, r"bad interpolation of net \(expected bilinear or bicubic, got nearest"),
        ({"mean": (0.5, 0.5)}, "bad mean of net"),
        ({"std": (0, 1, 1)}, "bad std of net"),
        ({"resize_mode": "longest"}, "bad resize_mode of net"),
    ],
)
def test_a_mapping_that_says_something_else_is_refused(change: dict[str, Any], line: str) -> None:
    with pytest.raises((BadOption, UnknownName), match=line):
        read_preprocess({**FIELDS, **change}, "net")


def test_missing_fields_are_named() -> None:
    with pytest.raises(BadOption, match=r"fields are missing in net.*got no interpolation, mean, std"):
        read_preprocess({"resize": 36, "crop": 32}, "net")


# torchvision


def test_a_preset_of_torchvision() -> None:
    preset = vision.models().ResNet50_Weights.IMAGENET1K_V2.transforms()
    record = read_preprocess(preset, "resnet50")
    assert (record.resize, record.crop, record.interpolation, record.resize_mode) == (232, 224, "bilinear", "shorter")


@pytest.mark.parametrize(
    ("transform", "record"),
    [
        (v1.Compose([v1.Resize(36, BICUBIC), v1.CenterCrop(32), v1.ToTensor(), NORMALIZE]), RECORD),
        (
            v2.Compose(
                [
                    v2.Resize(36, BICUBIC),
                    v2.CenterCrop(32),
                    v2.ToImage(),
                    v2.ToDtype(torch.float32, scale=True),
                    v2.Normalize(FIELDS["mean"], FIELDS["std"]),
                ]
            ),
            RECORD,
        ),
        (v1.Compose([v1.Resize((32, 32)), v1.ToTensor(), v1.Normalize([0.5] * 3, [0.5] * 3)]), SQUARE),
        (v1.Compose([v1.Resize(36), v1.CenterCrop(32), v1.ToTensor()]), None),
    ],
    ids=["v1", "v2", "square", "not normalised"],
)
def test_a_compose_of_torchvision(transform: Any, record: Preprocess | None) -> None:
    plain = Preprocess(36, 32, "bilinear", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    assert read_preprocess(transform, "net") == (record or plain)


def test_transforms_of_timm_and_of_clip() -> None:
    """The latter has a function among its steps, which converts to RGB."""
    steps = [v1.Resize(36, BICUBIC), v1.CenterCrop(32), lambda image: image.convert("RGB"), v1.ToTensor(), NORMALIZE]
    assert read_preprocess(v1.Compose(steps), "net") == RECORD
    data = pytest.importorskip("timm").data
    transform = data.create_transform(
        (3, 32, 32), interpolation="bicubic", crop_pct=32 / 36, mean=FIELDS["mean"], std=FIELDS["std"]
    )
    record = read_preprocess(transform, "net")
    assert (record.resize, record.crop, record.interpolation, record.std) == (
        36,
        32,
        "bicubic",
        pytest.approx(RECORD.std),
    )


@pytest.mark.parametrize(
    ("transform", "line"),
    [
        (v1.Compose([v1.Resize(36), v1.RandomCrop(32), v1.ToTensor()]), "got one with RandomCrop"),
        (v1.Compose([v1.Resize(36), v1.ToTensor()]), "expected a square input"),
        (v1.Compose([v1.CenterCrop(32), v1.ToTensor()]), "got CenterCrop ToTensor"),
        (v1.Compose([v1.Resize(36), v1.CenterCrop((32, 24)), v1.ToTensor()]), "square sizes"),
        (v1.Compose([v1.Resize(36), v1.CenterCrop(32), v1.Grayscale(3), v1.ToTensor()]), "one with Grayscale"),
        (
            v1.Compose([v1.Resize(36), v1.CenterCrop(32), v1.PILToTensor(), v1.ConvertImageDtype(torch.float64)]),
            None,
        ),
        (v1.Compose([v1.Resize(36), v1.CenterCrop(32), v1.PILToTensor()]), "differ by .* grey levels on average"),
        (ALIASED, "differ by .* grey levels"),
        (lambda image: image, "a function, whose steps nobody can see"),
        (3, r"expected a mapping of resize.*got int"),
    ],
)
def test_a_transform_that_does_something_else_is_refused(transform: Any, line: str | None) -> None:
    if line is None:
        read_preprocess(transform, "net")
        return
    with pytest.raises(BadOption, match=line):
        read_preprocess(transform, "net")


def test_the_filter_the_ratio_and_the_channels_are_compared() -> None:
    transform = v1.Compose([v1.Resize(36, BICUBIC), v1.CenterCrop(32), v1.ToTensor(), NORMALIZE])
    check_same(RECORD, transform, "net")
    for wrong in (
        Preprocess(36, 32, "bilinear", RECORD.mean, RECORD.std),
        Preprocess(32, 32, "bicubic", RECORD.mean, RECORD.std, resize_mode="square"),
        Preprocess(40, 32, "bicubic", RECORD.mean, RECORD.std),
        Preprocess(36, 32, "bicubic", RECORD.mean[::-1], RECORD.std),
    ):
        with pytest.raises(BadOption, match="grey levels on average"):
            check_same(wrong, transform, "net")
    with pytest.raises(BadOption, match="grey levels"):
        check_same(RECORD, lambda image: transform(image).flip(0), "net")


def test_what_fails_on_an_image_is_refused_with_its_reason() -> None:
    with pytest.raises(BadOption, match="got ZeroDivisionError: division by zero"):
        check_same(RECORD, lambda _: 1 / 0, "net")
    with pytest.raises(BadOption, match=r"an input \[3, 8, 8\] where \[3, 32, 32\] was expected"):
        check_same(RECORD, lambda _: torch.zeros(3, 8, 8), "net")


# Image processors of transformers


def processor(kind: str, **options: Any) -> Any:
    pytest.importorskip("transformers")
    return getattr(vision.transformers(), f"{kind}ImageProcessor")(**options)


@pytest.mark.parametrize(
    ("kind", "options", "resize", "crop", "mode"),
    [
        ("ViT", {"size": {"height": 32, "width": 32}}, 32, 32, "square"),
        ("Siglip", {"size": {"height": 32, "width": 32}}, 32, 32, "square"),
        ("DINOv3ViT", {"size": {"height": 32, "width": 32}}, 32, 32, "square"),
        ("DeiT", {"size": {"height": 36, "width": 36}, "crop_size": {"height": 32, "width": 32}}, 36, 32, "square"),
        ("Bit", {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}}, 36, 32, "shorter"),
        ("CLIP", {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}, 32, 32, "shorter"),
        ("ConvNext", {"size": {"shortest_edge": 56}}, 64, 56, "shorter"),
        ("ConvNext", {"size": {"shortest_edge": 384}}, 384, 384, "square"),
    ],
)
def test_processors_become_records(kind: str, options: dict[str, Any], resize: int, crop: int, mode: str) -> None:
    record = read_preprocess(processor(kind, **options), "net")
    assert (record.resize, record.crop, record.resize_mode) == (resize, crop, mode)


@pytest.mark.parametrize(
    ("kind", "options", "line"),
    [
        ("ViT", {"size": {"height": 32, "width": 24}}, "square sizes"),
        ("ViT", {"size": {"height": 32, "width": 32}, "resample": 1}, "resample of 2"),
        ("ViT", {"size": {"height": 32, "width": 32}, "do_resize": False}, "expected do_resize"),
        ("ViT", {"size": {"height": 32, "width": 32}, "do_rescale": False}, "grey levels on average"),
        ("Bit", {"size": {"shortest_edge": 36}, "do_center_crop": False}, "shortest_edge and a centre crop"),
        ("MobileViT", {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}}, "grey levels"),
        ("EfficientNet", {"size": {"height": 32, "width": 32}}, "cannot"),
    ],
)
def test_processors_that_do_something_else_are_refused(kind: str, options: dict[str, Any], line: str) -> None:
    with pytest.raises(BadOption, match=line):
        read_preprocess(processor(kind, **options), "net")


def test_a_net_of_timm_that_squeezes_images_is_prepared_for_so() -> None:
    pytest.importorskip("timm")
    from probeline.backbones.sources import timm

    net = torch.nn.Identity()
    config = {"input_size": (3, 32, 32), "crop_pct": 1.0, "interpolation": "bicubic", "crop_mode": "squash"}
    net.pretrained_cfg = {**config, "mean": (0.5,) * 3, "std": (0.5,) * 3}
    assert timm.preprocess(net).resize_mode == "square"
