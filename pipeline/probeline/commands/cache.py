"""Cache: list, remove, tidy, export and import entries. Nothing is removed without a yes."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from probeline.cache import exchange, prune
from probeline.cache.lookup import find_entry, find_folder
from probeline.errors import BadOption, UnknownName
from probeline.format import megabytes, plural
from probeline.session import Session

Result = dict[str, Any]


def run(session: Session) -> Result:
    """Do what the words after the verb say, and return what was listed or done."""
    action, *arguments = session.settings.words
    if action not in _ACTIONS:
        raise UnknownName("action", action, _ACTIONS)
    usage, fits, do = _ACTIONS[action]
    if not fits(len(arguments)):
        expected, got = f"probeline cache {usage}", " ".join(arguments)
        raise BadOption(f"bad arguments of cache {action}", expected=expected, got=got)
    return do(session, session.settings.folders.cache, arguments)


def _list(session: Session, cache: Path, _: Sequence[str]) -> Result:
    entries = prune.list_entries(cache)
    checkpoints = sum(path.stat().st_size for path in cache.glob("*/*/seed*/*") if path.is_file())
    for entry in entries:
        session.console.result(entry.line(cache))
    count, size = plural(len(entries), "entry", "entries"), sum(entry.bytes for entry in entries)
    session.console.result(f"{count}, {megabytes(size)}; checkpoints of training {megabytes(checkpoints)}")
    return {"entries": [entry.summary() for entry in entries], "checkpoint_bytes": checkpoints}


def _remove(session: Session, cache: Path, names: Sequence[str]) -> Result:
    folders = list(dict.fromkeys(find_folder(name, cache) for name in names))

    def files() -> dict[Path, int]:
        return {path: size for folder in folders for path, size in prune.entry_files(folder, cache).items()}

    for folder in folders:
        session.console.result(f"{folder}  {megabytes(sum(prune.entry_files(folder, cache).values()))}")
    question = f"remove {plural(len(folders), 'entry', 'entries')} for good?"
    return _confirm(session, files(), question, lambda: prune.remove_files(files(), cache))


def _tidy(session: Session, cache: Path, _: Sequence[str]) -> Result:
    leftovers = prune.find_leftovers(cache)
    for path, size in leftovers.items():
        session.console.result(f"{path}  {megabytes(size)}")
    if not leftovers:
        session.console.result(f"nothing to remove in {cache}")
        return {"files": 0, "bytes": 0}
    question = f"remove {plural(len(leftovers), 'leftover')}?"
    return _confirm(session, leftovers, question, lambda: prune.remove_leftovers(leftovers, cache))


def _confirm(session: Session, files: dict[Path, int], question: str, remove: Callable[[], dict[Path, int]]) -> Result:
    """Remove files after a yes, and return how many were removed, or would be in a dry run, and their size."""
    dry_run = session.settings.run.dry_run
    answer = dry_run or session.settings.maintenance.yes or session.console.confirm(question)
    if answer is None:
        raise BadOption("nothing is removed without a yes", remedy="run it in a terminal, or with --yes")
    removed = files if dry_run else remove() if answer else {}
    size = sum(removed.values())
    line = f"{plural(len(removed), 'file')} {'would be removed' if dry_run else 'removed'}, {megabytes(size)}"
    session.console.result(("dry run: " if dry_run else "") + (line if answer else "nothing was removed"))
    return {**({"dry_run": True} if dry_run else {}), "files": len(removed), "bytes": size}


def _export(session: Session, cache: Path, arguments: Sequence[str]) -> Result:
    entry, path, say = find_entry(arguments[0], cache), Path(arguments[1]), session.console.result
    sha256 = exchange.export_entry(entry, path)
    say(f"{path}  {megabytes(path.stat().st_size)}  sha256 {sha256}")
    say(f"import it elsewhere with: probeline cache import {shlex.quote(path.name)} --sha256 {sha256}")
    return {"file": str(path), "sha256": sha256, "key": entry.key}


def _import(session: Session, cache: Path, arguments: Sequence[str]) -> Result:
    entry, new = exchange.import_entry(Path(arguments[0]), cache, session.settings.maintenance.sha256)
    outcome = f"{new} of {len(entry.shards)} shards are new" if new else "already in the cache"
    session.console.result(f"{entry.folder}  {len(entry):,} x {entry.dim}, every row verified; {outcome}")
    return {"folder": str(entry.folder), "key": entry.key, "new_shards": new}


_ACTIONS: dict[str, tuple[str, Callable[[int], bool], Callable[[Session, Path, Sequence[str]], Result]]] = {
    "ls": ("ls", lambda n: n == 0, _list),
    "rm": ("rm ENTRY ...", lambda n: n > 0, _remove),
    "gc": ("gc", lambda n: n == 0, _tidy),
    "export": ("export ENTRY FILE", lambda n: n == 2, _export),
    "import": ("import FILE", lambda n: n == 1, _import),
}
