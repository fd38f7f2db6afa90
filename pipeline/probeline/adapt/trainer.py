"""Train a whole net on a split: the fine-tune that a probe is held against, and the same net from scratch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from probeline.adapt import checkpoint
from probeline.backbones.frozen import Normalize, is_out_of_memory
from probeline.backbones.tap import Tap, set_head
from probeline.config import Console
from probeline.errors import Diverged, OutOfMemory
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
        Of matrices and convolutions; biases and norms have none.
    freeze_batchnorm : bool
        BatchNorm keeps its statistics, scales and shifts.
    precision : {"fp32", "amp"}
        ``amp`` is bfloat16 or float16 autocast on CUDA.
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
        Per epoch: epoch, lr, train_loss, train_top1 (on augmented images), val_loss, val_top1, seconds.
    best_epoch : int
        The epoch whose weights the net now has: highest val top-1, then lowest val loss, then earliest.
    trainable, total : int
        Number of parameters trained, and of those in use, the head's among them.
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
    """Give the net a new random head of `classes` outputs, of its old head's kind."""
    old = net.get_submodule(tap.head)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if isinstance(old, nn.Conv2d):
            set_head(net, tap, nn.Conv2d(old.in_channels, classes, 1))
        else:
            set_head(net, tap, nn.Linear(tap.dim, classes))


def _parameter_groups(net: nn.Module, tap: Tap, training: Training) -> list[dict[str, Any]]:
    frozen: set[int] = set()
    if training.freeze_batchnorm:
        norms = (module for module in net.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm))
        frozen = {id(parameter) for norm in norms for parameter in norm.parameters()}
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in net.named_parameters():
        in_head = name.startswith(tap.head + ".")
        in_use = (in_head or name in tap.tensors) and id(parameter) not in frozen
        parameter.requires_grad_(in_use)
        if in_use:
            groups.setdefault((in_head, parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "peak": training.lr if in_head else training.backbone_lr,
            "weight_decay": training.weight_decay if decays else 0.0,
        }
        for (in_head, decays), parameters in groups.items()
    ]


def _batches(rows: IntArray, size: int) -> list[IntArray]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def _mode(net: nn.Module, training: Training) -> None:
    net.train()
    if training.freeze_batchnorm:
        for module in net.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()


