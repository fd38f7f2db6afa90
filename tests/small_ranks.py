"""Trainings that are the same in one process and in two, and the start of two processes as torchrun starts them.

Run as a program, it does all of them in a process of two and writes what came of each into the folder that it is given.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from probeline.errors import Diverged, ProbelineError
from probeline.finetuning.ranks import Ranks, joined
from probeline.finetuning.training.adapters import AdapterOptions
from probeline.finetuning.training.losses import DistillationLoss
from probeline.finetuning.training.trainer import Trainer
from probeline.options.share import torchrun_share
from small_trainings import (
    CLASSES,
    CPU,
    FEED,
    LABELS,
    TRAIN,
    TRAINING,
    VAL,
    Interrupted,
    Steps,
    Tiny,
    attention_net,
    fit,
    lines,
    make_trainer,
    small_vit,
    state,
)

TWO = replace(TRAINING, accumulate=2, clip=1.0, label_smoothing=0.1)
SGD = replace(TWO, optimizer="sgd")
EPOCHS_BEFORE = 2
"""Epochs that an interrupted training has finished."""


class Norms(nn.Module):
    """BatchNorm that is used twice in a pass, with a cumulative average, without parameters, and never."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.twice = nn.BatchNorm2d(8)
        self.cumulative = nn.BatchNorm2d(8, momentum=None)
        self.plain = nn.BatchNorm1d(8, affine=False)
        self.unused = nn.BatchNorm1d(8)
        self.untracked = nn.BatchNorm1d(8, track_running_stats=False)
        self.fc = nn.Linear(8, 7)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.cumulative(self.twice(self.twice(self.conv(images)).relu() + 1))
        logits: Tensor = self.fc(self.untracked(self.plain(maps.relu().mean((2, 3)))))
        return logits


class Numbered(Tiny):
    """A net with buffers of types that gloo does not know."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("places", torch.arange(6, dtype=torch.int16).view(2, 3))
        self.register_buffer("place", torch.tensor(7, dtype=torch.int16))
        self.register_buffer("nothing", torch.zeros(0, dtype=torch.int16))


class Counting(Tiny):
    """A net that counts its passes in a buffer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, images: Tensor) -> Tensor:
        if self.training:
            self.get_buffer("passes").add_(1)
        return super().forward(images)


def result(trainer: Trainer, folder: Path, train: Sequence[int] = TRAIN) -> dict[str, Any]:
    """Train, and return the weights, the history and the output for the val rows."""
    if trainer.setup.ranks.index:
        with torch.no_grad():  # the first process's weights are those that count
            for parameter in trainer.net.parameters():
                parameter.add_(1.0)
    trained = fit(trainer, folder, train=np.asarray(train))
    found = {"history": lines(trained.history), "resumed_from": trained.resumed_from, "state": state(trainer.net)}
    return {**found, "output": trainer.predict(VAL, FEED)}


def train_in_scarce_memory(ranks: Ranks, folder: Path) -> dict[str, Any]:
    """Train where the memory of the last process holds two images."""
    trainer = make_trainer(SGD, ranks=ranks)

    def refuse(_: nn.Module, inputs: tuple[Tensor]) -> None:
        if trainer.net.training and len(inputs[0]) > 2:
            raise torch.OutOfMemoryError("out of memory")

    if ranks.index == ranks.count - 1:
        trainer.net.register_forward_pre_hook(refuse)
    return result(trainer, folder)


def train_with_teacher(ranks: Ranks, folder: Path) -> dict[str, Any]:
    logits = torch.from_numpy(np.random.default_rng(3).normal(size=(len(LABELS), CLASSES)).astype(np.float32))
    return result(make_trainer(TWO, loss=DistillationLoss(0.1, logits, 2.0, 0.5), ranks=ranks), folder)


def train_adapters(ranks: Ranks, folder: Path, make: Callable[[], nn.Module]) -> dict[str, Any]:
    options = AdapterOptions(rank=4, alpha=8.0, dropout=0.0, targets="auto")
    return result(make_trainer(TWO, make=make, strategy="lora", adapters=options, ranks=ranks), folder)


def fail(work: Callable[[], object]) -> dict[str, Any]:
    try:
        work()
    except ProbelineError as error:
        return {"error": type(error).__name__, "message": str(error)}
    return {}


def train_with_other_weights(ranks: Ranks, folder: Path) -> dict[str, Any]:
    """Train in processes of which the last one changes its weights by less than what is printed of them."""
    trainer = make_trainer(TWO, ranks=ranks)

    def change(*_: object) -> None:
        with torch.no_grad():
            trainer.net.get_parameter("wide.weight")[0, 0, 0, 0] += 1e-6

    if ranks.index:
        trainer.net.register_forward_pre_hook(change)
    return fail(lambda: fit(trainer, folder))


