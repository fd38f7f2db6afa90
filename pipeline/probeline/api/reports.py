"""Reports from Python."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probeline.api.checks import DataChecks
from probeline.api.console import raises_in_keywords
from probeline.api.curves import LearningCurve
from probeline.api.results import Result, TargetResult
from probeline.api.scratch import ScratchFolder
from probeline.disk import publish
from probeline.errors import BadOption, MissingExtra
from probeline.files.paths import path_of
from probeline.files.reading import RECORD, TEXT, read_bytes, read_text
from probeline.names import PENULTIMATE, TOP1
from probeline.options.checks import check_settings
from probeline.options.costs import costs_of_classes
from probeline.options.settings import Settings
from probeline.report.board.board import Board as BoardContent
from probeline.report.board.board import make_board
from probeline.report.board.tables import board_records
from probeline.report.board.terminal import board_table
from probeline.report.board.write import BoardFiles, write_board
from probeline.report.folder import ReportFolder
from probeline.report.model.content import ReportContent
from probeline.report.model.rows import blocks
from probeline.report.records.data_conditions import data_conditions
from probeline.report.records.groups import grouping_of
from probeline.report.terminal import row_records, terminal_table
from probeline.report.write import Report as ReportFiles
from probeline.report.write import write_report

if TYPE_CHECKING:
    import pandas as pd

Comparable = Result | LearningCurve | DataChecks

_FILES = {".html": "page", ".md": "markdown", ".csv": "csv", ".json": "json"}
"""The file of a report by its suffix."""

_HEIGHT = 720
"""Pixels of the page in a notebook."""


def _framed(page: Path) -> str:
    """Return a page in a frame."""
    content = html.escape(read_text(page, TEXT), quote=True)
    return f'<iframe srcdoc="{content}" width="100%" height="{_HEIGHT}" style="border:0"></iframe>'


def _frame_of(records: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return a data frame with a line for each record."""
    from probeline.api.frames import frame

    frame({})  # says what to install
    import pandas as pd

    return pd.DataFrame(list(records))


class Report:
    """Several results side by side: a page, tables and figures, with paired tests on the same test rows."""

    def __init__(self, content: ReportContent) -> None:
        self._content = content

    def __repr__(self) -> str:
        return terminal_table(self._content.blocks, curves=self._content.curves)

    def _repr_html_(self) -> str:
        """Return the page in a frame, as notebooks show it."""
        return _framed(self._files.page)

    def to_frame(self) -> pd.DataFrame:
        """Return a pandas data frame with one line for each row and all its fields, shares in [0, 1]."""
        return _frame_of(row_records(self._content.blocks))

    def save(self, path: str | Path) -> Path:
        """Write the page (``.html``), the report (``.md``), the table (``.csv``) or the record (``.json``).

        A path without a suffix is a folder, and gets all of them with the figures. A file is replaced; in a folder a
        file that is not of a report is put aside with a warning.

        Returns
        -------
        Path
            What was written.

        Raises
        ------
        BadOption
            Another suffix, or a link where a file of the folder belongs.
        CannotWrite
        """
        target = path_of(path).expanduser()
        if not target.suffix:
            source = self._files
            tables = [source.csv, *([source.groups] if source.groups else [])]
            paths = [source.markdown, *tables, source.page, *source.figures, source.json]
            names = [path.relative_to(source.page.parent).as_posix() for path in paths]
            folder = ReportFolder(target.resolve())
            folder.refuse_links(names)
            for name, path in zip(names, paths, strict=True):
                folder.publish(name, read_bytes(path, RECORD))
            folder.remove_stale(names)
            folder.warn_of_strangers()
            return target
        if target.suffix not in _FILES:
            raise BadOption("no such file of a report", expected=" ".join(_FILES), got=target.name)
        file: Path = getattr(self._files, _FILES[target.suffix])
        publish(target, read_bytes(file, RECORD), replace=True)
        return target

    @cached_property
    def _folder(self) -> ScratchFolder:
        return ScratchFolder()

    @cached_property
    def _files(self) -> ReportFiles:
        return write_report(replace(self._content, folder=self._folder.path))


