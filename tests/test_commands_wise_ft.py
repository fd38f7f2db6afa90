"""WiSE-FT: the line from the probe's net to the fine-tuned one, its ends, the choice on val, and what is kept of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy.special import logsumexp
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from threadpoolctl import threadpool_limits
from torch import Tensor

from probeline.commands import export, finetune, lrfind
from probeline.console import Bar
from probeline.data.pixels.decode import decode, resize_crop
from probeline.errors import BadOption, Diverged
from probeline.export.format import HEAD, WEIGHTS
from probeline.finetuning.head import fresh_head, probe_head
from probeline.finetuning.requests import plan_jobs, selected_options, single_values
from probeline.finetuning.training.interpolation import WeightLine
from probeline.finetuning.training_run import prepare_training
from probeline.images import ImageFiles
from probeline.options.settings import Settings
from probeline.report.model.rows import blocks
from probeline.report.sections.scores.results import result_notes
from probeline.results.score import Score
from probeline.session import Session
from probeline.types import FloatArray, Split
from small_finetunes import NET, OTHER, options, run, timeless
from small_runs import Listening, watch_images

pytestmark = pytest.mark.usefixtures("one_thread")

BOTH = ("lp-ft", "wise-ft")
TRAINED: dict[str, Any] = {"epochs": 3, "lr": 0.003, "train": ("augment=none", "wise_steps=4")}
"""So that val prefers a net between the ends."""


class Counting(Listening):
    """A console that keeps the titles of all trainings."""

    def __init__(self) -> None:
        super().__init__()
        self.trainings: list[str] = []

    @contextmanager
    def bar(self, title: str, total: int, unit: str) -> Iterator[Bar]:
        self.trainings += [title] if title.startswith("finetune") else []
        with super().bar(title, total, unit) as bar:
            yield bar


def asked(world: Path, place: Path, tmp_path: Path, net: str = NET, **changes: Any) -> Settings:
    """Return settings with the features of a net in the cache, and own reports and checkpoints."""
    shutil.copytree(place / "cache", tmp_path / "cache", dirs_exist_ok=True)
    own = {} if net == NET else {"backbones": (net,), "weights": "none"}
    return options(world, tmp_path, **{**TRAINED, "strategies": BOTH, **own, **changes})


@pytest.fixture(scope="module", params=[NET, OTHER])
def first(
    request: pytest.FixtureRequest,
    world: Path,
    place: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Settings, dict[str, Score], Counting]]:
    """A finished run of both strategies on a net, the second with BatchNorm; leave it as it is."""
    console = Counting()
    settings = asked(world, place, tmp_path_factory.mktemp("wise"), request.param, console=console)
    with threadpool_limits(1):
        yield settings, run(settings), console


def kept_of(settings: Settings, score: Score) -> dict[str, Tensor]:
    (file,) = settings.folders.cache.rglob(f"*-{score.method}/seed0-{score.key[:12]}*/best.safetensors")
    return load_file(file)


def started(settings: Settings) -> tuple[torch.nn.Module, dict[str, Tensor]]:
    """Return the pretrained net with the probe as its head, and its tensors."""
    session = Session(settings)
    (job,) = plan_jobs(session.under(settings.changed(strategies=("lp-ft",))), [0])
    loaded = session.net_of(job.backbone)
    fresh_head(loaded.net, loaded.tap, 3, 0)
    probe_head(loaded.net, loaded.tap, *job.probe.layer)
    return loaded.net.eval(), {name: tensor.clone() for name, tensor in loaded.net.state_dict().items()}


def logits_of(settings: Settings, net: torch.nn.Module, state: dict[str, Tensor], split: Split) -> FloatArray:
    """Return the logits of a net with some tensors, float32 [n, 3], without anything of the trainer."""
    session = Session(settings)
    files = session.dataset.images[split.part]
    assert isinstance(files, ImageFiles)
    preprocess = session.backbone(settings.nets.backbones[0])[0].preprocess
    views = np.stack([resize_crop(decode(files.paths[row]), preprocess) for row in split.rows])
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (preprocess.mean, preprocess.std))
    net.load_state_dict(state)
    with torch.no_grad():
        logits: FloatArray = net((torch.from_numpy(views).permute(0, 3, 1, 2) / 255 - mean) / std).numpy()
    return logits


def between(start: dict[str, Tensor], end: dict[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """Return the interpolated tensors as the paper writes them, in float64 and then rounded."""
    return {
        name: ((1 - alpha) * start[name].double() + alpha * tensor.double()).float()
        if tensor.is_floating_point()
        else tensor
        for name, tensor in end.items()
    }


def test_the_ends_are_the_probe_s_net_and_the_fine_tuned_one(
    first: tuple[Settings, dict[str, Score], Counting],
) -> None:
    settings, scores, _ = first
    score, lp_ft = scores["wise-ft"], scores["lp-ft"]
    assert [point["alpha"] for point in score.path] == [0.0, 0.25, 0.5, 0.75, 1.0]
    best = lp_ft.history[lp_ft.chosen["epoch"] - 1]
    assert score.path[-1]["top1"] == best["val_top1"] == lp_ft.val_top1
    assert score.path[-1]["nll"] == best["val_loss"]
    assert score.path[-1]["test_top1"] == lp_ft.top1
    assert score.path[-1]["test_nll"] == lp_ft.raw_nll
    # The probe-started net before its first step, by the trainer that LP-FT has.
    session = Session(settings)
    (job,) = plan_jobs(session.under(settings.changed(strategies=("lp-ft",))), [0])
    training = prepare_training(job, single_values(selected_options(job), "test"))
    y_val, y_test = (session.dataset.parts[s.part].labels[s.rows] for s in (session.splits.val, session.splits.test))
    val = training.predict(session.splits.val, training.feeds.val).main
    test = training.predict(session.splits.test, training.feeds.test).main
    assert score.path[0]["top1"] == (val.argmax(1) == y_val).mean()
    assert score.path[0]["test_top1"] == (test.argmax(1) == y_test).mean()
    loss = torch.nn.functional.cross_entropy(torch.from_numpy(val), torch.from_numpy(y_val))
    assert score.path[0]["nll"] == float(loss)


def test_every_point_is_what_the_paper_s_formula_gives(first: tuple[Settings, dict[str, Score], Counting]) -> None:
    settings, scores, _ = first
    session = Session(settings)
    net, start = started(settings)
    end = kept_of(settings, scores["lp-ft"])
    assert end.keys() == start.keys()
    for point in scores["wise-ft"].path:
        state = between(start, end, point["alpha"])
        for split, prefix in ((session.splits.val, ""), (session.splits.test, "test_")):
            logits = logits_of(settings, net, state, split)
            truth = session.dataset.parts[split.part].labels[split.rows]
            assert point[f"{prefix}top1"] == pytest.approx(accuracy_score(truth, logits.argmax(1)))
            # sklearn's log_loss gives probabilities near zero a floor.
            losses = logsumexp(logits.astype(np.float64), axis=1) - logits[np.arange(len(truth)), truth]
            assert point[f"{prefix}nll"] == pytest.approx(losses.mean(), rel=1e-3)


def test_the_choice_is_the_best_on_val(first: tuple[Settings, dict[str, Score], Counting]) -> None:
    _, scores, console = first
    score = scores["wise-ft"]
    best = max(score.path, key=lambda point: (point["top1"], -point["nll"]))
    assert score.chosen == {"epoch": scores["lp-ft"].chosen["epoch"], "alpha": best["alpha"]}
    assert (score.val_top1, score.top1, score.raw_nll) == (best["top1"], best["test_top1"], best["test_nll"])
    assert score.optimism == max(point["test_top1"] for point in score.path) - score.top1
    assert score.history == scores["lp-ft"].history
    assert (score.trainable, score.total) == (scores["lp-ft"].trainable, scores["lp-ft"].total)
    assert score.warm_seconds > scores["lp-ft"].warm_seconds, "the training counts as well"
    assert score.options["wise_steps"] == 4
    line = f"test top-1 {score.top1:.4f}, alpha {best['alpha']:g} chosen by val (n={score.n_val}) in "
    assert sum(line in said for said in console.said) == 1
    (note,) = [note for note in result_notes(blocks(scores.values())) if "alpha 0" in note]
    assert note.startswith("WiSE-FT on ")
    assert f"{100 * score.path[0]['top1']:.1f} % at alpha 0, the probe's net" in note


def test_val_prefers_a_net_between_the_ends(first: tuple[Settings, dict[str, Score], Counting]) -> None:
    """Else the tests of exported and kept nets would be of an end."""
    if first[0].nets.backbones == (NET,):
        assert 0 < first[1]["wise-ft"].chosen["alpha"] < 1


def test_what_is_kept_is_the_chosen_net(first: tuple[Settings, dict[str, Score], Counting]) -> None:
    settings, scores, _ = first
    score = scores["wise-ft"]
    kept, end = kept_of(settings, score), kept_of(settings, scores["lp-ft"])
    _, start = started(settings)
    for name, tensor in between(start, end, score.chosen["alpha"]).items():
        # The difference, its product with alpha and the sum round once each.
        bound = 3 * 2.0**-24 * (start[name].abs() + end[name].abs()).double()
        assert ((kept[name].double() - tensor.double()).abs() <= bound).all(), name
    statistics = [name for name in kept if name.endswith(("running_mean", "running_var"))]
    assert bool(statistics) == (settings.nets.backbones == (OTHER,))
    assert all(not torch.equal(start[name], end[name]) for name in statistics)


def test_the_exported_net_is_the_chosen_one(first: tuple[Settings, dict[str, Score], Counting], tmp_path: Path) -> None:
    settings, scores, _ = first
    score = scores["wise-ft"]
    told = export.run(Session(settings.changed(method="wise-ft", out=tmp_path / "out")))
    assert (told["key"], told["top1"]) == (score.key, score.top1)
    kept, weights = kept_of(settings, score), load_file(tmp_path / "out" / WEIGHTS)
    assert all(torch.equal(tensor, kept[name]) for name, tensor in weights.items())
    head = load_file(tmp_path / "out" / HEAD)
    assert any(torch.equal(head["weight"], tensor) for name, tensor in kept.items() if name not in weights)


def test_a_finished_lp_ft_is_gone_on_from(
    first: tuple[Settings, dict[str, Score], Counting], world: Path, place: Path, tmp_path: Path
) -> None:
    settings, scores, console = first
    assert [title.rpartition(", ")[0].rpartition(", ")[2] for title in console.trainings] == ["lp-ft"]
    said = (
        f"finetune: folder--pictures x {settings.nets.backbones[0]}, wise-ft, seed 0: goes on from the finished lp-ft"
    )
    assert said in console.said
    alone = asked(world, place, tmp_path, settings.nets.backbones[0], strategies=("wise-ft",), console=Counting())
    found = run(alone)
    assert set(found) == {"wise-ft"}
    assert len(alone.console.trainings) == 1  # type: ignore[attr-defined]
    assert timeless(found["wise-ft"]) == timeless(scores["wise-ft"])
    names = sorted(path.name for path in alone.folders.cache.rglob("seed0-*/*"))
    assert names == ["best.json", "best.safetensors"], "the ends are not kept"
    (kept,) = alone.folders.cache.rglob("best.json")
    assert kept.parent.name.endswith(f"-alpha{scores['wise-ft'].chosen['alpha']:g}")


@pytest.mark.slow
def test_without_lp_ft_s_checkpoint_it_is_trained_anew(
    first: tuple[Settings, dict[str, Score], Counting], tmp_path: Path
) -> None:
    settings = replace(first[0], console=Counting())
    shutil.copytree(settings.folders.cache, tmp_path / "cache")
    for file in tmp_path.rglob("*-lp-ft/seed0-*/*"):
        file.unlink()
    shutil.copytree(settings.folders.reports, tmp_path / "reports")
    for file in tmp_path.rglob("wise-ft-*.json"):
        file.unlink()
    found = run(settings.changed(cache=tmp_path / "cache", reports=tmp_path / "reports"))
    assert timeless(found["wise-ft"]) == timeless(first[1]["wise-ft"])
    assert len(settings.console.trainings) == 1  # type: ignore[attr-defined]


def test_test_rows_are_read_after_the_choice(world: Path, place: Path, tmp_path: Path) -> None:
    session = Session(asked(world, place, tmp_path, strategies=("wise-ft",), workers=1))
    session.backbone(NET)
    order: list[int] = []
    finetune.run(watch_images(session, order.append))
    splits = session.splits
    test = set(splits.test.rows.tolist())
    first = next(place for place, row in enumerate(order) if row in test)
    epochs, points = 3, 5
    assert first == epochs * (len(splits.train) + len(splits.val)) + (points + 1) * len(splits.val)
    # Once for the chosen net, then for every point of the path.
    assert order[first:] == (1 + points) * splits.test.rows.tolist()


@pytest.mark.slow
def test_of_several_rates_the_best_lp_ft_is_gone_on_from(world: Path, place: Path, tmp_path: Path) -> None:
    train = ("augment=none", "wise_steps=2", "lr=1e-4,3e-2")
    scores = run(asked(world, place, tmp_path, train=train))
    score, lp_ft = scores["wise-ft"], scores["lp-ft"]
    assert score.path[:2] == lp_ft.path
    assert [(point["lr"], point["alpha"]) for point in score.path[2:]] == [
        (lp_ft.chosen["lr"], alpha) for alpha in (0, 0.5, 1)
    ]
    assert score.path[-1]["top1"] == lp_ft.val_top1
    assert (score.chosen["lr"], score.chosen["epoch"]) == (lp_ft.chosen["lr"], lp_ft.chosen["epoch"])
    export.run(Session(asked(world, place, tmp_path, train=train).changed(method="wise-ft", out=tmp_path / "out")))


def test_the_metric_that_selects_chooses_alpha(world: Path, place: Path, tmp_path: Path) -> None:
    settings = asked(world, place, tmp_path, metric="macro")
    score = run(settings)["wise-ft"]
    best = max(score.path, key=lambda point: (point["macro"], -point["nll"]))
    assert (score.chosen["alpha"], score.val_score, score.val_top1) == (best["alpha"], best["macro"], best["top1"])
    assert score.optimism == max(point["test_macro"] for point in score.path) - best["test_macro"]
    assert best["test_macro"] == pytest.approx(balanced_accuracy_score(score.labels, score.predictions))


def test_nets_that_are_not_finite_are_no_candidates(
    world: Path, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure: Callable[..., dict[str, float]] = WeightLine.measure

    def spoilt(line: WeightLine, alpha: float, *rest: Any) -> dict[str, float]:
        return measure(line, alpha, *rest) | ({"val_loss": float("nan"), "val_top1": 1.0} if alpha in bad else {})

    monkeypatch.setattr(WeightLine, "measure", spoilt)
    bad = {0.5}
    score = run(asked(world, place, tmp_path, strategies=("wise-ft",)))["wise-ft"]
    assert [point["alpha"] for point in score.path] == [0.0, 0.25, 0.75, 1.0]
    assert score.certificate["diverged"] == ["alpha 0.5"]
    bad = {0.0, 0.25, 0.5, 0.75, 1.0}
    with pytest.raises(Diverged, match="no net between probe and fine-tune has a finite loss"):
        run(asked(world, place, tmp_path, strategies=("wise-ft",), seed=1))


def test_it_extracts_the_probe_s_features(world: Path, tmp_path: Path) -> None:
    settings = options(world, tmp_path, strategies=("wise-ft",))
    assert run(settings)["wise-ft"].path
    assert list(settings.folders.cache.glob("*/*-penultimate/*/entry.json"))


def test_a_range_test_is_that_of_lp_ft(world: Path, place: Path, tmp_path: Path) -> None:
    settings = asked(world, place, tmp_path, batch_size=4, train=("augment=none", "wise_steps=7"))
    first, second = lrfind.run(Session(settings))
    assert (first["method"], second["method"]) == BOTH
    for name in ("steps", "ended", "steepest", "tenth"):
        assert first[name] == second[name]
    again = lrfind.run(Session(settings.changed(train=("augment=none", "wise_steps=3"))))
    assert again[1]["file"] == second["file"], "how alpha is chosen has no part in it"


@pytest.mark.parametrize("steps", ["0", "1001", "2.5"])
def test_bad_steps_are_refused(steps: str, world: Path, tmp_path: Path) -> None:
    with pytest.raises(BadOption, match=r"bad --train wise_steps \(expected whole numbers from 1 to 1000"):
        run(options(world, tmp_path, strategies=("wise-ft",), train=(f"wise_steps={steps}",)))
