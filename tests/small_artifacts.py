"""An exported predictor small enough for tests, and what a hostile hand does to its record and files."""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

import probeline
from probeline.commands import export, extract, probe
from probeline.errors import ProbelineError
from probeline.export.format import RECORD
from probeline.identity import digest_bytes, unseal
from probeline.session import Session
from small_runs import configuration, make_coloured

Place = tuple[str | int, ...]
"""The names and indices that lead to a value of a record."""


def make_artifact(place: Path, **options: Any) -> Path:
    """Export a probe on three colours to ``place/out``, and return that; ``place/pictures`` has the images."""
    make_coloured(place / "pictures")
    dataset = f"folder:{place / 'pictures'}"
    settings = configuration(
        place / "cache",
        **{"dataset": dataset, "limit": None, "device": "cpu", "sgd": ("epochs=1", "lr=1e-3"), **options},
    )
    with threadpool_limits(1):
        extract.run(Session(settings))
        probe.run(Session(settings))
        export.run(Session(settings.changed(method="probe", out=place / "out")))
    return place / "out"


def sealed_anyhow(record: dict[str, Any]) -> bytes:
    """Return a record with a valid seal, even if JSON has no such numbers."""
    body = json.dumps(record, sort_keys=True, separators=(",", ":")).encode()
    return body[:-1] + b',"sha256":"' + hashlib.sha256(body).hexdigest().encode() + b'"}\n'


def record_of(folder: Path) -> dict[str, Any]:
    """Return the JSON values of an artifact's record."""
    record = unseal((folder / RECORD).read_bytes())
    assert record is not None
    return record


def change_record(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the record of an artifact, and seal it again."""
    record = record_of(folder)
    change(record)
    (folder / RECORD).write_bytes(sealed_anyhow(record))


def replace_file(folder: Path, name: str, data: bytes) -> None:
    """Replace a file of an artifact, and its sha256 in the record."""
    (folder / name).write_bytes(data)
    change_record(folder, lambda record: record["files"].update({name: digest_bytes(data)}))


def nested(levels: int) -> list[Any]:
    """Return arrays in arrays."""
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, 2, -1, 7, 64, 4096, 2**31, 2**53, 2**63, 10**400, -(10**40)),
    *(0.0, -0.0, 0.5, 1.0, 1.5, 5e-324, 1e-3, 1e3, 1e38, 1.7e308, -1e308, math.nan, math.inf, -math.inf),
    *("", "x", "0" * 64, "ü", "\x1b[2J", "\u202e", "\ud800", "a\nb", "../../etc/passwd", "x" * 5000, "fp8", "resnet18"),
    *([], {}, [1], ["a", "b", "c"], {"a": 1}, [[]], nested(20), nested(40), nested(400), [0.1] * 3, [1e308] * 3),
)
"""Values of every type, and the ends of their ranges."""

TOGETHER: tuple[tuple[Place, ...], ...] = (
    (("temperature",), ("measured", "temperature")),
    (("preprocess", "crop"), ("measured", "image_size"), ("preprocess", "resize"), ("net", "options", "image_size")),
    (("preprocess", "crop"), ("measured", "image_size")),
    (("net", "name"), ("measured", "backbone")),
    (("net", "weights"), ("measured", "weights")),
    (("net", "precision"), ("measured", "precision")),
    (("preprocess", "mean"), ("preprocess", "std")),
)
"""Fields that must agree: a change of one alone is always refused."""

AGREED: tuple[Any, ...] = (
    *(
        0.001,
        0.1,
        1000.0,
        5e-324,
        1,
        7,
        16,
        33,
        48,
        1025,
        8192,
        "alexnet",
        "squeezenet1_0",
        "timm:vit_7b_patch16_dinov3",
    ),
    *("bf16", "fp16", "tf32", [1e-6] * 3, [1000.0, -1000.0, 0.0], [1e6] * 3),
)


def paths_of(value: Any, path: Place = ()) -> Iterator[Place]:
    """Yield the path of every value in JSON values, the whole excepted."""
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in members:
        yield (*path, name)
        yield from paths_of(inner, (*path, name))


def put(record: Any, path: Place, value: Any) -> None:
    """Set the value at a path."""
    for name in path[:-1]:
        record = record[name]
    record[path[-1]] = value


def take(record: Any, path: Place) -> Any:
    """Return the value at a path."""
    for name in path:
        record = record[name]
    return record


def mutated(record: dict[str, Any], chance: random.Random) -> tuple[str, dict[str, Any]]:
    """Return what was done, and a record with other values, with fields missing, added or swapped."""
    other, paths = deepcopy(record), list(paths_of(record))
    alike: dict[Place, list[Place]] = {}
    for one in paths:  # so that a grid of 40 numbers counts as much as one field
        alike.setdefault(tuple("*" if isinstance(name, int) else name for name in one), []).append(one)
    path = chance.choice(alike[chance.choice(list(alike))])
    match chance.choice(["value", "value", "value", "missing", "more", "swap", "together", "together"]):
        case "value":
            value = chance.choice(ODD)
            put(other, path, deepcopy(value))
            return f"{path} = {value!r:.60}", other
        case "missing":
            owner = take(other, path[:-1])
            del owner[path[-1]]
            return f"{path} missing", other
        case "more":
            owner = take(other, path[:-1])
            if isinstance(owner, dict):
                owner[chance.choice(["x", "code", "", "__class__", "ü"])] = deepcopy(chance.choice(ODD))
            else:
                owner.append(deepcopy(chance.choice([*ODD, *owner])))
            return f"{path[:-1]} with one more", other
        case "swap":
            second = chance.choice(paths)
            first, value = deepcopy(take(record, path)), deepcopy(take(record, second))
            if second[: len(path)] == path or path[: len(second)] == second:
                return "nothing", other
            put(other, path, value)
            put(other, second, first)
            return f"{path} and {second} swapped", other
    fields, value = chance.choice(TOGETHER), chance.choice(AGREED)
    for field in fields:
        put(other, field, deepcopy(value))
    return f"{fields} = {value!r:.60}", other


def answer(folder: Path, picture: Path) -> str:
    """Return ``answered`` or ``refused`` for an artifact and an image, or what is wrong with either."""
    try:
        found = probeline.load(folder, "cpu").predict([picture])
    except ProbelineError as error:
        return "refused" if len(str(error).splitlines()) == 1 else f"not one line: {error}"
    except Exception as error:
        return f"an error without a name: {error!r:.300}"
    shares = found.probabilities
    if not np.isfinite(shares).all() or (shares < 0).any() or abs(shares.sum() - 1) > 1e-9:
        return f"probabilities {shares.tolist()}"
    distances = [near.distance for near in found.neighbours[0]]
    if not np.isfinite([*distances, *(found.distances if distances else [])]).all():
        return f"distances {distances}"
    return "answered"
