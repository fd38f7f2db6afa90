"""Train a net, or part of it: the epochs, the choice among them on val, and the checkpoints that a run resumes from."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from probeline.console import Console
from probeline.errors import BadCache, Diverged, Mismatch
from probeline.finetuning import checkpoint
from probeline.finetuning.training.background import BackgroundTask
from probeline.finetuning.training.joint_step import sum_bits
from probeline.finetuning.training.network import Network
from probeline.finetuning.training.setup import Feed, TrainingSetup, ValidationSet
from probeline.finetuning.training.steps import State, Stepper, split_batches
from probeline.types import IntArray

LOSS_CHECK_SECONDS = 1.0
"""Time between two checks that an epoch's losses are finite: each check waits for the device."""


@dataclass(frozen=True)
class TrainingResult:
    """What a training gave.

    Attributes
    ----------
    history : tuple of mappings
        Per epoch: epoch, lr (of the head, at the epoch's first step), train_loss, train_top1 (on augmented images; of
        classes alone), val_loss and what else the loss measures on val, seconds.
    best_epoch : int
        The epoch, from 1, whose weights the net now has: highest val_score, or val top-1 without one, then lowest val
        loss, then earliest.
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

    @property
    def best(self) -> Mapping[str, Any]:
        """The record of the best epoch."""
        return self.history[self.best_epoch - 1]

    @property
    def history_to_best(self) -> tuple[dict[str, Any], ...]:
        """The history up to the best epoch."""
        return self.history[: self.best_epoch]

    @property
    def selection_score(self) -> tuple[float, float]:
        """What trainings are compared by, the higher the better."""
        return _selection_score(self.best)


def _selection_score(epoch: Mapping[str, Any]) -> tuple[float, float]:
    return epoch["val_score"] if "val_score" in epoch else epoch["val_top1"], -epoch["val_loss"]


def _best_epoch(history: Sequence[Mapping[str, Any]]) -> int:
    number: int = max(history, key=_selection_score)["epoch"]
    return number


def _check_finite(which: str, loss: float, epoch: int) -> None:
    """Raise `Diverged` if the loss of an epoch, from 0, is not finite."""
    if not math.isfinite(loss):
        raise Diverged(f"the {which} loss is {loss} in epoch {epoch + 1}", remedy="use a lower --lr")


def _save(folder: Path, key: str, history: Sequence[Mapping[str, Any]], state: State) -> None:
    """Write the state after an epoch, and the net's tensors if it is the best epoch so far."""
    tensors, scaler = state
    checkpoint.write(folder, "last", tensors, {"key": key, "history": history, "scaler": scaler})
    _save_if_best(folder, key, history, tensors)


def _save_if_best(folder: Path, key: str, history: Sequence[Mapping[str, Any]], tensors: Mapping[str, Tensor]) -> None:
    # After ``last``, from which a resumed run writes it again: so the two are never of different epochs.
    if _best_epoch(history) == len(history):
        checkpoint.write(folder, "best", checkpoint.net_tensors(tensors), {"key": key, "history": history})


