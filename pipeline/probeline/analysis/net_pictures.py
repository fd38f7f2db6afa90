"""What pictures of a net show: its stages with their sizes and parameters, and its input before and after scaling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from probeline.analysis.pictures import Drawing, FigureText, find_picture, input_of
from probeline.data.pixels.decode import resize_crop
from probeline.data.pixels.functions import refuse_function
from probeline.data.pixels.loading import open_image
from probeline.format import count, listing, plural
from probeline.images import PixelArray, Preprocess
from probeline.results.illustrations.picture import Picture
from probeline.session import Session
from probeline.types import Backbone, DoubleArray, IntArray

if TYPE_CHECKING:
    from torch import nn

    from probeline.backbones.penultimate import Tap
    from probeline.backbones.resolve import Loaded

_CHANNELS = ("red", "green", "blue")


@dataclass(frozen=True)
class StageRow:
    """A stage of a net, from the image up to the head: its first module, the shape of its output, its parameters.

    `trained` are the parameters that are trained if this is the lowest stage that is, with the head; `strategy` is the
    name of that.
    """

    module: str
    shape: tuple[int, ...]
    parameters: int
    trained: int
    strategy: str


@dataclass(frozen=True)
class Anatomy:
    """The stages of a net, the one nearest to the image first, and the parameters of a head for the data set."""

    stages: tuple[StageRow, ...]
    head: int


@dataclass(frozen=True)
class Histogram:
    """How many values of a net's input each of 256 grey levels has, and which value a level becomes.

    `counts` is int64 [3, 256] of red, green and blue, `values` float64 [3, 256].
    """

    counts: IntArray
    values: DoubleArray


def picture_anatomy(session: Session, backbone: Backbone, loaded: Loaded | None) -> Picture | Drawing:
    """Return the picture of a net's stages, with the sizes of their outputs and their parameters."""
    classes = len(session.dataset.class_names)
    size = backbone.preprocess.crop
    of = {"weights": backbone.weights, "backbone": backbone.name, "image_size": size, "classes": classes}
    if picture := find_picture(session, "anatomy", backbone.name, of):
        return picture
    built = loaded or session.net_of(backbone)
    anatomy = read_anatomy(built.net, built.tap, size, backbone.dim * classes + classes)
    text = anatomy_text(backbone, anatomy, classes)
    return Drawing(Picture("anatomy", backbone.name, backbone.weights, of, *text, sha256=""), anatomy)


def read_anatomy(net: nn.Module, tap: Tap, image_size: int, head: int) -> Anatomy:
    """Return the anatomy of a net with any head at `tap`; `head` are the parameters of the one that is put there."""
    from probeline.backbones.forward_pass import random_images, watch
    from probeline.backbones.stages import find_stages, shape_below

    stages = find_stages(net, tap, image_size)
    shapes = [shape_below(net, stage, image_size) for stage in stages[1:]]
    trace, _ = watch(net, random_images(2, image_size))
    found = [trace.outputs.get(module) for module in stages[-1].modules]
    maps = [tuple(shape[1:]) for shape in found if shape is not None and len(shape) > 2 and max(shape[2:]) > 1]
    last = maps[-1] if maps else next((tuple(shape[1:]) for shape in reversed(found) if shape is not None), ())
    sizes = {name: parameter.numel() for name, parameter in net.named_parameters()}
    own = [sum(sizes[name] for name in stage.parameters) for stage in stages]
    rows = [
        StageRow(stage.module, shape, own[i], head + sum(own[i:]), f"last-{len(stages) - i}" if i else "full")
        for i, (stage, shape) in enumerate(zip(stages, [*shapes, last], strict=True))
    ]
    return Anatomy(tuple(rows), head)


def anatomy_text(backbone: Backbone, anatomy: Anatomy, classes: int) -> FigureText:
    """Return the text of the picture of a net's stages."""
    stages, size = anatomy.stages, backbone.preprocess.crop
    total = sum(stage.parameters for stage in stages)
    largest = max(stages, key=lambda stage: stage.parameters)
    return FigureText(
        f"Anatomy of {backbone.name}: {plural(len(stages), 'stage')}, {count(total)} parameters below the head",
        f"Stages of {backbone.name} for images of {size} x {size} pixels, the image at the top: first module, shape of "
        f"the output per image as the net has it, parameters, and what is trained if this is the lowest trained stage "
        f"(the strategies last-K and full), with a head of {plural(classes, 'class', 'classes')} on {backbone.dim:,} "
        f"features, which alone has {anatomy.head:,} parameters: that is what a linear probe trains.",
        f"A table of {plural(len(stages), 'stage')} of {backbone.name} with bars of their parameters, the most in "
        f"{largest.module} ({count(largest.parameters)})",
    )


def picture_histogram(session: Session, backbone: Backbone, part: str, row: int) -> Picture | Drawing:
    """Return the picture of the values of one input by channel, before and after normalisation.

    Raises
    ------
    BadData
        The image cannot be read.
    """
    of = input_of(backbone, session.dataset.parts[part], row)
    if picture := find_picture(session, "histogram", backbone.name, of):
        return picture
    refuse_function(backbone.preprocess, "a histogram of the input")
    pixels = resize_crop(open_image(session.dataset.images[part], row), backbone.preprocess)
    histogram = count_values(pixels, backbone.preprocess)
    text = histogram_text(backbone, of, histogram)
    return Drawing(Picture("histogram", backbone.name, backbone.weights, of, *text, sha256=""), histogram)


def count_values(pixels: PixelArray, preprocess: Preprocess) -> Histogram:
    """Return the histogram of the pixels uint8 [H, W, 3] of an input."""
    counts = np.stack([np.bincount(pixels[..., channel].ravel(), minlength=256) for channel in range(3)])
    mean, std = (np.array(values)[:, None] for values in (preprocess.mean, preprocess.std))
    return Histogram(counts.astype(np.int64), (np.arange(256) / 255 - mean) / std)


def moments(counts: IntArray, values: DoubleArray) -> tuple[float, float]:
    """Return mean and standard deviation of values [256] with these counts [256]."""
    mean = float((counts * values).sum() / counts.sum())
    return mean, float(np.sqrt((counts * (values - mean) ** 2).sum() / counts.sum()))


def histogram_text(backbone: Backbone, of: dict[str, Any], histogram: Histogram) -> FigureText:
    """Return the text of the picture of an input's values."""
    record, image = backbone.preprocess, f"{of['part']}:{of['row']}"
    before, after = (
        _in_words([moments(counts, values) for counts, values in zip(histogram.counts, axis, strict=True)], places)
        for axis, places in (([np.arange(256.0)] * 3, 0), (list(histogram.values), 2))
    )
    mean, std = (", ".join(f"{value:.3g}" for value in values) for values in (record.mean, record.std))
    return FigureText(
        f"Values of an input of {backbone.name} before and after normalisation",
        f"{image}, {of['sample_id']}: the {record.crop} x {record.crop} pixels that {backbone.name} gets, by channel. "
        f"Left: grey levels, {before} (mean and sd). Right: divided by 255, minus mean ({mean}), over std ({std}): "
        f"{after}. Over the images that the weights were trained on, each channel has about mean 0 and sd 1; a single "
        "image need not.",
        f"Two histograms of red, green and blue in image {image}: grey levels, and the normalised input",
    )


def _in_words(values: Sequence[tuple[float, float]], places: int) -> str:
    words = [
        f"{name} {mean:.{places}f} and {sd:.{places}f}" for name, (mean, sd) in zip(_CHANNELS, values, strict=True)
    ]
    return listing(words).replace("-", "−")
