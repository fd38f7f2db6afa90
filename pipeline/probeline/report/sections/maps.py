"""What a map of embeddings says, settled from scores alone, and whether it is still theirs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from probeline.format import percent
from probeline.identity import digest
from probeline.names import describe_tap
from probeline.results.embedding_map import EmbeddingMap, Projection
from probeline.results.methods import method_info
from probeline.results.ranking import best_by_validation, best_probe
from probeline.results.score import Score

MOST_POINTS = 2000


def map_of(judge: Score, probe: Score) -> dict[str, Any]:
    """Return what a map is made of: the row whose mistakes are ringed, and the probe whose embeddings it shows."""
    return {"score": judge.key, "predictions": digest(list(judge.predictions)), "probe": probe.key}


def pca_plane(xy: Sequence[tuple[float, float]], explained: tuple[float, float]) -> Projection:
    """Return the plane of two principal components."""
    shares = [percent(share, 1) for share in explained]
    axes = (f"first component, {shares[0]} % of the variance", f"second component, {shares[1]} %")
    facts = {"explained": [round(share, 6) for share in explained]}
    return Projection("pca", "Principal components", axes, tuple(xy), facts)


def tsne_plane(xy: Sequence[tuple[float, float]], perplexity: float, seed: int, divergence: float) -> Projection:
    """Return a plane of t-SNE."""
    facts = {"perplexity": perplexity, "seed": seed, "divergence": divergence}
    return Projection("tsne", "t-SNE", ("", ""), tuple(xy), facts)


def map_words(
    judge: Score, probe: Score, shown: int, wrong: int, data_seed: int, planes: Sequence[Projection]
) -> list[str]:
    """Return a map's title, caption and what stands in its place."""
    where = describe_tap(probe.tap, 0)
    net = f"{probe.backbone}{' ' * bool(where)}{where}"
    n_test = probe.n_test
    which = f"All {n_test:,} test images" if shown == n_test else f"{shown:,} of {n_test:,} test images"
    drawn = "" if shown == n_test else f", stratified, drawn with data seed {data_seed}"
    lines = [f"{which}{drawn}, as {net} embeds them, standardised as its probe reads them."]
    for plane in planes:
        if plane.method == "pca":
            first, second = (percent(share, 1) for share in plane.facts["explained"])
            lines.append(
                f"Principal components of the {probe.n_train:,} train images, which hold {first} and {second} % of "
                "their variance: two images far apart here are far apart, near ones need not be near."
            )
        else:
            lines.append(
                f"t-SNE of these test images alone, perplexity {plane.facts['perplexity']:g}, seed "
                f"{plane.facts['seed']}: who is beside whom means something, distances and sizes of groups do not."
            )
    at = describe_tap(judge.tap, judge.views)
    row = method_info(judge.method).title + (f" {at}" if at.startswith("at ") else f", {at}" if at else "")
    lines.append(
        f"Ringed: the {wrong:,} that the {row} takes for another class, which val prefers of {judge.backbone}'s rows."
    )
    beside = ", and by t-SNE" if len(planes) > 1 else ""
    alt = f"A scatter plot of {shown:,} test images in two principal components{beside}, {wrong:,} of them ringed"
    return [f"Where {net} puts the test images", " ".join(lines), alt]


def outdated_map(one: EmbeddingMap, scores: Sequence[Score]) -> str | None:
    """Say why a map does not belong to the scores at hand; None where it does."""
    own = [score for score in scores if score.backbone == one.backbone]
    probe, judge = best_probe(own), best_by_validation(own)
    if probe is None or judge is None:
        return "its exact probe is gone"
    return None if one.of == map_of(judge[0], probe) else "its scores have changed"


def map_facts(one: EmbeddingMap) -> dict[str, Any]:
    """Return what a map tells as JSON values; its points stand in its own file."""
    names = ("backbone", "weights", "tap", "n_test", "part", "judge", "title", "caption", "alt")
    return {
        **{name: getattr(one, name) for name in names},
        "shown": len(one.rows),
        "wrong": sum(one.wrong),
        "planes": [{"method": plane.method, "title": plane.title, "facts": dict(plane.facts)} for plane in one.planes],
    }
