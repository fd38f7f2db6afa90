"""How much disk the tokens of a layer take: said before they are extracted, and refused above a budget."""

from __future__ import annotations

from collections.abc import Sequence

from probeline.cache.format.records import MOST_DIM
from probeline.cache.reading import missing_shards
from probeline.errors import BadOption
from probeline.format import plural
from probeline.session import Session
from probeline.types import Backbone


def check_token_budget(session: Session, taps: Sequence[Backbone], verb: str = "extract") -> None:
    """Say how large the tokens of one backbone become that are not extracted yet, before any image is read.

    Entries count in full if a shard of them is missing, those that are complete do not; messages begin with `verb`.

    Raises
    ------
    BadOption
        Together they take more than ``--tokens-gb``, or one image has more values than a row of the cache holds.
    """
    total, described = 0, []
    for tap in (tap for tap in taps if tap.tokens):
        if tap.dim > MOST_DIM:
            raise BadOption(
                "more tokens than a row of the cache holds",
                where=f"{tap.name} at {tap.tap}",
                expected=f"at most {MOST_DIM:,} values per image",
                got=f"{tap.dim:,}",
                remedy="use a smaller --image-size, or a later layer",
            )
        entries = [entry for entry in session.entries(tap) if missing_shards(entry)]
        size, rows = sum(len(entry) * entry.row_bytes for entry in entries), sum(map(len, entries))
        if rows:
            shape = f"{tap.tokens:,} tokens x {tap.dim // tap.tokens:,} values in float16"
            described.append(f"{plural(rows, 'image')} of {shape} at {tap.tap}: {_gigabytes(size)}")
            session.console.say(f"{verb}: {tap.name}: {described[-1]}")
        total += size
    budget = session.settings.reading.tokens_gb
    if total > budget * 1e9:
        raise BadOption(
            "tokens beyond the budget",
            where=taps[0].name,
            expected=f"at most {budget:g} GB (--tokens-gb)",
            got=f"{_gigabytes(total)}: {'; '.join(described)}",
            remedy="use fewer images by --limit, fewer tokens by a smaller --image-size, or a larger --tokens-gb",
        )


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.3g} GB"
