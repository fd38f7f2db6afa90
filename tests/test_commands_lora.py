"""Fine-tuning by adapters and by biases on the command line: scores, keys, checkpoints, exports and what is refused."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from threadpoolctl import threadpool_limits

from probeline.cli.program import main
from probeline.commands import compare, export, finetune, lrfind
from probeline.errors import BadOption, MissingExtra
from probeline.export.format import HEAD, WEIGHTS
from probeline.finetuning.requests import plan_jobs
from probeline.options.settings import Settings
from probeline.report.model.content import ReportContent
from probeline.report.model.rows import blocks
from probeline.report.sections.glossary import Glossary
from probeline.report.sections.scores.results import result_notes
from probeline.results.members import AdapterFacts
from probeline.results.score import SCORES, Score
from probeline.session import Session
from small_finetunes import NET, OTHER, SQUEEZENET, keys, options, run, timeless
from small_runs import Listening, Stopping

pytestmark = pytest.mark.usefixtures("one_thread")

FIRES = [(64, 16, 64), (128, 16, 64), (128, 32, 128), (256, 32, 128), (256, 48, 192), (384, 48, 192), (384, 64, 256)]
FIRES += [(512, 64, 256)]
"""Of SqueezeNet 1.1: channels that a fire takes, that it squeezes them to, and of each of its two expansions."""
CONVOLUTIONS = [(64, 3 * 9)] + [
    matrix for taken, few, many in FIRES for matrix in ((few, taken), (many, few), (many, few * 9))
]
"""[out, in h w] of all below the head."""
BIASES = 64 + sum(few + 2 * many for _, few, many in FIRES)
HEAD_SIZE = 513 * 3


def adapter_size(rank: int) -> int:
    return rank * sum(rows + columns for rows, columns in CONVOLUTIONS)


@pytest.fixture(scope="module")
def first(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, dict[str, Score], Any]]:
    """A finished run of both strategies, and what it said; leave it as it is."""
    console = Listening()
    settings = options(world, tmp_path_factory.mktemp("few"), strategies=("bitfit", "lora"), console=console)
    with threadpool_limits(1):
        yield settings, run(settings), console


def test_scores_count_what_was_trained(first: tuple[Settings, dict[str, Score], Listening]) -> None:
    _, scores, console = first
    assert set(scores) == {"bitfit", "lora"}
    assert scores["bitfit"].trainable == BIASES + HEAD_SIZE
    assert scores["lora"].trainable == adapter_size(8) + HEAD_SIZE
    assert all(score.total == SQUEEZENET for score in scores.values()), "adapters are merged"
    facts = AdapterFacts(8, 0, len(CONVOLUTIONS), 0, 0, 0, adapter_size(8))
    assert scores["lora"].certificate["adapters"] == vars(facts)
    assert "adapters" not in scores["bitfit"].certificate
    words = f"adapters of rank 8 on 25 convolutions, {adapter_size(8):,} parameters"
    line = f"finetune: folder--pictures x {NET}, lora, seed 0: {words}"
    assert console.said.count(line) == 1
    assert [note for note in result_notes(blocks(scores.values())) if words in note] == [f"LoRA on {NET}: {words}."]


def test_defaults_are_the_rates_of_new_layers(first: tuple[Settings, dict[str, Score], Listening]) -> None:
    scores = first[1]
    assert scores["bitfit"].options["body"] == scores["lora"].options["body"] == 1.0
    assert scores["lora"].options["freeze_batchnorm"]
    assert not scores["bitfit"].options["freeze_batchnorm"]
    own = {name: value for name, value in scores["lora"].options.items() if name.startswith("lora_")}
    assert own == {"lora_r": 8, "lora_alpha": 16.0, "lora_dropout": 0.0, "lora_targets": "auto"}
    assert not [name for name in scores["bitfit"].options if name.startswith(("lora_", "wise_"))]


def test_only_biases_differ_from_the_weights_file(
    world: Path, first: tuple[Settings, dict[str, Score], Listening]
) -> None:
    (kept,) = first[0].folders.cache.rglob(f"{NET}-bitfit/*/best.safetensors")
    before, after = load_file(world / "squeezed.safetensors"), load_file(kept)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    biases = {name for name in before if name.endswith(".bias")}
    assert changed == biases | {"classifier.1.weight"}
    assert len(biases) == 1 + 3 * 8 + 1


def test_a_second_run_trains_nothing_and_needs_no_package(
    first: tuple[Settings, dict[str, Score], Listening], monkeypatch: pytest.MonkeyPatch
) -> None:
    missing(monkeypatch)
    assert run(replace(first[0], console=Stopping(0))) == first[1]


def missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the package peft not be installed."""
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "peft" else find(name, *rest))


