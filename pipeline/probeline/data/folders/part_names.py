"""Names of folders that are parts of a data set: train, val and test, alone or among other words."""

from __future__ import annotations

import re

PART_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
"""Names of folders that are parts, with their parts."""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
"""A word of a name: between digits and other signs, or of a name in camel case."""

_JOINED = re.compile(
    r"(train(?:ing)?|test(?:ing)?|val(?:id(?:ation)?)?|dev)(?:set|data|images?|imgs?|pics?|folder|dir)"
)
"""A part's name run together with a word for a set: ``trainset``, ``testdata``."""


def exact_part(name: str) -> str | None:
    """Return the part that a folder of this name is: ``train``, ``val`` or ``test``; None if it is another name."""
    return PART_NAMES.get(name.lower())


def likely_part(name: str) -> str | None:
    """Return the part that a name contains as a word, as ``asl_alphabet_train`` and ``Test-set`` do; None if not one.

    A name with the words of two parts, such as ``train_val``, is that of neither.
    """
    if exact := exact_part(name):
        return exact
    words = [word.lower() for word in _WORD.findall(name)]
    joined = [match[1] for word in words if (match := _JOINED.fullmatch(word))]
    parts = {PART_NAMES[word] for word in (*words, *joined) if word in PART_NAMES}
    return parts.pop() if len(parts) == 1 else None
