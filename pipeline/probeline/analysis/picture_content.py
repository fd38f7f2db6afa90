"""What pictures show and say, decided from records alone: what they are drawn from and their text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from probeline.format import decimals, listing, percent
from probeline.names import describe_tap
from probeline.results.methods import method_info
from probeline.results.score import Score
from probeline.types import Backbone, Part

MAX_FILTERS = 64

_PAIRS = 3
"""Confusions that the alternative text lists."""


@dataclass(frozen=True)
class PictureText:
    """The text of a picture: the headline in it, and in a report its caption and its alternative text."""

    title: str
    caption: str
    alt: str


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


def filters_text(backbone: Backbone, module: str, shown: int, count: int, height: int, width: int) -> PictureText:
    """Return the text of the picture of `shown` of `count` kernels of a layer."""
    net = f"{backbone.name} ({_weights(backbone.weights)})"
    which = f"all {count}" if shown == count else f"the first {shown} of {count}"
    return PictureText(
        f"First-layer filters of {backbone.name}: {shown} of {count}",
        f"First-layer filters of {net}: {which} kernels of {module}, {height} x {width} pixels in red, green and blue. "
        "Each is scaled to its own range, so brightness cannot be compared between them.",
        f"A grid of {shown} small colour patterns, the first filters of {net}",
    )


def input_text(
    backbone: Backbone, of: dict[str, Any], size: tuple[int, int], ends: tuple[float, float], error: float
) -> PictureText:
    """Return the text of the picture of a net's input.

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
    return PictureText(
        f"Input of {backbone.name}",
        f"{what}. Left: original, {size[0]} x {size[1]} pixels. Middle: input of {backbone.name}, its shorter side "
        f"resized to {record.resize}, {record.crop} x {record.crop} cut out of the centre, minus mean ({mean}), over "
        f"std ({std}); the values from {low} to {high} are drawn linearly from black to full colour, on one scale for "
        f"all three channels. Right: denormalised, which gives the crop back to within {error:.1g} of 255 grey levels.",
        f"The image {image} three times: original, normalised for {backbone.name}, and denormalised",
    )


def errors_text(row: Sequence[Score], of: dict[str, Any]) -> PictureText:
    """Return the text of the picture of a row's errors; `of` is of :func:`probeline.results.picture.errors_of`."""
    score, shown, wrong = row[0], len(of["images"]), of["wrong"]
    one = method_info(score.method)
    which = f"the first {shown} of {wrong:,} errors" if shown < wrong else f"all {wrong} errors"
    which = "the only error" if wrong == 1 else which
    where = describe_tap(score.tap, score.views)
    net = f"{score.backbone}{' ' * bool(where)}{where}"
    places = decimals([score.n_test])
    pairs = Counter((image["class"], image["predicted"]) for image in of["images"]).most_common(_PAIRS)
    frequent = listing([f"{count} of class {true} predicted as {predicted}" for (true, predicted), count in pairs])
    seeds = f" The first of its {of['seeds']} seeds is shown." if of["seeds"] > 1 else ""
    tops = f"val top-1 {percent(of['val_top1'], places)} %, test top-1 {percent(score.top1, places)} %"
    return PictureText(
        f"{which[0].upper()}{which[1:]}: {one.short} on {net}",
        "Misclassified test images in data set order: "
        f"{which} on {score.n_test:,} images. The row of {score.backbone} that is best on validation: {one.title} on "
        f"{net}, {_weights(score.weights)}, at {score.image_size} pixels; {tops}.{seeds} Images are shown whole; the "
        "net sees the centre. The last line below each image is its name for probeline show.",
        f"{shown} test images with true and predicted class, most often {frequent}",
    )


def _class_of(part: Part, row: int) -> str | None:
    label = int(part.labels[row])
    return part.class_names[label] if label >= 0 else None


def _weights(name: str) -> str:
    return "random weights" if name == "none" else name
