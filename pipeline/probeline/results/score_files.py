"""Score files: one sealed JSON file for each score, written whole or not at all, read back only if proven."""

from __future__ import annotations

import re
from pathlib import Path

from probeline.identity import SCORE_VERSION
from probeline.results.methods import method_info
from probeline.results.score import Score
from probeline.results.store import Ignored, Kind, of_key

_SLUG_LENGTH = 80
"""Weights may be named by a long file name; folder names have a limit of 255 bytes."""


def score_path(folder: Path, backbone: str, weights: str, method: str, seed: int | None, key: str) -> Path:
    """Return where the score of these names and of this key stands below `folder`."""
    place = f"{slug(backbone)}-{slug(weights)[:_SLUG_LENGTH]}"
    return folder / place / f"{method}-{'seedless' if seed is None else f'seed{seed}'}-{key[:12]}.json"


def _place(folder: Path, score: Score) -> Path:
    known = method_info(score.method)
    return score_path(folder, score.backbone, score.weights, known.name, score.seed, score.key)


_SCORES = Kind("score", SCORE_VERSION, Score.from_json, _place)


def save_score(folder: Path, score: Score) -> Path:
    """Write `score` below `folder`, in place of an earlier file of the same key.

    Returns
    -------
    Path
        ``<backbone>-<weights>/<method>-seed<k>-<first 12 digits of the key>.json``; ``seedless`` where the
        score has no seed.

    Raises
    ------
    CannotWrite
        Where the file system refuses.
    ValueError
        For a number that JSON cannot hold (NaN or infinity): a score is made of finite numbers and None.
    UnknownName
        For a method that no report knows.
    """
    return _SCORES.save(folder, score)


def load_scores(folder: Path) -> tuple[list[Score], list[Ignored]]:
    """Read every score below `folder`, in the order of their paths.

    Returns
    -------
    scores : list of Score
    ignored : list of Ignored
        The files that are no proven score of this version, each with its reason.
    """
    return _SCORES.load(folder, sorted(folder.glob("*/*.json")))


def find_score(
    folder: Path, backbone: str, weights: str, method: str, seed: int | None, key: str
) -> Score | Ignored | None:
    """Return the score of this key, or None where there is none, or why the file in its place is not used."""
    path = score_path(folder, backbone, weights, method, seed, key)
    return of_key(_SCORES.find(folder, path), path, key)


def slug(name: str) -> str:
    """Return a backbone's or weights' name as it stands in paths."""
    return re.sub(r"[^A-Za-z0-9._+-]", "-", name.replace("/", "--").replace(":", "--"))
