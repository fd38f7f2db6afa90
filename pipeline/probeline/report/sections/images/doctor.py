"""What the data doctor found: text, tables and thumbnails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from probeline.files.decode import encode
from probeline.format import decimals, escape, percent, points
from probeline.report.model.content import ReportContent
from probeline.report.model.row import Block
from probeline.report.records.findings import (
    LEAKAGE_NOTE,
    Leak,
    Share,
    findings_in_words,
    leakage,
    method_notes,
    share_in_words,
    source_in_words,
)
from probeline.report.sections.images.illustrations import SmallImage, Tile, small_image
from probeline.report.sections.section import DATA, Section, View
from probeline.report.sections.tables import TextTable, bullets, join_parts, text_table
from probeline.results.findings import Findings, ImageReference

_ROWS = 10
"""Lines of a table; the doctor's own record has more."""

_TILES = 12

_DUPLICATE_HEADS = ("Image", "and", "Classes", "Kind", "Score", "Similarity of features", "of pixels")
_SUSPECT_HEADS = (
    *("Suspect label of", "Role", "Label", "Suggested", "Score"),
    *("Probability of the label", "of the suggested", "Neighbours against"),
)
_OUTLIER_HEADS = ("Outlier", "Role", "Class", "Distance", "p")


class _Finding(NamedTuple):
    """A finding: its images, the cells of its line, and the text below its images."""

    images: tuple[ImageReference, ...]
    cells: Sequence[str]
    lines: tuple[str, ...]


@dataclass(frozen=True)
class FindingTable:
    """A table of findings, notes below it, and tiles of the same images."""

    title: str
    table: TextTable
    notes: Sequence[str] = ()
    tiles: Sequence[Tile] = ()


class DataDoctor(Section):
    name, title, group = "doctor", "Data doctor", DATA

    def markdown(self, content: ReportContent) -> str | None:
        if (findings := content.findings) is None:
            return None
        parts = [escape(source_in_words(findings)), bullets(findings_in_words(findings))]
        for shown in finding_tables(findings, content.blocks):
            parts += [shown.table.markdown(), bullets(shown.notes)]
        return join_parts(*parts, bullets(method_notes(findings)))

    def view(self, content: ReportContent) -> View | None:
        if (findings := content.findings) is None:
            return None
        return View(
            "doctor.html",
            {
                "source": source_in_words(findings),
                "findings": findings_in_words(findings),
                "tables": finding_tables(findings, content.blocks),
                "notes": method_notes(findings),
            },
        )

    def record(self, content: ReportContent) -> Mapping[str, Any]:
        if (findings := content.findings) is None:
            return {}
        values = {name: value for name, value in encode(findings).items() if name != "thumbnails"}
        leaks = [asdict(leak) for leak in leakage(findings, content.blocks)]
        return {"doctor": {**values, "findings": findings_in_words(findings), "leakage": leaks}}


def finding_tables(findings: Findings, blocks: Sequence[Block]) -> list[FindingTable]:
    """Return a table for each kind of finding that there is."""
    leaks = leakage(findings, blocks)
    tables = []
    if leaks and (findings.duplicates.leaked_exact or findings.duplicates.leaked_near):
        tables.append(FindingTable("Accuracy without leaked images", leakage_table(leaks), [LEAKAGE_NOTE]))
    for title, heads, left, listed in (
        ("Duplicates", _DUPLICATE_HEADS, 4, _duplicates(findings)),
        ("Suspect labels", _SUSPECT_HEADS, 4, _suspects(findings)),
        ("Outliers", _OUTLIER_HEADS, 3, _outliers(findings)),
    ):
        if listed:
            grid = [heads, *(finding.cells for finding in listed[:_ROWS])]
            table = TextTable(grid, [column < left for column in range(len(heads))])
            tiles = [
                Tile(tuple(_image(findings, image) for image in finding.images), (), finding.lines)
                for finding in listed
                if all(image.name in findings.thumbnails for image in finding.images)
            ]
            tables.append(FindingTable(title, table, tiles=tiles))
    return tables


def leakage_table(leaks: Sequence[Leak]) -> TextTable:
    """Return the top-1 of each row with and without the leaked images."""
    places = decimals(leak.all.n for leak in leaks)
    columns = [
        ("Backbone", [leak.backbone for leak in leaks]),
        ("Method", [leak.row for leak in leaks]),
        ("Test top-1 % (95 % interval)", [_counted(leak.all, places) for leak in leaks]),
        ("Without exact duplicates", [_counted(leak.without_exact, places) for leak in leaks]),
        ("Without near duplicates either", [_counted(leak.without_both, places) for leak in leaks]),
        ("Change", [_change(leak, places) for leak in leaks]),
        ("On leaked images", [_on_leaked(leak, places) for leak in leaks]),
    ]
    if not any(leak.exact.n for leak in leaks):
        del columns[3]
    return text_table(columns, 2)


def _counted(share: Share, places: int) -> str:
    return f"{share_in_words(share, places)}, n={share.n:,}" if share.n else ""


def _change(leak: Leak, places: int) -> str:
    before, after = leak.all.top1, leak.without_both.top1
    return "" if before is None or after is None else points(after - before, places)


def _on_leaked(leak: Leak, places: int) -> str:
    return ", ".join(
        f"{name} {percent(share.top1, places)} (n={share.n:,})"
        for name, share in (("exact", leak.exact), ("near", leak.near))
        if share.top1 is not None
    )


def _duplicates(findings: Findings) -> list[_Finding]:
    listed = []
    for pair in findings.duplicates.pairs[:_TILES]:
        images = (pair.first, pair.second)
        classes = " ≠ ".join(dict.fromkeys(findings.class_names[image.label] for image in images))
        kind = pair.kind + (", mirrored" if pair.mirrored else "")
        numbers = [f"{number:.3f}" for number in (pair.score, pair.features, pair.pixels)]
        cells = [pair.first.sample_id, pair.second.sample_id, classes, kind, *numbers]
        listed.append(_Finding(images, cells, (classes, f"{pair.kind}, score {pair.score:.3f}")))
    return listed


def _suspects(findings: Findings) -> list[_Finding]:
    listed = []
    for suspect in findings.labels.suspects[:_TILES]:
        image, score = suspect.image, f"{suspect.score:.3f}"
        label, suggested = findings.class_names[image.label], findings.class_names[suspect.suggested]
        chances = (f"{suspect.chance_label:.2g}", f"{suspect.chance_suggested:.3f}")
        against = f"{percent(suspect.disagreement, 0)} %"
        cells = [image.sample_id, image.role, label, suggested, score, *chances, against]
        listed.append(_Finding((image,), cells, (f"{label}; rather {suggested}?", f"{image.role}, score {score}")))
    return listed


def _outliers(findings: Findings) -> list[_Finding]:
    listed = []
    for outlier in findings.outliers.remote[:_TILES]:
        image, distance = outlier.image, f"{outlier.distance:.3f}"
        label = findings.class_names[image.label]
        cells = [image.sample_id, image.role, label, distance, f"{outlier.p:.2g}"]
        listed.append(_Finding((image,), cells, (label, f"{image.role}, distance {distance}")))
    return listed


def _image(findings: Findings, image: ImageReference) -> SmallImage:
    alt = f"{image.role} image {image.sample_id}, {findings.class_names[image.label]}"
    return small_image(findings.thumbnails, image.name, alt)
