"""What a store is: files that machines share, each written once and never changed."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from probeline.files.reading import FileKind


class Store(Protocol):
    """Files by name; a name has its folders in it, divided by slashes.

    StoreFailed, or CannotWrite of a folder, is raised where the store cannot be reached or refuses.
    """

    def read(self, name: str, kind: FileKind) -> bytes | None:
        """Return the bytes of a file; None if it does not exist."""

    def publish(self, name: str, data: bytes) -> bool:
        """Write a file whole, or not at all; False if one of this name exists, which is left as it is."""

    def exists(self, name: str) -> bool:
        """Return whether a file exists at this moment."""

    def names_in(self, folder: str) -> set[str]:
        """Return the names of the files in a folder, without it; the latest of them may be missing."""

    def address(self, name: str) -> str:
        """Return where a file is, for messages."""


def find_store(text: str | None) -> Store | None:
    """Return the store of an address: ``s3://``, ``gs://`` or ``az://BUCKET/PREFIX``, or the path of a folder.

    None if there is no address.

    Raises
    ------
    StoreFailed
    """
    if text is None:
        return None
    if "://" in text:
        from probeline.stores.objects import ObjectStore

        return ObjectStore.of_url(text)
    from probeline.stores.folder import FolderStore

    return FolderStore(Path(text))
