"""Extraction and probes from Python: what the commands compute, to the bit, and features from elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import probeline
from probeline.commands import probe as probe_command
from probeline.errors import BadData, BadOption, UnknownName
from probeline.session import Session
from small_runs import Listening, configuration

pytestmark = pytest.mark.usefixtures("one_thread")

HEADS: dict[str, Any] = {"sgd": ("epochs=1", "lr=1e-3")}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("api") / "cache"


@pytest.fixture(scope="module")
def features(cache: Path) -> probeline.Features:
    return probeline.extract(
        "digits",
        "squeezenet1_1",
        weights="none",
        image_size=32,
        cache=cache,
        reports=cache.parent / "reports",
        limit=60,
        batch_size=6,
        workers=2,
    )


def names_of(features: probeline.Features) -> np.ndarray:
    return np.array(features.classes)[features.labels]


def test_features_are_an_array_with_what_is_known_of_its_rows(features: probeline.Features) -> None:
    assert features.shape == np.asarray(features).shape == (60, 512)
    assert np.array_equal(features[3:5], features.numpy()[3:5])
    assert np.array_equal(features[[7], :2], features.numpy()[[7], :2])
    assert len(features.labels) == len(features.sample_ids) == len(features) == 60
    assert features.classes == tuple("0123456789")
    assert features.keys == {"all": features.key}
    frame = features.to_frame(features=True)
    assert list(frame.columns[:5]) == ["sample_id", "part", "split", "label", "f0"]
    assert (frame["label"] == names_of(features)).all()
    assert frame["split"].value_counts().to_dict() == {"train": 38, "test": 12, "val": 10}


def test_the_command_has_nothing_left_to_do(features: probeline.Features, cache: Path) -> None:
    result = probeline.probe(features)
    console = Listening()
    session = Session(configuration(cache, **HEADS, console=console))
    by_method = {outcome["method"]: outcome for outcome in probe_command.run(session)}
    assert by_method["probe"]["top1"] == result.top1
    assert any("probe:" in line and "already scored, skipped" in line for line in console.said)
    assert not any(line.startswith("extract: digits") for line in console.said), "its features are in the cache"


def test_an_array_of_the_same_rows_gives_the_same_numbers(features: probeline.Features) -> None:
    ours, theirs = probeline.probe(features), probeline.probe(features.numpy(), names_of(features))
    assert theirs.scores[0].predictions == ours.scores[0].predictions
    assert (theirs.top1, theirs.interval, theirs.chosen) == (ours.top1, ours.interval, ours.chosen)
    assert theirs.scores[0].nll == ours.scores[0].nll
    assert "given" in theirs.summary()


@pytest.mark.parametrize("method", ["exact", "probe-mlp", "knn", "ridge"])
def test_the_head_predicts_what_was_scored(features: probeline.Features, method: str) -> None:
    options = {"mlp": ["epochs=1", "lr=1e-3", "width=8"]} if method == "probe-mlp" else {}
    result = probeline.probe(features, method=method, **options)
    test = features.session.splits.test.rows
    assert (result.head.predict(features[test]) == result.predictions).all()
    probabilities = result.head.predict_proba(features[test])
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(len(test)))
    assert (result.to_frame()["prediction"] == result.predictions).all()


def test_test_and_val_rows_may_be_given(features: probeline.Features) -> None:
    labels = names_of(features)
    by_share = probeline.probe(features, test=0.5, val=0.25)
    assert [len(split) for split in split_of(by_share)] == [22, 8, 30], "half, then a quarter of the rest, by class"
    rows = np.arange(20)
    mask = np.isin(np.arange(60), rows)
    by_rows, by_mask = probeline.probe(features, test=rows), probeline.probe(features, test=mask)
    assert split_of(by_rows)[2].rows.tolist() == rows.tolist()
    assert by_rows.predictions.tolist() == by_mask.predictions.tolist()
    X = features.numpy()
    apart = probeline.probe(X[20:], labels[20:], test=(X[:20], labels[:20]))
    assert (apart.session.splits.test.part, apart.row.n_test) == ("test", 20)
    assert apart.to_frame()["label"].tolist() == labels[:20].tolist()


def split_of(result: probeline.Result) -> tuple[Any, ...]:
    splits = result.session.splits
    return splits.train, splits.val, splits.test


def test_rows_without_a_label_are_left_out_and_groups_stay_together(features: probeline.Features) -> None:
    labels: list[str | None] = ["odd" if int(name) % 2 else "even" for name in names_of(features)]
    labels[5] = None
    groups = np.arange(60) // 2
    result = probeline.probe(features, labels, groups=groups)
    rows = [split.rows for split in split_of(result)]
    assert 5 not in np.concatenate(rows)
    assert sum(map(len, rows)) == 59
    test_groups = set(groups[rows[2]].tolist())
    assert not test_groups & set(groups[np.concatenate(rows[:2])].tolist())
    assert set(result.classes) == {"even", "odd"}


def test_several_seeds_are_one_result(features: probeline.Features) -> None:
    result = probeline.probe(features, method="probe-sgd", seeds=2, sgd=["epochs=1", "lr=1e-3"])
    assert [score.seed for score in result.scores] == [0, 1]
    assert result.top1 == pytest.approx(np.mean([score.top1 for score in result.scores]))
    assert {"prediction_seed0", "prediction_seed1"} < set(result.to_frame().columns)


def test_labels_sort_as_numbers_if_they_are(features: probeline.Features) -> None:
    numbers = features.labels * 5
    result = probeline.probe(features.numpy(), numbers)
    assert list(result.classes) == [str(5 * number) for number in range(10)]


BAD_CALLS: list[tuple[str, type[Exception], str]] = [
    ("probeline.probe(X)", BadOption, "no labels"),
    ("probeline.probe(X, y[:-1])", BadData, "labels and images differ in number"),
    ("probeline.probe(X, y + 0.5)", BadData, "numbers that are not whole"),
    ("probeline.probe(X[:, 0], y)", BadData, "bad features"),
    ("probeline.probe(np.where(X > 0, np.nan, X), y)", BadData, "rows with others"),
    ("probeline.probe(X, y, test=1.5)", BadOption, "bad test"),
    ("probeline.probe(X, y, test=[60])", BadOption, "bad test"),
    ("probeline.probe(X, y, test=[1, 2], val=[2, 3])", BadOption, "bad rows of val"),
    ("probeline.probe(X, y, test=[1], groups=[0] * 60)", BadOption, "separates rows of a group"),
    ("probeline.probe(X, y, method='nonsense')", UnknownName, "nonsense"),
    ("probeline.probe(X, y, nonsense=1)", TypeError, "nonsense"),
    ("probeline.extract('digits', 'nonsense')", UnknownName, "nonsense"),
    ("probeline.extract('digits', nonsense=1)", TypeError, "nonsense"),
    ("probeline.extract('digits', ['resnet18', 'resnet50'])", BadOption, "one backbone at a time"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD_CALLS, ids=[call for call, *_ in BAD_CALLS])
def test_bad_arguments_are_refused(call: str, error: type[Exception], message: str) -> None:
    rng = np.random.default_rng(0)
    scope = {"probeline": probeline, "np": np, "X": rng.normal(size=(60, 4)), "y": np.arange(60) % 3}
    with pytest.raises(error, match=message):
        eval(call, scope)  # noqa: S307 - the calls above
