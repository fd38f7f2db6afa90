"""Records that a report shows, for tests: a learning curve, findings, a gallery and an embedding map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from made_scores import HERE, make_scores
from probeline.analysis.embedding_map import map_text, pca_projection, tsne_projection
from probeline.identity import digest
from probeline.results.curve import Curve, CurvePoint
from probeline.results.findings import (
    ClassCounts,
    DecodingNote,
    DuplicatePair,
    Duplicates,
    Findings,
    ImageReference,
    LabelErrors,
    NearSearch,
    Outlier,
    Outliers,
    PairCounts,
    SuspectLabel,
)
from probeline.results.illustrations.embedding_map import EmbeddingMap, map_of
from probeline.results.illustrations.gallery import (
    Gallery,
    GalleryRow,
    Misclassified,
    NearestTrainImage,
    ProbeRefit,
    gallery_of,
)
from probeline.results.illustrations.picture import Thumbnail
from probeline.results.latency import Latency, TimedPasses
from probeline.results.ranking import best_by_validation, best_probe, rank_by_validation


def make_curve(
    backbone: str = "mobilenet_v2",
    top: float = 0.9,
    *,
    percents: Sequence[float] = (1, 2, 5, 10, 20, 50, 100),
    shots: Sequence[int] = (1, 2, 4, 8, 16),
    draws: int = 5,
    n_train: int = 45_000,
    n_test: int = 10_000,
) -> Curve:
    """Return a curve that rises towards `top` as the logarithm of its images does."""
    rng = np.random.default_rng(len(backbone))
    points = []
    for kind, amounts in (("fraction", percents), ("shots", shots)):
        for amount in amounts:
            n = max(10, round(amount / 100 * n_train)) if kind == "fraction" else int(10 * amount)
            for draw in range(1 if amount == 100 else draws):
                value = top * np.log(n) / np.log(n_train) + rng.normal(0, 0.3 / np.sqrt(n))
                right = round(float(np.clip(value, 0, 1)) * n_test) / n_test
                fields = {"draw": draw, "n_train": n, "short": 0, "l2": 0.1, "edge": False, "converged": True}
                points.append(CurvePoint(kind=kind, amount=float(amount), val_top1=right, test_top1=right, **fields))
    return Curve(
        dataset="cifar10",
        backbone=backbone,
        weights="IMAGENET1K_V1",
        precision="fp32",
        key=digest([backbone, top]),
        splits="0" * 64,
        image_size=224,
        class_names=("ants", "bees"),
        n_train=n_train,
        n_val=5000,
        n_test=n_test,
        draws=draws,
        data_seed=0,
        grouped=False,
        points=tuple(points),
        warm_seconds=40.0,
        cold_seconds=700.0,
        environment=HERE,
    )


def seen(row: int, role: str = "train", label: int = 0) -> ImageReference:
    part = "test" if role == "test" else "train"
    return ImageReference(f"{part}:{row}", f"{part}/{row:05d}", role, label)


def make_doctor(*, exact: tuple[int, ...] = (3,), near: tuple[int, ...] = (5, 8), n_test: int = 500) -> Findings:
    """Return findings in three classes."""
    options = {"alike": 0.7, "bits": 8, "shift": 2, "neighbours": 10}
    return Findings(
        backbone="mobilenet_v2",
        weights="IMAGENET1K_V1",
        precision="fp32",
        image_size=224,
        key=digest("a doctor"),
        of={"options": options},
        class_names=("ant", "bee", "c*t"),
        images={"train": 900, "val": 100, "test": n_test},
        duplicates=Duplicates(
            regions={
                "known": PairCounts(1, 2, 1),
                "across": PairCounts(len(exact), len(near), 1),
                "test": PairCounts(0, 0, 0),
            },
            leaked_exact=exact,
            leaked_near=near,
            search=NearSearch(compared=1234, by_hash=56, crowded=0, pixels=0.95, copied=0),
            pairs=(
                DuplicatePair(seen(7), seen(3, "test"), "exact", 1.0, 1.0, False, 1.0),
                DuplicatePair(seen(9), seen(5, "test", 1), "near", 0.91, 0.95, True, 0.91 * 0.95),
            ),
        ),
        labels=LabelErrors(
            judged={"train": 900, "val": 100, "test": n_test},
            flagged={"train": 30, "val": 4, "test": 12},
            expected=33.4,
            planted=100,
            planted_flagged=0.93,
            planted_rank=17,
            l2=0.001,
            temperature=1.25,
            top1=0.812,
            folds=5,
            converged=True,
            neighbours=10,
            suspects=(SuspectLabel(seen(11, "val", 2), 1, 0.002, 0.97, 0.9, 0.898),),
        ),
        outliers=Outliers(
            level=0.01,
            threshold=0.7,
            flagged={"train": 9, "val": 1, "test": 15},
            images={"train": 900, "val": 100, "test": n_test},
            neighbours=10,
            remote=(Outlier(seen(2, "test", 1), 0.93, 0.001),),
        ),
        balance={
            "train": ClassCounts((500, 300, 100), 5.0, 2.6, ()),
            "val": ClassCounts((50, 50, 0), 1.0, 2.0, (2,)),
            "test": ClassCounts((200, 200, 100), 2.0, 2.9, ()),
        },
        helped=(DecodingNote("palette", "colours from a palette", {"train": 2, "val": 0, "test": 1}, ("train:4",)),),
        thumbnails={"train:7": Thumbnail(96, 72, "aGVsbG8=")},
        seconds=12.5,
        environment=HERE,
    )


NET = "mobilenet_v2"
REFIT = ProbeRefit(l2=0.001, temperature=1.5, n_test=60, same=60, nll=0.5, score_nll=0.5, held=True)
GALLERY_SCORES = make_scores(methods=("probe", "knn", "finetune"), seeds=2, n_test=60)


def make_gallery(**changes: Any) -> Gallery:
    near = NearestTrainImage("train:7", "train/00007", "cat", 0.75)
    image = Misclassified("test:3", "test/00003", "dog", ("cat", "cat", "bird"), 3, 0.875, 0.0625, (near,))
    probe = best_probe(GALLERY_SCORES)
    assert probe is not None
    values: dict[str, Any] = {
        "backbone": NET,
        "weights": "IMAGENET1K_V1",
        "of": gallery_of(rank_by_validation(GALLERY_SCORES), probe),
        "rows": tuple(GalleryRow(str(i), name, name) for i, name in enumerate(("finetune", "probe", "knn"))),
        "probe": 1,
        "tap": "penultimate",
        "refit": REFIT,
        "n_test": 60,
        "wrong": 20,
        "shared": 4,
        "images": (image,),
        "thumbnails": {"test:3": Thumbnail(96, 72, "AAAA"), "train:7": Thumbnail(96, 96, "BBBB")},
        "title": "What it gets wrong",
        "caption": "One image.",
        **changes,
    }
    return Gallery(**values)


MAP_SCORES = make_scores(methods=("probe", "finetune"), n_test=90)


def make_map(classes: int = 3, n: int = 90, *, tsne: bool = False, **changes: Any) -> EmbeddingMap:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, n)
    predicted = np.where(rng.random(n) < 0.2, (labels + 1) % classes, labels)
    judge, probe = best_by_validation(MAP_SCORES), best_probe(MAP_SCORES)
    assert judge is not None
    assert probe is not None
    xy = [(round(x, 3), round(y, 3)) for x, y in rng.normal(size=(n, 2)).tolist()]
    planes = [pca_projection(xy, (0.231, 0.1204))]
    if tsne:
        planes.append(tsne_projection(xy[::-1], 30.0, 0, 0.5))
    wrong = int((labels != predicted).sum())
    text = map_text(judge[0], probe, n, wrong, 0, planes)
    values: dict[str, Any] = {
        "backbone": NET,
        "weights": "IMAGENET1K_V1",
        "of": map_of(judge[0], probe),
        "tap": "penultimate",
        "n_test": n,
        "part": "test",
        "class_names": tuple(f"class of things {k}" for k in range(classes)),
        "rows": tuple(range(n)),
        "sample_ids": tuple(f"test/{row:05d}" for row in range(n)),
        "labels": tuple(labels.tolist()),
        "predicted": tuple(predicted.tolist()),
        "judge": "full fine-tune",
        "planes": tuple(planes),
        "title": text.title,
        "caption": text.caption,
        "alt": text.alt,
        **changes,
    }
    return EmbeddingMap(**values)


def make_latency(
    backbone: str = "mobilenet_v2", factor: float = 1.0, session: str = "a", *, peak: int | None = None, **changes: Any
) -> Latency:
    """Return passes that a noisy machine slowed down by up to ten times, all nets of a turn alike."""
    noise = 1 + 9 * np.random.default_rng(0).random(100)
    passes = tuple(
        TimedPasses(batch, tuple((0.01 * batch**0.5 * factor * noise).tolist()), peak and peak * batch)
        for batch in (1, 32)
    )
    record = Latency(
        backbone=backbone,
        weights="IMAGENET1K_V1",
        precision="fp32",
        key=digest([backbone, factor, session]),
        session=session,
        image_size=224,
        parameters=3_504_872,
        norms=52,
        folded=52,
        threads=2,
        warm_up=10,
        passes=passes,
        environment=HERE,
    )
    return replace(record, **changes)
