"""Predict: classify images with an exported predictor or a stock net; no data set is needed, nothing is written."""

from __future__ import annotations

from typing import Any

from probeline.errors import BadOption
from probeline.export.loading import load, load_stock
from probeline.export.prediction_lines import predict_images
from probeline.session import Session


def run(session: Session) -> dict[str, Any]:
    """Print the predictions of each named image, and return their number."""
    settings = session.settings
    artifact = settings.predict.artifact
    if settings.predict.imagenet == (artifact is not None):
        raise BadOption(
            "predict needs --artifact FOLDER or --imagenet",
            expected="the folder of an exported predictor, or a stock net with ImageNet's classes",
            got="both" if settings.predict.imagenet else None,
            remedy="give one of them",
        )
    if artifact is None:
        if settings.maintenance.sha256 is not None:
            raise BadOption("--sha256 is of an artifact", got="--imagenet", remedy="leave it out")
        predictor = load_stock(session)
        net = predictor.artifact.net
        counts = predict_images(settings, predictor, f"{net.name} ({net.weights})")
        return {"backbone": net.name, "weights": net.weights, **counts}
    predictor = load(artifact, settings.compute.device, sha256=settings.maintenance.sha256)
    return {"artifact": str(artifact), **predict_images(settings, predictor, artifact.name)}
