"""Extract: each frozen backbone once over each part, into the cache; what is there and proven is left alone."""

from __future__ import annotations

from typing import Any

from probeline.extract.fill import fill
from probeline.session import Session


def run(session: Session) -> list[dict[str, Any]]:
    """Make sure that the embeddings of every backbone over every part are in the cache, and return where.

    Raises
    ------
    ProbelineError
        As :func:`probeline.extract.fill.fill`.
    """
    return fill(session, session.settings.nets.backbones)
