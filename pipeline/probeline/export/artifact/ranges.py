"""The ranges of an artifact's record: what an export can have written, and what a prediction can be computed with."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from typing import Any

from probeline.export.artifact.record import Artifact, GraphFacts, Measured, Net, TrainRowFacts
from probeline.heads.temperature import LIMITS
from probeline.images import Preprocess
from probeline.names import OUTPUT, PENULTIMATE, PRECISIONS

MOST_CLASSES = 100_000
LONGEST_NAME = 1000
"""Characters of the name of a class, a net, a module and the like."""

LARGEST_CROP = 4096
"""Pixels of a crop's side: the largest ``--image-size``."""

_LARGEST_RESIZE = 4 * LARGEST_CROP
_MOST_RESIZE = 8
"""Largest ratio of resize to crop; that of nets in use is 1 to 1.15."""

_MEANS, _STDS = (-1e3, 1e3), (1e-6, 1e6)
"""For pixels in [0, 1]; with all of these the net's input is finite in float32."""

_DEEPEST = 32
"""Levels of nested objects and arrays."""

_MOST = 2**53
"""A JSON reader may keep integers up to here exactly."""

_SHARES = (-1e-9, 1 + 1e-9)
"""Of a whole, with the rounding of a mean."""

_ROUNDING = 2**-10
"""Of a cosine between rows that float16 rounds."""

ACTIVATIONS = ("gelu", "relu")
"""Of a hidden layer in a head."""

_POOLINGS = ("none", "avg", OUTPUT)
"""Of the penultimate tap."""

SHA256 = re.compile("[0-9a-f]{64}")


def check_text(values: object) -> None:
    """Refuse JSON values that are nested deeper than any record, and text that has no encoding.

    Raises
    ------
    ValueError
    """
    level = [values]
    for _ in range(_DEEPEST):
        for text in (item for item in level if isinstance(item, str)):
            text.encode("utf-8")  # half of a surrogate pair is a UnicodeEncodeError, which is a ValueError
        inner: list[Any] = []
        for item in level:
            if isinstance(item, Mapping):
                inner += [*item, *item.values()]
            elif isinstance(item, list):
                inner += item
        if not inner:
            return
        level = inner
    raise ValueError(f"values nested more than {_DEEPEST} levels deep")


def check_ranges(artifact: Artifact) -> None:
    """Refuse values that no export writes, and values that contradict each other.

    Raises
    ------
    ValueError
    """
    _check_classes(artifact.classes)
    # The limits themselves may be off by the rounding of a logarithm.
    _require(
        LIMITS[0] * (1 - 1e-9) <= artifact.temperature <= LIMITS[1] * (1 + 1e-9),
        f"temperature {artifact.temperature!r}, where calibration gives {LIMITS[0]:g} to {LIMITS[1]:g}",
    )
    _require_digest("asked", artifact.request)
    _check_preprocess(artifact.preprocess)
    _check_net(artifact.net, artifact.preprocess.crop)
    activations = (None,) if artifact.net.own_head else (None, *ACTIVATIONS)
    _require(artifact.activation in activations, f"activation {artifact.activation!r:.80}")
    told = artifact.row
    _check_measured(told)
    for name, of_record, of_score in (
        ("backbone", artifact.net.name, told.backbone),
        ("weights", artifact.net.weights, told.weights),
        ("precision", artifact.net.precision, told.precision),
        ("temperature", artifact.temperature, told.temperature),
        ("crop", artifact.preprocess.crop, told.image_size),
        ("taps", "+".join(artifact.net.taps), told.tap),
    ):
        _require(of_record == of_score, f"{name} {of_record!r}, but {of_score!r} was measured")
    if artifact.neighbours is not None:
        _check_train_rows(artifact.neighbours)
    for name, facts in artifact.graphs.items():
        _check_graph(name, facts, artifact.preprocess.crop, len(artifact.classes))


def _require(is_right: bool, what: str) -> None:
    if not is_right:
        raise ValueError(what)


def _require_digest(name: str, text: str) -> None:
    _require(SHA256.fullmatch(text) is not None, f"{name} {text!r:.80}, which is no sha256 of 64 hexadecimal digits")


def _require_name(name: str, text: str) -> None:
    _require(0 < len(text) <= LONGEST_NAME, f"{name} of {len(text):,} characters, where 1 to {LONGEST_NAME:,} are read")
    control = next((letter for letter in text if unicodedata.category(letter) == "Cc"), None)
    _require(control is None, f"{name} with the control character {control!r}")


