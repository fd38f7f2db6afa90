"""An artifact's folder, written so that its record vouches for all of it or is not there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from probeline import disk
from probeline.errors import BadArtifact, BadOption, MissingData
from probeline.export.format import FILES, RECORD, Artifact, read_files, read_record
from probeline.identity import digest_bytes


def there(folder: Path, asked: str) -> Artifact | None:
    """Return the artifact in a folder where it is whole and was exported from the same, as it is asked for now."""
    try:
        artifact = read_record(folder)
        read_files(folder, artifact, artifact.files)
    except (MissingData, BadArtifact):
        return None
    return artifact if artifact.asked == asked else None


def check_free(folder: Path) -> None:
    """Refuse a folder that holds anything but an artifact, or that cannot be written to; nothing is changed.

    Raises
    ------
    BadOption, CannotWrite
    """
    disk.check_writable(folder)
    every = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    names = {name for name in every if not name.startswith(".")}  # such as macOS's .DS_Store
    strange = sorted(name for name in names - {RECORD, *FILES} if not name.endswith(disk.TEMPORARY))
    if strange:
        raise BadOption(
            "the folder holds other files than an artifact's",
            where=folder,
            got=", ".join(strange[:3]) + (", ..." if len(strange) > 3 else ""),
            remedy="choose another --out",
        )


def write(folder: Path, artifact: Artifact, contents: Mapping[str, bytes]) -> Artifact:
    """Write an artifact in place of an earlier one, its record last, and return it with the sha256 of its files.

    Raises
    ------
    BadOption, CannotWrite
    """
    check_free(folder)
    disk.make_folder(folder)
    disk.remove(folder / RECORD)
    for name in FILES:
        if name in contents:
            disk.publish(folder / name, contents[name], replace=True)
        else:
            disk.remove(folder / name)
    whole = replace(artifact, files={name: digest_bytes(data) for name, data in contents.items()})
    disk.publish(folder / RECORD, whole.sealed(), replace=True)
    return whole
