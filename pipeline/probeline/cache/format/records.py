"""The records of a cache as the decoder reads them: of an entry, of a shard, and the manifest of an exported file.

cache/README.md specifies their members. What an earlier version wrote is among what is accepted; what is not would end
a later stage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from probeline.environment import CONDITIONS
from probeline.files.decode import BadRecord, Members, check_members
from probeline.files.limits import Count, Length, Name, Number, Positive, Seconds, Sha256, Within
from probeline.files.reading import SHARD
from probeline.names import CORRUPTIONS, SEVERITIES

MOST_DIM = 1 << 22
"""Values per row: the largest maps of nets, and all tokens of a layer, have some hundred thousand."""


@dataclass(frozen=True)
class PreprocessMembers:
    """How images become a net's input; of other versions there are further members."""

    resize: Count
    crop: Count
    interpolation: str
    mean: tuple[Number, ...]
    std: tuple[Number, ...]


@dataclass(frozen=True)
class ViewMembers:
    """How images were augmented."""

    number: Positive
    flips: bool
    scale: tuple[Number, Number]
    ratio: tuple[Number, Number]


@dataclass(frozen=True)
class CorruptionMembers:
    """How images were corrupted."""

    corruption: Literal[CORRUPTIONS]  # type: ignore[valid-type]
    severity: Annotated[int, Within(1, len(SEVERITIES))]
    seed: Count


def check_view(record: Mapping[str, Any]) -> str | None:
    """Return what is expected instead of the record of a view or a corruption; None if it is one."""
    try:
        check_members(CorruptionMembers if "corruption" in record else ViewMembers, record)
    except BadRecord as error:
        return str(error)
    return None


@dataclass(frozen=True)
class InputMembers:
    """What the key of an entry is the digest of."""

    features_version: Count
    backbone: Name
    weights_sha256: Name
    tap: Name
    pooling: Name
    preprocess: Annotated[Mapping[str, Any], Members(PreprocessMembers)]
    view: Annotated[Mapping[str, Any], check_view] | None
    precision: Name
    dtype: Literal["float32", "float16"]
    samples_sha256: Sha256
    tokens: Annotated[int, Within(1, MOST_DIM)] | None = None

    def __post_init__(self) -> None:
        if (self.tokens is None) != (self.dtype == "float32"):
            raise ValueError(f"{self.dtype} of {'vectors' if self.tokens is None else 'tokens'}")


@dataclass(frozen=True)
class BlockRecord:
    """A block of samples.bin."""

    bytes: Positive
    sha256: Sha256


MOST_ROWS = 1 << 32


@dataclass(frozen=True)
class EntryMembers:
    """What the record of an entry has in every format."""

    format: int
    dataset: Name
    part: Name
    key: Sha256
    inputs: Annotated[Mapping[str, Any], Members(InputMembers)]
    tap: Name
    dim: Annotated[int, Within(1, MOST_DIM)]
    rows_per_shard: Annotated[int, Within(1, 1 << 24)]

    def __post_init__(self) -> None:
        if self.rows_per_shard * self.dim * 4 > SHARD.most_bytes:
            raise ValueError(f"shards of {self.rows_per_shard:,} rows of {self.dim:,} values, which no file may hold")
        tokens = self.inputs.get("tokens")
        if tokens is not None and self.dim % tokens:
            raise ValueError(f"dim {self.dim:,} that is no multiple of {tokens:,} tokens")
        if self.inputs["tap"] != self.tap:
            raise ValueError("another tap than that of its inputs")


@dataclass(frozen=True)
class EntryRecord(EntryMembers):
    """The content of entry.json."""

    rows: Annotated[int, Within(1, MOST_ROWS)]
    rows_per_block: Annotated[int, Within(1, 1 << 24)]
    blocks: tuple[BlockRecord, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.blocks) != -(-self.rows // self.rows_per_block):
            raise ValueError(f"{len(self.blocks):,} blocks of {self.rows_per_block:,} for {self.rows:,} rows")


@dataclass(frozen=True)
class ListedEntryRecord(EntryMembers):
    """The content of entry.json in format 1, and of an exported file's manifest: it lists the samples."""

    samples: Annotated[tuple[tuple[str, str], ...], Length(1, MOST_ROWS)]

    def __post_init__(self) -> None:
        super().__post_init__()
        if len({name for name, _ in self.samples}) < len(self.samples):
            raise ValueError("sample ids that repeat")


@dataclass(frozen=True)
class RowFacts:
    """What was seen of one image; see `probeline.extraction.odd_pixels`."""

    one_colour: bool = False
    transparent: bool = False
    few_levels: bool = False
    grey_max: Annotated[int, Within(0, 0xFFFF)] = 0


Origin = Mapping[str, str | int | bool | None]
"""Conditions under which rows were computed."""


@dataclass(frozen=True)
class ProvenanceMembers:
    """How a shard was computed, as far as programs read it."""

    seconds: Seconds = 0.0
    origins: tuple[Origin, ...] = ()
    imported: bool = False
    copied_rows: Count = 0
    copied_from: tuple[Name, ...] = ()
    row_facts: Mapping[str, Annotated[Mapping[str, Any], Members(RowFacts)]] | None = None
    taps: tuple[Name, ...] = ()


Provenance = Annotated[Mapping[str, Any], Members(ProvenanceMembers)]


@dataclass(frozen=True)
class ShardRecord:
    """The content of a shard's record."""

    format: int
    key: Sha256
    shard: Count
    rows: tuple[Count, Count]
    bytes: Positive
    file_sha256: Sha256
    provenance: Provenance

    def __post_init__(self) -> None:
        check_provenance(self.provenance, self.rows[1] - self.rows[0])


@dataclass(frozen=True)
class ExportedShard:
    """A shard in the manifest of an exported file."""

    features_sha256: Sha256
    provenance: Provenance


@dataclass(frozen=True)
class Manifest:
    """What proves an exported file."""

    format: int
    entry: ListedEntryRecord
    shards: tuple[ExportedShard, ...]


def check_provenance(provenance: Mapping[str, Any], rows: int) -> None:
    """Raise ValueError for what was seen of rows that a shard of so many does not have, or of other conditions."""
    numbers = provenance.get("row_facts") or {}
    if any(not (name.isascii() and name.isdecimal() and len(name) < 10 and int(name) < rows) for name in numbers):
        raise ValueError(f"row_facts of rows that a shard of {rows:,} does not have")
    for name in CONDITIONS:
        if not isinstance(provenance.get(name), str | None):
            raise ValueError(f"provenance.{name} that is no text")
