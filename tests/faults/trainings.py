"""SIGKILL at random moments of a training: gone on with, it must end in the weights of one that nothing befell."""

from __future__ import annotations

import json
import random
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from faults import producer
from faults.calls import between, lingering
from faults.children import Ended, Say, start
from faults.figures import Figures, summed
from probeline.finetuning import checkpoint_files as sealed
from probeline.images import PixelArray
from probeline.types import IntArray
from small_trainings import FEED, TRAINING, Steps, fit, make_trainer

EPOCHS = 6
HOW = replace(TRAINING, epochs=EPOCHS, dropout=0.2, warmup=1.0, clip=1.0, accumulate=2)
SLOWEST = 0.004
"""Seconds that a file-system call takes at most before and after it: a fifth of the moments fall on one."""


def run(count: int, seed: int, *, span: tuple[float, float] = (0.0, 1.0)) -> Figures:
    """Kill `count` trainings, go on with each, and hold its best and last tensors against an undisturbed run's.

    Parameters
    ----------
    count, seed : int
    span : tuple of 2 floats
        Of a training's seconds, the shares between which the kills fall.
    """
    moments = random.Random(seed)
    complaints: list[str] = []
    kept = torn = 0
    with producer.workplace() as place:
        whole, took = _training(place / "whole", seed, None)
        if whole.complaint:
            raise RuntimeError(whole.complaint)
        clean = _left(place / "whole")
        number = 0
        while len(complaints) < count:
            number += 1
            folder = place / str(number)
            ended, lasted = _training(folder, seed + number, moments.uniform(span[0] * took, span[1] * took))
            if ended.code == 0:  # the moment came too late
                took = min(took, lasted)
                continue
            torn += any(path.name.count(".next.") for path in folder.glob("*"))
            done = _epochs(folder)
            kept += done
            again, _ = _training(folder, seed - number, None)
            complaint = ended.complaint or again.complaint
            if not complaint and again.output.count(b"e") != EPOCHS - done:
                complaint = f"{again.output.count(b'e')} epochs run where {EPOCHS - done} were left"
            complaints.append(complaint or ("" if _left(folder) == clean else "other weights or another history"))
            shutil.rmtree(folder)
    note = (
        f"{EPOCHS} epochs of a small net with BatchNorm, dropout and AdamW, unfrozen step by step; {kept} epochs were "
        f"finished before the kills and none of them run again; {torn} kills fell between the files of a checkpoint"
    )
    return summed("SIGKILL at a random moment of a training", complaints, note)


def _training(folder: Path, seed: int, moment: float | None) -> tuple[Ended, float]:
    """Train in a child that may be killed so many seconds after its start; return its end and how long it took."""
    naps = random.Random(seed)

    def work(say: Say) -> None:
        torch.set_num_threads(1)

        def feed(batches: Sequence[IntArray], augmentation: int | None) -> Iterator[PixelArray]:
            if augmentation is not None:  # of the train rows, which are fed once per epoch
                say(b"e")
            return FEED(batches, augmentation)

        trainer = make_trainer(HOW, make=Steps, feed=feed, strategy="gradual", unfreeze=(1, 2, 4))
        say(b"s")
        with between(lingering(lambda: time.sleep(naps.uniform(0, SLOWEST)))):
            fit(trainer, folder)

    child = start(work)
    child.hear()
    began = time.perf_counter()
    if moment is not None:
        time.sleep(moment)
        child.kill()
    return child.finish(), time.perf_counter() - began


def _epochs(folder: Path) -> int:
    found = sealed.read(folder, "last")
    return len(found[1]["history"]) if found else 0


def _left(folder: Path) -> Mapping[str, tuple[bytes, str]]:
    """Return the tensors and the history, but for its seconds, of both checkpoints."""
    left = {}
    for name in ("last", "best"):
        found = sealed.read(folder, name)
        if found is not None:
            history = [{k: v for k, v in epoch.items() if k != "seconds"} for epoch in found[1]["history"]]
            left[name] = found[0], json.dumps(history)
    return left
