"""What the documents say is what the program does."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import probeline
from conftest import make_part
from made_commands import run_make
from probeline import recipes
from probeline.cache.entry import locate_entry
from probeline.cache.writing import write_entry, write_shard
from probeline.identity import unseal
from probeline.options import settings as options
from probeline.options import verbs
from probeline.types import Backbone

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "pipeline" / "probeline"
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = re.findall(r"^\.PHONY: (.*)", MAKEFILE, re.MULTILINE)[0].split()


def read(file: str) -> str:
    return (ROOT / file).read_text(encoding="utf-8")


OUTSIDE_DOCS = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "pipeline/README.md",
    "cache/README.md",
    "reports/README.md",
]
PAGES = [*OUTSIDE_DOCS, *sorted(str(file.relative_to(ROOT)) for file in (ROOT / "docs").rglob("*.md"))]
"""Every page that people write."""

TEXT = "\n".join(map(read, PAGES))

_spec = importlib.util.spec_from_file_location("docs_hooks", ROOT / "docs" / "hooks.py")
assert _spec is not None
assert _spec.loader is not None
hooks = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(hooks)

VERBS: dict[str, tuple[str, argparse.ArgumentParser]] = hooks.verb_parsers()
OPTIONS = sorted({option.flag for option in options.OPTIONS.values()})


def code_blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", read(page), re.MULTILINE | re.DOTALL)


def commands(page: str) -> Iterator[list[str]]:
    """Yield the words of each command of a page's shell blocks, of a pipe each part."""
    for block in code_blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            part: list[str] = []
            for word in [*shlex.split(line, comments=True), "|"]:
                if word != "|":
                    part.append(word)
                else:
                    yield part
                    part = []


