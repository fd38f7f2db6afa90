"""The device that runs the net, its precision and its name."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from probeline.errors import BadOption, UnknownName

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose(name: str) -> torch.device:
    """Return the device called `name`; ``auto`` prefers CUDA, then MPS, then the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if not re.fullmatch(r"cpu|mps|cuda(:\d{1,2})?", name):
        raise UnknownName("device", name, ["auto", "cpu", "cuda", "cuda:N", "mps"])
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise BadOption(
                f"no device {name} here", got=f"{count} CUDA devices", remedy="use --device auto or --device cpu"
            )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise BadOption("no device mps here", remedy="use --device auto or --device cpu")
    return device


def describe(device: torch.device) -> str:
    """Return the device's name in reports: the GPU's, ``Apple GPU`` or ``CPU``."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return "Apple GPU" if device.type == "mps" else "CPU"


_LOCK = threading.Lock()
_ACTIVE: list[str] = []
"""The TF32 setting of each block that is running: settings are the process's, and threads enter and leave any time."""
_BEFORE: list[str] = []
"""The settings to restore."""


@contextmanager
def exact_float32(precision: str) -> Iterator[None]:
    """Run a block with TF32 off, or on if `precision` is ``tf32``; the last one to leave restores the settings.

    A block under the other setting at the same time is a ValueError. Torch's older switches (``allow_tf32``) are left
    alone: reading one in a process that set a newer one is an error.
    """
    cudnn: Any = torch.backends.cudnn
    operations: list[Any] = [torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn]
    setting = "tf32" if precision == "tf32" else "ieee"
    with _LOCK:
        if _ACTIVE and _ACTIVE[0] != setting:
            raise ValueError(f"float32 as {setting} while another block computes as {_ACTIVE[0]}")
        if not _ACTIVE:
            _BEFORE[:] = [operation.fp32_precision for operation in operations]
            for operation in operations:
                operation.fp32_precision = setting
        _ACTIVE.append(setting)
    try:
        yield
    finally:
        with _LOCK:
            _ACTIVE.pop()
            if not _ACTIVE:
                for operation, earlier in zip(operations, _BEFORE, strict=True):
                    operation.fp32_precision = earlier
