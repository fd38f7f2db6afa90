"""Train a whole net on a split: the fine-tune that a probe is held against, and the same net from scratch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from probeline.backbones.device import DTYPES
from probeline.backbones.frozen import Normalize, in_halves, is_out_of_memory
from probeline.backbones.penultimate import Tap
from probeline.backbones.split_forward import run_above, shape_below
from probeline.backbones.stages import Stage
from probeline.console import Console
from probeline.errors import BadCache, BadOption, Diverged, OutOfMemory
from probeline.finetune import checkpoint
from probeline.finetune.losses import CrossEntropy
from probeline.finetune.optimization import Start, Training, epoch_seed, make_optimizer, norms, rate_groups, rates
from probeline.finetune.plan import Plan
from probeline.types import AnyArray, IntArray, Preprocess

Feed = Callable[[Sequence[IntArray], int | None], Iterator[AnyArray]]
"""Given batches of row numbers and an epoch, from 0, or None for images as they are, yields what goes into the net:
pixels uint8 [b, S, S, 3], or what a stage gets from below, each image's flattened, float32 [b, D]."""

Found = TypeVar("Found")

_LOOK = 1.0
"""Seconds after which the losses of an epoch are looked at: each look waits for the device."""


@dataclass(frozen=True)
class Trained:
    """What training gave.

    Attributes
    ----------
    history : tuple of mappings
        Per epoch: epoch, lr (of the head, at the epoch's first step), train_loss, train_top1 (on augmented images),
        val_loss, val_top1 and what else the objective reads off val, seconds.
    best_epoch : int
        The epoch whose weights the net now has: highest val top-1, then lowest val loss, then earliest.
    trainable, total : int
        As the trainer's.
    seconds : float
        Summed over epochs, also those of an interrupted run that this one continues.
    resumed_from : int
        Epochs taken over from a checkpoint.
    """

    history: tuple[dict[str, Any], ...]
    best_epoch: int
    trainable: int
    total: int
    seconds: float
    resumed_from: int


def _in_use(name: str, tap: Tap) -> bool:
    return name in tap.tensors or name.startswith(tap.head + ".")


def _batches(rows: IntArray, size: int) -> list[IntArray]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _first(output: Any) -> Tensor:
    # GoogLeNet and Inception give a tuple while they train, the logits first.
    first: Tensor = output if isinstance(output, Tensor) else output[0]
    return first.float()


def _best_epoch(history: Sequence[dict[str, Any]]) -> int:
    """Return the number, from 1, of the epoch of highest val top-1, then lowest val loss, then the earliest."""
    best = max(history, key=lambda epoch: (epoch["val_top1"], -epoch["val_loss"]))
    number: int = best["epoch"]
    return number


def _kept(folder: Path, key: str, history: Sequence[dict[str, Any]]) -> dict[str, Tensor] | None:
    """Return the net's tensors after the best epoch of this very history, or None where they are not on disk."""
    found = checkpoint.read(folder, "best", key)
    if found is None or found[1]["history"] != history[: _best_epoch(history)]:
        return None
    return found[0]


def _check_finite(which: str, loss: float, epoch: int) -> None:
    if not math.isfinite(loss):
        raise Diverged(f"the {which} loss is {loss} in epoch {epoch + 1}", remedy="use a lower --lr")


