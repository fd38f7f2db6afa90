"""The board: nets over several data sets, as one value from which tables, figures and pages are made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from probeline.errors import MissingData
from probeline.files.decode import encode
from probeline.format import decimals
from probeline.identity import BOARD_VERSION, digest
from probeline.options.settings import Settings, Step
from probeline.report.board.comparable import best_on_validation, by_data, comparable, select
from probeline.report.board.entries import BoardData, Cells, Entry, Net, net_titles
from probeline.report.board.missing import Missing, missing_of_recipe, missing_rows
from probeline.report.board.predictors import Predictor, predictors
from probeline.report.board.records import BoardRecords, load_records
from probeline.report.board.standing import Standing, standing
from probeline.report.model.content import ReportFigure
from probeline.report.model.differences import Difference, differences
from probeline.results.methods import method_info, order


@dataclass(frozen=True, kw_only=True)
class Board:
    """Nets over several data sets."""

    entries: tuple[Entry, ...]
    """All rows that are shown."""
    cells: Cells
    """Of the comparable rows of each net on each data set the one that is best on validation."""
    records: BoardRecords
    missing: Missing = field(default_factory=Missing)
    conditions: Mapping[str, Any] = field(default_factory=dict)
    """The options that say which records are shown, by name."""
    reports: Path = Path()
    """The folder of the reports."""
    folder: Path = Path()
    """Where the board is written."""
    figures: Mapping[str, ReportFigure] = field(default_factory=dict)

    @cached_property
    def datasets(self) -> list[BoardData]:
        """The data sets with a row, by name."""
        return sorted({entry.data for entry in self.entries})

    @cached_property
    def titles(self) -> dict[Net, str]:
        """A title of each net that tells it from the others."""
        return net_titles(sorted({entry.net for entry in self.entries}))

    @cached_property
    def standing(self) -> Standing | None:
        """How the nets stand that were measured on the same data sets; None without any row."""
        return standing(self.cells)

    @cached_property
    def nets(self) -> list[Net]:
        """All nets: first those of the standing, the best mean rank first, then the others by title."""
        ranked = [one.net for one in self.standing.nets] if self.standing else []
        return ranked + sorted(self.titles.keys() - {*ranked}, key=self.titles.__getitem__)

    @cached_property
    def compared(self) -> set[tuple[str, ...]]:
        """The keys of the entries by which nets are compared."""
        return {entry.row.keys for own in by_data(self.entries).values() for entry in comparable(own)}

    @cached_property
    def methods(self) -> dict[str, Standing]:
        """How the nets stand by each method that is comparable on every data set of the standing, by its name."""
        found: dict[str, Standing] = {}
        if self.standing is None:
            return found
        nets, datasets = {one.net for one in self.standing.nets}, self.standing.datasets
        shown = [
            entry
            for entry in self.entries
            if entry.row.keys in self.compared and entry.net in nets and entry.data in datasets
        ]
        for name in sorted({entry.row.method for entry in shown}, key=order):
            own: dict[tuple[Net, BoardData], list[Entry]] = {}
            for entry in shown:
                if entry.row.method == name:
                    own.setdefault((entry.net, entry.data), []).append(entry)
            if len(own) == len(nets) * len(datasets):
                # Of several settings of a method the best on validation is shown, as of several methods.
                cells = {place: best_on_validation(entries) for place, entries in own.items()}
                if (by_method := standing(cells)) is not None:
                    found[name] = by_method
        return found

    @cached_property
    def differences(self) -> dict[tuple[Net, BoardData], Difference]:
        """The paired difference of each shown row from the data set's net that is best on validation, on test.

        They are tested together on each data set; that net itself has none.
        """
        found: dict[tuple[Net, BoardData], Difference] = {}
        for data in self.datasets:
            nets = [net for net in self.nets if (net, data) in self.cells]
            if len(nets) > 1:
                own = [self.cells[net, data] for net in nets]
                best = own.index(best_on_validation(own))
                tested = differences([(i, best) for i in range(len(own)) if i != best], [entry.scores for entry in own])
                found |= {(nets[i], data): difference for (i, _), difference in tested.items()}
        return found

    def best_on(self, data: BoardData) -> Net | None:
        """Return the net that is best on validation on a data set; None if no row is comparable."""
        own = [entry for (_, of), entry in self.cells.items() if of == data]
        return best_on_validation(own).net if own else None

    @cached_property
    def predictors(self) -> list[Predictor]:
        """How well numbers of the features alone order the backbones; empty without such records."""
        return predictors(self.entries, self.records.qualities)

    @property
    def places(self) -> int:
        """Decimals of percentages of the test images."""
        return decimals(data.n_test for data in self.datasets)

    def identity(self) -> str:
        """Return a digest of all that the board depends on."""
        return digest(
            {
                "version": BOARD_VERSION,
                "scores": sorted(
                    [entry.data.name, digest(encode(score))] for entry in self.entries for score in entry.scores
                ),
                "datasets": [encode(data) for data in self.datasets],
                "latencies": [encode(latency) for latency in self.records.latencies],
                "qualities": [[data.name, encode(quality)] for data, quality in self.records.qualities],
                "left_out": list(self.records.left_out),
                "overlapping": [list(names) for names in self.records.overlapping],
                "missing": encode(self.missing),
                "conditions": dict(self.conditions),
            }
        )

    def drawn(self, figures: Mapping[str, ReportFigure]) -> Board:
        """Return the board with its figures."""
        return replace(self, figures=figures)


_CONDITIONS = ("precision", "image_size", "taps", "views", "metric", "method")


def make_board(settings: Settings, steps: Sequence[Step] = (), folder: Path = Path()) -> Board:
    """Return the board of the reports in a folder, see :func:`load_records`; `folder` is where it is written.

    Raises
    ------
    MissingData
        There is no such folder of reports, and no recipe that could make it.
    UnknownName
        There is no report of a name, or no method.
    """
    reports, method = settings.folders.reports, settings.export.method
    if not reports.is_dir() and not steps:
        raise MissingData("no such folder of reports", where=reports, remedy="name one with --reports")
    if method is not None:
        method_info(method)
    records = load_records(settings, steps)
    rows = missing_rows(settings, steps, records.entries, records.origins)
    of_recipe = missing_of_recipe(steps, records.entries, records.origins)
    return Board(
        entries=records.entries,
        cells=select(records.entries),
        records=records,
        missing=replace(rows, cells=of_recipe + rows.cells),
        conditions={name: _plain(settings.value(name)) for name in _CONDITIONS},
        reports=reports,
        folder=folder,
    )


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
