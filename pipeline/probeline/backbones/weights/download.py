"""Weights files: fetched, and checked against the hash that their names promise."""

from __future__ import annotations

import hashlib
import re
import shlex
import sys
from pathlib import Path
from urllib.error import URLError

import torch

from probeline.errors import BadWeights, CannotWrite, DownloadFailed

OTHER_WEIGHTS = "choose --weights none or --weights PATH"

_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.")


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file as hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_file_hash(path: Path, sha256: str | None = None) -> None:
    """Refuse a file whose sha256 does not begin with `sha256`, or with what its own name promises.

    Raises
    ------
    BadWeights
    """
    promised = _HASH_IN_NAME.search(path.name)
    expected = sha256 or (promised.group(1) if promised else "")
    got = file_sha256(path)
    if not got.startswith(expected):
        raise BadWeights(
            "the weights file is damaged",
            where=path,
            expected=f"sha256 {expected}...",
            got=got[: max(len(expected), 8)] + "...",
            remedy="delete it and run again to fetch it anew",
        )


def fetch_by_hand(url: str, path: Path) -> str:
    """Return the command that puts weights at `path` by hand, and what else can be done."""
    return f"run: curl -fL --create-dirs -o {shlex.quote(str(path))} {url}, or {OTHER_WEIGHTS}"


def download(url: str, path: Path) -> None:
    """Fetch a weights file to `path`; its name holds the first digits of its sha256, which are checked.

    Raises
    ------
    DownloadFailed
        Names the address and where to put the file by hand.
    """
    promised = _HASH_IN_NAME.search(path.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWrite("cannot make the weights folder", where=path.parent, got=error.strerror) from error
    try:
        torch.hub.download_url_to_file(
            url, str(path), hash_prefix=promised.group(1) if promised else None, progress=sys.stderr.isatty()
        )
    except (URLError, OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DownloadFailed(
            "cannot fetch the weights", where=url, got=reason, remedy=fetch_by_hand(url, path)
        ) from error
