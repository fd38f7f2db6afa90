"""Extract: run each frozen backbone once over each part and cache its features; verified shards are kept."""

from __future__ import annotations

import os
from typing import Any

from probeline.extraction.fill import fill
from probeline.options.share import Share, share_of_environment
from probeline.session import Session


def run(session: Session) -> list[dict[str, Any]]:
    """Extract what is missing of every backbone over every part, and return the entries."""
    backbones, crew = session.settings.nets.backbones, session.settings.sharing.crew
    if crew is None or not session.has_images:
        return fill(session, backbones, _find_share(session))
    from probeline.crews.waves import choose_crew, run_waves
    from probeline.crews.work import Shards

    shards = Shards(session)
    extracted = shards.missing()
    run_waves(session, choose_crew(session), shards)
    # Nothing is missing: this verifies the checksums, runs the canary, and lists the entries.
    return [{**result, "extracted_shards": extracted[result["folder"]]} for result in fill(session, backbones)]


def _find_share(session: Session) -> Share | None:
    """Return which of several processes this is, by option or launcher, and say so; None for one alone."""
    if (text := session.settings.sharing.share) is not None:
        share, source = Share.parse(text), ""
    elif found := share_of_environment(os.environ):
        share, source = found[0], f", as {found[1]} says"
    else:
        return None
    session.console.say(f"extract: process {share.index + 1} of {share.count}{source}: its shards first, then the rest")
    return share
