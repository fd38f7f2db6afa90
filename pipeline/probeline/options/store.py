"""Which stores there are, by the beginning of their address, and the package that each needs."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from probeline.errors import BadOption, MissingExtra, UnknownName

OBJECT_STORES = ("s3", "gs", "az")
"""Amazon S3 and what speaks its protocol, Google Cloud Storage, Azure Blob Storage."""

_WITHOUT_SLASHES = re.compile(rf"({'|'.join(OBJECT_STORES)}):(?!//)", re.IGNORECASE)
"""What would be taken for a folder of this machine, which nobody else sees."""

_LEFT_OUT = re.compile(r"[@:?#%\x00-\x1f\x7f]|(^|/)(\.{0,2})/|/\.{1,2}$")
"""What the client of a bucket would drop, decode or resolve in silence: then the address is another than it says."""


def check_store(text: str | None, cache: Path) -> None:
    """Refuse an address that is of no store, or whose package is not installed; and the cache as its own store.

    Raises
    ------
    BadOption, UnknownName, MissingExtra
    """
    if text is None:
        return
    if found := _WITHOUT_SLASHES.match(text):
        raise BadOption(
            "bad --store", expected=f"{found[1].lower()}://BUCKET/PREFIX, or the path of a folder", got=text
        )
    scheme, is_url, rest = text.partition("://")
    if is_url:
        _check_address(scheme, rest)
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
    if not folder.is_dir():
        raise BadOption(
            "no such folder for --store",
            where=text,
            remedy="make it first: a folder that is made here by mistake would be shared by nobody",
        )


def _check_address(scheme: str, rest: str) -> None:
    if scheme not in OBJECT_STORES:
        valid = [f"{name}://" for name in OBJECT_STORES]
        raise UnknownName("store", f"{scheme}://", valid, remedy="or the path of a folder")
    if not rest.partition("/")[0]:
        raise BadOption("--store without a bucket", expected=f"{scheme}://BUCKET/PREFIX")
    if _LEFT_OUT.search(rest):
        raise BadOption(  # the address is not shown: there may be a password in it
            "bad --store",
            expected=f"{scheme}://BUCKET/PREFIX without any of @ : ? # %, and without . .. or nothing between slashes",
            remedy="credentials and the endpoint are given by the provider's own variables",
        )
