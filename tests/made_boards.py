"""Reports of several data sets for tests of boards: folders of scores with accuracies that a test chooses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from made_scores import judged, make_score
from probeline.evaluate.current_scores import of_present_version
from probeline.identity import HEADS_VERSION, TRAIN_VERSION, digest
from probeline.options.settings import Settings
from probeline.report.board.board import Board, make_board
from probeline.results.methods import method_info
from probeline.results.score import SCORES, Score

Accuracies = Mapping[str, Mapping[str, float]]
"""Test accuracies of one data set by backbone and method; those on validation are equal, if not given otherwise."""

THREE = {
    "alpha": {
        "one": {"probe": 0.90, "knn": 0.80},
        "two": {"probe": 0.80, "knn": 0.85},
        "three": {"probe": 0.70, "knn": 0.6},
    },
    "beta": {
        "one": {"probe": 0.95, "knn": 0.90},
        "two": {"probe": 0.90, "knn": 0.85},
        "three": {"probe": 0.85, "knn": 0.8},
    },
    "gamma": {
        "one": {"probe": 0.60, "knn": 0.50},
        "two": {"probe": 0.55, "knn": 0.50},
        "three": {"probe": 0.50, "knn": 0.4},
    },
}
"""Three data sets on which three nets have the same order."""


def board_score(dataset: str, backbone: str, method: str, accuracy: float, **changes: Any) -> Score:
    """Return a score whose test accuracy is as near to `accuracy` as its images allow, on the images of a data set."""
    version = TRAIN_VERSION if method_info(method).trains else HEADS_VERSION
    options = {"version": version, "weights": digest(backbone)[:12], **changes.pop("options", {})}
    n = changes.pop("n_test", 200)
    changes = {"history": (), "path": (), **changes}
    score = make_score(method, backbone, accuracy, n_test=n, dataset=dataset, options=options, **changes)
    right = round(accuracy * score.n_test)
    k = len(score.class_names)
    predictions = tuple(label if i < right else (label + 1) % k for i, label in enumerate(score.labels))
    key = changes.get("key") or digest([dataset, backbone, method, accuracy, repr(sorted(changes.items())), options, n])
    values = judged(score, predictions=predictions)
    return Score(**{**vars(values), "key": key, "splits": changes.get("splits", digest([dataset, n]))})


def save_scores(folder: Path, scores: Sequence[Score], name: str | None = None) -> None:
    """Write scores into the reports of their data sets, or into the one of a name."""
    for score in scores:
        SCORES.save(folder / (name or score.dataset), score)
    assert of_present_version(scores) == list(scores)


def make_reports(folder: Path, accuracies: Mapping[str, Accuracies] = THREE, **changes: Any) -> Path:
    """Write the scores of several data sets and return the folder of the reports."""
    for dataset, by_net in accuracies.items():
        scores = [
            board_score(dataset, backbone, method, accuracy, **changes)
            for backbone, by_method in by_net.items()
            for method, accuracy in by_method.items()
        ]
        save_scores(folder, scores)
    return folder


def board_of(folder: Path, *words: str, to: Path = Path("board"), **options: Any) -> Board:
    """Return the board of a folder of reports."""
    return make_board(Settings.of(words=words, reports=folder, **options), folder=to)


def shown(board: Board) -> dict[str, dict[str, tuple[str, float]]]:
    """Return by data set and title of the net the method that is shown, and its test accuracy."""
    found: dict[str, dict[str, tuple[str, float]]] = {}
    for (net, data), entry in board.cells.items():
        found.setdefault(data.name, {})[board.titles[net]] = (entry.row.method, round(entry.row.top1, 6))
    return found
