"""A file system that is full for real: one in memory of a megabyte, mounted where nobody else sees it."""

from __future__ import annotations

import ctypes
import os
import random
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from faults import producer
from faults.children import Say, start
from faults.figures import Figures, summed
from probeline.errors import CannotWrite

SHARDS = 12
PAGES, STEP = 54, 4096
"""Pages of room for the whole entry and a little more, and a page's bytes: what such a file system counts in."""


_NEW_MOUNTS, _NEW_USERS, _PRIVATE = 0x20000, 0x10000000, 0x44000
"""CLONE_NEWNS, CLONE_NEWUSER, and MS_REC | MS_PRIVATE."""


def run(count: int | None, seed: int) -> Figures:
    """Extract with 0, 1, 2 ... pages of room, or `count` seeded ones: a clean error, and success once there is room."""
    clean = producer.clean(SHARDS)
    rooms = list(range(PAGES)) if count is None else sorted(random.Random(seed).sample(range(PAGES), count))
    with producer.workplace() as place:
        (place / "small").mkdir()

        def work(say: Say) -> None:
            mounted = _mount(place / "small")
            say(b"full file system of a megabyte\n" if mounted else b"limit on the size of a file\n")
            for pages in rooms:
                say((_attempt(place / "small", pages, mounted, clean) + "\n").encode())

        ended = start(work, limit=300).finish()
    how, *lines = ended.output.decode().split("\n")[:-1]
    stopped = lines.count("refused")
    complaints = [line.removeprefix("refused") for line in lines]
    if ended.complaint or not stopped:
        complaints.append(ended.complaint or "no extraction met the limit")
    note = (
        f"a {how}, with {rooms[0]} to {rooms[-1]} pages of room; {stopped} ended in a clean error, and completed once "
        "there was room"
    )
    return summed("A small disk, full for real", complaints, note)


def _mount(folder: Path) -> bool:
    """Give this process a small file system of its own; False where that is not allowed."""
    libc = ctypes.CDLL(None, use_errno=True)
    user, group = os.getuid(), os.getgid()
    try:
        if libc.unshare(_NEW_MOUNTS) != 0:
            if libc.unshare(_NEW_MOUNTS | _NEW_USERS) != 0:
                return False
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"0 {user} 1")
            Path("/proc/self/gid_map").write_text(f"0 {group} 1")
    except (OSError, AttributeError):  # no such call on this system
        return False
    private = libc.mount(b"none", b"/", None, _PRIVATE, None)
    return bool(private == 0 and libc.mount(b"none", bytes(folder), b"tmpfs", 0, b"size=1m") == 0)


@contextmanager
def _full(folder: Path, pages: int) -> Iterator[None]:
    """Fill the file system of a folder but for some pages."""
    ballast = folder / "ballast"
    free = os.statvfs(folder)
    ballast.write_bytes(bytes(free.f_bavail * free.f_frsize - pages * STEP))
    try:
        yield
    finally:
        ballast.unlink()


@contextmanager
def _limited(pages: int) -> Iterator[None]:
    """Let no file grow beyond some pages."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (pages * STEP, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def _attempt(folder: Path, pages: int, mounted: bool, clean: dict[str, bytes]) -> str:
    entry = producer.make_entry(folder / "cache", SHARDS)
    refused = ""
    try:
        with _full(folder, pages) if mounted else _limited(pages):
            try:
                producer.extract(entry)
            except CannotWrite:
                refused = "refused"
            except Exception as error:
                return f"an error of another kind: {error!r}"
            found = producer.complaint(entry)
            if list(folder.rglob("*.tmp")):
                found = "a temporary file is left"
        return found or producer.resumed(entry, clean) or refused
    finally:
        shutil.rmtree(folder / "cache", ignore_errors=True)
