"""What a training is fed: pixels, or what the stages that it never trains made of them, run once and kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from probeline.data.pixels.augment import recoloured
from probeline.data.pixels.decode import random_resized_crop, resize_crop
from probeline.data.pixels.loading import Unreadable, ordered, read_batch
from probeline.data.pixels.views import augmented
from probeline.extract.fill import fill
from probeline.names import PENULTIMATE
from probeline.options.grids import KEPT
from probeline.session import Session
from probeline.types import Backbone, FeatureSet, FloatArray, IntArray, PixelArray, Preprocess, Split, View

if TYPE_CHECKING:
    from PIL import Image

    from probeline.backbones.resolve import Loaded
    from probeline.backbones.stages import Stage
    from probeline.finetune.plan import Plan
    from probeline.finetune.trainer import Feed

CROP_SCALE = (0.35, 1.0)
"""Share of the image's area in a random resized crop; ImageNet's 0.08 is too hard for a few epochs."""


@dataclass(frozen=True)
class Feeds:
    """What a training reads.

    Attributes
    ----------
    train, val, test : Feed
        Of the parts that these rows come from.
    cut : Stage or None
        The first stage that is ever trained, where the feeds give what it gets from below; None where they give pixels.
    seconds : float
        That the stages below it took, over all parts.
    """

    train: Feed
    val: Feed
    test: Feed
    cut: Stage | None = None
    seconds: float = 0.0


def from_pixels(session: Session, preprocess: Preprocess, preset: str, seed: int, threads: int) -> Feeds:
    """Return feeds of pixels: the centre as the probe sees it, but for train rows as the preset has them."""
    splits = session.splits
    train, val, test = (
        _pixels(session, split, preprocess, preset, seed, threads) for split in (splits.train, splits.val, splits.test)
    )
    return Feeds(train, val, test)


def _pixels(session: Session, split: Split, preprocess: Preprocess, preset: str, seed: int, threads: int) -> Feed:
    from probeline.finetune.optimization import epoch_seed

    images, content = session.dataset.images[split.part], session.dataset.parts[split.part].content
    flips, views = session.dataset.flips, session.settings.reading.views

    def seen(epoch: int | None) -> Callable[[Image.Image, int], PixelArray]:
        if epoch is None or preset == "none":
            return lambda image, _: resize_crop(image, preprocess)
        if preset == "views":
            view = _view(epoch, views, flips=flips)
            return lambda image, row: augmented(image, preprocess, view, content[row])
        drawn = epoch_seed(seed, epoch)
        return lambda image, row: _crop(image, preprocess, preset, np.random.default_rng([drawn, row]), flips=flips)

    def read(rows: IntArray, see: Callable[[Image.Image, int], PixelArray]) -> PixelArray:
        pixels = read_batch(images, rows, see, preprocess.crop)
        if isinstance(pixels, Unreadable):
            raise pixels.errors[0]
        return pixels

    def feed(batches: Sequence[IntArray], epoch: int | None) -> Iterator[PixelArray]:
        see = seen(epoch)
        for _, pixels in ordered(lambda rows: read(rows, see), batches, threads):
            yield pixels

    return feed


def _view(epoch: int, views: int, *, flips: bool) -> View:
    """Return the view that an epoch sees: each in its turn."""
    return View(1 + epoch % views, flips)


def _crop(
    image: Image.Image, preprocess: Preprocess, preset: str, rng: np.random.Generator, *, flips: bool
) -> PixelArray:
    crop = random_resized_crop(
        recoloured(image, preset, rng),
        preprocess.crop,
        rng,
        scale=CROP_SCALE,
        interpolation=preprocess.interpolation,
    )
    return crop[:, ::-1] if flips and rng.random() < 0.5 else crop


def from_below(session: Session, loaded: Loaded, stages: Sequence[Stage], plan: Plan, preset: str) -> Feeds | None:
    """Return feeds of what the stages that `plan` never trains give, extracted where they are not in the cache.

    None where that cannot be: no stage is frozen, its images are other ones in each epoch, the net cannot be run in
    two halves, or what is between them is larger than the configuration allows.

    Raises
    ------
    ProbelineError
        As extraction.
    """
    from probeline.backbones.split_forward import can_be_parted
    from probeline.backbones.stages import Stage

    if not plan.frozen or preset not in KEPT:
        return None
    size = loaded.backbone.preprocess.crop
    name = session.asked_as(loaded.backbone.name, loaded.backbone.weights)
    headed = plan.frozen == len(stages)
    cut = Stage(loaded.tap.head, (), ()) if headed else stages[plan.frozen]
    if not can_be_parted(loaded.net, cut, size):
        return None
    tap = PENULTIMATE if headed and loaded.tap.pooling == "none" else f"{cut.module}:input"
    below = session.reading(name, tap, session.settings.reading.views if preset == "views" else 0)
    ((record,),) = below.taps(name)[0]
    every = [(part, view) for part in below.parts() for view in below.views(part)]
    images = sum(len(below.dataset.parts[part].sample_ids) for part, _ in every)
    if images * record.dim * 4 > session.settings.training.frozen_gb * 1e9:
        return None
    fill(below, [name])
    splits = below.splits
    train, val, test = (_kept(below, record, split) for split in (splits.train, splits.val, splits.test))
    seconds = sum(below.features(record, part, view).seconds for part, view in every)
    return Feeds(train, val, test, cut, seconds)


def _kept(session: Session, record: Backbone, split: Split) -> Feed:
    views, flips = session.settings.reading.views, session.dataset.flips

    def features(epoch: int | None) -> FeatureSet:
        view = None if epoch is None or not views else _view(epoch, views, flips=flips)
        return session.features(record, split.part, view)

    def feed(batches: Sequence[IntArray], epoch: int | None) -> Iterator[FloatArray]:
        rows = features(epoch).features
        for batch in batches:
            yield rows[batch]

    return feed