@raises_in_keywords
def compare(
    results: Comparable | Iterable[Comparable],
    *,
    by: Mapping[str, Any] | None = None,
    costs: Mapping[str, float] | None = None,
) -> Report:
    """Return the report of one result, or of several on the same test rows.

    Parameters
    ----------
    results : Result, or iterable of Result, LearningCurve and DataChecks
        As :func:`probeline.probe`, :func:`probeline.finetune`, :func:`probeline.curve` and :func:`probeline.doctor`
        return them; at least one `Result`.
    by : mapping, optional
        Accuracy by group of test rows: a title for each kind of group, and its values as :meth:`Result.by_group` takes
        them.
    costs : mapping, optional
        Of two classes by name: what a row of each costs that is called the other. Validation chooses a threshold by it.

    Raises
    ------
    BadOption
        The results are of other rows, labels or classes, or the costs are not positive numbers of both of two classes.
    BadData
        Values in `by` that are not one for each row.
    """
    results = [results] if isinstance(results, Comparable) else list(results)
    scored = [result for result in results if isinstance(result, Result)]
    if any(isinstance(result, TargetResult) for result in results):
        raise BadOption(
            "results of several labels or of numbers have no report in Python",
            expected="results of probeline.probe or probeline.finetune",
            remedy="read their metrics and predictions, or run probeline compare --task on the data set",
        )
    if not scored:
        raise BadOption("nothing to compare", expected="results of probeline.probe or probeline.finetune")
    first = scored[0]
    own = (first.session.splits_sha256, first.session.dataset.class_names)
    for result in results:
        if (result.session.splits_sha256, result.session.dataset.class_names) != own:
            other = result.session.dataset.title
            raise BadOption(
                "results of other rows, labels or classes are not comparable",
                expected=f"those of {first.session.dataset.title}, with the same test, val and seed of the splits",
                got=other,
            )
    checks = [result.findings for result in results if isinstance(result, DataChecks)]
    scores = {score.key: score for result in scored for score in result.scores}
    return Report(
        ReportContent(
            blocks=blocks(list(scores.values())),
            curves=[result.record for result in results if isinstance(result, LearningCurve)],
            findings=checks[-1] if checks else None,
            groupings=[grouping_of(title, values, first.session) for title, values in (by or {}).items()],
            costs=None if costs is None else costs_of_classes(_words_of(costs), own[1]),
            more_conditions=data_conditions(first.session),
        )
    )


def _words_of(costs: Mapping[str, float]) -> list[str]:
    """Return costs by class as the words of ``--costs``."""
    if not isinstance(costs, Mapping) or not costs:
        raise BadOption("bad costs", expected='a mapping such as {"ants": 10, "bees": 1}', got=repr(costs))
    return [f"{name}={cost}" for name, cost in costs.items()]


_BOARD_FILES = {**_FILES, ".parquet": "parquet"}


