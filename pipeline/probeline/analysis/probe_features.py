"""The exact probe of a score, with the embeddings that it reads: what a gallery and a map are made from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from probeline.errors import MissingData
from probeline.evaluate.exact_probe import request_exact_probe
from probeline.evaluate.features import CachedFeatures
from probeline.evaluate.folds import Fold
from probeline.heads.linear import decision
from probeline.metrics.scores import chances, nll
from probeline.options.command_line import command_line
from probeline.results.score import Score
from probeline.session import Session
from probeline.types import DoubleArray

TIE = 0.02
"""How far apart the chances of two classes may be where a fit of equal tolerance may well prefer the other."""

TURNED = 0.01
"""The share of images that are ties and turn: where more do, the chances are of no use either."""

NATS = 0.01
"""By how much the test likelihood of such a fit may differ."""


@dataclass(frozen=True)
class Refit:
    """A probe that was fitted again, and what it says of the test images.

    Attributes
    ----------
    chances : float64 [n_test, K]
        At the temperature of the score.
    facts : mapping
        As :class:`probeline.results.gallery_files.Gallery` has them.
    """

    chances: DoubleArray
    facts: dict[str, Any]


class Embedded:
    """The embeddings of one net as the exact probe of a score reads them; each thing is made when it is asked for.

    Parameters
    ----------
    session : Session
    score : Score
        Of an exact probe.
    """

    def __init__(self, session: Session, score: Score) -> None:
        self._session = session
        self.score = score

    def _read(self, views: int) -> CachedFeatures:
        text = self._session.asked_as(self.score.backbone, self.score.weights)
        reading = self._session.reading(text, self.score.tap, views)
        return CachedFeatures(reading, *reading.taps(text)[0][0])

    @cached_property
    def _task(self) -> CachedFeatures:
        task, score = self._read(self.score.views), self.score
        if request_exact_probe(task).key != score.key:
            raise MissingData(
                "the exact probe that val prefers is of another net, size, precision or version than this run's",
                where=f"{score.backbone}, weights {score.weights}, {score.image_size} pixels, {score.precision}",
                remedy=f"ask for those, or run: {command_line(task.session.settings, 'probe')}",
            )
        task.check_canary()
        return task

    @cached_property
    def plain(self) -> Fold:
        """The train rows without augmented views, and held out the test rows, standardised by the train rows.

        Raises
        ------
        MissingData
            Not all extracted, or the run is of another net than the score; names the command that helps.
        """
        task = self._task  # which is the score's, or nothing is
        return (self._read(0) if self.score.views else task).load_test_fold()

    @cached_property
    def refit(self) -> Refit:
        """The score's head once more, of its l2, held against what the score tells of it.

        A fit of one l2 and one on the way of a path differ by the tolerance of both: that may turn a few ties, and
        moves the likelihood by less than a hundredth. What differs by more is another head.

        Raises
        ------
        MissingData
            As of `plain`.
        """
        from probeline.heads.logistic.path import fit_path

        score, l2 = self.score, self.score.chosen["l2"]
        fitted = self._task.load_test_fold() if score.views else self.plain
        logits = decision(fit_path(fitted.X, fitted.y, self._task.classes, [l2])[0], fitted.X_heldout)
        sure = chances(logits, score.temperature)
        before, now = np.array(score.predictions, np.int64), logits.argmax(axis=1)
        every = np.arange(len(sure))
        tied = (sure[every, now] - sure[every, before] <= TIE).all()
        turned = int((before != now).sum())
        found = nll(fitted.y_heldout, logits / np.float64(score.temperature))
        facts = {
            "l2": l2,
            "temperature": score.temperature,
            "n_test": len(sure),
            "same": len(sure) - turned,
            "nll": found,
            "score_nll": score.nll,
            "held": bool(tied and turned <= max(1, TURNED * len(sure)) and abs(found - score.nll) <= NATS),
        }
        return Refit(sure, facts)
