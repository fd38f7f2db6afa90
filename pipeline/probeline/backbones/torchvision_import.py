"""Imports torchvision and timm, also if torchvision's compiled operators do not fit the installed torch.

A CPU build of torch beside torchvision's ordinary wheel cannot load torchvision's compiled library, and torchvision
then fails while it describes two detection operators. No classification net uses them, so they are declared here,
without an implementation, before torchvision is imported.
"""

from __future__ import annotations

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
        try:
            torch.ops.load_library(str(compiled))  # type: ignore[no-untyped-call]
        except OSError:
            pass
        else:
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
    """Return ``timm``.

    Raises
    ------
    MissingExtra
        The extra is not installed.
    """
    if importlib.util.find_spec("timm") is None:
        raise MissingExtra("timm is not installed", remedy="pip install 'probeline[timm]'")
    _declare_missing_operators()
    import timm as package

    return package
