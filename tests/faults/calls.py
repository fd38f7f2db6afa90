"""What may stand between the store and the disk: its calls, counted, delayed, refused, recorded or never returning."""

from __future__ import annotations

import functools
import itertools
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

NAMES = ("open", "write", "fsync", "close", "link", "replace", "rename", "unlink", "mkdir")
"""Functions of `os` through which all goes that `probeline.disk` and the locks change; `pathlib` calls them too."""

Call = Callable[..., Any]
Act = Callable[[int, str, Call, tuple[Any, ...]], Any]
"""Takes a call's number, name, function and arguments, and returns what the caller gets."""


@contextmanager
def between(act: Act) -> Iterator[None]:
    """Let `act` decide what becomes of each file-system call of this process."""
    real: dict[str, Call] = {name: getattr(os, name) for name in NAMES}
    numbers = itertools.count()

    def stand_in(name: str) -> Call:
        def call(*arguments: Any, **options: Any) -> Any:
            return act(next(numbers), name, functools.partial(real[name], **options), arguments)

        return call

    for name in NAMES:
        setattr(os, name, stand_in(name))
    try:
        yield
    finally:
        for name, function in real.items():
            setattr(os, name, function)


def count(task: Callable[[], object]) -> list[str]:
    """Run a task and return the names of its calls, in order."""
    names = []

    def act(number: int, name: str, call: Call, arguments: tuple[Any, ...]) -> Any:
        names.append(name)
        return call(*arguments)

    with between(act):
        task()
    return names


def killing(at: int, when: str) -> Act:
    """Return what ends this process at a call: ``before`` it, ``half`` through a write, or ``after`` it."""

    def act(number: int, name: str, call: Call, arguments: tuple[Any, ...]) -> Any:
        if number != at:
            return call(*arguments)
        try:
            if when == "half":
                call(arguments[0], arguments[1][: len(arguments[1]) // 2])
            elif when == "after":
                call(*arguments)
        finally:
            os.kill(os.getpid(), signal.SIGKILL)

    return act


def lingering(nap: Callable[[], object]) -> Act:
    """Return what naps before and after each call, as a slow disk does."""

    def act(number: int, name: str, call: Call, arguments: tuple[Any, ...]) -> Any:
        nap()
        result = call(*arguments)
        nap()
        return result

    return act
