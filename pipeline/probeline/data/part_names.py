"""The names of the parts of a data set, train, val and test: of folders, splits, columns, keys and files."""

from __future__ import annotations

import re
from collections.abc import Iterable

FOLDER_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
"""Names of folders that are parts, with their parts; fewer than of values, since a folder may be a class."""

PART_NAMES = {
    **FOLDER_NAMES,
    **dict.fromkeys(("trn", "tr", "fit"), "train"),
    "eval": "val",
    **dict.fromkeys(("tst", "te", "holdout"), "test"),
}
"""Names of parts where nothing else is named, such as values of a split column, with their parts; in lower case."""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
"""A word of a name: between digits and other signs, or of a name in camel case."""

_JOINED = re.compile(
    r"(train(?:ing)?|test(?:ing)?|val(?:id(?:ation)?)?|dev)(?:set|data|images?|imgs?|pics?|folder|dir)"
)
"""A part's name run together with a word for a set: ``trainset``, ``testdata``."""


def named_part(name: object) -> str | None:
    """Return the part that a split, a key or a value names: ``train``, ``val`` or ``test``; None if none."""
    return PART_NAMES.get(str(name).strip().lower())


def first_part(words: Iterable[str]) -> str | None:
    """Return the part that the first of some words names; None if none does."""
    return next((part for word in words if (part := named_part(word))), None)


def without_part(words: Iterable[str]) -> str:
    """Return the other words of a key such as ``X_train``, joined by an underscore."""
    return "_".join(word for word in words if not named_part(word))


def exact_part(name: str) -> str | None:
    """Return the part that a folder of this name is: ``train``, ``val`` or ``test``; None if it is another name."""
    return FOLDER_NAMES.get(name.lower())


def likely_part(name: str) -> str | None:
    """Return the part that a name contains as a word, as ``asl_alphabet_train`` and ``Test-set`` do; None if not one.

    A name with the words of two parts, such as ``train_val``, is that of neither.
    """
    if exact := exact_part(name):
        return exact
    words = [word.lower() for word in _WORD.findall(name)]
    joined = [match[1] for word in words if (match := _JOINED.fullmatch(word))]
    parts = {FOLDER_NAMES[word] for word in (*words, *joined) if word in FOLDER_NAMES}
    return parts.pop() if len(parts) == 1 else None
