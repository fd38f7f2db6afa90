"""Checks of the options by themselves, before anything is loaded and without numpy."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from probeline.errors import BadOption, UnknownName
from probeline.files.paths import is_blank
from probeline.names import DISTILLED, LAST_K, TWO_HEADED, Strategy, reads_tokens, split_tap
from probeline.options.class_weights import parse_class_weights
from probeline.options.command_line import UNKNOWN_FOLDER
from probeline.options.corruptions import parse_corruptions
from probeline.options.costs import parse_costs
from probeline.options.crew import check_crew
from probeline.options.grids import ATTENTIVE, MLP, SGD, TRAIN, estimator_grid, grid
from probeline.options.groups.data import DataOptions
from probeline.options.groups.running import DEVICES
from probeline.options.prompts import check_prompts
from probeline.options.settings import OPTIONS, Settings
from probeline.options.share import Share
from probeline.options.store import check_store
from probeline.options.table import MOST


def check_settings(settings: Settings) -> None:
    """Refuse values that an option does not take, and options that lack another one."""
    for tap in settings.reading.taps:
        split_tap(tap)
    grid("sgd", SGD, settings.heads.sgd)
    grid("mlp", MLP, settings.heads.mlp)
    parse_class_weights(settings.fitting.class_weights)
    parse_costs(settings.compare.costs)
    check_prompts(settings.heads, settings.nets.backbones, settings.reading.taps)
    grid("attentive", ATTENTIVE, settings.heads.attentive)
    if settings.heads.attentive and not any(map(reads_tokens, settings.reading.taps)):
        got = " ".join(("--tap", *settings.reading.taps))
        raise BadOption("--attentive without tokens", expected="--tap MODULE:tokens, such as blocks.11:tokens", got=got)
    if estimator_grid(settings.heads.estimator_params) and settings.heads.estimator is None:
        raise BadOption("--estimator-params without --estimator", expected="--estimator MODULE:CLASS")
    parse_corruptions(settings.robustness.corruptions)
    for option in OPTIONS.values():
        value = settings.value(option.name)
        if option.choices and value is not None and value not in option.choices:
            raise UnknownName(option.name, value, option.choices)
        if option.within and value is not None and not option.within[0] <= value <= option.within[1]:
            least, most = option.within
            raise BadOption(f"bad {option.flag}", expected=f"{least} to {most}", got=value)
    for name, option in OPTIONS.items():
        if option.is_list and settings.value(name) == () != option.default:
            raise BadOption(f"no value for {option.flag}", expected="one or more")
    for percent in settings.curve.fractions:
        if not 0 < percent <= 100:
            raise BadOption("bad --fractions", expected="percentages above 0, up to 100", got=f"{percent:g}")
    shots = settings.curve.shots
    if shots != (0,) and not all(1 <= k <= MOST for k in shots):
        raise BadOption("bad --shots", expected=f"numbers from 1 to {MOST}, or 0 alone", got=min(shots))
    sharing = settings.sharing
    if sharing.share is not None:
        Share.parse(sharing.share)
    check_store(sharing.store, settings.folders.cache)
    check_crew(sharing.crew, sharing.crew_size, sharing.crew_with, sharing.share)
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d{1,2})?", settings.compute.device):
        raise UnknownName("device", settings.compute.device, DEVICES)
    _check_blank(settings)
    files = (
        *(spec.weights for spec in settings.nets.specs),
        settings.training.teacher or "",
        *settings.training.second,
    )
    for file in files:
        path = file.partition("@")[2] or file
        if path.startswith(f"{UNKNOWN_FOLDER}/"):
            name = path.removeprefix(f"{UNKNOWN_FOLDER}/")
            raise BadOption(
                f"the folder of {name} is not on record",
                where=file,
                remedy=f"write where {name} is in place of {UNKNOWN_FOLDER}: results keep only the names of files",
            )
    _check_data(settings.data)
    check_strategies(settings)
    for option in OPTIONS.values():
        value = settings.value(option.name)
        for text in map(str, value if isinstance(value, tuple) else (value,)):
            _check_text(text, option.flag)
    for word in settings.words:
        if "\0" in word:
            raise BadOption("no name has a NUL character", got=repr(word))


def _check_text(text: str, flag: str) -> None:
    """Refuse a value that is in no name of a file: one with a NUL, or that is not valid Unicode."""
    if "\0" in text:
        raise BadOption(f"bad {flag}", expected="no NUL character", got=repr(text))
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadOption(f"{flag} is not valid Unicode", got=text, remedy="rename that file or folder") from error


_LOOKED_UP = ("dataset", "backbones", "weights")
"""Options whose unknown names, empty ones too, are refused with a list of those that are known."""


def _check_blank(settings: Settings) -> None:
    """Refuse options and words that are empty or of spaces alone: as a path it would be the current folder."""
    for option in (option for name, option in OPTIONS.items() if name not in _LOOKED_UP):
        value = settings.value(option.name)
        if any(map(is_blank, value if option.is_list else (value,))):
            raise BadOption(f"no value for {option.flag}", expected=option.metavar, got="an empty one")
    if any(map(is_blank, settings.words)):
        raise BadOption("an empty word after the verb", expected="a name; . is the current folder")


def check_strategies(settings: Settings) -> None:
    """Refuse unknown strategies, and those that lack their teacher, their second task or their views."""
    training = settings.training
    strategies = (*training.strategies, *settings.curve.curve_strategies)
    for strategy in strategies:
        if (strategy not in tuple(Strategy) and not LAST_K.fullmatch(strategy)) or strategy == Strategy.LAST_K:
            raise UnknownName("strategy", strategy, Strategy)
    if training.teacher is None and (distilled := first_of(strategies, DISTILLED)):
        raise BadOption(f"no teacher for --strategy {distilled}", expected="--teacher BACKBONE")
    if two_headed := first_of(strategies, TWO_HEADED):
        if not training.second:
            expected = "--second NAME=CLASS,CLASS NAME=CLASS or --second FILE.csv"
            raise BadOption(f"no second task for --strategy {two_headed}", expected=expected)
        parse_second(training.second)
    if grid("train", TRAIN, training.train).values["augment"] == ("views",) and not settings.reading.views:
        raise BadOption(
            "no views to train on", where="--train augment=views", expected="--views 1 or more", got="--views 0"
        )


COLUMNS = ("file_name", "label", "split", "group", "sample_id", "image")
"""The names that ``--columns`` gives to columns of a table."""


def parse_columns(words: Sequence[str]) -> dict[str, str]:
    """Return the column for each name of the words after ``--columns``; an empty one means that there is none.

    Raises
    ------
    BadOption, UnknownName
    """
    columns: dict[str, str] = {}
    for word in words:
        name, equals, column = word.partition("=")
        if not equals:
            raise BadOption("bad --columns", expected="NAME=COLUMN, such as label=class", got=word)
        if name not in COLUMNS:
            raise UnknownName("name in --columns", name, COLUMNS)
        if columns.setdefault(name, column) != column:
            raise BadOption("bad --columns", expected="each name once", got=f"{name} twice")
    return columns


def _check_data(data: DataOptions) -> None:
    """Refuse options that the data set does not use."""
    source = data.dataset.partition(":")[0]
    if data.images is not None and source != "table":
        raise BadOption("nothing that is run uses --images", expected="it with --dataset table:FILE", got=data.dataset)
    if parse_columns(data.columns) and source not in ("table", "hf", "wds") and not (data.labels or data.groups):
        expected = "it with --dataset table:FILE, hf:NAME or wds:PATTERN, or with --labels or --groups"
        raise BadOption("nothing that is run uses --columns", expected=expected, got=data.dataset)


def first_of(strategies: Iterable[str], wanted: tuple[Strategy, ...]) -> str | None:
    """Return the first of some strategies that is one of the wanted ones; None if there is none."""
    return next((strategy for strategy in strategies if strategy in wanted), None)


def parse_second(words: Sequence[str]) -> Path | dict[str, tuple[str, ...]]:
    """Return the file that ``--second`` names, or the classes of each of its groups."""
    if len(words) == 1 and words[0].endswith(".csv"):
        return Path(words[0])
    expected = "NAME=CLASS[,CLASS...] for two groups or more, or one FILE.csv"
    groups: dict[str, tuple[str, ...]] = {}
    for word in words:
        name, _, listed = word.partition("=")
        classes = tuple(listed.split(","))
        if not name or not all(classes) or name in groups:
            raise BadOption("bad --second", expected=expected, got=f"{name} twice" if name in groups else word)
        groups[name] = classes
    if len(groups) < 2:
        raise BadOption("bad --second", expected=expected, got=" ".join(words) or "nothing")
    return groups
