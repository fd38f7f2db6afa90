"""The plug-in package of the examples, installed as users install one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the installed package."""
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copytree(EXAMPLES / "plugin", folder / "source")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-index", "--no-deps"]
    target = ["--no-build-isolation", "--target", str(folder / "site"), str(folder / "source")]
    done = subprocess.run([*pip, *target], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "site"


def run(site: Path, *words: str) -> str:
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "probeline", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_what_it_adds_is_listed_and_used(site: Path, tmp_path: Path) -> None:
    assert "shapes:N" in run(site, "list", "datasets").splitlines()
    assert "random:WIDTH" in run(site, "list", "backbones").splitlines()
    folders = ["--cache", str(tmp_path / "cache"), "--reports", str(tmp_path / "reports")]
    common = ["--dataset", "shapes:60", "--backbone", "random:16", *folders]
    rows = json.loads(run(site, "probe", *common, "--sgd", "epochs=1", "lr=1e-3", "--json"))["probe"]
    by_method = {row["method"]: row for row in rows}
    assert by_method["discriminant"]["chosen"].keys() == {"shrinkage"}
    assert {row["backbone"] for row in rows} == {"random:16"}
    artifact = tmp_path / "artifact"
    run(site, "export", *common, "--method", "discriminant", "--out", str(artifact))
    assert (artifact / "artifact.json").exists() or list(artifact.glob("*.json"))