def _require_within(low: float, high: float, **values: float) -> None:
    for name, value in values.items():
        _require(low <= value <= high, f"{name} {value!r:.40}, where {low:g} to {high:g} are read")


def _check_classes(classes: tuple[str, ...]) -> None:
    _require(len(classes) >= 2, "a predictor has two classes or more")
    _require(len(classes) <= MOST_CLASSES, f"{len(classes):,} classes, where {MOST_CLASSES:,} are read")
    for name in classes:
        _require_name("a class", name)
    name, count = Counter(classes).most_common(1)[0]
    _require(count == 1, f"{count:,} classes of the name {name!r:.80}")


def _check_preprocess(preprocess: Preprocess) -> None:
    _require_within(1, LARGEST_CROP, crop=preprocess.crop)
    most = min(_LARGEST_RESIZE, _MOST_RESIZE * preprocess.crop)
    _require_within(preprocess.crop, most, resize=preprocess.resize)
    for mean, std in zip(preprocess.mean, preprocess.std, strict=True):
        _require_within(*_MEANS, mean=mean)
        _require_within(*_STDS, std=std)


def _check_net(net: Net, crop: int) -> None:
    for name, text in (("net", net.name), ("weights", net.weights), ("head", net.head)):
        _require_name(name, text)
    _require_digest("weights_sha256", net.weights_sha256)
    _require(net.pooling in _POOLINGS, f"pooling {net.pooling!r:.80}")
    _require(net.precision in PRECISIONS, f"precision {net.precision!r:.80}")
    if "image_size" in net.options:
        _require(net.options["image_size"] == crop, f"a net of {net.options!r:.80} for crops of {crop} pixels")
    _require_within(1, _MOST, dim=net.dim, **{f"dim of {tap:.80}": inner.dim for tap, inner in net.inner.items()})
    _require(0 < len(set(net.taps)) == len(net.taps), f"{len(net.taps)} taps, of which {len(set(net.taps))} differ")
    _require(set(net.inner) == set(net.taps) - {PENULTIMATE}, "taps and the facts of inner taps differ")
    for tap, inner in net.inner.items():
        _require_name("a tap", tap)
        _require_name("a module", inner.module)
        _require_within(0, _MOST, prefix=inner.prefix)
    _require(not net.own_head or net.taps == (PENULTIMATE,), "a net with its own head and inner taps")


def _check_measured(told: Measured) -> None:
    for name in ("dataset", "method"):
        _require_name(name, getattr(told, name))
    _require_digest("key", told.key)
    _require_digest("splits", told.splits)
    counts = ("n_train", "n_val", "n_test", "trainable", "total", "views", "image_size")
    _require_within(0, _MOST, **{name: getattr(told, name) for name in counts}, seed=told.seed or 0)
    shares = ("top1", "macro", "val_top1", "ece", "raw_ece")
    maybe = ("top5", "auroc", "val_score", "waited")
    given = {name: getattr(told, name) for name in shares} | {name: getattr(told, name) or 0 for name in maybe}
    _require_within(*_SHARES, **given)
    _require_within(_SHARES[0], 2 * _SHARES[1], brier=told.brier)
    _require_within(-_SHARES[1], _SHARES[1], optimism=told.optimism or 0)
    low, high = told.interval
    _require_within(*_SHARES, interval=low)
    _require_within(low, _SHARES[1], interval=high)
    positive = ("nll", "raw_nll", "warm_seconds", "cold_seconds")
    _require_within(_SHARES[0], math.inf, **{name: getattr(told, name) for name in positive})
    for images, confidence, right in (*told.bins, *told.raw_bins):
        _require_within(0, _MOST, bins=images)
        _require_within(*_SHARES, bins=confidence)
        _require_within(*_SHARES, bins=right)


def _check_train_rows(facts: TrainRowFacts) -> None:
    _require_within(2, _MOST, rows=facts.rows)
    _require_within(1, facts.rows - 1, k=facts.k)
    _require_within(0, 1, quantile=facts.quantile, test_share=facts.test_share)
    _require_within(-_ROUNDING, 2 + _ROUNDING, threshold=facts.threshold)


def _check_graph(name: str, facts: GraphFacts, crop: int, classes: int) -> None:
    side, shapes = facts.input.pixels[1:3], {facts.outputs.logits, facts.outputs.probabilities}
    _require(
        side == (crop, crop) and shapes == {("N", classes)},
        f"{name:.80} has other inputs and outputs than {classes} classes of {crop} pixels",
    )
    _require_within(0, _MOST, images=facts.images, opset=facts.opset or 0)
    _require_within(0, math.inf, difference=facts.difference)
    _require_name("torch", facts.torch)
