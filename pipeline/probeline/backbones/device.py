"""The device that runs the net: its choice, precision and name, waiting for it, and what memory it lacks."""

from __future__ import annotations

import os
import re
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from probeline.environment import VISIBLE, cores
from probeline.errors import BadOption, UnknownName
from probeline.format import plural

DTYPES = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

_MOST_DECODERS = 32
"""Most workers that decode for a GPU by default; they are processes, which do not wait for each other."""

_NO_MEMORY = re.compile(
    "out of memory|can't allocate memory|cannot allocate memory|not enough memory|invalid buffer size|"
    "alloc_failed|allocation_failed|memoryallocation",
    re.IGNORECASE,
)
_LIKELY_NO_MEMORY = re.compile(
    "cublas_status_not_initialized|cudnn_status_not_initialized|cudnn_status_not_supported|"
    "unable to find an engine|unable to find a valid cudnn algorithm",
    re.IGNORECASE,
)
"""What the libraries of a CUDA device say if their own memory, for a handle or for work space, is refused, and else."""


def choose(name: str) -> torch.device:
    """Return the device called `name`; ``auto`` is CUDA if there is such a device, else MPS, else the CPU.

    The number of ``cuda:N`` counts the devices that CUDA_VISIBLE_DEVICES lists, from 0.

    Raises
    ------
    UnknownName
    BadOption
        There is no such device, or it cannot be used.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if not re.fullmatch(r"cpu|mps|cuda(:\d{1,2})?", name):
        raise UnknownName("device", name, ["auto", "cpu", "cuda", "cuda:N", "mps"])
    device = torch.device(name)
    if device.type == "cuda":
        _check_cuda(device)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise BadOption("no device mps here", remedy="use --device auto or --device cpu")
    return device


def _check_cuda(device: torch.device) -> None:
    visible = os.environ.get(VISIBLE)
    with warnings.catch_warnings(record=True) as caught:  # torch warns of a driver that it cannot use
        warnings.simplefilter("always")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    reasons = [str(warning.message) for warning in caught]
    if (device.index or 0) < count:
        try:
            torch.cuda.get_device_properties(device)  # CUDA is started here
        except (RuntimeError, AssertionError) as error:
            reasons = [str(error)]
        else:
            return
    facts = [plural(count, "CUDA device"), *(reason.strip().partition("\n")[0] for reason in reasons[:1])]
    if visible is not None:
        facts.insert(1, f"{VISIBLE}={visible!r}")
    raise BadOption(
        f"no device {device} here" if (device.index or 0) >= count else f"device {device} cannot be used",
        expected=f"a number below {count}, in the order of {VISIBLE}" if count and visible is not None else None,
        got=", ".join(facts),
        remedy=("correct or unset the variable, or " if visible is not None else "")
        + "use --device auto or --device cpu",
    )


def describe(device: torch.device) -> str:
    """Return the device's name in reports: the GPU's, ``Apple GPU`` or ``CPU``."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return "Apple GPU" if device.type == "mps" else "CPU"


def decoding_threads(device: torch.device, requested: int | None) -> int:
    """Return how many threads decode, if no number is requested.

    For a CPU they run the net as well, one core each: torch's number of threads, which is that of physical cores and
    follows OMP_NUM_THREADS. A second thread of a core would share its arithmetic and its caches. For another device
    they only decode, for which all processors serve that this process may use.
    """
    if requested is not None:
        return requested
    return torch.get_num_threads() if device.type == "cpu" else min(cores(), _MOST_DECODERS)


def finish(device: torch.device) -> None:
    """Wait until a device has finished all of its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def note_work(device: torch.device) -> Callable[[], None]:
    """Return a function that waits until a device has finished what it was given up to now.

    It may be called on another thread, and does not wait for what the device is given in the meantime. MPS has no
    such marks that are safe to wait for on another thread, so the wait is here.
    """
    if device.type != "cuda":
        finish(device)
        return lambda: None
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record(torch.cuda.current_stream(device))
    return event.synchronize


def pin(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor of the CPU in page-locked memory, from which CUDA copies without waiting; else as it is."""
    if device.type != "cuda":
        return tensor
    try:
        return tensor.pin_memory()
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    return tensor  # the machine grants no more of it: the copy waits


def copy_for(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a copy of a tensor of the CPU, in page-locked memory for a CUDA device."""
    pinned = pin(tensor, device)
    return tensor.clone() if pinned is tensor else pinned


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor of the CPU on the device; the copy to a CUDA device is not waited for."""
    return pin(tensor, device).to(device, non_blocking=device.type == "cuda")


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether torch or a library of the device ran out of memory; mostly only the message shows it."""
    likely = isinstance(error, RuntimeError) and bool(_LIKELY_NO_MEMORY.search(str(error)))
    return likely or _says_no_memory(error)


def words_of_refusal(error: BaseException) -> str | None:
    """Return the words of an error that is taken for lack of memory without saying so; None if it says so."""
    return None if _says_no_memory(error) else str(error).strip().partition("\n")[0]


def _says_no_memory(error: BaseException) -> bool:
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or bool(_NO_MEMORY.search(str(error)))


def empty_cache(device: torch.device) -> None:
    """Give the device's memory that torch keeps for later back to the device.

    To be called outside of the handler of an exception, whose traceback keeps tensors alive.
    """
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


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
