"""The two files of a checkpoint: data, and a sealed record that vouches for its bytes. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from probeline import disk
from probeline.errors import BadCache
from probeline.identity import digest_bytes, seal, unseal


def write(folder: Path, name: str, data: bytes, facts: Mapping[str, Any]) -> None:
    """Write NAME.safetensors, then NAME.json that vouches for it; a crash between the two leaves no checkpoint.

    Raises
    ------
    CannotWrite
    """
    disk.make_folder(folder)
    disk.publish(folder / f"{name}.safetensors", data, replace=True)
    disk.publish(folder / f"{name}.json", seal({**facts, "tensors_sha256": digest_bytes(data)}), replace=True)


def read(folder: Path, name: str) -> tuple[bytes, dict[str, Any]] | None:
    """Return the data and its record, or None where they are not there or the record does not vouch for the data.

    Raises
    ------
    BadCache
        The file system refuses to read what is there.
    """
    try:
        record = unseal(disk.read(folder / f"{name}.json"))
        data = disk.read(folder / f"{name}.safetensors")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadCache(
            "cannot read a checkpoint", where=folder, got=error.strerror, remedy="fix its permissions or remove it"
        ) from error
    return (data, record) if record is not None and record.get("tensors_sha256") == digest_bytes(data) else None


def checkpoints(cache: Path) -> list[tuple[Path, str]]:
    """Return folder and name of every checkpoint of a cache."""
    return sorted((path.parent, path.stem) for path in cache.glob("*/*/seed*/*.json"))


def put_aside(folder: Path, name: str) -> None:
    """Give a checkpoint's files another name, its record's first, so that training does not meet them.

    Raises
    ------
    CannotWrite
    """
    for path in (folder / f"{name}.json", folder / f"{name}.safetensors"):
        disk.put_aside(path)
