"""One backbone's cached tokens of one data set, as attentive heads are fitted on them: streamed shard by shard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from probeline.cache.features import EntryFeatures
from probeline.cache.reading import extraction_seconds, require_vectors, split_by_shard
from probeline.errors import BadOption
from probeline.evaluate.features import CachedFeatures, CachedRows, requested_taps
from probeline.evaluate.heads.method import FoldOf
from probeline.evaluate.heads.registry import all_head_methods
from probeline.images import Sight
from probeline.names import reads_tokens
from probeline.options.settings import Settings
from probeline.session import Session
from probeline.types import Backbone, IntArray, Split

if TYPE_CHECKING:
    from probeline.heads.minibatch.tokens import HalfArray, TokenRows


@dataclass(frozen=True)
class CachedTokenRows:
    """Rows of cached entries, one source after the other: :class:`probeline.heads.minibatch.tokens.TokenRows`.

    Attributes
    ----------
    sources : sequence of pairs
        An entry that reads its own shards, and the rows of it, int64 [n] ascending.
    """

    sources: Sequence[tuple[EntryFeatures, IntArray]]

    @cached_property
    def _starts(self) -> IntArray:
        return np.cumsum([0, *(len(rows) for _, rows in self.sources)])

    @property
    def shape(self) -> tuple[int, int, int]:
        """N, T and D."""
        _, tokens, dim = self.sources[0][0].shape
        return int(self._starts[-1]), tokens, dim

    @cached_property
    def pieces(self) -> Sequence[int]:
        """How many of the rows each shard has."""
        return [len(own) for features, rows in self.sources for _, own in split_by_shard(features.entry, rows)]

    def read(self, rows: IntArray) -> HalfArray:
        """Return the tokens float16 [n, T, D] of some rows; each shard is verified when it is read."""
        if len(self.sources) == 1:
            features, own = self.sources[0]
            return features[own[rows]]
        tokens = np.empty((len(rows), *self.shape[1:]), np.float16)
        of_source = np.searchsorted(self._starts, rows, side="right") - 1
        for number in np.unique(of_source).tolist():
            features, own = self.sources[number]
            here = of_source == number
            tokens[here] = features[own[rows[here] - self._starts[number]]]
        return tokens


class CachedTokens(CachedRows["TokenRows"]):
    """One backbone's cached tokens of one data set, at one tap.

    Shards are kept in memory up to `WINDOW_BYTES` of the train part, and one at a time of any other.
    """

    reads_tokens = True

    def __init__(self, session: Session, *taps: Backbone) -> None:
        super().__init__(session, *taps)
        self._entries: dict[Path, EntryFeatures] = {}

    def _open(self, part: str, view: Sight | None) -> EntryFeatures:
        entry = self.session.entry(self.backbone, part, view)
        if entry.folder not in self._entries:
            from probeline.heads.minibatch.tokens import WINDOW_BYTES

            is_fitted = part == self.session.splits.train.part
            shard = entry.rows_per_shard * entry.row_bytes
            self._entries[entry.folder] = EntryFeatures(entry, WINDOW_BYTES + shard if is_fitted else shard)
        return self._entries[entry.folder]

    def _load(self, sources: Sequence[tuple[Split, Sight | None]]) -> TokenRows:
        return CachedTokenRows([(self._open(split.part, view), split.rows) for split, view in sources])

    def _make_fold(self, X: TokenRows, y: IntArray, X_heldout: TokenRows, y_heldout: IntArray) -> FoldOf[TokenRows]:
        from probeline.heads.minibatch.tokens import fit_token_scaler

        return FoldOf(X, y, X_heldout, y_heldout, fit_token_scaler(X))

    def load_test(self, fold: FoldOf[TokenRows]) -> TokenRows:  # noqa: ARG002
        """Return the test rows; a head standardises them as the rows that it is fitted on."""
        return self._load_rows(self.session.splits.test)[0]

    @property
    def extraction_seconds(self) -> float:
        """What the tokens took to extract, of all parts and views."""
        return sum(map(extraction_seconds, self.entries()))


def cached_rows(session: Session, *taps: Backbone) -> CachedRows[Any]:
    """Return what heads read at one tap, or at several concatenated ones."""
    return CachedTokens(session, *taps) if taps[0].tokens else CachedFeatures(session, *taps)


def taps_read(settings: Settings, verb: str) -> tuple[str, ...]:
    """Return the taps that the methods of a verb read: no tokens if none reads them, unless all taps are tokens."""
    taps = settings.reading.taps
    if any(method.reads_tokens for method in all_head_methods(verb)):
        return taps
    return tuple(tap for tap in taps if not reads_tokens(tap)) or taps


def requested_rows(session: Session, verb: str) -> list[CachedRows[Any]]:
    """Return what the heads of a verb read of every backbone at every tap that the settings name.

    Taps of tokens are left out if no method of the verb reads tokens, and other taps are named too.

    Raises
    ------
    BadOption
        Tokens for a verb whose requested methods read vectors alone.
    """
    methods = [method for method in all_head_methods(verb) if method.reads_tokens]
    taps = list(requested_taps(session))
    if any(method.is_requested(session.settings.heads) for method in methods):
        return [cached_rows(session, *own) for own in taps]
    of_tokens = [own[0] for own in taps if own[0].tokens]
    if of_tokens and (methods or len(of_tokens) == len(taps)):
        require_vectors(of_tokens[0].tap)
    for tap in of_tokens:
        session.console.say(f"{verb}: {tap.name} at {tap.tap}: left out, as its methods read vectors")
    return [cached_rows(session, *own) for own in taps if not own[0].tokens]


def require_kind(rows: CachedRows[Any], method: str, *, reads_tokens: bool) -> None:
    """Raise BadOption for a method that reads tokens on vectors, or the other way round."""
    if reads_tokens and not rows.reads_tokens:
        raise BadOption(f"{method} reads tokens", where=f"--tap {rows.tap}", expected="--tap MODULE:tokens")
    if rows.reads_tokens and not reads_tokens:
        require_vectors(rows.tap)
