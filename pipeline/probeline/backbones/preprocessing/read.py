"""Preprocessing records from what others state: mappings, torchvision's transforms, transformers' image processors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from probeline.backbones.preprocessing.processor import is_processor, read_processor
from probeline.backbones.preprocessing.verify import check_same
from probeline.errors import BadOption, UnknownName
from probeline.images import Preprocess

_FIELDS = ("resize", "crop", "interpolation", "mean", "std")
_OPTIONAL = ("resize_mode",)
STATED = (
    "a mapping of resize, crop, interpolation, mean and std, a torchvision transform of Resize, CenterCrop, ToTensor "
    "and Normalize, or an image processor of transformers"
)


def read_preprocess(stated: Any, what: str) -> Preprocess:
    """Return the record of a preprocessing in any of the forms of `STATED`; one that is a record already as it is.

    Transforms and processors are run on a test image, and must do what their record says.

    Raises
    ------
    BadOption, UnknownName
        It has another form, or does something that a record cannot say. `what` is its name in errors.
    """
    if isinstance(stated, Preprocess):
        return _checked(stated, what)
    if isinstance(stated, Mapping):
        return read_mapping(stated, what)
    if is_processor(stated):
        return read_processor(stated, what)
    if callable(stated):
        return read_transform(stated, what)
    raise BadOption(f"no preprocessing: {what}", expected=STATED, got=type(stated).__name__)


def read_mapping(fields: Mapping[str, Any], what: str) -> Preprocess:
    """Return the record of a mapping with all its fields; `resize_mode` may be missing."""
    for name in fields:
        if name not in (*_FIELDS, *_OPTIONAL):
            raise UnknownName(f"field of {what}", str(name), (*_FIELDS, *_OPTIONAL))
    if missing := [name for name in _FIELDS if name not in fields]:
        raise BadOption(f"fields are missing in {what}", expected=", ".join(_FIELDS), got=f"no {', '.join(missing)}")
    return make_record(what, **fields)


def make_record(
    what: str,
    *,
    resize: Any,
    crop: Any,
    interpolation: Any,
    mean: Any,
    std: Any,
    resize_mode: Any = "shorter",
) -> Preprocess:
    """Return the record of these values, which are checked."""

    def triple(name: str, values: Any) -> tuple[float, float, float]:
        numbers = [values] * 3 if isinstance(values, int | float) else list(values)
        if len(numbers) != 3 or not all(isinstance(number, int | float) for number in numbers):
            raise BadOption(f"bad {name} of {what}", expected="three numbers, for pixels in [0, 1]", got=values)
        return float(numbers[0]), float(numbers[1]), float(numbers[2])

    for name, value in (("resize", resize), ("crop", crop)):
        if type(value) is not int or value < 1:
            raise BadOption(f"bad {name} of {what}", expected="a number of pixels", got=repr(value))
    if interpolation not in ("bilinear", "bicubic"):
        raise BadOption(f"bad interpolation of {what}", expected="bilinear or bicubic", got=interpolation)
    if resize_mode not in ("shorter", "square"):
        raise BadOption(f"bad resize_mode of {what}", expected="shorter or square", got=resize_mode)
    record = Preprocess(resize, crop, interpolation, triple("mean", mean), triple("std", std), resize_mode=resize_mode)
    return _checked(record, what)


def _checked(record: Preprocess, what: str) -> Preprocess:
    if record.crop > record.resize:
        raise BadOption(f"bad crop of {what}", expected=f"at most the resize, {record.resize}", got=record.crop)
    if min(record.std) <= 0:
        raise BadOption(f"bad std of {what}", expected="numbers above 0", got=record.std)
    return record


def read_transform(transform: Any, what: str) -> Preprocess:
    """Return the record of a transform of torchvision, of its first or second version.

    That is a preset of its weights, or a ``Compose`` of ``Resize``, ``CenterCrop``, a conversion to a float tensor and
    ``Normalize``; steps that convert to RGB may be among them.
    """
    if all(hasattr(transform, name) for name in ("resize_size", "crop_size", "interpolation", "mean", "std")):
        (resize,), (crop,) = transform.resize_size, transform.crop_size
        filter_name = str(transform.interpolation.value)
        record = make_record(
            what, resize=resize, crop=crop, interpolation=filter_name, mean=transform.mean, std=transform.std
        )
    else:
        record = _read_steps(list(getattr(transform, "transforms", ())), what)
    check_same(record, transform, what)
    return record


_IGNORED = (
    "ToTensor",
    "ToImage",
    "PILToTensor",
    "ToDtype",
    "ConvertImageDtype",
    "Lambda",
    "ToRGB",
    "RGB",
    "MaybeToTensor",
    "MaybeConvertMode",
    "function",
)
"""Steps that the comparison of the results covers."""


def _read_steps(steps: Sequence[Any], what: str) -> Preprocess:
    fields: dict[str, Any] = {"mean": 0.0, "std": 1.0}
    for step in steps:
        match type(step).__name__:
            case "Resize":
                fields |= _read_resize(step, what)
            case "CenterCrop":
                fields["crop"] = _side(step.size, what)
            case "Normalize":
                fields |= {"mean": tuple(map(float, step.mean)), "std": tuple(map(float, step.std))}
            case name if name not in _IGNORED:
                raise BadOption(f"cannot read {what}", expected=STATED, got=f"one with {name}")
    if "resize" not in fields:
        raise BadOption(f"cannot read {what}", expected=STATED, got=_describe(steps))
    if "crop" not in fields:
        if fields["resize_mode"] == "shorter":
            raise BadOption(f"cannot read {what}", expected="a square input", got="Resize of one side, no CenterCrop")
        fields["crop"] = fields["resize"]
    return make_record(what, **fields)


def _describe(steps: Sequence[Any]) -> str:
    unseen = "a function, whose steps nobody can see: in Python give preprocess_name= with it"
    return " ".join(type(step).__name__ for step in steps) or unseen


def _read_resize(step: Any, what: str) -> dict[str, Any]:
    size = step.size
    mode: Literal["shorter", "square"] = "shorter" if isinstance(size, int) or len(size) == 1 else "square"
    if getattr(step, "max_size", None) is not None:
        raise BadOption(f"cannot read {what}", expected="Resize without max_size", got=f"max_size {step.max_size}")
    filter_name = str(getattr(step.interpolation, "value", step.interpolation))
    return {"resize": _side(size, what), "interpolation": filter_name, "resize_mode": mode}


def _side(size: Any, what: str) -> int:
    sides = {size} if isinstance(size, int) else set(size)
    if len(sides) != 1:
        raise BadOption(f"cannot read {what}", expected="square sizes", got=list(size))
    return int(sides.pop())
