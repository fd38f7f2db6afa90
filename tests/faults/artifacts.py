"""Hostile artifacts: whatever their record and their files hold, an image is answered with finite probabilities, or the
artifact is refused in one line; whatever is not the file that the record proves is refused by name."""

from __future__ import annotations

import random
import shutil
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from faults import producer
from faults.children import start, sweep
from faults.figures import Figures, summed
from probeline.backbones.build import random_net
from probeline.export.format import CARD, RECORD, WEIGHTS
from small_artifacts import answer, change_record, make_artifact, mutated, record_of, sealed_anyhow

NET, OTHER_SEED = "squeezenet1_1", 7

MEMORY = 3 << 30
"""Bytes of address space that a load and a prediction may take: less than the largest of the tried nets has."""

LIMIT = 60.0
"""Seconds for one load and one prediction, which take some tenths of one."""


def run(count: int, seed: int) -> Figures:
    """Change the record of an artifact in `count` seeded ways, seal it again, load it and predict."""
    with producer.workplace() as place, warnings.catch_warnings():
        warnings.simplefilter("error")
        folder, picture = _artifact(place / "own")
        record, chance = record_of(folder), random.Random(seed)
        trials = [mutated(record, chance) for _ in range(count)]

        def attempt(trial: tuple[str, dict[str, object]]) -> str:
            torch.set_num_threads(1)
            (folder / RECORD).write_bytes(sealed_anyhow(trial[1]))
            return answer(folder, picture)

        results = sweep(trials, attempt, limit=LIMIT, memory=MEMORY)
    complaints = [
        "" if line in ("refused", "answered") else f"{what}: {line}"
        for line, (what, _) in zip(results, trials, strict=True)
    ]
    note = (
        "every field of artifact.json: other types, ends of ranges, NaN, missing, unknown, nested, swapped, and fields "
        f"that agree on a wrong value; sealed again; {results.count('refused'):,} refused in one line, "
        f"{results.count('answered'):,} answered with finite probabilities"
    )
    return summed("An artifact's record forged", complaints, note)


@dataclass(frozen=True)
class Harm:
    """What is done to a file of an artifact; `do` returns whether the artifact may still answer."""

    description: str
    name: str
    do: Callable[[Path], bool]


def run_files(count: int, seed: int) -> Figures:
    """Change, cut or exchange files of an artifact in `count` seeded ways, load it and predict."""
    with producer.workplace() as place, warnings.catch_warnings():
        warnings.simplefilter("error")
        folder, picture = _artifact(place / "own", pt2=True)
        other, _ = _artifact(place / "other", net_seed=OTHER_SEED)
        chance = random.Random(seed)
        trials = [_harm(chance, folder, other) for _ in range(count)]
        copy = place / "copy"

        def attempt(harm: Harm) -> str:
            torch.set_num_threads(1)
            shutil.rmtree(copy, ignore_errors=True)
            shutil.copytree(folder, copy)
            may_answer = harm.do(copy)
            found = answer(copy, picture)
            return found if found != "answered" or may_answer else "answered, though it is not what the record proves"

        results = sweep(trials, attempt, limit=LIMIT, memory=MEMORY)
    complaints = [
        "" if line in ("refused", "answered") else f"{harm.description}: {line}"
        for line, harm in zip(results, trials, strict=True)
    ]
    kinds = Counter(harm.description.split(",")[0] for harm in trials)
    note = (
        f"each file of an artifact with a .pt2: {', '.join(f'{n:,} {kind}' for kind, n in sorted(kinds.items()))}; "
        f"{results.count('refused'):,} refused in one line, {results.count('answered'):,} answered: the card, which "
        "is not read, and heads and train rows that fit and that the record was sealed anew with"
    )
    return summed("An artifact's files changed, cut and exchanged", complaints, note)


def _artifact(place: Path, *, net_seed: int | None = None, **options: Any) -> tuple[Path, Path]:
    """Make an artifact, of a net of another seed if asked; return its folder and an image."""

    def make(_: object) -> None:
        torch.set_num_threads(1)
        weights = "none"
        if net_seed is not None:
            place.mkdir()
            weights = str(place / "net.safetensors")
            save_file(random_net(NET, net_seed).state_dict(), weights)
        make_artifact(place, backbones=(NET,), weights=weights, **options)

    ended = start(make).finish()  # in a child, so that those that come after it fork from a process without threads
    if ended.complaint:
        raise RuntimeError(f"the artifact could not be made: {ended.complaint}")
    return place / "out", min((place / "pictures").rglob("*.png"))


def _harm(chance: random.Random, folder: Path, other: Path) -> Harm:
    name = chance.choice(sorted(path.name for path in folder.iterdir()))
    size, kind = (folder / name).stat().st_size, chance.choice(["flipped", "cut", "exchanged", "exchanged and sealed"])
    if kind.startswith("exchanged") and not (other / name).exists():
        kind = "flipped"
    if kind == "flipped":
        place, bits = chance.randrange(min(size, chance.choice([64, 4096, size]))), chance.randrange(1, 256)
        return Harm(f"flipped, {name} at {place}", name, lambda copy: _flip(copy / name, place, bits))
    if kind == "cut":
        length = chance.randrange(size)
        return Harm(f"cut, {name} to {length}", name, lambda copy: _cut(copy / name, length))
    if kind == "exchanged":
        return Harm(f"exchanged, {name}", name, lambda copy: _exchange(copy, other, name))
    return Harm(f"exchanged and sealed, {name}", name, lambda copy: _exchange_and_seal(copy, other, name))


def _flip(path: Path, place: int, bits: int) -> bool:
    data = bytearray(path.read_bytes())
    data[place] ^= bits
    path.write_bytes(data)
    return path.name == CARD


def _cut(path: Path, length: int) -> bool:
    path.write_bytes(path.read_bytes()[:length])
    return path.name == CARD


def _exchange(copy: Path, other: Path, name: str) -> bool:
    same = (copy / name).read_bytes() == (other / name).read_bytes()
    shutil.copyfile(other / name, copy / name)
    return same or name == CARD


def _exchange_and_seal(copy: Path, other: Path, name: str) -> bool:
    if name == RECORD:  # an artifact of the other's record, and of one's own files
        return _exchange(copy, other, name)
    shutil.copyfile(other / name, copy / name)
    sha256 = record_of(other)["files"][name]
    change_record(copy, lambda record: record["files"].update({name: sha256}))
    return name != WEIGHTS
