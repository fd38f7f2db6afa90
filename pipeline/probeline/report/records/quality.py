"""The quality of features in words, and what each set of features is called."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from probeline.format import decimals, listing, percent, plural, signed
from probeline.names import describe_tap
from probeline.results.quality.alignment import AlignedPair, FeatureAlignment
from probeline.results.quality.features import ClusterFacts, FeatureQuality, RetrievalFacts

Net = tuple[str, str, str, int, str]
"""Backbone, weights, tap, image size and precision."""

NONE = "–"
"""In place of a number that is not defined."""


def feature_titles(nets: Sequence[Net]) -> list[str]:
    """Return the title of each set of features: backbone and tap, and what differs among those of these two."""
    titles = []
    for backbone, weights, tap, size, precision in nets:
        same = [net for net in nets if (net[0], net[2]) == (backbone, tap)]
        facts = (("untrained" if weights == "none" else weights, 1), (f"{size} px", 3), (precision, 4))
        differing = [text for text, place in facts if len({net[place] for net in same}) > 1 or text == "untrained"]
        titles.append(", ".join([" ".join(filter(None, (backbone, describe_tap(tap)))), *differing]))
    return titles


def number(value: float | None, places: int) -> str:
    """Return a number with some decimals, or `NONE`."""
    return NONE if value is None else signed(f"{value:,.{places}f}")


def in_percent(value: float | None, places: int) -> str:
    """Return a share as percent without the sign, or `NONE`."""
    return NONE if value is None else percent(value, places)


def quality_in_words(quality: FeatureQuality) -> list[str]:
    """Return what the features say of themselves, a line for each subject."""
    spectrum, dimension, transfer = quality.spectrum, quality.dimension, quality.transfer
    images = "train images" if quality.transfer else "images"
    most = min(spectrum.n - 1, quality.dim)
    lines = [
        f"{spectrum.n:,} {images}, {quality.dim:,} columns: effective rank {number(spectrum.effective_rank, 1)} of at "
        f"most {most:,}, RankMe {number(spectrum.rankme, 1)}; intrinsic dimension {number(dimension.two_nn, 1)} by "
        f"two-NN of {dimension.n:,} images"
        + (f", {dimension.equal:,} further ones equal others" if dimension.equal else "")
    ]
    if transfer is not None:
        lines.append(
            f"{in_percent(transfer.between, 1)} % of the variance is between the {transfer.classes:,} classes "
            f"({in_percent(transfer.shuffled, 2)} % if labels are shuffled); H-score {number(transfer.h_score, 3)} of "
            f"at most {transfer.classes - 1:,}, LogME {number(transfer.log_me, 3)}"
        )
    if quality.retrieval is not None:
        lines.append(_retrieval_in_words(quality.retrieval))
    if quality.clusters is not None:
        lines.append(_clusters_in_words(quality.clusters))
    return lines


def with_interval(value: float, interval: tuple[float, float], places: int) -> str:
    """Return a share in percent and its interval: ``93.3 (89.9–96.7)``."""
    low, high = interval
    return f"{percent(value, places)} ({percent(low, places)}–{percent(high, places)})"


def _retrieval_in_words(retrieval: RetrievalFacts) -> str:
    places = decimals([retrieval.queries])
    values = [f"Recall@{one.k} {with_interval(one.value, one.interval, places)} %" for one in retrieval.recall]
    values.append(f"mAP {with_interval(retrieval.mean_precision, retrieval.precision_interval, places)} %")
    which = plural(retrieval.queries, "test image")
    if retrieval.queries < retrieval.test:
        which = f"{retrieval.queries:,} of {retrieval.test:,} test images"
    left = f", {retrieval.unanswerable:,} without their class there left out" if retrieval.unanswerable else ""
    return f"{which} searched among {retrieval.gallery:,} train images by cosine{left}: {', '.join(values)}"


def spread(values: Sequence[float]) -> str:
    """Return the mean and the range over seeds: ``0.61 (0.58–0.64)``."""
    return signed(f"{fmean(values):.3f} ({min(values):.3f}–{max(values):.3f})")


def seeds_in_words(seeds: Sequence[int]) -> str:
    """Return ``seeds 0, 1 and 2``."""
    return f"seed{'s' * (len(seeds) > 1)} {listing([str(seed) for seed in seeds])}"


def _clusters_in_words(clusters: ClusterFacts) -> str:
    return (
        f"k-means of {clusters.n:,} train images into {clusters.clusters:,} clusters, "
        f"{seeds_in_words(clusters.seeds)}: NMI {spread(clusters.nmi)}, ARI {spread(clusters.ari)}"
    )


def ranked_pairs(alignment: FeatureAlignment) -> list[tuple[str, AlignedPair]]:
    """Return the pairs whose unbiased CKA is defined, the most alike first, each with its title."""
    titles = feature_titles([net.net for net in alignment.nets])
    defined = [(f"{titles[pair.first]} and {titles[pair.second]}", pair) for pair in alignment.pairs]
    defined = [(title, pair) for title, pair in defined if pair.unbiased is not None]
    return sorted(defined, key=lambda own: -(own[1].unbiased or 0.0))


def alignment_in_words(alignment: FeatureAlignment) -> str:
    """Return which sets of features are most and least alike."""
    pairs = ranked_pairs(alignment)
    if not pairs:
        return "CKA is not defined for any two sets of features"
    (most, high), (least, low) = pairs[0], pairs[-1]
    line = f"CKA (linear, unbiased, {alignment.n:,} images): {most} {number(high.unbiased, 3)}"
    return line if len(pairs) == 1 else f"{line} are most alike, {least} {number(low.unbiased, 3)} least"
