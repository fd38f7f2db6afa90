"""The verbs in any order against a model: what is there, what is damaged, and which rows had to be computed."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar
from unittest import mock

import numpy as np
from hypothesis import HealthCheck, Phase, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from faults import producer
from faults.figures import Figures
from probeline.cache import reading, writing
from probeline.cache.entry import Entry, locate_entry
from probeline.cache.locks import ShardLocks
from probeline.cache.reuse import KnownRows
from probeline.commands import extract, verify
from probeline.console import Silence
from probeline.data.verdicts import Verdicts
from probeline.errors import BadCache, Mismatch, ProbelineError
from probeline.extraction import fill as filling
from probeline.extraction import verify as verifying
from probeline.extraction.requests import ShardRequest
from probeline.identity import digest
from probeline.images import Decoding
from probeline.names import BackboneSpec
from probeline.options.settings import Settings
from probeline.types import Backbone, FloatArray, IntArray

STEPS = 40
ROWS_PER_SHARD = 3
CONTENTS = [digest(number) for number in range(8)]


class Interrupted(KeyboardInterrupt):
    """The user has had enough."""


class Listening(Silence):
    """A console that records its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


class MadeSession:
    """What the stages ask of their session, for pictures that are made up."""

    pictures: dict[str, str]
    """Content by name: the data set as it is now."""

    labels: int
    cache: Path

    def __init__(self, settings: Settings, *, remember: bool = True) -> None:  # noqa: ARG002
        self.settings = settings
        self.console = settings.console
        self.dataset = SimpleNamespace(name="made", parts={})
        self.decoding = Decoding()
        self.has_images = True
        self.verdicts = Verdicts(None)

    def taps(self, name: str) -> tuple[tuple[tuple[Backbone, ...], ...], None]:  # noqa: ARG002
        return ((producer.BACKBONE,),), None

    def spec(self, backbone: str) -> BackboneSpec:
        return BackboneSpec.parse(backbone, "DEFAULT")

    def asked_as(self, name: str, weights: str) -> str:  # noqa: ARG002
        return name

    def every_tap(self, name: str) -> tuple[Backbone, ...]:  # noqa: ARG002
        return (producer.BACKBONE,)

    def entries(self, backbone: Backbone) -> tuple[Entry, ...]:
        return (self.entry(backbone, "all"),)

    def parts(self) -> tuple[str, ...]:
        return ("all",)

    def entry(self, backbone: Backbone, part: str) -> Entry:  # noqa: ARG002
        pictures = MadeSession.pictures
        made = producer.make_part(tuple(pictures.values()), names=tuple(pictures))
        relabelled = dataclasses.replace(made, labels=(made.labels + MadeSession.labels) % 2)
        return dataclasses.replace(
            locate_entry(MadeSession.cache, relabelled, backbone, "fp32"), rows_per_shard=ROWS_PER_SHARD
        )


class MadeEngine:
    """The engine's protocol, with features that are a function of the content; it counts what it computes."""

    computed: ClassVar[Counter[str]] = Counter()
    shards_left: int | None = None
    """Shards that it makes before the user interrupts it; None for all."""

    def __init__(self, *arguments: object, loaded: object = None) -> None:
        pass

    def embed(self, entry: Entry, rows: IntArray) -> FloatArray:
        contents = [entry.content[row] for row in rows.tolist()]
        MadeEngine.computed.update(contents)
        return producer.embed(contents)

    def fill(self, *wants: ShardRequest, share: None = None) -> None:  # noqa: ARG002
        for want in wants:
            self._fill(want.entry, want.shards, want.known)

    def _fill(self, entry: Entry, shards: list[int], known: KnownRows | None) -> None:
        writing.write_entry(entry)
        with ShardLocks(entry, shards) as locks:
            while locks.are_pending:
                for number in locks.lock_all():
                    if MadeEngine.shards_left == 0:
                        raise Interrupted
                    rows = entry.shards[number]
                    there = np.empty(0, np.int64) if known is None else known.rows
                    unknown = np.setdiff1d(np.arange(rows.start, rows.stop), there)
                    features = np.empty((len(rows), entry.dim), np.float32)
                    if len(unknown):
                        features[unknown - rows.start] = self.embed(entry, unknown)
                    facts = producer.FACTS if known is None else known.copy_into(features, rows, producer.FACTS)
                    writing.write_shard(entry, number, features, facts)
                    if MadeEngine.shards_left is not None:
                        MadeEngine.shards_left -= 1
                    locks.release(number)
                locks.wait()


