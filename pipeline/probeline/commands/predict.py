"""Predict: what is in images, by an exported predictor or a stock net's own head; no data set, nothing is written."""

from __future__ import annotations

from typing import Any

from probeline.errors import BadOption
from probeline.export.answers import answered
from probeline.export.stock import stock
from probeline.session import Inputs


def run(inputs: Inputs) -> dict[str, Any]:
    """Say what is in each image that was asked for.

    Raises
    ------
    BadOption
        No word of which classes are meant, or two.
    BadData
        Images that cannot be answered, when all others have been.
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
    if config.artifact is None:
        predictor = stock(inputs)
        net = predictor.artifact.net
        found = answered(config, predictor, f"{net.name} ({net.weights})")
        return {"backbone": net.name, "weights": net.weights, **found}

    from probeline.export.loading import load

    predictor = load(config.artifact, config.device)
    return {"artifact": str(config.artifact), **answered(config, predictor, config.artifact.name)}
