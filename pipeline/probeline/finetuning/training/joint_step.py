"""One step of several processes: their gradients and BatchNorm statistics, put together as one process has them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from probeline.backbones.device import send
from probeline.errors import BadOption
from probeline.finetuning.ranks import Ranks
from probeline.finetuning.training.network import norms


class JointStep:
    """A batch whose parts are divided among processes, from its first part to the gradients of the whole batch.

    One process takes the running statistics b of a BatchNorm layer through the parts of a batch one after another, by
    b <- (1 - momentum) b + momentum s, with the statistics s of each part. Here every part is run with b = 0, which
    leaves momentum s alone, and then every process applies the terms of all parts in their order. That is the same
    rule, so it differs by rounding at most, and all processes have the same statistics to the last bit.

    A layer that is used several times in a pass, or whose momentum is None (a cumulative average), is covered as well.
    """

    def __init__(self, net: nn.Module, ranks: Ranks, parts: int, device: torch.device) -> None:
        self._ranks = ranks
        self._parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
        self._norms = _tracking(net)
        self._running = [norm.get_buffer(name) for norm in self._norms for name in ("running_mean", "running_var")]
        self._counts = [norm.get_buffer("num_batches_tracked") for norm in self._norms]
        self._before = _flat(self._running, device, torch.float64)
        self._batches = _flat(self._counts, device, torch.float64)
        # One row per part: what it adds to the statistics, and how often each layer was used in it.
        self._added = torch.zeros((parts, len(self._before) + len(self._batches)), device=device)
        self._packed = torch.empty(0)

    @contextmanager
    def part(self, number: int) -> Iterator[None]:
        """Take down what the forward and backward pass of a part of the batch in the block adds to the statistics."""
        state = [*self._running, *self._counts]
        for tensor in state:
            tensor.zero_()
        yield
        self._added[number] = _flat(state, self._added.device)

    def pack(self, loss: Tensor, correct: Tensor) -> None:
        """Put this process's gradients, statistics and sums, both without axes, into one tensor.

        All memory that an exchange needs is taken here, so that no process fails in the middle of one.
        """
        gradients = [
            torch.zeros_like(parameter) if parameter.grad is None else parameter.grad for parameter in self._parameters
        ]
        self._packed = torch.cat(
            [*(gradient.reshape(-1) for gradient in gradients), self._added.view(-1), loss.view(1), correct.view(1)]
        )

    def exchange(self) -> tuple[Tensor, Tensor]:
        """Give the net the gradients and statistics of the whole batch, and return both sums over it."""
        present = torch.tensor([parameter.grad is not None for parameter in self._parameters], dtype=torch.int64)
        present = self._ranks.largest(present)
        self._ranks.add(self._packed)
        sizes = [parameter.numel() for parameter in self._parameters]
        *gradients, added, loss, correct = torch.split(self._packed, [*sizes, self._added.numel(), 1, 1])
        for parameter, gradient, is_present in zip(self._parameters, gradients, present.tolist(), strict=True):
            if is_present:  # the optimizer passes over parameters without a gradient
                parameter.grad = torch.empty_like(parameter) if parameter.grad is None else parameter.grad
                parameter.grad.copy_(gradient.view_as(parameter))
        self._combine(added.view_as(self._added))
        return loss.view(()), correct.view(())

    def _combine(self, added: Tensor) -> None:
        if not self._norms:
            return
        momentum = torch.tensor([norm.momentum or 0.0 for norm in self._norms], dtype=torch.float64)
        cumulative = torch.tensor([norm.momentum is None for norm in self._norms])
        features = torch.tensor([2 * norm.num_features for norm in self._norms])
        momentum, cumulative, features = (send(values, added.device) for values in (momentum, cumulative, features))
        running, batches = self._before, self._batches
        for row in added:
            term, uses = row.tensor_split([len(running)])
            total = (batches + uses).clamp(min=1)
            kept = torch.where(cumulative, batches / total, (1 - momentum) ** uses)
            weight = torch.where(cumulative, uses / total, 1.0)
            kept, weight = (factor.repeat_interleave(features, output_size=len(running)) for factor in (kept, weight))
            running, batches = kept * running + weight * term, batches + uses
        for tensors, values in ((self._running, running), (self._counts, batches)):
            for tensor, value in zip(tensors, torch.split(values, [tensor.numel() for tensor in tensors]), strict=True):
                tensor.copy_(value.view_as(tensor))


@contextmanager
def other_buffers_unchanged(net: nn.Module, is_known: bool) -> Iterator[None]:
    """Refuse a net of which steps in the block change a buffer that is no BatchNorm layer's, unless that is known.

    Raises
    ------
    BadOption
        Each process would have its own.
    """
    own = {id(buffer) for norm in _tracking(net) for buffer in norm.buffers()}
    before = {} if is_known else {name: buf.clone() for name, buf in net.named_buffers() if id(buf) not in own}
    yield
    now = dict(net.named_buffers())
    if changed := [name for name, buffer in before.items() if not torch.equal(now[name], buffer)]:
        raise BadOption(
            "training changes a buffer of the net that is no BatchNorm layer's, so several processes would differ",
            got=changed[0],
            remedy="train this net in one process",
        )


_WHOLE_NUMBERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def sum_bits(tensors: Iterable[Tensor]) -> Tensor:
    """Return the sum of the elements of each tensor, their bits taken as whole numbers, int64 [n] on the CPU."""
    numbers = (tensor.detach().view(_WHOLE_NUMBERS[tensor.element_size()]) for tensor in tensors)
    return torch.stack([own.sum(dtype=torch.int64) for own in numbers]).cpu()


def _tracking(net: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """Return the BatchNorm layers that a step changes the running statistics of."""
    return [
        norm
        for norm in norms(net)
        if norm.training and norm.running_mean is not None and norm.num_batches_tracked is not None
    ]


def _flat(tensors: list[Tensor], device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    """Return the values of tensors one after another, [n]."""
    flat = [tensor.detach().reshape(-1).to(dtype) for tensor in tensors]
    return torch.cat(flat) if flat else torch.zeros(0, dtype=dtype, device=device)