class Trainer:
    """One training of one net.

    Attributes
    ----------
    trainable, total : int
        Number of parameters that are trained at one time or other, and of those in use, the head's among them.
    """

    def __init__(self, setup: TrainingSetup) -> None:
        self.setup, self.options, self.net = setup, setup.options, setup.net
        self.network = Network(setup.net, setup.preprocess, setup.device, setup.options.precision, setup.cut)
        self.stepper = Stepper(setup, self.network)
        self.trainable = self.stepper.trainable
        self.total = sum(
            parameter.numel()
            for name, parameter in setup.net.named_parameters()
            if name in setup.tap.tensors or name.startswith(setup.tap.head + ".")
        )

    def fit(
        self, train: IntArray, val: ValidationSet, *, key: str, folder: Path, console: Console, title: str
    ) -> TrainingResult:
        """Train on the rows `train` and choose the epoch on `val`; go on from a checkpoint of `key` if there is one.

        The order, augmentation and dropout of an epoch depend on (seed, epoch) alone, so that a resumed run takes the
        steps of an uninterrupted one. If memory does not hold its batches, an epoch starts again with twice as many
        parts per batch. An epoch's checkpoints are written while the next one runs.

        Raises
        ------
        Diverged
            A loss is not finite.
        BadOption
            A batch of one image, which BatchNorm cannot take.
        BadCache
            The best epoch's checkpoint was damaged or replaced while the run went on.
        CannotWrite
            A checkpoint; the steps of the epoch after it are lost.
        OutOfMemory
            One image is too much.
        """
        stepper, patience, ranks = self.stepper, self.options.patience, self.setup.ranks
        val_labels = torch.from_numpy(val.labels[val.rows])
        history = ranks.broadcast(self._resume(folder, key) if ranks.is_first else [])
        resumed_from = len(history)
        self._take_over_state(history)
        state = stepper.copy_state()
        with (
            console.bar(title, len(train) * (self.options.epochs - resumed_from), "img") as bar,
            BackgroundTask() as writer,
        ):

            def advance(images: int) -> None:
                bar.update(images)
                writer.check()

            for epoch in range(resumed_from, self.options.epochs):
                if patience and history and len(history) - _best_epoch(history) >= patience:
                    break
                started = time.perf_counter()
                run = partial(self.run_epoch, train, epoch)
                too_large = f"{title}: memory does not hold a batch; from epoch {epoch + 1} on it goes"
                loss, counted = stepper.run_until_it_fits(run, advance, console, too_large, state)
                _check_finite("training", loss, epoch)
                measured = self.setup.loss.measure(self.predict(val.rows, val.feed), val_labels, val.rows)
                _check_finite("val", measured["val_loss"], epoch)
                writer.wait()  # it still reads the copies of the state, which are overwritten next
                state = stepper.copy_state()
                self._check_equal(epoch)
                history.append(
                    ranks.broadcast(
                        {
                            "epoch": epoch + 1,
                            "lr": stepper.first_rate(train, epoch),
                            "stages": sum(self.setup.unfreezing.trained(epoch)),
                            "parts": stepper.parts,
                            "train_loss": loss,
                            **({} if self.setup.loss.counts is None else {self.setup.loss.counts: counted}),
                            **measured,
                            "seconds": time.perf_counter() - started,
                        }
                    )
                )
                if ranks.is_first:
                    writer.start(partial(_save, folder, key, tuple(history), state))
        best = self._read_best(folder, key, history) if ranks.is_first else {}
        if best is None:
            raise BadCache(
                "the best epoch's checkpoint is damaged or of another run",
                where=folder,
                remedy="run the same command again, once at a time",
            )
        self.net.load_state_dict(ranks.broadcast_tensors(best))
        return TrainingResult(
            history=tuple(history),
            best_epoch=_best_epoch(history),
            trainable=self.trainable,
            total=self.total,
            seconds=sum(epoch["seconds"] for epoch in history),
            resumed_from=resumed_from,
        )

    def _take_over_state(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Give every process the state that the first one begins with or has resumed."""
        ranks, stepper = self.setup.ranks, self.stepper
        if ranks.count > 1:
            tensors, scaler = stepper.copy_state()
            stepper.restore((ranks.broadcast_tensors(tensors), ranks.broadcast(scaler)))
            stepper.parts = history[-1]["parts"] if history else stepper.parts

    def _check_equal(self, epoch: int) -> None:
        """Raise Mismatch unless all processes have the same net, to the last bit, after an epoch, from 0."""
        ranks = self.setup.ranks
        if ranks.count > 1 and not ranks.agree(sum_bits(self.net.state_dict().values())):
            raise Mismatch(
                f"the processes have different nets after epoch {epoch + 1}",
                remedy="train on machines whose processors, GPUs and versions of torch are the same, or in one process",
            )

    def _resume(self, folder: Path, key: str) -> list[dict[str, Any]]:
        """Return the history of the epochs in the checkpoints, with the state after them restored."""
        last = checkpoint.read(folder, "last", key)
        if last is None:
            return []
        tensors, facts = last
        history: list[dict[str, Any]] = facts.get("history", [])
        scaler = facts.get("scaler", {})
        is_own = checkpoint.is_of_training(self.net, self.stepper.optimizer, tensors)
        if not history or not is_own or scaler.keys() != self.stepper.scaler.state_dict().keys():
            return []
        if _best_epoch(history) < len(history) and self._read_best(folder, key, history) is None:
            return []
        self.stepper.restore((tensors, scaler))
        self.stepper.parts = history[-1]["parts"]
        _save_if_best(folder, key, history, tensors)
        return history

    def _read_best(self, folder: Path, key: str, history: Sequence[dict[str, Any]]) -> dict[str, Tensor] | None:
        """Return the net's tensors after the best epoch of this very history, or None if they are not on disk."""
        best = checkpoint.read(folder, "best", key)
        if best is None or best[1].get("history") != history[: _best_epoch(history)]:
            return None
        return best[0] if checkpoint.is_of_net(self.net, best[0]) else None

    def run_epoch(self, rows: IntArray, epoch: int, advance: Callable[[int], object]) -> tuple[float, float]:
        """Train for one epoch, and return means over its augmented images: the loss, and what the loss counts."""
        self.stepper.set_modes(epoch)
        loss_sum = correct_sum = torch.zeros((), device=self.setup.device)
        checked = time.monotonic()
        with closing(self.stepper.run(rows, epoch, self.stepper.rate_shares(rows, epoch))) as steps:
            for images, loss, correct in steps:
                loss_sum = loss_sum + loss
                correct_sum = correct_sum + correct
                advance(images)
                if self.setup.ranks.any(time.monotonic() - checked >= LOSS_CHECK_SECONDS):
                    _check_finite("training", float(loss_sum), epoch)
                    checked = time.monotonic()
        return float(loss_sum) / len(rows), float(correct_sum) / len(rows)

    def predict(self, rows: IntArray, feed: Feed) -> Tensor:
        """Return the net's output float32 [n, K] on the CPU, in eval mode, for unaugmented images.

        If there is a second head, its outputs are the last columns. Several processes divide the batches among them,
        each of which is computed as in one process, and all of them get all outputs.
        """
        ranks, batches = self.setup.ranks, split_batches(rows, self.options.batch_size)
        own = ranks.own(range(len(batches)))
        read = [batches[number] for number in own]
        output = self.network.predict(feed(read, None), self.stepper.parts) if read else torch.zeros(0)
        if ranks.count == 1:
            return output
        every = torch.zeros(len(rows), *ranks.broadcast(list(output.shape[1:])))
        if read:
            start = own[0] * self.options.batch_size
            every[start : start + len(output)] = output
        ranks.add(every)
        return every

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
        what the first epoch trains. They end if `is_over` of the losses so far is True. Returned is the loss of each
        step's batch, before the step was taken; the last may not be finite.
        """
        stepper = self.stepper
        before = stepper.copy_state()

        def run(advance: Callable[[int], object]) -> list[float]:
            losses: list[float] = []
            stepper.set_modes(0)
            epoch = 0
            while len(losses) < len(shares):
                with closing(stepper.run(train, epoch, shares[len(losses) :])) as steps:
                    for images, loss, _ in steps:
                        losses.append(float(loss) / images)
                        advance(1)
                        if is_over(losses):
                            return losses
                epoch += 1
            return losses

        too_large = f"{title}: memory does not hold a batch; it goes"
        with console.bar(title, len(shares), "step") as bar:
            losses = stepper.run_until_it_fits(run, bar.update, console, too_large, before)
        stepper.restore(before)
        return losses
