"""Bench: compare the speed of extraction with a plain loop and with bare forward passes."""

from __future__ import annotations

import json
from typing import Any

from probeline import disk
from probeline.extraction.bench import measure_extraction
from probeline.session import Session


def run(session: Session) -> dict[str, Any]:
    """Measure every backbone on the first images of the train part; return and write ``bench.json`` by backbone."""
    backbones = session.settings.nets.backbones
    speeds = {text: measure_extraction(session, session.backbone(text)[0]) for text in backbones}
    path = session.reports / "bench.json"
    disk.check_no_links(path, session.settings.folders.reports)
    disk.make_folder(path.parent)
    disk.publish(path, (json.dumps(speeds, indent=1, allow_nan=False) + "\n").encode(), replace=True)
    return speeds