def _logits(output: Any) -> Tensor:
    # GoogLeNet and Inception give their auxiliary logits along while they train; only the main ones are used.
    logits: Tensor = output if isinstance(output, Tensor) else output[0]
    return logits


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
        self._in_use = [
            parameter
            for name, parameter in net.named_parameters()
            if name in tap.tensors or name.startswith(tap.head + ".")
        ]
        self._labels = torch.from_numpy(labels)
        self._device = device
        self._normalize = Normalize(preprocess, device)
        self._optimizer = torch.optim.AdamW(_parameter_groups(net, tap, training), lr=training.lr)
        half = torch.bfloat16 if device.type == "cuda" and torch.cuda.is_bf16_supported() else torch.float16
        self._half = half if training.precision == "amp" and device.type == "cuda" else None
        self._scaler = torch.amp.GradScaler("cuda", enabled=self._half == torch.float16)

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
            The loss is not finite.
        OutOfMemory, CannotWrite
        """
        history: list[dict[str, Any]] = []
        best: tuple[float, float] | None = None
        done = checkpoint.read(folder, "last", key)
        if done is not None:
            checkpoint.restore(self.net, self._optimizer, done[0])
            history = done[1]["history"]
            best = max((epoch["val_top1"], -epoch["val_loss"]) for epoch in history)
        resumed_from = len(history)
        with console.bar(title, len(train) * (self.training.epochs - resumed_from), "img") as bar:
            for epoch in range(resumed_from, self.training.epochs):
                started = time.perf_counter()
                loss, top1 = self._epoch(train, epoch, bar.update)
                logits = self.predict(val, val_feed)
                val_loss = float(functional.cross_entropy(logits, torch.from_numpy(val_labels[val])))
                val_top1 = float((logits.argmax(1).numpy() == val_labels[val]).mean())
                history.append(
                    {
                        "epoch": epoch + 1,
                        "lr": self._optimizer.param_groups[-1]["lr"],
                        "train_loss": loss,
                        "train_top1": top1,
                        "val_loss": val_loss,
                        "val_top1": val_top1,
                        "seconds": time.perf_counter() - started,
                    }
                )
                facts = {"key": key, "history": history}
                if best is None or (val_top1, -val_loss) > best:
                    best = val_top1, -val_loss
                    checkpoint.write(folder, "best", self.net.state_dict(), facts)
                checkpoint.write(folder, "last", checkpoint.training_tensors(self.net, self._optimizer), facts)
        kept = checkpoint.read(folder, "best", key)
        if kept is None:
            raise Diverged("the best checkpoint is gone", where=folder, remedy="delete the folder and run again")
        self.net.load_state_dict(kept[0])
        return Trained(
            history=tuple(history),
            best_epoch=len(kept[1]["history"]),
            trainable=sum(p.numel() for p in self._in_use if p.requires_grad),
            total=sum(p.numel() for p in self._in_use),
            seconds=sum(epoch["seconds"] for epoch in history),
            resumed_from=resumed_from,
        )

    def predict(self, rows: IntArray, feed: Feed) -> Tensor:
        """Return logits float32 [n, K] on the CPU, in eval mode, of unaugmented images."""
        self.net.eval()
        outputs = []
        with torch.inference_mode(), self._autocast():
            for pixels in feed(_batches(rows, self.training.batch_size), None):
                images = self._normalize(torch.from_numpy(pixels).to(self._device))
                outputs.append(self.net(images).float().cpu())
        return torch.cat(outputs)

    def _autocast(self) -> AbstractContextManager[None]:
        if self._half is None:
            return nullcontext()
        return torch.autocast("cuda", self._half)

    def _set_rate(self, step: float) -> None:
        # Loshchilov and Hutter (2017): half a cosine from the peak to zero, without restarts.
        factor = 0.5 * (1 + math.cos(math.pi * step))
        for group in self._optimizer.param_groups:
            group["lr"] = group["peak"] * factor

    def _epoch(self, rows: IntArray, epoch: int, advance: Callable[[int], object]) -> tuple[float, float]:
        training = self.training
        order = np.random.default_rng([training.seed, epoch]).permutation(rows)
        batches = _batches(order, training.batch_size)
        if len(batches) > 1 and len(batches[-1]) == 1:
            # BatchNorm cannot take the statistics of one value.
            batches[-2:] = [np.concatenate(batches[-2:])]
        _mode(self.net, training)
        loss_sum = correct = torch.zeros((), device=self._device)
        augmentation = int(np.random.SeedSequence([training.seed, epoch]).generate_state(1)[0])
        devices = [self._device] if self._device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(augmentation)
            for number, pixels in enumerate(self._feed(batches, augmentation)):
                self._set_rate((epoch + number / len(batches)) / training.epochs)
                labels = self._labels[batches[number]].to(self._device)
                loss, logits = self._step(torch.from_numpy(pixels), labels)
                loss_sum = loss_sum + loss * len(labels)
                correct = correct + (logits.argmax(1) == labels).sum()
                advance(len(labels))
        mean = float(loss_sum) / len(rows)
        if not math.isfinite(mean):
            raise Diverged(
                f"the training loss is {mean} in epoch {epoch + 1}",
                remedy="use a lower learning rate; the checkpoint of the epoch before is kept",
            )
        return mean, float(correct) / len(rows)

    def _step(self, pixels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        self._optimizer.zero_grad(set_to_none=True)
        try:
            with self._autocast():
                logits = _logits(self.net(self._normalize(pixels.to(self._device))))
                loss = functional.cross_entropy(logits, labels)
            self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        except (torch.OutOfMemoryError, RuntimeError) as error:
            if is_out_of_memory(error):
                raise OutOfMemory(
                    f"a training batch of {len(labels)} does not fit into the memory of {self._device}",
                    remedy="use a smaller --batch-size or --image-size",
                ) from error
            raise
        self._scaler.step(self._optimizer)
        self._scaler.update()
        return loss.detach(), logits.detach()
