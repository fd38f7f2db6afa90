"""What ``--second`` says, read without a data set, so that a command line is checked without numpy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from probeline.errors import BadOption

_EXPECTED = "NAME=CLASS[,CLASS...] for two groups or more, or one FILE.csv"


def parsed(words: Sequence[str]) -> Path | dict[str, tuple[str, ...]]:
    """Return the file that ``--second`` names, or the classes of each of its groups.

    Raises
    ------
    BadOption
        It names neither.
    """
    if len(words) == 1 and words[0].endswith(".csv"):
        return Path(words[0])
    groups: dict[str, tuple[str, ...]] = {}
    for word in words:
        name, _, listed = word.partition("=")
        classes = tuple(listed.split(","))
        if not name or not all(classes) or name in groups:
            raise BadOption("bad --second", expected=_EXPECTED, got=f"{name} twice" if name in groups else word)
        groups[name] = classes
    if len(groups) < 2:
        raise BadOption("bad --second", expected=_EXPECTED, got=" ".join(words) or "nothing")
    return groups
