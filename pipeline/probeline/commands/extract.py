"""Extract: run each frozen backbone once over each part and cache its features; verified shards are kept."""

from __future__ import annotations

from typing import Any

from probeline.extraction.fill import fill
from probeline.session import Session


def run(session: Session) -> list[dict[str, Any]]:
    """Extract what is missing of every backbone over every part, and return the entries."""
    return fill(session, session.settings.nets.backbones)
