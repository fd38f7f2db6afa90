"""The options in their groups, and the settings of one run: every group, and the words after the verb.

A verb takes the groups, or single options of them, that :mod:`verbs` lists.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from probeline.console import Console, Silence
from probeline.names import GREY_BITS, METRICS, PENULTIMATE, PRECISIONS, TOP1, BackboneSpec, Strategy
from probeline.options.crew import CREWS
from probeline.options.grids import MLP, SGD, TRAIN
from probeline.options.table import Option, option, options_in

MOST = 2**31 - 1
FORMATS = ("table", "csv", "jsonl")
MAPS = ("pca", "tsne")
ALPHAS = ("black", "white")
GREY_RANGES = ("full", "auto", *GREY_BITS)
DEVICES = ("auto", "cpu", "cuda", "cuda:N", "mps")


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
        "penultimate, a module such as layer3, NAME:cls or NAME:mean of tokens, last-K; A+B joins two",
        metavar="TAP",
        flag="--tap",
    )
    views: int = option(0, "augmented views of the train images to fit on as well", metavar="V", within=(0, 1000))


@dataclass(frozen=True)
class ComputeOptions:
    """Where and how the backbone runs."""

    device: str = option("auto", "where the net runs", metavar="auto|cpu|cuda[:N]|mps")
    batch_size: int | None = option(None, "images per batch", metavar="N", within=(1, MOST), shown_default="by device")
    workers: int | None = option(
        None,
        "threads that decode, and on a CPU run the net",
        metavar="N",
        within=(1, 1024),
        shown_default="all cores",
    )
    decode_gb: float | None = option(
        None,
        "memory for decoding in all workers together",
        metavar="GB",
        within=(0.001, 1e6),
        shown_default="a quarter",
        local=True,
    )
    canary: int | None = option(
        None,
        "cached rows to extract again as a check",
        metavar="K",
        within=(0, MOST),
        shown_default="8; 0 for none",
    )


@dataclass(frozen=True)
class ShareOptions:
    """Several processes on one extraction."""

    share: str | None = option(
        None,
        "which of N processes this is, counted from 1: each takes its part of the shards, then what is left",
        metavar="I/N",
        shown_default="as torchrun, SLURM, Kubernetes or SkyPilot says",
        local=True,
    )
    store: str | None = option(
        None, "share shards with other machines: s3://, gs:// or az://BUCKET/PREFIX, or DIR", metavar="URL", local=True
    )
    crew: str | None = option(
        None,
        "work in several processes, started here, on Ray or as a SLURM array, until nothing is missing; not with "
        "--share, and refused in a process that a launcher has numbered",
        metavar="|".join(CREWS),
        choices=tuple(CREWS),
        local=True,
    )
    crew_size: int | None = option(None, "workers of the crew", metavar="N", within=(1, 10_000), local=True)
    crew_with: tuple[str, ...] = option(
        (),
        "what each worker gets: "
        + "; ".join(f"of {name} {', '.join(kind.settings)}" for name, kind in CREWS.items() if kind.settings),
        metavar="NAME=VALUE",
        local=True,
    )


@dataclass(frozen=True)
class SeedOptions:
    """How fits are repeated and selected."""

    seed: int = option(0, "first seed of what is random in fitting", metavar="S", within=(0, MOST))
    seeds: int = option(1, "number of seeds, counted up from the first", metavar="N", within=(1, MOST))
    metric: str = option(TOP1, "what validation selects by", metavar="|".join(METRICS), choices=METRICS)


@dataclass(frozen=True)
class HeadOptions:
    """Heads that are trained in minibatches."""

    sgd: tuple[str, ...] = option(
        (), f"of minibatch heads: {', '.join(SGD)}", metavar="NAME=V[,V...]", shown_default="five rates of lr"
    )
    mlp: tuple[str, ...] = option((), f"also fit an MLP head: {', '.join(MLP)}", metavar="NAME=V[,V...]")
    estimator: str | None = option(None, "also fit a scikit-learn classifier: sklearn.svm:SVC", metavar="MODULE:CLASS")
    estimator_params: tuple[str, ...] = option(
        (), "its parameters; of several values the best on validation is kept", metavar="NAME=V[,V...]"
    )


@dataclass(frozen=True)
class TrainOptions:
    """Fine-tuning: how a net, or its upper stages, is trained."""

    strategies: tuple[str, ...] = option(
        (Strategy.FULL.value, Strategy.SCRATCH.value),
        f"what is trained: {', '.join(Strategy)}",
        metavar="S",
        flag="--strategy",
    )
    epochs: int = option(10, "epochs of training", metavar="N", within=(1, MOST))
    lr: float = option(1e-3, "peak learning rate of the head; below it a tenth", metavar="R", within=(1e-12, 100.0))
    train: tuple[str, ...] = option(
        (),
        f"other settings: {', '.join(TRAIN)}; several values: the best on validation is kept",
        metavar="NAME=V[,V...]",
    )
    unfreeze: tuple[int, ...] = option(
        (), "of gradual: epochs that add a stage", metavar="E", shown_default="equal distances"
    )
    teacher: str | None = option(
        None, "of distill and distill-head: the net whose probe teaches", metavar="NAME[@WEIGHTS]"
    )
    second: tuple[str, ...] = option(
        (),
        "of multi-task and multi-task-head: the second task as groups of classes, or one FILE.csv with columns "
        "sample_id,label",
        metavar="NAME=CLASS,CLASS",
    )
    frozen_gb: float = option(
        4.0,
        "with augment=none or views: cache the output of frozen stages up to this size",
        metavar="GB",
        within=(0.0, 1e6),
    )
    freeze_batchnorm: bool = option(False, "keep BatchNorm statistics and parameters as they are")


@dataclass(frozen=True)
class CurveOptions:
    """Points of a learning curve."""

    fractions: tuple[float, ...] = option(
        (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0), "percent of the train images", metavar="PERCENT"
    )
    shots: tuple[int, ...] = option((1, 2, 4, 8, 16), "images per class; 0 alone for none", metavar="K")
    draws: int = option(5, "how often each part is drawn", metavar="N", within=(1, 1000))
    curve_strategies: tuple[str, ...] = option(
        (), "strategies to train on each part as well", metavar="S", flag="--curve-strategy"
    )


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
        "what to write: a folder; of features a FILE.parquet, .npy, .h5ad or .safetensors; a manifest",
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


@dataclass(frozen=True)
class PredictOptions:
    """What classifies the images, and how the answers are printed."""

    artifact: Path | None = option(None, "folder that export wrote", metavar="FOLDER", local=True)
    imagenet: bool = option(False, "use a stock net's own head and ImageNet's classes")
    top_k: int = option(5, "most probable classes to show", metavar="K", within=(1, 100_000))
    nearest: int = option(3, "nearest train images to show", metavar="N", within=(0, 1000))
    format: str = option("table", "one line per image", metavar="|".join(FORMATS), choices=FORMATS)


@dataclass(frozen=True)
class FolderOptions:
    """Where results are kept."""

    cache: Path = option(Path("cache"), "folder of the cached features", metavar="DIR", local=True)
    reports: Path = option(Path("reports"), "folder of scores and reports", metavar="DIR", local=True)


@dataclass(frozen=True)
class MaintenanceOptions:
    """Looking after the cache."""

    repair: bool = option(False, "put corrupt files aside and extract them again", local=True)
    yes: bool = option(False, "remove or replace without asking", local=True)
    sha256: str | None = option(
        None, "expected sha256 of the file to import, or of an artifact's artifact.json", metavar="HEX", local=True
    )


@dataclass(frozen=True)
class RunOptions:
    """What is run, and what is printed."""

    recipe: str | None = option(None, "steps and options of a recipe; other options override it", metavar="NAME|FILE")
    dry_run: bool = option(False, "print what would run, what is cached and about how long it takes", local=True)
    json: bool = option(False, "print one JSON object on standard output", local=True)
    quiet: bool = option(False, "print results and warnings only", short="-q", local=True)
    verbose: bool = option(False, "print details too, such as every skipped file", short="-v", local=True)


@dataclass(frozen=True)
class Settings:
    """The options of one run by group, whose names are unique among all groups, and the words after the verb."""

    data: DataOptions = field(default_factory=DataOptions)
    nets: BackboneOptions = field(default_factory=BackboneOptions)
    reading: TapOptions = field(default_factory=TapOptions)
    compute: ComputeOptions = field(default_factory=ComputeOptions)
    sharing: ShareOptions = field(default_factory=ShareOptions)
    seeding: SeedOptions = field(default_factory=SeedOptions)
    heads: HeadOptions = field(default_factory=HeadOptions)
    training: TrainOptions = field(default_factory=TrainOptions)
    curve: CurveOptions = field(default_factory=CurveOptions)
    pictures: PictureOptions = field(default_factory=PictureOptions)
    export: ExportOptions = field(default_factory=ExportOptions)
    compare: CompareOptions = field(default_factory=CompareOptions)
    predict: PredictOptions = field(default_factory=PredictOptions)
    folders: FolderOptions = field(default_factory=FolderOptions)
    maintenance: MaintenanceOptions = field(default_factory=MaintenanceOptions)
    run: RunOptions = field(default_factory=RunOptions)
    words: tuple[str, ...] = ()
    console: Console = field(default_factory=Silence, compare=False)

    @classmethod
    def of(cls, *, words: tuple[str, ...] = (), console: Console | None = None, **values: Any) -> Settings:
        """Return the settings with some options by name, whatever their group, and all others at their defaults."""
        return cls(words=words, console=console or Silence()).changed(**values)

    def changed(self, **values: Any) -> Settings:
        """Return the settings with other values of some options by name; TypeError for an unknown one."""
        by_group: dict[str, dict[str, Any]] = {}
        for name, value in values.items():
            if name not in GROUP_OF:
                raise TypeError(f"no option is called {name}")
            by_group.setdefault(GROUP_OF[name], {})[name] = value
        groups = {group: replace(getattr(self, group), **changes) for group, changes in by_group.items()}
        return replace(self, **groups)

    def value(self, name: str) -> Any:
        """Return the value of an option by name, whatever its group."""
        return getattr(getattr(self, GROUP_OF[name]), name)


GROUPS: Mapping[str, type] = {
    group.name: group.default_factory  # type: ignore[misc]
    for group in fields(Settings)
    if group.name not in ("words", "console")
}
"""The class of each group, by the name that it has in `Settings`."""

OPTIONS: Mapping[str, Option] = {option.name: option for group in GROUPS.values() for option in options_in(group)}
"""Every option by name."""

GROUP_OF: Mapping[str, str] = {option.name: name for name, group in GROUPS.items() for option in options_in(group)}
"""The group of each option."""

Step = tuple[Settings, tuple[str, ...]]
"""Part of a run: settings, and the verbs to run with them, in their order."""
