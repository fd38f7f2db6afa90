"""Cache: list, remove, tidy, export and import entries. Nothing is removed without a yes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from probeline.errors import BadOption, UnknownName
from probeline.stages.inputs import Inputs
from probeline.store import exchange, tidy
from probeline.store.lookup import find_entry

Result = dict[str, Any]


def run(inputs: Inputs) -> Result:
    """Do what the words after the verb say, and return what was found or done.

    Raises
    ------
    UnknownName
        No such action.
    BadOption
        Its arguments are missing, or nobody is there to say yes.
    ProbelineError
    """
    action, *arguments = inputs.config.words
    if action not in _ACTIONS:
        raise UnknownName("action", action, _ACTIONS)
    usage, fits, do = _ACTIONS[action]
    if not fits(len(arguments)):
        raise BadOption(
            f"bad arguments of cache {action}", expected=f"probeline cache {usage}", got=" ".join(arguments)
        )
    return do(inputs, arguments)


def _list(inputs: Inputs, _: Sequence[str]) -> Result:
    say, cache = inputs.config.console.say, inputs.config.cache
    stock = tidy.take_stock(cache)
    for one in stock:
        entry = one.entry
        what = (
            f"{entry.dataset}/{entry.part} x {entry.inputs['backbone']}  {len(entry):,} x {entry.dim}"
            f"  {one.shards} of {len(entry.shards)} shards"
            if entry
            else f"{one.folder.relative_to(cache)}  damaged: probeline verify"
        )
        say(f"{one.folder.name[-12:]}  {what}  {_size(one.bytes)}  {_age(one.age)}")
    checkpoints = sum(path.stat().st_size for path in cache.glob("*/*/seed*/*") if path.is_file())
    say(f"{len(stock)} entries, {_size(sum(one.bytes for one in stock))}; checkpoints of training {_size(checkpoints)}")
    return {
        "entries": [
            {
                "folder": str(one.folder),
                "key": one.entry.key if one.entry else None,
                "rows": len(one.entry) if one.entry else None,
                "shards": one.shards,
                "bytes": one.bytes,
                "age_seconds": one.age,
            }
            for one in stock
        ],
        "checkpoint_bytes": checkpoints,
    }


def _remove(inputs: Inputs, names: Sequence[str]) -> Result:
    folders = [find_entry(name, inputs.config.cache).folder for name in names]
    files = [path for folder in dict.fromkeys(folders) for path in tidy.own_files(folder)]
    for folder in dict.fromkeys(folders):
        inputs.config.console.say(f"{folder}  {_size(sum(path.stat().st_size for path in tidy.own_files(folder)))}")
    return _removed(inputs, files, f"remove {len(set(folders))} entries for good?")


def _tidy(inputs: Inputs, _: Sequence[str]) -> Result:
    files = tidy.leftovers(inputs.config.cache)
    for path in files:
        inputs.config.console.say(f"{path}  {_size(path.stat().st_size)}")
    if not files:
        inputs.config.console.say(f"nothing to remove in {inputs.config.cache}")
        return {"files": 0, "bytes": 0}
    return _removed(inputs, files, f"remove {len(files)} leftover files?")


def _removed(inputs: Inputs, files: list[Path], question: str) -> Result:
    """Remove files after a yes."""
    answer = inputs.config.yes or inputs.config.console.confirm(question)
    if answer is None:
        raise BadOption("nothing is removed without a yes", remedy="run it in a terminal, or with --yes")
    size = tidy.remove(files) if answer else 0
    inputs.config.console.say(f"{len(files)} files removed, {_size(size)}" if answer else "nothing was removed")
    return {"files": len(files) if answer else 0, "bytes": size}


def _export(inputs: Inputs, arguments: Sequence[str]) -> Result:
    entry, path = find_entry(arguments[0], inputs.config.cache), Path(arguments[1])
    sha256 = exchange.export(entry, path)
    inputs.config.console.say(f"{path}  {_size(path.stat().st_size)}  sha256 {sha256}")
    inputs.config.console.say(f"to take it in elsewhere: probeline cache import {path.name} --sha256 {sha256}")
    return {"file": str(path), "sha256": sha256, "key": entry.key}


def _import(inputs: Inputs, arguments: Sequence[str]) -> Result:
    entry, new = exchange.take_in(Path(arguments[0]), inputs.config.cache, inputs.config.sha256)
    done = f"{new} of {len(entry.shards)} shards are new" if new else "it was there already"
    inputs.config.console.say(f"{entry.folder}  {len(entry):,} x {entry.dim}, every row proven; {done}")
    return {"folder": str(entry.folder), "key": entry.key, "new_shards": new}


def _size(size: int) -> str:
    return f"{size / 1e6:,.1f} MB"


def _age(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} old"
    return f"{max(seconds, 0):.0f} seconds old"


_Do = Callable[[Inputs, Sequence[str]], Result]
_ACTIONS: dict[str, tuple[str, Callable[[int], bool], _Do]] = {
    "ls": ("ls", lambda n: n == 0, _list),
    "rm": ("rm ENTRY ...", lambda n: n > 0, _remove),
    "gc": ("gc", lambda n: n == 0, _tidy),
    "export": ("export ENTRY FILE", lambda n: n == 2, _export),
    "import": ("import FILE", lambda n: n == 1, _import),
}
