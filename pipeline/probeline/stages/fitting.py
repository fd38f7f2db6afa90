"""What probe and baselines share: the arrays of each round of fitting, and the score that comes of a choice."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from probeline.backbones.names import PENULTIMATE
from probeline.heads.standardize import apply, fit_scaler
from probeline.identity import HEADS_VERSION
from probeline.metrics.scores import nll, top1
from probeline.records import Backbone, FloatArray, IntArray, Score, Split
from probeline.report.files import save_score
from probeline.stages import canary
from probeline.stages.engine import Engine
from probeline.stages.inputs import Inputs
from probeline.store import entry as store


@dataclass(frozen=True)
class Round:
    """Rows to fit on and rows held out, standardised by the rows fitted on.

    Attributes
    ----------
    X : float32 [n, D]
    y : int64 [n]
    X_held : float32 [m, D]
    y_held : int64 [m]
    """

    X: FloatArray
    y: IntArray
    X_held: FloatArray
    y_held: IntArray


def _round(X: FloatArray, y: IntArray, X_held: FloatArray, y_held: IntArray) -> Round:
    scaler = fit_scaler(X)
    return Round(apply(scaler, X), y, apply(scaler, X_held), y_held)


def _side_by_side(blocks: list[FloatArray]) -> FloatArray:
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)


class Task:
    """One backbone's embeddings of one data set, ready for any head.

    Parameters
    ----------
    inputs : Inputs
    *taps : Backbone
        One net at one tap, or at several whose features stand side by side.
    """

    def __init__(self, inputs: Inputs, *taps: Backbone) -> None:
        self.inputs = inputs
        self.taps = taps
        self.backbone = taps[0]
        self.tap = "+".join(tap.tap for tap in taps)
        self.classes = len(inputs.dataset.class_names)
        self.chosen_by = inputs.splits.chosen_by

    def _rows(self, *splits: Split) -> tuple[FloatArray, IntArray]:
        inputs = self.inputs
        # What is fitted on begins with train rows. Its images alone are seen augmented too; those held out come plain.
        fitted = splits[0].role == "train"
        seen = [(split, view) for split in splits for view in (inputs.views(split.part) if fitted else (None,))]
        features = [
            _side_by_side([inputs.features(tap, split.part, view).features[split.rows] for tap in self.taps])
            for split, view in seen
        ]
        labels = [inputs.dataset.parts[split.part].labels[split.rows] for split, _ in seen]
        return np.concatenate(features), np.concatenate(labels)

    def selection(self) -> list[Round]:
        """Return the rounds that choose hyper-parameters: train and val, or each fold against the others."""
        splits = self.inputs.splits
        if not splits.folds:
            return [_round(*self._rows(splits.train), *self._rows(splits.val))]
        part = splits.train.part
        every = np.sort(np.concatenate(splits.folds))
        rounds = []
        for fold in splits.folds:
            others = Split(part, np.setdiff1d(every, fold), "train")
            rounds.append(_round(*self._rows(others), *self._rows(Split(part, fold, "val"))))
        return rounds

    def final(self, *, with_val: bool = False) -> Round:
        """Return the round that is reported: fitted on train (and val, for a refit), held out is test."""
        splits = self.inputs.splits
        fitted = (splits.train, splits.val) if with_val else (splits.train,)
        return _round(*self._rows(*fitted), *self._rows(splits.test))

    @property
    def frozen_parameters(self) -> int:
        """Parameters below the head; of several taps the one that needs most of them counts."""
        return max(tap.parameters - tap.head_parameters for tap in self.taps)

    def key(self, method: str, **facts: Any) -> str:
        """Return the key of a score of this task."""
        features = [entry.key for tap in self.taps for entry in self.inputs.entries(tap)]
        return self.inputs.score_key(method, version=HEADS_VERSION, features=features, **facts)

    def done(self, method: str, key: str, seed: int | None = None) -> Score | None:
        """Return the score of this key where it is there, and tell the user so.

        Where it is not, the embeddings will be read: those made elsewhere or by other software meet the canary first.
        """
        found = self.inputs.finished(self.backbone, method, seed, key, self.title(method, seed))
        if found is None:
            self._meet_canary()
        return found

    def _meet_canary(self) -> None:
        engine = functools.cache(functools.partial(Engine, self.inputs, *self.taps))
        for entry in (entry for tap in self.taps for entry in self.inputs.entries(tap)):
            if not store.missing(entry):
                canary.hold_earlier(self.inputs, engine, entry, list(range(len(entry.shards))))

    def title(self, method: str, seed: int | None) -> str:
        """Return what a line about this fit begins with."""
        tap = "" if self.tap == PENULTIMATE else f" at {self.tap}"
        return f"{method}: {self.inputs.dataset.name} x {self.backbone.name}{tap}" + (
            "" if seed is None else f", seed {seed}"
        )

    def save(self, method: str, key: str, predictions: IntArray, seconds: float, **facts: Any) -> Score:
        """Write the score of predictions int64 [n_test] on the test rows, and return it."""
        inputs, backbone = self.inputs, self.backbone
        # One pass gives every tap: of those side by side the longest counts.
        extraction = sum(
            max(inputs.features(tap, part, view).seconds for tap in self.taps)
            for part in inputs.parts()
            for view in inputs.views(part)
        )
        score = Score(
            **{**inputs.scored(predictions, "CPU"), **facts},
            backbone=backbone.name,
            weights=backbone.weights,
            method=method,
            key=key,
            image_size=backbone.preprocess.crop,
            precision=inputs.config.precision,
            tap=self.tap,
            views=inputs.config.views,
            warm_seconds=seconds,
            cold_seconds=seconds + extraction,
        )
        save_score(inputs.scores, score)
        choice = ", ".join(f"{name} {value:.4g}" for name, value in score.chosen.items())
        inputs.config.console.say(
            f"{self.title(method, score.seed)}: test top-1 {score.top1:.4f}"
            + (f", {choice} chosen by {score.chosen_by}" if choice else "")
            + f", {seconds:.1f} s"
        )
        return score


Candidate = Mapping[str, Any]
Predict = Callable[[Round], Sequence[FloatArray]]
"""Fits every candidate on a round and returns the logits or votes [m, K] of each for the held-out rows."""


def evaluate(rounds: Sequence[Round], candidates: Sequence[Candidate], predict: Predict) -> tuple[Candidate, ...]:
    """Return each candidate with its val ``top1`` and ``nll``, averaged over the held-out rows of all rounds."""
    right = np.zeros(len(candidates))
    loss = np.zeros(len(candidates))
    rows = 0
    for task in rounds:
        for place, logits in enumerate(predict(task)):
            right[place] += len(task.y_held) * top1(task.y_held, logits.argmax(1))
            loss[place] += len(task.y_held) * nll(task.y_held, logits)
        rows += len(task.y_held)
    return tuple(
        {**candidate, "top1": right[place] / rows, "nll": loss[place] / rows}
        for place, candidate in enumerate(candidates)
    )


class Stopwatch:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self._start = time.perf_counter()

    def seconds(self) -> float:
        """Return the seconds so far."""
        return time.perf_counter() - self._start
