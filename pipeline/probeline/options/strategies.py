"""What strategies of training ask of the other options; told before anything is loaded, and without numpy."""

from __future__ import annotations

from collections.abc import Iterable

from probeline.errors import BadOption, UnknownName
from probeline.names import DISTILLED, LAST_K, TWO_HEADED, Strategy
from probeline.options.config import Config
from probeline.options.grids import TRAIN, grid
from probeline.options.second_task_spec import parsed


def check(config: Config) -> None:
    """Refuse strategies that there are not, and those that lack their teacher, their second task or their views.

    Raises
    ------
    BadOption, UnknownName
    """
    every = (*config.strategies, *config.curve_strategies)
    for strategy in every:
        if (strategy not in tuple(Strategy) and not LAST_K.fullmatch(strategy)) or strategy == Strategy.LAST_K:
            raise UnknownName("strategy", strategy, Strategy)
    if config.teacher is None and (asked := first(every, DISTILLED)):
        raise BadOption(f"no teacher for --strategy {asked}", expected="--teacher BACKBONE")
    if asked := first(every, TWO_HEADED):
        if not config.second:
            expected = "--second NAME=CLASS,CLASS NAME=CLASS or --second FILE.csv"
            raise BadOption(f"no second task for --strategy {asked}", expected=expected)
        parsed(config.second)
    if grid("train", TRAIN, config.train).values["augment"] == ("views",) and not config.views:
        raise BadOption(
            "no views to train on", where="--train augment=views", expected="--views 1 or more", got="--views 0"
        )


def first(asked: Iterable[str], strategies: tuple[str, ...]) -> str | None:
    """Return the first of those asked for that is one of these; None where none is."""
    return next((one for one in asked if one in strategies), None)
