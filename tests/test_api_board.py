"""The board from Python: the numbers of the command, as frames and files."""

from __future__ import annotations

from pathlib import Path

import pytest

import probeline
from made_boards import make_reports
from probeline.errors import BadOption, MissingData, UnknownName

pd = pytest.importorskip("pandas", reason="pandas is not installed")


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three data sets and nets; tests may read it."""
    return make_reports(tmp_path_factory.mktemp("reports"))


@pytest.fixture(scope="module")
def board(reports: Path) -> probeline.Board:
    return probeline.board(reports)


def test_the_table_is_a_frame(board: probeline.Board) -> None:
    rows = board.to_frame()
    assert len(rows) == 18
    assert list(rows.columns[:3]) == ["dataset", "title", "use"]
    shown = rows[rows.use == "shown"].pivot(index="title", columns="dataset", values="top1")
    assert shown.loc["two"].to_dict() == {"alpha": 0.85, "beta": 0.90, "gamma": 0.55}
    assert rows.groupby("title").mean_rank.first().to_dict() == {"one": 1.0, "two": 2.0, "three": 3.0}


def test_the_ranking_is_a_frame(board: probeline.Board) -> None:
    ranking = board.ranking()
    assert list(ranking.title) == ["one", "two", "three"]
    assert list(ranking.mean_rank) == [1.0, 2.0, 3.0]
    assert ranking.top1.tolist() == pytest.approx(
        [(0.9 + 0.95 + 0.6) / 3, (0.85 + 0.9 + 0.55) / 3, (0.7 + 0.85 + 0.5) / 3]
    )
    assert (ranking.normalised_low < ranking.normalised).all()
    assert (ranking.normalised < ranking.normalised_high).all()
    assert board.recommended == "one"


def test_it_is_said_as_in_a_terminal(board: probeline.Board) -> None:
    assert "Recommended: one, because it has the best mean rank on validation" in repr(board)
    assert "<iframe" in board._repr_html_()


def test_conditions_and_names_choose_rows(reports: Path) -> None:
    some = probeline.board(reports, ["alpha", "beta"], method="knn")
    rows = some.to_frame()
    assert set(rows.dataset) == {"alpha", "beta"}
    assert set(rows.method) == {"knn"}
    assert probeline.board(reports, precision="bf16").to_frame().empty
    assert probeline.board(reports, precision="bf16").ranking().empty
    assert probeline.board(reports, precision="bf16").recommended is None


def test_what_is_missing_is_listed_with_commands(tmp_path: Path) -> None:
    make_reports(tmp_path, {"alpha": {"one": {"probe": 0.7, "knn": 0.6}, "two": {"probe": 0.6}}})
    ((what, command),) = probeline.board(tmp_path).missing
    assert what == "two on alpha: k-NN"
    assert command.startswith("probeline baselines --dataset alpha --backbone two ")


@pytest.mark.parametrize("suffix", [".html", ".md", ".csv", ".json", ".parquet"])
def test_a_file_of_it_is_saved(suffix: str, board: probeline.Board, tmp_path: Path) -> None:
    path = board.save(tmp_path / f"mine{suffix}")
    assert path.stat().st_size > 1000
    if suffix == ".csv":
        assert len(pd.read_csv(path)) == 18
    if suffix == ".parquet":
        assert set(pd.read_parquet(path).dataset) == {"alpha", "beta", "gamma"}


def test_all_of_it_is_saved_in_a_folder(board: probeline.Board, tmp_path: Path) -> None:
    board.save(tmp_path / "mine")
    assert (tmp_path / "mine" / "figures" / "critical-difference.png").exists()
    assert (tmp_path / "mine" / "board.json").exists()


def test_what_cannot_be_is_refused(board: probeline.Board, reports: Path, tmp_path: Path) -> None:
    with pytest.raises(BadOption, match=r"no such file of a board \(expected \.html \.md \.csv \.json \.parquet"):
        board.save(tmp_path / "mine.pdf")
    with pytest.raises(BadOption, match="this folder holds the report of a data set"):
        board.save(reports / "alpha")
    with pytest.raises(MissingData, match="no such folder of reports"):
        probeline.board(tmp_path / "nowhere")
    with pytest.raises(UnknownName, match="unknown precision 'fp8'"):
        probeline.board(reports, precision="fp8")
    with pytest.raises(UnknownName, match="unknown method 'half'"):
        probeline.board(reports, method="half")
