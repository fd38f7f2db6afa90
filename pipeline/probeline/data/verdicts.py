"""Which images cannot be decoded, by the sha256 of their bytes: a fact about content, stored in the cache folder."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from probeline import disk
from probeline.environment import installed
from probeline.errors import BadData, BadImage, CannotWrite
from probeline.files.decode import BadRecord, decode, encode
from probeline.files.memory import Lease
from probeline.files.reading import RECORD, read_bytes
from probeline.identity import PREPROCESS_VERSION, seal, unseal

_TAIL = 64
"""Bytes at the end of a PNG that hold its last chunk."""


def looks_broken(data: bytes) -> bool:
    """Return whether a file is so unlike a whole image that decoding it is worth the time; no pixel is decoded.

    It is of another format, or lacks its end. Sound files may look broken, and broken ones sound.
    """
    from probeline.data.folders.contents import HEAD, format_of

    match format_of(data[:HEAD]):
        case "JPEG":
            # In the coded pixels after the last SOS marker, FF is followed by 00: an FF D9 is the end.
            end = data.rfind(b"\xff\xd9")
            return end < 0 or data.find(b"\xff\xda", end) >= 0
        case "PNG":
            return b"IEND" not in data[-_TAIL:]
        case "WEBP":
            return int.from_bytes(data[4:8], "little") + 8 > len(data)
        case "BMP":
            return int.from_bytes(data[2:6], "little") > len(data)
        case None:
            return True
    return False


@dataclass(frozen=True)
class VerdictsRecord:
    """The content of the file; `unreadable` has a reason for each sha256."""

    format: Literal["probeline unreadable images"]
    decoder: str
    unreadable: Mapping[str, str]

    def __post_init__(self) -> None:
        for sha256 in self.unreadable:
            if not re.fullmatch("[0-9a-f]{64}", sha256):
                raise ValueError(f"no sha256: {sha256!r:.80}")


class Verdicts:
    """The contents that cannot be decoded, each with the reason; thread-safe.

    They are of one version of Pillow and of the decode policy: with another, nothing is known. Losing them costs only
    the time to find out again.

    Parameters
    ----------
    path : Path or None
        A sealed file; None to keep nothing.
    suspects : collection of str
        Contents that :meth:`look_at` decodes even if they look whole.
    """

    def __init__(self, path: Path | None, *, read_only: bool = False, suspects: Collection[str] = ()) -> None:
        self._path, self._read_only = path, read_only
        self.suspects = frozenset(suspects)
        self._lock = threading.Lock()
        self._decoder = f"Pillow {installed('pillow')}, policy {PREPROCESS_VERSION}"
        self._reasons: dict[str, str] = {} if path is None else self._read(path)
        self._changed = False

    def _read(self, path: Path) -> dict[str, str]:
        with contextlib.suppress(OSError, BadRecord):
            record = decode(VerdictsRecord, unseal(read_bytes(path, RECORD)))
            if record.decoder == self._decoder:
                return dict(record.unreadable)
        return {}

    def refresh(self) -> None:
        """Read what other processes and sessions have found meanwhile."""
        if self._path is not None:
            with self._lock:
                self._reasons = {**self._read(self._path), **self._reasons}

    def known(self) -> frozenset[str]:
        """Return the contents that cannot be decoded."""
        return frozenset(self._reasons)

    def reason(self, sha256: str) -> str | None:
        """Return why a content cannot be decoded; None if nothing is known against it."""
        return self._reasons.get(sha256)

    def add(self, sha256: str, reason: str) -> None:
        """Note that a content cannot be decoded."""
        with self._lock:
            self._reasons[sha256] = reason
            self._changed = True

    def forget(self, contents: Collection[str]) -> None:
        """Drop verdicts that were wrong."""
        with self._lock:
            self._reasons = {sha256: reason for sha256, reason in self._reasons.items() if sha256 not in contents}
            self._changed = True
        self._write(self._reasons)

    def look_at(self, data: bytes, sha256: str, lease: Lease | None = None) -> None:
        """Decode a file's bytes if they look broken, and note it if that fails; the `lease` holds their memory."""
        if sha256 in self._reasons or not (sha256 in self.suspects or looks_broken(data)):
            return
        from probeline.data.pixels.decode import decode_bytes

        try:
            decode_bytes(data, sha256, lease=lease)
        except BadImage as error:
            self.add(sha256, str(error.got))
        except BadData:
            return  # not about the bytes: found again where the image is used, and said there

    def save(self) -> None:
        """Write the file if anything changed, with what other processes found meanwhile; no error if that fails."""
        if self._path is None or self._read_only or not self._changed:
            return
        with self._lock:
            self._reasons = {**self._read(self._path), **self._reasons}
            self._changed = False
        self._write(self._reasons)

    def _write(self, reasons: dict[str, str]) -> None:
        if self._path is None or self._read_only:
            return
        with contextlib.suppress(CannotWrite):
            disk.make_folder(self._path.parent)
            record = VerdictsRecord("probeline unreadable images", self._decoder, reasons)
            disk.publish(self._path, seal(encode(record)), replace=True)
