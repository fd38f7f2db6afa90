"""What the documents say is what the program does."""

from __future__ import annotations

import dataclasses
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest

from conftest import make_part
from probeline import recipes
from probeline.cache import entry as store
from probeline.cli.program import VERBS, _parser
from probeline.identity import unseal
from probeline.types import Backbone

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = re.findall(r"^\.PHONY: (.*)", MAKEFILE, re.MULTILINE)[0].split()


def options() -> set[str]:
    verb = next(action for action in _parser()._actions if action.dest == "verb")
    assert isinstance(verb.choices, dict)
    return {
        name
        for parser in verb.choices.values()
        for action in parser._actions
        for name in action.option_strings
        if name.startswith("--")
    }


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_documented(verb: str) -> None:
    assert f"probeline {verb}" in README


@pytest.mark.parametrize("option", sorted(options() - {"--help"}))
def test_every_option_is_documented(option: str) -> None:
    assert re.search(rf"`[^`\n]*{option}\b", README), f"{option} is not in the README"


@pytest.mark.parametrize("recipe", recipes.names())
def test_every_recipe_is_documented(recipe: str) -> None:
    assert re.search(rf"^\| .*`{recipe}`.* \|$", README, re.MULTILINE)


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_is_documented_and_has_a_line_of_help(target: str) -> None:
    assert f"make {target}" in README
    assert re.search(rf"^{target}:.*## \w", MAKEFILE, re.MULTILINE)


def test_help_shows_every_target() -> None:
    shown = subprocess.run(["make", "help"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert set(re.findall(r"^  make ([\w-]+)", shown, re.MULTILINE)) == set(TARGETS)


@pytest.mark.parametrize(
    "file", ["README.md", "pipeline/README.md", "cache/README.md", "reports/README.md", "CHANGELOG.md"]
)
def test_links_lead_somewhere(file: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (ROOT / file).parent.joinpath(target).exists(), target


def test_commands_in_the_readme_are_understood() -> None:
    commands = re.findall(r"^\s*(?:\$ )?probeline ([a-z].*)$", README, re.MULTILINE)
    assert len(commands) >= 5
    for command in commands:
        words = command.split("#")[0].split()
        _parser().parse_args(words)


def test_the_format_is_specified_member_by_member(tmp_path: Path, backbone: Backbone) -> None:
    text = (ROOT / "cache" / "README.md").read_text(encoding="utf-8")
    entry = dataclasses.replace(store.locate(tmp_path, make_part(3), backbone, "fp32"))
    store.begin(entry)
    store.write_shard(entry, 0, np.zeros((3, 5), np.float32), {})
    records = [unseal(path.read_bytes()) for path in entry.folder.glob("*.json")]
    assert len(records) == 2
    for record in records:
        assert record is not None
        for member in [*record, *record.get("inputs", {})]:
            assert f"`{member}`" in text, member


def test_the_readmes_tables_come_from_the_samples() -> None:
    rows = re.findall(r"^\| (?:\S+ \| )?(?:linear|MLP|ridge|full|from|k-NN|nearest|scikit).*", README, re.MULTILINE)
    samples = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "reports" / "sample").rglob("*.md"))
    assert len(rows) >= 6
    for row in rows:
        assert row in samples, row
