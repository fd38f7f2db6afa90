"""Which rows of a data set are comparable, and which of them is shown of each net."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from probeline.report.board.entries import BoardData, Cells, Entry, Net
from probeline.results.methods import order
from probeline.results.ranking import selection_metric, validation_rank, validation_score

Method = tuple[str, str, str]


def by_data(entries: Iterable[Entry]) -> dict[BoardData, list[Entry]]:
    """Return the entries of each data set, the data sets by name."""
    found: dict[BoardData, list[Entry]] = defaultdict(list)
    for entry in entries:
        found[entry.data].append(entry)
    return {data: found[data] for data in sorted(found)}


def comparable(entries: Sequence[Entry]) -> list[Entry]:
    """Return the entries of one data set by which its nets are compared.

    The method with the same settings on the most nets says which nets are compared; of several the first in the order
    of the methods. Other methods count if all these nets have them with the same settings. So no net is ahead because
    more was tried on it.
    """
    nets: dict[Method, set[Net]] = defaultdict(set)
    for entry in entries:
        nets[entry.method].add(entry.net)
    if not nets:
        return []
    widest = nets[min(nets, key=lambda method: (-len(nets[method]), order(method[0]), method))]
    return [entry for entry in entries if entry.net in widest and nets[entry.method] >= widest]


def best_on_validation(entries: Sequence[Entry]) -> Entry:
    """Return the entry that is best on validation, by the ranking of reports; test has no say."""
    metric = selection_metric(score for entry in entries for score in entry.scores)
    return min(entries, key=lambda entry: validation_rank(entry.row, validation_score(entry.scores, metric)))


def select(entries: Iterable[Entry]) -> Cells:
    """Return the entry of each net on each data set that is best on validation among the comparable ones."""
    cells: dict[tuple[Net, BoardData], Entry] = {}
    for data, own in by_data(entries).items():
        compared = comparable(own)
        for net in sorted({entry.net for entry in compared}):
            cells[net, data] = best_on_validation([entry for entry in compared if entry.net == net])
    return cells
