"""Pictures: a net's first filters and input, what its rows have wrong, and its embeddings, made once and kept."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from probeline import disk
from probeline.analysis.embedding_map import check_map
from probeline.analysis.exhibits import exhibits
from probeline.analysis.picture_content import (
    MAX_FILTERS,
    PictureText,
    errors_text,
    filters_of,
    filters_text,
    input_of,
    input_text,
)
from probeline.data.named_row import named_row
from probeline.data.pixels.decode import resize_crop
from probeline.data.pixels.loading import open_image
from probeline.data.pixels.tiles import shrunk, tile
from probeline.errors import BadOption
from probeline.evaluate.current_scores import current_scores
from probeline.identity import PICTURE_VERSION, digest, digest_bytes
from probeline.options.command_line import command_line
from probeline.report.model.rows import row_titles
from probeline.results.embedding_map import EmbeddingMap
from probeline.results.gallery import Gallery
from probeline.results.picture import PICTURES, Picture, PictureKind, errors_of, list_errors
from probeline.results.ranking import best_by_validation
from probeline.results.score import Score
from probeline.results.store import SkippedFile
from probeline.session import Session
from probeline.types import Backbone

if TYPE_CHECKING:
    from torch import nn

    from probeline.backbones.resolve import Loaded

_LONGEST = 800
"""Pixels of a raw image's longer side that a figure has use for."""


def run(session: Session) -> list[dict[str, Any]]:
    """Make the pictures, the gallery and the map of every backbone that are not there yet, and return what they say.

    Without a score of a backbone there is no picture of mistakes, without its exact probe no gallery and no map. What
    follows the verb names the image of the input, else it is the first train image.

    Raises
    ------
    BadOption, UnknownName
        No such image.
    BadData
        An image that cannot be read.
    ProbelineError
    """
    settings = session.settings
    if len(settings.words) > 1:
        raise BadOption("one image is shown", expected="one [PART:]ROW or none", got=" ".join(settings.words))
    names = [spec.name for spec in settings.nets.specs]
    if len(set(names)) < len(names):
        raise BadOption("one set of weights per backbone is shown", where="--backbone", got=" ".join(names))
    train = session.splits.train
    image = named_row(settings.words[0], session.dataset) if settings.words else (train.part, int(train.rows[0]))
    check_map(session)
    scores = current_scores(session, "pictures")
    told: list[dict[str, Any]] = []
    for name in settings.nets.backbones:
        backbone, loaded = session.backbone(name)
        own = [score for score in scores if score.backbone == backbone.name]
        found = (
            _filters(session, backbone, functools.partial(_net, session, backbone, loaded)),
            _input(session, backbone, *image),
            _mistakes(session, backbone, best_by_validation(own)),
        )
        told += [_told(session, one.kind, one, one.png) for one in found if one is not None]
        told += [
            _told(session, kind, one, one.file)
            for kind, one in exhibits(session, backbone.name, own, row_titles).items()
        ]
    return told


def _told(session: Session, kind: str, one: Picture | Gallery | EmbeddingMap, file: str) -> dict[str, Any]:
    facts = {field: getattr(one, field) for field in ("backbone", "weights", "title", "caption")}
    return {"kind": kind, **facts, "file": str(session.reports / "pictures" / file)}


def _net(session: Session, backbone: Backbone, loaded: Loaded | None) -> nn.Module:
    return (loaded or session.net_of(backbone)).net


def _filters(session: Session, backbone: Backbone, net: Callable[[], nn.Module]) -> Picture | None:
    of = filters_of(backbone)
    if found := _there(session, "filters", backbone.name, of):
        return found
    none = f"no first filters:{digest([PICTURE_VERSION, backbone.name, of])}"
    if not session.is_remembered(none):
        from probeline.backbones.first_conv import first_layer

        if layer := first_layer(net(), backbone.preprocess.crop):
            from probeline.report.figures.images.pictures import filters

            kernels = layer.kernels[:MAX_FILTERS]
            count, _, height, width = layer.kernels.shape
            words = filters_text(backbone, layer.module, len(kernels), count, height, width)
            make = functools.partial(filters, words.title, kernels)
            return _draw(session, "filters", backbone.name, backbone.weights, of, words, make)
        PICTURES.remove(session.reports, "filters", backbone.name)
        session.remember_that(none)
    session.console.say(
        f"pictures: {backbone.name}: no filters to show, as its first layer is no convolution of red, green and blue"
    )
    return None


