"""The lrfind stage: it begins as fine-tuning does, keeps a record and nothing of the net, and runs once."""

from __future__ import annotations

import json
import math
import random
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_pre_hook

from probeline.cli import program as cli
from probeline.cli.parser import build_parser
from probeline.commands import compare, finetune, lrfind
from probeline.errors import BadData, CannotWrite
from probeline.finetuning.lr_range_test import request_range_test
from probeline.finetuning.requests import plan_jobs
from probeline.identity import TRAIN_VERSION
from probeline.metrics.lr_range import EARLY, rising
from probeline.options.settings import Settings
from probeline.report.records.loading import load_range_tests
from probeline.report.records.range_tests import round_rate, suggest_rates
from probeline.results.owner import FILE as OWNER
from probeline.results.range_test import RANGE_TESTS, RangeTest
from probeline.session import Session
from small_finetunes import options as finetune_options
from small_runs import Listening

NET = "squeezenet1_1"
PLACE = f"folder--pictures x {NET}"

pytestmark = pytest.mark.usefixtures("one_thread")


def options(world: Path, place: Path, **changes: Any) -> Settings:
    return finetune_options(world, place, **{"strategies": ("full",), "epochs": 10, "batch_size": 4, **changes})


def run(settings: Settings) -> list[RangeTest]:
    session = Session(settings)
    lrfind.run(session)
    tests, ignored = RANGE_TESTS.load(session.reports)
    assert not ignored
    return tests


def timeless(test: RangeTest) -> RangeTest:
    return replace(test, seconds=0.0)


@pytest.fixture
def no_step() -> Iterator[None]:
    """Fail where an optimizer takes a step."""
    hook = register_optimizer_step_pre_hook(lambda *_: pytest.fail("a step is taken"))
    yield
    hook.remove()


@pytest.fixture
def own_pictures(world: Path, tmp_path: Path) -> Path:
    """A world whose pictures a test may change."""
    shutil.copytree(world / "pictures", tmp_path / "world" / "pictures")
    shutil.copy2(world / "squeezed.safetensors", tmp_path / "world")
    return tmp_path / "world"


@pytest.fixture(scope="module")
def first(world: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, RangeTest, list[str]]:
    """A finished test and what was said; leave it as it is."""
    console = Listening()
    settings = options(world, tmp_path_factory.mktemp("first"), console=console)
    (test,) = run(settings)
    return settings, test, console.said


# What it gives


def test_a_record_says_what_was_done(first: tuple[Settings, RangeTest, list[str]]) -> None:
    settings, test, _ = first
    session = Session(settings)
    assert (test.dataset, test.backbone, test.weights) == (session.dataset.name, NET, "squeezed.safetensors")
    assert (test.method, test.precision, test.image_size, test.seed) == ("finetune", "fp32", 32, 0)
    assert test.splits == session.splits_sha256
    assert test.n_train == len(session.splits.train)
    assert RANGE_TESTS.path(session.reports, NET, "finetune", test.key).is_file()
    assert (session.reports / "lr") == settings.folders.reports / "folder--pictures" / "lr"
    assert list(test.rates) == rising()[: len(test.losses)]
    assert len(test.losses) > EARLY
    assert all(map(math.isfinite, test.losses))
    # A fresh head on three classes says nothing yet, and the first rates change nothing.
    assert test.losses[0] == pytest.approx(math.log(3), abs=0.3)
    assert test.options["version"] == TRAIN_VERSION
    assert test.options["rates"] == [1e-6, 10.0, 100]
    assert (test.options["optimizer"], test.options["body"], test.options["batch_size"]) == ("adamw", 0.1, 4)
    assert not {"lr", "epochs", "schedule", "warmup", "patience"} & set(test.options)
    assert test.environment["device"] == "CPU"


def test_nothing_of_the_net_is_kept(first: tuple[Settings, RangeTest, list[str]]) -> None:
    settings, test, _ = first
    files = sorted(path.name for path in settings.folders.cache.rglob("*") if path.is_file())
    assert files == [".memo-hashes.jsonl", ".memo.json"]
    written = [path for path in settings.folders.reports.rglob("*") if path.is_file() and path.name != OWNER]
    assert written == [settings.folders.reports / "folder--pictures" / "lr" / f"{NET}-finetune-{test.key[:12]}.json"]


