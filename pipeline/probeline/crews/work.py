"""What a crew is started for: the shards of an extraction, or results that do not depend on each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from probeline.options.command_line import command_words
from probeline.options.settings import Settings
from probeline.options.share import Share
from probeline.session import Session
from probeline.stores.shards import SharedShards, find_missing
from probeline.stores.store import find_store

_ASKED_FOR = 100
"""Missing shards up to which a store is asked for each of them, which takes a call each."""

ALONE: Mapping[str, Any] = {"crew": None, "crew_size": None, "crew_with": ()}
"""Changes of settings by which a worker starts no crew of its own."""


class Work(Protocol):
    """Pieces of work, and the commands that do what is missing of them."""

    @property
    def verb(self) -> str:
        """The verb that does it."""

    @property
    def piece(self) -> str:
        """What one piece is called."""

    @property
    def total(self) -> int:
        """How many pieces there are."""

    @property
    def shared_options(self) -> str:
        """The options that say where workers leave what they have done, for this process to find."""

    def count_missing(self) -> int:
        """Return how many pieces are missing at this moment, read from where results are kept."""

    def commands(self, workers: int) -> list[list[str]]:
        """Return the words of the commands that do what was missing at the last count, for this many workers."""


class Shards:
    """The shards of every entry that a session's settings name; each worker takes its share, then what is left."""

    verb, piece, shared_options = "extract", "shard", "a --cache that all machines share, or a --store"

    def __init__(self, session: Session) -> None:
        settings = self._settings = session.settings
        taps = [tap for name in settings.nets.backbones for tap in session.every_tap(name)]
        self._entries = [entry for tap in taps for entry in session.entries(tap)]
        self._store, self._is_started = find_store(settings.sharing.store), False
        self.total = sum(len(entry.shards) for entry in self._entries)

    def missing(self) -> dict[str, int]:
        """Return how many shards are missing at this moment, by the folder of their entry."""
        counts = {}
        for entry in self._entries:
            # A listing of a store is used for a moment only, so each count has its own.
            shared = None if self._store is None else SharedShards(self._store, entry)
            missing = find_missing(entry, shared)
            # A listing may lack what workers just published; where many are missing, the next wave asks for each.
            if shared is not None and self._is_started and len(missing) <= _ASKED_FOR:
                missing = [number for number in missing if not shared.is_finished(number)]
            counts[str(entry.folder)] = len(missing)
        return counts

    def count_missing(self) -> int:
        """Return how many shards are missing at this moment."""
        return sum(self.missing().values())

    def commands(self, workers: int) -> list[list[str]]:
        """Return the words of each worker's command: they differ in their share."""
        self._is_started = True
        return [share_words(self._settings, index, workers) for index in range(workers)]


def share_words(settings: Settings, index: int, count: int) -> list[str]:
    """Return the words of the command that is one of some processes of an extraction."""
    # With a share of its own a worker asks no launcher which one it is.
    return command_words(settings, "extract", **{**ALONE, "share": str(Share(index, count))})


@dataclass(frozen=True)
class Piece:
    """A result that depends on no other: the changes of the settings that ask for it alone, and whether it exists."""

    changes: Mapping[str, Any]
    exists: Callable[[], bool]


class Results:
    """Results that a verb makes one by one, each in a process of its own."""

    shared_options = "a --cache and --reports that all machines share"

    def __init__(self, settings: Settings, verb: str, piece: str, pieces: Sequence[Piece]) -> None:
        self._settings, self._pieces = settings, pieces
        self.verb, self.piece, self.total = verb, piece, len(pieces)
        self._missing: list[Piece] = []

    def count_missing(self) -> int:
        """Return how many results are missing at this moment."""
        self._missing = [piece for piece in self._pieces if not piece.exists()]
        return len(self._missing)

    def commands(self, workers: int) -> list[list[str]]:  # noqa: ARG002 - a command for each, whoever runs it
        """Return the words of the command for each missing result."""
        return [command_words(self._settings, self.verb, **{**ALONE, **piece.changes}) for piece in self._missing]
