"""Train a whole net on a split: the fine-tune that a probe is held against, and the same net from scratch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from probeline.adapt import checkpoint
from probeline.backbones.device import DTYPES
from probeline.backbones.frozen import Normalize, is_out_of_memory
from probeline.backbones.tap import Tap, set_head
from probeline.config import Console
from probeline.errors import BadCache, BadOption, Diverged, OutOfMemory
from probeline.records import IntArray, PixelArray, Preprocess

Feed = Callable[[Sequence[IntArray], int | None], Iterator[PixelArray]]
"""Given batches of row numbers, yields their pixels uint8 [b, S, S, 3]; augmented by a seed, plain with None."""


@dataclass(frozen=True)
class Training:
    """How a net is trained; every field changes the result.

    Attributes
    ----------
    epochs, batch_size : int
    lr : float
        Peak learning rate of the head.
    backbone_lr : float
        Of everything below the head.
    weight_decay : float
        Of matrices and convolutions; biases, norms, positions, tokens and scales have none.
    freeze_batchnorm : bool
        BatchNorm keeps its statistics, scales and shifts.
    precision : {"fp32", "tf32", "bf16", "fp16"}
        ``bf16`` and ``fp16`` are autocast over float32 weights; ``tf32`` is float32 here, the caller allows TF32.
    seed : int
        Of the head's start, the order, the augmentation and dropout.
    """

    epochs: int
    batch_size: int
    lr: float
    backbone_lr: float
    weight_decay: float
    freeze_batchnorm: bool
    precision: str
    seed: int


@dataclass(frozen=True)
class Trained:
    """What training gave.

    Attributes
    ----------
    history : tuple of mappings
        Per epoch: epoch, lr (of the head, at the epoch's first step), train_loss, train_top1 (on augmented images),
        val_loss, val_top1, seconds.
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


def fresh_head(net: nn.Module, tap: Tap, classes: int, seed: int) -> None:
    """Give the net one new random head of `classes` outputs, of its old head's kind.

    Auxiliary heads (GoogLeNet, Inception), which no embedding depends on, are taken out: they would cost time while
    the net trains, and Inception's cannot run at all below 299 pixels.
    """
    old = net.get_submodule(tap.head)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if isinstance(old, nn.Conv2d):
            set_head(net, tap, nn.Conv2d(old.in_channels, classes, 1))
        else:
            set_head(net, tap, nn.Linear(tap.dim, classes))
    used = {name.partition(".")[0] for name in (*tap.tensors, tap.head)}
    for name, child in list(net.named_children()):
        if name not in used and next(child.parameters(), None) is not None:
            setattr(net, name, nn.Identity())


def _norms(net: nn.Module) -> Iterator[nn.Module]:
    return (module for module in net.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm))


def _in_use(name: str, tap: Tap) -> bool:
    return name in tap.tensors or name.startswith(tap.head + ".")


def _parameter_groups(net: nn.Module, tap: Tap, training: Training) -> list[dict[str, Any]]:
    frozen: set[int] = set()
    if training.freeze_batchnorm:
        frozen = {id(parameter) for norm in _norms(net) for parameter in norm.parameters()}
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in net.named_parameters():
        trained = _in_use(name, tap) and id(parameter) not in frozen
        parameter.requires_grad_(trained)
        if trained:
            # Position tables, class tokens and layer scales have several axes too; none of them is called a weight.
            decays = parameter.ndim > 1 and name.endswith("weight")
            groups.setdefault((name.startswith(tap.head + "."), decays), []).append(parameter)
    return [
        {
            "params": parameters,
            "peak": training.lr if in_head else training.backbone_lr,
            "weight_decay": training.weight_decay if decays else 0.0,
        }
        for (in_head, decays), parameters in groups.items()
    ]


def _cosine(progress: float) -> float:
    # Loshchilov and Hutter (2017): half a cosine from the peak to zero, without restarts.
    return 0.5 * (1 + math.cos(math.pi * progress))


