"""The house: imports run down and never in a circle, rooms and files stay small, each concern has one owner."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from probeline.options.verbs import VERBS

PACKAGE = Path(__file__).parents[1] / "pipeline" / "probeline"
TESTS = Path(__file__).parent

FLOORS = [
    {"__main__"},
    {"cli"},
    {"api", "commands"},
    {"export", "report"},
    {"finetuning", "analysis"},
    {"evaluate"},
    {"extraction", "crews"},
    {"session"},
    {"recipes", "stores"},
    {"data", "backbones", "cache", "results"},
    {"options"},
    {"estimator"},
    {"heads", "metrics", "console"},
    {"types"},
    {"images"},
    {"format", "environment", "names", "plugins"},
    {"files"},
    {"identity", "disk"},
    {"errors"},
    {"text"},
]
FLOOR = {room: number for number, floor in enumerate(FLOORS) for room in floor}

ROOM_SIZE = 14
"""Files of a room, its ``__init__`` not counted; a bigger one is two rooms."""

BIGGER = {"commands": len(VERBS)}
"""Rooms whose files are one of a kind each: a file per verb."""

FILE_SIZE = 400
"""Lines of a file without a reason in its docstring."""

TOO_LONG: set[str] = set()
"""Files that are still to be parted: the list only gets shorter."""

FILES = sorted(file for file in PACKAGE.rglob("*.py") if file != PACKAGE / "__init__.py")


def module_of(file: Path) -> str:
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts).removesuffix(".__init__")


def room_of(module: str) -> str:
    return module.split(".")[1]


@pytest.fixture(scope="module", autouse=True)
def forgotten() -> Iterator[None]:
    """Two million nodes, which no other module's tests need to carry along."""
    yield
    for known in (parsed, nodes, calls, imports, imported_names):
        known.cache_clear()


@cache
def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


@cache
def imports() -> dict[str, set[str]]:
    """Return what each module of the package imports of it, for types or inside a function too."""
    modules = {module_of(file): file for file in FILES}
    found: dict[str, set[str]] = {module: set() for module in modules}
    for module, file in modules.items():
        for node in nodes(file):
            if isinstance(node, ast.Import):
                found[module] |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
                found[module] |= {name if name in modules else node.module for name in names}
    return {module: (names & modules.keys()) - {module} for module, names in found.items()}


def test_every_room_has_a_floor() -> None:
    assert {room_of(module_of(file)) for file in FILES} == FLOOR.keys()


def test_imports_run_down() -> None:
    for module, names in imports().items():
        room = room_of(module)
        wrong = [name for name in names if room_of(name) != room and FLOOR[room_of(name)] <= FLOOR[room]]
        assert not wrong, f"{module} must not import {wrong}"


def test_no_file_imports_in_a_circle() -> None:
    try:
        TopologicalSorter(imports()).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_rooms_stay_small() -> None:
    sizes = Counter(file.parent.relative_to(PACKAGE).as_posix() for file in FILES if file.name != "__init__.py")
    too_big = {room: size for room, size in sizes.items() if size > BIGGER.get(room, ROOM_SIZE)}
    assert not too_big


def test_files_stay_small() -> None:
    for file in FILES:
        text = file.read_text(encoding="utf-8")
        reason = "long because" in (ast.get_docstring(parsed(file)) or "")
        known = file.relative_to(PACKAGE).as_posix() in TOO_LONG
        assert (len(text.splitlines()) > FILE_SIZE) == (known or reason), file


SHOWING = ("print", "ascii", "isprintable", "shlex.quote", "csv.writer", "csv.DictWriter", "sys.stdout.write")
"""Calls that show text otherwise than through `text` and `console`."""

SHOWS = {
    "text.py": "is where text of others is shown",
    "data/folders/contents.py": "tells a text file by its bytes",
    "cli/completion.py": "quotes the product's own words for shells",
}


@cache
def nodes(file: Path) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(parsed(file)))


@cache
def calls(file: Path) -> tuple[tuple[str, ast.Call], ...]:
    """Return the calls of a file, each with what it calls."""
    return tuple((ast.unparse(node.func), node) for node in nodes(file) if isinstance(node, ast.Call))


def test_text_of_others_is_shown_in_one_way() -> None:
    for file in FILES:
        own = [name for name, _ in calls(file) if name in SHOWING or name.rpartition(".")[2] == "isprintable"]
        assert bool(own) == (file.relative_to(PACKAGE).as_posix() in SHOWS), (file, own)


@cache
def imported_names(file: Path) -> set[str]:
    """Return the modules that a file imports, inside a function too."""
    names: set[str] = set()
    for node in nodes(file):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


def test_a_verbs_file_stays_small() -> None:
    own = [file for verb in VERBS if (file := PACKAGE / "commands" / f"{verb}.py").exists()]
    assert own
    for file in own:
        assert len(file.read_text(encoding="utf-8").splitlines()) <= 100, file