def test_a_missing_package_is_said_before_anything_is_trained(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing(monkeypatch)
    settings = options(world, tmp_path, strategies=("full", "lora"), console=Stopping(0))
    with pytest.raises(MissingExtra, match=r"^peft is not installed; pip install 'probeline\[peft\]'$"):
        finetune.run(Session(settings))


@pytest.mark.parametrize(
    ("changes", "changed"),
    [
        ({"train": ("lora_r=4",)}, {"lora"}),
        ({"train": ("lora_alpha=8",)}, {"lora"}),
        ({"train": ("lora_dropout=0.1",)}, {"lora"}),
        ({"train": ("lora_targets=all",)}, {"lora"}),
        ({"train": ("wise_steps=4",)}, set()),
        ({"train": ("body=0.1",)}, {"bitfit", "lora"}),
        ({"freeze_batchnorm": True}, {"bitfit"}),
        ({"seed": 1}, {"bitfit", "lora"}),
    ],
    ids=lambda value: ",".join(sorted(map(str, value))),
)
def test_a_key_changes_with_what_changes_the_numbers(
    changes: dict[str, Any], changed: set[str], first: tuple[Settings, dict[str, Score], Listening]
) -> None:
    found = keys(first[0].changed(**changes))
    assert {method for method, key in found.items() if key != first[1][method].key} == changed


def test_of_several_ranks_and_targets_val_chooses(world: Path, tmp_path: Path) -> None:
    train = ("lora_r=1,4", "lora_targets=features.12,squeeze+features.0")
    score = run(options(world, tmp_path, strategies=("lora",), train=train, epochs=1, lr=0.01))["lora"]
    tried = [(point["lora_r"], point["lora_targets"]) for point in score.path]
    assert tried == [(r, targets) for r in (1, 4) for targets in ("features.12", "squeeze+features.0")]
    best = max(score.path, key=lambda point: (point["top1"], -point["nll"]))
    assert {name: score.chosen[name] for name in ("lora_r", "lora_targets")} == {
        name: best[name] for name in ("lora_r", "lora_targets")
    }
    assert score.certificate["adapters"]["rank"] == best["lora_r"]
    assert score.certificate["adapters"]["convolutions"] == (3 if best["lora_targets"] == "features.12" else 9)
    (kept,) = tmp_path.rglob("best.safetensors")
    assert kept.parent.name.endswith(f"-lora_r{best['lora_r']}-lora_targets{best['lora_targets']}")


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ("lora_r=0", r"bad --train lora_r \(expected whole numbers from 1"),
        ("lora_alpha=0", r"bad --train lora_alpha \(expected numbers from"),
        ("lora_dropout=1", r"bad --train lora_dropout \(expected numbers from"),
        ("lora_targets=", r"bad --train lora_targets \(expected names of letters, digits and _ \. \+, got nothing"),
        ("lora_targets=../up", r"bad --train lora_targets .*got \.\./up"),
        ("lora_rank=4", r"bad --train .*did you mean lora_r"),
        ("wise_steps=5,10", r"bad --train wise_steps \(expected whole numbers from 1 to 1000, a single one"),
        ("lora_targets=heads", r"no layer that can be adapted has this name"),
    ],
)
def test_bad_values_are_refused(train: str, message: str, world: Path, tmp_path: Path) -> None:
    with pytest.raises(BadOption, match=message):
        run(options(world, tmp_path, strategies=("lora",), train=(train,)))


def test_norms_keep_their_statistics_and_grouped_convolutions_are_left_out(world: Path, tmp_path: Path) -> None:
    console, both = Listening(), ("bitfit", "lora")
    found = run(options(world, tmp_path, backbones=(OTHER,), weights="none", strategies=both, console=console))
    for strategy in both:
        (kept,) = tmp_path.rglob(f"{OTHER}-{strategy}/*/best.safetensors")
        tensors = load_file(kept)
        for statistic, value in (("running_mean", 0), ("running_var", 1), ("num_batches_tracked", 0)):
            own = [tensor for name, tensor in tensors.items() if name.endswith(statistic)]
            assert len(own) == 56
            assert all(bool((tensor == value).all()) for tensor in own), "as a random net has them"
    facts = found["lora"].certificate["adapters"]
    # ShuffleNet: the stem and the last convolution, and in 16 units two of 1 x 1, and one more where a stage begins,
    # which have a depthwise one between them, and one more where a stage begins.
    assert (facts["convolutions"], facts["grouped"]) == (2 + 2 * 16 + 3, 16 + 3)
    assert any(line.endswith("; left as they are: 19 grouped convolutions") for line in console.said)


