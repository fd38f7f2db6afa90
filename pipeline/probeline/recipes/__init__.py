"""Experiments as TOML files, packaged or the user's own: options, steps, and published numbers to compare with.

A recipe has a ``title``, a ``source`` in words, ``published`` rows, ``differences`` between the published protocol and
this one in sentences, ``[options]`` for all steps, and ``[[steps]]``, each with its ``verbs`` and options of its own,
which override those for all. Without steps, a recipe runs ``extract``, ``probe``, ``baselines`` and ``finetune``.

A recipe of several data sets has ``[[datasets]]``, each with its ``dataset`` and other options that are its own; they
override those for all, and steps override both. ``board`` runs all of them, other verbs the one that ``--dataset``
names. Published rows are of one data set, so such a recipe has none.

Options have the names of :data:`probeline.options.settings.OPTIONS`; those that say where files are on one machine
(``data``, ``cache``, ``reports``, ``labels`` and the like) cannot be in a recipe. A relative path in an option
(``dataset = "folder:flowers"``, ``weights = "net.pth"``) starts at the folder in which the command runs, as on the
command line, not at the folder of the recipe.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from probeline.errors import BadOption, MissingData, UnknownName
from probeline.files.decode import BadRecord, decode
from probeline.files.reading import SETTINGS, read_text
from probeline.format import plural
from probeline.options.settings import OPTIONS, Settings
from probeline.options.verbs import STEPS
from probeline.results.methods import method_info

_ORDINARY = ("extract", "probe", "baselines", "finetune")
"""The verbs of a recipe without steps."""

_WHOLE = ("dataset", "limit", "data_seed")
"""Options that a step cannot have, because a report is of one data set."""


@dataclass(frozen=True)
class _Content:
    """The tables of a recipe's file, before each is checked against what it may say."""

    title: str = ""
    source: str = ""
    published: tuple[Mapping[str, Any], ...] = ()
    differences: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    datasets: tuple[Mapping[str, Any], ...] = ()
    steps: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Published:
    """A number that others report: top-1 in [0, 1] of a method, as scores name it.

    `portion` is the percentage of the train images that were fitted on, None for all; `trainable` counts parameters.
    """

    backbone: str
    method: str
    top1: float
    portion: float | None = None
    trainable: int | None = None
    note: str = ""


@dataclass(frozen=True)
class Step:
    """Part of a recipe: verbs, and the values of options that override those of the whole recipe."""

    verbs: tuple[str, ...]
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Recipe:
    """An experiment; see the text above for its fields. The name may be the path of a user's own file."""

    name: str
    title: str
    source: str
    options: Mapping[str, Any]
    steps: tuple[Step, ...]
    published: tuple[Published, ...]
    differences: tuple[str, ...]
    datasets: tuple[Mapping[str, Any], ...] = ()
    """The options of each data set; empty for a recipe of one."""

    @property
    def dataset(self) -> str:
        """The name in reports of the data set that the published numbers were measured on."""
        name = str(self.options.get("dataset", Settings().data.dataset))
        folder = name.removeprefix("folder:")
        return name if folder == name else f"folder--{Path(folder).name}"


def names() -> tuple[str, ...]:
    """Return the names of the packaged recipes."""
    return tuple(sorted(file.name[:-5] for file in files(__name__).iterdir() if file.name.endswith(".toml")))


def read(name: str) -> Recipe:
    """Return a recipe: a packaged one by its name, or the user's own by the path of its TOML file."""
    try:
        values = tomllib.loads(_text(name))
    except (ValueError, RecursionError) as error:  # ValueError also for integers of thousands of digits
        raise BadOption("a recipe is not valid TOML", where=name, got=str(error) or type(error).__name__) from error
    _check_keys(f"key in recipe {name}", values, [one.name for one in fields(_Content)])
    try:
        content = decode(_Content, values)
    except BadRecord as error:
        raise BadOption(f"a bad value in recipe {name}", got=error) from error
    datasets = tuple(_dataset(name, table) for table in content.datasets)
    if datasets and content.published:
        raise BadOption(
            "published rows are of one data set", where=f"recipe {name}", got=plural(len(datasets), "data set")
        )
    return Recipe(
        name=name,
        title=content.title,
        source=content.source,
        options=_options(name, content.options, _known()),
        steps=tuple(_step(name, step) for step in content.steps) or (Step(_ORDINARY, {}),),
        published=tuple(_published(name, row) for row in content.published),
        differences=content.differences,
        datasets=datasets,
    )