@pytest.mark.slow
def test_both_rates_and_the_next_command_are_printed(world: Path, tmp_path: Path) -> None:
    console = Listening()
    words = ("optimizer=sgd", "lr=1e-4,1e-3", "augment=none")
    settings = options(world, tmp_path, console=console, strategies=("head", "last-1"), train=words)
    outcomes = lrfind.run(Session(settings))
    tests = {test.method: test for test in RANGE_TESTS.load(Session(settings).reports)[0]}
    assert [outcome["method"] for outcome in outcomes] == list(tests) == ["head", "last-1"]
    for outcome in outcomes:
        test = tests[outcome["method"]]
        assert (outcome["steps"], outcome["ended"]) == (len(test.losses), test.ended)
        suggestion = suggest_rates(test)
        assert suggestion is not None
        assert (outcome["steepest"], outcome["tenth"]) == (suggestion.steepest, suggestion.tenth)
        steepest, tenth = (f"{float(f'{value:.2g}'):g}" for value in (suggestion.steepest, suggestion.tenth))
        title = f"lrfind: {PLACE}, {test.method}, seed 0: {len(test.losses)} steps in "
        (line,) = [line for line in console.said if line.startswith(title)]
        assert f"; the loss falls fastest at lr {steepest} and is lowest at lr " in line
        assert line.endswith(f", a tenth of which is {tenth}")
    commands = [line.removeprefix("lrfind: next: ") for line in console.said if "next: " in line]
    assert commands == [outcome["next"] for outcome in outcomes]
    program, *arguments = shlex.split(commands[1])
    assert program == "probeline"
    parsed = build_parser().parse_args(arguments)
    assert (parsed.verb, parsed.backbones, parsed.strategies) == ("finetune", [NET], ["last-1"])
    assert (parsed.lr, parsed.train) == (round_rate(outcomes[1]["steepest"]), ["optimizer=sgd", "augment=none"])


def test_no_rate_is_suggested_if_the_loss_never_falls(own_pictures: Path, tmp_path: Path) -> None:
    for number, path in enumerate(sorted((own_pictures / "pictures").rglob("*.png"))):
        image = Image.new("RGB", (40, 44), (90, 90, 90))
        image.putpixel((0, 0), (90, 90, number))  # a net learns nothing from it, and no two files are the same
        image.save(path)
    console = Listening()
    words: dict[str, Any] = {"strategies": ("head",), "train": ("augment=none",), "batch_size": 2}
    settings = options(own_pictures, tmp_path, console=console, **words)
    (outcome,) = lrfind.run(Session(settings))
    assert (outcome["steepest"], outcome["tenth"], outcome["next"]) == (None, None, None)
    assert console.said[-1].endswith("the loss never falls beyond its scatter: no rate is suggested")
    assert not any("next:" in line for line in console.said)


def test_a_real_training_suggests_rates_between_its_ends(first: tuple[Settings, RangeTest, list[str]]) -> None:
    _, test, said = first
    place = suggest_rates(test)
    assert place is not None
    # A step of Adam moves a weight by about the rate: below 1e-5 a hundred steps change nothing, from 1 on all is lost.
    assert 1e-5 < place.steepest < 1
    assert said[-1].startswith("lrfind: next: probeline finetune ")


# What it begins with and reads


