"""What pictures show: the first filters of a net, its input, and the errors of its best row; the report draws them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from probeline.data.pixels.decode import resize_crop
from probeline.data.pixels.functions import refuse_function
from probeline.data.pixels.loading import open_image
from probeline.data.pixels.tiles import shrink
from probeline.evaluate.requests import reuse
from probeline.format import decimals, listing, percent
from probeline.identity import PICTURE_VERSION, digest
from probeline.names import describe_tap
from probeline.options.command_line import command_line
from probeline.results.illustrations.picture import (
    PICTURES,
    Misclassification,
    Picture,
    PictureKind,
    errors_of,
    list_errors,
)
from probeline.results.methods import method_info
from probeline.results.score import Score
from probeline.session import Session
from probeline.types import Backbone, Part

if TYPE_CHECKING:
    from probeline.backbones.resolve import Loaded

MAX_FILTERS = 64

_LONGEST = 800
"""Pixels of the longer side of an original image that a figure has use for."""

_PAIRS = 3
"""Confusions that the alternative text lists."""


class FigureText(NamedTuple):
    title: str
    caption: str
    alt: str


@dataclass(frozen=True)
class Errors:
    """Misclassified images of a part."""

    part: str
    images: tuple[Misclassification, ...]
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class Drawing:
    """What a picture will show, and its record without the hash of its file.

    The content of ``filters`` are kernels float32 [K, 3, h, w]; of ``input`` images with heading and details, each
    uint8 [H, W, 3]; of ``mistakes`` errors; of ``anatomy`` and ``histogram`` records of
    :mod:`probeline.analysis.net_pictures`.
    """

    record: Picture
    content: Any


def picture_filters(session: Session, backbone: Backbone, loaded: Loaded | None) -> Picture | Drawing | None:
    """Return the picture of a net's first filters; None if its first layer is no convolution of colours."""
    of = {"weights": backbone.weights, "weights_sha256": backbone.weights_sha256}
    if picture := find_picture(session, "filters", backbone.name, of):
        return picture
    none = f"no first filters:{digest([PICTURE_VERSION, backbone.name, of])}"
    if not session.is_remembered(none):
        from probeline.backbones.first_conv import first_layer

        net = (loaded or session.net_of(backbone)).net
        if layer := first_layer(net, backbone.preprocess.crop):
            kernels = layer.kernels[:MAX_FILTERS]
            text = filters_text(backbone, layer.module, len(kernels), layer.kernels.shape)
            return Drawing(Picture("filters", backbone.name, backbone.weights, of, *text, sha256=""), kernels)
        PICTURES.remove(session.reports, "filters", backbone.name)
        session.remember_that(none)
    session.console.say(
        f"pictures: {backbone.name}: no filters to show, as its first layer is no convolution of red, green and blue"
    )
    return None


def picture_input(session: Session, backbone: Backbone, part: str, row: int) -> Picture | Drawing:
    """Return the picture of what a net gets of an image.

    Raises
    ------
    BadData
        The image cannot be read.
    """
    of = input_of(backbone, session.dataset.parts[part], row)
    if picture := find_picture(session, "input", backbone.name, of):
        return picture
    import torch

    from probeline.backbones.frozen import Normalize

    original = open_image(session.dataset.images[part], row)
    refuse_function(backbone.preprocess, "a picture of the input")
    pixels = resize_crop(original, backbone.preprocess)
    normalize = Normalize(backbone.preprocess, torch.device("cpu"))
    values = normalize(torch.from_numpy(pixels)[None])
    denormalised = normalize.undo(values)[0].numpy()
    net_input = values[0].permute(1, 2, 0).numpy()
    low, high = float(net_input.min()), float(net_input.max())
    colours = np.rint((net_input - low) * (255 / (high - low)) if high > low else np.full_like(net_input, 127.5))
    text = input_text(backbone, of, original.size, (low, high), float(np.abs(denormalised - pixels).max()))
    crop = backbone.preprocess.crop
    ends = f"{low:.2f} is black, {high:.2f} full colour".replace("-", "−")
    restored = np.rint(denormalised).clip(0, 255).astype(np.uint8)
    panels = (
        ("original", f"{original.width} x {original.height} pixels", np.array(shrink(original, _LONGEST))),
        ("as the net gets it", ends, colours.astype(np.uint8)),
        ("denormalised", f"{crop} x {crop} pixels, 0 to 255", restored),
    )
    return Drawing(Picture("input", backbone.name, backbone.weights, of, *text, sha256=""), panels)


def picture_errors(session: Session, name: str, row: Sequence[Score] | None) -> Picture | Drawing | None:
    """Return the picture of the errors of a backbone's best row, its seeds in order; None if there are no errors."""
    say = session.console.say
    if row is None:
        remedy = command_line(session.settings, "probe", backbones=(name,))
        say(f"pictures: {name}: no errors to show, as it has no score yet; run: {remedy}")
        return None
    of = errors_of(row, session.dataset, session.splits)
    if not of["wrong"]:
        PICTURES.remove(session.reports, "mistakes", name)
        say(f"pictures: {name}: no errors to show, as {row[0].method} predicts all test images correctly")
        return None
    if picture := find_picture(session, "mistakes", name, of):
        return picture
    images = tuple(list_errors(row[0], session.splits)[: len(of["images"])])
    errors = Errors(session.splits.test.part, images, row[0].class_names)
    return Drawing(Picture("mistakes", name, row[0].weights, of, *errors_text(row, of), sha256=""), errors)


