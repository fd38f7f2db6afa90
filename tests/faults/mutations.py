"""Values of a record as somebody else may write them, and texts with a valid seal that no encoder would give."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

from probeline.identity import digest_bytes

HUGE, DEEP, NESTED = "@an integer of 5,000 digits@", "@100,000 lists@", "@400 lists@"
"""Stand for what Python's encoder refuses; :func:`sealed` writes them."""

_TEXTS = {HUGE: "1" + "0" * 5000, DEEP: "[" * 100_000 + "]" * 100_000, NESTED: "[" * 400 + "]" * 400}

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 7, 1000, 1 << 31, (1 << 53) + 1, 1 << 63, 1 << 64, 10**30, -(10**30)),
    *(0.0, -0.0, 0.5, 1.0, 1.5, -0.5, 5e-324, 1e-12, 1e12, 1e38, 1e101, 1.7e308, -1e300),
    *(float("nan"), float("inf"), float("-inf"), HUGE, DEEP, NESTED),
    *("", "x", "0", "1", "../x", "/", ".", "a b", "train", "test:0", "é", "\N{RIGHT-TO-LEFT OVERRIDE}x", "a\nb"),
    *("\0", "a\0b", "\ud800", "<b>&", "`|*_", "=1+1", "y" * 300, "z" * 5000, "w" * 70_000, "9" * 5000),
    *([], {}, [[]], [None], [0, 0], ["x", 1], {"": 0}, {"x": {"x": []}}, [0.5] * 300, {str(i): i for i in range(50)}),
)
"""Put in the place of any value."""


def mutated(values: Any, chance: random.Random) -> tuple[Any, str]:
    """Return a copy of JSON values with one to three changes at any depth, and what was done."""
    root = {"": copy.deepcopy(values)}
    done = [_change(root, chance) for _ in range(chance.choice([1, 1, 1, 2, 3]))]
    return root[""], "; ".join(done)


def _odd(chance: random.Random) -> Any:
    return copy.deepcopy(chance.choice(ODD))


def _change(root: dict[str, Any], chance: random.Random) -> str:
    owner: Any = root
    key: Any = ""
    path = []
    while isinstance(owner[key], dict | list) and owner[key] and (owner is root or chance.random() < 0.8):
        owner = owner[key]
        key = chance.choice(list(owner)) if isinstance(owner, dict) else chance.randrange(len(owner))
        path.append(str(key)[:40])
    where, value = ".".join(path), owner[key]
    action = chance.choice(["odd", "odd", "near", "near", "near", "drop", "add", "move"])
    if owner is root:
        return f"{where}: whole"
    if action == "near" and isinstance(value, int | float) and not isinstance(value, bool):
        owner[key] = chance.choice([value + 1, value - 1, -value, value * 2, value * 0.99, value * 1e6, str(value)])
    elif action == "near" and isinstance(value, str):
        owner[key] = chance.choice([value[:-1], value + "x", value.upper(), value * 2, value[::-1], [value], value[:3]])
    elif action == "near" and isinstance(value, bool):
        owner[key] = not value
    elif action == "drop":
        del owner[key]
    elif action == "add" and isinstance(owner, list):
        owner.insert(chance.randrange(len(owner) + 1), chance.choice([copy.deepcopy(value), _odd(chance)]))
    elif action == "add":
        owner[chance.choice(["x", "", "edge", "second", "0", "\0", "v" * 300, "options"])] = _odd(chance)
    elif action == "move" and isinstance(owner, list):
        other = chance.randrange(len(owner))
        owner[key], owner[other] = owner[other], owner[key]
    elif action == "move":
        owner[key] = copy.deepcopy(owner[chance.choice(list(owner))])
    else:
        owner[key] = _odd(chance)
    now = repr(owner[key])[:60] if not isinstance(owner, list) and key in owner else action
    return f"{where}: {action} {now}"


def sealed(values: Any, chance: random.Random) -> bytes:
    """Return a text of these values with a valid seal, now and then with a member twice."""
    body = json.dumps(values, sort_keys=True, separators=(",", ":"))
    for name, text in _TEXTS.items():
        body = body.replace(json.dumps(name), text)
    body = body.replace("Infinity", chance.choice(["Infinity", "1e400"]))
    if chance.random() < 0.05 and body.startswith('{"'):
        name = body[: body.index(":")]
        body = f"{name}:{chance.choice(['null', '0', '[]'])},{body[1:]}"
    data = body.encode()
    return data[:-1] + b',"sha256":"' + digest_bytes(data).encode() + b'"}\n'
