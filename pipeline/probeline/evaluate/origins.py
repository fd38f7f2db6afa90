"""Where the images of the scores are from, kept with them."""

from __future__ import annotations

from probeline.results.owner import ORIGINS, Origin
from probeline.session import Session


def record_origin(session: Session) -> None:
    """Record in the folder of the report which options give its images, unless they are of a Python object."""
    if session.data is None and session.remember and not session.settings.run.dry_run:
        origin = Origin.of(session.splits_sha256, session.settings.data)
        if ORIGINS.find(session.reports, origin.splits) != origin:
            ORIGINS.save(session.reports, origin)
