"""Tables as people have them: CSV in its dialects, TSV and Parquet, as text by column."""

from __future__ import annotations

import codecs
import csv
import io
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probeline.data.folders.contents import EXTENSIONS
from probeline.errors import BadData, MissingData, MissingExtra
from probeline.files.memory import check_fits
from probeline.files.reading import TABLE, check, read_bytes
from probeline.text import without_apostrophe

MOST_BYTES = 256 * 2**20
"""A line of 60 bytes for each of four million images; a larger file is most likely the wrong one."""

SUFFIXES = (".csv", ".tsv", ".txt", ".parquet")

MOST_COLUMNS = 100_000

_PART = 1024
"""Rows of a Parquet file that are read at a time."""

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_DELIMITERS = (",", ";", "\t", "|")


@dataclass(frozen=True)
class Table:
    """A table of text: a header, and rows with the number of the line that each ends in."""

    path: Path
    what: str
    """What messages call the file."""
    header: tuple[str, ...]
    rows: Sequence[tuple[int, Sequence[str]]]
    line_word: str = "line"
    """What a row's number counts."""
    has_header: bool = True
    """If not, the column of images is called ``file_name``, a single other one ``label``, and more by their numbers."""

    def where(self, number: int) -> str:
        """Return the place of a row for messages."""
        return f"{self.path}, {self.line_word} {number}"


def read_table(path: Path, what: str) -> Table:
    """Return the table of a file; fields are in Unicode's composed form.

    CSV is UTF-8 or UTF-16 with a header; commas, semicolons, tabs or bars separate fields, whichever the header has
    most of; in a ``.txt`` without any of them, spaces do. Empty lines are passed over. A first line that names an image
    is no header. The apostrophe before what spreadsheets would take for a formula, as in ``'=1``, is taken off.

    Raises
    ------
    MissingData
        No such file.
    BadData
        Anything else that is wrong with it; names the line if there is one.
    MissingExtra
        Parquet without pyarrow.
    """
    if path.suffix.lower() == ".parquet":
        return _read_parquet(path, what)
    text = _read_text(path, what)
    lines = _lines(text, path, what)
    number, first = next(lines, (0, []))
    header = tuple(name.strip() for name in first)
    rows = _checked(lines, header, path, what)
    image = next((place for place, name in enumerate(header) if Path(name).suffix.lower() in EXTENSIONS), None)
    if image is None:
        return Table(path, what, header, rows)
    names = [str(place) for place in range(1, len(header) + 1)]
    names[image] = "file_name"
    if len(names) == 2:
        names[1 - image] = "label"
    return Table(path, what, tuple(names), [(number, first), *rows], has_header=False)


def _lines(text: str, path: Path, what: str) -> Iterator[tuple[int, list[str]]]:
    first = text.lstrip("\r\n").partition("\n")[0]
    delimiter = _delimiter(path, first)
    if (columns := 1 + first.count(delimiter)) > MOST_COLUMNS:
        raise BadData(
            f"the {what} has too many columns", where=path, expected=f"{MOST_COLUMNS:,} or fewer", got=columns
        )
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    has_apostrophes = "'" in text
    try:
        for row in reader:
            if row:
                yield reader.line_num, [without_apostrophe(cell) for cell in row] if has_apostrophes else row
    except csv.Error as error:
        raise BadData(f"the {what} is not valid CSV", where=f"{path}, line {reader.line_num}", got=error) from error


def _delimiter(path: Path, first: str) -> str:
    """Return the delimiter of a file by its first line."""
    if path.suffix.lower() == ".tsv":
        return "\t"
    counts = {mark: _outside_quotes(first, mark) for mark in _DELIMITERS}
    if path.suffix.lower() == ".txt" and not any(counts.values()):
        return " "
    return max(counts, key=lambda mark: counts[mark])


def _outside_quotes(line: str, mark: str) -> int:
    return "".join(line.split('"')[::2]).count(mark)


def _checked(
    lines: Iterator[tuple[int, list[str]]], header: Sequence[str], path: Path, what: str
) -> list[tuple[int, list[str]]]:
    rows = []
    for number, row in lines:
        if len(row) != len(header):
            raise BadData(
                f"the {what} has a line of another length",
                where=f"{path}, line {number}",
                expected=f"{len(header)} fields",
                got=len(row),
                remedy="put fields that hold a comma in double quotes",
            )
        rows.append((number, [unicodedata.normalize("NFC", field) for field in row]))
    return rows


def _read_text(path: Path, what: str) -> str:
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise BadData(f"the {what} is too large", where=path, expected=f"{MOST_BYTES:,} bytes or fewer", got=size)
        data = read_bytes(path, TABLE)
        return data.decode("utf-16" if data.startswith(_UTF16) else "utf-8-sig")
    except FileNotFoundError as error:
        raise MissingData(f"no {what}", where=path) from error
    except OSError as error:
        raise BadData(f"the {what} cannot be read", where=path, got=error.strerror) from error
    except UnicodeDecodeError as error:
        raise BadData(
            f"the {what} is not UTF-8", where=f"{path}, byte {error.start}", remedy="save it as UTF-8"
        ) from error


def read_parquet(path: Path, what: str) -> Any:
    """Return the table of a Parquet file, read in parts for as long as they fit the memory.

    A few bytes may stand for any number of rows, and a long text for that of each.
    """
    parquet = import_parquet()
    import pyarrow

    if not path.exists():
        raise MissingData(f"no {what}", where=path)
    try:
        check(path, TABLE)
        parts, size = [], 0
        with parquet.ParquetFile(path) as file:
            check_fits(file.metadata.num_rows * max(1, len(file.schema_arrow)))
            for part in file.iter_batches(_PART):
                parts.append(part)
                size += part.nbytes
                check_fits(size)
            return pyarrow.Table.from_batches(parts, file.schema_arrow)
    except Exception as error:  # a foreign format's reader raises almost anything
        got = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
        raise BadData(f"the {what} is not valid Parquet", where=path, got=got) from error


def _read_parquet(path: Path, what: str) -> Table:
    table = read_parquet(path, what)
    names = [name for name, kind in zip(table.column_names, table.schema.types, strict=True) if _is_plain(kind)]
    columns = [map(_as_text, table.column(name).to_pylist()) for name in names]
    rows = [(number, row) for number, row in enumerate(zip(*columns, strict=True), 1)]
    return Table(path, what, tuple(names), rows, line_word="row")


def _is_plain(kind: Any) -> bool:
    return not any(word in str(kind) for word in ("struct", "list", "map", "binary"))


def _as_text(value: object) -> str:
    if value is None or value != value:
        return ""
    return unicodedata.normalize("NFC", str(value))


def import_parquet() -> Any:
    """Return ``pyarrow.parquet``; MissingExtra if it is not installed."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtra("pyarrow is not installed", remedy="pip install 'probeline[parquet]'") from error
    return pyarrow.parquet
