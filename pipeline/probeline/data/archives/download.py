"""Published data sets as one archive each: the unpacked folder, the archive in the data folder, or a download."""

from __future__ import annotations

import urllib.request as web
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from probeline import disk
from probeline.console import Console
from probeline.data.archives.unpack import extract_tar, extract_zip
from probeline.errors import BadData, DownloadFailed, MissingData
from probeline.files.reading import ARCHIVE, read_beginning
from probeline.identity import digest_bytes

SILENCE = 30.0
"""Seconds without a byte after which a download fails."""


@dataclass(frozen=True)
class Archive:
    """A published archive of `size` bytes that contains one folder.

    Attributes
    ----------
    entries, unpacked : int
        The most files and folders, and the most bytes, that unpacking it may give.
    """

    url: str
    sha256: str
    size: int
    folder: str
    entries: int
    unpacked: int

    @property
    def name(self) -> str:
        """The archive's file name."""
        return self.url.rsplit("/", 1)[-1]


def obtain(archives: tuple[Archive, ...], data: Path, console: Console, *, download: bool) -> Path:
    """Return the folder of one of several archives of the same data set, unpacked in `data` if necessary.

    If neither a folder nor an archive is in `data`, the first archive is downloaded.

    Raises
    ------
    MissingData
        Nothing is in `data`, and a download is not allowed.
    BadData
        The archive's bytes are not the published ones.
    CannotWrite, DownloadFailed
    """
    for archive in archives:
        if (data / archive.folder).is_dir():
            return data / archive.folder
    for archive in archives:
        if (data / archive.name).exists():
            return _unpack(archive, data, console)
    first = archives[0]
    if not download:
        names = [name for archive in archives for name in (f"{archive.folder}/", archive.name)]
        raise MissingData(
            "data set is missing",
            where=data,
            expected=" or ".join(names),
            remedy=f"allow the download, or fetch {first.url} into {data} by hand",
        )
    fetch(first.url, data / first.name, sha256=first.sha256, size=first.size, console=console)
    return _unpack(first, data, console)


def fetch(url: str, destination: Path, *, sha256: str, size: int, console: Console, timeout: float = SILENCE) -> None:
    """Download a file over http or https, and write it only if its size and sha256 are as expected.

    The bytes are kept in memory until then: archives of data sets have a few hundred megabytes.

    Raises
    ------
    DownloadFailed
        No network, an error from the server, or other bytes than expected.
    CannotWrite
    """
    remedy = f"check the network and run the command again, or put the file at {destination} by hand"
    disk.make_folder(destination.parent)
    console.say(f"downloading {url} ({size / 1e6:.1f} MB)")
    data = bytearray()
    with console.bar("downloading", size, "B") as bar:
        for chunk in _receive(url, size, remedy, timeout):
            data += chunk
            bar.update(len(chunk))
    if difference := _compare(data, sha256, size):
        expected, got = difference
        raise DownloadFailed(
            "download is not the file it should be", where=url, expected=expected, got=got, remedy=remedy
        )
    disk.publish(destination, bytes(data), replace=True)


def _compare(data: bytes | bytearray, sha256: str, size: int) -> tuple[str, str] | None:
    """Return what was expected of a file's bytes and what they are instead; None if they are as expected."""
    if len(data) != size:
        return f"{size} bytes", f"{len(data)} bytes" if len(data) < size else "more"
    actual = digest_bytes(data)
    return None if actual == sha256 else (f"sha256 {sha256}", f"sha256 {actual}")


def _receive(url: str, size: int, remedy: str, timeout: float) -> Iterator[bytes]:
    """Yield what the server sends, at most one byte more than expected."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise DownloadFailed("not a web address", where=url, expected="http or https", remedy=remedy)
    left = size + 1
    try:
        with _build_opener().open(url, timeout=timeout) as response:
            while left and (chunk := response.read(min(left, 1 << 18))):
                left -= len(chunk)
                yield chunk
    except HTTPError as error:
        with error:  # closes the connection
            raise DownloadFailed(
                "server refused", where=url, got=f"{error.code} {error.reason}", remedy=remedy
            ) from error
    except (OSError, HTTPException) as error:
        reason = error.reason if isinstance(error, URLError) else str(error) or type(error).__name__
        raise DownloadFailed("download failed", where=url, got=reason, remedy=remedy) from error


def _build_opener() -> web.OpenerDirector:
    """Return an opener for http and https alone: the default one follows redirects to ftp and opens local files."""
    opener = web.OpenerDirector()
    for handler in (
        web.ProxyHandler(),
        web.HTTPHandler(),
        web.HTTPSHandler(),
        web.HTTPRedirectHandler(),
        web.HTTPErrorProcessor(),
        web.HTTPDefaultErrorHandler(),
        web.UnknownHandler(),
    ):
        opener.add_handler(handler)
    opener.addheaders = [("User-Agent", "probeline")]
    return opener


def _unpack(archive: Archive, data: Path, console: Console) -> Path:
    """Verify the archive in `data`, unpack it there and return its folder."""
    path, folder = data / archive.name, data / archive.folder
    if difference := _compare(read_beginning(path, ARCHIVE, archive.size + 1), archive.sha256, archive.size):
        expected, got = difference
        raise BadData(
            "archive is not the published one",
            where=path,
            expected=expected,
            got=got,
            remedy="remove it and run the command again",
        )
    console.say(f"unpacking {path}")
    extract = extract_zip if archive.name.endswith(".zip") else extract_tar
    extract(path, folder, entries=archive.entries, size=archive.unpacked)
    return folder