def interrupt(ranks: Ranks, folder: Path) -> dict[str, Any]:
    """Begin a training that is interrupted in the epoch after `EPOCHS_BEFORE`."""
    # Of four batches of train rows each process reads its parts, and it reads its share of the two of val rows.
    cut = Interrupted(EPOCHS_BEFORE * (4 + 2 // ranks.count) + 1)
    with suppress(KeyboardInterrupt):
        fit(make_trainer(TWO, feed=cut, ranks=ranks), folder, feed=cut)
    return {}


EQUAL: Mapping[str, Callable[[Ranks, Path], dict[str, Any]]] = {
    "parts of a batch and a remainder": lambda ranks, folder: result(make_trainer(TWO, ranks=ranks), folder),
    "a process without a part": lambda ranks, folder: result(make_trainer(TWO, ranks=ranks), folder, range(27)),
    "norms": lambda ranks, folder: result(make_trainer(TWO, make=Norms, ranks=ranks), folder),
    "no norms": lambda ranks, folder: result(make_trainer(TWO, make=lambda: Steps(norms=False), ranks=ranks), folder),
    "gradual": lambda ranks, folder: result(
        make_trainer(TWO, make=Steps, strategy="gradual", unfreeze=(1, 2), ranks=ranks), folder
    ),
    "frozen norms": lambda ranks, folder: result(
        make_trainer(replace(TWO, freeze_batchnorm=True), ranks=ranks), folder
    ),
    "buffers": lambda ranks, folder: result(make_trainer(TWO, make=Numbered, ranks=ranks), folder),
    "three images in fp16": lambda ranks, folder: result(
        make_trainer(replace(TWO, precision="fp16"), ranks=ranks), folder, range(3)
    ),
    "a teacher": train_with_teacher,
    "biases": lambda ranks, folder: result(make_trainer(TWO, strategy="bitfit", ranks=ranks), folder),
    "adapters": lambda ranks, folder: train_adapters(ranks, folder, small_vit),
    "adapters of attention": lambda ranks, folder: train_adapters(ranks, folder, attention_net),
    "patience": lambda ranks, folder: result(make_trainer(replace(TWO, patience=1), ranks=ranks), folder),
}
"""Two parts of a batch, one in each of two processes: a sum of two gradients is the same in any order."""

ROUNDED: Mapping[str, Callable[[Ranks, Path], dict[str, Any]]] = {
    "two parts each": lambda ranks, folder: result(make_trainer(replace(SGD, accumulate=4), ranks=ranks), folder),
    "scarce memory": train_in_scarce_memory,
}
"""Four parts of a batch, whose gradients are summed in another order."""

FAILING: Mapping[str, Callable[[Ranks, Path], dict[str, Any]]] = {
    "diverged": lambda ranks, folder: fail(lambda: fit(make_trainer(replace(TWO, lr=1e30), ranks=ranks), folder)),
    "other weights": train_with_other_weights,
    "a buffer of its own": lambda ranks, folder: fail(
        lambda: fit(make_trainer(TWO, make=Counting, ranks=ranks), folder)
    ),
    "other key": lambda ranks, _: fail(lambda: ranks.check_same("a run", f"{ranks.index}" * 64)),
}


def start(arguments: Sequence[str], *, folder: Path, **environ: str) -> list[subprocess.Popen[str]]:
    """Start two processes of a Python program as torchrun does, but that nobody ends one for the other."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launched = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    launched["OMP_NUM_THREADS"] = "1"
    return [
        subprocess.Popen(
            [sys.executable, *arguments],
            cwd=folder,
            env={**os.environ, **launched, "RANK": str(rank), "LOCAL_RANK": str(rank), **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]


def main(place: Path) -> None:
    share = torchrun_share(os.environ)
    assert share is not None
    with joined(share, CPU, os.environ) as ranks:
        for name, case in {**EQUAL, **ROUNDED, **FAILING, "interrupted": interrupt}.items():
            found = case(ranks, place / f"rank {ranks.index}" / name)
            torch.save(found, place / f"{name}, rank {ranks.index}.pt")
        found = result(make_trainer(TWO, ranks=ranks), place / "interrupted alone")
        torch.save(found, place / f"resumed, rank {ranks.index}.pt")
    with suppress(Diverged), joined(share, CPU, os.environ):  # once more
        raise Diverged("the loss is not finite")
    with joined(share, CPU, os.environ) as ranks:
        assert ranks.broadcast(ranks.index) == 0


if __name__ == "__main__":
    main(Path(sys.argv[1]))
