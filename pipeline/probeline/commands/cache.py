"""Cache: list, remove, tidy, export and import entries. Nothing is removed without a yes."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from probeline.cache import exchange, prune
from probeline.cache.lookup import find_entry, find_folder
from probeline.errors import BadOption, UnknownName
from probeline.session import Session

Result = dict[str, Any]


def run(session: Session) -> Result:
    """Do what the words after the verb say, and return what was found or done.

    Raises
    ------
    UnknownName
        No such action.
    BadOption
        Its arguments are missing, or nobody is there to say yes.
    ProbelineError
    """
    action, *arguments = session.settings.words
    if action not in _ACTIONS:
        raise UnknownName("action", action, _ACTIONS)
    usage, fits, do = _ACTIONS[action]
    if not fits(len(arguments)):
        raise BadOption(
            f"bad arguments of cache {action}", expected=f"probeline cache {usage}", got=" ".join(arguments)
        )
    return do(session, arguments)


def _list(session: Session, _: Sequence[str]) -> Result:
    say, cache = session.console.say, session.settings.folders.cache
    stock = prune.take_stock(cache)
    for one in stock:
        entry = one.entry
        what = (
            f"{entry.title}  {len(entry):,} x {entry.dim}  {one.shards} of {len(entry.shards)} shards"
            if entry
            else str(one.folder.relative_to(cache))
        )
        damaged = "  damaged: probeline verify" if one.damaged else ""
        say(f"{one.folder.name[-12:]}  {what}{damaged}  {_size(one.bytes)}  {_age(one.age)}")
    checkpoints = sum(path.stat().st_size for path in cache.glob("*/*/seed*/*") if path.is_file())
    size = _size(sum(one.bytes for one in stock))
    say(f"{_counted(len(stock), 'entry', 'entries')}, {size}; checkpoints of training {_size(checkpoints)}")
    return {
        "entries": [
            {
                "folder": str(one.folder),
                "key": one.entry.key if one.entry else None,
                "rows": len(one.entry) if one.entry else None,
                "shards": one.shards,
                "damaged": one.damaged,
                "bytes": one.bytes,
                "age_seconds": one.age,
            }
            for one in stock
        ],
        "checkpoint_bytes": checkpoints,
    }


def _remove(session: Session, names: Sequence[str]) -> Result:
    cache = session.settings.folders.cache
    folders = list(dict.fromkeys(find_folder(name, cache) for name in names))
    for folder in folders:
        session.console.say(f"{folder}  {_size(sum(prune.files_of(folder, cache).values()))}")

    def remove() -> dict[Path, int]:
        found = [prune.files_of(folder, cache) for folder in folders]
        return {path: size for files in found for path, size in prune.remove(files, cache).items()}

    return _removed(session, f"remove {_counted(len(folders), 'entry', 'entries')} for good?", remove)


def _tidy(session: Session, _: Sequence[str]) -> Result:
    cache = session.settings.folders.cache
    found = prune.leftovers(cache)
    for path, size in found.items():
        session.console.say(f"{path}  {_size(size)}")
    if not found:
        session.console.say(f"nothing to remove in {cache}")
        return {"files": 0, "bytes": 0}
    return _removed(
        session,
        f"remove {_counted(len(found), 'leftover', 'leftovers')}?",
        lambda: prune.remove_leftovers(found, cache),
    )


def _removed(session: Session, question: str, remove: Callable[[], dict[Path, int]]) -> Result:
    """Remove after a yes, and return how much that was."""
    answer = session.settings.maintenance.yes or session.console.confirm(question)
    if answer is None:
        raise BadOption("nothing is removed without a yes", remedy="run it in a terminal, or with --yes")
    gone = remove() if answer else {}
    size = sum(gone.values())
    session.console.say(
        f"{_counted(len(gone), 'file', 'files')} removed, {_size(size)}" if answer else "nothing was removed"
    )
    return {"files": len(gone), "bytes": size}


def _export(session: Session, arguments: Sequence[str]) -> Result:
    entry, path = find_entry(arguments[0], session.settings.folders.cache), Path(arguments[1])
    sha256 = exchange.export(entry, path)
    session.console.say(f"{path}  {_size(path.stat().st_size)}  sha256 {sha256}")
    session.console.say(f"to take it in elsewhere: probeline cache import {shlex.quote(path.name)} --sha256 {sha256}")
    return {"file": str(path), "sha256": sha256, "key": entry.key}


def _import(session: Session, arguments: Sequence[str]) -> Result:
    entry, new = exchange.take_in(
        Path(arguments[0]), session.settings.folders.cache, session.settings.maintenance.sha256
    )
    done = f"{new} of {len(entry.shards)} shards are new" if new else "it was there already"
    session.console.say(f"{entry.folder}  {len(entry):,} x {entry.dim}, every row proven; {done}")
    return {"folder": str(entry.folder), "key": entry.key, "new_shards": new}


def _counted(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


def _size(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _age(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} old"
    return f"{max(seconds, 0):.0f} seconds old"


_Do = Callable[[Session, Sequence[str]], Result]
_ACTIONS: dict[str, tuple[str, Callable[[int], bool], _Do]] = {
    "ls": ("ls", lambda n: n == 0, _list),
    "rm": ("rm ENTRY ...", lambda n: n > 0, _remove),
    "gc": ("gc", lambda n: n == 0, _tidy),
    "export": ("export ENTRY FILE", lambda n: n == 2, _export),
    "import": ("import FILE", lambda n: n == 1, _import),
}
