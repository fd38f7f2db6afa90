"""What the data doctor found, in words, and how leaked test images change the accuracy of each row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from probeline.format import decimals, listing, percent
from probeline.metrics.intervals import wilson
from probeline.report.model.row import Block
from probeline.results.findings import DecodingNote, Findings
from probeline.types import DoubleArray

_FEW = 10
"""Names of classes without images that are listed."""

_EVEN = 1.1
"""Classes are even if the largest is less than this many times the smallest."""

_ORDER = ("train", "val", "test")

_ROLES = {"known": "train and val", "across": "test and train or val", "test": "test"}


def findings_in_words(findings: Findings) -> list[str]:
    """Return what was found, a line for each subject."""
    return [
        _duplicates(findings),
        _labels(findings),
        _outliers(findings),
        *_balance(findings),
        *(f"{note.told}: {_by_role(note, findings.images)}, such as {note.examples[0]}" for note in findings.helped),
    ]


def _duplicates(findings: Findings) -> str:
    duplicates, n = findings.duplicates, findings.images["test"]
    exact, near = len(duplicates.leaked_exact), len(duplicates.leaked_near)
    share = percent((exact + near) / n, decimals([n]))
    are = "are in train or val too" + (", or look like an image there" if near and findings.has_lookalikes else "")
    leaked = f"{exact + near:,} of {n:,} test images ({share} %) {are}"
    if not findings.image_size:
        leaked += " as equal embeddings (near duplicates are found in images only)"
    if exact + near:
        leaked += f": {exact:,} as exact, {near:,} as near duplicates"
    pairs = [
        f"{region.exact:,} exact and {region.near:,} near pairs within {_ROLES[name]}"
        for name, region in duplicates.regions.items()
        if name != "across" and region.exact + region.near
    ]
    conflicts = sum(region.conflicts for region in duplicates.regions.values())
    search, most = duplicates.search, findings.outliers.neighbours
    notes = [
        (conflicts, "pairs have different labels"),
        (search.crowded, f"images have hashes near more than {most} others, of which the {most} nearest were compared"),
        (search.copied, f"images have {most} near duplicates or more, as images have that merely look alike"),
    ]
    return "; ".join([leaked, *pairs, *(f"{count:,} {note}" for count, note in notes if count)])


def _labels(findings: Findings) -> str:
    labels = findings.labels
    flagged = sum(count for role, count in labels.flagged.items() if role != "test")
    tested = sum(count for role, count in labels.judged.items() if role != "test")
    rank = ""
    if labels.planted_rank is not None:
        above = f"all but {labels.planted_rank:,} of the" if labels.planted_rank else "all"
        rank = f"; half of the planted errors ranked above {above} original labels"
    return (
        f"{flagged:,} of {tested:,} labels of train and val are suspect (about {labels.expected:,.0f} would be if all "
        f"labels were right, since some images are hard), and {labels.flagged['test']:,} of {labels.judged['test']:,} "
        f"of test. As a check, {labels.planted:,} label errors were planted: {percent(labels.planted_flagged, 0)} % of "
        f"them were found{rank}"
    )


def _outliers(findings: Findings) -> str:
    outliers = findings.outliers
    n, flagged = outliers.images["test"], outliers.flagged["test"]
    low, high = wilson(flagged, n)
    level = percent(outliers.level, 1)
    return (
        f"{flagged:,} of {n:,} test images ({percent(flagged / n, 1)} %, {percent(low, 1)}–{percent(high, 1)}) are far "
        f"from all train and val images; {level} % would be, if test were like them"
    )


def _balance(findings: Findings) -> list[str]:
    if all(spread.ratio < _EVEN and not spread.empty for spread in findings.balance.values()):
        sizes = [f"{role} ({sum(findings.balance[role].counts):,})" for role in _ORDER]
        return [f"the classes are even in {listing(sizes)}"]
    lines = []
    for role in _ORDER:
        spread = findings.balance[role]
        line = (
            f"{role}: {sum(spread.counts):,} images, the largest class is {spread.ratio:.3g} times the smallest, "
            f"{spread.effective:.3g} effective classes of {len(spread.counts)}"
        )
        if absent := [findings.class_names[label] for label in spread.empty]:
            line += f"; no images of {listing(absent[:_FEW])}" + (" and others" if len(absent) > _FEW else "")
        lines.append(line)
    return lines


def _by_role(note: DecodingNote, images: Mapping[str, int]) -> str:
    return listing([f"{note.counts[role]:,} of {images[role]:,} of {role}" for role in _ORDER if note.counts[role]])


def source_in_words(findings: Findings) -> str:
    """Return which backbone's features were used."""
    where = f"{findings.backbone} ({findings.weights}, {findings.image_size} px, {findings.precision})"
    return f"Checks of images and labels, with the features of {where}."


