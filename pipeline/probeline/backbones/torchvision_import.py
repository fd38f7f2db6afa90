"""Imports torchvision and timm, also if torchvision's compiled operators do not match the installed torch.

With a CPU build of torch, torchvision's ordinary wheel cannot load its compiled library and then fails on two detection
operators. No classification net uses them, so they are declared here, without an implementation, before the import.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
from types import ModuleType
from typing import cast

import torch

from probeline.environment import package_folder
from probeline.errors import MissingExtra


@functools.cache
def _declare_missing_operators() -> torch.library.Library | None:
    compiled = next(iter(sorted(package_folder("torchvision").glob("_C*.so"))), None)
    if compiled is not None:
        with contextlib.suppress(OSError):
            torch.ops.load_library(str(compiled))  # type: ignore[no-untyped-call]
            return None
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # type: ignore[no-untyped-call]
    return library


def models() -> ModuleType:
    """Return ``torchvision.models``."""
    _declare_missing_operators()
    import torchvision.models

    return cast(ModuleType, torchvision.models)


def timm() -> ModuleType:
    """Return ``timm``."""
    if importlib.util.find_spec("timm") is None:
        raise MissingExtra("timm is not installed", remedy="pip install 'probeline[timm]'")
    _declare_missing_operators()
    import timm as package

    return package