class Trainer:
    """One training run of one net.

    Parameters
    ----------
    net : nn.Module
        With its new head; trained in place.
    tap : Tap
    stages : sequence of Stage
        Of the net, that nearest to the image first.
    plan : Plan
        Which of them are trained, and when.
    preprocess : Preprocess
    feed : Feed
        Of the part that train rows come from.
    labels : int64 [N]
        Of that part.
    device : torch.device
    training : Training
    start : {"fresh", "probe"}
        What the head is at first: random, or a solution already, which then moves no faster than what is below it.
    cut : Stage, optional
        The one that feeds give the input of, with no stage below it ever trained; without it they give pixels.
    objective : CrossEntropy, optional
        What training goes down; without it the labels' cross-entropy, smoothed as `training` says.

    Attributes
    ----------
    trainable, total : int
        Number of parameters that are trained at one time or other, and of those in use, the head's among them.
    """

    def __init__(
        self,
        net: nn.Module,
        tap: Tap,
        stages: Sequence[Stage],
        plan: Plan,
        preprocess: Preprocess,
        feed: Feed,
        labels: IntArray,
        device: torch.device,
        training: Training,
        *,
        start: Start = "fresh",
        cut: Stage | None = None,
        objective: CrossEntropy | None = None,
    ) -> None:
        self.net = net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.training = training
        self._stages, self._plan = stages, plan
        self._feed = feed
        self._objective = objective or CrossEntropy(training.label_smoothing)
        self._parts = training.accumulate
        self.total = sum(p.numel() for name, p in net.named_parameters() if _in_use(name, tap))
        self._labels = torch.from_numpy(labels)
        self._device = device
        self._normalize = Normalize(preprocess, device)
        self._cut, self._size = cut, preprocess.crop
        self._shape = None if cut is None else shape_below(net, cut, preprocess.crop)
        groups = rate_groups(net, tap, stages, training, start)
        ever = [group for group in groups if group["stage"] is None or plan.begins[group["stage"]] is not None]
        self.trainable = sum(p.numel() for group in ever for p in group["params"])
        self._optimizer = make_optimizer(groups, training)
        self._scaler = torch.amp.GradScaler(device.type, enabled=training.precision == "fp16")

    def fit(
        self,
        train: IntArray,
        val: IntArray,
        val_feed: Feed,
        val_labels: IntArray,
        *,
        key: str,
        folder: Path,
        console: Console,
        title: str,
    ) -> Trained:
        """Train on the rows `train` and choose the epoch on the rows `val`; continue a checkpoint where there is one.

        Each epoch draws its order, augmentation and dropout from (seed, epoch) alone, so that a resumed run takes
        the steps of an uninterrupted one. Where memory does not suffice for a batch, the epoch begins anew with its
        batches in twice as many parts.

        Raises
        ------
        Diverged
            A loss is not finite.
        BadOption
            A batch of one image, which BatchNorm cannot take.
        BadCache
            The best epoch's checkpoint was damaged or replaced while the run went on.
        OutOfMemory
            One image is too much.
        CannotWrite
        """
        history = self._resume(folder, key)
        resumed_from = len(history)
        with console.bar(title, len(train) * (self.training.epochs - resumed_from), "img") as bar:
            for epoch in range(resumed_from, self.training.epochs):
                if self._is_patience_over(history):
                    break
                started = time.perf_counter()
                loss, top1 = self._fitting_epoch(train, epoch, bar.update, console, title)
                _check_finite("training", loss, epoch)
                read = self._objective.read(self.predict(val, val_feed), torch.from_numpy(val_labels[val]), val)
                _check_finite("val", read["val_loss"], epoch)
                history.append(
                    {
                        "epoch": epoch + 1,
                        "lr": self._first_rate(train, epoch),
                        "stages": sum(self._plan.trained(epoch)),
                        "parts": self._parts,
                        "train_loss": loss,
                        "train_top1": top1,
                        **read,
                        "seconds": time.perf_counter() - started,
                    }
                )
                facts = {"key": key, "history": history, "scaler": self._scaler.state_dict()}
                checkpoint.write(folder, "last", checkpoint.training_tensors(self.net, self._optimizer), facts)
                self._keep_if_best(folder, key, history)
        kept = _kept(folder, key, history)
        if kept is None:
            raise BadCache(
                "the best epoch's checkpoint is damaged or of another run",
                where=folder,
                remedy="run the same command again, once at a time",
            )
        self.net.load_state_dict(kept)
        return Trained(
            history=tuple(history),
            best_epoch=_best_epoch(history),
            trainable=self.trainable,
            total=self.total,
            seconds=sum(epoch["seconds"] for epoch in history),
            resumed_from=resumed_from,
        )

    def _is_patience_over(self, history: Sequence[dict[str, Any]]) -> bool:
        patience = self.training.patience
        return bool(patience and history) and len(history) - _best_epoch(history) >= patience

    def _first_rate(self, train: IntArray, epoch: int) -> float:
        batches = len(self._split(train))
        return float(self._optimizer.param_groups[0]["peak"]) * rates(self.training, batches)[epoch * batches]

    def _resume(self, folder: Path, key: str) -> list[dict[str, Any]]:
        """Return the history of the epochs that checkpoints hold, with the state after them restored."""
        found = checkpoint.read(folder, "last", key)
        if found is None:
            return []
        tensors, facts = found
        history: list[dict[str, Any]] = facts["history"]
        if _best_epoch(history) < len(history) and _kept(folder, key, history) is None:
            return []
        checkpoint.restore(self.net, self._optimizer, tensors)
        self._scaler.load_state_dict(facts["scaler"])
        self._parts = history[-1]["parts"]
        self._keep_if_best(folder, key, history)
        return history

    def _keep_if_best(self, folder: Path, key: str, history: Sequence[dict[str, Any]]) -> None:
        # After ``last``, from which a resumed run makes it again: so the two never tell of different epochs.
        if _best_epoch(history) == len(history):
            checkpoint.write(folder, "best", self.net.state_dict(), {"key": key, "history": history})

    def predict(self, rows: IntArray, feed: Feed) -> Tensor:
        """Return the net's output float32 [n, K] on the CPU, in eval mode, for unaugmented images.

        Where there is a second head its outputs are the last columns. A batch that memory does not hold is halved.

        Raises
        ------
        OutOfMemory
            One image is too much.
        """
        self.net.eval()
        outputs = []
        with torch.inference_mode():
            for seen in feed(_batches(rows, self.training.batch_size), None):
                parts = np.array_split(seen, min(self._parts, len(seen)))
                outputs += [in_halves(lambda some: self._forward(some).cpu(), part, self._device) for part in parts]
        return torch.cat(outputs)

    def _forward(self, seen: AnyArray) -> Tensor:
        values = torch.from_numpy(seen).to(self._device)
        dtype = DTYPES[self.training.precision]
        with torch.autocast(self._device.type, dtype, enabled=dtype != torch.float32):
            if self._cut is None or self._shape is None:
                return _first(self.net(self._normalize(values)))
            return _first(run_above(self.net, self._cut, values.view(-1, *self._shape), self._size))

    def _split(self, rows: IntArray) -> list[IntArray]:
        batches = _batches(rows, self.training.batch_size)
        if len(batches) > 1 and len(batches[-1]) == 1:
            # BatchNorm cannot take the statistics of one value.
            batches[-2:] = [np.concatenate(batches[-2:])]
        return batches

    def sweep(
        self,
        train: IntArray,
        shares: Sequence[float],
        is_over: Callable[[Sequence[float]], bool],
        *,
        console: Console,
        title: str,
    ) -> list[float]:
        """Take one step for each of `shares` of the peak rates, as training begins, and leave all as it was before.

        The steps go through the epochs in their own order, with their augmentation and dropout, and train throughout
        what the first epoch trains.

        Parameters
        ----------
        train : int64 [n]
            Rows.
        shares : sequence of float
            What each step has of every group's peak rate.
        is_over : callable
            Told the losses so far after each step; ends the steps where it says True.
        console : Console
        title : str

        Returns
        -------
        list of float
            The loss of each step's batch, before the step was taken; the last may not be finite.

        Raises
        ------
        BadOption
            A batch of one image, which BatchNorm cannot take.
        OutOfMemory
            One image is too much.
        """
        before = self._state()

        def steps(advance: Callable[[int], object]) -> list[float]:
            losses: list[float] = []
            self._set_modes(0)
            epoch = 0
            while len(losses) < len(shares):
                with closing(self._steps(train, epoch, shares[len(losses) :])) as taken:
                    for images, loss, _ in taken:
                        losses.append(float(loss) / images)
                        advance(1)
                        if is_over(losses):
                            return losses
                epoch += 1
            return losses

        with console.bar(title, len(shares), "step") as bar:
            losses = self._until_it_fits(
                steps,
                bar.update,
                lambda: console.say(f"{title}: memory does not hold a batch; it goes in {self._parts} parts"),
            )
        self._go_back(before)
        return losses

    def _fitting_epoch(
        self, rows: IntArray, epoch: int, advance: Callable[[int], object], console: Console, title: str
    ) -> tuple[float, float]:
        """Run an epoch, in ever more parts until it fits into memory."""
        said = f"{title}: memory does not hold a batch; from epoch {epoch + 1} on it goes in"
        return self._until_it_fits(
            lambda counted: self._epoch(rows, epoch, counted),
            advance,
            lambda: console.say(f"{said} {self._parts} parts"),
        )

    def _until_it_fits(
        self,
        run: Callable[[Callable[[int], object]], Found],
        advance: Callable[[int], object],
        tell: Callable[[], object],
    ) -> Found:
        """Return what `run` gives, begun anew with batches in twice as many parts until memory holds them.

        Parameters
        ----------
        run : callable
            Told how to count its progress.
        advance : callable
            Counts it; what was done in vain is taken back.
        tell : callable
            Says what the batches now go in.
        """
        while True:
            before = self._state()
            done: list[int] = []

            def counted(number: int, done: list[int] = done) -> None:
                done.append(number)
                advance(number)

            try:
                return run(counted)
            except OutOfMemory:
                if 2 * self._parts >= self.training.batch_size:
                    raise
            self._go_back(before)
            self._parts *= 2
            advance(-sum(done))
            tell()

    def _state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return copies on the CPU of all that the next step depends on."""
        tensors = checkpoint.training_tensors(self.net, self._optimizer)
        copies = {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}
        return copies, self._scaler.state_dict()

    def _go_back(self, state: tuple[dict[str, Tensor], dict[str, Any]]) -> None:
        """Return to a state; once only, as the optimizer takes over what it is given."""
        tensors, scaler = state
        self._optimizer.zero_grad(set_to_none=True)
        checkpoint.restore(self.net, self._optimizer, tensors)
        self._scaler.load_state_dict(scaler)

    def _epoch(self, rows: IntArray, epoch: int, advance: Callable[[int], object]) -> tuple[float, float]:
        batches = len(self._split(rows))
        self._set_modes(epoch)
        loss_sum = correct = torch.zeros((), device=self._device)
        looked = time.monotonic()
        with closing(self._steps(rows, epoch, rates(self.training, batches)[epoch * batches :])) as steps:
            for images, loss, right in steps:
                loss_sum = loss_sum + loss
                correct = correct + right
                advance(images)
                if time.monotonic() - looked >= _LOOK:
                    _check_finite("training", float(loss_sum), epoch)
                    looked = time.monotonic()
        return float(loss_sum) / len(rows), float(correct) / len(rows)

    def _steps(
        self, rows: IntArray, epoch: int, shares: Sequence[float]
    ) -> Generator[tuple[int, Tensor, Tensor], None, None]:
        """Take a step for each batch of an epoch and each of `shares` of the peak rates, as long as there are both.

        Order, augmentation and dropout are drawn from (seed, epoch) alone. Until it is closed, the global random state
        is the epoch's.

        Yields
        ------
        images : int
            Of the batch.
        loss, right : Tensor
            Its summed loss, and how many of its images were told right, before the step.
        """
        training = self.training
        batches = self._split(np.random.default_rng([training.seed, epoch]).permutation(rows))[: len(shares)]
        devices = [self._device] if self._device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(epoch_seed(training.seed, epoch))
            for number, seen in enumerate(self._feed(batches, epoch)):
                for group in self._optimizer.param_groups:
                    group["lr"] = group["peak"] * shares[number]
                loss, right = self._step(seen, batches[number])
                yield len(batches[number]), loss, right

    def _set_modes(self, epoch: int) -> None:
        """Freeze what this epoch does not train: no gradients, and all of its modules as when they are evaluated."""
        trained = self._plan.trained(epoch)
        self.net.train().requires_grad_(False)
        for group in self._optimizer.param_groups:
            for parameter in group["params"]:
                parameter.requires_grad_(group["stage"] is None or trained[group["stage"]])
        for stage, is_trained in zip(self._stages, trained, strict=True):
            if not is_trained:
                for path in stage.modules:
                    self.net.get_submodule(path).eval()
        if self.training.freeze_batchnorm:
            for norm in norms(self.net):
                norm.eval()

    def _step(self, seen: AnyArray, rows: IntArray) -> tuple[Tensor, Tensor]:
        """Take one step, and return the summed loss and the number of right answers of its images."""
        self._optimizer.zero_grad(set_to_none=True)
        loss_sum = correct = torch.zeros((), device=self._device)
        labels = self._labels[torch.from_numpy(rows)].to(self._device)
        parts = np.array_split(np.arange(len(rows)), max(1, min(self._parts, len(rows) // 2)))
        for part in parts:
            some = labels[torch.from_numpy(part).to(self._device)]
            with self._refusals(len(part)):
                loss, right = self._objective.loss(self._forward(seen[part]), some, rows[part])
                self._scaler.scale(loss * (len(part) / len(rows))).backward()  # type: ignore[no-untyped-call]
            loss_sum = loss_sum + loss.detach() * len(part)
            correct = correct + right
        with self._refusals(len(parts[0])):
            if self.training.clip:
                self._scaler.unscale_(self._optimizer)
                torch.nn.utils.clip_grad_norm_(self.net.parameters(), self.training.clip)
            self._scaler.step(self._optimizer)
            self._scaler.update()
        return loss_sum, correct

    @contextmanager
    def _refusals(self, images: int) -> Iterator[None]:
        """Say what the user can do about a batch that torch refuses."""
        try:
            yield
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise OutOfMemory(
                f"a batch of {images} images does not fit into the memory of {self._device}",
                remedy="use a smaller --batch-size or --image-size",
            ) from error
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise BadOption(
                "BatchNorm cannot train on a batch of one image",
                remedy="use --batch-size 2 or more, or --freeze-batchnorm",
            ) from error
