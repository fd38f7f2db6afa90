"""Probeline: features of frozen backbones, extracted once and cached, and what follows from them.

:func:`extract` gives the features of a data set, :func:`probe`, :func:`finetune`, :func:`curve`, :func:`quality` and
:func:`doctor` what follows from them, :func:`compare` the report, and :func:`board` one table of many reports.
:func:`open_features` reads a cache entry, :func:`load` an exported predictor; :class:`Embedder` and
:class:`LinearProbe` are a transformer and a classifier of scikit-learn. Each is imported at its first use: importing
the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from probeline.api.checks import DataChecks, doctor
    from probeline.api.console import DataWarning
    from probeline.api.curves import LearningCurve, curve
    from probeline.api.embedder import Embedder
    from probeline.api.features import Features, extract
    from probeline.api.finetunes import finetune, finetune_targets
    from probeline.api.measures.quality import Quality, quality
    from probeline.api.probes import probe, probe_targets
    from probeline.api.reports import Board, Report, board, compare
    from probeline.api.results import FittedHead, Result, TargetResult
    from probeline.cache.features import EntryFeatures, open_features
    from probeline.errors import ProbelineError
    from probeline.estimator import LinearProbe
    from probeline.export.loading import load

__version__ = "0.2.0"

_HOMES = {
    "Board": "api.reports",
    "DataChecks": "api.checks",
    "DataWarning": "api.console",
    "Embedder": "api.embedder",
    "EntryFeatures": "cache.features",
    "Features": "api.features",
    "FittedHead": "api.results",
    "LearningCurve": "api.curves",
    "LinearProbe": "estimator",
    "ProbelineError": "errors",
    "Quality": "api.measures.quality",
    "Report": "api.reports",
    "Result": "api.results",
    "TargetResult": "api.results",
    "board": "api.reports",
    "compare": "api.reports",
    "curve": "api.curves",
    "doctor": "api.checks",
    "extract": "api.features",
    "finetune": "api.finetunes",
    "finetune_targets": "api.finetunes",
    "load": "export.loading",
    "open_features": "cache.features",
    "probe": "api.probes",
    "probe_targets": "api.probes",
    "quality": "api.measures.quality",
}

__all__ = [
    "Board",
    "DataChecks",
    "DataWarning",
    "Embedder",
    "EntryFeatures",
    "Features",
    "FittedHead",
    "LearningCurve",
    "LinearProbe",
    "ProbelineError",
    "Quality",
    "Report",
    "Result",
    "TargetResult",
    "__version__",
    "board",
    "compare",
    "curve",
    "doctor",
    "extract",
    "finetune",
    "finetune_targets",
    "load",
    "open_features",
    "probe",
    "probe_targets",
    "quality",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
