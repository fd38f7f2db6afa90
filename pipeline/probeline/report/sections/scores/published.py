"""Published numbers of a recipe's source, each with what was measured here."""

from __future__ import annotations

from collections.abc import Mapping
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
        published = content.published
        if published is None:
            return None
        table = published_table(published).markdown() if published.lines else ""
        protocol = join_parts(_PROTOCOL, bullets(published.differences)) if published.differences else ""
        return join_parts(escape(_source(published)), table, escape(_changed(published)), protocol)

    def view(self, content: ReportContent) -> View | None:
        published = content.published
        if published is None:
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
    *(
        "Backbone",
        "Method",
        "Train %",
        "Published top-1 %",
        "Ours: test top-1 % (95 % interval)",
        "Test images",
        "Runs",
    ),
    *("Train images", "Trainable, published / ours", "Difference"),
)
_LEFT = ("Backbone", "Method", "Difference")


def published_table(published: PublishedComparison) -> TextTable:
    """Return the published numbers and ours, without columns that are empty in all lines."""
    lines = [_cells(one, ours) for one, ours in published.lines]
    heads = [head for head in _COLUMNS if any(line[head] for line in lines)]
    return TextTable([heads, *([line[head] for head in heads] for line in lines)], [head in _LEFT for head in heads])


def _cells(published: Published, ours: Ours | None) -> dict[str, str]:
    cells = dict.fromkeys(_COLUMNS, "")
    cells["Backbone"] = published.backbone
    cells["Method"] = ", ".join(filter(None, (method_info(published.method).title, published.note)))
    cells["Train %"] = "" if published.portion is None else f"{published.portion:g}"
    cells["Published top-1 %"] = f"{100 * published.top1:.4g}"
    counts = (published.trainable, None if ours is None else ours.trainable)
    if any(count is not None for count in counts):
        cells["Trainable, published / ours"] = " / ".join("–" if n is None else f"{n:,}" for n in counts)
    if ours is None:
        return cells | {"Ours: test top-1 % (95 % interval)": "not run"}
    places = decimals([ours.n_test])
    low, high = (percent(end, places) for end in ours.interval)
    fewest, most = ours.n_train
    return cells | {
        "Ours: test top-1 % (95 % interval)": f"{percent(ours.top1, places)} ({low}–{high})",
        "Test images": f"{ours.n_test:,}",
        "Runs": ours.runs,
        "Train images": f"{fewest:,}" if fewest == most else f"{fewest:,} to {most:,}",
        "Difference": ", ".join(ours.other),
    }
