"""Records of the quality of features, for tests."""

from __future__ import annotations

from typing import Any

from made_scores import HERE
from probeline.identity import digest
from probeline.results.quality.alignment import AlignedNet, AlignedPair, FeatureAlignment
from probeline.results.quality.features import (
    ClusterFacts,
    DimensionFacts,
    FeatureQuality,
    RecallAt,
    RetrievalFacts,
    SpectrumFacts,
    TransferFacts,
)


def make_quality(backbone: str = "mobilenet_v2", tap: str = "penultimate", **changes: Any) -> FeatureQuality:
    """Return the quality of features of 400 train and 120 test images of two classes."""
    of = {"features": [backbone, tap], "version": 1}
    values: dict[str, Any] = {
        "dataset": "cifar10",
        "backbone": backbone,
        "weights": "IMAGENET1K_V1",
        "tap": tap,
        "precision": "fp32",
        "image_size": 224,
        "key": digest(of),
        "of": of,
        "rows": "0" * 64,
        "dim": 1280,
        "data_seed": 0,
        "spectrum": SpectrumFacts(400, 158.2, 131.3),
        "dimension": DimensionFacts(398, 2, 22.97),
        "transfer": TransferFacts(400, 2, 0.084, 0.0025, 0.977, 0.13, -0.0969),
        "retrieval": RetrievalFacts(
            gallery=400,
            queries=120,
            test=120,
            unanswerable=0,
            recall=(RecallAt(1, 0.925, (0.863, 0.96)), RecallAt(5, 1.0, (0.969, 1.0))),
            mean_precision=0.783,
            precision_interval=(0.761, 0.802),
            draws=2000,
            seed=0,
        ),
        "clusters": ClusterFacts(400, 2, (0, 1, 2), (0.7, 0.6, 0.65), (0.8, 0.79, -0.01)),
        "seconds": 1.5,
        "environment": HERE,
    }
    return FeatureQuality(**{**values, **changes})


def make_alignment(*nets: tuple[str, str], **changes: Any) -> FeatureAlignment:
    """Return the alignment of features by backbone and tap, each less alike the one before it; one is not defined."""
    names = nets or (("mobilenet_v2", "penultimate"), ("mobilenet_v2", "features.10"), ("resnet18", "penultimate"))
    of = {"features": [list(net) for net in names], "version": 1}
    pairs = [
        AlignedPair(i, j, 0.9 - 0.1 * (j - i), None if (i, j) == (1, 2) else 0.8 - 0.3 * (j - i))
        for i in range(len(names))
        for j in range(i + 1, len(names))
    ]
    values: dict[str, Any] = {
        "dataset": "cifar10",
        "key": digest(of),
        "of": of,
        "rows": "0" * 64,
        "n": 400,
        "of_images": 400,
        "data_seed": 0,
        "nets": tuple(AlignedNet(net, "IMAGENET1K_V1", tap, "fp32", 224, 1280) for net, tap in names),
        "pairs": tuple(pairs),
        "environment": HERE,
    }
    return FeatureAlignment(**{**values, **changes})
