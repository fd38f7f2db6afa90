"""What probe and baselines share: the arrays of each round of fitting, and the score that comes of a choice."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np

from probeline.cache import entry as store
from probeline.evaluate.requests import ScoreRequest, find_finished, request_score, test_fields
from probeline.extract import canary
from probeline.format import option
from probeline.heads.linear import Head, Linear, decision
from probeline.heads.select import L2_GRID, choose
from probeline.heads.standardize import Scaler, apply, fit_scaler
from probeline.identity import HEADS_VERSION
from probeline.metrics.scores import nll, top1
from probeline.names import PENULTIMATE
from probeline.results.score import SCORES, Score
from probeline.session import Session
from probeline.types import Backbone, FloatArray, IntArray, Split


@dataclass(frozen=True)
class Round:
    """Rows to fit on and rows held out, standardised by the rows fitted on.

    Attributes
    ----------
    X : float32 [n, D]
    y : int64 [n]
    X_held : float32 [m, D]
    y_held : int64 [m]
    scaler : Scaler
        Of the rows fitted on.
    """

    X: FloatArray
    y: IntArray
    X_held: FloatArray
    y_held: IntArray
    scaler: Scaler


def _round(X: FloatArray, y: IntArray, X_held: FloatArray, y_held: IntArray) -> Round:
    scaler = fit_scaler(X)
    return Round(apply(scaler, X), y, apply(scaler, X_held), y_held, scaler)


Candidate = Mapping[str, Any]
"""The name of a hyper-parameter and its value."""

Fitted = TypeVar("Fitted")


@dataclass(frozen=True)
class Selection(Generic[Fitted]):
    """A choice among candidates, made without a look at the test rows.

    Attributes
    ----------
    candidates : sequence of mappings
    path : tuple of mappings
        Each candidate with its val ``top1`` and loss, averaged over the held-out rows of all rounds.
    place : int
        The chosen one's.
    edge : bool
        Whether it stands at an end of its grid.
    y_val : int64 [n]
        Of the held-out rows, round after round.
    logits : float32 [n, K]
        What the chosen candidate said of them, fitted without them.
    fitted : Fitted
        All candidates as the first round fitted them, which is on the train rows: these are what test is read with.
    """

    candidates: Sequence[Candidate]
    path: tuple[Candidate, ...]
    place: int
    edge: bool
    y_val: IntArray
    logits: FloatArray
    fitted: Fitted


def side_by_side(blocks: Sequence[FloatArray]) -> FloatArray:
    """Return the features of several taps as one array: float32 [n, the sum of their sizes]."""
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)


class Task:
    """One backbone's embeddings of one data set, ready for any head.

    Parameters
    ----------
    session : Session
    *taps : Backbone
        One net at one tap, or at several whose features stand side by side.
    """

    def __init__(self, session: Session, *taps: Backbone) -> None:
        self.session = session
        self.taps = taps
        self.backbone = taps[0]
        self.tap = "+".join(tap.tap for tap in taps)
        self.classes = len(session.dataset.class_names)

    def _rows(self, *splits: Split) -> tuple[FloatArray, IntArray]:
        session = self.session
        # What is fitted on begins with train rows. Its images alone are seen augmented too; those held out come plain.
        fitted = splits[0].role == "train"
        seen = [(split, view) for split in splits for view in (session.views(split.part) if fitted else (None,))]
        features = [
            side_by_side([session.features(tap, split.part, view).features[split.rows] for tap in self.taps])
            for split, view in seen
        ]
        labels = [session.dataset.parts[split.part].labels[split.rows] for split, _ in seen]
        return np.concatenate(features), np.concatenate(labels)

    def selection(self) -> list[Round]:
        """Return the rounds that choose hyper-parameters: train and val, or each fold against the others.

        The first round's rows to fit on are the train rows in both cases, as the first fold is val.
        """
        splits = self.session.splits
        if not splits.folds:
            return [_round(*self._rows(splits.train), *self._rows(splits.val))]
        return list(self.rounds(splits.folds))

    def rounds(self, folds: Sequence[IntArray]) -> Iterator[Round]:
        """Yield a round for each of some sets of rows of the train part, held out against the others."""
        part = self.session.splits.train.part
        every = np.sort(np.concatenate(folds))
        for fold in folds:
            others = Split(part, np.setdiff1d(every, fold), "train")
            yield _round(*self._rows(others), *self._rows(Split(part, fold, "val")))

    def refit(self) -> Round:
        """Return the round that is fitted on train and val; held out is test."""
        splits = self.session.splits
        return _round(*self._rows(splits.train, splits.val), *self._rows(splits.test))

    def against_test(self) -> Round:
        """Return the round that is fitted on the train rows, as that of the chosen head was; held out is test."""
        splits = self.session.splits
        return _round(*self._rows(splits.train), *self._rows(splits.test))

    def test_rows(self, fitted: Round) -> FloatArray:
        """Return the test rows float32 [n_test, D], standardised by the rows that `fitted` was fitted on."""
        return apply(fitted.scaler, self._rows(self.session.splits.test)[0])

    def plain(self, split: Split) -> FloatArray:
        """Return the features float32 [n, D] of a split as the net gives them."""
        return side_by_side([self.session.features(tap, split.part).features[split.rows] for tap in self.taps])

    def sizes(self, head: object = None) -> dict[str, int]:
        """Return the fields of a score that count parameters: those of a head, which are its arrays, and of all."""
        trainable = sum(part.size for part in vars(head).values() if isinstance(part, np.ndarray)) if head else 0
        return {"trainable": trainable, "total": self.frozen_parameters + trainable}

    @property
    def frozen_parameters(self) -> int:
        """Parameters below the head; of several taps the one that needs most of them counts."""
        return max(tap.parameters - tap.head_parameters for tap in self.taps)

    def ask(self, method: str, seed: int | None = None, **options: Any) -> ScoreRequest:
        """Return what is asked of a method that is fitted on these embeddings."""
        features = [entry.key for entry in self._entries()]
        weights = self.backbone.weights_sha256[:12]
        return request_score(
            self.session, method, seed, {"version": HEADS_VERSION, "weights": weights, **options}, features=features
        )

    def _entries(self) -> list[store.Entry]:
        return [entry for tap in self.taps for entry in self.session.entries(tap)]

    def done(self, asked: ScoreRequest) -> Score | None:
        """Return the score that is asked for where it is there, and tell the user so.

        Where it is not, the embeddings will be read: those made elsewhere or by other software meet the canary first.
        """
        found = find_finished(self.session, self.backbone, asked, self.title(asked.method, asked.seed))
        if found is None:
            self.hold()
        return found

    def hold(self) -> None:
        """Have the canary look at the embeddings before they are read."""
        canary.hold_all(self.session, self.taps, self._entries())

    def title(self, method: str, seed: int | None) -> str:
        """Return what a line about this fit begins with."""
        tap = "" if self.tap == PENULTIMATE else f" at {self.tap}"
        return f"{method}: {self.session.dataset.name} x {self.backbone.name}{tap}" + (
            "" if seed is None else f", seed {seed}"
        )

    def save(
        self,
        asked: ScoreRequest,
        selection: Selection[Any],
        outputs: Iterable[FloatArray],
        watch: Stopwatch,
        **facts: Any,
    ) -> Score:
        """Write the score of the chosen candidate on the test rows, and return it.

        Test is read here, when the choice stands: the other candidates are read too, but only to be shown along the
        score's `path` and for its `optimism`. The score's seconds are those of `watch` when all of them are read.

        Parameters
        ----------
        asked : ScoreRequest
        selection : Selection
        outputs : iterable of float32 [n_test, K]
            The logits of each candidate, in their order; used one at a time.
        watch : Stopwatch
        **facts
            Further fields of the score, which win over those that follow from the choice.
        """
        session, backbone = self.session, self.backbone
        test = session.splits.test
        truth = session.dataset.parts[test.part].labels[test.rows]
        read: list[Candidate] = []
        logits = None
        for place, output in enumerate(outputs):
            read.append({"test_top1": top1(truth, output.argmax(1)), "test_nll": nll(truth, output)})
            logits = output if place == selection.place else logits
        seconds = watch.seconds()
        if logits is None or len(read) != len(selection.path):
            raise ValueError(f"{len(read)} outputs for {len(selection.path)} candidates")
        several = len(read) > 1
        every = [float(one["test_top1"]) for one in read]
        # One pass gives every tap: of those side by side the longest counts.
        extraction = sum(
            max(session.features(tap, part, view).seconds for tap in self.taps)
            for part in session.parts()
            for view in session.views(part)
        )
        score = Score(
            **{
                **test_fields(session, logits, "CPU", selection.y_val, selection.logits),
                "chosen": selection.candidates[selection.place],
                "chosen_by": session.splits.chosen_by if several else "",
                "val_top1": selection.path[selection.place]["top1"],
                "optimism": max(every) - every[selection.place] if several else None,
                "path": tuple({**a, **b} for a, b in zip(selection.path, read, strict=True)) if several else (),
                **facts,
            },
            backbone=backbone.name,
            weights=backbone.weights,
            method=asked.method,
            seed=asked.seed,
            key=asked.key,
            options=asked.options,
            image_size=backbone.preprocess.crop,
            precision=session.settings.nets.precision,
            tap=self.tap,
            views=session.settings.reading.views,
            warm_seconds=seconds,
            cold_seconds=seconds + extraction,
        )
        SCORES.save(session.reports, score)
        choice = ", ".join(option(name, value) for name, value in score.chosen.items())
        session.console.say(
            f"{self.title(asked.method, asked.seed)}: test top-1 {score.top1:.4f}"
            + (f", {choice} chosen by {score.chosen_by}" if choice else "")
            + f", {seconds:.1f} s"
        )
        return score


def select(
    rounds: Sequence[Round],
    candidates: Sequence[Candidate],
    strengths: Sequence[float],
    fit: Callable[[Round], Fitted],
    logits_of: Callable[[Fitted, FloatArray], Iterable[FloatArray]],
    *,
    loss: Callable[[IntArray, FloatArray], float] = nll,
) -> Selection[Fitted]:
    """Fit every candidate on each round and choose by the rows held out: top-1, then loss, then the stronger one.

    Parameters
    ----------
    rounds : sequence of Round
    candidates, strengths : sequence
        A hyper-parameter's names and values, and the values that order them; see
        :func:`probeline.heads.select.choose`.
    fit : callable
        Given a round, fits all candidates on it.
    logits_of : callable
        Given what `fit` returned and rows float32 [m, D], yields the logits float32 [m, K] of each candidate.
    loss : callable
        Of labels int64 [m] and logits; its name is that of its field in the path.
    """
    right, losses = np.zeros(len(candidates)), np.zeros(len(candidates))
    said: list[list[FloatArray]] = [[] for _ in candidates]
    every: list[Fitted] = []
    place, edge = 0, False
    for held in rounds:
        fitted = fit(held)
        every = every or [fitted]
        for i, logits in enumerate(logits_of(fitted, held.X_held)):
            right[i] += len(held.y_held) * top1(held.y_held, logits.argmax(1))
            losses[i] += len(held.y_held) * loss(held.y_held, logits)
            said[i].append(logits)
            if held is rounds[-1]:
                # The logits of all candidates may be many: only those of the best so far are kept.
                rows = sum(len(one.y_held) for one in rounds)
                scores = list(zip(right[: i + 1] / rows, losses[: i + 1] / rows, strict=True))
                best, edge = choose(scores, strengths[: i + 1])
                for loser in {place, i} - {best}:
                    said[loser] = []
                place = best
    path = tuple(
        {**candidate, "top1": float(score[0]), loss.__name__: float(score[1])}
        for candidate, score in zip(candidates, scores, strict=True)
    )
    y_val = np.concatenate([held.y_held for held in rounds])
    return Selection(candidates, path, place, edge, y_val, np.concatenate(said[place]), every[0])


def with_certificates(selection: Selection[list[Head]]) -> Selection[list[Head]]:
    """Return a selection whose path says of each candidate whether its fit on the train rows converged."""
    path = tuple(
        {**said, "converged": head.certificate.converged}
        for said, head in zip(selection.path, selection.fitted, strict=True)
    )
    return replace(selection, path=path)


def ask_exact(task: Task, method: str = "probe") -> ScoreRequest:
    """Return what is asked of the exact probe, or of its refit."""
    return task.ask(method, l2=list(L2_GRID))


def exact_path(task: Task) -> tuple[Selection[list[Head]], list[Round]]:
    """Fit the exact probe's path of l2 on each round and choose by the rows held out.

    Returns
    -------
    selection : Selection
    rounds : list of Round
        The first of them is fitted on the train rows.
    """
    from probeline.heads.logistic.path import fit_path

    rounds = task.selection()
    candidates = [{"l2": l2} for l2 in L2_GRID]
    selection = select(
        rounds, candidates, L2_GRID, lambda held: fit_path(held.X, held.y, task.classes, L2_GRID), linear_logits
    )
    return with_certificates(selection), rounds


def linear_logits(heads: Sequence[Linear], X: FloatArray) -> Iterable[FloatArray]:
    """Yield the logits float32 [m, K] of each linear head for rows float32 [m, D]."""
    return (decision(head, X) for head in heads)


class Stopwatch:
    """Seconds since it was made, and those `before`."""

    def __init__(self, before: float = 0.0) -> None:
        self._start = time.perf_counter() - before

    def seconds(self) -> float:
        """Return the seconds so far."""
        return time.perf_counter() - self._start
