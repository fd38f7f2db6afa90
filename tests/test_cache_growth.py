"""What is done with an entry of many rows grows as the rows do: calls are counted, since seconds depend on the machine.

``make bench-scale`` measures the same operations up to ten million rows.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent / "bench_scale"))

import operations

from probeline.cache import samples
from probeline.cache.entry import ROWS_PER_SHARD
from probeline.cache.reuse import KnownRows
from probeline.extraction.requests import ShardRequest, rows_to_run

FEW, MANY = 25_000, 100_000


def calls(run: Callable[[], object]) -> int:
    """Return how many functions are called, those of C too, and how often generators go on."""
    count = 0

    def note(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        run()
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.slow
@pytest.mark.parametrize("operation", operations.OPERATIONS)
def test_no_operation_grows_faster_than_the_rows(operation: str, tmp_path: Path) -> None:
    counts = {}
    for rows in (FEW, MANY):
        cache = tmp_path / str(rows)
        if operation not in ("begin", "order"):
            operations.begin(rows, cache)()
        counts[rows] = calls(operations.OPERATIONS[operation](rows, cache))
    # 24.4 and 97.7 shards; what is done once makes the ratio smaller, and a sweep per shard would make it 16.
    assert counts[MANY] <= 4.2 * counts[FEW], counts


def test_opening_an_entry_costs_the_same_whatever_its_size(tmp_path: Path) -> None:
    counts = []
    for rows in (FEW, MANY):
        operations.begin(rows, tmp_path / str(rows))()
        counts.append(calls(operations.open_again(rows, tmp_path / str(rows))))
    # The one block and the two of 65,536 rows are listed in the record; both figures are of a few thousand calls.
    assert counts[1] <= 1.1 * counts[0] + 100, counts


def test_one_row_reads_one_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    operations.begin(MANY, tmp_path)()
    entry = operations.opened(tmp_path)
    read: Counter[Path] = Counter()
    opening = samples.open_file
    monkeypatch.setattr(samples, "open_file", lambda path, kind: read.update([path]) or opening(path, kind))
    assert entry.sample_ids[70_000].endswith("_70000.jpg")
    assert read.total() == 1


class Watched(np.ndarray[Any, Any]):
    """Rows that note the functions of NumPy which are given more of them than two shards hold."""

    whole: ClassVar[Counter[str]] = Counter()

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        Watched.whole.update([func.__name__] if self.size > 2 * ROWS_PER_SHARD else [])
        plain = [np.asarray(each) if isinstance(each, Watched) else each for each in args]
        return func(*plain, **kwargs)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        Watched.whole.update([ufunc.__name__] if self.size > 2 * ROWS_PER_SHARD else [])
        plain = [np.asarray(each) if isinstance(each, Watched) else each for each in inputs]
        return getattr(ufunc, method)(*plain, **kwargs)


def test_known_rows_are_looked_up_and_not_swept_for_each_shard(tmp_path: Path) -> None:
    entry = operations.make_entry(FEW, tmp_path)
    half = np.arange(0, FEW, 2, dtype=np.int64).view(Watched)
    nothing = np.zeros(len(half), np.int64)
    known = KnownRows(half, np.zeros((len(half), 0), np.float32), nothing.astype(float), nothing, (), ())
    request = ShardRequest(entry, list(range(len(entry.shards))), known)
    Watched.whole.clear()
    assert sum(len(rows_to_run([request], shard)) for shard in request.shards) == FEW // 2
    assert set(Watched.whole) == {"searchsorted"}, "which is a bisection"
