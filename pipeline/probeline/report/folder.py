"""The folder of a report: files are written into it, replaced and removed, but only files of its own."""

from __future__ import annotations

import re
import stat
import warnings
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from probeline import disk
from probeline.files.decode import decode, parse_json
from probeline.files.limits import Sha256
from probeline.files.reading import RECORD, read_bytes
from probeline.format import few, plural
from probeline.identity import digest, digest_bytes
from probeline.text import json_text

RECORD_NAME, FIGURES, GROUPS = "report.json", "figures", "groups.csv"

_BEGINNING = re.compile(rb'\{\s*"key": "[0-9a-f]{64}"')
"""Of a report's record, even if its end is lost."""

_LONGEST_NAME = 255
"""Bytes that file systems take."""

_REMOVABLE = re.compile(rf"{FIGURES}/[^/]+\.png|{re.escape(GROUPS)}|[^/]+\.parquet")
"""What not every report has."""


@dataclass(frozen=True)
class PreviousReport:
    """What the record of a report says of its files; its other members are for readers."""

    key: str = ""
    files: Mapping[str, Sha256] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.files:
            own = re.fullmatch(rf"({FIGURES}/)?([^/]+)", name)
            if own is None or own[2] in (".", "..") or len(own[2].encode()) > _LONGEST_NAME:
                raise ValueError(f"no file of a report: {name!r:.80}")


class ReportFolder:
    """A folder with the files of one report, one of which is its record.

    A file is its own if the record of the previous report names it. Any other file that has the name of one, and other
    bytes, is put aside and not replaced. Links are refused.
    """

    def __init__(self, path: Path, record_name: str = RECORD_NAME) -> None:
        self.path, self.record_name = path, record_name
        try:
            self._text = read_bytes(path / record_name, RECORD)
        except OSError:
            self._text = b""
        self._put_aside: list[str] = []

    def previous(self) -> PreviousReport:
        """Return what the record in the folder says of its report; an empty one if it is missing or corrupt."""
        try:
            record = parse_json(self._text)
            if not isinstance(record, dict) or record.pop("sha256", None) != digest(record):
                return PreviousReport()
            return decode(PreviousReport, {name: record.get(name) for name in ("key", "files")})
        except (ValueError, RecursionError):
            return PreviousReport()

    def has(self, name: str, sha256: str) -> bool:
        """Return whether a file has these bytes and is neither a link nor behind one."""
        path = self.path / name
        try:
            plain = stat.S_ISREG(path.lstat().st_mode) and not path.parent.is_symlink()
            return plain and digest_bytes(read_bytes(path, RECORD)) == sha256
        except OSError:
            return False

    def current_files(self, key: str, names: Iterable[str]) -> Mapping[str, Sha256]:
        """Return the files of the previous report if it is up to date, else nothing.

        It is if its record is intact and has this key, and all files that it lists, with these names among them, have
        the stated bytes.
        """
        previous = self.previous()
        is_whole = previous.files.keys() >= {*names} and all(self.has(*file) for file in previous.files.items())
        return previous.files if is_whole and previous.key == key else {}

    def write(self, key: str, contents: Mapping[str, bytes], record: Mapping[str, Any]) -> dict[str, Sha256]:
        """Write the files of a report and its record; remove files that only the previous report has.

        Returns
        -------
        dict of str to str
            The sha256 of each file but the record.

        Raises
        ------
        CannotWrite, BadOption
        """
        self.refuse_links([*contents, self.record_name])
        for name, data in contents.items():
            self.publish(name, data)
        self.remove_stale(contents)
        # Last, since it vouches for the others: a report that was interrupted is not up to date.
        written = {name: digest_bytes(data) for name, data in contents.items()}
        sealed = {"key": key, **record, "files": written}
        text = json_text({**sealed, "sha256": digest(sealed)}, indent=1, ascii_only=False)
        self.publish(self.record_name, f"{text}\n".encode())
        self.warn_of_strangers()
        return written

    def refuse_links(self, names: Iterable[str]) -> None:
        """Refuse a folder in which a link has the name of a file that is to be written, or leads there.

        Raises
        ------
        BadOption
        """
        for name in names:
            disk.check_no_links(self.path / name, self.path.parent)

    def publish(self, name: str, data: bytes) -> Path:
        """Write a file of the report, and return its path.

        Raises
        ------
        CannotWrite
        """
        path = self.path / name
        disk.make_folder(path.parent)
        if path.exists() and not self._is_own(name) and not self.has(name, digest_bytes(data)):
            disk.put_aside(path)
            self._put_aside.append(name)
        disk.publish(path, data, replace=True)
        return path

    def _is_own(self, name: str) -> bool:
        if (self.path / name).lstat().st_size == 0:  # as after a power failure: nothing is lost
            return True
        if name == self.record_name:
            return _BEGINNING.match(self._text) is not None
        return re.search(rb'"%s": "[0-9a-f]{64}"' % re.escape(name.encode()), self._text) is not None

    def remove_stale(self, current: Collection[str]) -> None:
        """Remove figures and tables that only the previous report has, if they are as it wrote them.

        What has changed since is left with a warning.
        """
        changed = []
        for name, sha256 in self.previous().files.items():
            if name in current or not _REMOVABLE.fullmatch(name):
                continue
            if self.has(name, sha256):
                disk.remove_below(self.path, self.path / name)
            elif (self.path / name).exists():
                changed.append(name)
        if changed:
            warnings.warn(f"changed since the report wrote it, so left in {self.path}: {_few(changed)}", stacklevel=3)

    def warn_of_strangers(self) -> None:
        """Warn of the files that were put aside, if there are any."""
        if self._put_aside:
            warnings.warn(
                f"not of a report, so put aside as *.bad in {self.path}: {_few(self._put_aside)}", stacklevel=3
            )


def _few(names: list[str]) -> str:
    return f"{plural(len(names), 'file')}, {few(names, 3)}"
