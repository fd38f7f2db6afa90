"""The samples of a webdataset tar: where each image is, and its label; each tar is read once and remembered."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from probeline.data.remembered import is_sample_right
from probeline.data.source import LoadRequest
from probeline.data.tables.columns import find_column
from probeline.errors import BadData, MissingData
from probeline.files.reading import ARCHIVE, IMAGE, open_file, read_beginning
from probeline.identity import digest, digest_bytes, is_digest
from probeline.text import is_printable

_IMAGES = ("jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff", "ppm", "pgm")
_FACTS = ("cls", "cls.txt", "json")
_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_MOST_FACTS = 2**20
"""Bytes of a .cls or .json member."""


@dataclass(frozen=True)
class TarSample:
    """One sample of a tar.

    Attributes
    ----------
    key : str
        The name of its members up to the first dot of the file name.
    suffix : str
        Of the image's member, without the dot.
    offset, size : int
        Of the encoded image in the tar, in bytes.
    sha256 : str
        Of the encoded image.
    label, group : str
        Empty if it has none.
    """

    key: str
    suffix: str
    offset: int
    size: int
    sha256: str
    label: str
    group: str

    def __post_init__(self) -> None:
        if self.offset < 0 or self.size < 0 or not is_digest(self.sha256):
            raise ValueError("not the place and the sha256 of an image")


def index_tar(path: Path, request: LoadRequest) -> tuple[TarSample, ...]:
    """Return the samples of a tar that have an image, in its order, from the memo if the tar did not change.

    Of several images the one with a plain suffix is taken: ``.jpg``, not ``.mask.png``. A label is the text of the
    member ``.cls``, or the field of ``.json`` with a usual name, or with the one that the request's columns name; a
    group is a field that they name.

    Raises
    ------
    MissingData, BadData
        No such file, or one that is no plain tar; a sample with two images; facts that cannot be read.
    """
    name = f"wds:{path.absolute()}:{digest(dict(request.columns))[:12]}"
    if not path.is_file():
        raise MissingData("no such tar", where=path, remedy="check the pattern after wds:")
    known = request.memo.get(name, [path], tuple[TarSample, ...])
    if known and is_sample_right(
        request, {row: sample.sha256 for row, sample in enumerate(known)}, lambda row: _digest_again(path, known[row])
    ):
        return known
    samples = tuple(_read(path, request.columns))
    request.memo.put(name, [path], [asdict(sample) for sample in samples])
    return samples


def _digest_again(path: Path, sample: TarSample) -> str:
    """Return the sha256 of a sample's image where it is said to be."""
    with open_file(path, ARCHIVE) as file:
        if sample.offset + sample.size > path.stat().st_size:
            return ""
        file.seek(sample.offset)
        return digest_bytes(file.read(sample.size))


def _read(path: Path, columns: Mapping[str, str]) -> list[TarSample]:
    if read_beginning(path, ARCHIVE, 4).startswith((_GZIP, _ZSTD)):
        raise BadData("tar is compressed, so its images cannot be read by offset", where=path, remedy="decompress it")
    images: dict[str, dict[str, Any]] = {}
    facts: dict[str, dict[str, str]] = {}
    try:
        with open_file(path, ARCHIVE) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                if not member.isfile():
                    continue
                folder, slash, base = member.name.removeprefix("./").rpartition("/")
                stem, _, suffix = base.partition(".")
                key, suffix = f"{folder}{slash}{stem}", suffix.lower()
                if not is_printable(key):
                    raise BadData("member's name cannot be printed", where=path, got=repr(member.name))
                is_fact = suffix in _FACTS
                if not stem or not (is_fact or suffix.rpartition(".")[2] in _IMAGES):
                    continue
                most = _MOST_FACTS if is_fact else IMAGE.most_bytes
                if member.issparse() or member.size > most:
                    what = "member is sparse" if member.issparse() else "member is too large"
                    expected = f"at most {most:,} bytes"
                    raise BadData(what, where=f"{path}: {member.name}", expected=expected, got=f"{member.size:,}")
                known = images.get(key)
                if not is_fact and known and "." in suffix and "." not in known["suffix"]:
                    continue
                data = _content(tar, member, path)
                if is_fact:
                    given = _facts(data, suffix, columns, f"{path}: {member.name}")
                    before = facts.setdefault(key, {})
                    facts[key] = {**given, **before} if suffix == "json" else {**before, **given}
                    continue
                if known and ("." in suffix) == ("." in known["suffix"]):
                    got = f"{known['suffix']} and {suffix}"
                    raise BadData("sample has two images", where=f"{path}: {key}", expected="one", got=got)
                place = {"offset": member.offset_data, "size": member.size, "sha256": digest_bytes(data)}
                images[key] = {"key": key, "suffix": suffix, **place}
    except (tarfile.TarError, MemoryError, OverflowError) as error:  # the latter of an extended header of any size
        raise BadData("file is no complete tar", where=path, got=error) from error
    empty = {"label": "", "group": ""}
    return [TarSample(**{**image, **empty, **facts.get(key, {})}) for key, image in images.items()]


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> bytes:
    file = tar.extractfile(member)
    data = file.read() if file else b""
    if len(data) != member.size:
        raise BadData("tar is cut short", where=f"{path}: {member.name}", expected=member.size, got=len(data))
    return data


def _facts(data: bytes, suffix: str, columns: Mapping[str, str], where: str) -> dict[str, str]:
    """Return label and group of the content of a member; the ``.cls`` member wins over ``.json``."""
    try:
        text = data.decode("utf-8-sig").strip()
        if suffix != "json":
            return {"label": text}
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadData("member cannot be read", where=where, expected="UTF-8 text or JSON", got=error) from error
    if not isinstance(record, dict):
        return {}
    group = columns.get("group")
    label = find_column(list(record), "label", columns)
    keys = {"label": label, "group": group}
    return {kind: str(record[key]) for kind, key in keys.items() if key and record.get(key) not in (None, "")}
