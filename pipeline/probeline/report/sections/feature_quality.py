"""What the features alone say: ranks, dimension, predictors of transfer, retrieval, clusters, and their alignment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from probeline.files.decode import encode
from probeline.format import decimals, percent
from probeline.report.model.content import ReportContent
from probeline.report.records.quality import (
    NONE,
    feature_titles,
    in_percent,
    number,
    seeds_in_words,
    spread,
    with_interval,
)
from probeline.report.sections.section import DATA, Tables, TableSection
from probeline.report.sections.tables import TextTable, bullets, join_parts, text_table
from probeline.results.quality.alignment import FeatureAlignment
from probeline.results.quality.features import FeatureQuality, predictor_values
from probeline.results.ranking import best_probe
from probeline.results.score import Score

_LISTED = 8
"""Sets of features up to which the values of CKA are a table too."""

_LEFT_OUT = ("of", "environment", "seconds")
"""Of the records, in report.json."""


class FeatureQualitySection(TableSection):
    name, title, group, figure = "quality", "Quality of the features", DATA, "cka"

    def tables(self, content: ReportContent) -> Tables | None:
        qualities, alignment = content.qualities, content.alignment
        if not qualities and alignment is None:
            return None
        tables = []
        if qualities:
            tables.append(feature_table(qualities, content.scores))
        if any(quality.retrieval or quality.clusters for quality in qualities):
            tables.append(retrieval_table(qualities))
        return tables, quality_notes(qualities, alignment)

    def markdown(self, content: ReportContent) -> str | None:
        if (shown := self.tables(content)) is None:
            return None
        tables, notes = [*shown[0]], shown[1]
        if content.alignment is not None and len(content.alignment.nets) <= _LISTED:
            tables.append(alignment_table(content.alignment))
        return join_parts(*(table.markdown() for table in tables), bullets(notes))

    def record(self, content: ReportContent) -> Mapping[str, Any]:
        titles = feature_titles([quality.net for quality in content.qualities])
        alignment = content.alignment
        return {
            "feature_quality": [
                {"title": title, **_facts(quality), "predictors": predictor_values(quality)}
                for title, quality in zip(titles, content.qualities, strict=True)
            ],
            "feature_alignment": None
            if alignment is None
            else {"titles": feature_titles([net.net for net in alignment.nets]), **_facts(alignment)},
        }


def _facts(record: FeatureQuality | FeatureAlignment) -> dict[str, Any]:
    return {name: value for name, value in encode(record).items() if name not in _LEFT_OUT}


def feature_table(qualities: Sequence[FeatureQuality], scores: Sequence[Score]) -> TextTable:
    """Return ranks, dimension and predictors of each set of features, beside the top-1 of its exact probe."""
    probes = [_probe(quality, scores) for quality in qualities]
    places = decimals(probe.n_test for probe in probes if probe)
    transfers = [quality.transfer for quality in qualities]
    columns = [
        ("Features", feature_titles([quality.net for quality in qualities])),
        ("Images", [f"{quality.spectrum.n:,}" for quality in qualities]),
        ("Columns", [f"{quality.dim:,}" for quality in qualities]),
        ("Effective rank", [number(quality.spectrum.effective_rank, 1) for quality in qualities]),
        ("RankMe", [number(quality.spectrum.rankme, 1) for quality in qualities]),
        ("Dimension (two-NN)", [number(quality.dimension.two_nn, 1) for quality in qualities]),
        ("Between classes %", ["" if own is None else in_percent(own.between, 1) for own in transfers]),
        ("H-score", ["" if own is None else number(own.h_score, 3) for own in transfers]),
        ("LogME", ["" if own is None else number(own.log_me, 3) for own in transfers]),
        ("Probe top-1 %", ["" if probe is None else percent(probe.top1, places) for probe in probes]),
    ]
    return text_table(columns, 1)


def _probe(quality: FeatureQuality, scores: Sequence[Score]) -> Score | None:
    """Return the exact probe on the same features, without views."""
    return best_probe(
        score
        for score in scores
        if (score.backbone, score.weights, score.tap, score.image_size, score.precision) == quality.net
        and not score.views
    )


def retrieval_table(qualities: Sequence[FeatureQuality]) -> TextTable:
    """Return how test images are found among train images, and how clusters agree with classes."""
    retrievals = [quality.retrieval for quality in qualities]
    places = decimals(own.queries for own in retrievals if own)
    columns = [("Features", feature_titles([quality.net for quality in qualities]))]
    for k in sorted({one.k for own in retrievals if own for one in own.recall}):
        cells = []
        for own in retrievals:
            found = [one for one in own.recall if one.k == k] if own else []
            cells.append(with_interval(found[0].value, found[0].interval, places) if found else NONE)
        columns.append((f"Recall@{k} %", cells))
    precisions = [
        with_interval(own.mean_precision, own.precision_interval, places) if own else NONE for own in retrievals
    ]
    clusters = [quality.clusters for quality in qualities]
    columns += [
        ("mAP %", precisions if any(retrievals) else []),
        ("NMI", [spread(own.nmi) if own else NONE for own in clusters]),
        ("ARI", [spread(own.ari) if own else NONE for own in clusters]),
    ]
    return text_table([column for column in columns if column[1]], 1)


def alignment_table(alignment: FeatureAlignment) -> TextTable:
    """Return the unbiased CKA of every two sets of features."""
    titles = feature_titles([net.net for net in alignment.nets])
    values = {(pair.first, pair.second): pair.unbiased for pair in alignment.pairs}
    grid = [["CKA", *titles]]
    for i, title in enumerate(titles):
        cells = ["" if i == j else number(values[min(i, j), max(i, j)], 3) for j in range(len(titles))]
        grid.append([title, *cells])
    return TextTable(grid, [True, *(False for _ in titles)])


def quality_notes(qualities: Sequence[FeatureQuality], alignment: FeatureAlignment | None) -> list[str]:
    """Return notes on the tables and the figure, a sentence or two for each number."""
    notes: list[str] = []
    if qualities:
        notes += _notes_on_features(qualities)
    if any(quality.retrieval for quality in qualities):
        notes += _notes_on_retrieval(qualities)
    if any(quality.clusters for quality in qualities):
        notes += _notes_on_clusters(qualities)
    if alignment is not None:
        few = f"{alignment.n:,} of {alignment.of_images:,}" if alignment.n < alignment.of_images else f"{alignment.n:,}"
        notes.append(
            f"CKA: linear centred kernel alignment (Kornblith et al. 2019) of two sets of features of the same {few} "
            "train images, all that one command measured: 1 if they are equal but for a rotation and a scale. It is "
            "the unbiased estimate, about 0 for unrelated features; the usual one, which few images with many columns "
            "bring near 1, is in report.json."
        )
    return notes


def _notes_on_features(qualities: Sequence[FeatureQuality]) -> list[str]:
    labelled = any(quality.transfer for quality in qualities)
    notes = [
        "From the cached features alone: no net was run, and nothing was selected. Ranks, dimension and predictors are "
        "of the train images; they depend on how many there are, so compare them within a table.",
        "Effective rank (Roy and Vetterli 2007): how many equally strong directions would have the entropy of the "
        "singular values, of the features minus their mean. At most the number of columns, and of images less one. "
        "RankMe (Garrido et al. 2023) is the same of the features as they are, whose mean is one strong direction, "
        "with 1e-7 added to each share.",
        "Dimension (two-NN, Facco et al. 2017): the number of coordinates in which neighbours differ, from the "
        f"distances of each image to its two nearest, of {_counts(quality.dimension.n for quality in qualities)} "
        "images that differ. It is of the scale of these distances: more images show finer structure.",
    ]
    if labelled:
        shuffled = {quality.transfer.shuffled for quality in qualities if quality.transfer} - {None}
        chance = f", {percent(max(own for own in shuffled if own), 2)} if the labels were shuffled" if shuffled else ""
        notes += [
            "Between classes: the share of the variance of the features that is between the means of the classes, 0 "
            f"to 100{chance}. It counts all directions alike, so it is low where much of the variance has nothing to "
            "do with the classes.",
            "H-score (Bao et al. 2019, with the covariance shrunk by Ledoit and Wolf's rule as in Ibrahim et al. "
            "2022): the variance between classes along whitened directions, 0 to the number of classes less one. LogME "
            "(You et al. 2021): the log of the greatest evidence, per image, that a linear model has for the labels; "
            "it has no fixed range. Higher is better for both; they order nets for one data set, and their order is "
            "often, not always, that of the probe's accuracy.",
        ]
    if any(None in _numbers(quality) for quality in qualities):
        notes.append(
            f"{NONE}: the number is not defined, as for features that are all equal, too few different images, or "
            "features that fit the labels without an error."
        )
    return notes


def _numbers(quality: FeatureQuality) -> list[float | None]:
    transfer = quality.transfer
    own = [quality.spectrum.effective_rank, quality.spectrum.rankme, quality.dimension.two_nn]
    return own if transfer is None else [*own, transfer.between, transfer.h_score, transfer.log_me]


def _notes_on_retrieval(qualities: Sequence[FeatureQuality]) -> list[str]:
    facts = [quality.retrieval for quality in qualities if quality.retrieval]
    queries, gallery, test = (_counts(getattr(own, name) for own in facts) for name in ("queries", "gallery", "test"))
    which = f"{queries} test images" if queries == test else f"{queries} of {test} test images"
    left = max(own.unanswerable for own in facts)
    without = f" {left:,} whose class no train image has are left out." if left else ""
    return [
        f"Retrieval: each of {which} is a query, and the {gallery} train images are ranked by cosine; those of its "
        f"class are right.{without} Recall@k: the share of queries with a right one among the k nearest. mAP: the mean "
        "over the queries of the average precision over all train images. Equals are judged without regard to their "
        f"order. Intervals: 95 %, over other queries: Wilson's for Recall@k, and for mAP by resampling the queries "
        f"{facts[0].draws:,} times, seed {facts[0].seed}. No setting was chosen by these numbers.",
    ]


def _notes_on_clusters(qualities: Sequence[FeatureQuality]) -> list[str]:
    facts = [quality.clusters for quality in qualities if quality.clusters]
    return [
        f"Clusters: k-means on rows of length 1, as many clusters as classes, on {_counts(own.n for own in facts)} "
        f"train images; mean and range over {seeds_in_words(facts[0].seeds)}. NMI: mutual information of clusters and "
        "classes over the mean of their entropies, 0 to 1; above 0 by chance. ARI: the adjusted Rand index, 0 on "
        "average by chance, 1 if the clusters are the classes.",
    ]


def _counts(values: Iterable[int]) -> str:
    """Return ``195``, or ``195 to 5,000`` if the values differ."""
    ends = sorted(set(values))
    return " to ".join(f"{end:,}" for end in dict.fromkeys((ends[0], ends[-1])))
