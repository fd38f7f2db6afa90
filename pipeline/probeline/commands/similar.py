"""Similar: the cached images nearest to images or rows, as lines and as one sheet of pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from probeline import disk
from probeline.analysis.similar.lines import LINES, Answers, facts
from probeline.analysis.similar.queries import answer, parse_queries
from probeline.analysis.similar.search import CachedImages, one_feature_set
from probeline.errors import BadOption
from probeline.identity import digest
from probeline.names import describe_tap
from probeline.session import Session


def run(session: Session) -> list[dict[str, Any]]:
    """Print the images nearest to each word, draw them as one PNG file, and return them; no torch for cached rows."""
    settings, console = session.settings, session.console
    path = _sheet_path(session)
    features = one_feature_set(session)
    cached = CachedImages(features)
    queries = parse_queries(settings.words, cached)
    found = answer(queries, cached, settings.similar.count, approximate=settings.similar.approximate)
    answers: Answers = list(zip(queries, found, strict=True))
    show = console.result if settings.predict.format == "table" else console.data
    for line in LINES[settings.predict.format](answers):
        show(line)
    backbone = features.backbone
    title = " ".join(filter(None, (backbone.name, describe_tap(features.tap))))
    sheet = None
    if session.has_images:
        from probeline.report.similar_sheet import draw_similar

        sheet = draw_similar(cached, answers, f"Similar images by {title}", path)
    return [
        {
            "query": query.name,
            "backbone": backbone.name,
            "weights": backbone.weights,
            "tap": features.tap,
            "images": len(cached),
            "similar": [facts(image, rank) for rank, image in enumerate(images, 1)],
            "sheet": sheet and str(sheet),
        }
        for query, images in answers
    ]


def _sheet_path(session: Session) -> Path:
    """Return where the sheet goes: where ``--out`` says, or below the folder of the report, named for the query."""
    settings, out = session.settings, session.settings.export.out
    if out is not None:
        if out.suffix.lower() != ".png":
            raise BadOption("the sheet of similar images is a PNG file", where="--out", got=out, expected="FILE.png")
        return out
    nets = (settings.nets.backbones, settings.nets.weights, settings.reading.taps, settings.nets.image_size)
    name = f"{disk.path_name(settings.nets.backbones[0], portable=True)}-{digest([nets, settings.words])[:8]}.png"
    path = session.reports / "similar" / name
    disk.check_no_links(path, settings.folders.reports)
    return path
