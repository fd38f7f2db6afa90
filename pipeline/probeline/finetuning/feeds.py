"""The feeds of a training: pixels, or the outputs of the stages that it never trains, run once and cached."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from probeline.data.pixels.augment import recolour
from probeline.data.pixels.decode import random_resized_crop, resize_crop
from probeline.data.pixels.functions import refuse_function
from probeline.data.pixels.loading import Unreadable, ordered, read_batch
from probeline.data.pixels.views import augment
from probeline.data.unreadable import check_all
from probeline.errors import BadImage
from probeline.extraction.fill import fill
from probeline.images import PixelArray, Preprocess, View
from probeline.names import PENULTIMATE
from probeline.options.grids import KEPT
from probeline.options.share import Share
from probeline.session import Session
from probeline.types import Backbone, FloatArray, IntArray, Split

if TYPE_CHECKING:
    from PIL import Image

    from probeline.backbones.resolve import Loaded
    from probeline.backbones.stages import Stage
    from probeline.finetuning.training.setup import Feed
    from probeline.finetuning.training.unfreezing import UnfreezingPlan

CROP_SCALE = (0.35, 1.0)
"""Share of the image's area in a random resized crop; ImageNet's 0.08 is too hard for a few epochs."""


@dataclass(frozen=True)
class Feeds:
    """What a training reads: a feed of the part that the rows of each role come from.

    Attributes
    ----------
    cut : Stage or None
        The first stage that is ever trained, if the feeds give its input; None if they give pixels.
    seconds : float
        Duration of the stages below it, over all parts.
    """

    train: Feed
    val: Feed
    test: Feed
    cut: Stage | None = None
    seconds: float = 0.0


def make_pixel_feeds(session: Session, preprocess: Preprocess, preset: str, seed: int, threads: int) -> Feeds:
    """Return feeds of pixels: as the probe sees them, and in training augmented by the preset."""
    splits = session.splits
    train, val, test = (
        make_pixel_feed(session, split, preprocess, preset, seed, threads)
        for split in (splits.train, splits.val, splits.test)
    )
    return Feeds(train, val, test)


def make_pixel_feed(
    session: Session, split: Split, preprocess: Preprocess, preset: str, seed: int, threads: int
) -> Feed:
    """Return the feed of pixels of the part that a split's rows come from."""
    from probeline.finetuning.training.steps import draw_seed

    refuse_function(preprocess, "fine-tuning")
    images, content = session.dataset.images[split.part], session.dataset.parts[split.part].content
    flips, views = session.dataset.flips, session.settings.reading.views

    def view_of(epoch: int | None) -> Callable[[Image.Image, int], PixelArray]:
        if epoch is None or preset == "none":
            return lambda image, _: resize_crop(image, preprocess)
        if preset == "views":
            view = _view(epoch, views, flips=flips)
            return lambda image, row: augment(image, preprocess, view, content[row])
        crop_seed = draw_seed(seed, epoch)
        return lambda image, row: _crop(image, preprocess, preset, np.random.default_rng([crop_seed, row]), flips=flips)

    def read(rows: IntArray, view: Callable[[Image.Image, int], PixelArray]) -> PixelArray:
        pixels = read_batch(images, rows, view, preprocess)
        if isinstance(pixels, Unreadable):
            if all(isinstance(error, BadImage) for error in pixels.errors):
                check_all(session.dataset, session.verdicts, threads)
            raise pixels.errors[0]
        return pixels

    def feed(batches: Sequence[IntArray], epoch: int | None) -> Iterator[PixelArray]:
        view = view_of(epoch)
        for _, pixels in ordered(lambda rows: read(rows, view), batches, threads):
            yield pixels

    return feed


def _view(epoch: int, views: int, *, flips: bool) -> View:
    return View(1 + epoch % views, flips)


def _crop(
    image: Image.Image, preprocess: Preprocess, preset: str, rng: np.random.Generator, *, flips: bool
) -> PixelArray:
    crop = random_resized_crop(
        recolour(image, preset, rng),
        preprocess.crop,
        rng,
        scale=CROP_SCALE,
        interpolation=preprocess.interpolation,
    )
    return crop[:, ::-1] if flips and rng.random() < 0.5 else crop


def load_cut_feeds(
    session: Session,
    loaded: Loaded,
    stages: Sequence[Stage],
    unfreezing: UnfreezingPlan,
    preset: str,
    share: Share | None = None,
) -> Feeds | None:
    """Return feeds of the outputs of the stages that are never trained, extracted if they are not in the cache.

    With a share, this is one of several processes that extract them together.

    None if that cannot be: no stage is frozen, its images differ from epoch to epoch, the net cannot be run in two
    halves, or what is between them is larger than the settings allow.
    """
    from probeline.backbones.stages import Stage, can_be_split

    if not unfreezing.frozen_stages or preset not in KEPT:
        return None
    size = loaded.backbone.preprocess.crop
    name = session.asked_as(loaded.backbone.name, loaded.backbone.weights)
    is_head_only = unfreezing.frozen_stages == len(stages)
    cut = Stage(loaded.tap.head, (), ()) if is_head_only else stages[unfreezing.frozen_stages]
    if not can_be_split(loaded.net, cut, size):
        return None
    tap = PENULTIMATE if is_head_only and loaded.tap.is_input_of_head else f"{cut.module}:input"
    below = session.reading(name, tap, session.settings.reading.views if preset == "views" else 0)
    ((record,),) = below.taps(name)[0]
    passes = [(part, view) for part in below.parts() for view in below.views(part)]
    images = sum(len(below.dataset.parts[part].sample_ids) for part, _ in passes)
    if images * record.dim * 4 > session.settings.training.frozen_gb * 1e9:
        return None
    fill(below, [name], share)
    splits = below.splits
    train, val, test = (_make_cached_feed(below, record, split) for split in (splits.train, splits.val, splits.test))
    seconds = sum(below.features(record, part, view).seconds for part, view in passes)
    return Feeds(train, val, test, cut, seconds)


def _make_cached_feed(session: Session, record: Backbone, split: Split) -> Feed:
    views, flips = session.settings.reading.views, session.dataset.flips

    def feed(batches: Sequence[IntArray], epoch: int | None) -> Iterator[FloatArray]:
        view = None if epoch is None or not views else _view(epoch, views, flips=flips)
        rows = session.features(record, split.part, view).features
        for batch in batches:
            yield rows[batch]

    return feed
