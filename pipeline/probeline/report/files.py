"""Score files: one sealed JSON file for each score, written whole or not at all, read back only if proven."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probeline.disk import make_folder, publish
from probeline.errors import UnknownName
from probeline.identity import SCORE_VERSION, seal, unseal
from probeline.records import Score
from probeline.report.methods import method

_SLUG_LENGTH = 80
"""Weights may be named by a long file name; folder names have a limit of 255 bytes."""


@dataclass(frozen=True)
class Ignored:
    """A score file that is not used, and why."""

    path: Path
    reason: str


def score_path(folder: Path, backbone: str, weights: str, method: str, seed: int | None, key: str) -> Path:
    """Return where the score of these names and of this key stands below `folder`."""
    place = f"{slug(backbone)}-{slug(weights)[:_SLUG_LENGTH]}"
    return folder / place / f"{method}-{'seedless' if seed is None else f'seed{seed}'}-{key[:12]}.json"


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
    """
    path = score_path(folder, score.backbone, score.weights, score.method, score.seed, score.key)
    data = seal({"version": SCORE_VERSION, "score": score.to_json()})
    make_folder(path.parent)
    publish(path, data, replace=True)
    return path


def load_scores(folder: Path) -> tuple[list[Score], list[Ignored]]:
    """Read every score below `folder`, in the order of their paths.

    Returns
    -------
    scores : list of Score
    ignored : list of Ignored
        The files that are no proven score of this version, each with its reason.
    """
    scores: list[Score] = []
    ignored: list[Ignored] = []
    for path in sorted(folder.glob("*/*.json")):
        found = _read(folder, path)
        if isinstance(found, Score):
            scores.append(found)
        else:
            ignored.append(found)
    return scores, ignored


def find_score(
    folder: Path, backbone: str, weights: str, method: str, seed: int | None, key: str
) -> Score | Ignored | None:
    """Return the score of this key, or None where there is none, or why the file in its place is not used."""
    path = score_path(folder, backbone, weights, method, seed, key)
    if not path.exists():
        return None
    found = _read(folder, path)
    if isinstance(found, Score) and found.key != key:
        return Ignored(path, f"its key is {found.key}, not {key}")
    return found


def opened(path: Path, what: str, version: int) -> dict[str, Any] | Ignored:
    """Return the sealed record in a file, `what` of this version, or why it is not used."""
    try:
        record = unseal(path.read_bytes())
    except OSError as error:
        return Ignored(path, f"cannot be read: {error.strerror}")
    if record is None:
        return Ignored(path, "is damaged: its bytes are not those its sha256 was taken of")
    if record.get("version") != version:
        found = f"has {what} version {record.get('version')}"
        return Ignored(path, f"{found}; this program reads {version}: run its stage again")
    return record


def _read(folder: Path, path: Path) -> Score | Ignored:
    record = opened(path, "score", SCORE_VERSION)
    if isinstance(record, Ignored):
        return record
    try:
        score = Score.from_json(record["score"])
        place = score_path(folder, score.backbone, score.weights, score.method, score.seed, score.key)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return Ignored(path, f"has other fields than a score: {error}")
    try:
        method(score.method)
    except UnknownName as error:
        return Ignored(path, str(error))
    if path != place:
        return Ignored(path, f"holds the score that belongs at {place.relative_to(folder)}")
    return score


def slug(name: str) -> str:
    """Return a backbone's or weights' name as it stands in paths."""
    return re.sub(r"[^A-Za-z0-9._+-]", "-", name.replace("/", "--").replace(":", "--"))
