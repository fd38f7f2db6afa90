"""The crews that may run an extraction, and what each of their workers can be given."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from probeline.errors import BadOption, MissingExtra, UnknownName

_MOST = 1_000_000


@dataclass(frozen=True)
class CrewKind:
    """What the workers of a crew are, the package that starts them, and the type of each setting of a worker."""

    workers: str
    package: str = ""
    settings: Mapping[str, type] = field(default_factory=dict)
    needed: tuple[str, ...] = ()


CREWS: Mapping[str, CrewKind] = {
    "local": CrewKind("processes on this machine"),
    "ray": CrewKind("tasks of Ray", "ray", {"address": str, "cpus": float, "gpus": float}),
    "slurm": CrewKind(
        "tasks of a SLURM job array",
        "submitit",
        {
            "minutes": int,
            "partition": str,
            "account": str,
            "qos": str,
            "constraint": str,
            "cpus": int,
            "gpus": int,
            "memory_gb": int,
        },
        needed=("minutes",),
    ),
}


def check_crew(crew: str | None, size: int | None, words: Sequence[str], share: str | None) -> None:
    """Refuse options of a crew that do not go together, and one whose package is not installed.

    Raises
    ------
    BadOption, UnknownName, MissingExtra
    """
    if crew is None:
        for flag, value in (("--crew-size", size), ("--crew-with", words)):
            if value:
                raise BadOption(f"{flag} without --crew", expected=f"--crew {'|'.join(CREWS)}")
        return
    if share is not None:
        raise BadOption(
            "--crew with --share", expected="one of them", remedy="a crew gives each of its workers its own --share"
        )
    if size is None:
        raise BadOption("--crew without --crew-size", expected="the number of workers, such as --crew-size 8")
    parse_crew_settings(crew, words)
    package = CREWS[crew].package
    if package and importlib.util.find_spec(package) is None:
        raise MissingExtra(f"{package} is not installed", remedy=f"pip install 'probeline[{crew}]'")


def parse_crew_settings(crew: str, words: Sequence[str]) -> dict[str, str | int | float]:
    """Return the settings of a crew's workers from words such as ``gpus=1``.

    Raises
    ------
    BadOption, UnknownName
    """
    kind, values = CREWS[crew], dict[str, str | int | float]()
    for word in words:
        name, _, text = word.partition("=")
        if name not in kind.settings:
            if not kind.settings:
                raise BadOption(f"--crew {crew} takes no --crew-with", got=word)
            raise UnknownName("name in --crew-with", name, kind.settings, remedy=f"of --crew {crew}")
        if not text or name in values:
            raise BadOption("bad --crew-with", expected=f"{name}=VALUE once", got=f"{name} twice" if text else word)
        of_type = kind.settings[name]
        try:
            value = of_type(text)
        except ValueError:
            value = -1
        if of_type is not str and not (0 if name == "gpus" else 1e-3) <= value <= _MOST:
            expected = "a whole number" if of_type is int else "a number"
            raise BadOption(f"bad --crew-with {name}", expected=f"{expected} up to {_MOST:,}", got=text)
        values[name] = value
    for name in kind.needed:
        if name not in values:
            raise BadOption(f"--crew {crew} without --crew-with {name}", expected=f"{name}=N")
    return values