def _input(session: Session, backbone: Backbone, part: str, row: int) -> Picture:
    of = input_of(backbone, session.dataset.parts[part], row)
    if found := _there(session, "input", backbone.name, of):
        return found
    import torch

    from probeline.backbones.frozen import Normalize
    from probeline.report.figures.images.pictures import Panel, net_input

    raw = open_image(session.dataset.images[part], row)
    pixels = resize_crop(raw, backbone.preprocess)
    normalize = Normalize(backbone.preprocess, torch.device("cpu"))
    values = normalize(torch.from_numpy(pixels)[None])
    back = normalize.undo(values)[0].numpy()
    given = values[0].permute(1, 2, 0).numpy()
    low, high = float(given.min()), float(given.max())
    colours = np.rint((given - low) * (255 / (high - low)) if high > low else np.full_like(given, 127.5))
    words = input_text(backbone, of, raw.size, (low, high), float(np.abs(back - pixels).max()))
    crop = backbone.preprocess.crop
    ends = f"{low:.2f} is black, {high:.2f} full colour".replace("-", "−")
    panels = (
        Panel("raw", f"{raw.width} x {raw.height} pixels", np.array(shrunk(raw, _LONGEST))),
        Panel("as the net gets it", ends, colours.astype(np.uint8)),
        Panel("denormalised", f"{crop} x {crop} pixels, 0 to 255", np.rint(back).clip(0, 255).astype(np.uint8)),
    )
    make = functools.partial(net_input, words.title, panels)
    return _draw(session, "input", backbone.name, backbone.weights, of, words, make)


def _mistakes(session: Session, backbone: Backbone, row: Sequence[Score] | None) -> Picture | None:
    say, splits, name = session.console.say, session.splits, backbone.name
    if row is None:
        remedy = command_line(session.settings, "probe", backbones=(name,))
        say(f"pictures: {name}: no mistakes to show, as it has no score yet; run: {remedy}")
        return None
    of = errors_of(row, session.dataset, splits)
    if not of["wrong"]:
        PICTURES.remove(session.reports, "mistakes", name)
        say(f"pictures: {name}: no mistakes to show, as {row[0].method} has every test image right")
        return None
    if found := _there(session, "mistakes", name, of):
        return found
    from probeline.report.figures.images.pictures import TILE
    from probeline.report.figures.images.pictures import misclassified as figure

    score, part = row[0], splits.test.part
    wrong = list_errors(score, splits)[: len(of["images"])]
    tiles = [tile(open_image(session.dataset.images[part], one.row), TILE) for one in wrong]
    words = errors_text(row, of)
    make = functools.partial(figure, words.title, part, wrong, tiles, score.class_names)
    return _draw(session, "mistakes", name, score.weights, of, words, make)


def _there(session: Session, kind: PictureKind, name: str, of: dict[str, Any]) -> Picture | None:
    """Return the picture that was drawn of just this and say so; None where it is yet to be drawn.

    Raises
    ------
    CannotWrite
        It is yet to be drawn, and could not be kept.
    """
    say = session.console.say
    found = PICTURES.find(session.reports, kind, name)
    if isinstance(found, Picture) and found.of == of:
        say(f"pictures: {session.dataset.name} x {name}: {found.png} is there")
        return found
    if isinstance(found, SkippedFile):
        say(f"pictures: {session.dataset.name} x {name}: made anew, as {found.path.name} {found.reason}")
    disk.check_writable(session.reports / "pictures")
    return None


def _draw(
    session: Session,
    kind: PictureKind,
    name: str,
    weights: str,
    of: dict[str, Any],
    words: PictureText,
    make: Callable[[], Any],
) -> Picture:
    from probeline.report.figures.images.pictures import rendered

    png = rendered(make)
    picture = Picture(kind, name, weights, of, words.title, words.caption, words.alt, digest_bytes(png))
    path = PICTURES.save(session.reports, picture, png).with_suffix(".png")
    session.console.say(f"pictures: {session.dataset.name} x {name}: written to {path}")
    return picture
