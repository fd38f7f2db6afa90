"""Published numbers of a recipe's source, each with what was measured here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from probeline.format import decimals, escape, percent
from probeline.recipes import Published
from probeline.report.model.content import ReportContent
from probeline.report.records.published import Ours, PublishedComparison
from probeline.report.sections.section import RESULTS, Section, View
from probeline.report.sections.tables import TextTable, bullets, join_parts
from probeline.results.methods import method_info

_PROTOCOL = "Differences between the published protocol and this one:"


class PublishedNumbers(Section):
    name, title, group = "published", "Published numbers", RESULTS

    def markdown(self, content: ReportContent) -> str | None:
        if (published := content.published) is None:
            return None
        table = published_table(published).markdown() if published.lines else ""
        protocol = join_parts(_PROTOCOL, bullets(published.differences)) if published.differences else ""
        return join_parts(escape(_source(published)), table, escape(_changed(published)), protocol)

    def view(self, content: ReportContent) -> View | None:
        if (published := content.published) is None:
            return None
        return View(
            "published.html",
            {
                "source": _source(published),
                "tables": [published_table(published)] if published.lines else [],
                "changed": _changed(published),
                "protocol": _PROTOCOL,
                "differences": published.differences,
            },
        )

    def record(self, content: ReportContent) -> Mapping[str, Any]:
        return {"published": content.published.to_json()} if content.published else {}


def _source(published: PublishedComparison) -> str:
    return f"Recipe {published.recipe}. {published.source}".strip()


def _changed(published: PublishedComparison) -> str:
    """Return in which options the run differs from the recipe; empty if in none."""
    return f"Options that differ from the recipe's: {', '.join(published.changed)}." if published.changed else ""


_COLUMNS = (
    *("Backbone", "Method", "Train %", "Published top-1 %", "Ours: test top-1 % (95 % interval)", "Test images"),
    *("Runs", "Train images", "Trainable, published / ours", "Difference"),
)
_LEFT = ("Backbone", "Method", "Difference")


def published_table(published: PublishedComparison) -> TextTable:
    """Return the published numbers and ours, without columns that are empty in all lines."""
    lines = [_cells(number, ours) for number, ours in published.lines]
    columns = [column for column in zip(_COLUMNS, *lines, strict=True) if any(column[1:])]
    return TextTable(list(zip(*columns, strict=True)), [column[0] in _LEFT for column in columns])


def _cells(number: Published, ours: Ours | None) -> Sequence[str]:
    first = (
        number.backbone,
        ", ".join(filter(None, (method_info(number.method).title, number.note))),
        "" if number.portion is None else f"{number.portion:g}",
        f"{100 * number.top1:.4g}",
    )
    counts = (number.trainable, ours and ours.trainable)
    trainable = "" if counts == (None, None) else " / ".join("–" if n is None else f"{n:,}" for n in counts)
    if ours is None:
        return (*first, "not run", "", "", "", trainable, "")
    places = decimals([ours.n_test])
    low, high = (percent(end, places) for end in ours.interval)
    fewest, most = ours.n_train
    return (
        *first,
        f"{percent(ours.top1, places)} ({low}–{high})",
        f"{ours.n_test:,}",
        ours.runs,
        f"{fewest:,}" if fewest == most else f"{fewest:,} to {most:,}",
        trainable,
        ", ".join(ours.other),
    )
