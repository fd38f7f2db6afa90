"""The house's one rule of gravity: imports run down, and rooms of one floor do not know each other."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "pipeline" / "probeline"

FLOORS = [
    {"__main__"},
    {"cli"},
    {"stages"},
    {"recipes", "artifact"},
    {"adapt", "report", "images", "store"},
    {"backbones", "metrics", "doctor"},
    {"records", "config", "environment", "estimator"},
    {"heads", "memo"},
    {"identity", "disk"},
    {"errors"},
]
FLOOR = {room: number for number, floor in enumerate(FLOORS) for room in floor}


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(file: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        rooms |= {module.split(".")[1] for module in modules if module.startswith("probeline.")}
    return rooms & set(FLOOR)


FILES = sorted(file for file in PACKAGE.rglob("*.py") if room_of(file) != "__init__")


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_run_down(file: Path) -> None:
    room = room_of(file)
    assert room in FLOOR, f"{room} has no place in the house"
    for other in imported_rooms(file) - {room}:
        assert FLOOR[other] > FLOOR[room], f"{room} must not import {other}"


def test_a_stage_imports_no_other_stage() -> None:
    verbs = {
        "extract",
        "probe",
        "baselines",
        "finetune",
        "lrfind",
        "curve",
        "pictures",
        "latency",
        "doctor",
        "compare",
        "bench",
        "verify",
        "explain",
        "show",
        "cache",
        "predict",
        "export",
    }
    for file in (PACKAGE / "stages").glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("probeline.stages"):
                assert not verbs & {*(node.module or "").split("."), *(alias.name for alias in node.names)}, file


def owners(module: str) -> set[str]:
    found = set()
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            if any(name.split(".")[0] == module for name in names):
                found.add(room_of(file))
    return found


def test_one_owner_a_concern() -> None:
    assert owners("h5py") == {"store"}
    assert owners("matplotlib") == {"report"}
    assert owners("jinja2") == {"report"}
    assert owners("argparse") == {"cli"}
    assert owners("tqdm") == {"cli"}


def test_heads_metrics_and_doctor_know_arrays_only() -> None:
    for room in ("heads", "metrics", "doctor"):
        for file in (PACKAGE / room).glob("*.py"):
            assert imported_rooms(file) <= {room, "errors", "identity"}, file


@pytest.mark.parametrize(
    "command",
    [
        ["--help"],
        ["--version"],
        ["extract", "--help"],
        ["export", "--help"],
        ["predict", "--help"],
        ["list", "backbones"],
        ["list", "datasets"],
        ["list", "recipes"],
    ],
    ids=" ".join,
)
def test_these_never_import_torch(command: list[str]) -> None:
    program = (
        "import sys\nfrom probeline.cli import main\n"
        "try:\n    main(sys.argv[1:])\nexcept SystemExit as stop:\n    assert not stop.code, stop.code\n"
        "assert not {'torch', 'matplotlib', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program, *command], check=True, capture_output=True)


LIGHT = """
import sys
from probeline import cli
from probeline.config import Config
assert cli.main(["list", "recipes"]) == 0
assert cli.main(["finetune", "--strategy", "distill"]) == 2
cli._check(Config(strategies=("multi-task",), second=("a=b", "c=d"), train=("lr=1,2",)))
heavy = {"torch", "numpy", "scipy", "PIL", "h5py", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
"""


def test_recipes_are_listed_and_options_are_checked_without_numpy() -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "no teacher for --strategy distill" in done.stderr
