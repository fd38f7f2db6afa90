"""What the data doctor found, in words and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from probeline.format import decimals, escape, listing, percent
from probeline.metrics.intervals import wilson
from probeline.report.model.leakage import LEAKED, leakage, leakage_columns
from probeline.report.model.rows import Block
from probeline.report.sections.grid import bullets, ruled
from probeline.results.decode import encode
from probeline.results.findings import Findings, ImageReference

_FIRST = 10
"""Findings of a kind that a report's tables hold; its record holds all that are listed."""

_EVEN = 1.1
"""The largest class, as so many times the smallest, below which nobody has to know."""

_ORDER = ("train", "val", "test")

_ROLES = {"known": "train and val", "across": "test and train or val", "test": "test"}


def findings(doctor: Findings) -> list[str]:
    """Return what was found, a line for each subject."""
    return [
        _duplicates(doctor),
        _labels(doctor),
        _outliers(doctor),
        *_balance(doctor),
        *(f"{one.told}: {_by_role(one.counts, doctor.images)}, such as {one.examples[0]}" for one in doctor.helped),
    ]


def _duplicates(doctor: Findings) -> str:
    found, n = doctor.duplicates, doctor.images["test"]
    exact, near = len(found.leaked_exact), len(found.leaked_near)
    places = decimals([n])
    share = percent((exact + near) / n, places)
    leaked = f"{exact + near:,} of {n:,} test images ({share} %) are in train or val too"
    if exact + near:
        leaked += f", or nearly so: {exact:,} byte for byte, {near:,} as near duplicates"
    pairs = [
        f"{region.exact:,} exact and {region.near:,} near pairs within {_ROLES[name]}"
        for name, region in found.regions.items()
        if name != "across" and region.exact + region.near
    ]
    conflicts = sum(region.conflicts for region in found.regions.values())
    told = [leaked, *pairs, *([f"{conflicts:,} pairs bear different labels"] if conflicts else [])]
    return "; ".join(told)


def _labels(doctor: Findings) -> str:
    found = doctor.labels
    known = sum(count for role, count in found.flagged.items() if role != "test")
    judged = sum(count for role, count in found.judged.items() if role != "test")
    rank = ""
    if found.planted_rank is not None:
        others = f"at most {found.planted_rank:,} labels" if found.planted_rank else "no label"
        rank = f", and for half of those set wrong {others} of the data set's own scored as high"
    return (
        f"{known:,} of {judged:,} labels of train and val are doubted, where hard images alone, all of them labelled "
        f"right, would give about {found.expected:,.0f}; and {found.flagged['test']:,} of {found.judged['test']:,} of "
        f"test. As a trial {found.planted:,} labels were set wrong: {percent(found.planted_flagged, 0)} % of them were "
        f"found{rank}"
    )


def _outliers(doctor: Findings) -> str:
    found = doctor.outliers
    n, flagged = found.images["test"], found.flagged["test"]
    low, high = wilson(flagged, n)
    level = percent(found.level, 1)
    return (
        f"{flagged:,} of {n:,} test images ({percent(flagged / n, 1)} %, {percent(low, 1)}–{percent(high, 1)}) lie far "
        f"from all of train and val; {level} % would, were test like them"
    )


def _balance(doctor: Findings) -> list[str]:
    if all(spread.ratio < _EVEN and not spread.empty for spread in doctor.balance.values()):
        return [
            f"the classes are even in {listing([f'{role} ({sum(doctor.balance[role].counts):,})' for role in _ORDER])}"
        ]
    told = []
    for role in _ORDER:
        spread = doctor.balance[role]
        lacking = [doctor.class_names[label] for label in spread.empty]
        none = f"; no images of {listing(lacking[:_FIRST])}" + (" and others" if len(lacking) > _FIRST else "")
        told.append(
            f"{role}: {sum(spread.counts):,} images, the largest class {spread.ratio:.3g} times the smallest, "
            f"{spread.effective:.3g} effective classes of {len(spread.counts)}" + (none if lacking else "")
        )
    return told


def _by_role(counts: Mapping[str, int], images: Mapping[str, int]) -> str:
    return listing([f"{counts[role]:,} of {images[role]:,} of {role}" for role in _ORDER if counts[role]])


def section(doctor: Findings, blocks: Sequence[Block]) -> list[str]:
    """Return the paragraphs of a report's section, without its heading."""
    parts = [escape(source(doctor)), bullets(findings(doctor))]
    for table in tables(doctor, blocks):
        grid = [table.grid[0], *(list(map(escape, line)) for line in table.grid[1:])]
        parts.append(ruled(grid, [place < table.left for place in range(len(grid[0]))]))
        if table.note:
            parts.append(bullets([table.note]))
    return [*parts, bullets(notes(doctor))]


def source(doctor: Findings) -> str:
    """Return what was asked."""
    where = f"{doctor.backbone} ({doctor.weights}, {doctor.image_size} px, {doctor.precision})"
    return f"What the embeddings of {where} and the images themselves tell of the data."


