"""The folders of a layout of fixed depth, among links of others."""

from __future__ import annotations

from pathlib import Path

import pytest

from probeline.files.levels import folders_at


def test_each_folder_is_found_once_by_its_own_name(tmp_path: Path) -> None:
    top = tmp_path / "top"
    (top / "data" / "net" / "part").mkdir(parents=True)
    (top / "data" / "net" / "file").touch()
    (tmp_path / "elsewhere" / "net" / "other").mkdir(parents=True)
    (top / "again").symlink_to("data")
    (top / "linked").symlink_to(tmp_path / "elsewhere")
    (top / "nowhere").symlink_to("nothing")
    assert folders_at(top, 3) == [top / "data" / "net" / "part", top / "linked" / "net" / "other"]
    assert folders_at(top / "missing", 3) == []


def test_links_do_not_multiply_the_folders_that_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data" / "net" / "part").mkdir(parents=True)
    for number in range(50):  # 50^3 paths
        (tmp_path / f"loop{number}").symlink_to(tmp_path)
    listed: list[Path] = []
    iterdir = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda folder: listed.append(folder) or iterdir(folder))
    assert folders_at(tmp_path, 3) == [tmp_path / "data" / "net" / "part"]
    assert len(listed) == 3
