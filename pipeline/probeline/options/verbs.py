"""The verbs: what each does, and which options it uses. An option that is not listed here is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain

from probeline.options.groups import (
    BackboneOptions,
    ComputeOptions,
    CurveOptions,
    DataOptions,
    ExportOptions,
    FolderOptions,
    HeadOptions,
    PictureOptions,
    PredictOptions,
    SeedOptions,
    TapOptions,
    TrainOptions,
)
from probeline.options.table import options_in


@dataclass(frozen=True)
class Verb:
    """One verb of the command line.

    Attributes
    ----------
    name, purpose : str
    options : tuple of str
        The names of those that it uses.
    words : str
        What may follow the verb, as its help calls it; empty if nothing may.
    needs_words : bool
    needs_data : bool
        Whether the data set must be at hand.
    """

    name: str
    purpose: str
    options: tuple[str, ...]
    words: str = ""
    needs_words: bool = False
    needs_data: bool = True


def _names(*groups: type | str, without: tuple[str, ...] = ()) -> tuple[str, ...]:
    names = chain.from_iterable(
        (group,) if isinstance(group, str) else (one.name for one in options_in(group)) for group in groups
    )
    return tuple(name for name in dict.fromkeys(names) if name not in without)


_WATCH = ("json", "quiet", "verbose")
_COMMON = (FolderOptions, *_WATCH)
_NET = (DataOptions, BackboneOptions)
_FEATURES = (*_NET, TapOptions, ComputeOptions)
_STEP = ("recipe", "dry_run", *_COMMON)
_ROWS = "[PART:]ROW"

_VERBS = (
    Verb(
        "run",
        "all stages in their order (extract, probe, baselines, finetune, compare), or those of a recipe",
        _names(*_FEATURES, SeedOptions, HeadOptions, TrainOptions, CurveOptions, PictureOptions, *_STEP),
    ),
    Verb(
        "extract", "run each frozen backbone once over the data set and cache its features", _names(*_FEATURES, *_STEP)
    ),
    Verb("probe", "fit linear heads on the cached features", _names(*_FEATURES, SeedOptions, HeadOptions, *_STEP)),
    Verb(
        "baselines",
        "fit scikit-learn logistic regression, ridge regression, k-NN and nearest centroid on the cached features",
        _names(*_FEATURES, *_STEP),
    ),
    Verb(
        "finetune",
        "train the net or its upper stages, from its weights and from scratch",
        _names(*_NET, "views", ComputeOptions, SeedOptions, TrainOptions, *_STEP),
    ),
    Verb(
        "lrfind",
        "run a learning-rate range test of each strategy",
        _names(*_NET, "views", ComputeOptions, "seed", TrainOptions, *_STEP),
    ),
    Verb(
        "curve",
        "fit the exact probe on growing parts of the train images: the learning curve",
        _names(*_FEATURES, "seed", CurveOptions, TrainOptions, *_STEP, without=("strategies",)),
    ),
    Verb(
        "pictures",
        "draw first filters, an input, most common errors and an embedding map of each backbone",
        _names(*_NET, ComputeOptions, PictureOptions, *_STEP),
        words=_ROWS,
    ),
    Verb(
        "latency",
        "time the forward pass of each backbone, the nets in turn",
        _names(*_NET, "device", "workers", *_STEP),
    ),
    Verb(
        "doctor",
        "check the data with the cached features: duplicates and leaks, likely label errors, outliers, odd files",
        _names(*_NET, ComputeOptions, *_STEP),
    ),
    Verb(
        "compare",
        "write the report of all scores of the data set: page, tables and figures",
        _names(*_NET, TapOptions, SeedOptions, HeadOptions, TrainOptions, CurveOptions, *_STEP, without=("dry_run",)),
    ),
    Verb(
        "verify",
        "check every byte of the cache, and its rows against the images and the nets",
        _names(*_FEATURES, "repair", *_COMMON),
        needs_data=False,
    ),
    Verb(
        "explain",
        "show which fields of the key differ from the nearest cached entry",
        _names(*_NET, TapOptions, *_COMMON),
    ),
    Verb(
        "show",
        "show the image behind a row and what is cached of it",
        _names(*_NET, TapOptions, *_COMMON),
        words=_ROWS,
        needs_words=True,
    ),
    Verb(
        "export",
        "write one row of the report as a folder that classifies new images",
        _names(*_FEATURES, "seed", ExportOptions, *_COMMON, "dry_run"),
    ),
    Verb(
        "predict",
        "classify images with an exported predictor or a stock net",
        _names(PredictOptions, BackboneOptions, ComputeOptions, *_COMMON, without=("canary",)),
        words="IMAGE|FOLDER|-",
        needs_words=True,
        needs_data=False,
    ),
    Verb(
        "cache",
        "list, remove, tidy, export or import cached entries: cache ls|rm|gc|export|import",
        _names("yes", "sha256", "dry_run", *_COMMON),
        words="ACTION",
        needs_words=True,
        needs_data=False,
    ),
    Verb(
        "list", "list datasets, backbones or recipes", _names("json"), words="WHAT", needs_words=True, needs_data=False
    ),
    Verb(
        "completion",
        "print the completion script of a shell: source <(probeline completion bash)",
        (),
        words="bash|zsh|fish",
        needs_words=True,
        needs_data=False,
    ),
    Verb(
        "bench",
        "time extraction against a plain loop and the bare forward pass",
        _names(*_NET, ComputeOptions, *_COMMON),
    ),
)

VERBS: Mapping[str, Verb] = {verb.name: verb for verb in _VERBS}

STAGES = ("extract", "probe", "baselines", "finetune", "compare")
"""What ``run`` runs, in this order."""

STEPS = ("extract", "probe", "baselines", "finetune", "lrfind", "curve", "pictures", "latency", "doctor")
"""What a step of a recipe may run; ``compare`` is run once, after all steps."""