@dataclass(frozen=True)
class Table:
    """A table of findings.

    Attributes
    ----------
    name : {"leaks", "pairs", "suspects", "remote"}
    grid : list of lists of str
        The head first.
    left : int
        So many columns are words.
    note : str
        What has to be said of it, or nothing.
    """

    name: str
    grid: list[list[str]]
    left: int
    note: str = ""


def tables(doctor: Findings, blocks: Sequence[Block]) -> list[Table]:
    """Return the tables for which something was found."""
    found, leaks = doctor.duplicates, leakage(doctor, blocks)
    leaked = bool(leaks) and bool(found.leaked_exact or found.leaked_near)
    return [
        *([_table("leaks", leakage_columns(leaks), 2, LEAKED)] if leaked else []),
        *([_pairs(doctor)] if found.pairs else []),
        *([_suspects(doctor)] if doctor.labels.suspects else []),
        *([_remote(doctor)] if doctor.outliers.remote else []),
    ]


def _pairs(doctor: Findings) -> Table:
    pairs = doctor.duplicates.pairs[:_FIRST]
    return _table(
        "pairs",
        [
            ("Image", [pair.first.sample_id for pair in pairs]),
            ("and", [pair.second.sample_id for pair in pairs]),
            ("Classes", [either(doctor, pair.first, pair.second) for pair in pairs]),
            ("Kind", [pair.kind + (", mirrored" if pair.mirrored else "") for pair in pairs]),
            ("Score", [f"{pair.score:.3f}" for pair in pairs]),
            ("Alike in features", [f"{pair.features:.3f}" for pair in pairs]),
            ("in pixels", [f"{pair.pixels:.3f}" for pair in pairs]),
        ],
        left=4,
    )


def either(doctor: Findings, first: ImageReference, second: ImageReference) -> str:
    """Return the class of two images, or both where they differ."""
    names = dict.fromkeys(doctor.class_names[image.label] for image in (first, second))
    return " ≠ ".join(names)


def _suspects(doctor: Findings) -> Table:
    some = doctor.labels.suspects[:_FIRST]
    names = doctor.class_names
    return _table(
        "suspects",
        [
            ("Doubted label of", [one.image.sample_id for one in some]),
            ("Role", [one.image.role for one in some]),
            ("Label", [names[one.image.label] for one in some]),
            ("Suggested", [names[one.suggested] for one in some]),
            ("Score", [f"{one.score:.3f}" for one in some]),
            ("Chance of the label", [f"{one.chance_label:.2g}" for one in some]),
            ("of the other", [f"{one.chance_suggested:.3f}" for one in some]),
            ("Neighbours against", [percent(one.disagreement, 0) + " %" for one in some]),
        ],
        left=4,
    )


def _remote(doctor: Findings) -> Table:
    some = doctor.outliers.remote[:_FIRST]
    return _table(
        "remote",
        [
            ("Outlier", [one.image.sample_id for one in some]),
            ("Role", [one.image.role for one in some]),
            ("Class", [doctor.class_names[one.image.label] for one in some]),
            ("Distance", [f"{one.distance:.3f}" for one in some]),
            ("p", [f"{one.p:.2g}" for one in some]),
        ],
        left=3,
    )


def _table(name: str, columns: Sequence[tuple[str, Sequence[str]]], left: int, note: str = "") -> Table:
    grid = [list(line) for line in zip(*([head, *cells] for head, cells in columns), strict=True)]
    return Table(name, grid, left, note)


def notes(doctor: Findings) -> list[str]:
    """Return how all of it was found."""
    options, labels, near = doctor.of["options"], doctor.labels, doctor.outliers.neighbours
    return [
        f"Near duplicates: each image is held against its {near} nearest by cosine of the centred embeddings; "
        f"{doctor.duplicates.compared:,} pairs of {options['alike']} or more were compared in grey levels at 32 x 32 "
        f"pixels, shifted by up to {options['shift']} and mirrored too. The score is the cosine times the correlation "
        f"of the grey levels; {options['alike']} or more makes a near duplicate.",
        f"Doubted labels: chances of the exact probe (l2 {labels.l2:.3g}) by fits that did not see the image, "
        f"{labels.folds} folds, calibrated (temperature {labels.temperature:.3g}), top-1 {percent(labels.top1, 1)} % "
        "on train and val. A label is doubted where the likeliest class of those with at least their mean chance is "
        "another (confident learning, Northcutt et al. 2021). The score is (1 - chance of the label) times the share "
        f"of the {labels.neighbours} nearest images of train and val with another label. Hard images are doubted like "
        "wrong ones.",
        f"Outliers: the mean of 1 - cosine of the embeddings, as they come, to the {near} nearest images of train and "
        "val; p is the share of these that are as far from their own.",
        "The record of the doctor lists more of each, every image by part:row, as probeline show takes it.",
    ]


def record(doctor: Findings, blocks: Sequence[Block]) -> dict[str, Any]:
    """Return all that was found as JSON values, without thumbnails, and what leaked images do to each row."""
    found = encode(doctor)
    del found["thumbnails"]
    return {**found, "findings": findings(doctor), "leakage": [asdict(leak) for leak in leakage(doctor, blocks)]}