def find_picture(session: Session, kind: PictureKind, name: str, of: Mapping[str, Any]) -> Picture | None:
    """Return the picture that is of exactly this and say that it is skipped; None if it is missing.

    Raises
    ------
    CannotWrite
        It is missing, and could not be saved.
    """
    record = PICTURES.find(session.reports, kind, name)
    title, folder = f"pictures: {session.dataset.name} x {name}", session.reports / "pictures"
    if isinstance(record, Picture) and record.of != of:
        record = None
    message = f"{title}: {record.png} is up to date, skipped" if isinstance(record, Picture) else ""
    return reuse(session, record, folder, title, message)


def input_of(backbone: Backbone, part: Part, row: int) -> dict[str, Any]:
    """Return what the picture of a net's input shows; if this changes, the picture is outdated."""
    label = int(part.labels[row])
    return {
        "weights": backbone.weights,
        "preprocess": backbone.preprocess.identity(),
        "part": part.name,
        "row": row,
        "sample_id": part.sample_ids[row],
        "content": part.content[row],
        "class": part.class_names[label] if label >= 0 else None,
    }


def filters_text(backbone: Backbone, module: str, shown: int, kernels: tuple[int, ...]) -> FigureText:
    """Return the text of the picture of the first kernels of a layer, whose kernels have the shape [K, 3, h, w]."""
    count, _, height, width = kernels
    net = f"{backbone.name} ({_weights(backbone.weights)})"
    which = f"all {count}" if shown == count else f"the first {shown} of {count}"
    return FigureText(
        f"First-layer filters of {backbone.name}: {shown} of {count}",
        f"First-layer filters of {net}: {which} kernels of {module}, {height} x {width} pixels in red, green and blue. "
        "Each is scaled to its own range, so brightness cannot be compared between them.",
        f"A grid of {shown} small colour patterns, the first filters of {net}",
    )


def input_text(
    backbone: Backbone, of: Mapping[str, Any], size: tuple[int, int], ends: tuple[float, float], error: float
) -> FigureText:
    """Return the text of the picture of a net's input.

    `size` is the image's width and height; `ends` are the least and largest value of the input; `error` is by how much
    denormalised values miss the pixels at most, of 255.
    """
    record = backbone.preprocess
    image = f"{of['part']}:{of['row']}"
    what = f"{image}, {of['sample_id']}" + (f", of class {of['class']}" if of["class"] is not None else "")
    mean, std = (", ".join(f"{value:.3g}" for value in values) for values in (record.mean, record.std))
    sides = "its shorter side" if record.resize_mode == "shorter" else "both sides"
    low, high = (f"{end:.2f}".replace("-", "−") for end in ends)
    return FigureText(
        f"Input of {backbone.name}",
        f"{what}. Left: original, {size[0]} x {size[1]} pixels. Middle: input of {backbone.name}, {sides} "
        f"resized to {record.resize}, {record.crop} x {record.crop} cut out of the centre, minus mean ({mean}), over "
        f"std ({std}); the values from {low} to {high} are drawn linearly from black to full colour, on one scale for "
        f"all three channels. Right: denormalised, which gives the crop back to within {error:.1g} of 255 grey levels.",
        f"The image {image} three times: original, normalised for {backbone.name}, and denormalised",
    )


def errors_text(row: Sequence[Score], of: Mapping[str, Any]) -> FigureText:
    """Return the text of the picture of a row's errors; `of` is of `errors_of` of its record."""
    score, shown, wrong = row[0], len(of["images"]), of["wrong"]
    method = method_info(score.method)
    which = f"the first {shown} of {wrong:,} errors" if shown < wrong else f"all {wrong} errors"
    which = "the only error" if wrong == 1 else which
    where = describe_tap(score.tap, score.views)
    net = f"{score.backbone}{' ' * bool(where)}{where}"
    places = decimals([score.n_test])
    pairs = Counter((image["class"], image["predicted"]) for image in of["images"]).most_common(_PAIRS)
    frequent = listing([f"{count} of class {true} predicted as {predicted}" for (true, predicted), count in pairs])
    seeds = f" The first of its {of['seeds']} seeds is shown." if of["seeds"] > 1 else ""
    tops = f"val top-1 {percent(of['val_top1'], places)} %, test top-1 {percent(score.top1, places)} %"
    return FigureText(
        f"{which[0].upper()}{which[1:]}: {method.short} on {net}",
        f"Misclassified test images in data set order: {which} on {score.n_test:,} images. "
        f"The row of {score.backbone} that is best on validation: {method.title} on {net}, "
        f"{_weights(score.weights)}, at {score.image_size} pixels; {tops}.{seeds} Images are shown whole; the "
        "net sees the centre. The last line below each image is its name for probeline show.",
        f"{shown} test images with true and predicted class, most often {frequent}",
    )


def _weights(name: str) -> str:
    return "random weights" if name == "none" else name
