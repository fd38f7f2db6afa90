"""The steps of a training: the optimizer and its rates, what is frozen, and batches in parts that memory holds."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from probeline.backbones.device import empty_cache, is_out_of_memory, words_of_refusal
from probeline.console import Console
from probeline.errors import BadOption, OutOfMemory
from probeline.finetuning import checkpoint
from probeline.finetuning.training.background import HostCopies
from probeline.finetuning.training.joint_step import JointStep, other_buffers_unchanged
from probeline.finetuning.training.network import Network, norms
from probeline.finetuning.training.setup import TrainingOptions, TrainingSetup
from probeline.heads.minibatch.training import factors, fuses
from probeline.types import IntArray

Result = TypeVar("Result")

State = tuple[dict[str, Tensor], dict[str, Any]]
"""Tensors of net and optimizer on the CPU, and the state of the gradient scaler."""


class Stepper:
    """Takes the optimizer's steps on a net.

    Attributes
    ----------
    parts : int
        In how many parts a batch goes through the net, on all processes together.
    trainable : int
        Number of parameters that are trained at one time or other.
    """

    def __init__(self, setup: TrainingSetup, network: Network) -> None:
        self._setup, self._network, self._options = setup, network, setup.options
        groups = rate_groups(setup)
        begins = setup.unfreezing.begins
        trained = [group for group in groups if group["stage"] is None or begins[group["stage"]] is not None]
        self.trainable = sum(p.numel() for group in trained for p in group["params"])
        self.optimizer = make_optimizer(groups, setup.options, setup.device)
        self.scaler = torch.amp.GradScaler(setup.device.type, enabled=setup.options.precision == "fp16")
        self.parts = setup.options.accumulate
        self._is_checked = setup.ranks.count == 1
        self._copies = HostCopies(setup.device)

    def rate_shares(self, rows: IntArray, epoch: int) -> list[float]:
        """Return the shares of the peak rates from an epoch's first step to the training's last."""
        batches = len(self._split(rows))
        return rates(self._options, batches)[epoch * batches :]

    def first_rate(self, rows: IntArray, epoch: int) -> float:
        """Return the head's learning rate at an epoch's first step."""
        return float(self.optimizer.param_groups[0]["peak"]) * self.rate_shares(rows, epoch)[0]

    def _split(self, rows: IntArray) -> list[IntArray]:
        batches = split_batches(rows, self._options.batch_size)
        if len(batches) > 1 and len(batches[-1]) == 1:
            # BatchNorm cannot take the statistics of a single value.
            batches[-2:] = [np.concatenate(batches[-2:])]
        return batches

    def set_modes(self, epoch: int) -> None:
        """Freeze what this epoch does not train: no gradients, and all of its modules in eval mode."""
        net, trained = self._network.net, self._setup.unfreezing.trained(epoch)
        net.train().requires_grad_(False)
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                parameter.requires_grad_(group["stage"] is None or trained[group["stage"]])
        for stage, is_trained in zip(self._setup.stages, trained, strict=True):
            if not is_trained:
                for path in stage.modules:
                    net.get_submodule(path).eval()
        if self._options.freeze_batchnorm or self._setup.keeps_statistics:
            for norm in norms(net):
                norm.eval()

    def run(
        self, rows: IntArray, epoch: int, shares: Sequence[float]
    ) -> Generator[tuple[int, Tensor, Tensor], None, None]:
        """Take a step for each batch of an epoch and each of `shares` of the peak rates, as long as there are both.

        Order and augmentation depend on (seed, epoch) alone. Dropout does too if batches go through the net whole; in
        parts, each part draws by the numbers of epoch, batch and part, so that it may run in any process. Until it is
        closed, the global random state is the epoch's. Yields the number of images of each batch, their summed loss,
        and the sum of what the loss counts, before the step.
        """
        seed, device = self._options.seed, self._setup.device
        batches = self._split(np.random.default_rng([seed, epoch]).permutation(rows))[: len(shares)]
        own = [batch[_extent(self._setup.ranks.own(self._parts_of(len(batch))))] for batch in batches]
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(draw_seed(seed, epoch))
            read = [rows for rows in own if len(rows)]
            fed = zip(self._setup.feed(read, epoch), (self._setup.labels[rows] for rows in read), strict=True)
            ahead = _with_empty(self._network.ahead(fed), own)
            for number, (batch, (inputs, labels)) in enumerate(zip(batches, ahead, strict=True)):
                for group in self.optimizer.param_groups:
                    group["lr"] = group["peak"] * shares[number]
                loss, correct = self.step(inputs, labels, batch, (seed, epoch, number))
                yield len(batch), loss, correct

    def _parts_of(self, images: int) -> list[tuple[int, slice]]:
        """Return the parts in which a batch of so many images goes through the net, each with its number."""
        parts = np.array_split(np.arange(images), max(1, min(self.parts, images // 2)))
        return [(number, slice(int(part[0]), int(part[-1]) + 1)) for number, part in enumerate(parts)]

    def step(self, inputs: Tensor, labels: Tensor, rows: IntArray, draw: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
        """Take one step, and return the summed loss of its images and the sum of what the loss counts.

        Inputs and labels are those of the rows that go through the net in this process, which are all if it is alone.
        `draw` is the seed and the number of the epoch and of the batch.
        """
        device, ranks = self._setup.device, self._setup.ranks
        self.optimizer.zero_grad(set_to_none=True)
        loss_sum = correct_sum = torch.zeros((), device=device)
        self.scaler.scale(loss_sum)  # which prepares it also where no part of the batch is
        every = self._parts_of(len(rows))
        parts, most = ranks.own(every), every[0][1].stop
        start = _extent(parts).start
        joint = None
        with ranks.sharing_memory_errors(), other_buffers_unchanged(self._network.net, self._is_checked):
            if ranks.count > 1:
                with self._explained_refusals(most):
                    joint = JointStep(self._network.net, ranks, len(every), device)
            for number, part in parts:
                chosen, images = slice(part.start - start, part.stop - start), part.stop - part.start
                if self.parts > 1:
                    torch.manual_seed(draw_seed(*draw, number))
                with self._explained_refusals(images), joint.part(number) if joint else nullcontext():
                    truth = labels[chosen].to(device)
                    loss, correct = self._setup.loss.loss(self._network.forward(inputs[chosen]), truth, rows[part])
                    self.scaler.scale(loss * (images / len(rows))).backward()
                loss_sum = loss_sum + loss.detach() * images
                correct_sum = correct_sum + correct
            if joint:
                with self._explained_refusals(most):
                    joint.pack(loss_sum, correct_sum)
        self._is_checked = True
        if joint:
            loss_sum, correct_sum = joint.exchange()
        with ranks.sharing_memory_errors(), self._explained_refusals(most):
            if self._options.clip:
                self.scaler.unscale_(self.optimizer)
                torch.nn.utils.clip_grad_norm_(self._network.net.parameters(), self._options.clip)
            self.scaler.step(self.optimizer)
            self.scaler.update()
        return loss_sum, correct_sum

    @contextmanager
    def _explained_refusals(self, images: int) -> Iterator[None]:
        """Say what the user can do about a batch that torch refuses."""
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise OutOfMemory(
                f"a batch of {images} images does not fit into the memory of {self._setup.device}",
                got=words_of_refusal(error),
                remedy="use a smaller --batch-size or --image-size",
            ) from error
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise BadOption(
                "BatchNorm cannot train on a batch of one image",
                remedy="use --batch-size 2 or more, or --freeze-batchnorm",
            ) from error

    def run_until_it_fits(
        self,
        run: Callable[[Callable[[int], object]], Result],
        advance: Callable[[int], object],
        console: Console,
        too_large: str,
        before: State,
    ) -> Result:
        """Return what `run` gives, started again with batches in twice as many parts until memory holds them.

        `run` is given a function that counts its progress by `advance`; what was done in vain is taken back to the
        state `before`, and the message `too_large` says how many parts the batches now have.
        """
        while True:
            done: list[int] = []

            def count(number: int, done: list[int] = done) -> None:
                done.append(number)
                advance(number)

            try:
                return run(count)
            except OutOfMemory:
                if 2 * self.parts >= self._options.batch_size:
                    raise
            # Outside of the handler: the exception's traceback keeps the failed batch's tensors alive.
            self.optimizer.zero_grad(set_to_none=True)
            gc.collect()  # on Python 3.12 what failed is part of a cycle
            empty_cache(self._setup.device)
            self.restore(before)
            self.parts *= 2
            advance(-sum(done))
            console.say(f"{too_large} in {self.parts} parts")

    def copy_state(self) -> State:
        """Return copies on the CPU of all that the next step depends on."""
        tensors = checkpoint.training_tensors(self._network.net, self.optimizer)
        return self._copies.take(tensors), self.scaler.state_dict()

    def restore(self, state: State) -> None:
        """Return to a state, which stays as it is."""
        tensors, scaler = state
        self.optimizer.zero_grad(set_to_none=True)
        checkpoint.restore(self._network.net, self.optimizer, tensors)
        self.scaler.load_state_dict(scaler)


def draw_seed(*numbers: int) -> int:
    """Return the seed of what is drawn in an epoch, or in a part of a batch.

    Its numbers are the seed of the training and the epoch's, then the batch's and the part's, each counted from 0.
    """
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def _with_empty(read: Iterator[Sequence[Tensor]], own: Sequence[IntArray]) -> Iterator[Sequence[Tensor]]:
    """Yield inputs and labels for each of some rows, empty ones where no rows are read."""
    for rows in own:
        yield next(read) if len(rows) else (torch.empty(0), torch.empty(0))
    yield from read


def _extent(parts: Sequence[tuple[int, slice]]) -> slice:
    """Return the images of parts that follow one another."""
    return slice(parts[0][1].start, parts[-1][1].stop) if parts else slice(0, 0)


def rate_groups(setup: TrainingSetup) -> list[dict[str, Any]]:
    """Return the optimizer's groups: the head's, then each stage's, that next to the head first.

    Each has ``peak``, its highest rate, and ``stage``, the number of its stage, or None for the head.
    """
    options, stages = setup.options, setup.stages
    parameters = dict(setup.net.named_parameters())
    fixed_norms = norms(setup.net) if options.freeze_batchnorm else ()
    fixed = {id(parameter) for norm in fixed_norms for parameter in norm.parameters()}
    head = [name for name in parameters if name.startswith(setup.tap.head + ".")]
    # At a new head's rate the probe's solution would be lost before anything below it had moved.
    peak = options.lr * (1.0 if setup.start == "fresh" else options.body)
    parts: list[tuple[int | None, list[str], float]] = [(None, head, peak)]
    for above, stage in enumerate(reversed(stages)):
        rate = options.lr * options.body * options.decay**above
        parts.append((len(stages) - 1 - above, list(stage.parameters), rate))
    groups = []
    for number, names, highest in parts:
        for decays in (True, False):
            # Position tables, class tokens and layer scales have several axes too; none of them is called a weight.
            chosen = [
                parameters[name]
                for name in names
                if (parameters[name].ndim > 1 and name.endswith("weight")) == decays
                and id(parameters[name]) not in fixed
            ]
            if chosen:
                weight_decay = options.weight_decay if decays else 0.0
                groups.append({"params": chosen, "peak": highest, "stage": number, "weight_decay": weight_decay})
    return groups


def make_optimizer(
    groups: list[dict[str, Any]], options: TrainingOptions, device: torch.device
) -> torch.optim.Optimizer:
    fused = fuses(device)
    match options.optimizer:
        case "adamw":
            return torch.optim.AdamW(groups, lr=options.lr, fused=fused)
        case "adam":
            return torch.optim.Adam(groups, lr=options.lr, fused=fused)
    return torch.optim.SGD(groups, lr=options.lr, momentum=0.9, fused=fused)


def rates(options: TrainingOptions, batches: int) -> list[float]:
    """Return each step's share of the peak rates, of a training with so many batches per epoch."""
    steps = options.epochs * batches
    warm = max(1, math.ceil(options.warmup * batches)) if options.warmup else 0
    shape = factors(options.schedule, steps)
    return [float(shape[step]) * min(1.0, (step + 1) / warm if warm else 1.0) for step in range(steps)]


def split_batches(rows: IntArray, size: int) -> list[IntArray]:
    """Return the rows in batches of `size`, in their order; the last one may be smaller."""
    return [rows[start : start + size] for start in range(0, len(rows), size)]
