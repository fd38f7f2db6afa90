"""The verbs: what each does, and which options it uses. An option that is not listed here is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from probeline.options.settings import GROUP_OF, GROUPS


@dataclass(frozen=True)
class Verb:
    """One verb of the command line, with the names of its options.

    `words` is the name in its help of what may follow the verb; `needs_data` is whether the data set is loaded first,
    `needs_labels` whether its rows must have labels, `needs_classes` whether each must have one class, and
    `needs_images` whether embeddings from elsewhere are not enough.
    """

    name: str
    purpose: str
    options: tuple[str, ...]
    words: str = ""
    needs_words: bool = False
    needs_data: bool = True
    needs_labels: bool = True
    needs_classes: bool = False
    needs_images: bool = False


def _names(*groups_and_options: str, without: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return the names of options, a group standing for all of its own."""
    names: list[str] = []
    for name in groups_and_options:
        names += [option for option, group in GROUP_OF.items() if group == name] if name in GROUPS else [name]
    return tuple(name for name in dict.fromkeys(names) if name not in without)


_WATCH = ("json", "quiet", "verbose")
_COMMON = ("folders", *_WATCH)
_NET = ("data", "nets")
_FEATURES = (*_NET, "reading", "compute")
_STEP = ("recipe", "dry_run", *_COMMON)
_CREW = ("crew", "crew_size", "crew_with")
_BOARD = ("image_size", "precision", "taps", "views", "metric", "method", "out")
_ROWS = "[PART:]ROW"

_VERBS = (
    Verb(
        "run",
        "all stages in their order (extract, probe, baselines, finetune, compare), or those of a recipe",
        _names(*_FEATURES, "fitting", "heads", "training", "curve", "pictures", "compare", *_STEP),
    ),
    Verb(
        "extract",
        "run each frozen backbone once over the data set and cache its features",
        _names(*_FEATURES, "sharing", *_STEP),
        needs_labels=False,
    ),
    Verb("probe", "fit linear heads on the cached features", _names(*_FEATURES, "fitting", "heads", *_CREW, *_STEP)),
    Verb(
        "baselines",
        "fit scikit-learn logistic regression, ridge regression, k-NN and nearest centroid on the cached features",
        _names(*_FEATURES, "metric", "class_weights", *_CREW, *_STEP),
    ),
    Verb(
        "finetune",
        "train the net or its upper stages, from its weights and from scratch",
        _names(*_NET, "views", "compute", "fitting", "training", *_CREW, *_STEP),
        needs_images=True,
    ),
    Verb(
        "lrfind",
        "run a learning-rate range test of each strategy",
        _names(*_NET, "views", "compute", "seed", "class_weights", "training", *_STEP),
        needs_images=True,
        needs_classes=True,
    ),
    Verb(
        "curve",
        "fit the exact probe on growing parts of the train images: the learning curve",
        _names(*_FEATURES, "fitting", "curve", "training", *_CREW, *_STEP, without=("seeds", "strategies")),
        needs_classes=True,
    ),
    Verb(
        "robustness",
        "score the exact probe on corrupted copies of the test images: noise, blur, weather, compression",
        _names(*_FEATURES, "metric", "robustness", *_STEP),
        needs_images=True,
        needs_classes=True,
    ),
    Verb(
        "pictures",
        "draw stages, first filters, an input, most common errors and an embedding map of each backbone",
        _names(*_NET, "compute", "pictures", *_STEP),
        words=_ROWS,
        needs_images=True,
        needs_classes=True,
    ),
    Verb(
        "latency",
        "time the forward pass of each backbone, the nets in turn",
        _names(*_NET, "device", "workers", *_STEP),
        needs_labels=False,
        needs_images=True,
    ),
    Verb(
        "doctor",
        "check the data with the cached features: duplicates and leaks, likely label errors, outliers, odd files",
        _names(*_NET, "compute", *_STEP),
        needs_classes=True,
    ),
    Verb(
        "quality",
        "measure the cached features alone: rank, dimension, predictors of accuracy, retrieval, clusters, similarity",
        _names(*_NET, "taps", "compute", *_STEP),
        needs_labels=False,
    ),
    Verb(
        "compare",
        "write the report of all scores of the data set: page, tables and figures",
        _names(
            *_NET,
            "reading",
            "fitting",
            "heads",
            "training",
            "curve",
            "compare",
            *_STEP,
            without=("dry_run", "tokens_gb"),
        ),
    ),
    Verb(
        "board",
        "compare backbones over the reports of several data sets, or over those of a recipe, which is run first",
        _names(
            *("data", "backbones", "weights", "compute", "seeds", "epochs", *_BOARD, *_STEP),
            without=("dataset", "labels", "task", "separator", "columns", "images", "groups"),
        ),
        words="[DATASET ...]",
        needs_data=False,
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
        _names(*_NET, "reading", *_COMMON, without=("tokens_gb",)),
        needs_labels=False,
        needs_images=True,
    ),
    Verb(
        "show",
        "show the image behind a row and what is cached of it",
        _names(*_NET, "reading", *_COMMON, without=("tokens_gb",)),
        words=_ROWS,
        needs_words=True,
        needs_labels=False,
        needs_images=True,
    ),
    Verb(
        "export",
        "write one row of the report as a folder that classifies new images",
        _names(*_FEATURES, "seed", "export", "yes", *_COMMON, "dry_run"),
        needs_images=True,
        needs_classes=True,
    ),
    Verb(
        "manifest",
        "list and hash the images of a data set once, as a file for many processes: manifest:FILE",
        _names(
            "data", "out", *_COMMON, without=("limit", "labels", "task", "separator", "groups", "data_seed", "reports")
        ),
        needs_labels=False,
        needs_images=True,
    ),
    Verb(
        "features",
        "write cached features with labels, predictions and a projection as a file for other programs",
        _names(*_FEATURES, "out", *_COMMON),
        needs_labels=False,
    ),
    Verb(
        "predict",
        "classify images with an exported predictor or a stock net",
        _names("predict", "sha256", "nets", "compute", *_COMMON, without=("canary",)),
        words="IMAGE|FOLDER|-",
        needs_words=True,
        needs_data=False,
    ),
    Verb(
        "similar",
        "find the cached images nearest to an image or a row, and draw them",
        _names(*_NET, "taps", "compute", "similar", "format", "out", *_COMMON),
        words="IMAGE|[PART:]ROW",
        needs_words=True,
        needs_labels=False,
    ),
    Verb(
        "cache",
        "list, remove, tidy, export, import or upgrade cached entries: cache ls|rm|gc|export|import|upgrade",
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
        _names(*_NET, "compute", *_COMMON),
        needs_labels=False,
        needs_images=True,
    ),
)

VERBS: Mapping[str, Verb] = {verb.name: verb for verb in _VERBS}

BOARD_ALONE = _names(*_BOARD, *_STEP)
"""The options that ``board`` itself uses: which rows it shows, and where; all others are those of a recipe's steps."""

STAGES = ("extract", "probe", "baselines", "finetune", "compare")
"""The verbs of ``run``, in this order."""

STEPS = (
    *("extract", "probe", "baselines", "finetune", "lrfind", "curve", "robustness", "pictures", "latency", "doctor"),
    "quality",
)
"""The verbs that a step of a recipe may have; ``compare`` runs once, after all steps."""
