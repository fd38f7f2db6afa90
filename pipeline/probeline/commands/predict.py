"""Predict: what is in images, by an exported predictor or a stock net's own head; no data set, nothing is written."""

from __future__ import annotations

from typing import Any

from probeline.errors import BadOption
from probeline.export.answers import answered
from probeline.export.stock import stock
from probeline.session import Session


def run(session: Session) -> dict[str, Any]:
    """Say what is in each image that was asked for.

    Raises
    ------
    BadOption
        No word of which classes are meant, or two.
    BadData
        Images that cannot be answered, when all others have been.
    ProbelineError
    """
    settings = session.settings
    if settings.predict.imagenet == (settings.predict.artifact is not None):
        raise BadOption(
            "predict which classes?",
            expected="--artifact FOLDER, those of an exported predictor, or --imagenet, the stock net's own",
            got="both" if settings.predict.imagenet else None,
            remedy="add one of them",
        )
    if settings.predict.artifact is None:
        predictor = stock(session)
        net = predictor.artifact.net
        found = answered(settings, predictor, f"{net.name} ({net.weights})")
        return {"backbone": net.name, "weights": net.weights, **found}

    from probeline.export.loading import load

    predictor = load(settings.predict.artifact, settings.compute.device)
    return {"artifact": str(settings.predict.artifact), **answered(settings, predictor, settings.predict.artifact.name)}
