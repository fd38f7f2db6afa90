"""What a report could show in addition, with the commands for it."""

from __future__ import annotations

from probeline.options.command_line import command_line
from probeline.options.settings import OPTIONS, Settings
from probeline.options.verbs import VERBS
from probeline.report.model.content import NotRun, ReportContent

_OTHERS = ("mobilenet_v2", "resnet50")
"""Backbones to offer as another one."""

_OF_TAPS = ("taps", "attentive", "zero_shot", "templates", "class_texts")
"""Options that are of some taps."""


def further_commands(settings: Settings, content: ReportContent) -> list[NotRun]:
    """Return what a report could show in addition, with the commands for it."""
    records = {
        "curve": ("learning curves", content.curves),
        "pictures": ("common errors, an embedding map and the first filters", content.pictures),
        "doctor": ("a check of the data", content.findings),
        "latency": ("the latency of a forward pass", content.latencies),
        "quality": ("what the features alone say: rank, dimension, predictors, retrieval", content.qualities),
    }
    has_images = all(row.image_size for row in content.rows)
    further = [
        NotRun(what, command_line(settings, verb))
        for verb, (what, shown) in records.items()
        if not shown and (has_images or not VERBS[verb].needs_images)
    ]
    backbones = {row.backbone for row in content.rows}
    if len(backbones) == 1 and has_images:
        other = next(name for name in _OTHERS if name not in backbones)
        # Taps with the heads that read them, and weights if there are any, may be of this net alone.
        own = {name: OPTIONS[name].default for name in _OF_TAPS}
        own |= {} if settings.nets.weights == "none" else {"weights": OPTIONS["weights"].default}
        command = command_line(settings, "run", backbones=(other,), **own)
        further.append(NotRun(f"another backbone, such as {other}", command))
    return further