def tables(text: str) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Yield each table with the name of the sample that was linked to last before it; a row maps headers to cells."""
    sample, lines = "", text.splitlines()
    for number, line in enumerate(lines):
        sample = (re.findall(r"reports/sample/([\w-]+)/", line) or [sample])[-1]
        if re.fullmatch(r"\|[ :|-]+\|", line):
            header, *rows = (
                [cell.strip() for cell in row.strip("|").split("|")]
                for row in [lines[number - 1], *_leading_rows(lines[number + 1 :])]
            )
            yield sample, [dict(zip(header, row, strict=True)) for row in rows]


def _leading_rows(lines: list[str]) -> Iterator[str]:
    for line in lines:
        if not line.startswith("|"):
            return
        yield line


def make_variables() -> set[str]:
    """Return the variables that somebody may give to make."""
    options = re.findall(r"\$\(call (?:option|quoted|flag),(\w+),", MAKEFILE)
    return {*options, *re.findall(r"^(\w+) +\?=", MAKEFILE, re.MULTILINE), "IMAGES"}


def test_readme_is_one_page() -> None:
    text = read("README.md")
    assert len(text.splitlines()) <= 150
    assert len(text.encode("utf-8")) <= 10_000


@pytest.mark.parametrize("page", PAGES)
def test_lines_are_short(page: str) -> None:
    """Tables, and what cannot be broken, are excepted."""
    long = [line for line in read(page).splitlines() if len(line) >= 120]
    assert not [line for line in long if not line.startswith("|") and " " in line.strip()]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", read(page)):
        if not re.match(r"[a-z]+:", target):
            assert (ROOT / page).parent.joinpath(target).exists(), target


def test_every_page_is_in_the_navigation() -> None:
    listed = re.findall(r"([\w/-]+\.md)$", read("mkdocs.yml").split("\nnav:")[1], re.MULTILINE)
    written = {page.removeprefix("docs/") for page in PAGES if page.startswith("docs/")}
    assert sorted(listed) == sorted({*written, *hooks.KEPT_ELSEWHERE})


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_documented(verb: str) -> None:
    assert f"probeline {verb}" in TEXT


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_is_documented(option: str) -> None:
    assert re.search(rf"`[^`\n]*{option}\b", TEXT), f"{option} is in no written page"


def test_reference_lists_the_options_of_each_verb() -> None:
    sections = dict(
        re.findall(r"^## probeline (\S+)$(.*?)(?=^## |\Z)", hooks.cli_reference(), re.MULTILINE | re.DOTALL)
    )
    assert list(sections) == list(VERBS)
    for verb in VERBS:
        for option in (options.OPTIONS[name].flag for name in verbs.VERBS[verb].options):
            assert re.search(rf"^\| `[^`]*{option}\b", sections[verb], re.MULTILINE), (verb, option)


@pytest.mark.parametrize("recipe", recipes.names())
def test_every_recipe_is_documented(recipe: str) -> None:
    assert re.search(rf"^\| .*`{recipe}`.* \|$", TEXT, re.MULTILINE)


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_is_documented_and_has_a_line_of_help(target: str) -> None:
    assert f"| `make {target}` |" in read("docs/reference/make.md")
    assert re.search(rf"^{target}:.*## \w", MAKEFILE, re.MULTILINE)


def test_every_variable_of_make_is_documented() -> None:
    for variable in make_variables():
        assert f"`{variable}`" in read("docs/reference/make.md"), variable


def test_help_shows_every_target() -> None:
    shown = run_make("help")
    assert set(re.findall(r"^  make ([\w-]+)", shown, re.MULTILINE)) == set(TARGETS)


@pytest.mark.parametrize("page", [page for page in PAGES if any(commands(page))])
def test_commands_are_understood(page: str) -> None:
    """Of a make command, the commands that it runs."""
    parser = hooks.command_line_parser()
    for words in commands(page):
        if words[0] == "probeline":
            parser.parse_args(words[1:])
        elif words[0] == "make":
            assert {*re.findall(r"\b([A-Z_0-9]+)=", " ".join(words))} <= make_variables()
            shown = run_make(*words[1:], "-n")
            for run in re.findall(r"bin/probeline (.*)$", shown, re.MULTILINE):
                parser.parse_args(shlex.split(run))


def test_commands_are_tried() -> None:
    assert sum(words[0] in ("make", "probeline") for page in PAGES for words in commands(page)) > 60


@pytest.mark.parametrize("page", [page for page in PAGES if code_blocks(page, "python")])
def test_python_is_understood(page: str) -> None:
    for block in code_blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module or "")
                assert all(hasattr(module, alias.name) for alias in node.names)
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "probeline":
                assert node.attr in probeline.__all__


def test_python_reference_has_every_public_name() -> None:
    for name in set(probeline.__all__) - {"__version__"}:
        assert f"\n::: probeline.{name}\n" in read("docs/reference/python.md")


def test_the_format_is_specified_member_by_member(tmp_path: Path, backbone: Backbone) -> None:
    text = read("cache/README.md")
    entry = dataclasses.replace(locate_entry(tmp_path, make_part(3), backbone, "fp32"))
    write_entry(entry)
    write_shard(entry, 0, np.zeros((3, 5), np.float32), {})
    records = [unseal(path.read_bytes()) for path in entry.folder.glob("*.json")]
    assert len(records) == 2
    for record in records:
        assert record is not None
        for member in [*record, *record.get("inputs", {})]:
            assert f"`{member}`" in text, member


@pytest.mark.parametrize(("page", "count"), [("README.md", 1), ("docs/benchmarks/results.md", 4)])
def test_tables_of_results_come_from_the_samples(page: str, count: int) -> None:
    top1 = "Test top-1 % (95 % interval)"
    shown = [(sample, rows) for sample, rows in tables(read(page)) if top1 in rows[0]]
    assert len(shown) == count
    for sample, rows in shown:
        report = next(rows for _, rows in tables(read(f"reports/sample/{sample}/report.md")) if top1 in rows[0])
        measured = {row["Method"]: row for row in report}
        for row in rows:
            assert row == {name: measured[row["Method"]][name] for name in row}


def test_table_of_backbones_comes_from_the_sample() -> None:
    measured = [row for _, rows in tables(read("reports/sample/board/board.md")) for row in rows]
    (shown,) = (rows for _, rows in tables(read("README.md")) if "Mean rank" in rows[0])
    assert len(shown) == 3
    for row in shown:
        same = [line for line in measured if line.get("Backbone") == row["Backbone"]]
        for name, cell in row.items():
            assert cell in {line.get(name) for line in same}, (name, cell)


def test_table_of_faults_comes_from_the_sample() -> None:
    report = read("reports/sample/faults/report.md")
    rows = [row for _, rows in tables(read("docs/benchmarks/faults.md")) for row in rows]
    assert len(rows) >= 18
    for row in rows:
        assert " | ".join(row.values()) in report


def test_floors_of_the_house_are_those_that_are_held() -> None:
    drawn = read("docs/design/house.md").split("<!-- floors -->")[1].split("```")[1].removeprefix("text\n")
    tree = ast.parse(read("tests/test_imports.py"))
    floors = next(
        node.value for node in tree.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "FLOORS"
    )
    assert [set(line.split()) for line in drawn.splitlines()] == ast.literal_eval(floors)


def test_the_map_has_every_room() -> None:
    rooms = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    text = read("pipeline/README.md")
    for room in rooms - {"__init__", "__main__"}:
        assert f"`{room}`" in text, room


@pytest.mark.parametrize("page", PAGES)
def test_files_of_the_code_that_are_named_exist(page: str) -> None:
    shown = re.findall(r'title="([a-z_]+\.py)"', read(page))
    for file in set(re.findall(r"`((?:[a-z_]+/)*[a-z_]+\.py)`", read(page))) - set(shown):
        assert (ROOT / file).exists() or (PACKAGE / file).exists(), file
