"""One backbone's cached features of one data set, as heads are fitted on them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Generic

import numpy as np

from probeline.backbones.registry import runs_code
from probeline.cache.entry import Entry
from probeline.cache.reading import missing_shards, require_vectors
from probeline.evaluate.fit_options import order_in, weights_in
from probeline.evaluate.heads.fit_device import FitDevice
from probeline.evaluate.heads.method import FitSettings, Fold, FoldOf, Rows, make_fold
from probeline.evaluate.heads.texts import find_or_embed, has_texts
from probeline.evaluate.requests import ScoreRequest, find_finished, request_score
from probeline.evaluate.task import task_of
from probeline.extraction import canary
from probeline.extraction.confirm import confirm_records
from probeline.extraction.fill import fill_missing
from probeline.extraction.odd_pixels import warn_of_odd_pixels
from probeline.heads.standardize import apply
from probeline.identity import HEADS_VERSION
from probeline.images import Sight
from probeline.names import PENULTIMATE
from probeline.results.methods import method_info
from probeline.results.score import Score
from probeline.session import Session
from probeline.types import Backbone, FloatArray, IntArray, Split


class CachedRows(ABC, Generic[Rows]):
    """What heads of a kind read of one backbone on one data set: rows from the cache, by their splits.

    Attributes
    ----------
    reads_tokens : bool
        Whether its rows are tokens, for the methods that read tokens.
    """

    reads_tokens: ClassVar[bool] = False

    def __init__(self, session: Session, *taps: Backbone) -> None:
        self.session = session
        self.taps = taps
        self.backbone = taps[0]
        self.tap = "+".join(tap.tap for tap in taps)
        self.task = task_of(session.dataset)
        self.classes = len(session.dataset.class_names)

    @abstractmethod
    def _load(self, sources: Sequence[tuple[Split, Sight | None]]) -> Rows:
        """Return the rows of some splits, of their images as they are or of a view, one after the other."""

    @abstractmethod
    def _make_fold(self, X: Rows, y: IntArray, X_heldout: Rows, y_heldout: IntArray) -> FoldOf[Rows]:
        """Return a fold of rows that are not standardised yet."""

    @abstractmethod
    def load_test(self, fold: FoldOf[Rows]) -> Rows:
        """Return the test rows as a fold has them."""

    @property
    @abstractmethod
    def extraction_seconds(self) -> float:
        """What the rows took to extract."""

    def _load_rows(self, *splits: Split) -> tuple[Rows, IntArray]:
        # Rows to fit on begin with train rows; only their images are augmented, held-out images never are.
        is_fitted = splits[0].role == "train"
        sources = [
            (split, view) for split in splits for view in (self.session.views(split.part) if is_fitted else (None,))
        ]
        labels = [self.task.targets(self.session.dataset, split) for split, _ in sources]
        return self._load(sources), np.concatenate(labels)

    def load_selection_folds(self) -> list[FoldOf[Rows]]:
        """Return the folds that select hyper-parameters: train against val, or each fold against the others.

        The first one is fitted on the train rows in both cases, as val is the first fold.
        """
        splits = self.session.splits
        if not splits.folds:
            return [self._make_fold(*self._load_rows(splits.train), *self._load_rows(splits.val))]
        return list(self.load_folds(splits.folds))

    def load_folds(self, row_sets: Sequence[IntArray]) -> Iterator[FoldOf[Rows]]:
        """Yield a fold for each of several sets of rows of the train part, which it holds out from all others."""
        part = self.session.splits.train.part
        all_rows = np.sort(np.concatenate(row_sets))
        for rows in row_sets:
            others = Split(part, np.setdiff1d(all_rows, rows), "train")
            yield self._make_fold(*self._load_rows(others), *self._load_rows(Split(part, rows, "val")))

    def load_refit_fold(self) -> FoldOf[Rows]:
        """Return the fold that is fitted on train and val, with test held out."""
        splits = self.session.splits
        return self._make_fold(*self._load_rows(splits.train, splits.val), *self._load_rows(splits.test))

    def load_test_fold(self) -> FoldOf[Rows]:
        """Return the fold that is fitted on the train rows, with test held out."""
        splits = self.session.splits
        return self._make_fold(*self._load_rows(splits.train), *self._load_rows(splits.test))

    @property
    def frozen_parameters(self) -> int:
        """Parameters below the head; of several taps the one that needs most of them counts."""
        return max(tap.parameters - tap.head_parameters for tap in self.taps)

    def fit_device(self, like: Score | None = None) -> FitDevice:
        """Return where heads on these features are fitted, and a score's head again: where it was, if possible."""
        was_on_cpu = like is not None and like.environment.get("device") == "CPU"
        option = "cpu" if was_on_cpu else self.session.settings.compute.device
        return FitDevice(option, self.session.console.say)

    def fit_settings(
        self, options: Mapping[str, Any], seed: int | None = None, device: FitDevice | None = None
    ) -> FitSettings:
        """Return what a fit on these features depends on, given the options of its score."""
        weights = weights_in(options, self.session.dataset.class_names)
        device = device or self.fit_device()
        texts = partial(find_or_embed, self.session, self.backbone, options, device)
        order = order_in(options, self.session.dataset.class_names)
        full_path = self.session.settings.heads.full_path
        return FitSettings(options, self.classes, seed or 0, device, weights, texts, order, full_path)

    @property
    def has_texts(self) -> bool:
        """Whether its rows are in the space that images share with the texts of the net's text tower."""
        return self.session.has_images and len(self.taps) == 1 and has_texts(self.backbone)

    def request(self, method: str, seed: int | None = None, **options: Any) -> ScoreRequest:
        """Return the request for the score of a head that is fitted on these features."""
        decoding = self.session.decoding.options()
        options = {"version": HEADS_VERSION, "weights": self.backbone.weights_sha256[:12], **decoding, **options}
        keys = [entry.key for entry in self.entries()]
        return request_score(self.session, method, seed, options, features=keys)

    def entries(self) -> list[Entry]:
        """Return the cache entries of every tap: those of all parts and of their views."""
        return [entry for tap in self.taps for entry in self.session.entries(tap)]

    def find_finished(self, request: ScoreRequest) -> Score | None:
        """Return the requested score if it exists, and say that it is skipped; if not, prepare the features."""
        score = find_finished(self.session, self.backbone, request, self.title(request.method, request.seed))
        if score is not None and runs_code(self.backbone.name):
            self.check_canary()
        if score is None:
            self.prepare(method_info(request.method).verb)
        return score

    def prepare(self, verb: str) -> None:
        """Extract what is missing, and check features that were made elsewhere or by other software."""
        if self.session.has_images and any(missing_shards(entry) for entry in self.entries()):
            fill_missing(self.session, self.session.asked_as(self.backbone.name, self.backbone.weights), verb)
        self.check_canary()

    def check_canary(self) -> None:
        """Hold the net's record against its weights, and extract some rows of features from elsewhere again."""
        if self.session.has_images:
            confirm_records(self.session, self.session.asked_as(self.backbone.name, self.backbone.weights), self.taps)
            canary.check_cached(self.session, self.taps, self.entries())

    def title(self, method: str, seed: int | None) -> str:
        """Return the beginning of every message about a fit."""
        tap = "" if self.tap == PENULTIMATE else f" at {self.tap}"
        of_seed = "" if seed is None else f", seed {seed}"
        return f"{method}: {self.session.dataset.name} x {self.backbone.name}{tap}{of_seed}"