def test_what_is_exported_is_the_net_with_merged_weights(
    world: Path, tmp_path: Path, first: tuple[Settings, dict[str, Score], Listening]
) -> None:
    settings, scores, _ = first
    (kept,) = settings.folders.cache.rglob(f"{NET}-lora/seed0-{scores['lora'].key[:12]}/best.safetensors")
    export.run(Session(settings.changed(method="lora", out=tmp_path / "out")))
    trained, weights = load_file(kept), load_file(tmp_path / "out" / WEIGHTS)
    before = load_file(world / "squeezed.safetensors")
    for name, tensor in weights.items():
        path, _, leaf = name.rpartition(".")
        base = trained[f"{path}.base_layer.{leaf}"]
        assert torch.equal(base, before[name])
        if leaf == "bias":
            assert torch.equal(tensor, base)
            continue
        first_matrix, second = (trained[f"{path}.lora_{which}.default.weight"].double().flatten(1) for which in "AB")
        product = (second @ first_matrix).view_as(base)
        assert product.abs().max() > 0
        update = 16 / 8 * product
        # Rounded: r = 8 products and their sum, the scale, and the sum with the weight.
        terms = 2 * (second.abs() @ first_matrix.abs()).view_as(base) + base.abs()
        assert ((tensor - (base + update)).abs() <= 10 * 2.0**-24 * terms).all(), name
    head = load_file(tmp_path / "out" / HEAD)
    assert torch.equal(head["weight"], trained["classifier.1.weight"])
    assert weights.keys() == {name for name in before if not name.startswith("classifier.1")}


def test_an_interrupted_run_gives_the_same_score(
    world: Path, tmp_path: Path, first: tuple[Settings, dict[str, Score], Listening]
) -> None:
    for strategy in ("bitfit", "lora"):
        settings = options(world, tmp_path, strategies=(strategy,))
        images = len(Session(settings).splits.train)
        with pytest.raises(KeyboardInterrupt):
            run(replace(settings, console=Stopping(images + 8)))
        found = run(settings)[strategy]
        assert timeless(found) == timeless(first[1][strategy])


@pytest.mark.slow
def test_a_range_test_of_each(world: Path, tmp_path: Path) -> None:
    console = Listening()
    settings = options(world, tmp_path, strategies=("bitfit", "lora"), batch_size=4, console=console)
    found = lrfind.run(Session(settings))
    assert [test["method"] for test in found] == ["bitfit", "lora"]
    assert all(test["steps"] > 20 for test in found)
    assert sum("adapters of rank 8 on 25 convolutions" in line for line in console.said) == 1


def test_a_dry_run_knows_them(
    first: tuple[Settings, dict[str, Score], Listening], capsys: pytest.CaptureFixture[str]
) -> None:
    settings = first[0]
    words = ["finetune", "--dataset", settings.data.dataset, "--backbone", NET, "--weights", settings.nets.weights]
    words += ["--cache", str(settings.folders.cache), "--reports", str(settings.folders.reports), "--image-size", "32"]
    words += ["--batch-size", "16", "--epochs", "2", "--dry-run", "--json", "--strategy", "bitfit", "lora", "wise-ft"]
    assert main(words) == 0
    plan = json.loads(capsys.readouterr().out)["dry_run"][0]
    titles = ["BitFit, biases and head", "LoRA, adapters and head", "WiSE-FT, between probe and LP-FT"]
    assert [row["title"] for row in plan["rows"]] == [f"{title} of {NET}, seed 0" for title in titles]
    assert [row["scored"] for row in plan["rows"]] == [True, True, False]
    assert len(plan["extract"]) == 1, "WiSE-FT begins at the probe's features"


def test_the_report_has_rows_and_terms_of_them(
    first: tuple[Settings, dict[str, Score], Listening], tmp_path: Path
) -> None:
    settings = first[0]
    compare.run(Session(settings))
    page = next(settings.folders.reports.rglob("index.html")).read_text(encoding="utf-8")
    for words in ("BitFit, biases and head", "LoRA, adapters and head"):
        assert words in page
    content = ReportContent(blocks=blocks(first[1].values()), folder=tmp_path)
    view = Glossary().view(content)
    assert view is not None
    assert {"LoRA", "BitFit"} <= {term.name for term in view.values["terms"]}
    assert "WiSE-FT" not in {term.name for term in view.values["terms"]}
    scores, ignored = SCORES.load(Session(settings).reports)
    assert (len(scores), ignored) == (2, [])


def test_jobs_of_a_teacher_are_no_concern_of_them(world: Path, tmp_path: Path) -> None:
    settings = options(world, tmp_path, strategies=("bitfit", "lora"))
    jobs = plan_jobs(Session(settings.changed(teacher=OTHER)), [0])
    assert {job.objective.seconds for job in jobs} == {0.0}
    assert keys(settings) == keys(settings.changed(teacher=OTHER))
