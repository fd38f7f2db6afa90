"""Embedding maps: the features of the test images in two principal components and, on request, by t-SNE."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from probeline.analysis.pictures import FigureText
from probeline.analysis.probe_features import ProbeFeatures
from probeline.data.sampling.stratified import sample
from probeline.errors import BadData
from probeline.evaluate.requests import reuse
from probeline.format import percent
from probeline.heads.checks import check_features
from probeline.names import describe_tap
from probeline.results.illustrations.embedding_map import MAPS, EmbeddingMap, Projection, map_of
from probeline.results.methods import method_info
from probeline.results.score import Score
from probeline.session import Session
from probeline.types import FloatArray

MAX_POINTS = 2000

_PURPOSE = 50
"""Of the sample of test images."""

_PERPLEXITY = 30.0
"""In the range of 5 to 50 of van der Maaten and Hinton 2008; a third of the images if they are few."""

_FEWEST = 4
"""Images from which t-SNE makes sense: a perplexity of 1."""

_SEED = 0

_FEW = 500
"""Rows or columns up to which a full decomposition is cheap; Lanczos' method needs more of them than two."""


def check_map(session: Session) -> None:
    """Refuse a t-SNE of too few images.

    Raises
    ------
    BadData
    """
    count = len(session.splits.test)
    if session.settings.pictures.map == "tsne" and count < _FEWEST:
        raise BadData(
            "too few test images for --map tsne",
            where=session.dataset.name,
            expected=f"{_FEWEST} or more",
            got=count,
            remedy="leave --map out",
        )


def make_map(session: Session, features: ProbeFeatures, best: Score, max_points: int = MAX_POINTS) -> EmbeddingMap:
    """Return a backbone's map, made unless it is up to date and has the requested projections.

    `features` are those of the exact probe that is best on validation. The errors of the row `best` are ringed.

    Raises
    ------
    MissingData
        The probe is of another net than the run's.
    CannotWrite
    """
    probe = features.score
    title = f"pictures: {session.dataset.name} x {probe.backbone}"
    record = MAPS.find(session.reports, probe.backbone)
    if isinstance(record, EmbeddingMap) and (
        record.of != map_of(best, probe) or session.settings.pictures.map not in record.methods
    ):
        record = None
    message = f"{title}: {MAPS.path(session.reports, probe.backbone).name} is up to date, skipped"
    if finished := reuse(session, record, session.reports / "pictures", title, message):
        return finished
    embedding_map = _project(session, features, best, max_points)
    path = MAPS.save(session.reports, embedding_map)
    session.console.say(f"{title}: written to {path}")
    return embedding_map


def _project(session: Session, features: ProbeFeatures, best: Score, max_points: int) -> EmbeddingMap:
    probe, splits, fold = features.score, session.splits, features.fold
    truth = np.array(probe.labels, np.int64)
    indices = sample(truth, max_points, splits.data_seed, _PURPOSE)
    shown = fold.X_heldout[indices]
    xy, explained = project_pca(fold.X, shown)
    projections = [pca_projection(_rounded(xy), explained)]
    if session.settings.pictures.map == "tsne":
        perplexity = min(_PERPLEXITY, (len(shown) - 1) / 3)
        xy, divergence = project_tsne(shown, perplexity, _SEED)
        projections.append(tsne_projection(_rounded(xy), round(perplexity, 3), _SEED, round(divergence, 4)))
    part = session.dataset.parts[splits.test.part]
    rows = splits.test.rows[indices].tolist()
    predicted = tuple(best.predictions[index] for index in indices.tolist())
    labels = tuple(truth[indices].tolist())
    wrong = sum(true != prediction for true, prediction in zip(labels, predicted, strict=True))
    text = map_text(best, probe, len(rows), wrong, splits.data_seed, projections)
    return EmbeddingMap(
        backbone=probe.backbone,
        weights=probe.weights,
        of=map_of(best, probe),
        tap=probe.tap,
        n_test=probe.n_test,
        part=part.name,
        class_names=session.dataset.class_names,
        rows=tuple(rows),
        sample_ids=tuple(part.sample_ids[row] for row in rows),
        labels=labels,
        predicted=predicted,
        judge=", ".join(filter(None, (method_info(best.method).title, describe_tap(best.tap, best.views)))),
        planes=tuple(projections),
        **text._asdict(),
    )


def _rounded(xy: FloatArray) -> Sequence[tuple[float, float]]:
    """Return points to a ten-thousandth of their range or better, which is more than a plot can show."""
    span = float(np.abs(xy).max())
    digits = 5 - int(np.ceil(np.log10(span))) if span > 0 else 0
    return [(round(x, digits), round(y, digits)) for x, y in xy.astype(np.float64).tolist()]


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
) -> FigureText:
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
    return FigureText(f"Embedding map of {net}, test images", " ".join(lines), alt)


def project_pca(X: FloatArray, shown: FloatArray) -> tuple[FloatArray, tuple[float, float]]:
    """Return rows float32 [m, 2] in the plane of the largest variance of `X`, and the variance's share per axis.

    These are distances from the mean of `X` along the two axes, the one of the larger variance first. The largest
    coefficient of each axis is positive. Shares are 0 if all rows of `X` are equal.

    Raises
    ------
    ValueError
        `X` has fewer than two rows or columns, or an array is not float32 [N, D].
    """
    check_features(X)
    check_features(shown, columns=X.shape[1])
    if min(X.shape) < 2:
        raise ValueError(f"a plane needs two rows and two columns, not {list(X.shape)}")
    if (X[0] == X).all():
        return np.zeros((len(shown), 2), np.float32), (0.0, 0.0)
    from sklearn.decomposition import PCA

    solver = "full" if min(X.shape) <= _FEW else "arpack"
    plane = PCA(2, svd_solver=solver, random_state=0).fit(X)
    first, second = plane.explained_variance_ratio_.tolist()
    return plane.transform(shown).astype(np.float32), (first, second)


def project_tsne(X: FloatArray, perplexity: float, seed: int) -> tuple[FloatArray, float]:
    """Return points float32 [N, 2] with about the same neighbours as the rows, and the final divergence in nats.

    Barnes and Hut's approximation, initialised by principal components. It runs in one thread: with several threads
    its sums come in any order, and t-SNE turns a difference in the last bit into another picture. `perplexity` is about
    the number of neighbours per row; less than N. van der Maaten and Hinton 2008, "Visualizing data using t-SNE",
    Journal of Machine Learning Research 9; van der Maaten 2014, "Accelerating t-SNE using tree-based algorithms",
    Journal of Machine Learning Research 15.

    Raises
    ------
    ValueError
        `X` is not float32 [N, D].
    """
    check_features(X)
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        model = TSNE(2, perplexity=perplexity, init="pca", learning_rate="auto", random_state=seed)
        points: FloatArray = model.fit_transform(X).astype(np.float32)
    return points, float(model.kl_divergence_)
