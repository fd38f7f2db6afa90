"""The exact linear probe: its request, and the selection of its l2."""

from __future__ import annotations

from probeline.evaluate.candidates import Selection
from probeline.evaluate.features import CachedFeatures
from probeline.evaluate.folds import Fold
from probeline.evaluate.heads.exact import PROBE
from probeline.evaluate.heads.method import FitSettings
from probeline.evaluate.requests import ScoreRequest
from probeline.evaluate.selection import select
from probeline.heads.linear import Head
from probeline.options.settings import HeadOptions


def request_exact_probe(features: CachedFeatures) -> ScoreRequest:
    """Return the request for the score of the exact probe."""
    return features.request(PROBE.name, **PROBE.options(HeadOptions()))


def select_exact_probe(features: CachedFeatures) -> tuple[Selection[Head], list[Fold]]:
    """Fit the exact probe's path of l2 on each fold and select by the held-out rows.

    Returns
    -------
    selection : Selection
    folds : list of Fold
        The first of them is fitted on the train rows.
    """
    folds = features.load_selection_folds()
    settings = FitSettings(PROBE.options(HeadOptions()), features.classes)
    return select(folds, PROBE, settings, features.task), folds
