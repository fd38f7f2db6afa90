"""The words after ``--corruption``: corruptions of images by name, at one severity or at all of them."""

from __future__ import annotations

from collections.abc import Sequence

from probeline.errors import BadOption, UnknownName
from probeline.names import CORRUPTIONS, SEVERITIES

ALL, NONE = "all", "none"


def parse_corruptions(words: Sequence[str]) -> list[tuple[str, int]]:
    """Return names with severities, each pair once, in the order of `CORRUPTIONS` and then by severity.

    A word is ``NAME`` or ``NAME:SEVERITY``, where ``all`` stands for every name; ``none`` alone for none.

    Raises
    ------
    UnknownName, BadOption
    """
    if tuple(words) == (NONE,):
        return []
    wanted: set[tuple[str, int]] = set()
    for word in words:
        name, colon, severity = word.partition(":")
        if name == "frost":
            raise BadOption("frost is not among the corruptions", expected=", ".join(CORRUPTIONS), got=word)
        if name not in (ALL, *CORRUPTIONS):
            raise UnknownName("corruption", name, (ALL, NONE, *CORRUPTIONS))
        if colon and severity not in map(str, SEVERITIES):
            raise BadOption("bad severity in --corruption", expected="1 to 5, as in fog:3", got=word)
        names = CORRUPTIONS if name == ALL else (name,)
        wanted |= {(own, level) for own in names for level in ((int(severity),) if colon else SEVERITIES)}
    return sorted(wanted, key=lambda pair: (CORRUPTIONS.index(pair[0]), pair[1]))
