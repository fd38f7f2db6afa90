"""An artifact's folder, read and written: a sealed record with the sha256 of every other file. No torch here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from probeline import disk
from probeline.errors import BadArtifact, BadOption, MissingData
from probeline.export.artifact.ranges import SHA256, check_ranges, check_text
from probeline.export.artifact.record import Artifact, from_values, to_values
from probeline.files import reading
from probeline.files.reading import FileKind
from probeline.files.tensors import read_tensors
from probeline.identity import ARTIFACT_VERSION, digest_bytes, seal, unseal

RECORD = "artifact.json"
WEIGHTS, HEAD = "weights.safetensors", "head.safetensors"
ROWS, ROW_NAMES = "neighbours.safetensors", "neighbours.json"
PT2, ONNX = "model.pt2", "model.onnx"
CARD = "README.md"
FILES = (WEIGHTS, HEAD, ROWS, ROW_NAMES, PT2, ONNX, CARD)
"""All files that an artifact can have in addition to its record."""

_FORMAT = "probeline artifact"
_AGAIN = "export it again"

_UNFINISHED = seal({"format": _FORMAT, "version": ARTIFACT_VERSION, "unfinished": True})
"""The record while the other files are written: they are the artifact's, and no artifact yet."""

_MENTIONED = f'"format":"{_FORMAT}"'.encode()
"""In every record, even in a corrupt one."""

_RECORD_KIND = FileKind("the record of an artifact", 16 << 20)
"""100,000 classes of 100 bytes are 10 MB."""

_KINDS = {
    ROW_NAMES: FileKind("a list of sample ids", 64 << 20),
    PT2: reading.WEIGHTS,
    ONNX: FileKind("an ONNX graph", 2 << 30),  # protobuf has no larger messages
    CARD: reading.TEXT,
}


