"""What an embedding map shows and says, decided from scores alone: its size, its projections and its text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from probeline.format import percent
from probeline.names import describe_tap
from probeline.results.embedding_map import Projection
from probeline.results.methods import method_info
from probeline.results.score import Score

MAX_POINTS = 2000


@dataclass(frozen=True)
class MapText:
    """A map's title, its caption, and its alternative text."""

    title: str
    caption: str
    alt: str


def pca_projection(xy: Sequence[tuple[float, float]], explained: tuple[float, float]) -> Projection:
    """Return the projection onto two principal components."""
    shares = [percent(share, 1) for share in explained]
    axes = (f"first component, {shares[0]} % of the variance", f"second component, {shares[1]} %")
    facts = {"explained": [round(share, 6) for share in explained]}
    return Projection("pca", "Principal components", axes, tuple(xy), facts)


def tsne_projection(xy: Sequence[tuple[float, float]], perplexity: float, seed: int, divergence: float) -> Projection:
    """Return a projection by t-SNE."""
    facts = {"perplexity": perplexity, "seed": seed, "divergence": divergence}
    return Projection("tsne", "t-SNE", ("", ""), tuple(xy), facts)


def map_text(
    best: Score, probe: Score, shown: int, wrong: int, data_seed: int, projections: Sequence[Projection]
) -> MapText:
    """Return the text of a map of `shown` test images, `wrong` of which the best row misclassifies."""
    where = describe_tap(probe.tap, 0)
    net = f"{probe.backbone}{' ' * bool(where)}{where}"
    n_test = probe.n_test
    which = f"All {n_test:,} test images" if shown == n_test else f"{shown:,} of {n_test:,} test images"
    sample = "" if shown == n_test else f" (stratified sample, data seed {data_seed})"
    lines = [f"{which}{sample}: features of {net}, standardised as for its probe."]
    for projection in projections:
        if projection.method == "pca":
            first, second = (percent(share, 1) for share in projection.facts["explained"])
            lines.append(
                f"Principal components of the {probe.n_train:,} train images, with {first} and {second} % of their "
                "variance: images that are far apart here are far apart; near ones need not be near."
            )
        else:
            lines.append(
                f"t-SNE of these test images alone, perplexity {projection.facts['perplexity']:g}, seed "
                f"{projection.facts['seed']}: neighbours mean something, distances and sizes of groups do not."
            )
    reading = describe_tap(best.tap, best.views)
    comma = " " if reading.startswith("at ") else ", "
    row = comma.join(filter(None, (method_info(best.method).title, reading)))
    lines.append(f"Ringed: the {wrong:,} errors of the {row}, the row of {best.backbone} that is best on validation.")
    also = ", and by t-SNE" if len(projections) > 1 else ""
    alt = f"Scatter plot of {shown:,} test images in two principal components{also}, {wrong:,} of them ringed"
    return MapText(f"Embedding map of {net}, test images", " ".join(lines), alt)