def _dataset(name: str, table: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the options of one of several data sets."""
    options = _options(name, table, _known())
    if "dataset" not in options:
        raise BadOption("one of several data sets has no name", where=f"recipe {name}", expected="dataset = ...")
    return options


def _text(name: str) -> str:
    if name.endswith(".toml") or "/" in name:
        try:
            return read_text(Path(name), SETTINGS)
        except OSError as error:
            raise MissingData("cannot read a recipe", where=name, got=error.strerror) from error
    if name not in names():
        raise UnknownName("recipe", name, names(), remedy="or the path of a file that ends in .toml")
    return (files(__name__) / f"{name}.toml").read_text(encoding="utf-8")


def _known(without: Iterable[str] = ()) -> tuple[str, ...]:
    return tuple(name for name, option in OPTIONS.items() if not option.local and name not in ("recipe", *without))


def _check_keys(kind: str, table: Mapping[str, Any], known: Sequence[str]) -> None:
    for key in table:
        if key not in known:
            raise UnknownName(kind, key, known)


def _step(name: str, table: Mapping[str, Any]) -> Step:
    options = {key: value for key, value in table.items() if key != "verbs"}
    verbs = table.get("verbs", [])
    if not isinstance(verbs, list) or not verbs:
        raise BadOption(f"a step without verbs in recipe {name}", expected=f"some of: {', '.join(STEPS)}", got=verbs)
    _check_keys(f"verb in recipe {name}", dict.fromkeys(map(str, verbs)), STEPS)
    return Step(tuple(verbs), _options(name, options, _known(_WHOLE)))


def _options(name: str, table: Mapping[str, Any], known: Sequence[str]) -> dict[str, Any]:
    """Return the values of options, each checked to be of its option's type."""
    _check_keys(f"option in recipe {name}", table, known)
    values = {}
    for key, value in table.items():
        option = OPTIONS[key]
        values[key] = _value(tuple[option.kind, ...] if option.is_list else option.kind, value)  # type: ignore[name-defined]
        if values[key] is None:
            expected = f"a list of {option.kind.__name__}" if option.is_list else option.kind.__name__
            raise BadOption(f"bad {key} in recipe {name}", expected=expected, got=repr(value))
    return values


def _value(hint: Any, value: object) -> Any:
    """Return a TOML value as this type, with lists as tuples and whole numbers as floats if needed; None if bad."""
    if get_origin(hint) is tuple:
        items = [_value(get_args(hint)[0], item) for item in value] if isinstance(value, list) else []
        return tuple(items) if items and None not in items else None
    kinds = get_args(hint) or (hint,)
    if float in kinds and type(value) is int:
        return float(value)
    return value if type(value) in kinds else None


def _published(name: str, row: Mapping[str, Any]) -> Published:
    _check_keys(f"field of a published row in recipe {name}", row, [one.name for one in fields(Published)])
    for one in fields(Published):
        if one.default is MISSING and one.name not in row:
            raise BadOption(f"a published row has no {one.name}", where=f"recipe {name}", got=dict(row))
    hints = get_type_hints(Published)
    values = {key: _value(hints[key], value) for key, value in row.items()}
    top1, portion = values["top1"], values.get("portion", 100.0)
    if None in values.values() or not 0 <= top1 <= 1 or not 0 < portion <= 100:
        raise BadOption(
            f"bad published row in recipe {name}",
            expected="top1 in [0, 1], portion in percent above 0 and up to 100, trainable a whole number",
            got=dict(row),
        )
    method_info(values["method"])
    return Published(**values)
