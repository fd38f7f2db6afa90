"""The contests: what is prepared once, and who runs in which order."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench_peers import data_checks
from bench_peers.fits import split_rows
from bench_peers.planted import write_planted
from bench_peers.process import ask
from probeline.console import Silence
from probeline.data.pixels.loading import open_image
from probeline.options.settings import Settings
from probeline.session import Session

SEED = 0

JOBS = {
    "dino": ("probeline_dino", "dinov3", "dinov3_intelex"),
    "torchgeo": ("probeline_torchgeo", "torchgeo"),
    "whole": ("probeline_whole",),
}
"""Contenders of the fits that have the same values of C."""

KILL_AT = 200
"""Images of 397 that have gone through the net when an extraction is killed."""


@dataclass(frozen=True)
class Options:
    """What a run was asked for.

    Attributes
    ----------
    data, work : Path
        Of the data sets; of everything that is written on the way, kept so that features are extracted once.
    contenders : tuple of str
        Those that run; none for all.
    rounds, trials : int
        Alternating rounds of what is timed; damaged copies of a cache for each kind of damage.
    planted_images, copies, share : int, int, float
        Images of CIFAR-10 in which errors are planted, copies of each kind, and the share of labels that are changed.
    image_size : int
        Side of the net's input for CIFAR-10.
    workers : int
        Processes that decode, of the loaders that have them.
    cores : int
        That every contender may use, of those of the machine; 0 for all.
    """

    data: Path
    work: Path
    contenders: tuple[str, ...] = ()
    rounds: int = 3
    trials: int = 40
    planted_images: int = 5000
    copies: int = 100
    share: float = 0.05
    image_size: int = 224
    workers: int = 2
    cores: int = 0

    def chosen(self, names: Iterable[str]) -> list[str]:
        return [name for name in names if not self.contenders or name in self.contenders]


def number(options: Options) -> dict[str, Any]:
    """From photos to the accuracy of a linear classifier: with an empty cache, then with a full one."""
    data = str(_hymenoptera(options))
    found: dict[str, Any] = {"cores": options.cores, "cold": {}, "warm": {}}
    place = _fresh(options.work / "number")
    names = options.chosen(("probeline", "probeline_commands", "visbench"))
    for turn in range(options.rounds):
        for state in ("cold", "warm"):
            for name in names if turn % 2 == 0 else names[::-1]:
                reports = _fresh(place / f"reports-{name}")
                run = ask(f"number.{name}", place, data=data, state=str(place / f"{name}-{turn}"), reports=str(reports))
                found[state].setdefault(name, []).append(run)
    if {"probeline", "visbench"} <= set(names):
        ours, theirs = (str(place / f"{name}-0") for name in ("probeline", "visbench"))
        found["agreement"] = ask("number.agreement", place, data=data, ours=ours, theirs=theirs)
    return found


def cache(options: Options) -> dict[str, Any]:
    """What a flipped bit, a deleted file and a kill do to each cache."""
    data, place, found = str(_hymenoptera(options)), _fresh(options.work / "cache"), {}
    for name in options.chosen(("probeline", "visbench")):
        damage = ask(f"cached.{name}", place, data=data, limit=32, trials=options.trials, seed=SEED)
        extract = {"name": name, "data": data, "cache": str(place / f"{name}-killed")}
        killed = ask("cached.extract", place, **extract, kill_at=KILL_AT)
        assert killed["process"]["status"] == -9, killed
        found[name] = {"damage": damage, "kill_at": KILL_AT, "after_kill": ask("cached.extract", place, **extract)}
    return found


def extraction(options: Options) -> dict[str, Any]:
    """The features of 397 photos by one net: Probeline, a plain loop, timm, lightly and embetter in turn."""
    place, found = _fresh(options.work / "extraction"), {}
    photos = _photos(options, place / "photos")
    names = ["plain_loop", *options.chosen(("probeline", "timm", "lightly", "embetter"))]
    for turn in range(options.rounds):
        for name in names if turn % 2 == 0 else names[::-1]:
            state = _fresh(place / f"state-{name}")
            run = ask(f"extraction.{name}", place, data=str(photos), state=str(state), workers=options.workers)
            found.setdefault(name, []).append(run)
    return found


def fits(options: Options) -> dict[str, Any]:
    """A whole path of logistic regressions on the same features, selected on val, refitted, and scored once on test."""
    place, source = _fresh(options.work / "fits"), options.work / "planted"
    _prepare_planted(options, source, _shared(options))
    rows = split_rows(place, str(source), options.planted_images // 10, 2 * options.planted_images // 5, SEED)
    found: dict[str, Any] = {"rows": rows}
    for job, contenders in JOBS.items():
        if names := options.chosen(contenders):
            found[job] = {name: ask(f"fits.{name}", place) for name in names}
    return found


def labels(options: Options) -> dict[str, Any]:
    """Label errors that are planted in CIFAR-10."""
    return _run_checks(options, "labels", data_checks.LABELS)


def copies(options: Options) -> dict[str, Any]:
    """Copies that are planted in CIFAR-10."""
    return _run_checks(options, "copies", data_checks.COPIES)


CONTESTS: dict[str, Callable[[Options], dict[str, Any]]] = {
    function.__name__: function for function in (number, cache, extraction, fits, labels, copies)
}


def _run_checks(options: Options, kind: str, contenders: dict[str, Any]) -> dict[str, Any]:
    place = options.work / "planted"
    shared = _shared(options)
    _prepare_planted(options, place, shared)
    found: dict[str, Any] = {"images": options.planted_images, "share": options.share, "copies": options.copies}
    for name in options.chosen(contenders):
        shutil.rmtree(place / f"reports-{'flipped' if kind == 'labels' else 'copies'}.csv", ignore_errors=True)
        found[name] = ask(f"data_checks.{kind}_{name}", place, **shared)
    return found


def _shared(options: Options) -> dict[str, Any]:
    return {"cache": str(options.work / "features"), "image_size": options.image_size}


def _prepare_planted(options: Options, place: Path, shared: dict[str, Any]) -> None:
    """Plant errors in images of CIFAR-10's train part and extract their features, unless that was done before."""
    done = place / "prepared.txt"
    asked = f"{options.planted_images} {options.share} {options.copies} {options.image_size}"
    if done.exists() and done.read_text(encoding="utf-8") == asked:
        return
    _fresh(place)
    dataset = Session(_settings(options, dataset="cifar10", limit=options.planted_images)).dataset
    part = dataset.parts["train"]
    source = dataset.images["train"]
    images = np.stack([np.asarray(open_image(source, row).convert("RGB")) for row in range(len(part))])
    write_planted(place, images, part.labels, part.class_names, options.share, options.copies, SEED)
    ask("data_checks.features", place, **shared)
    done.write_text(asked, encoding="utf-8")


def _settings(options: Options, **values: Any) -> Settings:
    return Settings.of(data=options.data, cache=options.work / "features", console=Silence(), **values)


def _hymenoptera(options: Options) -> Path:
    """Return the folder of the data, downloaded if it is missing."""
    assert len(Session(_settings(options, dataset="hymenoptera")).dataset.parts) == 2
    return options.data


def _photos(options: Options, folder: Path) -> Path:
    """Copy the photos of both parts into one folder a class, so that every contender lists the same files."""
    root = _hymenoptera(options) / "hymenoptera_data"
    dataset = Session(_settings(options, dataset="hymenoptera")).dataset
    for name, part in dataset.parts.items():
        for sample in part.sample_ids:
            source = next(path for path in (root / name / sample, root / sample) if path.exists())
            target = folder / source.parent.name / f"{name}-{source.name}"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    return folder


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def median(runs: list[dict[str, Any]], *keys: str) -> float:
    """Return the median over runs of a value, given the keys that lead to it."""
    values = []
    for run in runs:
        value: Any = run
        for key in keys:
            value = value[key]
        values.append(float(value))
    return statistics.median(values)
