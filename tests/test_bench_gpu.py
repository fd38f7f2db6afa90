"""The benchmark of a GPU: on a CPU it takes every path, its figures belong together, and no failure stops the rest."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench_gpu.plan import Plan, Row, attempt, quick
from bench_gpu.report import GOALS, describe, markdown, ratios
from bench_gpu.runner import Result, run_parts

COMMAND = Path(__file__).parent / "bench_gpu"

# Children of a process that has threads: they do nothing that could wait for one.
pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """The record and the tables of a quick run."""
    folder = tmp_path_factory.mktemp("bench")
    command = [sys.executable, str(COMMAND), "--device", "cpu", "--quick", "--out", str(folder)]
    started = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    seconds = sum(part["seconds"] for part in json.loads((folder / "bench-gpu.json").read_text())["parts"].values())
    assert seconds <= time.perf_counter() - started
    return json.loads((folder / "bench-gpu.json").read_text()), (folder / "bench-gpu.md").read_text()


def rows(found: tuple[dict[str, Any], str], part: str) -> list[Row]:
    found_rows: list[Row] = found[0]["parts"][part]["rows"]
    return found_rows


@pytest.mark.slow
def test_every_path_is_taken(found: tuple[dict[str, Any], str]) -> None:
    record, _ = found
    plan = quick("cpu", Path())
    assert list(record["parts"]) == [
        *("hardware", "ceilings", "decode", "forward", "extraction", "heads", "training"),
    ]
    for name, part in record["parts"].items():
        assert part["ended"] == "complete", name
        assert part["seconds"] <= part["budget"]
        for row in part["rows"]:
            assert "error" not in row, row
            assert row["value"] > 0
    nets, precisions = len(plan.nets), len(plan.precisions)
    counts = {name: len(part["rows"]) for name, part in record["parts"].items()}
    assert counts == {
        "hardware": 1,
        "ceilings": 5 + 5,
        "decode": 2 * len(plan.workers),
        "forward": 2 * nets * precisions,
        "extraction": 2 * nets * precisions,
        "heads": 3 * 2,
        "training": nets * (2 * 2 + 1),
    }
    assert {row["mode"] for row in rows(found, "forward")} == {"eager", "compiled"}
    assert record["quick"] is True
    assert record["hardware"]["environment"]["device"] == "CPU"
    assert record["hardware"]["environment"]["torch"]


@pytest.mark.slow
def test_the_figures_belong_together(found: tuple[dict[str, Any], str]) -> None:
    record, _ = found
    best: dict[str, float] = {}
    for row in rows(found, "forward"):
        best[row["precision"]] = max(best.get(row["precision"], 0), row["value"])
    decoding = max(row["value"] for row in rows(found, "decode"))
    expected = []
    for row in rows(found, "extraction"):
        # The records' seconds are those of the shards, one after the other: no more than the wall's.
        assert 0 < row["timed"] <= 1
        bound = best[row["precision"]] if row["source"] == "arrays" else min(best[row["precision"]], decoding)
        expected.append((row["source"], row["value"] / bound))
    heads = {(row["what"], row["on"]): row for row in rows(found, "heads")}
    for kind in ("sgd", "mlp", "exact"):
        here, there = heads[f"head, {kind}", "device"], heads[f"head, {kind}", "CPU"]
        assert here["objectives"] == there["objectives"], "both are this CPU"
        expected.append(("heads", there["value"] / here["value"]))
    loops = {row["precision"]: row["value"] for row in rows(found, "training") if row["what"] == "plain loop"}
    expected += [
        ("training", row["value"] / loops[row["precision"]])
        for row in rows(found, "training")
        if row["what"] != "plain loop"
    ]
    told = [(one["kind"], one["ratio"]) for one in record["ratios"]]
    assert told == [(kind, pytest.approx(ratio)) for kind, ratio in expected]
    for one in record["ratios"]:
        assert one["goal"] == GOALS[one["kind"]]
        assert one["is_reached"] == (one["ratio"] >= one["goal"])
        assert one.get("equal_objective", True) is True


@pytest.mark.slow
def test_the_tables_hold_every_figure(found: tuple[dict[str, Any], str]) -> None:
    record, text = found
    assert "the figures mean nothing" in text
    for part in record["parts"].values():
        for row in part["rows"]:
            assert f"| {describe(row)} | {row['value']:,.4g} | {row['unit']} |" in text
    for one in record["ratios"]:
        assert f"| {one['what']} | {one['beside']} | {one['ratio']:.3g} | {one['goal']:g} |" in text


@pytest.mark.slow
def test_a_device_that_is_not_here_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, str(COMMAND), "--device", "cuda:99", "--quick", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "no device cuda:99 here" in done.stdout
    assert "Traceback" not in done.stderr


# Parts that do not go well


def good(plan: Plan) -> Iterator[Row]:
    yield attempt({"what": "one"}, "s", lambda: 1.0)


def failing(plan: Plan) -> Iterator[Row]:
    yield attempt({"what": "before"}, "s", lambda: 2.0)
    yield attempt({"what": "itself"}, "s", lambda: 1 / 0)
    raise RuntimeError("CUDA error: an illegal memory access was encountered\nmore")


def dying(plan: Plan) -> Iterator[Row]:
    yield attempt({"what": "before"}, "s", lambda: 2.0)
    os._exit(7)


ENDLESS = 600
"""Seconds."""


def endless(plan: Plan) -> Iterator[Row]:
    yield attempt({"what": "before"}, "s", lambda: 2.0)
    time.sleep(ENDLESS)


def slow(plan: Plan) -> Iterator[Row]:
    for number in range(1000):
        time.sleep(0.05)
        yield attempt({"what": str(number)}, "s", lambda: 1.0)


PARTS = (failing, dying, endless, slow, good)


def test_what_fails_is_recorded_and_stops_nothing_else(tmp_path: Path) -> None:
    parts = {part.__name__: (0.2 if part in (endless, slow) else 1.0, part) for part in PARTS}
    told: list[str] = []
    started = time.monotonic()
    results = dict(run_parts(parts, quick("cpu", tmp_path), 6.0, lambda part, _: told.append(part)))
    assert time.monotonic() - started < ENDLESS, "nobody waited for a part that is out of time"
    assert {name: result.ended for name, result in results.items()} == {
        "failing": "RuntimeError: CUDA error: an illegal memory access was encountered",
        "dying": "the process ended with code 7",
        "endless": "out of time",
        "slow": "out of time",
        "good": "complete",
    }
    assert [row.get("value") for row in results["failing"].rows] == [2.0, None]
    assert results["failing"].rows[1]["error"] == "ZeroDivisionError: division by zero"
    assert [len(results[name].rows) for name in ("dying", "endless", "good")] == [1, 1, 1]
    assert 1 <= len(results["slow"].rows) < 1000
    assert len(told) == sum(len(result.rows) for result in results.values())
    text = markdown({"title": "a machine"}, results, ratios(results))
    assert "| itself | ZeroDivisionError: division by zero |  |" in text


def test_what_lacks_its_bound_has_no_ratio() -> None:
    row = {"what": "extraction", "source": "jpeg", "net": "a", "precision": "fp32", "value": 5.0, "unit": "images/s"}
    bare = {"what": "forward", "net": "a", "precision": "fp32", "mode": "eager", "value": 10.0, "unit": "images/s"}
    other = {**bare, "precision": "bf16", "value": 1.0}
    parts = {"extraction": Result(1.0, rows=[row]), "forward": Result(1.0, rows=[bare, other])}
    assert list(ratios(parts)) == [], "decoding was not measured"
    parts["decode"] = Result(1.0, rows=[{"what": "decode", "workers": 4, "value": 8.0, "unit": "images/s"}])
    (one,) = ratios(parts)
    assert (one["ratio"], one["beside"]) == (5 / 8, "decode, workers 4")
    parts["decode"].rows[0] = {"what": "decode", "workers": 4, "error": "OSError: "}
    assert list(ratios(parts)) == []


def test_heads_that_reach_another_objective_are_marked() -> None:
    head = {"what": "head, exact", "rows": 9, "columns": 2, "classes": 3, "unit": "s"}
    here = {**head, "on": "device", "value": 1.0, "objectives": [0.5]}
    for objective, equal in ((0.5, True), (0.5 + 4e-7, True), (0.50001, False)):
        there = {**head, "on": "CPU", "value": 30.0, "objectives": [objective]}
        parts = {"heads": Result(1.0, rows=[here, there])}
        (one,) = ratios(parts)
        assert (one["ratio"], one["is_reached"], one["equal_objective"]) == (30.0, equal, equal)
        assert ("(another objective)" in markdown({"title": ""}, parts, [one])) != equal


def test_a_gpus_plan_has_all_that_is_asked_for() -> None:
    plan = Plan("cuda", Path())
    assert set(plan.nets) == {"resnet18", "resnet50", "vit_b_16"}
    assert set(plan.precisions) == {"fp32", "tf32", "bf16", "fp16"}
    assert plan.compiler == "inductor"
