"""Predict: what is in images, by an exported predictor or a stock net's own head; no data set, nothing is written."""

from __future__ import annotations

from typing import Any

from probeline.errors import BadOption
from probeline.stages.answering import answered
from probeline.stages.imagenet import named
from probeline.stages.inputs import Inputs


def run(inputs: Inputs) -> dict[str, Any] | list[dict[str, Any]]:
    """Say what is in each image that was asked for.

    Raises
    ------
    BadOption
        No word of which classes are meant, or two.
    BadData
        Images that cannot be read, when all others have been answered.
    ProbelineError
    """
    config = inputs.config
    if config.imagenet == (config.artifact is not None):
        raise BadOption(
            "predict which classes?",
            expected="--artifact FOLDER, those of an exported predictor, or --imagenet, the stock net's own",
            got="both" if config.imagenet else None,
            remedy="add one of them",
        )
    return named(inputs) if config.artifact is None else answered(config, config.artifact)
