"""The two files of a checkpoint: data, and a sealed record that vouches for its bytes. No torch here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from probeline import disk
from probeline.cache.format.layout import CHECKPOINT_FILE, CHECKPOINT_NAME
from probeline.errors import BadCache
from probeline.files.decode import BadRecord, Members, check_members
from probeline.files.levels import folders_at
from probeline.files.limits import Loss, Name, Number, Positive, Seconds, Sha256, Share
from probeline.files.reading import RECORD, WEIGHTS, read_bytes
from probeline.identity import digest_bytes, seal, unseal

_DATA, _RECORD, _NEXT = ".safetensors", ".json", ".next"


@dataclass(frozen=True)
class EpochMembers:
    """What a trainer needs of an epoch to go on after it."""

    epoch: Positive
    parts: Positive
    val_loss: Loss
    seconds: Seconds
    val_top1: Share | None = None
    val_score: Number | None = None

    def __post_init__(self) -> None:
        if self.val_top1 is None and self.val_score is None:
            raise ValueError("an epoch that nothing can be chosen by")
        if self.val_top1 is not None and self.val_score is not None and not 0 <= self.val_score <= 1:
            raise ValueError(f"val_score {self.val_score:.6g} of classes")


@dataclass(frozen=True)
class CheckpointMembers:
    """What a trainer, or an export, needs of a checkpoint's record."""

    key: Name
    tensors_sha256: Sha256
    history: tuple[Annotated[Mapping[str, Any], Members(EpochMembers)], ...] = ()
    scaler: Mapping[str, Number] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if [epoch["epoch"] for epoch in self.history] != list(range(1, len(self.history) + 1)):
            raise ValueError("epochs that do not follow one another")


def _pairs(folder: Path, name: str) -> tuple[tuple[Path, Path], ...]:
    """Return every record with the data that it may vouch for, the latest first."""
    data, following = folder / f"{name}{_DATA}", folder / f"{name}{_NEXT}{_DATA}"
    record, its = folder / f"{name}{_RECORD}", folder / f"{name}{_NEXT}{_RECORD}"
    return (its, following), (its, data), (record, data)


def files(folder: Path, name: str) -> tuple[Path, ...]:
    """Return the paths that a checkpoint's files may have, records first."""
    records, data = zip(*_pairs(folder, name), strict=True)
    return tuple(dict.fromkeys((*records, *data)))


def write(folder: Path, name: str, data: bytes, facts: Mapping[str, Any]) -> None:
    """Write NAME.safetensors and NAME.json, which vouches for it.

    Both are written under other names and then renamed, the data first: whenever the process dies, there is a record
    that vouches for data next to it, the earlier ones or these.
    """
    (its, following), _, (record, kept) = _pairs(folder, name)
    disk.make_folder(folder)
    disk.publish(following, data, replace=True)
    disk.publish(its, seal({**facts, "tensors_sha256": digest_bytes(data)}), replace=True)
    disk.rename(following, kept)
    disk.rename(its, record)


def read(folder: Path, name: str) -> tuple[bytes, dict[str, Any]] | None:
    """Return the data and its record, or None if they are missing or no record vouches for the data."""
    for record, data in _pairs(folder, name):
        if (checkpoint := _read(record, data)) is not None:
            return checkpoint
    return None


def _read(record: Path, data: Path) -> tuple[bytes, dict[str, Any]] | None:
    try:
        facts = unseal(read_bytes(record, RECORD))
        content = read_bytes(data, WEIGHTS)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadCache(
            "cannot read a checkpoint",
            where=record.parent,
            got=error.strerror,
            remedy="fix its permissions or remove it",
        ) from error
    if facts is None or facts.get("tensors_sha256") != digest_bytes(content):
        return None
    try:
        check_members(CheckpointMembers, facts)
    except BadRecord:  # no trainer wrote it
        return None
    return content, facts


def checkpoints(cache: Path) -> list[tuple[Path, str]]:
    """Return folder and name of every checkpoint of a cache."""
    records = [
        path
        for folder in folders_at(cache, 3)
        if CHECKPOINT_NAME.fullmatch(folder.name)
        for path in folder.glob(f"*{_RECORD}")
        if CHECKPOINT_FILE.fullmatch(path.name)
    ]
    return sorted({(path.parent, path.stem.removesuffix(_NEXT)) for path in records})


def put_aside(folder: Path, name: str) -> None:
    """Give a checkpoint's files other names, its records first, so that training does not meet them."""
    for path in files(folder, name):
        disk.put_aside(path)