def method_notes(findings: Findings) -> list[str]:
    """Return how all of it was found."""
    options, labels, near = findings.of["options"], findings.labels, findings.outliers.neighbours
    search = findings.duplicates.search
    return [
        f"Near duplicates: {search.compared:,} pairs were compared in grey levels at 32 x 32 pixels, shifted by up to "
        f"{options['shift']} and mirrored: of each image its {near} nearest by cosine of the centred features, if it "
        f"is {options['alike']} or more, and its {near} nearest by perceptual hash, if up to {options['bits']} of 63 "
        f"bits differ ({search.by_hash:,} pairs by hash alone). The score is the correlation of the grey levels if "
        f"that is {search.pixels:.3g} or more, otherwise the cosine times the correlation; pairs of "
        f"{options['alike']} or more are near duplicates.",
        f"Suspect labels: out-of-fold probabilities of the exact probe (l2 {labels.l2:.3g}, {labels.folds} folds, "
        f"temperature {labels.temperature:.3g}), top-1 {percent(labels.top1, 1)} % on train and val. A label is "
        "suspect if, of the classes with at least their mean probability, the likeliest is another one (confident "
        "learning, Northcutt et al. 2021). The score is (1 - probability of the label) times the share of the "
        f"{labels.neighbours} nearest train and val images with another label. Hard images are flagged like label "
        "errors.",
        f"Outliers: the mean of 1 - cosine of the features to the {near} nearest train and val images; p is the share "
        "of train and val images that are as far from their own nearest.",
        "The record of the doctor lists more findings; each image is named part:row, as for probeline show.",
    ]


LEAKAGE_NOTE = (
    "Test top-1 (mean over seeds, Wilson's 95 % interval) with all test images, and without those that are in train or "
    "val too. Nothing is refitted, so the effect of a leaked image on the fit remains; and leaked images may be easier "
    "or harder than others."
)


@dataclass(frozen=True)
class Share:
    """Top-1 over `n` of the test images, in [0, 1], with Wilson's 95 % interval; None without images."""

    n: int
    top1: float | None
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Leak:
    """A row's test top-1 with and without the images that are in train or val too; a mean over its seeds.

    The titles are the block's and the row's. `reference` is the probe that other rows are compared with; `exact` and
    `near` are the leaked images themselves.
    """

    backbone: str
    row: str
    reference: bool
    all: Share
    without_exact: Share
    without_both: Share
    exact: Share
    near: Share


def leakage(doctor: Findings, blocks: Sequence[Block]) -> list[Leak]:
    """Return the accuracy of each row without the leaked images; its scores must be of the examined splits."""
    leaks = []
    for block in blocks:
        for row, scores in zip(block.rows, block.scores, strict=True):
            correct = [np.equal(score.labels, score.predictions) for score in scores]
            right: DoubleArray = np.mean(correct, axis=0, dtype=np.float64)
            exact, near = np.zeros(len(right), np.bool_), np.zeros(len(right), np.bool_)
            exact[list(doctor.duplicates.leaked_exact)] = True
            near[list(doctor.duplicates.leaked_near)] = True
            parts = (np.ones_like(exact), ~exact, ~(exact | near), exact, near)
            leaks.append(Leak(block.title, row.title, row.reference, *(_share(right[part]) for part in parts)))
    return leaks


def _share(right: DoubleArray) -> Share:
    """Return the top-1 of some test images from the share of seeds that are right on each, float64 [n]."""
    n = len(right)
    if not n:
        return Share(0, None, None)
    successes = min(float(right.sum()), float(n))
    return Share(n, successes / n, wilson(successes, n))


def leakage_lines(leaks: Sequence[Leak]) -> list[str]:
    """Return in words how the top-1 of each row changes without the leaked images; empty if none are leaked."""
    if not any(leak.all.n > leak.without_both.n for leak in leaks):
        return []
    places = decimals(leak.all.n for leak in leaks)
    return [
        f"{leak.row} of {leak.backbone}: test top-1 {share_in_words(leak.all, places)} %, without the "
        f"{leak.all.n - leak.without_both.n:,} leaked images {share_in_words(leak.without_both, places)} %"
        for leak in leaks
    ]


def share_in_words(share: Share, places: int) -> str:
    """Return top-1 in percent with its interval; empty without images."""
    if share.top1 is None or share.interval is None:
        return ""
    low, high = (percent(end, places) for end in share.interval)
    return f"{percent(share.top1, places)} ({low}–{high})"
