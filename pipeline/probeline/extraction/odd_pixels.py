"""Images that lose nearly all they show when they are decoded: noticed by extraction, and said in every run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from probeline.cache.entry import Entry
from probeline.cache.reading import is_done, shard_record
from probeline.cache.reuse import ROW_FACTS, facts_of_rows
from probeline.data.pixels.decode import Pixels
from probeline.data.pixels.facts import LEVELS, find_oddities
from probeline.images import Decoding, PixelArray
from probeline.names import GREY_BITS
from probeline.session import Session

_SHARE = 0.1
"""From this share of a part's images on they are worth a warning."""

_DARK = 1 << 14
"""Grey of 16 bits that stays below uses a quarter of its range or less."""


class OddImages:
    """What is odd about the images of one pass; called for each image, also by several threads."""

    def __init__(self) -> None:
        self._by_row: dict[int, dict[str, Any]] = {}

    def __call__(self, row: int, pixels: Pixels, view: PixelArray) -> None:
        """Look at an image and at what the net sees of it, uint8 [H, W, 3]."""
        self.add(row, find_oddities(pixels, view))

    def add(self, row: int, facts: dict[str, Any]) -> None:
        """Keep the facts about an image, if there are any."""
        if facts:
            self._by_row[row] = facts

    def take(self, rows: Sequence[int]) -> dict[str, Any]:
        """Return the facts about some rows as a member of a shard's provenance, and forget them; empty without any."""
        facts = {str(i): self._by_row.pop(row) for i, row in enumerate(rows) if row in self._by_row}
        return {ROW_FACTS: facts} if facts else {}


def warn_of_odd_pixels(session: Session, entry: Entry) -> None:
    """Warn of odd images that are common in an entry, once in a run."""
    for line in describe_odd_pixels(entry, session.decoding):
        session.warn_once(line)


def describe_odd_pixels(entry: Entry, decoding: Decoding) -> list[str]:
    """Return one line about each kind of odd images that is common in an entry, with the option that mends it."""
    facts = [fact for fact in _facts(entry) if fact]
    n, lines = len(entry), []
    one_colour = [fact for fact in facts if "one_colour" in fact]
    grey = [largest for fact in facts if isinstance(largest := fact.get("grey_max"), int)]
    dark = [largest for largest in grey if largest < _DARK]
    few_levels = [fact for fact in facts if "few_levels" in fact and fact.get("grey_max", _DARK) >= _DARK]
    if len(one_colour) >= _SHARE * n:
        line = f"{len(one_colour):,} of {n:,} images of {entry.part} are of one colour everywhere once decoded"
        if transparent := sum("transparent" in fact for fact in one_colour):
            other = "white" if decoding.background == "black" else "black"
            line += (
                f"; {transparent:,} of them have transparent pixels, which are put on {decoding.background}: "
                f"try --alpha {other}"
            )
        lines.append(line)
    if len(few_levels) >= _SHARE * n:
        lines.append(
            f"{len(few_levels):,} of {n:,} images of {entry.part} span fewer than {LEVELS} of 256 levels once "
            "decoded: if they are masks, or 16 bits of which few are used, scale the files to 8 bits first"
        )
    if decoding.grey_range == "full" and len(dark) >= _SHARE * n:
        depth = next(bits for bits in GREY_BITS if max(dark) < 1 << int(bits))
        lines.append(
            f"{len(dark):,} of {n:,} images of {entry.part} are 16-bit grey with values up to {max(dark):,} of "
            f"65,535, and so nearly black: use --grey-range {depth}, or --grey-range auto for a scale per image"
        )
    if decoding.grey_range.isdigit() and max(grey, default=0) >> int(decoding.grey_range):
        lines.append(
            f"some images of {entry.part} are 16-bit grey with values up to {max(grey):,}: what is above "
            f"{(1 << int(decoding.grey_range)) - 1:,} is white by --grey-range {decoding.grey_range}"
        )
    return lines


def _facts(entry: Entry) -> Iterator[Mapping[str, Any]]:
    """Yield what is known of single rows of an entry's finished shards."""
    for shard in range(len(entry.shards)):
        if is_done(entry, shard):
            yield from facts_of_rows(shard_record(entry, shard).provenance).values()