def _kind_of(name: str) -> FileKind:
    """Return the kind of a file other than the record; tensors are read whole, and then copied into a net."""
    return _KINDS.get(name) or FileKind("a file of tensors on this machine", reading.memory_bytes() // 2)


def sealed(artifact: Artifact) -> bytes:
    """Return the bytes of an artifact's record."""
    return seal({**to_values(artifact), "format": _FORMAT, "version": ARTIFACT_VERSION})


def read_record(folder: Path, sha256: str | None = None) -> Artifact:
    """Return the record of an artifact's folder, of which every field was checked.

    Raises
    ------
    MissingData
        The folder has none.
    BadArtifact
        It is corrupt, of another format version, exported for another way to decode images, has values that no export
        writes, or another sha256 than the given one.
    """
    path = folder / RECORD
    data = _read_bytes(folder)
    if sha256 is not None and digest_bytes(data) != sha256.lower():
        raise BadArtifact(
            "this is not the artifact that was sent",
            where=path,
            expected=f"sha256 {sha256:.80}",
            got=digest_bytes(data),
            remedy="fetch it again",
        )
    content = unseal(data)
    if content is None:
        what = "an artifact's record is corrupt"
        raise BadArtifact(what, where=path, expected="the bytes that its sha256 was taken of", remedy=_AGAIN)
    if content.get("format") != _FORMAT:
        raise BadArtifact("this is no artifact", where=path, expected=_FORMAT, got=f"{content.get('format')!r:.80}")
    version = content.get("version")
    if version != ARTIFACT_VERSION or type(version) is not int:
        raise BadArtifact(
            "an artifact of another format version",
            where=path,
            expected=ARTIFACT_VERSION,
            got=f"{version!r:.80}",
            remedy="use the version of probeline that wrote it, or export it again",
        )
    try:
        return _parse(content)
    except ValueError as error:
        what = "an artifact's record has values that no export writes"
        raise BadArtifact(what, where=path, got=error, remedy=_AGAIN) from error


def record_sha256(folder: Path) -> str:
    """Return the sha256 of the bytes of an artifact's record.

    Raises
    ------
    MissingData, BadArtifact
    """
    return digest_bytes(_read_bytes(folder))


def _read_bytes(folder: Path) -> bytes:
    try:
        return reading.read_bytes(folder / RECORD, _RECORD_KIND)
    except FileNotFoundError as error:
        expected, remedy = f"a folder with {RECORD}", "make one with probeline export"
        raise MissingData("no artifact here", where=folder, expected=expected, remedy=remedy) from error
    except OSError as error:
        raise BadArtifact("an artifact cannot be read", where=folder / RECORD, got=error.strerror) from error


def _parse(content: Mapping[str, Any]) -> Artifact:
    check_text(content)
    artifact = from_values({name: value for name, value in content.items() if name not in ("format", "version")})
    check_ranges(artifact)
    _check_files(artifact)
    return artifact


def _check_files(artifact: Artifact) -> None:
    names, rows = set(artifact.files), {ROWS, ROW_NAMES} if artifact.neighbours else set()
    expected = {WEIGHTS, HEAD, CARD, *rows, *artifact.graphs}
    if names != expected or not expected <= set(FILES):
        odd = sorted(names ^ expected) or sorted(expected.difference(FILES))
        raise ValueError(f"files that do not fit the record: {', '.join(odd):.200}")
    for name, digest in artifact.files.items():
        if not SHA256.fullmatch(digest):
            raise ValueError(f"files: {name}: expected 64 hexadecimal digits, got {digest!r:.80}")


def read_files(folder: Path, artifact: Artifact, names: Iterable[str]) -> dict[str, bytes]:
    """Return the bytes of an artifact's files, each checked against its sha256.

    Raises
    ------
    BadArtifact
        A file is missing, cannot be read, is larger than it may be, or is not the one that was written.
    """
    contents = {}
    for name in names:
        path = folder / name
        try:
            is_of_tensors = path.suffix == ".safetensors"
            data = (read_tensors if is_of_tensors else reading.read_bytes)(path, _kind_of(name))
        except OSError as error:
            raise _unreadable(path, error) from error
        except ValueError as error:
            raise BadArtifact("a file of an artifact is corrupt", where=path, got=error, remedy=_AGAIN) from error
        _check_digest(artifact, path, digest_bytes(data))
        contents[name] = data
    return contents


def check_files(folder: Path, artifact: Artifact, names: Iterable[str]) -> None:
    """Check files of an artifact against their sha256 in bounded memory.

    Raises
    ------
    BadArtifact
        As :func:`read_files`.
    """
    for name in names:
        path = folder / name
        try:
            with reading.open_file(path, _kind_of(name)) as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise _unreadable(path, error) from error
        _check_digest(artifact, path, found)


def _unreadable(path: Path, error: OSError) -> BadArtifact:
    return BadArtifact("a file of an artifact cannot be read", where=path, got=error.strerror)


def _check_digest(artifact: Artifact, path: Path, found: str) -> None:
    expected = artifact.files[path.name]
    if found != expected:
        raise BadArtifact(
            "a file of an artifact is corrupt",
            where=path,
            expected=f"sha256 {expected[:12]}...",
            got=f"{found[:12]}...",
            remedy=_AGAIN,
        )


def find_artifact(folder: Path, request: str) -> Artifact | None:
    """Return the artifact in a folder if it is complete and was exported from the same score in the same way."""
    try:
        artifact = read_record(folder)
        check_files(folder, artifact, artifact.files)
    except (MissingData, BadArtifact):
        return None
    return artifact if artifact.request == request else None


def holds_another(folder: Path, request: str) -> bool:
    """Return whether a folder holds an artifact that was not exported from the same score in the same way."""
    try:
        return read_record(folder).request != request
    except MissingData:
        return False
    except BadArtifact:
        return _record_bytes(folder) != _UNFINISHED


def check_folder(folder: Path) -> None:
    """Refuse a folder that has files of anything but an artifact, or that cannot be written to.

    Files that only have the names of an artifact's are not one: its record has to be there.

    Raises
    ------
    BadOption, CannotWrite
    """
    disk.check_writable(folder)
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    for name in (RECORD, *FILES):
        disk.check_no_links(folder / name, folder)
    visible = {name for name in names if not name.startswith(".")}  # macOS puts a .DS_Store into folders
    own = {RECORD, *FILES} if _MENTIONED in _record_bytes(folder) else set()
    others = sorted(name for name in visible - own if not name.endswith(disk.TEMPORARY))
    if others:
        raise BadOption(
            "the folder holds files that are not an artifact's",
            where=folder,
            got=", ".join(others[:3]) + (", ..." if len(others) > 3 else ""),
            remedy="choose another --out",
        )


def _record_bytes(folder: Path) -> bytes:
    try:
        return reading.read_bytes(folder / RECORD, _RECORD_KIND)
    except OSError:
        return b""


def check_exportable(artifact: Artifact) -> None:
    """Refuse values that a record cannot have, before anything else is computed.

    Raises
    ------
    BadOption
    """
    try:
        check_ranges(artifact)
    except ValueError as error:
        what = "this row cannot be exported: its record would be refused"
        raise BadOption(what, got=error, remedy="choose another row, or other names of classes") from error


def write_artifact(folder: Path, artifact: Artifact, contents: Mapping[str, bytes]) -> Artifact:
    """Write an artifact in place of an earlier one, its record last, and return it with the sha256 of its files.

    Raises
    ------
    BadOption
        The folder holds something else, or the files are larger than they can be read.
    CannotWrite
    """
    check_folder(folder)
    complete = replace(artifact, files={name: digest_bytes(data) for name, data in contents.items()})
    record = sealed(complete)
    _check_readable(record, contents)
    disk.make_folder(folder)
    disk.publish(folder / RECORD, _UNFINISHED, replace=True)
    for name in FILES:
        if name in contents:
            disk.publish(folder / name, contents[name], replace=True)
        else:
            disk.remove(folder / name)
    disk.publish(folder / RECORD, record, replace=True)
    return complete


def _check_readable(record: bytes, contents: Mapping[str, bytes]) -> None:
    """Refuse to write what :func:`read_record` and :func:`read_files` would refuse."""
    kinds = {RECORD: _RECORD_KIND, **{name: _kind_of(name) for name in contents}}
    for name, data in {RECORD: record, **contents}.items():
        if len(data) > kinds[name].most_bytes:
            raise BadOption(
                f"{name} would be too large to be read",
                expected=f"at most {kinds[name].most_bytes:,} bytes",
                got=f"{len(data):,}",
                remedy="use fewer --train-rows" if name in (ROWS, ROW_NAMES) else "choose another row",
            )
    content = unseal(record)
    if content is None:
        raise ValueError("a record that does not prove its own bytes")
    _parse(content)
