"""One backbone's cached features of one data set, as heads are fitted on them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from probeline.cache.entry import Entry
from probeline.evaluate.folds import Fold, make_fold
from probeline.evaluate.requests import ScoreRequest, find_finished, request_score, test_fields
from probeline.evaluate.selection import Candidate, Selection
from probeline.evaluate.stopwatch import Stopwatch
from probeline.extract import canary
from probeline.format import option
from probeline.heads.standardize import apply
from probeline.identity import HEADS_VERSION
from probeline.metrics.scores import nll, top1
from probeline.names import PENULTIMATE
from probeline.results.score import SCORES, Score
from probeline.session import Session
from probeline.types import Backbone, FloatArray, IntArray, Split


def concatenate_taps(blocks: Sequence[FloatArray]) -> FloatArray:
    """Return the features of several taps as one array: float32 [n, the sum of their sizes]."""
    return blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)


class CachedFeatures:
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
            concatenate_taps([session.features(tap, split.part, view).features[split.rows] for tap in self.taps])
            for split, view in seen
        ]
        labels = [session.dataset.parts[split.part].labels[split.rows] for split, _ in seen]
        return np.concatenate(features), np.concatenate(labels)

    def load_selection_folds(self) -> list[Fold]:
        """Return the rounds that choose hyper-parameters: train and val, or each fold against the others.

        The first round's rows to fit on are the train rows in both cases, as the first fold is val.
        """
        splits = self.session.splits
        if not splits.folds:
            return [make_fold(*self._rows(splits.train), *self._rows(splits.val))]
        return list(self.load_folds(splits.folds))

    def load_folds(self, folds: Sequence[IntArray]) -> Iterator[Fold]:
        """Yield a round for each of some sets of rows of the train part, held out against the others."""
        part = self.session.splits.train.part
        every = np.sort(np.concatenate(folds))
        for fold in folds:
            others = Split(part, np.setdiff1d(every, fold), "train")
            yield make_fold(*self._rows(others), *self._rows(Split(part, fold, "val")))

    def load_refit_fold(self) -> Fold:
        """Return the round that is fitted on train and val; held out is test."""
        splits = self.session.splits
        return make_fold(*self._rows(splits.train, splits.val), *self._rows(splits.test))

    def load_test_fold(self) -> Fold:
        """Return the round that is fitted on the train rows, as that of the chosen head was; held out is test."""
        splits = self.session.splits
        return make_fold(*self._rows(splits.train), *self._rows(splits.test))

    def load_test(self, fitted: Fold) -> FloatArray:
        """Return the test rows float32 [n_test, D], standardised by the rows that `fitted` was fitted on."""
        return apply(fitted.scaler, self._rows(self.session.splits.test)[0])

    def load_raw(self, split: Split) -> FloatArray:
        """Return the features float32 [n, D] of a split as the net gives them."""
        return concatenate_taps([self.session.features(tap, split.part).features[split.rows] for tap in self.taps])

    def count_parameters(self, head: object = None) -> dict[str, int]:
        """Return the fields of a score that count parameters: those of a head, which are its arrays, and of all."""
        trainable = sum(part.size for part in vars(head).values() if isinstance(part, np.ndarray)) if head else 0
        return {"trainable": trainable, "total": self.frozen_parameters + trainable}

    @property
    def frozen_parameters(self) -> int:
        """Parameters below the head; of several taps the one that needs most of them counts."""
        return max(tap.parameters - tap.head_parameters for tap in self.taps)

    def request(self, method: str, seed: int | None = None, **options: Any) -> ScoreRequest:
        """Return what is asked of a method that is fitted on these embeddings."""
        features = [entry.key for entry in self._entries()]
        weights = self.backbone.weights_sha256[:12]
        return request_score(
            self.session, method, seed, {"version": HEADS_VERSION, "weights": weights, **options}, features=features
        )

    def _entries(self) -> list[Entry]:
        return [entry for tap in self.taps for entry in self.session.entries(tap)]

    def find_finished(self, asked: ScoreRequest) -> Score | None:
        """Return the score that is asked for where it is there, and tell the user so.

        Where it is not, the embeddings will be read: those made elsewhere or by other software meet the canary first.
        """
        found = find_finished(self.session, self.backbone, asked, self.title(asked.method, asked.seed))
        if found is None:
            self.check_canary()
        return found

    def check_canary(self) -> None:
        """Have the canary look at the embeddings before they are read."""
        canary.check_cached(self.session, self.taps, self._entries())

    def title(self, method: str, seed: int | None) -> str:
        """Return what a line about this fit begins with."""
        tap = "" if self.tap == PENULTIMATE else f" at {self.tap}"
        return f"{method}: {self.session.dataset.name} x {self.backbone.name}{tap}" + (
            "" if seed is None else f", seed {seed}"
        )

    def save_score(
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
            logits = output if place == selection.index else logits
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
                **test_fields(session, logits, "CPU", selection.y_val, selection.val_logits),
                "chosen": selection.candidates[selection.index],
                "chosen_by": session.splits.chosen_by if several else "",
                "val_top1": selection.path[selection.index]["top1"],
                "optimism": max(every) - every[selection.index] if several else None,
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
        session.console.result(
            f"{self.title(asked.method, asked.seed)}: test top-1 {score.top1:.4f}"
            + (f", {choice} chosen by {score.chosen_by}" if choice else "")
            + f", {seconds:.1f} s"
        )
        return score
