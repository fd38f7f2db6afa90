"""Power loss: what POSIX does not promise to be on the disk may be missing, in part there, or there alone.

A recorder writes down what each call does. After a power loss a file holds what was synced and any part of what was
not; a name leads where it led when its folder was synced, or to anything that it led to since, each name for itself.
Processes may die before, so that a later one finds what is there and yet not durable.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from faults import calls, producer
from faults.figures import Figures, summed
from probeline.cache.entry import Entry

SHARDS = 3
FOLDER = -1
"""What a folder's name leads to; a file's leads to a number."""


class Died(BaseException):
    """The process is gone: nothing that it would do on its way out happens."""


@dataclass(frozen=True)
class Effect:
    """What a call did.

    Attributes
    ----------
    kind : str
        ``name``: `path` leads to `file` now (None: to nothing). ``write``: `data` at the end of `file`. ``sync``: of
        `file`. ``sync folder``: of `path`. ``done``: shard `file` was reported as written.
    """

    kind: Literal["name", "write", "sync", "sync folder", "done"]
    path: str = ""
    file: int | None = None
    data: bytes = b""


@dataclass
class Recorder:
    """A process's calls below a folder, written down; it may die at one of them.

    Attributes
    ----------
    root : Path
        Durable, as is all that is in it at the start.
    """

    root: Path
    effects: list[Effect] = field(default_factory=list)
    dies_at: int | None = None
    _leads: dict[str, int] = field(default_factory=dict)
    _opened: dict[int, tuple[str, int]] = field(default_factory=dict)
    _numbers: Any = field(default_factory=itertools.count)
    _dead: bool = False

    def run(self, task: Callable[[], object], dies_at: int | None) -> None:
        """Run a task to its end, or until it dies at a call."""
        self.dies_at, self._dead = dies_at, False
        self._opened.clear()
        try:
            with calls.between(self.act):
                task()
        except Died:
            for descriptor in self._opened:
                os.close(descriptor)

    def act(self, number: int, name: str, call: calls.Call, arguments: tuple[Any, ...]) -> Any:
        if self._dead or number == self.dies_at:
            self._dead = True
            raise Died
        result = call(*arguments)
        getattr(self, f"_{name}")(arguments, result)
        return result

    def _place(self, path: object) -> str:
        """Return where a path is below the root; what lies above it is durable."""
        found = Path(str(path))
        return str(found.relative_to(self.root)) if found.is_relative_to(self.root) else "/"

    def _lead(self, path: str, file: int | None) -> None:
        if file is None:
            self._leads.pop(path, None)
        else:
            self._leads[path] = file
        self.effects.append(Effect("name", path, file))

    def _open(self, arguments: tuple[Any, ...], descriptor: int) -> None:
        if not arguments[1] & (os.O_WRONLY | os.O_RDWR) and not Path(arguments[0]).is_dir():
            return  # for reading: nothing of it reaches the disk
        path = self._place(arguments[0])
        if arguments[1] & os.O_CREAT and path not in self._leads:
            self._lead(path, next(self._numbers))
        self._opened[descriptor] = (path, self._leads.get(path, FOLDER))

    def _write(self, arguments: tuple[Any, ...], written: int) -> None:
        _, file = self._opened[arguments[0]]
        self.effects.append(Effect("write", file=file, data=bytes(arguments[1][:written])))

    def _fsync(self, arguments: tuple[Any, ...], _: None) -> None:
        path, file = self._opened[arguments[0]]
        folder = file == FOLDER
        self.effects.append(Effect("sync folder", path) if folder else Effect("sync", file=file))

    def _close(self, arguments: tuple[Any, ...], _: None) -> None:
        self._opened.pop(arguments[0], None)

    def _link(self, arguments: tuple[Any, ...], _: None) -> None:
        self._lead(self._place(arguments[1]), self._leads[self._place(arguments[0])])

    def _replace(self, arguments: tuple[Any, ...], _: None) -> None:
        source, target = map(self._place, arguments[:2])
        self._lead(target, self._leads[source])
        self._lead(source, None)

    _rename = _replace

    def _unlink(self, arguments: tuple[Any, ...], _: None) -> None:
        self._lead(self._place(arguments[0]), None)

    def _mkdir(self, arguments: tuple[Any, ...], _: None) -> None:
        self._lead(self._place(arguments[0]), FOLDER)


def after_power_loss(effects: list[Effect], chance: random.Random) -> dict[str, bytes | None]:
    """Return what may be on the disk after these effects: the content of files by path, None for folders."""
    names: dict[str, int | None] = {}
    waiting: dict[str, list[int | None]] = {}
    content: dict[int | None, bytes] = {}
    unsynced: dict[int | None, list[bytes]] = {}
    for effect in effects:
        if effect.kind == "name":
            waiting.setdefault(effect.path, []).append(effect.file)
        elif effect.kind == "write":
            unsynced.setdefault(effect.file, []).append(effect.data)
        elif effect.kind == "sync":
            content[effect.file] = content.get(effect.file, b"") + b"".join(unsynced.pop(effect.file, []))
        elif effect.kind == "sync folder":
            for path in [path for path in waiting if os.path.dirname(path) == effect.path.removeprefix(".")]:  # noqa: PTH120
                names[path] = waiting.pop(path)[-1]
    # Every name kept or dropped for itself, or all dropped, or all kept: chance alone would rarely try the extremes.
    mood = chance.choice(["any", "dropped", "kept"])
    for path, later in waiting.items():
        states = [names.get(path), *later]
        names[path] = {"any": chance.choice(states), "dropped": states[0], "kept": states[-1]}[mood]
    found: dict[str, bytes | None] = {}
    for path, file in sorted(names.items()):
        above = os.path.dirname(path)  # noqa: PTH120
        if file is not None and (not above or above in found):
            found[path] = None if file == FOLDER else content.get(file, b"") + _part(unsynced.get(file, []), chance)
    return found


def _part(writes: list[bytes], chance: random.Random) -> bytes:
    """Return what may be there of writes that were not synced: nothing, zeros in their place, the beginning, or all."""
    data = b"".join(writes)
    return chance.choice([b"", bytes(len(data)), data[: chance.randrange(len(data) + 1)], data])


def run(count: int, seed: int) -> Figures:
    """Lose power `count` times: what records claim must be there, what was reported too, and the rest be resumed."""
    clean = producer.clean(SHARDS)
    complaints = []
    reported = deaths = 0
    for number in range(count):
        chance = random.Random(seed * 1_000_003 + number)
        with producer.workplace() as place:
            (place / "before").mkdir()
            recorder = Recorder(place / "before")
            entry = producer.make_entry(recorder.root / "cache", SHARDS)
            for _ in range(chance.randrange(3)):
                recorder.run(partial(_extract, entry, recorder), chance.randrange(80))
                deaths += 1
            recorder.run(partial(_extract, entry, recorder), None)
            cut = chance.randint(1, len(recorder.effects))
            effects = recorder.effects[:cut] if chance.random() < 0.8 else recorder.effects
            after = place / "after"
            after.mkdir()
            for path, data in after_power_loss(effects, chance).items():
                if data is None:
                    (after / path).mkdir()
                else:
                    (after / path).write_bytes(data)
            done = {effect.file for effect in effects if effect.kind == "done"}
            reported += len(done)
            complaints.append(_judge(producer.make_entry(after / "cache", SHARDS), done, clean))
    note = (
        f"unsynced writes and names dropped, cut short or kept, each for itself; {deaths} processes died before; "
        f"{reported} shards had been reported as written, and were there"
    )
    return summed("Power lost", complaints, note)


def _extract(entry: Entry, recorder: Recorder) -> None:
    producer.extract(entry, done=lambda shard: recorder.effects.append(Effect("done", file=shard)))


def _judge(entry: Entry, done: set[int | None], clean: dict[str, bytes]) -> str:
    if found := producer.complaint(entry):
        return found
    if gone := done - producer.proven(entry):
        return f"reported as written, and gone: shards {sorted(map(str, gone))}"
    return producer.resumed(entry, clean)
