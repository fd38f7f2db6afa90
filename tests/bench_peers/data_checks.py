"""Planted label errors and planted copies in CIFAR-10, searched for by the doctor and by others.

Label errors: every contender has the same features and the same wrong labels. Copies: every contender has the files.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench_peers.planted import judge_pairs, judge_rows, read_table
from bench_peers.process import Clock
from probeline.environment import declare_missing_operators

NET, WEIGHTS = "mobilenet_v2", "IMAGENET1K_V1"
DoubleArray = npt.NDArray[np.float64]


def _extract(folder: Path, table: str, cache: str, image_size: int) -> Any:
    import probeline

    return probeline.extract(
        f"table:{folder / table}", NET, weights=WEIGHTS, cache=cache, images=folder / "images", image_size=image_size
    )


def features(folder: Path, cache: str, image_size: int) -> dict[str, Any]:
    """Extract what the contests need, once, and write the features of the images whose labels were changed."""
    clock = Clock()
    _extract(folder, "copies.csv", cache, image_size)
    own = _extract(folder, "flipped.csv", cache, image_size)
    names = {name: row for row, name in enumerate(own.sample_ids.tolist())}
    table = read_table(folder / "flipped.csv")
    rows = [names[row["path"]] for row in table]
    classes = sorted({row["truth"] for row in table})
    np.save(folder / "X.npy", own.numpy()[rows])
    np.save(folder / "labels.npy", [classes.index(row["label"]) for row in table])
    np.save(folder / "truth.npy", [classes.index(row["truth"]) for row in table])
    return {**clock.lap(), "images": len(rows)}


def _judge_labels(folder: Path, clock: Clock, flagged: Sequence[int], ranked: Sequence[int]) -> dict[str, Any]:
    work = clock.lap()
    wrong = np.flatnonzero(np.load(folder / "labels.npy") != np.load(folder / "truth.npy")).tolist()
    return {**work, **judge_rows(list(map(int, flagged)), list(map(int, ranked)), wrong)}


def _doctor(folder: Path, table: str, cache: str, image_size: int) -> Any:
    """Return the doctor's record with every finding listed, not the first 500."""
    import probeline
    from probeline.analysis import data_checks

    data_checks.LISTED.update(pairs=10**7, suspects=10**7)
    own = _extract(folder, table, cache, image_size)
    clock = Clock()
    checks = probeline.doctor(own, reports=folder / f"reports-{table}")
    return checks.findings, clock


def labels_probeline(folder: Path, cache: str, image_size: int) -> dict[str, Any]:
    """`probeline doctor`: it looks for duplicates and outliers in the same run, and its seconds include them."""
    findings, clock = _doctor(folder, "flipped.csv", cache, image_size)
    rows = {row["path"]: number for number, row in enumerate(read_table(folder / "flipped.csv"))}
    suspects = [rows[suspect.image.sample_id] for suspect in findings.labels.suspects]
    return _judge_labels(folder, clock, suspects, suspects)


def _probabilities(folder: Path) -> tuple[DoubleArray, npt.NDArray[np.int64]]:
    """Return out-of-fold probabilities as Cleanlab's tutorials make them: five folds of scikit-learn's regression."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    X, y = np.load(folder / "X.npy"), np.load(folder / "labels.npy")
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    return cross_val_predict(model, X, y, cv=5, method="predict_proba"), y


def _cleanlab(folder: Path, rule: str) -> dict[str, Any]:
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    clock = Clock()
    probabilities, y = _probabilities(folder)
    flagged = find_label_issues(y, probabilities, filter_by=rule, n_jobs=1)
    ranked = np.argsort(get_label_quality_scores(y, probabilities), kind="stable")
    return _judge_labels(folder, clock, np.flatnonzero(flagged), ranked)


def labels_cleanlab(folder: Path, cache: str, image_size: int) -> dict[str, Any]:
    """Cleanlab as it is set by default: `prune_by_noise_rate`, ranked by self-confidence."""
    return _cleanlab(folder, "prune_by_noise_rate")


def labels_cleanlab_confident(folder: Path, cache: str, image_size: int) -> dict[str, Any]:
    """Cleanlab with the rule that the doctor has too: the off-diagonal of the confident joint."""
    return _cleanlab(folder, "confident_learning")


def labels_cleanlab_tuned(folder: Path, cache: str, image_size: int) -> dict[str, Any]:
    """Cleanlab by default on the out-of-fold probabilities of Probeline's tuned and calibrated probe."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    from probeline.evaluate.exact_probe import predict_out_of_fold
    from probeline.heads.temperature import fit_temperature
    from probeline.metrics.scores import chances

    own = _extract(folder, "flipped.csv", cache, image_size)
    clock = Clock()
    predicted = predict_out_of_fold(own.cached)
    splits = own.session.splits
    rows = np.concatenate([splits.train.rows, splits.val.rows, splits.test.rows])
    labels = np.asarray(own.labels)[rows]
    probabilities = chances(predicted.logits, fit_temperature(labels, predicted.logits))
    numbers = {row["path"]: number for number, row in enumerate(read_table(folder / "flipped.csv"))}
    numbered = np.array([numbers[name] for name in np.asarray(own.sample_ids)[rows].tolist()])
    flagged = find_label_issues(labels, probabilities, n_jobs=1)
    ranked = np.argsort(get_label_quality_scores(labels, probabilities), kind="stable")
    return _judge_labels(folder, clock, numbered[flagged], numbered[ranked])


