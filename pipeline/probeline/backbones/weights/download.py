"""Weights files: whether they may be downloaded, the download, and the check of their hashes."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from urllib.error import URLError

from probeline.errors import BadWeights, CannotWrite, DownloadFailed, MissingData
from probeline.files.fingerprint import file_sha256
from probeline.files.reading import WEIGHTS
from probeline.text import shell_word

OTHER_WEIGHTS = "choose --weights none or --weights PATH"

_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.")


_ALLOWED = ContextVar("allowed", default=True)


@contextmanager
def without_downloads() -> Iterator[None]:
    """Refuse to download weights meanwhile."""
    token = _ALLOWED.set(False)
    try:
        yield
    finally:
        _ALLOWED.reset(token)


def check_download_is_allowed(backbone: str) -> None:
    """Refuse to download weights within :func:`without_downloads`."""
    if not _ALLOWED.get():
        raise MissingData("the weights would have to be downloaded first", where=backbone)


def _hash_in_name(path: Path) -> str | None:
    match = _HASH_IN_NAME.search(path.name)
    return match.group(1) if match else None


def check_file_hash(path: Path, sha256: str | None = None) -> None:
    """Refuse a file whose sha256 does not begin with `sha256`, by default the digits in its name."""
    expected = sha256 or _hash_in_name(path) or ""
    got = file_sha256(path, WEIGHTS)
    if not got.startswith(expected):
        raise BadWeights(
            "the weights file is corrupt",
            where=path,
            expected=f"sha256 {expected}...",
            got=got[: max(len(expected), 8)] + "...",
            remedy="delete it and run again to download it again",
        )


def fetch_by_hand(url: str, path: Path) -> str:
    """Return the command that downloads weights to `path`, and the alternative to it."""
    return f"run: curl -fL --create-dirs -o {shell_word(str(path))} {url}, or {OTHER_WEIGHTS}"


def download(url: str, path: Path) -> None:
    """Download a weights file to `path`, and check the digits of its sha256 in its name."""
    import torch

    from probeline.backbones.weights.reachable import check_url

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWrite("cannot create the weights folder", where=path.parent, got=error.strerror) from error
    check_url(url, "the weights", fetch_by_hand(url, path))
    try:
        torch.hub.download_url_to_file(url, str(path), hash_prefix=_hash_in_name(path), progress=sys.stderr.isatty())
    except (URLError, OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DownloadFailed(
            "cannot fetch the weights", where=url, got=reason, remedy=fetch_by_hand(url, path)
        ) from error
