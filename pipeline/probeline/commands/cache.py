"""Cache: list, remove, tidy, export, import and upgrade entries. Nothing is removed without a yes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from probeline.cache import exchange, prune
from probeline.cache.lookup import find_entry, find_folder
from probeline.cache.prune import Removable
from probeline.cache.writing import upgrade_entries
from probeline.errors import BadOption, UnknownName
from probeline.format import megabytes, plural
from probeline.identity import FORMAT_VERSION
from probeline.session import Session
from probeline.text import shell_word

Result = dict[str, Any]


def run(session: Session) -> Result:
    """Do what the words after the verb say, and return what was listed or done."""
    action, *arguments = session.settings.words
    if action not in _ACTIONS:
        raise UnknownName("action", action, _ACTIONS)
    usage, fits, do = _ACTIONS[action]
    if not fits(len(arguments)):
        got = " ".join(arguments)
        raise BadOption(f"bad arguments of cache {action}", expected=f"probeline cache {usage}", got=got)
    return do(session, session.settings.folders.cache, arguments)


def _list(session: Session, cache: Path, _: Sequence[str]) -> Result:
    entries, checkpoints = prune.list_entries(cache), prune.checkpoint_bytes(cache)
    for entry in entries:
        session.console.result(entry.line(cache))
    count, size = plural(len(entries), "entry", "entries"), megabytes(sum(entry.bytes for entry in entries))
    session.console.result(f"{count}, {size}; checkpoints of training {megabytes(checkpoints)}")
    return {"entries": [entry.summary() for entry in entries], "checkpoint_bytes": checkpoints}


def _remove(session: Session, cache: Path, names: Sequence[str]) -> Result:
    cache = cache.resolve()
    folders = list(dict.fromkeys(find_folder(name, cache) for name in names))
    found = prune.find_entries(folders, cache)
    for folder in folders:
        session.console.result(f"{folder}  {megabytes(found.bytes_in(folder))}")
    question = f"remove {plural(len(folders), 'entry', 'entries')} for good?"
    return _confirm(session, found, question, lambda: prune.remove_entries(folders, cache))


def _tidy(session: Session, cache: Path, _: Sequence[str]) -> Result:
    cache = cache.resolve()
    found = prune.find_leftovers(cache)
    for path, size in found.paths.items():
        session.console.result(f"{path}  {megabytes(size)}")
    question = f"remove {plural(len(found.paths), 'leftover')}?"
    return _confirm(session, found, question, lambda: prune.remove_leftovers(found.paths, cache))


def _confirm(session: Session, found: Removable, question: str, remove: Callable[[], dict[Path, int]]) -> Result:
    dry_run, yes = session.settings.run.dry_run, session.settings.maintenance.yes
    return prune.remove_after_yes(found, question, remove, session.console, dry_run=dry_run, yes=yes)


def _export(session: Session, cache: Path, arguments: Sequence[str]) -> Result:
    entry, path, say = find_entry(arguments[0], cache), Path(arguments[1]), session.console.result
    sha256 = exchange.export_entry(entry, path)
    say(f"{path}  {megabytes(path.stat().st_size)}  sha256 {sha256}")
    say(f"import it elsewhere with: probeline cache import {shell_word(path.name)} --sha256 {sha256}")
    return {"file": str(path), "sha256": sha256, "key": entry.key}


def _import(session: Session, cache: Path, arguments: Sequence[str]) -> Result:
    entry, new = exchange.import_entry(Path(arguments[0]), cache, session.settings.maintenance.sha256)
    outcome = f"{new} of {len(entry.shards)} shards are new" if new else "already in the cache"
    session.console.result(f"{entry.folder}  {entry.shape_in_words}, every row verified; {outcome}")
    return {"folder": str(entry.folder), "key": entry.key, "new_shards": new}


def _upgrade(session: Session, cache: Path, _: Sequence[str]) -> Result:
    dry_run, say = session.settings.run.dry_run, session.console.result
    folders = []
    for folder in upgrade_entries(cache, session.console.warn, dry_run=dry_run):
        say(str(folder))
        folders.append(str(folder))
    done = "would be upgraded" if dry_run else "upgraded"
    say(f"{plural(len(folders), 'entry', 'entries')} {done} to format {FORMAT_VERSION}")
    return {**({"dry_run": True} if dry_run else {}), "upgraded": folders, "format": FORMAT_VERSION}


_ACTIONS: dict[str, tuple[str, Callable[[int], bool], Callable[[Session, Path, Sequence[str]], Result]]] = {
    "ls": ("ls", lambda n: n == 0, _list),
    "rm": ("rm ENTRY ...", lambda n: n > 0, _remove),
    "gc": ("gc", lambda n: n == 0, _tidy),
    "export": ("export ENTRY FILE", lambda n: n == 2, _export),
    "import": ("import FILE", lambda n: n == 1, _import),
    "upgrade": ("upgrade", lambda n: n == 0, _upgrade),
}
