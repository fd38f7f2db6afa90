"""Pictures: stages, first filters and input of a net, its most common errors, a gallery and an embedding map."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from probeline.analysis import net_pictures
from probeline.analysis import pictures as analysis
from probeline.analysis.embedding_map import check_map
from probeline.analysis.gallery import make_gallery_and_map
from probeline.data.pixels.loading import open_image
from probeline.data.pixels.tiles import tile
from probeline.data.registry import parse_row
from probeline.errors import BadOption
from probeline.evaluate.current_scores import current_scores
from probeline.identity import digest_bytes
from probeline.report.model.rows import row_titles
from probeline.results.illustrations.embedding_map import EmbeddingMap
from probeline.results.illustrations.gallery import Gallery
from probeline.results.illustrations.picture import PICTURES, Picture
from probeline.results.ranking import best_by_validation
from probeline.session import Session


def run(session: Session) -> list[dict[str, Any]]:
    """Make the pictures, the gallery and the map of every backbone unless they are up to date; return their texts.

    The most common errors need a score of the backbone, gallery and map its exact probe. The word after the verb names
    the image of the input; by default it is the first train image.
    """
    settings = session.settings
    if len(settings.words) > 1:
        raise BadOption("too many images", expected="one [PART:]ROW or none", got=" ".join(settings.words))
    names = [spec.name for spec in settings.nets.specs]
    if len(set(names)) < len(names):
        raise BadOption(
            "the files of pictures are named for the backbone alone: one set of weights per backbone at a time",
            where="--backbone",
            got=" ".join(settings.nets.backbones),
            remedy="run pictures for each in turn, with a --reports folder of its own",
        )
    train = session.splits.train
    part, row = parse_row(settings.words[0], session.dataset) if settings.words else (train.part, int(train.rows[0]))
    check_map(session)
    scores = current_scores(session, "pictures")
    summaries: list[dict[str, Any]] = []
    for text in settings.nets.backbones:
        backbone, loaded = session.backbone(text)
        own = [score for score in scores if score.backbone == backbone.name]
        pictures = [
            _draw(session, net_pictures.picture_anatomy(session, backbone, loaded)),
            _draw(session, analysis.picture_filters(session, backbone, loaded)),
            _draw(session, analysis.picture_input(session, backbone, part, row)),
            _draw(session, net_pictures.picture_histogram(session, backbone, part, row)),
            _draw(session, analysis.picture_errors(session, backbone.name, best_by_validation(own))),
        ]
        others = make_gallery_and_map(session, backbone.name, own, row_titles)
        summaries += [_summarise(session, record) for record in (*pictures, *others) if record]
    return summaries


def _draw(session: Session, picture: Picture | analysis.Drawing | None) -> Picture | None:
    if not isinstance(picture, analysis.Drawing):
        return picture
    from probeline.report.figures import net as net_figures
    from probeline.report.figures import pictures as figures

    title = picture.record.title
    match picture.content:
        case analysis.Errors(part, errors, class_names):
            images = session.dataset.images[part]
            tiles = [tile(open_image(images, error.row), figures.TILE) for error in errors]
            make = partial(figures.misclassified, title, part, errors, tiles, class_names)
        case net_pictures.Anatomy(stages, head):
            lines = [net_figures.StageLine(**vars(stage)) for stage in stages]
            make = partial(net_figures.anatomy, title, lines, head)
        case net_pictures.Histogram(counts, values):
            make = partial(net_figures.input_values, title, counts, values)
        case tuple(panels):
            make = partial(figures.net_input, title, [figures.Panel(*panel) for panel in panels])
        case kernels:
            make = partial(figures.filters, title, kernels)
    png = figures.rendered(make)
    record = replace(picture.record, sha256=digest_bytes(png))
    path = PICTURES.save(session.reports, record, png).with_suffix(".png")
    session.console.say(f"pictures: {session.dataset.name} x {record.backbone}: written to {path}")
    return record


def _summarise(session: Session, record: Picture | Gallery | EmbeddingMap) -> dict[str, Any]:
    kind = record.kind if isinstance(record, Picture) else "gallery" if isinstance(record, Gallery) else "map"
    file = record.png if isinstance(record, Picture) else record.file
    facts = {field: getattr(record, field) for field in ("backbone", "weights", "title", "caption")}
    return {"kind": kind, **facts, "file": str(session.reports / "pictures" / file)}