def _batches(rows: IntArray, size: int) -> list[IntArray]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _logits(output: Any) -> Tensor:
    # GoogLeNet and Inception give a tuple while they train, the logits first.
    logits: Tensor = output if isinstance(output, Tensor) else output[0]
    return logits.float()


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
    preprocess : Preprocess
    feed : Feed
        Of the part that train rows come from.
    labels : int64 [N]
        Of that part.
    device : torch.device
    training : Training

    Attributes
    ----------
    trainable, total : int
        Number of parameters that are trained, and of those in use, the head's among them.
    """

    def __init__(
        self,
        net: nn.Module,
        tap: Tap,
        preprocess: Preprocess,
        feed: Feed,
        labels: IntArray,
        device: torch.device,
        training: Training,
    ) -> None:
        self.net = net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.training = training
        self._feed = feed
        self.total = sum(p.numel() for name, p in net.named_parameters() if _in_use(name, tap))
        self._labels = torch.from_numpy(labels)
        self._device = device
        self._normalize = Normalize(preprocess, device)
        groups = _parameter_groups(net, tap, training)
        self.trainable = sum(p.numel() for group in groups for p in group["params"])
        self._optimizer = torch.optim.AdamW(groups, lr=training.lr)
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
        the steps of an uninterrupted one.

        Raises
        ------
        Diverged
            A loss is not finite.
        BadOption
            A batch of one image, which BatchNorm cannot take.
        BadCache
            The best epoch's checkpoint was damaged or replaced while the run went on.
        OutOfMemory, CannotWrite
        """
        history = self._resume(folder, key)
        resumed_from = len(history)
        with console.bar(title, len(train) * (self.training.epochs - resumed_from), "img") as bar:
            for epoch in range(resumed_from, self.training.epochs):
                started = time.perf_counter()
                loss, top1 = self._epoch(train, epoch, bar.update)
                _check_finite("training", loss, epoch)
                logits = self.predict(val, val_feed)
                val_loss = float(functional.cross_entropy(logits, torch.from_numpy(val_labels[val])))
                _check_finite("val", val_loss, epoch)
                history.append(
                    {
                        "epoch": epoch + 1,
                        "lr": self.training.lr * _cosine(epoch / self.training.epochs),
                        "train_loss": loss,
                        "train_top1": top1,
                        "val_loss": val_loss,
                        "val_top1": float((logits.argmax(1).numpy() == val_labels[val]).mean()),
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
        self._keep_if_best(folder, key, history)
        return history

    def _keep_if_best(self, folder: Path, key: str, history: Sequence[dict[str, Any]]) -> None:
        # After ``last``, from which a resumed run makes it again: so the two never tell of different epochs.
        if _best_epoch(history) == len(history):
            checkpoint.write(folder, "best", self.net.state_dict(), {"key": key, "history": history})

    def predict(self, rows: IntArray, feed: Feed) -> Tensor:
        """Return logits float32 [n, K] on the CPU, in eval mode, of unaugmented images.

        Raises
        ------
        OutOfMemory
        """
        self.net.eval()
        outputs = []
        with torch.inference_mode():
            for pixels in feed(_batches(rows, self.training.batch_size), None):
                with self._refusals(len(pixels)):
                    outputs.append(self._forward(pixels).cpu())
        return torch.cat(outputs)

    def _forward(self, pixels: PixelArray) -> Tensor:
        images = self._normalize(torch.from_numpy(pixels).to(self._device))
        dtype = DTYPES[self.training.precision]
        with torch.autocast(self._device.type, dtype, enabled=dtype != torch.float32):
            return _logits(self.net(images))

    def _epoch(self, rows: IntArray, epoch: int, advance: Callable[[int], object]) -> tuple[float, float]:
        training = self.training
        order = np.random.default_rng([training.seed, epoch]).permutation(rows)
        batches = _batches(order, training.batch_size)
        if len(batches) > 1 and len(batches[-1]) == 1:
            # BatchNorm cannot take the statistics of one value.
            batches[-2:] = [np.concatenate(batches[-2:])]
        self.net.train()
        if training.freeze_batchnorm:
            for norm in _norms(self.net):
                norm.eval()
        loss_sum = correct = torch.zeros((), device=self._device)
        augmentation = int(np.random.SeedSequence([training.seed, epoch]).generate_state(1)[0])
        devices = [self._device] if self._device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(augmentation)
            for number, pixels in enumerate(self._feed(batches, augmentation)):
                self._set_rate((epoch + number / len(batches)) / training.epochs)
                labels = self._labels[batches[number]].to(self._device)
                with self._refusals(len(pixels)):
                    loss, logits = self._step(pixels, labels)
                loss_sum = loss_sum + loss * len(labels)
                correct = correct + (logits.argmax(1) == labels).sum()
                advance(len(labels))
        return float(loss_sum) / len(rows), float(correct) / len(rows)

    def _set_rate(self, progress: float) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = group["peak"] * _cosine(progress)

    def _step(self, pixels: PixelArray, labels: Tensor) -> tuple[Tensor, Tensor]:
        self._optimizer.zero_grad(set_to_none=True)
        logits = self._forward(pixels)
        loss = functional.cross_entropy(logits, labels)
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self._scaler.step(self._optimizer)
        self._scaler.update()
        return loss.detach(), logits.detach()

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