class Board:
    """Backbones over several data sets: accuracies, mean ranks, tests over the data sets, and costs."""

    def __init__(self, content: BoardContent) -> None:
        self._content = content

    def __repr__(self) -> str:
        return board_table(self._content)

    def _repr_html_(self) -> str:
        """Return the page in a frame, as notebooks show it."""
        return _framed(self._files.page)

    @property
    def recommended(self) -> str | None:
        """The backbone with the best mean rank on validation; None without any comparable row."""
        standing = self._content.standing
        return None if standing is None else self._content.titles[standing.recommended.net]

    @property
    def missing(self) -> list[tuple[str, str]]:
        """What some backbone has and others have not, each with the command that makes it."""
        return [(one.what, one.command) for one in self._content.missing.all]

    def to_frame(self) -> pd.DataFrame:
        """Return a pandas data frame with one line for each row and all its fields, shares in [0, 1].

        Of each `dataset` and `title` one line has the `use` ``shown``: the comparable method that is best on
        validation.
        """
        return _frame_of(board_records(self._content))

    def ranking(self) -> pd.DataFrame:
        """Return a pandas data frame with a line for each backbone that was measured on all data sets of the ranking.

        It has the mean rank on test and on validation, the mean normalised accuracy and the plain mean of top-1 with
        95 % intervals, the number of data sets on which no other is higher, seconds and parameters.
        """
        standing = self._content.standing
        rows = standing.nets if standing else ()
        return _frame_of(
            [
                {
                    "title": self._content.titles[one.net],
                    **asdict(one.net),
                    "mean_rank": one.mean_rank,
                    "val_rank": one.val_rank,
                    "normalised": one.normalised,
                    "normalised_low": one.normalised_interval[0],
                    "normalised_high": one.normalised_interval[1],
                    "top1": one.top1,
                    "top1_low": one.top1_interval[0],
                    "top1_high": one.top1_interval[1],
                    "highest_on": one.wins,
                    "cold_seconds": one.cold_seconds,
                    "warm_seconds": one.warm_seconds,
                    "parameters": one.parameters,
                }
                for one in rows
            ]
        )

    def save(self, path: str | Path) -> Path:
        """Write the page (``.html``), the board (``.md``), all rows (``.csv``, ``.parquet``) or the record (``.json``).

        A path without a suffix is a folder, and gets all of them with the figures, as ``probeline board --out`` does.

        Returns
        -------
        Path
            What was written.

        Raises
        ------
        BadOption
            Another suffix, a folder with the report of a data set, or a link where a file belongs.
        MissingExtra
            Parquet without pyarrow.
        CannotWrite
        """
        target = path_of(path).expanduser()
        if not target.suffix:
            write_board(replace(self._content, folder=target.resolve()))
            return target
        if target.suffix not in _BOARD_FILES:
            raise BadOption("no such file of a board", expected=" ".join(_BOARD_FILES), got=target.name)
        file: Path | None = getattr(self._files, _BOARD_FILES[target.suffix])
        if file is None:
            raise MissingExtra("Parquet needs pyarrow", remedy="pip install 'probeline[parquet]'")
        publish(target, read_bytes(file, RECORD), replace=True)
        return target

    @cached_property
    def _folder(self) -> ScratchFolder:
        return ScratchFolder()

    @cached_property
    def _files(self) -> BoardFiles:
        return write_board(replace(self._content, folder=self._folder.path))


@raises_in_keywords
def board(
    folder: str | Path = "reports",
    datasets: Iterable[str] = (),
    *,
    precision: str = "fp32",
    image_size: int | None = None,
    tap: str = PENULTIMATE,
    views: int = 0,
    metric: str = TOP1,
    method: str | None = None,
) -> Board:
    """Return the board of all reports in a folder: which backbone is best over several data sets?

    Parameters
    ----------
    folder : path
        Of the reports, with one folder for each data set, as ``--reports`` names it.
    datasets : iterable of str
        Names of reports; all by default, but only one of those that share images.
    precision, image_size, tap, views, metric
        The conditions of the rows: one precision, one tap, one number of views and one metric that selected them. By
        default each backbone has the image size that it was scored at on the most data sets.
    method : str, optional
        Compare by this method alone; by default by the best on validation of those that all backbones have.

    Raises
    ------
    MissingData
        There is no such folder.
    UnknownName
        There is no report of a name, or no such method, metric or precision.
    """
    settings = Settings.of(
        words=tuple(datasets),
        reports=path_of(folder).expanduser(),
        precision=precision,
        image_size=image_size,
        taps=(tap,),
        views=views,
        metric=metric,
        method=method,
    )
    check_settings(settings)
    return Board(make_board(settings))
