"""The names that options, records and reports share: roles, methods, strategies, precisions, taps. No numpy here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal, get_args

from probeline.errors import BadOption
from probeline.files.reading import is_file

Role = Literal["train", "val", "test"]
Precision = Literal["fp32", "tf32", "bf16", "fp16"]
GREY_BITS = ("8", "10", "12", "14", "16")
"""Bit depths of grey that ``--grey-range`` takes, and that ``auto`` chooses from."""

TOP1 = "top1"
METRICS = (TOP1, "macro", "macro-f1")
"""What validation may select by; the first is the default."""

AUTO, SINGLE_LABEL, MULTI_LABEL, REGRESSION = "auto", "single-label", "multi-label", "regression"
TASKS = (AUTO, SINGLE_LABEL, MULTI_LABEL, REGRESSION)
"""What the labels of images are; ``auto`` takes them for one class each, and refuses those that look like several."""

PRECISIONS: tuple[Precision, ...] = get_args(Precision)

TapReading = Literal["vector", "map", "map-last", "cls", "mean", "input", "tokens", "map-tokens", "map-last-tokens"]
"""How the output or the input of a module inside a net becomes a row: a vector, or for the last three its tokens."""


CORRUPTIONS = (
    *("gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    *("snow", "fog", "brightness", "contrast", "elastic_transform", "pixelate", "jpeg_compression"),
)
"""The corruptions of ImageNet-C without frost; their order enters random numbers and never changes."""

SEVERITIES = (1, 2, 3, 4, 5)


class Method(StrEnum):
    """The methods of scores; ``last-K`` stands for ``last-1``, ``last-2`` and so on."""

    PROBE = "probe"
    PROBE_REFIT = "probe-refit"
    ORDINAL = "ordinal"
    PROBE_SGD = "probe-sgd"
    PROBE_MLP = "probe-mlp"
    PROBE_ATTENTIVE = "probe-attentive"
    ZERO_SHOT = "zero-shot"
    PROBE_FROM_ZERO_SHOT = "probe-from-zero-shot"
    LOGISTIC = "logistic"
    RIDGE = "ridge"
    KNN = "knn"
    KNN_WEIGHTED = "knn-weighted"
    CENTROID = "centroid"
    CENTROID_SHRUNKEN = "centroid-shrunken"
    HEAD = "head"
    LAST_K = "last-K"
    BITFIT = "bitfit"
    LORA = "lora"
    FREEZE_EARLY = "freeze-early"
    FREEZE_MIDDLE = "freeze-middle"
    GRADUAL = "gradual"
    LP_FT = "lp-ft"
    WISE_FT = "wise-ft"
    FINETUNE = "finetune"
    DISTILL_HEAD = "distill-head"
    DISTILL = "distill"
    MULTI_TASK_HEAD = "multi-task-head"
    MULTI_TASK = "multi-task"
    SCRATCH = "scratch"
    ADDED = "added"


READ_TEXTS = (Method.ZERO_SHOT, Method.PROBE_FROM_ZERO_SHOT)
"""Methods that begin with the names of the classes, as a text tower reads them."""


ESTIMATOR = re.compile(r"estimator-([a-z0-9]+(?:-[a-z0-9]+)*)")
"""The methods of other packages' classifiers."""


def estimator_method(path: str) -> str:
    """Return the method of a classifier's scores: ``estimator-svc`` of ``sklearn.svm:SVC``."""
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", path.rpartition(":")[2]).lower()
    return "estimator-" + (re.sub(r"[^a-z0-9]+", "-", name).strip("-") or "classifier")


class Strategy(StrEnum):
    """The strategies of fine-tuning: what is trained; ``last-K`` stands for a number of stages."""

    HEAD = "head"
    LAST_K = "last-K"
    BITFIT = "bitfit"
    LORA = "lora"
    LP_FT = "lp-ft"
    WISE_FT = "wise-ft"
    FULL = "full"
    GRADUAL = "gradual"
    FREEZE_EARLY = "freeze-early"
    FREEZE_MIDDLE = "freeze-middle"
    SCRATCH = "scratch"
    DISTILL = "distill"
    DISTILL_HEAD = "distill-head"
    MULTI_TASK = "multi-task"
    MULTI_TASK_HEAD = "multi-task-head"


