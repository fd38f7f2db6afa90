"""The sections of a page, in their order: what each shows, and the template that shows it.

A new one is a file that makes its view, a template below ``templates/sections/``, and an entry here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from probeline.report.model.pairs import matrix_grid, matrix_notes
from probeline.report.page import classes, disagreement, embed, examined, galleries, making, results, terms
from probeline.report.page.content import Content, View
from probeline.report.sections import latency, learning
from probeline.report.sections import lr_range as ranges
from probeline.report.sections.published import PROTOCOL, changed, grid, source


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Attributes
    ----------
    group : str
        What it is a part of, where the page lists its contents.
    name : str
        Its anchor.
    title : str
    template : str
        Its file below ``templates/sections/``.
    build : callable
        Returns what the template is given, or None where there is nothing to show.
    """

    group: str
    name: str
    title: str
    template: str
    build: Callable[[Content], View | None]


def _figure(name: str) -> Callable[[Content], View | None]:
    """Return what makes the view of a section that is one figure."""

    def build(content: Content) -> View | None:
        figure = content.figures.get(name)
        return None if figure is None else {"figure": figure}

    return build


def _table(grid: list[list[str]], left: int, *, label: str = "", before: str = "") -> View:
    """Return a table of words, so many columns of which stand to the left."""
    return {"grid": grid, "left": [place < left for place in range(len(grid[0]))], "label": label, "before": before}


def _pairs(content: Content) -> View | None:
    pairs = content.pairs
    if len(pairs.rows) < 3:
        return None
    table = _table(matrix_grid(pairs), 0)
    return {
        "tables": [{**table, "left": [place == 1 for place in range(len(table["left"]))]}],
        "notes": matrix_notes(pairs),
    }


def _learning(content: Content) -> View | None:
    curves = content.beside.curves
    if not curves:
        return None
    return {
        "figure": content.figures.get("learning"),
        "tables": [_table(learning.table(curves), 2)],
        "notes": learning.notes(curves),
    }


def _ranges(content: Content) -> View | None:
    tests = content.beside.tests
    if not tests:
        return None
    return {
        "figure": content.figures.get("range-tests"),
        "tables": [_table(ranges.table(tests), 1)],
        "notes": ranges.notes(tests),
    }


def _published(content: Content) -> View | None:
    held = content.beside.held
    if held is None:
        return None
    lines, left = grid(held)
    return {
        "source": source(held),
        "tables": [{"grid": lines, "left": left, "label": "", "before": ""}] if held.lines else [],
        "changed": changed(held) if held.changed else "",
        "protocol": PROTOCOL,
        "differences": held.differences,
    }


def _latency(content: Content) -> View | None:
    if not content.beside.latencies:
        return None
    scores = [score for _, _, some in content.titled for score in some]
    found, notes = latency.told(content.beside.latencies, scores)
    tables = [_table(latency.grid(lines), 1, before=ran_on, label=ran_on) for ran_on, lines in found]
    return {"tables": tables, "notes": notes}


_ANSWER, _MISTAKES, _DATA, _FITS, _RECORD = "The answer", "The mistakes", "The data", "The fits", "The record"

SECTIONS = (
    Section(_ANSWER, "results", "All rows", "results.html", results.view),
    Section(_ANSWER, "cost", "What accuracy costs", "figure.html", _figure("cost")),
    Section(_ANSWER, "ladder", "The ladder of strategies", "figure.html", _figure("ladder")),
    Section(_ANSWER, "learning", "What more labels would give", "tables.html", _learning),
    Section(_ANSWER, "pairs", "Any two rows", "tables.html", _pairs),
    Section(_ANSWER, "published", "Held against published numbers", "published.html", _published),
    Section(_ANSWER, "latency", "What a forward pass costs", "tables.html", _latency),
    Section(_MISTAKES, "disagreement", "Where two methods disagree", "table.html", disagreement.view),
    Section(_MISTAKES, "confusions", "What is taken for what", "confusions.html", classes.confusions_view),
    Section(_MISTAKES, "classes", "Class by class", "classes.html", classes.per_class_view),
    Section(_MISTAKES, "galleries", "What most rows have wrong", "galleries.html", galleries.galleries_view),
    Section(_DATA, "maps", "Where the net puts the images", "maps.html", galleries.maps_view),
    Section(_DATA, "pictures", "Pictures", "pictures.html", embed.view),
    Section(_DATA, "doctor", "A check of the data", "doctor.html", examined.doctor_view),
    Section(_FITS, "calibration", "How honest the probabilities are", "calibration.html", results.calibration_view),
    Section(_FITS, "path", "Choosing l2", "figure.html", _figure("path")),
    Section(_FITS, "training", "Training, epoch by epoch", "figure.html", _figure("training")),
    Section(_FITS, "ranges", "Learning-rate range tests", "tables.html", _ranges),
    Section(_RECORD, "missing", "Not run", "missing.html", making.missing_view),
    Section(_RECORD, "making", "How it was made", "making.html", making.view),
    Section(_RECORD, "terms", "Terms", "terms.html", terms.view),
)
"""All that a page may have, after its first screen; those of a group follow one another."""