def test_no_parameter_list_is_long() -> None:
    for file in FILES:
        for node in nodes(file):
            if isinstance(node, ast.FunctionDef):
                # A public function of the Python interface names its options, as scikit-learn's classes do.
                is_public = room_of(module_of(file)) == "api" and (node.name[0] != "_" or node.name == "__init__")
                options = [] if is_public else node.args.kwonlyargs
                names = [one.arg for one in (*node.args.posonlyargs, *node.args.args, *options)]
                assert len([name for name in names if name not in ("self", "cls")]) <= 8, f"{file}: {node.name}"


def owners(package: str) -> set[str]:
    """Return the rooms that import a package."""
    return {
        room_of(module_of(file)) for file in FILES if package in {name.split(".")[0] for name in imported_names(file)}
    }


def test_one_owner_a_concern() -> None:
    assert owners("h5py") == {"cache", "data"}
    assert owners("matplotlib") == {"report"}
    assert owners("jinja2") == {"report"}
    assert owners("argparse") == {"cli"}
    assert owners("tqdm") == {"api", "cli"}


def test_a_verb_imports_no_other_verb() -> None:
    for module, names in imports().items():
        if room_of(module) == "commands":
            assert not [name for name in names if room_of(name) == "commands"], module


def test_heads_and_metrics_know_arrays_only() -> None:
    for module, names in imports().items():
        if room_of(module) in ("heads", "metrics"):
            assert {room_of(name) for name in names} <= {"heads", "metrics", "types", "errors", "identity"}, module


def test_no_file_imports_a_test_file() -> None:
    tests = {file.stem for file in TESTS.rglob("test_*.py")}
    for file in TESTS.rglob("*.py"):
        assert not {name.split(".")[0] for name in imported_names(file)} & tests, file.name


QUICK = """
import sys
from probeline.cli.program import main
for line in sys.argv[1:]:
    try:
        main(line.split())
    except SystemExit as stop:
        assert not stop.code, (line, stop.code)
    assert not {"torch", "matplotlib", "sklearn"} & set(sys.modules), line
"""


def test_these_never_import_torch() -> None:
    lines = ["--help", "--version", "extract --help", "export --help", "predict --help"]
    lines += ["list backbones", "list datasets", "list recipes"]
    done = subprocess.run([sys.executable, "-c", QUICK, *lines], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


LIGHT = """
import sys
from probeline.cli import program as cli
from probeline.options.checks import check_settings
from probeline.options.settings import Settings
assert cli.main(["list", "recipes"]) == 0
assert cli.main(["finetune", "--strategy", "distill"]) == 2
check_settings(Settings.of(strategies=("multi-task",), second=("a=b", "c=d"), train=("lr=1,2",)))
heavy = {"torch", "numpy", "scipy", "PIL", "h5py", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
"""


def test_recipes_are_listed_and_options_are_checked_without_numpy() -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "no teacher for --strategy distill" in done.stderr


READS = {"read_bytes", "read_text", "open", "fromfile", "memmap"}
UNGUARDED = {
    "disk.py": "writes",
    "files/reading.py": "is the guarded reader",
    "data/archives/unpack.py": "writes, and reads a verified archive",
    "data/archives/download.py": "opens a web address",
    "data/archives/tar_index.py": "opens what the guarded reader has opened",
    "backbones/weights/rehearsal.py": "opens members of what the guarded reader has opened",
    "data/numpy_files.py": "opens members of what the guarded reader has opened",
    "data/pixels/decode.py": "opens bytes",
    "report/sections/images/illustrations.py": "opens bytes",
    "cache/locks.py": "opens lock files without reading them",
    "console.py": "opens the null device for writing",
    "recipes/__init__.py": "reads files of this package",
    "report/page/render.py": "reads files of this package",
}
"""Files that call something of these names otherwise than on the guarded reader, and why they may."""


def unguarded_reads(file: Path) -> list[int]:
    """Return the lines on which a file reads or opens something with another function than the guarded reader's."""
    found = []
    for name, node in calls(file):
        function = node.func
        is_plain = isinstance(function, ast.Name) and function.id == "open"
        is_method = isinstance(function, ast.Attribute) and function.attr in READS
        if is_plain or (is_method and name.split(".")[0] != "reading"):
            found.append(node.lineno)
    return found


def test_files_are_read_by_the_guarded_reader() -> None:
    for file in FILES:
        found = unguarded_reads(file)
        assert bool(found) == (file.relative_to(PACKAGE).as_posix() in UNGUARDED), (file, found)


def test_no_json_is_written_with_numbers_that_json_lacks() -> None:
    for file in FILES:
        for name, node in calls(file):
            if name in ("json.dumps", "json.dump"):
                options = {f"{option.arg}={ast.unparse(option.value)}" for option in node.keywords}
                assert "allow_nan=False" in options, (file, node.lineno)
