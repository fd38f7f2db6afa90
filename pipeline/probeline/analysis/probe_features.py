"""The exact probe of a score, with the features that it reads: what a gallery and a map are made from."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from probeline.errors import MissingData
from probeline.evaluate.exact_probe import fit_one, probe_settings, request_exact_probe
from probeline.evaluate.features import CachedFeatures
from probeline.evaluate.fit_options import shared_options
from probeline.evaluate.heads.method import Fold
from probeline.heads.linear import decision
from probeline.metrics.scores import chances, nll
from probeline.options.command_line import command_line
from probeline.results.illustrations.gallery import ProbeRefit
from probeline.results.score import Score
from probeline.session import Session
from probeline.types import DoubleArray

TIE = 0.02
"""The largest difference of two classes' probabilities at which another fit of the same tolerance may swap them."""

MAX_SWAPPED = 0.01
"""The largest share of test images with such a swap in a refit that reproduces its score."""

MAX_NLL_DIFFERENCE = 0.01
"""The largest difference, in nats, of the test likelihood of such a refit."""


class ProbeFeatures:
    """The cached features of one net as the exact probe of a score reads them, loaded on first use."""

    def __init__(self, session: Session, score: Score) -> None:
        self._session = session
        self.score = score

    def _reader(self, views: int) -> CachedFeatures:
        text = self._session.asked_as(self.score.backbone, self.score.weights)
        session = self._session.reading(text, self.score.tap, views)
        return CachedFeatures(session, *session.taps(text)[0][0])

    @cached_property
    def _cached(self) -> CachedFeatures:
        """The features of the score, extracted first if they are missing."""
        cached, score = self._reader(self.score.views), self.score
        if request_exact_probe(cached, shared_options(score.options)).key != score.key:
            raise MissingData(
                "the exact probe that is best on validation is of another net, size, precision or version than this "
                "run's",
                where=f"{score.backbone}, weights {score.weights}, {score.image_size} pixels, {score.precision}",
                remedy=f"ask for those, or run: {command_line(cached.session.settings, 'probe')}",
            )
        cached.prepare("pictures")
        return cached

    @cached_property
    def fold(self) -> Fold:
        """The train rows without augmented views and the test rows, standardised by the train rows.

        Raises
        ------
        MissingData
            The score is of another net than the run's.
        """
        cached = self._cached
        return (self._reader(0) if self.score.views else cached).load_test_fold()

    @cached_property
    def refit(self) -> tuple[DoubleArray, ProbeRefit]:
        """Calibrated probabilities float64 [n_test, K] of the score's probe fitted again, compared with the score.

        A fit of one l2 and one along a path differ within the tolerance of both, which may swap a few ties and changes
        the likelihood by less than a hundredth. A larger difference means another head.

        Raises
        ------
        MissingData
            The score is of another net than the run's.
        """
        score, l2 = self.score, self.score.chosen["l2"]
        fold = self._cached.load_test_fold() if score.views else self.fold
        cached = self._cached
        settings = probe_settings(cached, shared_options(score.options), cached.fit_device(score))
        logits = decision(fit_one(settings, fold, l2), fold.X_heldout)
        probabilities = chances(logits, score.temperature)
        before, now = np.array(score.predictions, np.int64), logits.argmax(axis=1)
        rows = np.arange(len(probabilities))
        only_ties = (probabilities[rows, now] - probabilities[rows, before] <= TIE).all()
        swapped = int((before != now).sum())
        likelihood = nll(fold.y_heldout, logits / np.float64(score.temperature))
        facts = ProbeRefit(
            l2=l2,
            temperature=score.temperature,
            n_test=len(rows),
            same=len(rows) - swapped,
            nll=likelihood,
            score_nll=score.nll,
            held=bool(
                only_ties
                and swapped <= max(1, MAX_SWAPPED * len(rows))
                and abs(likelihood - score.nll) <= MAX_NLL_DIFFERENCE
            ),
        )
        return probabilities, facts
