"""Two data sets of one name have reports of their own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from probeline.cli import program
from probeline.errors import BadOption
from probeline.identity import seal
from probeline.results.owner import FILE, claim_folder
from small_runs import make_coloured

pytestmark = pytest.mark.usefixtures("one_thread")


def test_a_folder_belongs_to_who_came_first(tmp_path: Path) -> None:
    one, other = tmp_path / "a" / "flowers", tmp_path / "b" / "flowers"
    one.mkdir(parents=True)
    other.mkdir(parents=True)
    folder = tmp_path / "reports" / "folder--flowers"
    assert claim_folder(folder, one, read_only=False) == folder
    second = claim_folder(folder, other, read_only=False)
    assert second.name.startswith("folder--flowers-")
    assert claim_folder(folder, other, read_only=False) == second
    assert claim_folder(folder, one, read_only=False) == folder


def test_a_data_set_that_moved_keeps_its_report(tmp_path: Path) -> None:
    one, moved = tmp_path / "a" / "flowers", tmp_path / "b" / "flowers"
    one.mkdir(parents=True)
    folder = tmp_path / "reports" / "folder--flowers"
    claim_folder(folder, one, read_only=False)
    shutil.move(tmp_path / "a", tmp_path / "b")
    assert claim_folder(folder, moved, read_only=False) == folder
    assert str(moved) in (folder / FILE).read_text(encoding="utf-8")


def test_no_folder_is_claimed_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "flowers").mkdir()
    (tmp_path / "reports").mkdir()
    (tmp_path / "reports" / "x").symlink_to(tmp_path / "gone")
    with pytest.raises(BadOption, match="this is a link"):
        claim_folder(tmp_path / "reports" / "x", tmp_path / "flowers", read_only=False)
    assert not (tmp_path / "gone").exists()


def test_a_list_of_somebody_else_is_kept(tmp_path: Path) -> None:
    folder = make_coloured(tmp_path / "photos", n=6)
    listed = tmp_path / "reports" / "folder--photos" / "unreadable.csv"
    common = ["extract", "--dataset", f"folder:{folder}", "--backbone", "squeezenet1_1", "--weights", "none"]
    common += ["--image-size", "32", "--cache", str(tmp_path / "cache"), "--reports", str(tmp_path / "reports")]
    listed.parent.mkdir(parents=True)
    listed.write_text("mine")
    assert program.main(common) == 0
    assert listed.read_text() == "mine"
    (folder / "blue" / "00.png").write_bytes((folder / "blue" / "00.png").read_bytes()[:50])
    assert program.main(common) == 0
    assert "00.png" in listed.read_text(encoding="utf-8")
    assert listed.with_name("unreadable.csv.bad").read_text() == "mine"
    (folder / "blue" / "00.png").unlink()
    assert program.main(common) == 0
    assert not listed.exists()


def test_nothing_is_written_by_a_reader(tmp_path: Path) -> None:
    (tmp_path / "flowers").mkdir()
    assert claim_folder(tmp_path / "reports" / "x", tmp_path / "flowers", read_only=True) == tmp_path / "reports" / "x"
    assert not (tmp_path / "reports").exists()


@pytest.mark.parametrize("place", ["", "\0", "x" * 5000, "/" + "x" * 300, 5, None, ["/"], "\ud800", "/gone"])
def test_an_odd_note_of_an_owner_is_none(place: object, tmp_path: Path) -> None:
    (tmp_path / "flowers").mkdir()
    folder = tmp_path / "reports" / "folder--flowers"
    folder.mkdir(parents=True)
    (folder / FILE).write_bytes(seal({"place": place, "real": place}))
    assert claim_folder(folder, tmp_path / "flowers", read_only=True) == folder


def test_the_reports_of_two_folders_of_one_name_are_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [make_coloured(tmp_path / place / "photos", n=6) for place in ("a", "b")]
    (folders[1] / "blue" / "00.png").unlink()
    common = ["--backbone", "squeezenet1_1", "--weights", "none", "--image-size", "32", "--sgd", "epochs=1", "lr=1e-3"]
    common += ["--cache", str(tmp_path / "cache"), "--reports", str(tmp_path / "reports")]
    for folder in folders:
        assert program.main(["probe", "--dataset", f"folder:{folder}", *common]) == 0
    assert "is another data set's" in capsys.readouterr().out
    assert len(list((tmp_path / "reports").glob("folder--photos*/scores"))) == 2
    assert program.main(["compare", "--dataset", f"folder:{folders[0]}", *common]) == 0
    assert "left out" not in capsys.readouterr().out


def test_a_list_of_unreadable_images_is_of_its_own_data_set(tmp_path: Path) -> None:
    folders = [make_coloured(tmp_path / place / "photos", n=6) for place in ("a", "b")]
    for folder, size in zip(folders, (50, 40), strict=True):
        whole = (folder / "blue" / "00.png").read_bytes()
        (folder / "blue" / "00.png").write_bytes(whole[:size])
    common = ["--backbone", "squeezenet1_1", "--weights", "none", "--image-size", "32"]
    common += ["--cache", str(tmp_path / "cache"), "--reports", str(tmp_path / "reports")]
    for folder in (*folders, folders[0]):
        assert program.main(["extract", "--dataset", f"folder:{folder}", *common]) == 0
    lists = [path.read_text(encoding="utf-8") for path in (tmp_path / "reports").glob("*/unreadable.csv")]
    assert len(lists) == len(set(lists)) == 2
