"""Probeline: features of frozen backbones, extracted once and cached, and what follows from them.

:func:`open_features` reads a cache entry, :func:`load` an exported predictor; :class:`LinearProbe` is a scikit-learn
classifier. Each is imported at its first use: importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from probeline.cache.features import Features, open_features
    from probeline.estimator import LinearProbe
    from probeline.export.loading import load

__version__ = "0.1.0"

__all__ = ["Features", "LinearProbe", "__version__", "load", "open_features"]

_HOMES = {
    "Features": "cache.features",
    "LinearProbe": "estimator",
    "load": "export.loading",
    "open_features": "cache.features",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
