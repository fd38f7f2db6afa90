"""Hostile folders: every real folder of a class is listed once, within bounded calls, and all else is named."""

from __future__ import annotations

import errno
import os
import random
import shutil
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from faults import producer
from faults.children import sweep
from faults.figures import Figures, summed
from probeline.data.folders.walk import MOST_DEEP
from probeline.data.sources import folder
from probeline.format import abridge

CLOSED = {"closed": errno.EACCES, "stale": errno.ESTALE}
"""How the names of folders begin whose listing the system refuses, and how it does."""

LONGEST = 4096
"""Bytes of a path that Linux does not take any more."""

CALLS = 4
"""Listings of a first-level folder and of their own, to find out which are classes and which parts."""


@dataclass
class Expected:
    """What the reference found: images and everything else by their names, and how many folders there are to list."""

    images: set[str] = field(default_factory=set)
    others: set[str] = field(default_factory=set)
    folders: int = 0


def run(count: int, seed: int) -> Figures:
    """List `count` seeded data sets with links, loops, fans, depth, pipes and folders that cannot be read."""
    trials = [f"{seed} {number}" for number in range(count)]
    results = sweep(trials, _attempt, limit=20)
    outcomes = [line.split(":") for line in results]
    complaints = [
        "" if words[0] == "listed" else f"{name}: {':'.join(words)}"
        for words, name in zip(outcomes, trials, strict=True)
    ]
    images, others, paths = (
        sum(int(words[place]) for words in outcomes if words[0] == "listed") for place in (1, 2, 3)
    )
    note = (
        "links back, to `/`, to `/proc`, to each other, to nothing and to themselves, fans of 2^20 paths, 1,200 "
        f"folders in each other, pipes, sockets, folders that the system refuses: {images:,} images listed as by a "
        f"reference, {others:,} other entries named, {paths:,} folders listed, none more than once in a class"
    )
    return summed("Hostile folders", complaints, note)


def _attempt(name: str) -> str:
    chance = random.Random(name)
    with producer.workplace() as place:
        root = place / "data"
        classes = _grow(place, root, chance)
        try:
            expected = _refer(root)
            with _counted() as calls:
                listing = folder.scan(root)
            images = set(listing.parts["all"].sample_ids)
            others = {skipped.path for skipped in listing.skipped}
            if len(images) != len(listing.parts["all"].sample_ids):
                return "an image is listed twice"
            if images != expected.images:
                return f"other images: {_some(images - expected.images)} and not {_some(expected.images - images)}"
            if others != expected.others:
                return f"others named: {_some(others - expected.others)} and not {_some(expected.others - others)}"
            most = expected.folders + CALLS * (classes + 1)
            if calls[0] > most:
                return f"{calls[0]} listings of folders, more than {most}"
            return f"listed:{len(images)}:{len(others)}:{expected.folders}"
        except Exception as error:
            return f"an error: {error!r}"
        finally:
            _remove(place)


def _some(names: set[str]) -> list[str]:
    return [abridge(name) for name in sorted(names)[:3]]


@contextmanager
def _counted() -> Iterator[list[int]]:
    """Refuse the listing of the folders in `CLOSED`, and count all listings."""
    scandir: Callable[[str], Iterator[os.DirEntry[str]]] = os.scandir
    calls = [0]

    def counting(path: str) -> Iterator[os.DirEntry[str]]:
        calls[0] += 1
        if number := CLOSED.get(Path(path).name.rstrip("0123456789")):
            raise OSError(number, os.strerror(number), path)
        return scandir(path)

    os.scandir = counting  # type: ignore[assignment]
    try:
        yield calls
    finally:
        os.scandir = scandir  # type: ignore[assignment]


def _grow(place: Path, root: Path, chance: random.Random) -> int:
    """Make a data set with a pool beside it; return how many entries its folder has."""
    pool = place / "pool"
    pool.mkdir()
    (pool / "in pool.jpg").touch()
    for kind in "abc"[: chance.choice([2, 3])]:
        (root / kind).mkdir(parents=True)
        (root / kind / "first.png").touch()
    folders = [pool, *root.iterdir()]
    for number in range(chance.choice([5, 20, 60])):
        above = chance.choice(folders)
        if above != pool or chance.random() < 0.5:
            made = above / chance.choice(["f", "F.jpg", "é", "lost+found", *CLOSED])
            made = made if made.name == "lost+found" else made.with_name(f"{made.name}{number}")
            if not made.exists():
                made.mkdir()
                if not made.name.startswith(("lost+found", *CLOSED)):
                    folders.append(made)
    for number in range(chance.choice([5, 50])):
        (chance.choice(folders) / f"{number}{chance.choice(['.jpg', '.PNG', '.txt', '.gif'])}").touch()
    if chance.random() < 0.3:
        os.mkfifo(chance.choice(folders) / "pipe.jpg")
    if chance.random() < 0.3:
        _make_socket(chance.choice(folders) / "socket.png")
    if chance.random() < 0.1:
        folders.append(_fan(place / "fan"))
    if chance.random() < 0.1:
        _dig(chance.choice(folders), chance)
    for number in range(chance.choice([0, 3, 15])):
        _link(chance.choice(folders) / f"{chance.choice('Alz')}{number}", folders, root, chance)
    if chance.random() < 0.3:
        (root / "linked").symlink_to(chance.choice([pool, root / "a"]))
    if chance.random() < 0.3:
        (root / "loop").symlink_to(chance.choice([root, place, "loop"]))
    return len(list(root.iterdir()))


