"""Preprocessing by functions of a Python program, which this process knows by the names that the program gives them."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from probeline.errors import BadOption, MissingData
from probeline.images import Preprocess
from probeline.types import FloatArray

Function = Callable[[Image.Image], Any]
"""Returns the net's input for an image in mode RGB: a tensor or an array of floats [3, S, S]."""

_FUNCTIONS: dict[str, Function] = {}

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,79}")


def register_function(name: str, function: Function) -> Preprocess:
    """Return the record of a function, whose name is in every key: a function that does something else needs another.

    It is run by several threads, on a test image first, which shows the size of its output.

    Raises
    ------
    BadOption
        Another name than letters, digits and ``._+-``, or an output that is not [3, S, S] of finite floats.
    """
    if not _NAME.fullmatch(name):
        raise BadOption("bad name of a preprocessing", expected="up to 80 letters, digits and ._+-", got=repr(name))
    if not callable(function):
        raise BadOption("bad preprocessing", where=name, expected="a function of an image", got=type(function).__name__)
    levels = np.arange(64 * 48 * 3, dtype=np.uint32).reshape(48, 64, 3) % 251
    side = _run(name, function, Image.fromarray(levels.astype(np.uint8))).shape[0]
    _FUNCTIONS[name] = function
    # Such a mean and std leave numbers as they are where pixels are divided by 255 and normalised.
    return Preprocess(side, side, "bilinear", (0.0,) * 3, (1 / 255,) * 3, function=name)


def apply_function(image: Image.Image, preprocess: Preprocess) -> FloatArray:
    """Return the net's input float32 [S, S, 3] for an RGB image.

    Raises
    ------
    MissingData
        This process does not know the function.
    BadOption
        Its output has another shape than for the test image, or is not finite.
    """
    name = preprocess.function
    if name not in _FUNCTIONS:
        remedy = "it exists in the Python program alone that made it"
        raise MissingData("no such preprocessing in this process", where=name, remedy=remedy)
    pixels = _run(name, _FUNCTIONS[name], image)
    if pixels.shape[0] != preprocess.crop:
        expected = f"one size: [3, {preprocess.crop}, {preprocess.crop}]"
        raise BadOption(f"the preprocessing {name} gives several sizes", expected=expected, got=pixels.shape[0])
    return pixels


def refuse_function(preprocess: Preprocess, what: str) -> None:
    """Raise BadOption if a function makes the net's input, for what needs a preprocessing that can be written down."""
    if preprocess.function:
        raise BadOption(f"{what} needs a preprocessing that can be read", got=f"the function {preprocess.function}")


def _run(name: str, function: Function, image: Image.Image) -> FloatArray:
    try:
        output = function(image)
    except Exception as error:  # of the program's own code
        got = f"{type(error).__name__}: {error}"
        raise BadOption(
            f"the preprocessing {name} failed", where=f"an image of {image.size} pixels", got=got
        ) from error
    values = np.asarray(output)
    if values.ndim != 3 or values.shape[0] != 3 or values.shape[1] != values.shape[2] or values.dtype.kind != "f":
        got = f"{values.dtype} {list(values.shape)}"
        raise BadOption(f"the preprocessing {name} gives no input", expected="floats [3, S, S]", got=got)
    if not np.isfinite(values).all():
        raise BadOption(f"the preprocessing {name} gives no input", expected="finite floats", got="others")
    return np.ascontiguousarray(values.transpose(1, 2, 0), dtype=np.float32)
