"""The device: which one is meant, how many threads feed it, what it is waited for, and how it says that memory lacks.

No GPU is needed: torch's functions are replaced by ones that tell what a machine with GPUs would.
"""

from __future__ import annotations

import os
import warnings
from typing import Any

import pytest
import torch

from probeline.backbones import device
from probeline.errors import BadOption

CPU, CUDA, MPS = (torch.device(name) for name in ("cpu", "cuda", "mps"))


def see(monkeypatch: pytest.MonkeyPatch, count: int, listed: str | None, *, words: str | None = None) -> None:
    """Let torch see so many CUDA devices, of which starting raises an error of these words."""

    def start(_: torch.device) -> None:
        if words is not None:
            raise RuntimeError(words)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "get_device_properties", start)
    if listed is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)


@pytest.mark.parametrize(
    ("name", "count", "listed", "line"),
    [
        ("cuda", 0, None, "no device cuda here (got 0 CUDA devices); use --device auto or --device cpu"),
        ("cuda:1", 1, None, "no device cuda:1 here (got 1 CUDA device); use --device auto or --device cpu"),
        (
            "cuda:1",
            1,
            "3",
            "no device cuda:1 here (expected a number below 1, in the order of CUDA_VISIBLE_DEVICES, got 1 CUDA "
            "device, CUDA_VISIBLE_DEVICES='3'); correct or unset the variable, or use --device auto or --device cpu",
        ),
        *(
            (
                "cuda",
                0,
                listed,
                f"no device cuda here (got 0 CUDA devices, CUDA_VISIBLE_DEVICES='{listed}'); correct or unset the "
                "variable, or use --device auto or --device cpu",
            )
            for listed in ("", "-1", "none", "99")
        ),
    ],
)
def test_a_device_that_is_not_visible_is_one_line(
    name: str, count: int, listed: str | None, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    see(monkeypatch, count, listed)
    with pytest.raises(BadOption) as caught:
        device.choose(name)
    assert str(caught.value) == line


def test_the_numbers_are_those_of_the_list(monkeypatch: pytest.MonkeyPatch) -> None:
    see(monkeypatch, 2, "5,3")
    assert device.choose("cuda:1") == torch.device("cuda:1")
    assert device.choose("auto") == CUDA


def test_a_device_that_does_not_start_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    words = "CUDA error: all CUDA-capable devices are busy or unavailable\nCUDA kernel errors might be reported later"
    see(monkeypatch, 1, None, words=words)
    for name in ("cuda", "auto"):
        with pytest.raises(BadOption) as caught:
            device.choose(name)
        assert str(caught.value) == (
            "device cuda cannot be used (got 1 CUDA device, CUDA error: all CUDA-capable devices are busy or "
            "unavailable); use --device auto or --device cpu"
        )


def test_what_torch_warns_of_is_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    see(monkeypatch, 0, None)

    def warn() -> bool:
        warnings.warn("CUDA initialization: the driver is too old (found version 9000)", stacklevel=2)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", warn)
    with pytest.raises(BadOption, match=r"got 0 CUDA devices, CUDA initialization: the driver is too old"):
        device.choose("cuda:0")


def test_threads_that_only_decode_use_every_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)  # of physical cores
    monkeypatch.setattr(device, "cores", lambda: 8)
    assert device.decoding_threads(CPU, None) == 4
    assert device.decoding_threads(CUDA, None) == device.decoding_threads(MPS, None) == 8
    monkeypatch.setattr(device, "cores", lambda: 224)
    assert device.decoding_threads(CUDA, None) == 32
    assert [device.decoding_threads(one, 100) for one in (CPU, CUDA)] == [100, 100]


def test_waiting_for_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    class Event:
        def record(self, stream: str) -> None:
            calls.append(("record", stream))

        def synchronize(self) -> None:
            calls.append("wait")

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda of: f"the stream of {of}")
    monkeypatch.setattr(torch.cuda, "synchronize", lambda of: calls.append(("all", str(of))))
    monkeypatch.setattr(torch.mps, "synchronize", lambda: calls.append("mps"))
    wait = device.note_work(torch.device("cuda:1"))
    assert calls == [("record", "the stream of cuda:1")], "no wait yet"
    wait()
    assert calls.pop() == "wait"
    device.finish(torch.device("cuda:1"))
    assert calls.pop() == ("all", "cuda:1")
    wait = device.note_work(MPS)
    assert calls.pop() == "mps", "on this thread"
    wait()
    device.finish(CPU)
    assert len(calls) == 1


def test_page_locked_memory_is_used_if_there_is_some(monkeypatch: pytest.MonkeyPatch) -> None:
    tensor, pinned = torch.arange(3), torch.arange(3)
    words = "CUDA error: out of memory"

    def refuse(_: torch.Tensor) -> torch.Tensor:
        raise RuntimeError(words)

    assert device.pin(tensor, CPU) is device.pin(tensor, MPS) is tensor
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda _: pinned)
    assert device.pin(tensor, CUDA) is pinned
    monkeypatch.setattr(torch.Tensor, "pin_memory", refuse)
    assert device.pin(tensor, CUDA) is tensor
    words = "something else"
    with pytest.raises(RuntimeError, match="something else"):
        device.pin(tensor, CUDA)
    assert torch.equal(device.send(tensor, CPU), tensor)


PLAIN = (
    torch.OutOfMemoryError("Allocation on device 0 would exceed allowed memory"),
    MemoryError("Unable to allocate 3 GiB"),
    RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    RuntimeError("cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`"),
    RuntimeError("MPS backend out of memory (MPS allocated: 9.00 GB, other allocations: 1 MB, max allowed: 9.07 GB)."),
    RuntimeError("Invalid buffer size: 24.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] . DefaultCPUAllocator: can't allocate memory: you tried"),
    RuntimeError("unable to mmap 4096 bytes from file </x>: Cannot allocate memory (12)"),
)
LIKELY = (
    RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(handle)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if you passed in a large input\nmore"),
    RuntimeError("GET was unable to find an engine to execute this computation"),
    RuntimeError("Unable to find a valid cuDNN algorithm to run convolution"),
)
OTHERS = (
    RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"),
    RuntimeError("CUDA error: device-side assert triggered"),
    ValueError("unable to find an engine"),
    KeyboardInterrupt(),
)


@pytest.mark.parametrize("error", [*PLAIN, *LIKELY, *OTHERS], ids=str)
def test_the_words_of_lacking_memory(error: BaseException) -> None:
    assert device.is_out_of_memory(error) == (error not in OTHERS)
    if error not in OTHERS:
        assert device.words_of_refusal(error) == (None if error in PLAIN else str(error).partition("\n")[0])


def test_memory_that_torch_keeps_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    emptied: list[str] = []
    for kind in ("cuda", "mps"):
        monkeypatch.setattr(getattr(torch, kind), "empty_cache", lambda kind=kind: emptied.append(kind))
    for one in (CPU, CUDA, MPS):
        device.empty_cache(one)
    assert emptied == ["cuda", "mps"]


def test_this_machine_has_what_it_says() -> None:
    assert device.choose("cpu") == CPU
    assert device.choose("auto").type in ("cpu", "cuda", "mps")
    assert 1 <= device.decoding_threads(CUDA, None) <= (os.cpu_count() or 1)
