"""A dry run says what would be done, and does nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from probeline.cli import program as cli
from probeline.commands import baselines, finetune, plan, probe
from probeline.extraction.plan import plan_extraction
from probeline.identity import seal, unseal
from probeline.names import Method
from probeline.results.score import SCORES
from probeline.session import Session
from small_runs import ROWS, Listening, configuration, extracted

pytestmark = pytest.mark.usefixtures("one_thread", "small_shards")

TITLE = "digits-limit60/all x squeezenet1_1"


def listing(root: Path) -> dict[str, tuple[int, int]]:
    """Return size and time of everything below a folder."""
    found = {str(path): path.stat() for path in sorted(root.rglob("*"))}
    return {name: (status.st_size, status.st_mtime_ns) for name, status in found.items()}


def planned(cache: Path, *verbs: str, **options: Any) -> tuple[dict[str, Any], list[str]]:
    console = Listening()
    session = Session(configuration(cache, dry_run=True, console=console, **options))
    return plan.run(session, verbs), console.said


def test_nothing_cached_has_no_estimate_and_nothing_is_written(tmp_path: Path) -> None:
    found, said = planned(tmp_path / "cache", "extract")
    (entry,) = found["extract"]
    assert (entry["images"], entry["cached"], entry["seconds"]) == (60, 0, None)
    assert said == [
        f"dry run: extract {TITLE}: 60 images, 0 cached, 60 to extract, no estimate: this net has not run here yet"
    ]
    assert listing(tmp_path) == {}


def test_images_of_finished_shards_are_cached_and_tell_how_long_the_rest_takes(tmp_path: Path) -> None:
    session = extracted(tmp_path / "cache")
    (entry,) = session.entries(session.backbone("squeezenet1_1")[0])
    assert len(entry.shards) == 4
    for shard in range(4):
        path = entry.shard_path(shard).with_suffix(".json")
        record = unseal(path.read_bytes())
        assert record is not None
        record.pop("sha256", None)
        record["provenance"]["seconds"] = 0.5 * len(entry.shards[shard])
        path.write_bytes(seal(record))
    for shard in (1, 3):
        entry.shard_path(shard).with_suffix(".json").unlink()
    before = listing(tmp_path)
    found, said = planned(tmp_path / "cache", "extract")
    (part,) = found["extract"]
    missing = ROWS + 60 % ROWS
    assert (part["images"], part["cached"]) == (60, 60 - missing)
    assert part["seconds"] == pytest.approx(0.5 * missing)
    assert said == [
        f"dry run: extract {TITLE}: 60 images, {60 - missing} cached, {missing} to extract, about {missing / 2:.3g} s"
    ]
    # Another data set by the same net is estimated alike; another image size is another cost.
    other = Session(configuration(tmp_path / "cache", dry_run=True, limit=80))
    (part_of_other,) = plan_extraction(other, "squeezenet1_1")
    assert part_of_other.seconds == pytest.approx(40)
    assert (
        plan_extraction(Session(configuration(tmp_path / "cache", image_size=64, dry_run=True)), "squeezenet1_1")[
            0
        ].seconds
        is None
    )
    assert listing(tmp_path) == before


def test_rows_are_scored_under_the_same_settings_or_would_be_fitted(tmp_path: Path) -> None:
    session = extracted(tmp_path / "cache", sgd=("lr=1e-2", "epochs=2"), epochs=1, strategies=("head",))
    baselines.run(session)
    probe.run(session)
    finetune.run(session)
    for score in SCORES.load(session.reports)[0]:
        if score.method in (Method.PROBE, Method.PROBE_REFIT):
            SCORES.path_of(session.reports, score).unlink()
    before = listing(tmp_path)

    def scored(**options: Any) -> dict[str, bool]:
        usual = {"sgd": ("lr=1e-2", "epochs=2"), "epochs": 1, "strategies": ("head",)}
        found, _ = planned(tmp_path / "cache", "probe", "baselines", "finetune", **{**usual, **options})
        return {row["title"]: row["scored"] for row in found["rows"]}

    first = scored()
    assert {title for title, done in first.items() if not done} == {
        "linear probe (exact) of squeezenet1_1",
        "linear probe, refit on train + val of squeezenet1_1",
    }
    assert len(first) == 10
    again = scored(seeds=2, sgd=("lr=1e-3",), epochs=3)
    assert not again["linear head (minibatch) of squeezenet1_1, seed 0"]
    assert not again["head alone, by the trainer of squeezenet1_1, seed 0"]
    assert scored(seeds=2)["linear head (minibatch) of squeezenet1_1, seed 1"] is False
    assert not any(scored(limit=80).values())
    assert not any(scored(precision="bf16").values())
    assert listing(tmp_path) == before


def test_a_row_takes_about_as_long_as_the_last_one_with_its_options(tmp_path: Path) -> None:
    session = extracted(tmp_path / "cache", sgd=("lr=1e-2", "epochs=2"))
    probe.run(session)
    (saved,) = (score for score in SCORES.load(session.reports)[0] if score.method == Method.PROBE_SGD)
    SCORES.save(session.reports, replace(saved, warm_seconds=41.0))
    found, said = planned(tmp_path / "cache", "probe", "baselines", seed=5, sgd=("lr=1e-2", "epochs=2"))
    by_title = {row["title"]: row["seconds"] for row in found["rows"]}
    assert by_title["linear head (minibatch) of squeezenet1_1, seed 5"] == pytest.approx(41)
    assert by_title["ridge regression of squeezenet1_1"] is None
    other_grid, _ = planned(tmp_path / "cache", "probe", sgd=("lr=1e-3",))
    assert [row["seconds"] for row in other_grid["rows"] if "minibatch" in row["title"]] == [None]
    lines = [line for line in said if "would be fitted" in line]
    assert any(line.endswith(f"seed 5: would be fitted on {saved.n_train} images, about 41 s") for line in lines)
    assert any(line.endswith("no estimate: no such row was fitted here yet") for line in lines)


def test_weights_are_not_downloaded_to_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    found, said = planned(
        tmp_path / "cache", "extract", backbones=("resnet50", "squeezenet1_1@none"), weights="DEFAULT"
    )
    assert [one["backbone"] for one in found["extract"]] == ["squeezenet1_1"]
    assert "the weights would have to be downloaded first: resnet50" in said[0]
    assert listing(tmp_path) == {}


@pytest.mark.parametrize("verb", ["run", "extract", "probe", "finetune", "curve", "pictures", "latency", "doctor"])
def test_the_command_line_plans_each_verb(verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [f"--{name}={tmp_path / name}" for name in ("cache", "reports", "data")]
    net = ["--backbone=squeezenet1_1", "--weights=none", "--image-size=32", "--limit=60"]
    assert cli.main([verb, *net, *folders, "--dry-run", "--json"]) == 0
    (step,) = json.loads(capsys.readouterr().out)["dry_run"]
    assert bool(step["extract"]) == (verb not in ("finetune", "latency"))
    assert bool(step["rows"]) == (verb in ("run", "probe", "finetune"))
    assert listing(tmp_path) == {}


def test_a_corrupt_entry_gives_no_estimate(tmp_path: Path) -> None:
    session = extracted(tmp_path / "cache")
    (entry,) = session.entries(session.backbone("squeezenet1_1")[0])
    (entry.folder / "entry.json").write_text("{}")
    other = Session(configuration(tmp_path / "cache", dry_run=True, limit=80))
    (found,) = plan_extraction(other, "squeezenet1_1")
    assert found.seconds is None
    assert (found.cached, found.missing) == (0, 80)