def _link(path: Path, folders: list[Path], root: Path, chance: random.Random) -> None:
    kind = chance.choice(["folder", "folder", "folder", "above", "itself", "nothing", "chain", "system", "file"])
    if kind == "folder":
        path.symlink_to(chance.choice(folders))
    elif kind == "above":
        path.symlink_to(chance.choice([path.parent, *path.parents, root]))
    elif kind == "itself":
        path.symlink_to(path.name)
    elif kind == "nothing":
        path.symlink_to("nothing")
    elif kind == "system":
        path.symlink_to(chance.choice(["/proc", "/sys", "/dev", "/proc/self"]))
    elif kind == "file":
        path.with_suffix(".jpg").symlink_to(root / "a" / "first.png")
    else:  # the system follows 40 links at most
        for number in range(50):
            path.with_name(f"{path.name}c{number}").symlink_to(f"{path.name}c{number + 1}")
        path.with_name(f"{path.name}c50").symlink_to(chance.choice(folders))


def _fan(top: Path) -> Path:
    """Return a folder from which 2^20 paths of links lead to a last one with an image."""
    for number in range(21):
        (top / str(number)).mkdir(parents=True)
        (top / str(number) / "one.jpg").touch()
    for number in range(20):
        for name in "xy":
            (top / str(number) / name).symlink_to(top / str(number + 1))
    return top / "0"


def _dig(above: Path, chance: random.Random) -> None:
    """Make folders in each other, deeper than a path may be long, or with names that make it too long."""
    depth, name = chance.choice([(1200, "n"), (40, "n" * 250)])
    here = os.open(above, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=here)
        inner = os.open(name, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)


def _make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def _remove(place: Path) -> None:
    """Remove all below a folder, however deep; shutil and os.walk need a path or a recursion for each."""
    heap = place / "heap"
    heap.mkdir()
    deep = [inner for inner in place.iterdir() if inner != heap]
    number = 0
    while deep:
        top = deep.pop()
        if top.is_dir() and not top.is_symlink():
            for inner in list(top.iterdir()):
                if inner.is_dir() and not inner.is_symlink():
                    number += 1
                    deep.append(inner.rename(heap / str(number)))
            shutil.rmtree(top)


def _refer(root: Path) -> Expected:
    """Return what must be found, by paths alone: real ones tell which folders are the same."""
    expected = Expected()
    for path in sorted(root.iterdir()):
        target = os.path.realpath(path)
        if stat.S_ISDIR(_mode(path)) and os.path.commonpath([target, root]) != target:
            _refer_class(root, path.name, expected)
        else:
            expected.others.add(path.name)
    return expected


def _mode(path: Path) -> int:
    """Return what a path leads to, 0 if the system does not tell."""
    try:
        return path.stat().st_mode
    except OSError:
        return 0


def _refer_class(root: Path, name: str, expected: Expected) -> None:
    around = {str(above) for path in (root / name, Path(os.path.realpath(root / name))) for above in path.parents}
    listed: set[str] = set()
    following = [name]
    while following:
        level, following = sorted(following), []
        for link in level:
            pending = [link]
            while pending:
                own = pending.pop(0)
                path = root / own
                real = os.path.realpath(path)
                if own.count("/") > MOST_DEEP or real in around | listed or len(os.fsencode(path)) >= LONGEST:
                    expected.others.add(own)
                    continue
                expected.folders += 1
                if Path(real).name.startswith(tuple(CLOSED)):
                    expected.others.add(own)
                    listed.add(real)
                    continue
                listed.add(real)
                inner = []
                for entry in sorted(path.iterdir()):
                    below, mode, target = f"{own}/{entry.name}", _mode(entry), os.path.realpath(entry)
                    if entry.name == "lost+found" or target.startswith(("/proc", "/sys")) or target == "/dev":
                        expected.others.add(below)
                    elif stat.S_ISDIR(mode):
                        is_link = entry.is_symlink()
                        if is_link and os.path.commonpath([target, real]) == target:
                            expected.others.add(below)
                        else:
                            (following if is_link else inner).append(below)
                    elif stat.S_ISREG(mode) and entry.suffix.lower() in (".jpg", ".png"):
                        expected.images.add(below)
                    else:
                        expected.others.add(below)
                pending = inner + pending
