"""The groups of ``--report-by``: the values of each column on the test images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from probeline.data.annotations.report_columns import read_report_column
from probeline.data.label_values import is_missing
from probeline.errors import BadData
from probeline.format import few, plural
from probeline.options.checks import parse_columns
from probeline.report.model.groups import MOST_GROUPS, Grouping
from probeline.session import Session
from probeline.text import is_printable


def load_groupings(session: Session) -> list[Grouping]:
    """Return the columns of ``--report-by`` in their order, each with the value of every test image.

    Raises
    ------
    BadData
        A column has more values than groups make sense for; or as
        :func:`probeline.data.annotations.report_columns.read_report_column`.
    """
    settings, dataset = session.settings, session.dataset
    columns = parse_columns(settings.data.columns)
    found = [
        read_report_column(dataset, spec, settings.data, columns) for spec in dict.fromkeys(settings.compare.report_by)
    ]
    names = [column.name for column in found]
    sample_ids = test_sample_ids(session)
    groupings = []
    for column in found:
        for note in column.notes:
            session.note_once(note)
        title = column.name if names.count(column.name) == 1 else f"{column.name} of {column.path.name}"
        values = [column.values.get(i, "") for i in sample_ids]
        groupings.append(make_grouping(title, f"column {column.name} of {column.path.name}", values, session))
    return groupings


def test_sample_ids(session: Session) -> list[str]:
    """Return the sample ids of the test images, in the order of the scores' predictions."""
    split = session.splits.test
    part = session.dataset.parts[split.part]
    return [part.sample_ids[row] for row in split.rows.tolist()]


def make_grouping(title: str, source: str, values: Sequence[str], session: Session) -> Grouping:
    """Return the grouping of values [n_test], empty where an image has none.

    Raises
    ------
    BadData
        More than `MOST_GROUPS` values.
    """
    distinct = dict.fromkeys(values)
    if len(distinct) > MOST_GROUPS:
        raise BadData(
            f"{title} has too many values for groups",
            where=source,
            expected=f"{MOST_GROUPS:,} or fewer on the test images",
            got=f"{plural(len(distinct), 'value')}: {few(list(distinct), 3, between=', ')}",
            remedy="put numbers into ranges, such as 0-9, 10-19",
        )
    return Grouping(title, source, tuple(values), session.splits_sha256)


def grouping_of(title: str, values: Any, session: Session) -> Grouping:
    """Return the grouping of values as :meth:`probeline.Result.by_group` takes them.

    Raises
    ------
    BadData
        Another number of values than rows, no value at all, one that cannot be printed, or too many different ones.
    """
    sample_ids = test_sample_ids(session)
    texts = _texts(values, sample_ids, session)
    if not any(texts):
        expected = f"values by sample id, such as {sample_ids[0]!r}, or one for each row"
        raise BadData("no test row has a value", where=title, expected=expected, got=f"{len(values):,} values")
    return make_grouping(title, f"values given as {title}", texts, session)


def _texts(values: Any, sample_ids: Sequence[str], session: Session) -> list[str]:
    """Return the value of each test row as text, empty if it has none."""
    if hasattr(values, "iloc"):
        values = _by_index(values, sample_ids)
    if isinstance(values, Mapping):
        return [_text(values.get(i)) for i in sample_ids]
    split, given = session.splits.test, list(values)
    rows = len(session.dataset.parts[split.part])
    if len(given) not in (len(sample_ids), rows):
        whole = f", or {rows:,} for all rows of {split.part}" if rows != len(sample_ids) else ""
        expected = f"{len(sample_ids):,}, one for each test row{whole}"
        raise BadData("another number of values than rows", expected=expected, got=f"{len(given):,}")
    if len(given) == rows:
        given = [given[row] for row in split.rows.tolist()]
    return [_text(value) for value in given]


def _by_index(series: Any, sample_ids: Sequence[str]) -> Any:
    """Return the values of a pandas Series by sample id, or as a list if its index only counts the rows."""
    names = series.index.tolist()
    if names == list(range(len(names))):
        return series.tolist()
    by_id = {str(name): value for name, value in zip(names, series.tolist(), strict=True)}
    if len(by_id) < len(names) or not by_id.keys() & set(sample_ids):
        raise BadData(
            "the index of the values has no sample ids, or one twice",
            expected=f"sample ids such as {sample_ids[0]!r}",
            got=repr(names[0]) if names else "no values",
            remedy="if there is one value for each row, in the order of the rows: values.to_numpy()",
        )
    return by_id


def _text(value: Any) -> str:
    value = value.item() if hasattr(value, "item") else value
    if is_missing(value):
        return ""
    text = str(int(value)) if isinstance(value, float) and value.is_integer() else str(value).strip()
    if not is_printable(text):
        raise BadData("a value that cannot be printed", got=repr(text))
    return text