@dataclass
class Modelled:
    """What an entry must be.

    Attributes
    ----------
    entry : Entry
    done : set of int
        Shards with a record, whether good or bad.
    damaged : set of str
        Names of files that are not as they were written.
    """

    entry: Entry
    done: set[int] = field(default_factory=set)
    damaged: set[str] = field(default_factory=set)

    @property
    def bad_record(self) -> bool:
        return "entry.json" in self.damaged

    @property
    def bad_samples(self) -> bool:
        return "samples.bin" in self.damaged

    def bad_shards(self, suffixes: tuple[str, ...] = (".h5", ".json")) -> set[int]:
        """Return the shards with a record of which a file is damaged."""
        return {number for number in self.done if any(f"shard-{number:05d}{s}" in self.damaged for s in suffixes)}

    @property
    def missing(self) -> list[int]:
        return [number for number in range(len(self.entry.shards)) if number not in self.done]

    def contents(self, number: int) -> list[str]:
        rows = self.entry.shards[number]
        return list(self.entry.content[rows.start : rows.stop])

    def written(self, number: int) -> None:
        self.done.add(number)
        self.damaged -= {f"shard-{number:05d}.h5", f"shard-{number:05d}.json"}


class StoreMachine(RuleBasedStateMachine):
    """Extract, interrupt, relabel, add, remove, rename, reorder, damage, verify and repair, in any order."""

    seen: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        memory = Path("/dev/shm")  # noqa: S108
        self.folder = Path(tempfile.mkdtemp(prefix="probeline-faults-", dir=memory if memory.is_dir() else None))
        MadeSession.cache = self.folder / "cache"
        MadeSession.pictures = dict(zip("abcdef", [*CONTENTS[:5], CONTENTS[0]], strict=True))
        MadeSession.labels = 0
        self.entries: dict[Path, Modelled] = {}

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    def _config(self, **options: Any) -> tuple[MadeSession, Listening]:
        console = Listening()
        return MadeSession(
            Settings.of(dataset="made", backbones=("made",), cache=MadeSession.cache, console=console, **options)
        ), console

    def _entry(self) -> Entry:
        return self._config()[0].entry(producer.BACKBONE, "all")

    def _current(self) -> Modelled | None:
        return self.entries.get(self._entry().folder)

    # The data set

    @rule(
        change=st.sampled_from(["add", "add", "remove", "rename", "reorder"]),
        place=st.integers(0, 9),
        name=st.sampled_from("abcdefgh"),
        content=st.sampled_from(CONTENTS),
    )
    def change_images(self, change: str, place: int, name: str, content: str) -> None:
        before = self._entry().key
        pictures = list(MadeSession.pictures.items())
        place %= len(pictures)
        if change == "add":
            pictures.append((name, content))  # under a name that is taken: another content
        elif change == "remove" and len(pictures) > 1:
            del pictures[place]
        elif change == "rename" and name not in MadeSession.pictures:
            pictures[place] = (name, pictures[place][1])
        elif change == "reorder":
            pictures = pictures[place:] + pictures[:place]
        differs = list(dict(pictures).items()) != list(MadeSession.pictures.items())
        MadeSession.pictures = dict(pictures)
        assert (self._entry().key != before) == differs

    @rule()
    def relabel(self) -> None:
        before = self._entry().key
        MadeSession.labels += 1
        assert self._entry().key == before

    # Extraction

    @initialize()
    def first_extraction(self) -> None:
        self._extract(None)

    @rule()
    def extract(self) -> None:
        self._extract(None)

    @rule(shards=st.integers(0, 3))
    def interrupt(self, shards: int) -> None:
        self._extract(shards)

    def _extract(self, shards_left: int | None) -> None:
        entry = self._entry()
        there = self.entries.get(entry.folder)
        model = there or Modelled(entry)
        bad = model.bad_samples or model.bad_shards()
        refused = model.bad_record or bool(model.bad_shards((".json",))) or (not model.missing and bool(bad))
        elsewhere = self._available(entry.folder)
        unknown = {
            number: [content for content in model.contents(number) if content not in elsewhere]
            for number in model.missing
        }
        copied = [number for number, contents in unknown.items() if not contents]
        # Whole copies come first, and the engine is not needed for them.
        rest = [number for number in unknown if number not in copied]
        made = rest if shards_left is None else rest[:shards_left]
        MadeEngine.computed, MadeEngine.shards_left = Counter(), shards_left
        session, _ = self._config()
        try:
            extract.run(session)  # type: ignore[arg-type]
        except BadCache:
            assert refused
            assert not MadeEngine.computed
            StoreMachine.seen["refusals of a damaged entry"] += 1
            return
        except Interrupted:
            assert len(made) < len(rest)
            StoreMachine.seen["interrupts"] += 1
        else:
            assert made == rest
        assert not refused
        self.entries[entry.folder] = model
        for number in (*copied, *made):
            model.written(number)
        assert MadeEngine.computed == Counter(content for number in made for content in unknown[number])
        written = sum(len(model.contents(number)) for number in (*copied, *made))
        StoreMachine.seen["rows computed"] += MadeEngine.computed.total()
        StoreMachine.seen["rows copied"] += written - MadeEngine.computed.total()

    def _available(self, folder: Path) -> set[str]:
        """Return the contents whose features other entries can prove."""
        return {
            content
            for other, model in self.entries.items()
            if other != folder and not model.bad_record and not model.bad_samples
            for number in model.done - model.bad_shards()
            for content in model.contents(number)
        }

    # Damage

    @precondition(lambda self: self.entries)
    @rule(
        entry=st.integers(0, 99),
        file=st.integers(0, 99),
        fault=st.sampled_from(["flip", "flip", "cut", "gone"]),
        place=st.integers(0, 2**20),
    )
    def damage(self, entry: int, file: int, fault: str, place: int) -> None:
        model = list(self.entries.values())[entry % len(self.entries)]
        files = sorted(set(producer.files(model.entry)) - model.damaged)
        if not files:
            return
        name = files[file % len(files)]
        path = model.entry.folder / name
        data = path.read_bytes()
        if fault == "gone" and name != "entry.json":
            path.unlink()
            if name.endswith(".json"):
                model.done.discard(int(name[6:11]))
                return
        elif fault == "flip":
            place %= len(data)
            path.write_bytes(data[:place] + bytes([data[place] ^ (1 << place % 8)]) + data[place + 1 :])
        else:
            path.write_bytes(data[: place % len(data)])
        model.damaged.add(name)
        StoreMachine.seen["files damaged"] += 1

    # Verification

    @rule()
    def verify(self) -> None:
        self._verify(self._bad())

    @rule()
    def repair(self) -> None:
        current = self._current()
        MadeEngine.computed, MadeEngine.shards_left = Counter(), None
        bad = current.bad_shards() if current else set()
        if current is not None:
            for number in bad:
                current.written(number)
            current.damaged -= {"entry.json", "samples.bin"}
        self._verify(self._bad(), repair=True)
        if current is not None:
            assert MadeEngine.computed == Counter(c for number in bad for c in current.contents(number))
            StoreMachine.seen["shards repaired"] += len(bad)

    def _bad(self) -> set[tuple[str, str]]:
        """Return the folder and the beginning of the file name of each problem that can be detected."""
        now = self._entry().folder
        found: set[tuple[str, str]] = set()
        for folder, model in self.entries.items():
            if model.bad_record or model.bad_samples:
                found.add((str(folder), "entry.json" if model.bad_record else "samples.bin"))
            # An entry's content is known from its own files alone, except for that of the current data set.
            if not (model.bad_record or model.bad_samples) or folder == now:
                found |= {(str(folder), f"shard-{number:05d}") for number in model.bad_shards()}
        return found

    def _verify(self, bad: set[tuple[str, str]], **options: Any) -> None:
        session, console = self._config(**options)
        try:
            verify.run(session)  # type: ignore[arg-type]
            assert not bad
        except Mismatch:
            assert bad
        lines = [line for line in console.lines if line.startswith("verify: bad: ")]
        assert len(lines) == len(bad), (lines, bad)
        for folder, name in bad:
            assert any(f"{folder}/{name}" in line for line in lines), (lines, folder, name)

    # Reading

    @invariant()
    def what_is_read_is_right(self) -> None:
        StoreMachine.seen["steps"] += 1
        model = self._current()
        entry = self._entry()
        whole = model is not None and not model.missing and not model.bad_record and not model.bad_shards()
        try:
            found = reading.read_features(entry)
        except ProbelineError:
            assert not whole
            return
        assert whole
        np.testing.assert_array_equal(found.features, producer.truth(entry))
        assert found.sample_ids == tuple(MadeSession.pictures)


