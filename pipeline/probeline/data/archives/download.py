"""Verified downloads: a file with the expected bytes under its name, or nothing."""

from __future__ import annotations

from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    UnknownHandler,
)

from probeline import disk
from probeline.console import Console
from probeline.errors import DownloadFailed
from probeline.identity import digest_bytes

SILENCE = 30.0
"""Seconds without a byte after which a download is given up."""


def fetch(url: str, destination: Path, *, sha256: str, size: int, console: Console) -> None:
    """Download a file, verify it, and only then write it under its name.

    The file is held in memory until then: data set archives have some hundred megabytes.

    Parameters
    ----------
    url : str
        http or https, and so must be whatever it redirects to.
    destination : Path
        Its folder is made where there is none.
    sha256 : str
        Of the file, hexadecimal.
    size : int
        Of the file, bytes; no more is received.
    console : Console

    Raises
    ------
    DownloadFailed
        Without a network, for an answer other than the file, and for other bytes than expected.
    CannotWrite
    """
    remedy = f"check the network and run the command again, or put the file at {destination} by hand"
    disk.make_folder(destination.parent)
    console.say(f"downloading {url} ({size / 1e6:.1f} MB)")
    data = bytearray()
    with console.bar("downloading", size, "B") as bar:
        for chunk in _receive(url, size, remedy):
            data += chunk
            bar.update(len(chunk))
    if wrong := difference(data, sha256, size):
        raise DownloadFailed(
            "download is not the file it should be", where=url, expected=wrong[0], got=wrong[1], remedy=remedy
        )
    disk.publish(destination, bytes(data), replace=True)


def difference(data: bytes | bytearray, sha256: str, size: int) -> tuple[str, str] | None:
    """Return what was expected of a file's bytes and what they are instead, or None where nothing differs."""
    if len(data) != size:
        return f"{size} bytes", f"{len(data)} bytes" if len(data) < size else "more"
    actual = digest_bytes(data)
    return None if actual == sha256 else (f"sha256 {sha256}", f"sha256 {actual}")


def _receive(url: str, size: int, remedy: str) -> Iterator[bytes]:
    """Yield what the server sends, at most one byte more than expected.

    Raises
    ------
    DownloadFailed
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise DownloadFailed("not a web address", where=url, expected="http or https", remedy=remedy)
    left = size + 1
    try:
        with _web().open(url, timeout=SILENCE) as answer:
            while left and (chunk := answer.read(min(left, 1 << 18))):
                left -= len(chunk)
                yield chunk
    except HTTPError as error:
        with error:  # it holds the connection
            raise DownloadFailed(
                "server refused", where=url, got=f"{error.code} {error.reason}", remedy=remedy
            ) from error
    except (OSError, HTTPException) as error:
        reason = error.reason if isinstance(error, URLError) else str(error) or type(error).__name__
        raise DownloadFailed("download failed", where=url, got=reason, remedy=remedy) from error


def _web() -> OpenerDirector:
    """Return an opener for http and https alone: the default one follows redirects to ftp and opens local files."""
    opener = OpenerDirector()
    for handler in (
        ProxyHandler(),
        HTTPHandler(),
        HTTPSHandler(),
        HTTPRedirectHandler(),
        HTTPErrorProcessor(),
        HTTPDefaultErrorHandler(),
        UnknownHandler(),
    ):
        opener.add_handler(handler)
    opener.addheaders = [("User-Agent", "probeline")]
    return opener
