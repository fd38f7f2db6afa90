"""Options of the data and of the nets: which images with which labels, which backbones, which features."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from probeline.names import AUTO, GREY_BITS, PENULTIMATE, PRECISIONS, TASKS, BackboneSpec
from probeline.options.table import MOST, option

ALPHAS = ("black", "white")
GREY_RANGES = ("full", "auto", *GREY_BITS)


@dataclass(frozen=True)
class DataOptions:
    """Which images, with which labels."""

    dataset: str = option(
        "digits", "digits, folder:PATH, table:FILE, hf:NAME ...: probeline list datasets names all", metavar="D"
    )
    data: Path = option(
        lambda: Path(os.environ.get("PROBELINE_DATA") or "data"),
        "parent folder of the data sets",
        metavar="DIR",
        shown_default="$PROBELINE_DATA or data/",
        local=True,
    )
    limit: int | None = option(None, "at most N images of each part, stratified", metavar="N", within=(1, MOST))
    strict: bool = option(False, "stop if an image cannot be read, instead of leaving it out")
    data_seed: int = option(0, "seed of the splits and of --limit", metavar="S", within=(0, MOST))
    labels: Path | None = option(
        None, "other labels: columns sample_id,label; empty drops the image", metavar="FILE.csv", local=True
    )
    task: str = option(
        AUTO,
        f"what labels are: {', '.join(TASKS[1:])}; auto takes them for one class each",
        metavar="TASK",
        choices=TASKS,
    )
    separator: str | None = option(
        None, "of several labels in one cell", metavar="SEP", shown_default="the one of | ; , that occurs"
    )
    columns: tuple[str, ...] = option(
        (),
        "columns by other names: file_name=img label=class; empty for none",
        metavar="NAME=COLUMN",
    )
    images: Path | None = option(
        None, "folder of a table's images", metavar="DIR", shown_default="that of the table", local=True
    )
    groups: Path | None = option(
        None,
        "images that are never split apart: columns sample_id,group",
        metavar="FILE.csv",
        local=True,
    )


@dataclass(frozen=True)
class BackboneOptions:
    """Which backbones, with which weights and input."""

    backbones: tuple[str, ...] = option(
        ("resnet18",),
        "torchvision's names, timm:NAME, hf:ORG/NAME, openclip:ARCH, hub:REPO:ENTRY, python:FILE.py:FUNCTION; "
        "each may end in @WEIGHTS",
        metavar="NAME[@WEIGHTS]",
        flag="--backbone",
    )
    weights: str = option(
        "DEFAULT",
        "of every net without @WEIGHTS: DEFAULT, IMAGENET1K_V1 and the like, wheel, none, or the path of a checkpoint",
        metavar="W",
    )
    image_size: int | None = option(
        None,
        "side of the net's input in pixels",
        metavar="N",
        within=(1, 4096),
        shown_default="as the weights say",
    )
    precision: str = option("fp32", "number format of the forward pass", metavar="P", choices=PRECISIONS)

    alpha: str = option("black", "what transparent pixels are composited on", metavar="|".join(ALPHAS), choices=ALPHAS)
    grey_range: str = option(
        "full",
        "16-bit grey to 8 bits: full keeps the high byte, 12 reads 12-bit values, auto the least depth that fits",
        metavar="full|auto|BITS",
        choices=GREY_RANGES,
    )

    @property
    def specs(self) -> tuple[BackboneSpec, ...]:
        """Each net with its requested weights."""
        return tuple(BackboneSpec.parse(text, self.weights) for text in self.backbones)


@dataclass(frozen=True)
class TapOptions:
    """Where features are read, and of how many views."""

    taps: tuple[str, ...] = option(
        (PENULTIMATE,),
        "penultimate, a module such as layer3, NAME:cls, NAME:mean or all NAME:tokens, last-K; A+B joins two",
        metavar="TAP",
        flag="--tap",
    )
    views: int = option(0, "augmented views of the train images to fit on as well", metavar="V", within=(0, 1000))
    tokens_gb: float = option(
        4.0,
        "most that the tokens of a backbone's NAME:tokens may take in the cache",
        metavar="GB",
        within=(0.0, 1e6),
        rare=True,
    )
