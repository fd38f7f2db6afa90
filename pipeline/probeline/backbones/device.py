"""Which device runs the net, how precisely, and what it is called."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch

from probeline.errors import BadOption, UnknownName

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def choose(name: str) -> torch.device:
    """Return the device that `name` asks for; ``auto`` prefers CUDA, then MPS, then the CPU.

    Raises
    ------
    UnknownName, BadOption
        No such device, or none on this machine.
    """
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
    """Return what a report calls the device: the GPU's name, ``Apple GPU`` or ``CPU``."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return "Apple GPU" if device.type == "mps" else "CPU"


@dataclass
class _Switched:
    """Who runs under which TF32 setting: the settings are the process's, and threads enter and leave as they like."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    users: int = 0
    to: str = ""
    before: list[str] = field(default_factory=list)


_SWITCHED = _Switched()


@contextmanager
def exact_float32(precision: str) -> Iterator[None]:
    """Run a block with TF32 off, or on where `precision` is ``tf32``; whoever leaves last puts the settings back.

    Torch's older switches (``allow_tf32``) are left alone: to read one in a process that set a newer one is an error.

    Raises
    ------
    ValueError
        Another block runs the other way.
    """
    cudnn: Any = torch.backends.cudnn
    operations: list[Any] = [torch.backends.cuda.matmul, cudnn.conv, cudnn.rnn]
    to = "tf32" if precision == "tf32" else "ieee"
    with _SWITCHED.lock:
        if _SWITCHED.users and _SWITCHED.to != to:
            raise ValueError(f"float32 as {to} while another block computes as {_SWITCHED.to}")
        if not _SWITCHED.users:
            _SWITCHED.to, _SWITCHED.before = to, [operation.fp32_precision for operation in operations]
            for operation in operations:
                operation.fp32_precision = to
        _SWITCHED.users += 1
    try:
        yield
    finally:
        with _SWITCHED.lock:
            _SWITCHED.users -= 1
            if not _SWITCHED.users:
                for operation, earlier in zip(operations, _SWITCHED.before, strict=True):
                    operation.fp32_precision = earlier