def test_its_first_step_is_that_of_fine_tuning(world: Path, tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    first_steps: list[tuple[list[Tensor | None], list[dict[str, Any]], bool]] = []

    def stop(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        groups = optimizer.param_groups
        tensors = [tensor for group in groups for weight in group["params"] for tensor in (weight.data, weight.grad)]
        facts = [{name: group[name] for name in ("stage", "peak", "weight_decay", "momentum")} for group in groups]
        first_steps.append((tensors, facts, torch.backends.cuda.matmul.fp32_precision == "tf32"))
        raise Stop

    words = ("decay=0.5", "optimizer=sgd", "label_smoothing=0.1", "clip=1", "dropout=0.4", "accumulate=2")
    hook = register_optimizer_step_pre_hook(stop)
    try:
        for strategy in ("full", "scratch", "last-1"):
            settings = options(world, tmp_path, strategies=(strategy,), seed=3, precision="tf32", train=words, lr=0.25)
            for stage in (finetune, lrfind):
                with pytest.raises(Stop):
                    stage.run(Session(settings))
            fitted, tested = first_steps[-2:]
            for tensor, same in zip(fitted[0], tested[0], strict=True):
                assert (tensor is None) == (same is None)
                assert tensor is None or same is None or torch.equal(tensor, same)
            # A peak rate of 1, so that a group's rate is its share.
            assert fitted[1] == [{**facts, "peak": 0.25 * facts["peak"]} for facts in tested[1]]
            assert tested[1][0]["peak"] == 1.0
            assert fitted[2], "tf32 is on while it runs"
            assert tested[2], "tf32 is on while it runs"
    finally:
        hook.remove()


def test_train_rows_alone_are_read(own_pictures: Path, tmp_path: Path) -> None:
    session = Session(options(own_pictures, tmp_path, strategies=("head",)))
    splits, part = session.splits, session.dataset.parts["all"]
    train, *others = ([part.sample_ids[row] for row in split.rows] for split in (splits.train, splits.val, splits.test))
    for name in [name for names in others for name in names]:
        (own_pictures / "pictures" / name).unlink()
    assert len(lrfind.run(session)) == 1
    shutil.rmtree(session.reports)
    (own_pictures / "pictures" / train[-1]).unlink()
    with pytest.raises(BadData, match=train[-1]):
        lrfind.run(session)


def test_frozen_stages_feed_it_too(own_pictures: Path, tmp_path: Path) -> None:
    settings = options(own_pictures, tmp_path, strategies=("head",), train=("augment=none",))
    finetune.run(Session(settings.changed(epochs=1)))
    session = Session(settings)
    assert len(session.dataset.parts["all"].content) == 42
    shutil.rmtree(own_pictures / "pictures")  # no pixel is read
    lrfind.run(session)
    (test,), _ = RANGE_TESTS.load(session.reports)
    assert suggest_rates(test) is not None


def test_lp_ft_extracts_the_embeddings_that_it_starts_from(world: Path, tmp_path: Path) -> None:
    settings = options(world, tmp_path, strategies=("lp-ft",))
    run(settings)
    assert list(settings.folders.cache.glob("*/*-penultimate/*/entry.json"))


@pytest.mark.slow
def test_a_damaged_record_is_made_again_the_same_and_global_random_states_stay(
    tmp_path: Path, first: tuple[Settings, RangeTest, list[str]]
) -> None:
    console = Listening()
    settings = replace(copy_of(first, tmp_path), console=console)
    (path,) = settings.folders.reports.rglob("*.json")
    path.write_bytes(path.read_bytes().replace(b'"seed":0', b'"seed":1'))
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # type: ignore[index]  # noqa: NPY002
    (again,) = run(settings.changed(workers=1))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]  # type: ignore[index]  # noqa: NPY002
    assert random.getstate() == before[2]
    assert timeless(again) == timeless(first[1])
    line = f"lrfind: {PLACE}, finetune, seed 0: recomputed, as {path.name} is damaged"
    assert any(said.startswith(line) for said in console.said)


@pytest.mark.slow
def test_the_seed_decides(world: Path, tmp_path: Path, first: tuple[Settings, RangeTest, list[str]]) -> None:
    (other,) = run(options(world, tmp_path, seed=1, seeds=3))
    assert other.seed == 1, "the first seed alone"
    assert other.losses[0] != first[1].losses[0]


# Once


@pytest.mark.usefixtures("no_step")
def test_a_second_run_tests_nothing_and_writes_nothing(first: tuple[Settings, RangeTest, list[str]]) -> None:
    console = Listening()
    settings, test, said = first
    folders = (settings.folders.cache, settings.folders.reports)
    before = {path: path.stat().st_mtime_ns for folder in folders for path in folder.rglob("*")}
    assert run(replace(settings, console=console)) == [test]
    assert {path: path.stat().st_mtime_ns for folder in folders for path in folder.rglob("*")} == before
    suggestion = said[-2].partition("; ")[2]
    assert console.said == [f"lrfind: {PLACE}, finetune, seed 0: already tested, skipped; {suggestion}", said[-1]]


SECOND = """
import sys
from probeline.cli.program import main
words = sys.argv[1:]
training = words.index("--batch-size")
assert main(["lrfind", *words]) == 0
assert main(["compare", *words[:training]]) == 0
heavy = {"torch", "torchvision", "safetensors", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
"""


def copy_of(first: tuple[Settings, RangeTest, list[str]], place: Path) -> Settings:
    """Return settings whose folders hold the finished test, to be changed."""
    for name in ("cache", "reports"):
        shutil.copytree(getattr(first[0].folders, name), place / name)
    return first[0].changed(cache=place / "cache", reports=place / "reports")


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_a_second_run_and_a_second_report_import_neither_torch_nor_matplotlib(
    tmp_path: Path, first: tuple[Settings, RangeTest, list[str]]
) -> None:
    settings = copy_of(first, tmp_path)
    words = ["--dataset", settings.data.dataset, "--backbone", NET, "--weights", settings.nets.weights]
    words += ["--strategy", "full", "--image-size", "32"]
    words += ["--cache", str(settings.folders.cache), "--reports", str(settings.folders.reports)]
    assert cli.main(["compare", *words]) == 0
    words += ["--batch-size", "4", "--workers", "2", "--device", "cpu"]
    done = subprocess.run([sys.executable, "-c", SECOND, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "seed 0: already tested, skipped; the loss falls fastest at lr " in done.stdout
    assert "the report is up to date" in done.stdout


@pytest.mark.usefixtures("no_step")
def test_what_cannot_be_written_is_said_before_a_step(world: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CannotWrite):
        run(options(world, tmp_path, reports=tmp_path / "file"))


# Keys


def key(settings: Settings) -> str:
    """Return the key of a test, without a step."""
    return request_range_test(next(plan_jobs(Session(settings), [settings.fitting.seed]))).key


@pytest.mark.parametrize(
    ("changes", "changed"),
    [
        ({"train": ("optimizer=sgd",)}, True),
        ({"train": ("body=1",)}, True),
        ({"train": ("augment=none",)}, True),
        ({"train": ("accumulate=2",)}, True),
        ({"batch_size": 8}, True),
        ({"seed": 1}, True),
        ({"data_seed": 1}, True),
        ({"limit": 24}, True),
        ({"image_size": 40}, True),
        ({"precision": "bf16"}, True),
        ({"freeze_batchnorm": True}, True),
        ({"weights": "none"}, True),
        ({"strategies": ("head",)}, True),
        ({"lr": 0.5}, False),
        ({"epochs": 3}, False),
        ({"seeds": 3}, False),
        ({"train": ("lr=1e-4,1e-3", "schedule=step", "warmup=2", "patience=1")}, False),
        ({"workers": 1}, False),
        ({"device": "auto"}, False),
        ({"reports": Path("elsewhere")}, False),
    ],
    ids=lambda value: ", ".join(f"{k}={v}" for k, v in value.items()) if isinstance(value, dict) else None,
)
def test_a_key_changes_with_what_changes_the_losses(
    changes: dict[str, Any],
    changed: bool,
    first: tuple[Settings, RangeTest, list[str]],
) -> None:
    assert (key(first[0].changed(**changes)) != first[1].key) == changed


def test_epochs_matter_where_they_say_what_is_trained_first(first: tuple[Settings, RangeTest, list[str]]) -> None:
    gradual = first[0].changed(strategies=("gradual",))
    keys = {key(gradual.changed(**changes)) for changes in ({}, {"epochs": 1}, {"unfreeze": (0, 2)})}
    assert len(keys) == 3


# The report


def test_compare_tables_and_draws_the_tests_of_these_splits(
    tmp_path: Path, first: tuple[Settings, RangeTest, list[str]]
) -> None:
    settings = first[0].changed(reports=tmp_path / "reports", strategies=("full", "scratch"))
    session, test = Session(settings), first[1]
    full = RANGE_TESTS.save(session.reports, test)
    scratch = RANGE_TESTS.save(session.reports, replace(test, method="scratch", weights="none", key="4" * 64))
    elsewhere = replace(test, splits="0" * 64, key="1" * 64)
    earlier = replace(test, options={**test.options, "version": TRAIN_VERSION - 1}, key="2" * 64)
    level = replace(test, losses=(1.0,) * len(test.losses), options={**test.options, "optimizer": "sgd"}, key="3" * 64)
    for other in (elsewhere, earlier, level):
        RANGE_TESTS.save(session.reports, other)
    scratch.write_bytes(scratch.read_bytes()[:-9])
    console = Listening()
    told = compare.run(Session(replace(settings, console=console)))
    assert f"compare: left out {scratch}: is damaged: its bytes are not those its sha256 was taken of" in console.said
    assert "compare: left out 1 range tests of other rows or labels" in console.said
    assert "compare: left out 1 range tests of an earlier version of training" in console.said
    text = Path(str(told["report"])).read_text(encoding="utf-8")
    section = text.partition("## Learning-rate range tests")[2].partition("##")[0]
    names = [f"{NET}, full fine-tune, optimizer {optimizer}" for optimizer in ("adamw", "sgd")]
    assert [line.split("|")[1].strip() for line in section.splitlines() if line.startswith(f"| {NET}")] == names
    assert "No rate: the loss never falls beyond its scatter" in section
    assert "![range-tests](figures/range-tests.png)" in text
    assert "- **Learning-rate range tests**:" in text
    record = json.loads(Path(str(told["json"])).read_text(encoding="utf-8"))
    place = suggest_rates(test)
    assert place is not None
    assert [one["title"] for one in record["range_tests"]] == names
    assert [one["steepest"] for one in record["range_tests"]] == [place.steepest, None]
    assert record["range_tests"][0]["tenth"] == place.tenth
    assert full.name.endswith(f"{record['range_tests'][0]['key'][:12]}.json")


def test_of_equal_tests_the_newest_is_shown(tmp_path: Path, first: tuple[Settings, RangeTest, list[str]]) -> None:
    session, test = Session(first[0].changed(reports=tmp_path / "reports")), first[1]
    RANGE_TESTS.save(session.reports, test)
    newer = replace(test, options={**test.options, "weights": "0" * 12}, key="1" * 64)
    RANGE_TESTS.save(session.reports, newer)
    assert load_range_tests(session) == [newer]
