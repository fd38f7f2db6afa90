"""What pictures show and say, settled from records alone: which row's mistakes, and whether a picture still holds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from probeline.format import decimals, listing, percent
from probeline.names import Method, describe_tap
from probeline.results.methods import method_info
from probeline.results.picture import Picture
from probeline.results.ranking import best_by_validation
from probeline.results.score import Score
from probeline.types import Backbone, DataSet, Part, Splits

MOST_FILTERS = 64
MOST_MISTAKES = 24

_PAIRS = 3
"""Confusions that the text in a picture's place names."""


@dataclass(frozen=True)
class Mistake:
    """A test image that was taken for another class.

    Attributes
    ----------
    row : int
        Of its part.
    true, predicted : int
        Classes.
    """

    row: int
    true: int
    predicted: int


@dataclass(frozen=True)
class Words:
    """What a picture says: the headline in it, and in a report what stands below it and in its place."""

    title: str
    caption: str
    alt: str


def mistakes(score: Score, splits: Splits) -> list[Mistake]:
    """Return the test images that a score has wrong, in row order."""
    images = zip(splits.test.rows.tolist(), score.labels, score.predictions, strict=True)
    return [Mistake(row, true, predicted) for row, true, predicted in images if true != predicted]


def filters_of(backbone: Backbone) -> dict[str, Any]:
    """Return what the picture of a backbone's first filters is drawn from."""
    return {"weights": backbone.weights, "weights_sha256": backbone.weights_sha256}


def input_of(backbone: Backbone, part: Part, row: int) -> dict[str, Any]:
    """Return what the picture of a net's input is drawn from."""
    return {
        "weights": backbone.weights,
        "preprocess": backbone.preprocess.identity(),
        "part": part.name,
        "row": row,
        "sample_id": part.sample_ids[row],
        "content": part.content[row],
        "class": _class_of(part, row),
    }


def mistakes_of(row: Sequence[Score], dataset: DataSet, splits: Splits) -> dict[str, Any]:
    """Return what the picture of a row's mistakes is drawn from: its first seed's, of all that it has wrong the first.

    Parameters
    ----------
    row : sequence of Score
        In the order of their seeds.
    dataset : DataSet
    splits : Splits
        Those of the scores.
    """
    score, part = row[0], dataset.parts[splits.test.part]
    wrong = mistakes(score, splits)
    return {
        "score": score.key,
        "val_top1": fmean(one.val_top1 for one in row),
        "top1": score.top1,
        "seeds": len(row),
        "part": part.name,
        "wrong": len(wrong),
        "images": [
            {
                "row": one.row,
                "content": part.content[one.row],
                "class": score.class_names[one.true],
                "predicted": score.class_names[one.predicted],
            }
            for one in wrong[:MOST_MISTAKES]
        ],
    }


def filters_words(backbone: Backbone, module: str, shown: int, count: int, height: int, width: int) -> Words:
    """Return what the picture of `shown` of `count` kernels of a layer says."""
    net = f"{backbone.name} ({_weights(backbone.weights)})"
    which = f"all {count}" if shown == count else f"the first {shown} of {count}"
    return Words(
        f"First-layer filters of {backbone.name}: {shown} of {count}",
        f"What {net} looks at first: {which} kernels of {module}, {height} x {width} pixels in red, green and blue. "
        "Each is scaled to its own range, so one cannot be brighter than another.",
        f"A grid of {shown} small colour patterns, the first filters of {net}",
    )


def input_words(
    backbone: Backbone, of: dict[str, Any], size: tuple[int, int], ends: tuple[float, float], error: float
) -> Words:
    """Return what the picture of a net's input says.

    Parameters
    ----------
    backbone : Backbone
    of : dict
        Of :func:`input_of`.
    size : (int, int)
        Width and height of the image in pixels.
    ends : (float, float)
        Least and largest value of the net's input.
    error : float
        By how much denormalised values miss the pixels, at most; of 255.
    """
    record = backbone.preprocess
    image = f"{of['part']}:{of['row']}"
    what = f"{image}, {of['sample_id']}" + (f", of class {of['class']}" if of["class"] is not None else "")
    mean, std = (", ".join(f"{value:.3g}" for value in values) for values in (record.mean, record.std))
    low, high = (f"{end:.2f}".replace("-", "−") for end in ends)
    return Words(
        f"What {backbone.name} is given of an image",
        f"{what}. Left: as it is, {size[0]} x {size[1]} pixels. Middle: as {backbone.name} gets it, its shorter side "
        f"resized to {record.resize}, {record.crop} x {record.crop} cut out of the centre, minus mean ({mean}), over "
        f"std ({std}); the values from {low} to {high} are drawn linearly from black to full colour, on one scale for "
        f"all three channels. Right: denormalised, which gives the crop back to within {error:.1g} of 255 grey levels.",
        f"The image {image} three times: as it is, normalised for {backbone.name}, and denormalised",
    )


def mistakes_words(row: Sequence[Score], of: dict[str, Any]) -> Words:
    """Return what the picture of a row's mistakes says; `of` is of :func:`mistakes_of`."""
    score, shown, wrong = row[0], len(of["images"]), of["wrong"]
    one = method_info(score.method)
    which = f"the first {shown} of {wrong:,} mistakes" if shown < wrong else f"all {wrong} mistakes"
    which = "the only mistake" if wrong == 1 else which
    where = describe_tap(score.tap, score.views)
    net = f"{score.backbone}{' ' * bool(where)}{where}"
    places = decimals([score.n_test])
    pairs = Counter((image["class"], image["predicted"]) for image in of["images"]).most_common(_PAIRS)
    said = listing([f"{count} of class {true} taken for {predicted}" for (true, predicted), count in pairs])
    seeds = f" The first of its {of['seeds']} seeds is shown." if of["seeds"] > 1 else ""
    tops = f"val top-1 {percent(of['val_top1'], places)} %, test top-1 {percent(score.top1, places)} %"
    return Words(
        f"{which[0].upper()}{which[1:]}: {one.short} on {net}",
        "Test images that are taken for another class, in the order of the data set: "
        f"{which} on {score.n_test:,} images. Of the rows of {score.backbone} val prefers this: {one.title} on {net}, "
        f"{_weights(score.weights)}, at {score.image_size} pixels; {tops}.{seeds} Images are shown whole; the net sees "
        "the centre. The last line below each names it for probeline show.",
        f"{shown} test images with true and predicted class, most often {said}",
    )


def outdated(picture: Picture, scores: Sequence[Score], dataset: DataSet, splits: Splits) -> str | None:
    """Say why a picture does not belong to the data set and the scores at hand; None where it does."""
    if picture.kind == "mistakes":
        row = best_by_validation(score for score in scores if score.backbone == picture.backbone)
        if row is None:
            return "its score is gone"
        return None if picture.of == mistakes_of(row, dataset, splits) else "its score has changed"
    weights = {
        score.weights for score in scores if score.backbone == picture.backbone and score.method != Method.SCRATCH
    }
    if weights and picture.weights not in weights:
        return f"its weights, {picture.weights}, are of no score"
    images = {content for part in dataset.parts.values() for content in part.content}
    if picture.kind == "input" and picture.of.get("content") not in images:
        return "its image is not in the data set"
    return None


def _class_of(part: Part, row: int) -> str | None:
    label = int(part.labels[row])
    return part.class_names[label] if label >= 0 else None


def _weights(name: str) -> str:
    return "random weights" if name == "none" else name
