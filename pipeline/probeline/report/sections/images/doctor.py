"""What the data doctor found: text, tables and thumbnails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from probeline.format import decimals, escape, percent, points
from probeline.report.model.content import ReportContent
from probeline.report.model.row import Block
from probeline.report.records.findings_text import findings_in_words, method_notes, source_in_words
from probeline.report.records.leakage import LEAKAGE_NOTE, Leak, Share, leakage, share_in_words
from probeline.report.sections.images.tiles import SmallImage, Tile, small_image
from probeline.report.sections.section import DATA, Section, View
from probeline.report.sections.tables import TextTable, bullets, join_parts, text_table
from probeline.results.decode import encode
from probeline.results.findings import Findings, ImageReference

_ROWS = 10
"""Lines of a table; the doctor's own record has more."""

_TILES = 12


@dataclass(frozen=True)
class FindingTable:
    """A table of findings, a note below it, and tiles of the same images."""

    title: str
    table: TextTable
    note: str = ""
    tiles: Sequence[Tile] = ()


class DataDoctor(Section):
    name, title, group = "doctor", "Data doctor", DATA

    def markdown(self, content: ReportContent) -> str | None:
        findings = content.findings
        if findings is None:
            return None
        parts = [escape(source_in_words(findings)), bullets(findings_in_words(findings))]
        for one in finding_tables(findings, content.blocks):
            parts += [one.table.markdown(), bullets([one.note] if one.note else [])]
        return join_parts(*parts, bullets(method_notes(findings)))

    def view(self, content: ReportContent) -> View | None:
        findings = content.findings
        if findings is None:
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
        findings = content.findings
        if findings is None:
            return {}
        values = {name: value for name, value in encode(findings).items() if name != "thumbnails"}
        leaks = [asdict(leak) for leak in leakage(findings, content.blocks)]
        return {"doctor": {**values, "findings": findings_in_words(findings), "leakage": leaks}}


def finding_tables(findings: Findings, blocks: Sequence[Block]) -> list[FindingTable]:
    """Return a table for each kind of finding that there is."""
    duplicates, leaks = findings.duplicates, leakage(findings, blocks)
    tables = []
    if leaks and (duplicates.leaked_exact or duplicates.leaked_near):
        tables.append(FindingTable("Accuracy without leaked images", leakage_table(leaks), LEAKAGE_NOTE))
    if duplicates.pairs:
        tables.append(_duplicates(findings))
    if findings.labels.suspects:
        tables.append(_suspects(findings))
    if findings.outliers.remote:
        tables.append(_outliers(findings))
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
    shares = [
        f"{name} {percent(share.top1, places)} (n={share.n:,})"
        for name, share in (("exact", leak.exact), ("near", leak.near))
        if share.top1 is not None
    ]
    return ", ".join(shares)


def _duplicates(findings: Findings) -> FindingTable:
    pairs = findings.duplicates.pairs[:_ROWS]
    table = text_table(
        [
            ("Image", [pair.first.sample_id for pair in pairs]),
            ("and", [pair.second.sample_id for pair in pairs]),
            ("Classes", [_classes(findings, pair.first, pair.second) for pair in pairs]),
            ("Kind", [pair.kind + (", mirrored" if pair.mirrored else "") for pair in pairs]),
            ("Score", [f"{pair.score:.3f}" for pair in pairs]),
            ("Similarity of features", [f"{pair.features:.3f}" for pair in pairs]),
            ("of pixels", [f"{pair.pixels:.3f}" for pair in pairs]),
        ],
        left=4,
    )
    tiles = [
        Tile(
            (_image(findings, pair.first), _image(findings, pair.second)),
            (),
            (_classes(findings, pair.first, pair.second), f"{pair.kind}, score {pair.score:.3f}"),
        )
        for pair in findings.duplicates.pairs[:_TILES]
        if {pair.first.name, pair.second.name} <= findings.thumbnails.keys()
    ]
    return FindingTable("Duplicates", table, tiles=tiles)


def _suspects(findings: Findings) -> FindingTable:
    names, suspects = findings.class_names, findings.labels.suspects[:_ROWS]
    table = text_table(
        [
            ("Suspect label of", [suspect.image.sample_id for suspect in suspects]),
            ("Role", [suspect.image.role for suspect in suspects]),
            ("Label", [names[suspect.image.label] for suspect in suspects]),
            ("Suggested", [names[suspect.suggested] for suspect in suspects]),
            ("Score", [f"{suspect.score:.3f}" for suspect in suspects]),
            ("Probability of the label", [f"{suspect.chance_label:.2g}" for suspect in suspects]),
            ("of the suggested", [f"{suspect.chance_suggested:.3f}" for suspect in suspects]),
            ("Neighbours against", [percent(suspect.disagreement, 0) + " %" for suspect in suspects]),
        ],
        left=4,
    )
    tiles = [
        _tile(
            findings,
            suspect.image,
            f"{names[suspect.image.label]}; rather {names[suspect.suggested]}?",
            f"score {suspect.score:.3f}",
        )
        for suspect in findings.labels.suspects[:_TILES]
        if suspect.image.name in findings.thumbnails
    ]
    return FindingTable("Suspect labels", table, tiles=tiles)


def _outliers(findings: Findings) -> FindingTable:
    names, outliers = findings.class_names, findings.outliers.remote[:_ROWS]
    table = text_table(
        [
            ("Outlier", [outlier.image.sample_id for outlier in outliers]),
            ("Role", [outlier.image.role for outlier in outliers]),
            ("Class", [names[outlier.image.label] for outlier in outliers]),
            ("Distance", [f"{outlier.distance:.3f}" for outlier in outliers]),
            ("p", [f"{outlier.p:.2g}" for outlier in outliers]),
        ],
        left=3,
    )
    tiles = [
        _tile(findings, outlier.image, names[outlier.image.label], f"distance {outlier.distance:.3f}")
        for outlier in findings.outliers.remote[:_TILES]
        if outlier.image.name in findings.thumbnails
    ]
    return FindingTable("Outliers", table, tiles=tiles)


def _classes(findings: Findings, first: ImageReference, second: ImageReference) -> str:
    """Return the class of two images, or both if they differ."""
    return " ≠ ".join(dict.fromkeys(findings.class_names[image.label] for image in (first, second)))


def _tile(findings: Findings, image: ImageReference, line: str, measure: str) -> Tile:
    return Tile((_image(findings, image),), (), (line, f"{image.role}, {measure}"))


def _image(findings: Findings, image: ImageReference) -> SmallImage:
    alt = f"{image.role} image {image.sample_id}, {findings.class_names[image.label]}"
    return small_image(findings.thumbnails, image.name, alt)