def run(count: int, seed: int, *, shrink: bool = True) -> Figures:
    """Run `count` seeded programs; report the first that the store does not follow, as short as possible."""

    class Seeded(StoreMachine):
        pass

    StoreMachine.seen = Counter()
    chosen = settings(
        max_examples=count,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        print_blob=False,
        phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    lost, parted = 0, ""
    with (
        mock.patch.object(filling, "Engine", MadeEngine),
        # The net is made up, so there are no weights to confirm.
        mock.patch.object(filling, "confirm_records", return_value=None),
        mock.patch.object(filling, "describe_confirmed", return_value={}),
        mock.patch.object(verifying, "Engine", MadeEngine),
        mock.patch.object(verify, "Session", MadeSession),
    ):
        try:
            run_state_machine_as_test(seeded(seed)(Seeded), settings=chosen)
        except Exception as error:
            lost = 1
            notes = " ".join(getattr(error, "__notes__", []))
            parted = f"; the store and its model part: {error!r} {notes}"
    steps = StoreMachine.seen.pop("steps", 0)
    counts = ", ".join(f"{number:,} {what}" for what, number in sorted(StoreMachine.seen.items()))
    note = f"steps of {count} programs, each as a model foretells it: {counts}{parted}"
    return Figures("The verbs in any order, against a model", steps, steps - lost, lost, note)
