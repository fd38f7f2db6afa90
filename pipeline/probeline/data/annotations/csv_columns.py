"""Two columns of a CSV file: a value for each image, by sample id."""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from probeline import disk
from probeline.errors import BadData, MissingData
from probeline.identity import digest_lines
from probeline.types import DataSet

MOST_BYTES = 256 * 2**20
"""A line of 60 bytes for each of four million images; a larger file is most likely the wrong one."""


def read_column(path: Path, column: str, dataset: DataSet, *, whole: bool, option: str) -> dict[str, str]:
    """Return the values of one column by the column ``sample_id``.

    The file is UTF-8 with a header; other columns are ignored. Sample ids are compared in Unicode's composed form, as
    data sets have them, and values are stripped. An id that the data set lacks is an error if `whole`; with ``--limit``
    the file may name more images. Messages name the file by its `option`.

    Raises
    ------
    MissingData
        No such file.
    BadData
        Anything else that is wrong with it; names the line if there is one.
    """
    what = f"--{option} file"
    values: dict[str, str] = {}
    for line, sample_id, value in _lines(path, column, what):
        if sample_id in values:
            raise BadData(f"the {what} names an image twice", where=f"{path}, line {line}", got=repr(sample_id))
        if not value.isprintable():
            raise BadData(f"the {what} has a {column} that cannot be printed", where=f"{path}, line {line}")
        values[sample_id] = value
    known = {sample_id for part in dataset.parts.values() for sample_id in part.sample_ids}
    known |= {image.sample_id for image in dataset.unreadable}
    unknown = [sample_id for sample_id in values if sample_id not in known] if whole else []
    if unknown:
        raise BadData(
            f"the {what} names images that {dataset.name} does not have",
            where=path,
            expected=f"sample ids such as {min(known, default='')!r}",
            got=f"{len(unknown):,} others, the first {unknown[0]!r}",
        )
    return values


def digest_values(dataset: DataSet, values: Mapping[str, Iterable[object]]) -> dict[str, str]:
    """Return a sha256 per part over its sample ids with their values, in row order."""
    return {
        name: digest_lines(f"{i}\0{value}" for i, value in zip(part.sample_ids, values[name], strict=True))
        for name, part in dataset.parts.items()
    }


def _lines(path: Path, column: str, what: str) -> Iterator[tuple[int, str, str]]:
    """Yield the number, sample id and value of each line after the header."""
    reader = csv.reader(io.StringIO(_read_text(path, what), newline=""), strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
        if header.count("sample_id") != 1 or header.count(column) != 1:
            raise BadData(
                f"the {what} has another header",
                where=path,
                expected=f"a first line sample_id,{column}",
                got=repr(",".join(header)[:80]),
            )
        key, value = header.index("sample_id"), header.index(column)
        for row in reader:
            if not row:
                continue
            if len(row) != len(header):
                raise BadData(
                    f"the {what} has a line of another length",
                    where=f"{path}, line {reader.line_num}",
                    expected=f"{len(header)} fields",
                    got=len(row),
                    remedy="put fields that hold a comma in double quotes",
                )
            sample_id, text = (unicodedata.normalize("NFC", field) for field in (row[key], row[value].strip()))
            yield reader.line_num, sample_id, text
    except csv.Error as error:
        raise BadData(f"the {what} is not valid CSV", where=f"{path}, line {reader.line_num}", got=error) from error


def _read_text(path: Path, what: str) -> str:
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise BadData(f"the {what} is too large", where=path, expected=f"{MOST_BYTES:,} bytes or fewer", got=size)
        return disk.read(path).decode("utf-8-sig")
    except FileNotFoundError as error:
        raise MissingData(f"no {what}", where=path) from error
    except OSError as error:
        raise BadData(f"the {what} cannot be read", where=path, got=error.strerror) from error
    except UnicodeDecodeError as error:
        raise BadData(f"the {what} is not UTF-8", where=f"{path}, byte {error.start}") from error