def _judge_copies(folder: Path, clock: Clock, pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    work, table = clock.lap(), read_table(folder / "copies.csv")
    planted = {frozenset((row["path"], row["original"])) for row in table if row["original"]}
    others = sorted({tuple(sorted(pair)) for pair in pairs if pair[0] != pair[1] and frozenset(pair) not in planted})
    return {**work, **judge_pairs(pairs, table), "others": others[:40]}


def copies_probeline(folder: Path, cache: str, image_size: int) -> dict[str, Any]:
    """`probeline doctor` with cached features: exact and near pairs."""
    findings, clock = _doctor(folder, "copies.csv", cache, image_size)
    pairs = [(pair.first.sample_id, pair.second.sample_id) for pair in findings.duplicates.pairs]
    return _judge_copies(folder, clock, pairs)


def _imagededup_hash(folder: Path, method: str, distance: int) -> dict[str, Any]:
    declare_missing_operators()
    from imagededup import methods

    clock = Clock()
    hasher = getattr(methods, method)(verbose=False)
    found = hasher.find_duplicates(
        image_dir=str(folder / "images"), max_distance_threshold=distance, num_enc_workers=0, num_dist_workers=0
    )
    return _judge_copies(folder, clock, [(name, other) for name, others in found.items() for other in others])


def copies_imagededup_phash(folder: Path, cache: str, image_size: int) -> dict[str, Any]:
    """imagededup's perceptual hash as it is set by default: at most 10 of 64 bits differ."""
    return _imagededup_hash(folder, "PHash", 10)


def copies_imagededup_phash_strict(folder: Path, cache: str, image_size: int) -> dict[str, Any]:
    """imagededup's perceptual hash with at most 4 of 64 bits different."""
    return _imagededup_hash(folder, "PHash", 4)


def copies_imagededup_dhash(folder: Path, cache: str, image_size: int) -> dict[str, Any]:
    """imagededup's difference hash as it is set by default."""
    return _imagededup_hash(folder, "DHash", 10)


def _cosine(folder: Path, cache: str, image_size: int, least: float) -> dict[str, Any]:
    declare_missing_operators()
    from imagededup.methods import CNN
    from imagededup.utils import CustomModel
    from torch import nn

    own = _extract(folder, "copies.csv", cache, image_size)
    encodings = dict(zip(own.sample_ids.tolist(), own.numpy(), strict=True))
    clock = Clock()
    # Its own net would be downloaded; encodings that are given are compared in the same way.
    encoder = CNN(verbose=False, model_config=CustomModel("cached", nn.Identity(), lambda image: image))
    found = encoder.find_duplicates(encoding_map=encodings, min_similarity_threshold=least, num_sim_workers=1)
    return _judge_copies(folder, clock, [(name, other) for name, others in found.items() for other in others])


def copies_imagededup_cnn(folder: Path, cache: str, image_size: int) -> dict[str, Any]:
    """imagededup's search among embeddings with its default threshold of 0.9, on Probeline's cached features."""
    return _cosine(folder, cache, image_size, 0.9)


def copies_cleanvision(folder: Path, cache: str, image_size: int) -> dict[str, Any]:
    """cleanvision's exact and near duplicates as they are set by default: equal perceptual hashes."""
    from cleanvision import Imagelab

    clock = Clock()
    with contextlib.redirect_stdout(None):
        lab = Imagelab(data_path=str(folder / "images"))
        lab.find_issues({"exact_duplicates": {}, "near_duplicates": {}}, n_jobs=1)
    sets = [group for kind in ("exact_duplicates", "near_duplicates") for group in lab.info[kind]["sets"]]
    pairs = [(Path(one).name, Path(other).name) for group in sets for one in group for other in group if one < other]
    return _judge_copies(folder, clock, pairs)


LABELS: dict[str, Callable[..., dict[str, Any]]] = {
    function.__name__.removeprefix("labels_"): function
    for function in (labels_probeline, labels_cleanlab, labels_cleanlab_confident, labels_cleanlab_tuned)
}
COPIES: dict[str, Callable[..., dict[str, Any]]] = {
    function.__name__.removeprefix("copies_"): function
    for function in (
        copies_probeline,
        copies_imagededup_phash,
        copies_imagededup_phash_strict,
        copies_imagededup_dhash,
        copies_imagededup_cnn,
        copies_cleanvision,
    )
}
