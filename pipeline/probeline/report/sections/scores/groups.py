"""Accuracy by group of test images: the worst group of each row, and all groups of the recommended one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from probeline.format import decimals, percent, plural, points, probability
from probeline.report.model.content import ReportContent
from probeline.report.model.groups import LEAST, ByGroup, GroupScore
from probeline.report.model.recommendation import recommend
from probeline.report.model.row import TitledRow, row_naming
from probeline.report.sections.section import ERRORS, Tables, TableSection
from probeline.report.sections.tables import TextTable, text_table
from probeline.text import csv_text

_MOST_LINES = 60
"""Groups that a table lists; the CSV file has all."""

_NAMED = 3
"""Groups that a caveat names."""


class AccuracyByGroup(TableSection):
    name, title, group = "groups", "Accuracy by group", ERRORS

    def tables(self, content: ReportContent) -> Tables | None:
        shown = _recommended(content)
        if shown is None:
            return None
        titled, columns = shown
        name = row_naming(content.blocks)(titled)
        tables = []
        for place, by_group in enumerate(columns):
            tables.append(_groups_table(by_group, name))
            if len(content.by_group) > 1 and by_group.gap:
                tables.append(_rows_table(content, place))
        return tables, [*group_lines(content), *_notes(content, columns)]

    def record(self, content: ReportContent) -> Mapping[str, Any]:
        if not content.by_group:
            return {}
        return {"by_group": [_row_record(titled, column) for titled, found in content.by_group for column in found]}


def _recommended(content: ReportContent) -> tuple[TitledRow, Sequence[ByGroup]] | None:
    """Return the groups of the recommended row, or of the first one that has any."""
    if not content.by_group:
        return None
    recommended = recommend(content.blocks, content.curves).recommended
    keys = recommended.row.keys if recommended else ()
    return next((found for found in content.by_group if found[0].row.keys == keys), content.by_group[0])


def group_lines(content: ReportContent) -> list[str]:
    """Return for each column which groups of the recommended row are significantly worse, or that none is, in words."""
    shown = _recommended(content)
    if shown is None:
        return []
    titled, columns = shown
    return [_line(row_naming(content.blocks)(titled), by_group) for by_group in columns]


def group_caveats(content: ReportContent) -> list[str]:
    """Return those lines that are about groups that are significantly worse."""
    shown = _recommended(content)
    worse = [any(group.worse for group in by_group.groups) for by_group in shown[1]] if shown else []
    return [line for line, is_worse in zip(group_lines(content), worse, strict=True) if is_worse]


def _line(name: str, by_group: ByGroup) -> str:
    title, gap = by_group.grouping.title, by_group.gap
    worse = sorted((group for group in by_group.groups if group.worse), key=lambda group: group.top1)
    if worse:
        listed = "; ".join(_worse(title, group) for group in worse[:_NAMED])
        more = f"; and {plural(len(worse) - _NAMED, 'more group')}" if len(worse) > _NAMED else ""
        return f"{name} is significantly worse on some images: {listed}{more}."
    if gap is None:
        return f"By {title}: fewer than two groups have {LEAST} test images, so none is compared."
    places = decimals([gap.best.n, gap.worst.n])
    low, high = (points(end, places) for end in gap.interval)
    return (
        f"By {title}: no group of {name} is significantly worse than the other images; the lowest is "
        f"{gap.worst.name} with {percent(gap.worst.top1, places)} %, {percent(gap.top1, places)} points below "
        f"{gap.best.name} (95 % interval {low} to {high})."
    )


def _worse(title: str, group: GroupScore) -> str:
    places = decimals([group.n])
    return (
        f"{title} {group.name} {percent(group.top1, places)} %, {points(group.difference or 0, places)} points from "
        f"all others (n = {group.n:,}, adjusted {probability(group.p or 0)})"
    )


def _groups_table(by_group: ByGroup, name: str) -> TextTable:
    compared = sorted((group for group in by_group.groups if group.is_compared), key=lambda group: group.top1)
    groups = [*compared, *(group for group in by_group.groups if not group.is_compared)][:_MOST_LINES]
    places = decimals([sum(group.n for group in by_group.groups)])
    gap = by_group.gap
    marks = {gap.worst.value: "lowest", gap.best.value: "highest"} if gap else {}
    columns = [
        (by_group.grouping.title, [group.name for group in groups]),
        ("Test images", [f"{group.n:,}" for group in groups]),
        ("Top-1 % (95 % interval)", [_share(group, places) for group in groups]),
        ("Macro %", [_macro(group, places) for group in groups]),
        ("Macro F1 %", [percent(group.macro_f1, places) for group in groups]),
        ("From all others", ["" if group.difference is None else points(group.difference, places) for group in groups]),
        ("Adjusted p", ["" if group.p is None else probability(group.p) for group in groups]),
        ("Note", [_mark(group, marks) for group in groups]),
    ]
    return text_table(columns, 1, f"{name}, by {by_group.grouping.title}")


def _macro(group: GroupScore, places: int) -> str:
    return f"{percent(group.macro, places)} ({plural(group.classes, 'class', 'classes')})"


def _mark(group: GroupScore, marks: Mapping[str, str]) -> str:
    if not group.is_compared:
        return "too few images"
    return ", ".join(filter(None, (marks.get(group.value), "significantly worse" if group.worse else "")))


def _share(group: GroupScore, places: int) -> str:
    low, high = (percent(end, places) for end in group.interval)
    return f"{percent(group.top1, places)} ({low}–{high})"


def _rows_table(content: ReportContent, place: int) -> TextTable:
    lines = [(titled, found[place]) for titled, found in content.by_group if found[place].gap]
    places = content.places
    gaps = [by_group.gap for _, by_group in lines if by_group.gap]
    worse = [", ".join(group.name for group in by_group.groups if group.worse) for _, by_group in lines]
    columns = [
        ("Backbone", [titled.title for titled, _ in lines]),
        ("Method", [titled.row.short for titled, _ in lines]),
        ("Lowest", [f"{gap.worst.name}: {_share(gap.worst, places)}" for gap in gaps]),
        ("Highest", [f"{gap.best.name}: {_share(gap.best, places)}" for gap in gaps]),
        ("Gap, points (95 % interval)", [_gap(gap.top1, gap.interval, places) for gap in gaps]),
        ("Significantly worse", worse),
    ]
    grouping = content.by_group[0][1][place].grouping
    return text_table(columns, 2, f"All rows, by {grouping.title}")


def _gap(top1: float, interval: tuple[float, float], places: int) -> str:
    low, high = (points(end, places) for end in interval)
    return f"{points(top1, places)} ({low} to {high})"


def _notes(content: ReportContent, columns: Sequence[ByGroup]) -> list[str]:
    notes = [
        "Each group is compared with all other test images by Fisher's exact test on the first seed's predictions, "
        "adjusted by Holm's method over all groups of the row. It is significantly worse if the adjusted p is below "
        "0.05 and both the first seed and the mean are lower.",
        "The interval of the gap is Newcombe's, widened so that all pairs of groups hold together (Bonferroni): which "
        "group is lowest and which highest is only known after looking.",
        "Groups may differ in their classes as well: macro is the mean over the classes that have images in the group.",
    ]
    for by_group in columns:
        grouping, groups = by_group.grouping, by_group.groups
        small = [group for group in groups if not group.is_compared]
        facts = [grouping.source]
        if grouping.missing:
            facts.append(f"{plural(grouping.missing, 'test image')} without a value, a group of their own")
        if small:
            facts.append(
                f"{plural(len(small), 'group')} of fewer than {LEAST} test images ({sum(group.n for group in small):,} "
                f"in all), shown and not compared: one image moves them by more than 3 points"
            )
        if len(groups) > _MOST_LINES:
            facts.append(f"{_MOST_LINES} of {len(groups):,} groups are listed, groups.csv has all")
        notes.append(f"By {grouping.title}: {'; '.join(facts)}.")
    if any(titled.row.seeds > 1 for titled, _ in content.by_group):
        notes.append("With several seeds all accuracies are means over them.")
    return notes


def _row_record(titled: TitledRow, by_group: ByGroup) -> dict[str, Any]:
    gap = by_group.gap
    return {
        "backbone": titled.title,
        "method": titled.row.title,
        "key": titled.row.keys[0],
        "column": by_group.grouping.title,
        "source": by_group.grouping.source,
        "groups": [{**asdict(group), "compared": group.is_compared} for group in by_group.groups],
        "worst": gap and gap.worst.value,
        "best": gap and gap.best.value,
        "gap": gap and gap.top1,
        "gap_interval": gap and list(gap.interval),
    }


def groups_csv(content: ReportContent) -> str:
    """Return a header and one line for each group of each row, shares in [0, 1]."""
    head = ("backbone", "block", "method", "key", "column", "group", "has_value", "n", "compared", "top1")
    lines: list[tuple[object, ...]] = [
        (*head, "low", "high", "macro", "macro_f1", "classes", "difference", "p", "worse")
    ]
    for titled, found in content.by_group:
        row = (titled.row.backbone, titled.title, titled.row.title, titled.row.keys[0])
        lines += [(*row, by_group.grouping.title, *_cells(group)) for by_group in found for group in by_group.groups]
    return csv_text(lines)


def _cells(group: GroupScore) -> tuple[object, ...]:
    counts = (group.value, bool(group.value), group.n, group.is_compared)
    means = (group.top1, *group.interval, group.macro, group.macro_f1)
    return (*counts, *means, group.classes, group.difference, group.p, group.worse)
