"""The processes that train one network together, as torchrun starts them, and what they exchange.

Small things go over gloo on the CPU, without a wait for a device; sums of tensors by the library of their device, NCCL
for CUDA. Torch is imported where several processes need it.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from probeline.errors import BadOption, Diverged, OutOfMemory, RankLost
from probeline.options.share import Share

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch._C._distributed_c10d import Store

Item = TypeVar("Item")

_TRAININGS = itertools.count()
_PATIENCE = timedelta(days=7)
"""How long a process waits for another, which may have features to extract: torchrun ends those whose peer died."""


@dataclass(frozen=True)
class Ranks:
    """Which of the processes of a training this is, counted from 0; by default it is alone.

    With several, each method that is not a property is called by all of them, in the same order, and waits for all.

    Raises
    ------
    RankLost
        Another process has ended.
    """

    index: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the process that reads and writes checkpoints and records."""
        return self.index == 0

    @property
    def share(self) -> Share | None:
        """Which part of an extraction is this process's; None for one alone."""
        return Share(self.index, self.count) if self.count > 1 else None

    def own(self, items: Sequence[Item]) -> Sequence[Item]:
        """Return this process's share of some items, in their order; needs no other process.

        All shares in the order of the processes are the items. Shares differ by one item at most, the first are the
        larger ones, and the last may be empty.
        """
        size, larger = divmod(len(items), self.count)
        start = self.index * size + min(self.index, larger)
        return items[start : start + size + (self.index < larger)]

    def broadcast(self, value: Any) -> Any:
        """Return what the first process passes, as JSON gives it back; what others pass is ignored."""
        if self.count == 1:
            return value
        import torch
        import torch.distributed as dist

        text = json.dumps(value, allow_nan=False).encode() if self.is_first else b""
        size = torch.tensor([len(text)])
        with _connected():
            dist.broadcast(size, 0)
            data = torch.tensor(list(text or bytes(int(size))), dtype=torch.uint8)
            dist.broadcast(data, 0)
        return json.loads(data.numpy().tobytes())

    def broadcast_tensors(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors that the first process passes, on the CPU; what others pass is ignored."""
        if self.count == 1:
            return tensors
        import torch
        import torch.distributed as dist

        received: dict[str, Tensor] = {}
        plan = [
            [name, str(tensor.dtype).removeprefix("torch."), list(tensor.shape)] for name, tensor in tensors.items()
        ]
        for name, dtype, shape in self.broadcast(plan):
            if self.is_first:
                received[name] = tensors[name].cpu().contiguous()
            else:
                received[name] = torch.empty(shape, dtype=getattr(torch, dtype))
            with _connected():  # as bytes, since gloo knows few types
                dist.broadcast(received[name].reshape(-1).view(torch.uint8), 0)
        return received

    def largest(self, values: Tensor) -> Tensor:
        """Return the largest value at each place over all processes, on the CPU; values int64 [n]."""
        if self.count > 1:
            import torch.distributed as dist

            with _connected():
                dist.all_reduce(values, dist.ReduceOp.MAX)
        return values

    def any(self, flag: bool) -> bool:
        """Return whether the flag of any process is True."""
        if self.count == 1:
            return flag
        import torch

        return bool(self.largest(torch.tensor([int(flag)])))

    def agree(self, values: Tensor) -> bool:
        """Return whether all processes pass the same values int64 [n], with as many in each."""
        if self.count == 1:
            return True
        import torch

        return bool((self.largest(torch.cat([values, ~values])).view(2, -1).sum(0) == -1).all())

    def check_same(self, title: str, key: str) -> None:
        """Raise BadOption unless all processes pass the same key, 64 hexadecimal digits."""
        if self.count == 1:
            return
        import torch

        if not self.agree(torch.tensor(list(bytes.fromhex(key)))):
            raise BadOption(
                f"{title}: the processes are about different trainings",
                got=f"key {key[:12]} in process {self.index + 1} of {self.count}",
                remedy="give all of them the same command, data and weights",
            )

    def add(self, values: Tensor) -> None:
        """Replace values by their sum over all processes, which all of them get to the last bit."""
        if self.count > 1:
            import torch.distributed as dist

            with _connected():
                dist.all_reduce(values)

    @contextmanager
    def sharing_memory_errors(self) -> Iterator[None]:
        """Raise OutOfMemory in every process if the block raises it in one, so that all of them start again."""
        try:
            yield
        except OutOfMemory:
            self.any(True)
            raise
        if self.any(False):
            raise OutOfMemory("a batch does not fit into the memory of another process")


ALONE = Ranks()
"""One process, which asks nobody."""


@contextmanager
def _connected() -> Iterator[None]:
    """Turn what torch says of a lost connection into RankLost."""
    try:
        yield
    except RuntimeError as error:
        raise RankLost(
            "the connection to another process of this training is lost",
            got=str(error).strip().partition("\n")[0],
            remedy="the same command goes on from the last epoch that was finished",
        ) from error


@functools.cache
def _store(share: Share) -> Store:
    """Return the store by which the processes find one another: the launcher's."""
    from torch.distributed.rendezvous import rendezvous

    store: Store = next(rendezvous("env://", share.index, share.count))[0]
    return store


@contextmanager
def joined(share: Share, device: torch.device, environ: Mapping[str, str]) -> Iterator[Ranks]:
    """Join the processes that torchrun has started, and leave them if the block ends well or a training has diverged.

    Raises
    ------
    BadOption
        The launcher does not say where the first process is.
    RankLost
        They cannot be reached.
    """
    import torch
    import torch.distributed as dist
    from torch._C._distributed_c10d import PrefixStore

    if missing := [name for name in ("MASTER_ADDR", "MASTER_PORT") if not environ.get(name)]:
        raise BadOption(
            f"RANK and WORLD_SIZE are set, {' and '.join(missing)} not",
            remedy="start several processes by torchrun, or unset them",
        )
    if device.type == "cuda":
        torch.cuda.set_device(device)
    with _connected():
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        # What one training has left in the store is not for the next.
        store = PrefixStore(f"training {next(_TRAININGS)}", _store(share))
        dist.init_process_group(backend, store=store, rank=share.index, world_size=share.count, timeout=_PATIENCE)
    ranks = Ranks(share.index, share.count)
    ranks.add(torch.zeros(1, device=device))  # NCCL takes its memory here
    try:
        yield ranks
    except Diverged:  # in all processes alike, and the next step of a recipe goes on
        dist.destroy_process_group()
        raise
    # Not after another error: the others may be in the middle of something.
    dist.destroy_process_group()


def device_of_rank(name: str, environ: Mapping[str, str]) -> torch.device:
    """Return the device of this process for the option `name`: of several GPUs that of its number on its machine.

    Raises
    ------
    BadOption
        The option names one GPU for all processes, or Apple's, or there are fewer GPUs than processes.
    UnknownName
        No such device.
    """
    from probeline.backbones.device import choose

    device = choose(name)
    if device.type == "cpu":
        return device
    if device.type != "cuda" or device.index is not None:
        raise BadOption(
            f"several processes cannot share the device {device}",
            remedy="use --device cuda, by which each process on a machine gets a GPU of its own, or --device cpu",
        )
    import torch

    number, count = int(environ.get("LOCAL_RANK") or 0), torch.cuda.device_count()
    if number >= count:
        raise BadOption(
            "fewer GPUs than processes on this machine",
            expected=f"at most {count}",
            remedy=f"use torchrun --nproc-per-node {count}, or --device cpu",
        )
    return torch.device("cuda", number)


def threads_of_rank(device: torch.device, requested: int | None, environ: Mapping[str, str]) -> int | None:
    """Return how many threads decode in this process, if no number is requested: those of its machine are divided.

    For a CPU it is None, the default: torchrun gives each process one thread unless OMP_NUM_THREADS says otherwise.
    """
    from probeline.backbones.device import decoding_threads

    if requested is not None or device.type == "cpu":
        return requested
    return max(1, decoding_threads(device, None) // int(environ.get("LOCAL_WORLD_SIZE") or 1))
