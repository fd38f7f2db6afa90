"""What runs in parallel with a training's steps: copies of its state on the host, and a thread that writes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

import torch
from torch import Tensor

from probeline.backbones.device import finish, pin


class HostCopies:
    """Copies tensors of a device into the memory of the host, each time into the same.

    From a CUDA device they go to page-locked memory, all of them before the one wait for the device.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._copies: dict[str, Tensor] = {}

    def take(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return copies with the strides of the tensors; the next call overwrites them."""
        self._copies = {name: self._place(name, tensor.detach()) for name, tensor in tensors.items()}
        for name, copy in self._copies.items():
            copy.copy_(tensors[name].detach(), non_blocking=self._device.type == "cuda")
        finish(self._device)
        return dict(self._copies)

    def _place(self, name: str, tensor: Tensor) -> Tensor:
        place = self._copies.get(name)
        if place is not None and (place.shape, place.dtype, place.stride()) == (
            tensor.shape,
            tensor.dtype,
            tensor.stride(),
        ):
            return place
        return pin(torch.empty_like(tensor, device="cpu"), self._device)


class BackgroundTask:
    """Runs one task at a time on a thread; a ``with`` block waits for the last one, and raises its error."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._task: Future[None] | None = None

    def __enter__(self) -> BackgroundTask:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True)
        if kind is None:
            self.wait()

    def start(self, task: Callable[[], None]) -> None:
        """Wait for the task before, and start one."""
        self.wait()
        self._task = self._pool.submit(task)

    def check(self) -> None:
        """Raise the error of a task that has failed; wait for nothing."""
        if self._task is not None and self._task.done():
            self.wait()

    def wait(self) -> None:
        """Wait for the task, if there is one, and raise its error."""
        task, self._task = self._task, None
        if task is not None:
            task.result()
