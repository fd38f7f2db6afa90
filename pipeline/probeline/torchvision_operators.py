"""Lets torchvision be imported also if its compiled operators do not match the installed torch.

With a CPU build of torch, torchvision's ordinary wheel cannot load its compiled library and then fails on two detection
operators. No classification net or data set uses them, so they are declared here, without an implementation, before the
import.
"""

from __future__ import annotations

import contextlib
import functools

import torch

from probeline.environment import package_folder


@functools.cache
def declare_missing_operators() -> torch.library.Library | None:
    """Declare the operators that torchvision's compiled library would, if it cannot be loaded."""
    compiled = next(iter(sorted(package_folder("torchvision").glob("_C*.so"))), None)
    if compiled is not None:
        with contextlib.suppress(OSError):
            torch.ops.load_library(str(compiled))  # type: ignore[no-untyped-call]
            return None
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # type: ignore[no-untyped-call]
    return library
