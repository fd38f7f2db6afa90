"""Entries of torch.hub: the user's own folders run, and code of a repository does not unless it is trusted."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from made_nets import SMALL_NET, write_code
from probeline.backbones.build import build
from probeline.backbones.registry import check_name
from probeline.errors import BadOption, DownloadFailed, MissingData, MissingExtra, ProbelineError, UnknownName
from small_runs import extracted

HUBCONF = 'dependencies = ["torch"]\nfrom helper_of_hubconf import small as tiny\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_code(tmp_path / "repo", SMALL_NET, "helper_of_hubconf.py")
    return write_code(tmp_path / "repo", HUBCONF, "hubconf.py").parent


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Torch.hub's folder on a machine without network, and no terminal to ask in."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    (tmp_path / "home" / "hub").mkdir(parents=True)
    return tmp_path / "home" / "hub"


def test_an_entry_of_a_local_folder_is_extracted(folder: Path, tmp_path: Path) -> None:
    name = f"hub:{folder}:tiny"
    session = extracted(tmp_path / "cache", backbones=(name,), weights="DEFAULT")
    record, loaded = session.backbone(name)
    assert session.features(record, "all").features.shape == (60, 8)
    assert loaded is not None
    assert "no preprocessing is stated" in loaded.backbone.notes[0]


def test_the_entry_may_state_its_preprocessing(folder: Path) -> None:
    write_code(folder, HUBCONF + "from helper_of_hubconf import preprocess\n", "hubconf.py")
    assert build(f"hub:{folder}:tiny", "DEFAULT").preprocess.crop == 28


def test_code_that_nobody_trusted_is_not_fetched(home: Path) -> None:
    with pytest.raises(
        BadOption, match=r"you have not trusted yet; read it, and if you trust it run: python -c '.*True"
    ):
        build("hub:facebookresearch/dinov2:dinov2_vits14", "DEFAULT")
    assert not list(home.iterdir())


def test_a_trusted_repository_that_cannot_be_fetched_says_how(home: Path) -> None:
    (home / "trusted_list").write_text("owner_repo\n")
    with pytest.raises(DownloadFailed, match=r"cannot fetch the code of hub:owner/repo: https://github.com/owner/repo"):
        build("hub:owner/repo:net", "DEFAULT")


def test_a_repository_in_torch_hubs_cache_needs_no_network(home: Path, folder: Path) -> None:
    folder.rename(home / "owner_repo_main")
    assert build("hub:owner/repo:tiny", "DEFAULT").weights == "DEFAULT"
    (home / "owner_repo_main").rename(home / "owner_repo_v1.0")
    assert build("hub:owner/repo:v1.0:tiny", "DEFAULT").weights == "DEFAULT"


@pytest.mark.parametrize(
    ("code", "error", "line"),
    [
        ('dependencies = ["nowhere_to_be"]\n', MissingExtra, r"needs nowhere_to_be; pip install nowhere_to_be"),
        ("import nowhere_to_be\n", MissingExtra, r"needs nowhere_to_be; pip install nowhere_to_be"),
        ("def other():\n    pass\n", UnknownName, r"unknown function of \S+hubconf.py 'tiny'.*one of: other"),
        ("def tiny():\n    raise OSError('no weights')\n", ProbelineError, r"hubconf.py:2 \(got OSError: no weights\)"),
    ],
)
def test_what_an_entry_lacks_is_one_line(code: str, error: type[Exception], line: str, tmp_path: Path) -> None:
    write_code(tmp_path, code, "hubconf.py")
    with pytest.raises(error, match=line):
        build(f"hub:{tmp_path}:tiny", "DEFAULT")


def test_wrong_names_are_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(BadOption, match=r"bad --backbone: hub:dinov2 \(expected hub:OWNER/REPO:ENTRY"):
        check_name("hub:dinov2")
    with pytest.raises(MissingData, match=r"no entries of torch.hub in the folder: \S+ \(expected hubconf.py\)"):
        check_name(f"hub:{tmp_path}:net")
