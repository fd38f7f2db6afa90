"""What a board lacks, with the commands that make it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from probeline.format import listing
from probeline.options.command_line import UNKNOWN_FOLDER, command_line
from probeline.options.settings import Settings, Step
from probeline.report.board.comparable import by_data, comparable
from probeline.report.board.entries import BoardData, Entry, Net, method_name, net_titles
from probeline.report.model.content import NotRun
from probeline.report.records.row_commands import row_command
from probeline.results.owner import Origin

_LIMITED = re.compile(r"(?P<name>.*?)(-limit(?P<limit>\d{1,9}))?(-dataseed(?P<seed>\d{1,9}))?")


@dataclass(frozen=True)
class Missing:
    """What a board lacks."""

    cells: tuple[NotRun, ...] = ()
    """What a backbone needs to be compared on a data set."""
    others: tuple[NotRun, ...] = ()
    """Methods that some backbone has on a data set and another one has not."""

    @property
    def all(self) -> tuple[NotRun, ...]:
        """All of it, cells first."""
        return self.cells + self.others


def missing_rows(
    settings: Settings,
    steps: Sequence[Step],
    entries: Iterable[Entry],
    origins: Iterable[tuple[BoardData, Origin]],
) -> Missing:
    """Return what some net has on a data set and another net of the board has not, with the commands that make it.

    Commands have the settings of the other net's row, and the data set as it was loaded for the scores.
    """
    entries = list(entries)
    nets, known = sorted({entry.net for entry in entries}), dict(origins)
    titles = net_titles(nets)
    cells: list[NotRun] = []
    others: list[NotRun] = []
    for data, own in by_data(entries).items():
        of_data = settings.changed(**(known[data].options if data in known else _guessed(data.name)))
        compared = comparable(own)
        for net in nets:
            is_compared = any(entry.net == net for entry in compared)
            needed = [] if is_compared else _not_of(net, compared, own)
            methods = {entry.method for entry in needed}
            rest = [entry for entry in _not_of(net, own, own) if entry.method not in methods]
            for examples, listed in ((needed, cells), (rest, others)):
                commands: dict[str, list[str]] = defaultdict(list)
                for example in examples:
                    command = _command([of_data, *(step for step, _ in steps)], example, net)
                    commands[command].append(method_name(example))
                listed += [
                    NotRun(f"{titles[net]} on {data.name}: {listing(list(dict.fromkeys(names)))}", command)
                    for command, names in commands.items()
                ]
    return Missing(tuple(cells), tuple(others))


def _command(known: Sequence[Settings], example: Entry, net: Net) -> str:
    """Return the command that makes the row of another net for this one."""
    scores = [
        replace(score, backbone=net.backbone, weights=net.weights, image_size=net.image_size)
        for score in example.scores
    ]
    return row_command(known, scores)


def _not_of(net: Net, entries: Iterable[Entry], among: Iterable[Entry]) -> list[Entry]:
    """Return one of the entries for each method that a net has not among others."""
    own = {entry.method for entry in among if entry.net == net}
    return list({entry.method: entry for entry in entries if entry.method not in own}.values())


def _guessed(name: str) -> Mapping[str, object]:
    """Return the options of a data set whose scores do not say where its images are from: by the name of its report."""
    found = _LIMITED.fullmatch(name)
    assert found is not None  # noqa: S101 - each part may be empty
    limit, seed = found["limit"], found["seed"]
    dataset = found["name"] if "--" not in name else f"{UNKNOWN_FOLDER}/{name}"
    return {"dataset": dataset, "limit": limit and int(limit), "data_seed": int(seed or 0)}


def missing_of_recipe(
    steps: Sequence[Step], entries: Iterable[Entry], origins: Iterable[tuple[BoardData, Origin]]
) -> tuple[NotRun, ...]:
    """Return the data sets of a recipe without any score, and its nets without any, with the commands of its steps."""
    known = [origin for _, origin in origins]
    scored = {entry.net.backbone for entry in entries}
    missing = []
    for settings, verbs in steps:
        is_known = any(Origin.of(origin.splits, settings.data) == origin for origin in known)
        pairs = zip(settings.nets.backbones, settings.nets.specs, strict=True)
        absent = tuple(text for text, spec in pairs if not is_known or spec.name not in scored)
        if absent:
            missing += [
                NotRun(
                    f"{verb} of {listing(absent)} on {_title(settings)}", command_line(settings, verb, backbones=absent)
                )
                for verb in verbs
            ]
    return tuple(dict.fromkeys(missing))


def _title(settings: Settings) -> str:
    limit = settings.data.limit
    return settings.data.dataset + (f", at most {limit:,} images of each part" if limit is not None else "")
