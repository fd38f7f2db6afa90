"""Preprocessing records of transformers' image processors; nothing is imported from transformers here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from probeline.backbones.preprocessing.verify import check_same
from probeline.errors import BadOption
from probeline.images import Preprocess

_FILTERS = {2: "bilinear", 3: "bicubic"}
"""Pillow's numbers, which processors are saved with."""

_WHOLE = 384
"""From this size on, processors with a ``crop_pct`` show the net the whole image, resized to a square."""


def is_processor(stated: object) -> bool:
    """Return whether an object is an image processor of transformers, or has one, as CLIP's processor of pairs."""
    stated = getattr(stated, "image_processor", stated)
    return callable(stated) and hasattr(stated, "to_dict") and hasattr(stated, "image_mean")


def read_processor(processor: Any, what: str) -> Preprocess:
    """Return the record of an image processor, which is run on a test image and must do what the record says.

    Raises
    ------
    BadOption
        It pads, crops to no square, keeps no fixed size, or does something else that a record cannot say.
    """
    processor = getattr(processor, "image_processor", processor)
    fields: Mapping[str, Any] = processor.to_dict()
    resize, crop, mode = _geometry(fields, what)
    resample = fields.get("resample")
    interpolation = _FILTERS.get(getattr(resample, "value", resample) or 0)
    if interpolation is None:
        raise _refused(what, "resample of 2 (bilinear) or 3 (bicubic)", resample)
    normalizes = fields.get("do_normalize", True)
    mean, std = (fields["image_mean"], fields["image_std"]) if normalizes else ((0.0,) * 3, (1.0,) * 3)
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0 or crop > resize:
        raise _refused(
            what, "three channels, and a crop within the resized image", f"{mean}, {std}, {crop} of {resize}"
        )
    record = Preprocess(
        resize,
        crop,
        "bicubic" if interpolation == "bicubic" else "bilinear",
        (float(mean[0]), float(mean[1]), float(mean[2])),
        (float(std[0]), float(std[1]), float(std[2])),
        resize_mode="square" if mode == "square" else "shorter",
    )
    check_same(record, lambda image: processor(images=image, return_tensors="np")["pixel_values"], what)
    return record


def _geometry(fields: Mapping[str, Any], what: str) -> tuple[int, int, str]:
    """Return resize, crop, and whether the image's ratio is kept."""
    if not fields.get("do_resize", True):
        raise _refused(what, "do_resize", "a processor that keeps each image's size")
    stated: Any = fields.get("size") or {}
    sizes: Mapping[str, Any] = {"shortest_edge": stated} if isinstance(stated, int) else stated
    size = {name: length for name, length in sizes.items() if length is not None}
    crops = fields.get("do_center_crop", False)
    if set(size) == {"shortest_edge"} and "crop_pct" in fields and not crops:  # ConvNeXt's
        side, share = int(size["shortest_edge"]), fields["crop_pct"]
        return (side, side, "square") if side >= _WHOLE else (int(side / share), side, "shorter")
    if set(size) == {"shortest_edge"} and crops:
        return int(size["shortest_edge"]), _side(fields.get("crop_size"), what), "shorter"
    if set(size) == {"height", "width"}:
        side = _side(size, what)
        return side, _side(fields.get("crop_size"), what) if crops else side, "square"
    raise _refused(what, "size with height and width, or with shortest_edge and a centre crop", size or "none")


def _side(size: Any, what: str) -> int:
    sides = {size} if isinstance(size, int) else set(dict(size or {}).values()) - {None}
    if len(sides) != 1:
        raise _refused(what, "square sizes", size)
    return int(sides.pop())


def _refused(what: str, expected: str, got: object) -> BadOption:
    return BadOption(f"cannot read the image processor of {what}", expected=expected, got=got)
