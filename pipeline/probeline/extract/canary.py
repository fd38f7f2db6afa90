"""The canary: a few rows of an entry, run again and held against what is stored."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from probeline.cache.entry import Entry
from probeline.cache.reading import missing_shards, read_rows, shard_record, shard_rows
from probeline.environment import origins, today
from probeline.errors import Mismatch
from probeline.extract.engine import Engine, title
from probeline.identity import digest
from probeline.session import Session
from probeline.types import Backbone, FloatArray, IntArray

ROWS = 8
"""Rows that are run again where nothing else is asked for."""

TOLERANCE = {"fp32": 2**-13, "tf32": 2**-5, "fp16": 2**-5, "bf16": 2**-3}
"""Largest difference of a value that rounding may make, relative to the row's largest value.

Of a net of L layers that sum n products each, rounding errors of u a sum add up to about u sqrt(L n): with L = 100 and
n = 4,608 that is 680 u in float32 (u = 2**-24), for which 2,048 u are allowed. Measured on photos with mobilenet_v2,
resnet50 and vit_b_16, other batches, layouts and foldings differ by 2e-6 at most; one weight of mobilenet_v2 moved by
0.01 by 3e-4 to 7e-4 in every row, bicubic in place of bilinear by 0.07 or more. Narrow types round after each layer:
against float32, fp16 measured 0.010 and bf16 0.046 at most; two such runs may differ by sqrt(2) of that, and twice as
much is allowed.
"""


def hold_earlier(session: Session, engine: Callable[[], Engine], entry: Entry, there: list[int]) -> None:
    """Run a few rows again of the shards that were made under other conditions than today's, once for each of these.

    Parameters
    ----------
    session : Session
    engine : callable
        Builds the net, where it comes to that.
    entry : Entry
    there : list of int
        The shards that are not missing.

    Raises
    ------
    Mismatch
    """
    count, strange = _count(session), made_elsewhere(session, entry, there)
    proofs = [[shard, shard_record(entry, shard)["file_sha256"]] for some in strange for shard in some]
    name = f"canary:{entry.key}:" + digest([proofs, count, today(session.settings.compute.device)])
    if not proofs or not count or session.is_remembered(name):
        return
    rows = chosen(session, entry, [shard_rows(entry, some) for some in strange])
    hold(session, engine, entry, rows, read_rows(entry, rows), "in the cache")
    session.remember_that(name)


def hold_all(session: Session, taps: Sequence[Backbone], entries: Iterable[Entry]) -> None:
    """Let those of some entries that are in the cache meet the canary before they are used.

    Parameters
    ----------
    session : Session
    taps : sequence of Backbone
        One net at each tap that an entry is of.
    entries : iterable of Entry

    Raises
    ------
    Mismatch
    """
    engine = functools.cache(functools.partial(Engine, session, *taps))
    for entry in entries:
        if not missing_shards(entry):
            hold_earlier(session, engine, entry, list(range(len(entry.shards))))


def made_elsewhere(session: Session, entry: Entry, there: Iterable[int]) -> list[list[int]]:
    """Return the shards that were made under other conditions than today's, those of one origin together."""
    now = today(session.settings.compute.device)
    found: dict[str, list[int]] = {}
    for shard in there:
        if (made := origins(shard_record(entry, shard)["provenance"])) != [now]:
            found.setdefault(digest(made), []).append(shard)
    return list(found.values())


def hold(
    session: Session, engine: Callable[[], Engine], entry: Entry, rows: IntArray, stored: FloatArray, whose: str
) -> None:
    """Run rows that were made under other conditions again, hold them against what is stored, and say how it went.

    Raises
    ------
    Mismatch
    """
    worst = check(session, engine(), entry, rows, stored)
    session.console.say(
        f"canary: {title(entry)}: rows {whose} were made elsewhere or by other software; {len(rows)} of them, "
        f"run again, differ by at most {worst:.1e} of a row's largest value"
    )


def chosen(session: Session, entry: Entry, groups: list[IntArray]) -> IntArray:
    """Return up to so many rows of each group as canaries are asked for, sorted."""
    count = _count(session)
    return np.sort(np.concatenate([np.empty(0, np.int64), *(pick(entry, rows, count) for rows in groups)]))


def _count(session: Session) -> int:
    asked = session.settings.compute.canary
    return ROWS if asked is None else asked


def pick(entry: Entry, rows: IntArray, count: int) -> IntArray:
    """Return up to `count` of some rows of an entry, the same ones each time."""
    rng = np.random.default_rng(int(entry.key[:16], 16))
    return np.sort(rng.choice(rows, min(count, len(rows)), replace=False))


def check(session: Session, engine: Engine, entry: Entry, rows: IntArray, stored: FloatArray) -> float:
    """Run some rows again and return the largest difference of a value, relative to its row's largest.

    Nothing is written.

    Parameters
    ----------
    session : Session
    engine : Engine
    entry : Entry
    rows : int64 [n]
    stored : float32 [n, D]
        Their features.

    Raises
    ------
    Mismatch
        Names the rows that differ by more than rounding could make, and by how much.
    """
    again = engine.embed(entry, rows)
    scale = np.maximum(np.abs(stored).max(1), np.finfo(np.float32).tiny)
    differences = np.abs(again - stored).max(1) / scale
    tolerance = TOLERANCE[session.settings.nets.precision]
    bad = np.flatnonzero(~(differences <= tolerance))
    if len(bad):
        named = ", ".join(f"{entry.sample_ids[rows[i]]} (row {rows[i]}) by {differences[i]:.2g}" for i in bad)
        raise Mismatch(
            f"{len(bad)} of {len(rows)} rows of {title(entry)} come out differently when run again",
            where=entry.folder,
            expected=f"at most {tolerance:.2g} of a row's largest value",
            got=named,
            remedy="the cache is left as it is; find out what changed, or use another --cache",
        )
    return float(differences.max(initial=0.0))
