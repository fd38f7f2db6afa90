"""The canary: a few rows of an entry are run again and compared with their cached features."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from probeline.backbones.registry import runs_code
from probeline.cache.entry import Entry
from probeline.cache.reading import missing_shards, read_rows, shard_record, shard_rows
from probeline.environment import origins, today
from probeline.errors import Mismatch
from probeline.extraction.engine import Engine
from probeline.identity import digest
from probeline.session import Session
from probeline.types import AnyFloatArray, Backbone, IntArray

ROWS = 8
"""Rows to run again by default."""

TOLERANCE = {"fp32": 2**-13, "tf32": 2**-5, "fp16": 2**-5, "bf16": 2**-3}
"""Largest difference of a value that rounding may make, relative to the row's largest value.

In a net of L layers that sum n products each, rounding errors of u per sum add up to about u sqrt(L n): with L = 100
and n = 4,608 that is 680 u in float32 (u = 2**-24), and 2,048 u are allowed. Measured on photos with mobilenet_v2,
resnet50 and vit_b_16, other batches, layouts and foldings differ by at most 2e-6; one weight of mobilenet_v2 changed by
0.01 makes 3e-4 to 7e-4 in every row, bicubic instead of bilinear resizing 0.07 or more. Narrow types round after each
layer: fp16 differs from float32 by at most 0.010 and bf16 by 0.046; two such runs may differ by sqrt(2) of that, and
twice as much is allowed.
"""

_STORED_IN_HALF = 2**-11
"""What rounding to the float16 of stored tokens adds to that."""


def check_earlier_shards(session: Session, engine: Callable[[], Engine], entry: Entry, cached: list[int]) -> None:
    """Run a few rows again of each group of cached shards that were computed under other conditions than today's.

    A check that passed is remembered. Of a net that is the user's own code, which may have changed while its tensors
    have not, rows are run again in each run. Raises Mismatch.
    """
    if cached and runs_code(str(entry.inputs["backbone"])):
        _check_code(session, engine, entry, cached)
        return
    count, groups = row_count(session), shards_from_elsewhere(session, entry, cached)
    hashes = [[shard, shard_record(entry, shard).file_sha256] for shards in groups for shard in shards]
    name = f"canary:{entry.key}:" + digest([hashes, count, today(session.settings.compute.device)])
    if not hashes or not count or session.is_remembered(name):
        return
    rows = choose_rows(session, entry, [shard_rows(entry, shards) for shards in groups])
    check_rows(session, engine, entry, rows, read_rows(entry, rows))
    session.remember_that(name)


def _check_code(session: Session, engine: Callable[[], Engine], entry: Entry, cached: list[int]) -> None:
    """Run a few rows of some shards again, once per session."""
    count = row_count(session)
    if not count or entry.key in session.checked:
        return
    rows = sample_rows(entry, shard_rows(entry, cached), count)
    try:
        worst = rerun(session, engine(), entry, rows, read_rows(entry, rows))
    except Mismatch as error:
        raise Mismatch(
            f"the code of {entry.inputs['backbone']} gives other features than before, with equal tensors",
            where=entry.folder,
            remedy="delete that folder to extract them anew, or use another --cache",
        ) from error
    session.checked.add(entry.key)
    session.console.detail(
        f"canary: {entry.title}: its code may have changed; {len(rows)} rows were run again and differ by at most "
        f"{worst:.1e} of a row's largest value"
    )


def check_cached(session: Session, taps: Sequence[Backbone], entries: Iterable[Entry]) -> None:
    """Run :func:`check_earlier_shards` on the completely cached of some entries, which are of one net at `taps`."""
    engine = functools.cache(functools.partial(Engine, session, *taps))
    for entry in entries:
        if not missing_shards(entry):
            check_earlier_shards(session, engine, entry, list(range(len(entry.shards))))


def shards_from_elsewhere(session: Session, entry: Entry, cached: Iterable[int]) -> list[list[int]]:
    """Return the shards that were computed under other conditions than today's, grouped by conditions."""
    now = today(session.settings.compute.device)
    groups: dict[str, list[int]] = {}
    for shard in cached:
        if (conditions := origins(shard_record(entry, shard).provenance)) != [now]:
            groups.setdefault(digest(conditions), []).append(shard)
    return list(groups.values())


def check_rows(
    session: Session, engine: Callable[[], Engine], entry: Entry, rows: IntArray, stored: AnyFloatArray
) -> None:
    """Run rows again that were computed under other conditions, and report the largest difference. Raises Mismatch."""
    worst = rerun(session, engine(), entry, rows, stored)
    session.console.say(
        f"canary: {entry.title}: some rows were computed on other hardware or with other software; {len(rows)} of them "
        f"were run again and differ by at most {worst:.1e} of a row's largest value"
    )


def choose_rows(session: Session, entry: Entry, groups: list[IntArray]) -> IntArray:
    """Return up to ``--canary`` rows of each group, sorted."""
    count = row_count(session)
    return np.sort(np.concatenate([np.empty(0, np.int64), *(sample_rows(entry, rows, count) for rows in groups)]))


def row_count(session: Session) -> int:
    """Return how many rows of each group are run again; 0 for none."""
    count = session.settings.compute.canary
    return ROWS if count is None else count


def sample_rows(entry: Entry, rows: IntArray, count: int) -> IntArray:
    """Return up to `count` of some rows of an entry, always the same ones."""
    rng = np.random.default_rng(int(entry.key[:16], 16))
    return np.sort(rng.choice(rows, min(count, len(rows)), replace=False))


def rerun(session: Session, engine: Engine, entry: Entry, rows: IntArray, stored: AnyFloatArray) -> float:
    """Run rows again and return the largest difference from their `stored` features, relative to a row's largest value.

    Raises
    ------
    Mismatch
        Rows that differ by more than rounding explains.
    """
    again = engine.embed(entry, rows)
    stored = stored.astype(np.float32, copy=False)
    scale = np.maximum(np.abs(stored).max(1), np.finfo(np.float32).tiny)
    differences = np.abs(again - stored).max(1) / scale
    tolerance = TOLERANCE[session.settings.nets.precision] + (_STORED_IN_HALF if entry.tokens else 0.0)
    bad = np.flatnonzero(~(differences <= tolerance))
    if len(bad):
        examples = ", ".join(f"{entry.sample_ids[rows[i]]} (row {rows[i]}) by {differences[i]:.2g}" for i in bad)
        raise Mismatch(
            f"{len(bad)} of {len(rows)} rows of {entry.title} come out differently when run again",
            where=entry.folder,
            expected=f"at most {tolerance:.2g} of a row's largest value",
            got=examples,
            remedy="the cache is left as it is; find out what changed, or use another --cache",
        )
    return float(differences.max(initial=0.0))