DISTILLED = (Strategy.DISTILL, Strategy.DISTILL_HEAD)
TWO_HEADED = (Strategy.MULTI_TASK, Strategy.MULTI_TASK_HEAD)
FROM_PROBE = (Strategy.LP_FT, Strategy.WISE_FT)
"""Strategies that begin at the exact probe's solution."""
FEW_PARAMETERS = (Strategy.BITFIT, Strategy.LORA)
"""Strategies that train a few parameters of every stage, while BatchNorm keeps its statistics."""
OF_CLASSES = (*DISTILLED, *TWO_HEADED, Strategy.WISE_FT)
"""Strategies that need one class for each image."""
LORA_OPTIONS = ("lora_r", "lora_alpha", "lora_dropout", "lora_targets")
"""What a training with adapters is given, of its rank, scale, dropout and layers."""
AT_ONE_RATE = (Strategy.SCRATCH, *FEW_PARAMETERS)
"""Strategies that by default train all parameters at the rate of the head."""

TIMM = "timm:"

PENULTIMATE = "penultimate"
"""The tap of every net: the input of its head, or its output if it has none."""

JOINT = "projection"
"""The tap of a net with a text tower whose vectors are in the space that images and texts share."""

OUTPUT = "output"
"""The pooling of the penultimate tap of a net without a head: the embedding is the net's own output."""

ADDED_HEAD = "added_head"
"""The path of the head that a net without one is given."""

LAST_K = re.compile(r"last-([1-9]\d{0,3})")
"""The last K blocks of a transformer, or stages of a net."""

TOKENS = ":tokens"
"""The end of a tap whose rows are all tokens of a layer, or all positions of a map."""

_TAP = re.compile(rf"[A-Za-z0-9_]+([.-][A-Za-z0-9_]+)*(:cls|:mean|:input|{TOKENS})?")


@dataclass(frozen=True)
class BackboneSpec:
    """A requested backbone."""

    name: str
    """torchvision's, or with the prefix of another source: ``timm:NAME``."""
    weights: str
    """``DEFAULT``, a name of the net's weights, ``wheel``, ``none`` or a file's path."""

    @classmethod
    def parse(cls, text: str, default: str) -> BackboneSpec:
        """Return the spec of ``NAME[@WEIGHTS]``, with the default weights if it names none."""
        name, at, weights = text.partition("@")
        if at and not weights:
            raise BadOption("no weights after @", expected="NAME@WEIGHTS or NAME", got=text)
        return cls(name, weights or default)

    def gives(self, weights: str) -> bool:
        """Return whether a score with these resolved weights may be of this backbone.

        No net is built for this, so ``DEFAULT`` accepts any pretrained weights.
        """
        if is_weights_file(self.weights):
            return Path(self.weights).name == weights
        return weights == self.weights or (self.weights == "DEFAULT" and weights != "none")


def method_of(strategy: str) -> str:
    """Return the method of the scores of a fine-tuning strategy."""
    return Method.FINETUNE if strategy == Strategy.FULL else strategy


_SUFFIXES = (".pth", ".pt", ".safetensors", ".ckpt", ".bin", ".pth.tar", ".pkl", ".th", ".index.json")
"""Of files with weights, as trainers name them."""


def is_weights_file(weights: str) -> bool:
    """Return whether ``--weights`` names a file rather than a kind of weights, also one that does not exist."""
    if "/" in weights or weights.endswith(_SUFFIXES):
        return True
    return "." in weights and is_file(Path(weights))


def split_tap(tap: str) -> tuple[str, ...]:
    """Return the taps whose features are concatenated: two for ``layer3+penultimate``; a net may not have them."""
    taps = tuple(tap.split("+"))
    if not all(_TAP.fullmatch(name) for name in taps):
        raise BadOption(
            "bad --tap",
            expected="penultimate, last-K, a module, MODULE:cls, MODULE:mean, MODULE:tokens, MODULE:input, or A+B",
            got=tap,
        )
    if len(taps) > 1 and any(map(reads_tokens, taps)):
        raise BadOption("tokens cannot be joined with other features", expected="MODULE:tokens alone", got=tap)
    return taps


def reads_tokens(tap: str) -> bool:
    """Return whether the rows of a tap are tokens [T, D] and no vectors."""
    return tap.endswith(TOKENS)


def describe_tap(tap: str, views: int = 0) -> str:
    """Return tap and views in words, ``at layer3, 3 views``; empty for the penultimate tap without views."""
    at = "" if tap == PENULTIMATE else f"at {tap}"
    seen = f"{views} view{'s' if views > 1 else ''}" if views else ""
    return ", ".join(filter(None, (at, seen)))
