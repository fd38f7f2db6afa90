"""Learning curves of trainings: on the probe's parts, each from its beginning, gone on with when interrupted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from probeline.commands import compare, curve, extract
from probeline.console import Bar
from probeline.errors import BadOption
from probeline.evaluate.curve import draw_portions, find_curve
from probeline.finetuning.curve import request_training_curve
from probeline.options.settings import Settings
from probeline.results.curve import CURVES, Curve, CurvePoint
from probeline.session import Session
from small_finetunes import NET, options
from small_runs import Listening

pytestmark = pytest.mark.usefixtures("one_thread")

SMALL: dict[str, Any] = {"fractions": (40.0, 100.0), "shots": (0,), "draws": 2, "epochs": 2, "limit": 24}


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


class Interrupting(Listening):
    """A console that keeps the title and size of each training, and ends one after so many of its images."""

    def __init__(self, title: str = "nothing", images: int = 0) -> None:
        super().__init__()
        self.title, self.images = title, images
        self.trainings: list[tuple[str, int]] = []

    @contextmanager
    def bar(self, title: str, total: int, unit: str) -> Iterator[Bar]:  # noqa: ARG002
        if title.endswith(" images"):
            self.trainings.append((title.rpartition(", ")[2], total))
        done, ends = 0, title.endswith(self.title)

        class Counter:
            def update(_, n: int) -> None:  # noqa: N805
                nonlocal done
                done += n
                if ends and done > self.images:
                    raise KeyboardInterrupt

        yield Counter()


def test_each_part_is_trained_on_with_a_seed_of_its_draw(
    world: Path, tmp_path: Path, first: tuple[Settings, dict[str, Curve]]
) -> None:
    sizes = [point.n_train for point in first[1]["finetune"].points]
    console = Interrupting(f"{sizes[2]} images")
    settings = small(world, tmp_path, seed=5, console=console)
    with pytest.raises(KeyboardInterrupt):
        made(settings)
    assert [images for images, _ in console.trainings] == [f"{size} images" for size in sizes]
    assert [total for _, total in console.trainings] == [2 * size for size in sizes]
    seeds = [path.parent.name.partition("-")[0] for path in settings.folders.cache.rglob("last.safetensors")]
    assert sorted(seeds) == ["seed5", "seed6"]
    parts = draw_portions(Session(settings))
    assert parts[0].rows.tolist() != parts[1].rows.tolist()


def test_a_second_run_trains_nothing(first: tuple[Settings, dict[str, Curve]]) -> None:
    console = Interrupting(" images", 0)
    before = {path: path.stat().st_mtime_ns for path in first[0].folders.reports.rglob("*.json")}
    assert made(replace(first[0], console=console)) == first[1]
    assert console.trainings == []
    assert sum(line.endswith("already computed, skipped") for line in console.said) == 4
    assert {path: path.stat().st_mtime_ns for path in first[0].folders.reports.rglob("*.json")} == before


@pytest.mark.slow
def test_an_interrupted_curve_goes_on(world: Path, tmp_path: Path, first: tuple[Settings, dict[str, Curve]]) -> None:
    part, other, whole = (point.n_train for point in first[1]["finetune"].points)
    assert part == other
    # The last epoch of three trainings of two epochs is interrupted.
    with pytest.raises(KeyboardInterrupt):
        made(small(world, tmp_path, console=Interrupting(f"{whole} images", whole)))
    console = Interrupting()
    assert made(small(world, tmp_path, console=console))["finetune"].points == first[1]["finetune"].points
    assert [total for _, total in console.trainings] == [0, 0, whole], "five of six epochs are not run again"


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
    changes: dict[str, Any], other: bool, first: tuple[Settings, dict[str, Curve]]
) -> None:
    session = Session(first[0].changed(**changes))
    request = request_training_curve(session, session.backbone(NET)[0], "full", draw_portions(session))
    assert (find_curve(session, request) is None) == other


@pytest.mark.slow
def test_few_parameters_and_lines_of_nets_have_curves(world: Path, tmp_path: Path) -> None:
    strategies = ("bitfit", "lora", "lp-ft", "wise-ft")
    changes = {"fractions": (50.0, 100.0), "draws": 1, "curve_strategies": strategies, "lr": 0.003}
    settings = small(world, tmp_path, **changes, train=("augment=none", "wise_steps=4"))
    curves = made(settings)
    assert set(curves) == {"probe", *strategies}
    for method in strategies:
        assert places(curves[method].points) == places(curves["probe"].points)
    # The end of the line is the net of LP-FT, so that val finds none worse.
    for wise, lp_ft in zip(curves["wise-ft"].points, curves["lp-ft"].points, strict=True):
        assert wise.val_top1 >= lp_ft.val_top1
        assert wise.epoch == lp_ft.epoch
    assert curves["wise-ft"].options["wise_steps"] == 4
    assert curves["lora"].options["lora_r"] == 8
    assert not list(settings.folders.cache.rglob("*.safetensors")), "no net is kept of a curve"
