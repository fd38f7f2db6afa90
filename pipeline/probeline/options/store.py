"""Which stores there are, by the beginning of their address, and the package that each needs."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from probeline.errors import BadOption, MissingExtra, UnknownName

OBJECT_STORES = ("s3", "gs", "az")
"""Amazon S3 and what speaks its protocol, Google Cloud Storage, Azure Blob Storage."""


def check_store(text: str | None, cache: Path) -> None:
    """Refuse an address that is of no store, or whose package is not installed; and the cache as its own store.

    Raises
    ------
    BadOption, UnknownName, MissingExtra
    """
    if text is None:
        return
    scheme, is_url, rest = text.partition("://")
    if is_url:
        if scheme not in OBJECT_STORES:
            valid = [f"{name}://" for name in OBJECT_STORES]
            raise UnknownName("store", f"{scheme}://", valid, remedy="or the path of a folder")
        if not rest.partition("/")[0]:
            raise BadOption("--store without a bucket", expected=f"{scheme}://BUCKET/PREFIX", got=text)
        if importlib.util.find_spec("obstore") is None:
            raise MissingExtra("obstore is not installed", remedy="pip install 'probeline[object-store]'")
        return
    folder, own = Path(text).resolve(), cache.resolve()
    if folder == own or own in folder.parents or folder in own.parents:
        raise BadOption(
            "--store and --cache are one folder, or one is in the other",
            expected="a folder that machines share, and one of this machine's own",
            got=f"{text} and {cache}",
        )
