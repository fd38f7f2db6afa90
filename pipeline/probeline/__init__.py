"""Probeline: frozen-backbone embeddings, cached once, and everything that can be asked of them.

:func:`open_features` reads a cache entry. It is loaded when it is first asked for: importing the package costs
nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from probeline.store.features import Features, open_features

__version__ = "0.1.0"

__all__ = ["Features", "__version__", "open_features"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from probeline.store import features

    return getattr(features, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
