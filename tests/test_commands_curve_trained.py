"""Learning curves of trainings: on the probe's parts, each from its beginning, gone on with when interrupted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from probeline.commands import compare, curve, extract
from probeline.errors import BadOption
from probeline.finetune.training.trainer import Trainer
from probeline.options.settings import Settings
from probeline.results.curve import CURVES, Curve, CurvePoint
from probeline.session import Session
from probeline.types import IntArray
from small_finetunes import options
from small_runs import Listening

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL: dict[str, Any] = {"fractions": (40.0, 100.0), "shots": (0,), "draws": 2, "epochs": 2}


def made(settings: Settings) -> dict[str, Curve]:
    session = Session(settings)
    extract.run(session)
    curve.run(session)
    found, ignored = CURVES.load(session.reports)
    assert not ignored
    return {one.method: one for one in found}


def small(world: Path, place: Path, **changes: Any) -> Settings:
    return options(world, place, **{**SMALL, "curve_strategies": ("full",), **changes})


def places(points: tuple[CurvePoint, ...]) -> list[tuple[str, float, int, int]]:
    return [(one.kind, one.amount, one.draw, one.n_train) for one in points]


@pytest.fixture(scope="module")
def first(world: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, dict[str, Curve]]:
    """A finished run of the probe's curve and two trainings'; leave it as it is."""
    settings = small(world, tmp_path_factory.mktemp("curves"), curve_strategies=("full", "lp-ft", "scratch"))
    return settings, made(settings)


def test_a_training_has_the_points_of_the_probe(first: tuple[Settings, dict[str, Curve]]) -> None:
    settings, curves = first
    assert set(curves) == {"probe", "finetune", "lp-ft", "scratch"}
    for method, one in curves.items():
        assert places(one.points) == places(curves["probe"].points)
        assert (one.points[0].l2 is None) == (method != "probe")
        assert all((point.epoch in (1, 2)) == (method != "probe") for point in one.points)
        assert one.splits == Session(settings).splits_sha256
    assert curves["finetune"].options["epochs"] == 2
    assert curves["scratch"].weights == "none"
    assert not list(settings.folders.cache.rglob("*.safetensors")), "no net is kept of a curve"


def test_each_part_is_trained_on_with_a_seed_of_its_draw(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, IntArray]] = []
    fit = Trainer.fit

    def watched(trainer: Trainer, train: IntArray, *given: Any, **named: Any) -> Any:
        seen.append((trainer.options.seed, train))
        return fit(trainer, train, *given, **named)

    monkeypatch.setattr(Trainer, "fit", watched)
    settings = small(world, tmp_path, seed=5)
    one = made(settings)["finetune"]
    train = Session(settings).splits.train.rows
    assert [seed for seed, _ in seen] == [5, 6, 5]
    assert [len(rows) for _, rows in seen] == [point.n_train for point in one.points]
    assert set(seen[0][1]) != set(seen[1][1])
    assert set(seen[0][1]) < set(train)
    assert np.array_equal(seen[2][1], train)


def test_a_second_run_trains_nothing(first: tuple[Settings, dict[str, Curve]], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(Trainer, "fit", refuse)
    console = Listening()
    assert made(replace(first[0], console=console)) == first[1]
    assert sum(line.endswith("already computed, skipped") for line in console.said) == 4


def test_an_interrupted_curve_goes_on(
    world: Path, tmp_path: Path, first: tuple[Settings, dict[str, Curve]], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = small(world, tmp_path)
    epoch = Trainer.run_epoch
    ran = 0

    def stop(trainer: Trainer, *given: Any) -> Any:
        nonlocal ran
        ran += 1
        if ran == 4:
            raise KeyboardInterrupt
        return epoch(trainer, *given)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "run_epoch", stop)
        with pytest.raises(KeyboardInterrupt):
            made(settings)
        assert made(settings)["finetune"].points == first[1]["finetune"].points
    assert ran == 4 + 3, "three of six epochs are not run again"


@pytest.mark.usefixtures("undrawn")
def test_the_report_says_where_training_overtakes_the_probe(first: tuple[Settings, dict[str, Curve]]) -> None:
    compare.run(Session(first[0]))
    text = next(first[0].folders.reports.rglob("report.md")).read_text(encoding="utf-8")
    assert "squeezenet1_1, full fine-tune" in text
    assert "above the linear probe" in text
    assert "Each draw of a training has its own seed" in text


def test_a_curve_chooses_no_learning_rate(world: Path, tmp_path: Path) -> None:
    with pytest.raises(
        BadOption, match=r"curve does not choose between values of lr: --train lr \(expected a single value, got 2"
    ):
        made(small(world, tmp_path, train=("lr=1e-3,1e-2",)))


@pytest.mark.parametrize(
    ("changes", "other"),
    [({"epochs": 3}, True), ({"seed": 1}, True), ({"fractions": (50.0, 100.0)}, True), ({"workers": 1}, False)],
)
def test_what_changes_the_numbers_is_another_curve(
    changes: dict[str, Any], other: bool, first: tuple[Settings, dict[str, Curve]], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Trained(Exception):
        pass

    def stop(*_: Any, **__: Any) -> None:
        raise Trained

    monkeypatch.setattr(Trainer, "fit", stop)
    session = Session(first[0].changed(**changes))
    if other:
        with pytest.raises(Trained):
            curve.run(session)
    else:
        curve.run(session)
