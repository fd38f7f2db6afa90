"""Options of what is made from fits: pictures, exports, reports and predictions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from probeline.options.table import MOST, option

FORMATS = ("table", "csv", "jsonl")
MAPS = ("pca", "tsne")


@dataclass(frozen=True)
class PictureOptions:
    """Pictures."""

    map: str = option("pca", "projections of the embedding map; t-SNE is slow", metavar="|".join(MAPS), choices=MAPS)


@dataclass(frozen=True)
class ExportOptions:
    """What is exported."""

    method: str | None = option(
        None,
        "the row: probe, probe-sgd, finetune, lp-ft ..., or the first digits of its key",
        metavar="M",
        shown_default="the best on validation",
    )
    out: Path | None = option(
        None,
        "what to write: a folder; of features a FILE.parquet, .npy, .h5ad or .safetensors; a manifest; of similar "
        "images a FILE.png",
        metavar="PATH",
        shown_default="below reports/",
        local=True,
    )
    train_rows: int = option(
        5000,
        "train images whose features go with it, for nearest neighbours; 0 for none",
        metavar="N",
        within=(0, MOST),
    )
    pt2: bool = option(False, "also write a torch.export graph")
    onnx: bool = option(False, "also write an ONNX graph")


@dataclass(frozen=True)
class CompareOptions:
    """What a report shows in addition."""

    add: tuple[Path, ...] = option(
        (),
        "predictions of other programs: columns sample_id,prediction",
        metavar="FILE.csv",
        local=True,
    )
    report_by: tuple[str, ...] = option(
        (),
        "accuracy by group: FILE.csv:COLUMN, or a COLUMN of table:FILE",
        metavar="COLUMN",
    )
    costs: tuple[str, ...] = option(
        (),
        "of two classes: what it costs to call an image the other one",
        metavar="CLASS=COST",
    )


@dataclass(frozen=True)
class RobustnessOptions:
    """What test images are corrupted by."""

    corruptions: tuple[str, ...] = option(
        ("all",),
        "NAME or NAME:SEVERITY: fog, jpeg_compression:3 ...; all is 14 names at 5 severities; none",
        metavar="NAME[:SEVERITY]",
        flag="--corruption",
    )
    ood: tuple[str, ...] = option(
        (),
        "data sets of other images, to be told from the test images by their distance to the train images",
        metavar="DATASET",
    )


@dataclass(frozen=True)
class PredictOptions:
    """Answers about new images: what gives them, and how they are printed."""

    artifact: Path | None = option(None, "folder that export wrote", metavar="FOLDER", local=True)
    imagenet: bool = option(False, "use a stock net's own head and ImageNet's classes")
    top_k: int = option(5, "most probable classes to show", metavar="K", within=(1, 100_000))
    nearest: int = option(3, "nearest train images to show", metavar="N", within=(0, 1000))
    format: str = option("table", "one line per image", metavar="|".join(FORMATS), choices=FORMATS)


@dataclass(frozen=True)
class SimilarOptions:
    """Similar images."""

    count: int = option(10, "similar images to show", metavar="N", within=(1, 10_000))
    approximate: bool = option(False, "build an index and search it, for many queries: some images are missed")
