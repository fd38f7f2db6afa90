"""Whether a net's record that the memo remembers is that of the weights, before its features are used.

A shard's record says which weights files its net was read from, with the sha256 of each. If the files have these
digests still, the record that led to the shard is right, and no net is built for it. If no shard says so, the net is
built again, as if nothing were remembered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probeline.backbones.registry import runs_code
from probeline.backbones.resolve import remembered_files, was_built
from probeline.cache.reading import find_shard_record
from probeline.errors import Mismatch
from probeline.files.fingerprint import file_sha256
from probeline.files.reading import WEIGHTS
from probeline.identity import is_digest
from probeline.session import Session
from probeline.types import Backbone

if TYPE_CHECKING:
    from probeline.backbones.resolve import Loaded

WEIGHTS_FACTS = "weights"
"""Member of a shard's provenance: the request for the weights, and the sha256 of each of their files by name."""

MOST_BYTES = 1 << 30
"""Of weights that are hashed in every process that uses their features: 0.7 s at the 1.5 GB/s of one core."""


def describe_weights(session: Session, backbone: Backbone, files: Sequence[Path]) -> dict[str, Any]:
    """Return what a shard's provenance says of the weights of its net."""
    return {
        "name": backbone.weights,
        "image_size": session.settings.nets.image_size,
        "files": {file.name: file_sha256(file, WEIGHTS) for file in files},
    }


def describe_confirmed(session: Session, text: str, record: Backbone, loaded: Loaded | None) -> dict[str, Any]:
    """Return what copied rows say of the weights of a record that was confirmed; nothing if these are large."""
    spec = session.spec(text)
    remembered = remembered_files(spec.name, spec.weights, session.settings.nets.image_size, session.memo)
    files = loaded.files if loaded else remembered or ()
    return {} if _size(files) > MOST_BYTES else {WEIGHTS_FACTS: describe_weights(session, record, files)}


def _size(files: Sequence[Path]) -> int:
    return sum(file.stat().st_size for file in files)


def confirm_records(session: Session, text: str, records: Sequence[Backbone]) -> Loaded | None:
    """Hold the remembered records of a backbone's taps against its weights; return the net if that had to be built.

    Weights of more than `MOST_BYTES` are neither hashed nor loaded for this; a note says so.

    Raises
    ------
    Mismatch
        The memo was wrong, and is dropped.
    """
    spec, image_size = session.spec(text), session.settings.nets.image_size
    request = (spec.name, spec.weights, image_size)
    if not session.has_images or runs_code(spec.name) or all(was_built(record, *request) for record in records):
        return None
    marks = {f"weights:{request}:{record.weights_sha256}:{record.tap}" for record in records}
    if marks <= session.checked:
        return None
    files, loaded = remembered_files(*request, session.memo), None
    if (size := _size(files or ())) > MOST_BYTES:
        session.note_once(
            f"{spec.name}: {size / 1e9:.1f} GB of weights are known by their size and times alone: "
            "probeline verify reads them"
        )
    elif files is None or not all(_is_proven(session, record, files) for record in records):
        loaded = session.net(text, tuple(record.tap for record in records))
        require_same(session, records, loaded)
    session.checked.update(marks)
    return loaded


def require_same(session: Session, records: Sequence[Backbone], loaded: Loaded) -> None:
    """Refuse a net whose records are others than these, and drop the memo, which they came from."""
    built = {record.tap: record for own in loaded.taps.values() for record in own}
    for record in records:
        own = built.get(record.tap)
        if own == record:
            continue
        session.memo.drop()
        differing = next(one.name for one in fields(record) if getattr(own, one.name, None) != vars(record)[one.name])
        expected, got = (
            f"{value:.12}..." if is_digest(str(value)) else value
            for value in (vars(record)[differing], getattr(own, differing, None))
        )
        raise Mismatch(
            f"the memo of hashes was wrong about {record.name} with --weights {record.weights}: it is dropped",
            expected=f"{differing} {expected}",
            got=got,
            remedy="run the command again: weights and images are then read anew",
        )


def _is_proven(session: Session, record: Backbone, files: Sequence[Path]) -> bool:
    """Return whether a shard of the record's features was computed with the same files for the same request."""
    facts = describe_weights(session, record, files)
    # A net's features at its own size are those that are asked for by that size.
    sizes = {facts["image_size"]} | ({None} if facts["image_size"] == record.preprocess.crop else set())
    for entry in session.entries(record):
        for number in range(len(entry.shards)):
            shard = find_shard_record(entry, number)
            stated = None if shard is None else shard.provenance.get(WEIGHTS_FACTS)
            if any({**facts, "image_size": size} == stated for size in sizes):
                return True
    return False
