"""What a release consists of: one version everywhere, a citation, an image's steps, and the files of the archive."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import probeline
from probeline.options.settings import Settings

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def read(file: str) -> str:
    return (ROOT / file).read_text(encoding="utf-8")


def cited(name: str) -> str:
    """Return a plain value of the citation, or its list as one line."""
    (value,) = re.findall(rf"^{name}:(.*(?:\n  .*)*)", read("CITATION.cff"), re.MULTILINE)
    return " ".join(value.split())


def test_one_version_is_given_everywhere() -> None:
    heads = re.findall(r"^## (\S+)", read("CHANGELOG.md"), re.MULTILINE)
    assert {PROJECT["version"], cited("version"), heads[0]} == {probeline.__version__}


def test_the_citation_agrees_with_the_project() -> None:
    assert cited("cff-version") == "1.2.0"
    assert cited("license") == PROJECT["license"]
    assert cited("title").lower() == PROJECT["name"]
    keywords = cited("keywords").removeprefix("- ").split(" - ")
    assert set(PROJECT["keywords"]) - {"HDF5"} <= set(keywords)


PYTHONS = {one.rpartition(" ")[2] for one in PROJECT["classifiers"] if re.search(r":: Python :: 3\.", one)}
"""The versions of Python that the project says it was tested with."""


def test_the_oldest_python_is_among_those_that_were_tested() -> None:
    assert ">=" + min(PYTHONS, key=lambda version: int(version.partition(".")[2])) == PROJECT["requires-python"]


# The image


def instructions() -> list[tuple[str, str]]:
    """Return the instructions of the Containerfile and their words."""
    joined = re.sub(r"\\\n\s*", "", read("Containerfile"))
    lines = [line for line in joined.splitlines() if line and not line.startswith("#")]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def test_the_image_copies_files_that_exist_and_are_sent_to_the_builder() -> None:
    sent = {line[1:] for line in read(".dockerignore").splitlines() if line.startswith("!")}
    copied = {file for word, rest in instructions() if word == "COPY" for file in rest.split()[:-1]}
    assert copied == sent
    for file in copied:
        assert (ROOT / file).exists(), file
    # What the metadata of the project name must be there to build it.
    assert {PROJECT["readme"], *PROJECT["license-files"], "pyproject.toml", "pipeline"} <= copied


def test_the_image_runs_the_steps_that_are_checked() -> None:
    runs = [rest for word, rest in instructions() if word == "RUN"]
    assert runs[0].startswith("/source/.ci/container-steps /opt/probeline ")
    assert os.access(ROOT / ".ci" / "container-steps", os.X_OK)
    assert ".ci/container-steps" in read(".ci/run")
    extras = re.findall(r'"\$source\[([\w,-]+)\]"', read(".ci/container-steps"))
    assert set(extras[0].split(",")) <= set(PROJECT["optional-dependencies"])


def test_the_image_has_a_tested_python_and_writes_where_the_program_does_but_not_as_root() -> None:
    by_word = dict(instructions())
    assert re.fullmatch(r"python:(3\.\d+)-slim", by_word["FROM"]).group(1) in PYTHONS
    assert by_word["USER"] == "probeline"
    assert by_word["ENTRYPOINT"] == '["probeline"]'
    settings = Settings()
    folders = {f"/work/{folder}" for folder in (settings.folders.cache, settings.folders.reports, settings.data.data)}
    assert folders <= set(re.findall(r'"([^"]+)"', by_word["VOLUME"]))
    assert by_word["WORKDIR"] == "/work"


# What Contributing shows


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Copies of the sources, with what Python has compiled of them, and of the examples."""
    for folder in ("pipeline/probeline", "examples/plugin"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    return tmp_path


def test_examples_of_contributing_become_parts_of_the_package(checkout: Path) -> None:
    blocks = re.findall(r"^```console\n(.*?)^```", read("CONTRIBUTING.md"), re.MULTILINE | re.DOTALL)
    lines = [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]
    copies = [line.split() for line in lines if line.startswith("cp ")]
    assert len(copies) == 2
    for _, source, target in copies:
        assert not (checkout / target).exists()
        shutil.copyfile(checkout / source, checkout / target)
    environment = {**os.environ, "PYTHONPATH": str(checkout / "pipeline"), "OMP_NUM_THREADS": "1"}

    def run(*words: str) -> str:
        command = [sys.executable, "-m", "probeline", *words]
        done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    lists = [line.split()[1:] for line in lines if line.startswith(".venv/bin/probeline list")]
    listed = [run(*words).splitlines() for words in lists]
    assert [spec in one for spec, one in zip(("shapes:N", "random:WIDTH"), listed, strict=True)] == [True, True]
    assert "probe: shapes x random:16: test top-1 " in run(
        "probe", "--dataset", "shapes:60", "--backbone", "random:16", "--device", "cpu"
    )
