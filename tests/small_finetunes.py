"""Fine-tunes of a small net on a tiny folder of pictures, as the verb runs them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from probeline.backbones.build import random_net
from probeline.commands import extract, finetune
from probeline.files.decode import encode
from probeline.finetuning.requests import plan_jobs, request_training, training_options
from probeline.options.settings import Settings
from probeline.results.score import SCORES, Score
from probeline.session import Session
from probeline.types import DataSet
from small_runs import make_coloured, watch_images

NET = "squeezenet1_1"
SIZE = 32
CLASS_NAMES = ("blue", "green", "red")
SQUEEZENET = 1_235_496 - 1_000 * 513 + 3 * 513
"""torchvision's number of parameters, with a head of three outputs."""
OTHER = "shufflenet_v2_x0_5"
GROUPS = ("cool=green,blue", "warm=red")


def make_world(place: Path) -> Path:
    """Make a folder of pictures whose channel tells the class, and a weights file."""
    make_coloured(place / "pictures")
    weights = place / "squeezed.safetensors"
    save_file(random_net(NET, 7).state_dict(), weights)
    for file in (weights, *place.rglob("*.png")):  # a file that has just been written is not remembered
        os.utime(file, (1_000_000_000, 1_000_000_000))
    return place


def extract_two_nets(world: Path, place: Path) -> Path:
    """Extract the features of both nets, of the first with weights and without."""
    for weights, net in ((str(world / "squeezed.safetensors"), NET), ("none", OTHER), ("none", NET)):
        extract.run(Session(options(world, place, backbones=(net,), weights=weights)))
    return place


def options(world: Path, place: Path, **changes: Any) -> Settings:
    settings = Settings.of(
        console=changes.pop("console", None),
        dataset=f"folder:{world / 'pictures'}",
        backbones=(NET,),
        weights=str(world / "squeezed.safetensors"),
        cache=place / "cache",
        reports=place / "reports",
        device="cpu",
        image_size=SIZE,
        workers=2,
        batch_size=16,
        epochs=2,
    )
    return settings.changed(**changes)


def run(settings: Settings, watch: Callable[[int], object] | None = None) -> dict[str, Score]:
    """Fine-tune, with `watch` told the row of each image before it is read; return the scores by method."""
    session = Session(settings)
    finetune.run(watch_images(session, watch) if watch else session)
    scores, ignored = SCORES.load(session.reports)
    assert not ignored
    return {score.method: score for score in scores}


def timeless(score: Score) -> dict[str, Any]:
    record = encode(score)
    for name in ("warm_seconds", "cold_seconds"):
        del record[name]
    record.pop("waited", None)  # not every system says it
    record["history"] = [{k: v for k, v in epoch.items() if k != "seconds"} for epoch in record["history"]]
    return record


def keys(settings: Settings, dataset: DataSet | None = None) -> dict[str, str]:
    """Return the key of each method of a run, without training."""
    session = Session(settings)
    if dataset is not None:
        session.__dict__["dataset"] = dataset
    jobs = plan_jobs(session, [settings.fitting.seed])
    return {job.method: request_training(job, training_options(settings, job.strategy)).key for job in jobs}


def asked(world: Path, place: Path, tmp_path: Path, **changes: Any) -> Settings:
    return options(world, place, **{"reports": tmp_path / "reports", **changes})


def comparable(score: Score) -> dict[str, Any]:
    """Return what two strategies that train alike agree in."""
    record = timeless(score)
    for name in ("method", "key", "options", "certificate"):
        del record[name]
    return record
