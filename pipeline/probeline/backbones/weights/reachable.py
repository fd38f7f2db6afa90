"""Whether the hosts of weights answer: asked once, within seconds, before libraries that retry for a minute."""

from __future__ import annotations

import contextlib
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from probeline.errors import DownloadFailed

_SECONDS = 10
"""How long a host may take to answer."""


def check_url(url: str, what: str, remedy: str) -> None:
    """Refuse a download of `what` if the host of `url` does not answer; any answer will do.

    Raises
    ------
    DownloadFailed
        With `remedy` as what to do.
    """
    try:
        with contextlib.suppress(HTTPError), urlopen(Request(url, method="HEAD"), timeout=_SECONDS):  # noqa: S310
            pass
    except (OSError, ValueError) as error:
        raise _unreachable(url, what, error, remedy) from error


def check_hub(what: str, remedy: str) -> None:
    """Refuse a download of `what` from the Hugging Face hub if that is switched off or does not answer.

    The hub's own library asks, so that HF_ENDPOINT, HF_HUB_OFFLINE, proxies and certificates are as it has them.

    Raises
    ------
    DownloadFailed
        With `remedy` as what to do.
    """
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        raise DownloadFailed(f"cannot fetch {what}", got="HF_HUB_OFFLINE, which forbids it", remedy=remedy)
    try:
        get_session().head(constants.ENDPOINT, timeout=_SECONDS)
    except Exception as error:  # of requests or httpx, by the library's version
        raise _unreachable(constants.ENDPOINT, what, error, remedy) from error


def cached_hub_file(repository: str, names: tuple[str, ...], revision: str | None = None) -> Path | None:
    """Return the first of some files of a repository that is in the cache of the Hugging Face hub, or None."""
    from huggingface_hub import try_to_load_from_cache

    for name in names:
        path = try_to_load_from_cache(repository, name, revision=revision)
        if isinstance(path, str):
            return Path(path)
    return None


def _unreachable(url: str, what: str, error: Exception, remedy: str) -> DownloadFailed:
    reason = next(iter(str(error).splitlines()), "") or type(error).__name__
    return DownloadFailed(f"cannot fetch {what}", where=url, got=reason, remedy=remedy)
