"""Reports from Python."""

from __future__ import annotations

import html
from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from probeline.api.checks import DataChecks
from probeline.api.curves import LearningCurve
from probeline.api.results import Result
from probeline.api.scratch import ScratchFolder
from probeline.disk import publish
from probeline.errors import BadOption
from probeline.files.paths import path_of
from probeline.files.reading import RECORD, TEXT, read_bytes, read_text
from probeline.report.folder import ReportFolder
from probeline.report.model.content import ReportContent
from probeline.report.model.rows import blocks
from probeline.report.records.data_conditions import data_conditions
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


class Report:
    """Several results side by side: a page, tables and figures, with paired tests on the same test rows."""

    def __init__(self, content: ReportContent) -> None:
        self._content = content

    def __repr__(self) -> str:
        return terminal_table(self._content.blocks, curves=self._content.curves)

    def _repr_html_(self) -> str:
        """Return the page in a frame, as notebooks show it."""
        page = html.escape(read_text(self._files.page, TEXT), quote=True)
        return f'<iframe srcdoc="{page}" width="100%" height="{_HEIGHT}" style="border:0"></iframe>'

    def to_frame(self) -> pd.DataFrame:
        """Return a pandas data frame with one line for each row and all its fields, shares in [0, 1]."""
        from probeline.api.frames import frame

        frame({})  # says what to install
        import pandas as pd

        return pd.DataFrame(row_records(self._content.blocks))

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
            paths = [source.markdown, source.csv, source.page, *source.figures, source.json]
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


def compare(results: Comparable | Iterable[Comparable]) -> Report:
    """Return the report of one result, or of several on the same test rows.

    Parameters
    ----------
    results : Result, or iterable of Result, LearningCurve and DataChecks
        As :func:`probeline.probe`, :func:`probeline.finetune`, :func:`probeline.curve` and :func:`probeline.doctor`
        return them; at least one `Result`.

    Raises
    ------
    BadOption
        The results are of other rows, labels or classes.
    """
    results = [results] if isinstance(results, Comparable) else list(results)
    scored = [result for result in results if isinstance(result, Result)]
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
            more_conditions=data_conditions(first.session),
        )
    )
