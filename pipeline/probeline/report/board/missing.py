"""What a board lacks, with the commands that make it."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from probeline.format import listing
from probeline.options.command_line import UNKNOWN_FOLDER, command_line
from probeline.options.settings import Settings, Step
from probeline.report.board.comparable import by_data
from probeline.report.board.entries import BoardData, Entry, Net, method_name, net_titles
from probeline.report.model.content import NotRun
from probeline.report.records.row_commands import row_command
from probeline.results.origin import Origin

_LIMITED = re.compile(r"(?P<name>.*?)(-limit(?P<limit>\d{1,9}))?(-dataseed(?P<seed>\d{1,9}))?")


def missing_cells(
    settings: Settings,
    steps: Sequence[Step],
    entries: Iterable[Entry],
    origins: Iterable[tuple[BoardData, Origin]],
) -> list[NotRun]:
    """Return what some net has on a data set and another net of the board has not, with the commands that make it.

    Commands have the settings of the other net's row, and the data set as it was loaded for the scores.
    """
    entries = list(entries)
    nets, known = sorted({entry.net for entry in entries}), dict(origins)
    titles = net_titles(nets)
    missing = []
    for data, own in by_data(entries).items():
        of_data = settings.changed(**(known[data].options if data in known else _guessed(data.name)))
        for net in nets:
            commands: dict[str, list[str]] = defaultdict(list)
            for example in _not_of(net, own):
                score = replace(
                    example.scores[0], backbone=net.backbone, weights=net.weights, image_size=net.image_size
                )
                seeds = [replace(score, seed=other.seed) for other in example.scores]
                command = row_command([of_data, *(step for step, _ in steps)], seeds)
                commands[command].append(method_name(example))
            missing += [
                NotRun(f"{titles[net]} on {data.name}: {listing(list(dict.fromkeys(names)))}", command)
                for command, names in commands.items()
            ]
    return missing


def _not_of(net: Net, entries: Sequence[Entry]) -> list[Entry]:
    """Return one entry for each method that other nets have on a data set, and this one has not."""
    own = {entry.method for entry in entries if entry.net == net}
    return list({entry.method: entry for entry in entries if entry.method not in own}.values())


def _guessed(name: str) -> Mapping[str, object]:
    """Return the options of a data set whose scores do not say where its images are from: by the name of its report."""
    found = _LIMITED.fullmatch(name)
    assert found is not None  # noqa: S101 - each part may be empty
    limit, seed = found["limit"], found["seed"]
    dataset = found["name"] if "--" not in name else f"{UNKNOWN_FOLDER}/{name}"
    return {"dataset": dataset, "limit": limit and int(limit), "data_seed": int(seed or 0)}


def missing_datasets(steps: Sequence[Step], origins: Collection[Origin]) -> list[NotRun]:
    """Return the data sets of a recipe that have no score, each with the commands of its steps."""
    missing = []
    for settings, verbs in steps:
        if not any(Origin.of(origin.splits, settings.data) == origin for origin in origins):
            missing += [NotRun(f"{verb} on {settings.data.dataset}", command_line(settings, verb)) for verb in verbs]
    return missing
