"""Whether weights may be downloaded: not while a run is only planned."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from probeline.errors import MissingData

_ALLOWED = ContextVar("allowed", default=True)


@contextmanager
def without_downloads() -> Iterator[None]:
    """Refuse to download weights meanwhile."""
    token = _ALLOWED.set(False)
    try:
        yield
    finally:
        _ALLOWED.reset(token)


def check_download_is_allowed(backbone: str) -> None:
    """Refuse the download of weights if a run is only planned.

    Raises
    ------
    MissingData
    """
    if not _ALLOWED.get():
        raise MissingData("the weights would have to be downloaded first", where=backbone)
