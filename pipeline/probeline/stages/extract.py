"""Extract: each frozen backbone once over each part, into the cache; what is there and proven is left alone."""

from __future__ import annotations

from typing import Any

from probeline.stages.filling import fill
from probeline.stages.inputs import Inputs


def run(inputs: Inputs) -> list[dict[str, Any]]:
    """Make sure that the embeddings of every backbone over every part are in the cache, and return where.

    Raises
    ------
    BadData
        Names the images that cannot be read; all shards without them are written.
    Mismatch
        Rows that were made under other conditions come out differently today.
    ProbelineError
    """
    return fill(inputs, inputs.config.backbones)
