"""Options of fits: heads, fine-tuning and learning curves."""

from __future__ import annotations

from dataclasses import dataclass

from probeline.names import METRICS, TOP1, Strategy
from probeline.options.grids import ATTENTIVE, MLP, SGD, TRAIN
from probeline.options.table import MOST, option


@dataclass(frozen=True)
class FitOptions:
    """How fits are repeated and selected."""

    seed: int = option(0, "first seed of what is random in fitting", metavar="S", within=(0, MOST))
    seeds: int = option(1, "number of seeds, counted up from the first", metavar="N", within=(1, MOST))
    metric: str = option(TOP1, "what validation selects by", metavar="|".join(METRICS), choices=METRICS)
    class_weights: tuple[str, ...] = option(
        (), "how much classes count in fitting: balanced, or CLASS=W ...; others count 1", metavar="balanced|CLASS=W"
    )


@dataclass(frozen=True)
class HeadOptions:
    """Heads in addition to the exact probe, and how much of its path is solved."""

    full_path: bool = option(
        False, "solve every l2 of the exact probe, also those that validation cannot select", rare=True
    )
    sgd: tuple[str, ...] = option(
        (),
        f"of minibatch heads: {', '.join(SGD)}",
        metavar="NAME=V[,V...]",
        shown_default="five rates of lr",
        rare=True,
    )
    mlp: tuple[str, ...] = option((), f"also fit an MLP head: {', '.join(MLP)}", metavar="NAME=V[,V...]", rare=True)
    ordinal: tuple[str, ...] = option(
        (),
        "also fit an ordinal probe: all classes from the lowest to the highest, or numeric",
        metavar="CLASS",
        rare=True,
    )
    estimator: str | None = option(
        None, "also fit a scikit-learn classifier: sklearn.svm:SVC", metavar="MODULE:CLASS", rare=True
    )
    attentive: tuple[str, ...] = option(
        (), f"fit an attentive probe on --tap NAME:tokens: {', '.join(ATTENTIVE)}", metavar="NAME=V[,V...]", rare=True
    )
    estimator_params: tuple[str, ...] = option(
        (), "its parameters; of several values the best on validation is kept", metavar="NAME=V[,V...]", rare=True
    )
    zero_shot: bool = option(
        False, "also classify by the class names, and a probe from there: openclip nets at --tap projection", rare=True
    )
    templates: tuple[str, ...] = option(
        (),
        "of zero-shot: sentences with {} for the class",
        metavar="TEXT",
        flag="--template",
        shown_default="CLIP's seven",
        rare=True,
    )
    class_texts: tuple[str, ...] = option(
        (),
        "of zero-shot: what a class is called in sentences",
        metavar="CLASS=TEXT",
        flag="--class-text",
        shown_default="its name with spaces for _",
        rare=True,
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
        (), "of gradual: epochs that add a stage", metavar="E", shown_default="equal distances", rare=True
    )
    teacher: str | None = option(
        None, "of distill and distill-head: the net whose probe teaches", metavar="NAME[@WEIGHTS]", rare=True
    )
    second: tuple[str, ...] = option(
        (),
        "of multi-task and multi-task-head: the second task as groups of classes, or one FILE.csv with columns "
        "sample_id,label",
        metavar="NAME=CLASS,CLASS",
        rare=True,
    )
    frozen_gb: float = option(
        4.0,
        "with augment=none or views: cache the output of frozen stages up to this size",
        metavar="GB",
        within=(0.0, 1e6),
        rare=True,
    )
    freeze_batchnorm: bool = option(False, "keep BatchNorm statistics and parameters as they are")


@dataclass(frozen=True)
class CurveOptions:
    """Points of a learning curve."""

    fractions: tuple[float, ...] = option(
        (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0), "percent of the train images", metavar="PERCENT", rare=True
    )
    shots: tuple[int, ...] = option((1, 2, 4, 8, 16), "images per class; 0 alone for none", metavar="K", rare=True)
    draws: int = option(5, "how often each part is drawn", metavar="N", within=(1, 1000), rare=True)
    curve_strategies: tuple[str, ...] = option(
        (), "strategies to train on each part as well", metavar="S", flag="--curve-strategy", rare=True
    )