class CachedFeatures(CachedRows[FloatArray]):
    """One backbone's cached features of one data set: of one tap, or of several that are concatenated.

    Raises
    ------
    BadOption
        The rows of a tap are tokens.
    """

    def __init__(self, session: Session, *taps: Backbone) -> None:
        for tap in taps:
            require_vectors(tap.tap)
        super().__init__(session, *taps)

    def load_raw(self, split: Split, view: Sight | None = None) -> FloatArray:
        """Return the features float32 [n, D] of a split, not standardised."""
        blocks = [self.session.features(tap, split.part, view).features[split.rows] for tap in self.taps]
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks, axis=1)

    def _load(self, sources: Sequence[tuple[Split, Sight | None]]) -> FloatArray:
        return np.concatenate([self.load_raw(split, view) for split, view in sources])

    def _make_fold(self, X: FloatArray, y: IntArray, X_heldout: FloatArray, y_heldout: IntArray) -> Fold:
        return make_fold(X, y, X_heldout, y_heldout)

    def load_test(self, fold: Fold) -> FloatArray:
        """Return the test rows float32 [n_test, D], standardised by the rows that `fold` is fitted on."""
        return apply(fold.scaler, self._load_rows(self.session.splits.test)[0])

    @property
    def extraction_seconds(self) -> float:
        """What the features took; one pass extracts all taps, so the longest counts."""
        session = self.session
        return sum(
            max(session.features(tap, part, view).seconds for tap in self.taps)
            for part in session.parts()
            for view in session.views(part)
        )


def vectors_of(rows: CachedRows[Any]) -> CachedFeatures:
    """Return rows as the vectors that they are; BadOption for tokens."""
    return rows if isinstance(rows, CachedFeatures) else CachedFeatures(rows.session, *rows.taps)


def requested_features(session: Session) -> Iterator[CachedFeatures]:
    """Yield the features of every backbone at every tap that the settings name; BadOption for tokens."""
    for taps in requested_taps(session):
        yield CachedFeatures(session, *taps)


def requested_taps(session: Session) -> Iterator[tuple[Backbone, ...]]:
    """Yield the records of every backbone at every tap that the settings name, several if taps are concatenated."""
    for backbone in session.settings.nets.backbones:
        for taps in session.taps(backbone)[0]:
            for part in session.parts():
                warn_of_odd_pixels(session, session.entry(taps[0], part))
            yield taps
