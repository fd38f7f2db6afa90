"""What a training is fed: crops and flips, and what frozen stages gave, in the place of pixels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from conftest import make_part
from probeline.commands import finetune
from probeline.data.pixels.decode import resize_crop
from probeline.data.pixels.views import augment
from probeline.errors import BadOption
from probeline.finetuning import feeds as feeding
from probeline.finetuning.training.setup import Feed
from probeline.images import ImageArray, PixelArray, Preprocess, View
from probeline.options.settings import Settings
from probeline.results.score import SCORES, Score
from probeline.session import Session
from probeline.types import DataSet, Split
from small_finetunes import options, run
from small_runs import Listening, Stopping, unreadable

RECORD = Preprocess(16, 16, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def pixel_feed(session: Session, record: Preprocess, threads: int, preset: str = "flip-crop") -> Feed:
    split = Split("all", np.arange(len(session.dataset.parts["all"].labels)), "train")
    return feeding.make_pixel_feed(session, split, record, preset, 0, threads)


def views(
    *,
    flips: bool,
    threads: int,
    sizes: int = 5,
    epoch: int | None = 1,
    rows: int = 24,
    crop: int = 16,
    pixels: PixelArray | None = None,
) -> PixelArray:
    """Return what the trainer would see of 24 images of 16 x 16, random ones unless they are given."""
    part = make_part(24, name="all")
    pixels = originals() if pixels is None else pixels
    session = Session(Settings())
    session.__dict__["dataset"] = DataSet(
        "toy", {"all": part}, {"all": ImageArray(pixels)}, part.class_names, "all", "all", flips=flips
    )
    record = Preprocess(crop, crop, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    feed = pixel_feed(session, record, threads)
    numbers = np.arange(rows)
    batches = [numbers[i : i + sizes] for i in range(0, rows, sizes)]
    return np.concatenate(list(feed(batches, epoch)))


def originals() -> PixelArray:
    return np.random.default_rng(0).integers(0, 256, (24, 16, 16, 3), dtype=np.uint8)


@pytest.mark.parametrize("flips", [True, False])
def test_images_are_mirrored_only_where_they_keep_their_class(flips: bool) -> None:
    ramps = np.zeros((24, 16, 16, 3), np.uint8)
    ramps[..., 0] = 16 * np.arange(16)  # brighter to the right
    ramps[..., 1] = 16 * np.arange(16)[:, None]  # brighter to the bottom
    seen = views(flips=flips, threads=1, pixels=ramps).astype(int)
    across, down = seen[:, :, -1, 0] - seen[:, :, 0, 0], seen[:, -1, :, 1] - seen[:, 0, :, 1]
    plain, mirrored = (across > 0).all(1), (across < 0).all(1)
    assert (plain ^ mirrored).all()
    assert (down > 0).all(), "never upside down"
    # Of 24 fair coins, none or all the same with a chance of 1 in 8 million, and the seed is fixed.
    assert mirrored.any() == flips
    assert plain.any()


def test_augmentation_depends_on_seed_and_row_alone() -> None:
    seen = views(flips=True, threads=1)
    assert (seen == views(flips=True, threads=4)).all()
    assert (seen == views(flips=True, threads=3, sizes=1)).all()
    assert (seen == views(flips=True, threads=2, sizes=24)).all()
    assert (seen[:7] == views(flips=True, threads=2, rows=7)).all()
    other = views(flips=True, threads=1, epoch=2)
    assert not (seen == other).all((1, 2, 3)).any()


def test_rows_are_augmented_apart() -> None:
    part = make_part(12, name="all")
    gradient = np.broadcast_to(np.arange(0, 256, 8, dtype=np.uint8)[:, None], (12, 32, 32))
    same = np.stack([gradient, gradient.swapaxes(1, 2), gradient], 3)
    session = Session(Settings())
    session.__dict__["dataset"] = DataSet(
        "toy", {"all": part}, {"all": ImageArray(same)}, part.class_names, "all", "all"
    )
    record = Preprocess(16, 16, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    (seen,) = pixel_feed(session, record, 1)([np.arange(12)], 1)
    assert len({view.tobytes() for view in seen}) == 12
    (plain,) = pixel_feed(session, record, 1)([np.arange(12)], None)
    assert len({view.tobytes() for view in plain}) == 1


def test_val_and_test_see_the_probes_view() -> None:
    record = Preprocess(12, 12, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    expected = np.stack([resize_crop(Image.fromarray(image), record) for image in originals()])
    assert (views(flips=True, threads=2, epoch=None, crop=12) == expected).all()


def test_an_epoch_sees_a_view_as_extraction_made_it() -> None:
    part = make_part(24, name="all")
    session = Session(Settings.of(views=2))
    session.__dict__["dataset"] = DataSet(
        "toy", {"all": part}, {"all": ImageArray(originals())}, part.class_names, "all", "all", flips=True
    )
    feed = pixel_feed(session, RECORD, 2, "views")
    rows = np.arange(3, 9)
    for epoch, number in ((0, 1), (1, 2), (2, 1)):
        (seen,) = feed([rows], epoch)
        view = View(number, flips=True)
        made = [augment(Image.fromarray(originals()[row]), RECORD, view, part.content[row]) for row in rows]
        assert (seen == np.stack(made)).all()


def test_views_are_asked_for_by_number(world: Path, tmp_path: Path) -> None:
    with pytest.raises(BadOption, match=r"no views to train on: --train augment=views \(expected --views 1 or more"):
        run(options(world, tmp_path, strategies=("last-1",), train=("augment=views",)))


# Frozen stages, run once


PLAIN, RICH = ("augment=none",), ("augment=views", "dropout=0.3", "clip=1")
FROZEN = ("head", "last-1", "last-2", "freeze-early")


def scores(settings: Settings) -> dict[str, Score]:
    finetune.run(Session(settings))
    return {score.method: score for score in SCORES.load(Session(settings).reports)[0]}


@pytest.mark.parametrize(
    ("net", "train", "strategies"),
    [
        ("squeezenet1_1", PLAIN, ("head", "last-2")),
        ("shufflenet_v2_x0_5", RICH, ("last-1", "freeze-early")),
        pytest.param("squeezenet1_1", RICH, FROZEN, marks=pytest.mark.slow),
        pytest.param("shufflenet_v2_x0_5", PLAIN, FROZEN, marks=pytest.mark.slow),
    ],
    ids=["squeezenet-plain", "shufflenet-rich", "squeezenet-rich", "shufflenet-plain"],
)
def test_frozen_stages_run_once_give_the_numbers_of_plain_training(
    net: str, train: tuple[str, ...], strategies: tuple[str, ...], world: Path, tmp_path: Path
) -> None:
    weights = str(world / "squeezed.safetensors") if net == "squeezenet1_1" else "none"
    settings = options(world, tmp_path, backbones=(net,), weights=weights, epochs=2, views=2, train=train)
    # BatchNorm over maps of one value, in a random net, takes roundings to percents within three steps.
    settings = settings.changed(strategies=strategies, freeze_batchnorm=True)
    kept = scores(settings)
    assert len(kept) == len(strategies)
    plain = scores(settings.changed(frozen_gb=0.0, cache=tmp_path / "plain", reports=tmp_path / "plain"))
    for method, score in kept.items():
        assert score.certificate["cut"], method
        assert plain[method].certificate["cut"] is None
        assert score.key == plain[method].key, "how it is computed is no part of what is asked"
        assert score.trainable == plain[method].trainable
        for one, other in zip(score.history, plain[method].history, strict=True):
            # Folded BatchNorms and another order of sums: some hundred roundings of 6e-8, through a few steps.
            assert one["train_loss"] == pytest.approx(other["train_loss"], rel=1e-4)
            assert one["val_loss"] == pytest.approx(other["val_loss"], rel=1e-4)
        assert score.nll == pytest.approx(plain[method].nll, rel=1e-3)


def test_what_frozen_stages_gave_is_read_and_never_run_again(world: Path, tmp_path: Path) -> None:
    console = Listening()
    settings = options(world, tmp_path, strategies=("last-1",), train=("augment=none",), seeds=2, console=console)
    found = scores(settings)
    told = [line for line in console.said if line.startswith("extract")]
    assert sum("images on CPU" in line for line in told) == 1, "the second seed finds it"
    assert found["last-1"].cold_seconds > found["last-1"].warm_seconds
    run(settings.changed(reports=tmp_path / "again", train=("augment=none", "lr=1e-4")), watch=unreadable)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"train": ("augment=flip-crop",)}, "other images in each epoch"),
        ({"frozen_gb": 1e-6}, "too large"),
        ({"strategies": ("full",)}, "nothing frozen"),
        ({"strategies": ("gradual",), "epochs": 2}, "all trained in the end"),
    ],
)
def test_without_frozen_stages_to_keep_pixels_are_read(
    changes: dict[str, Any], why: str, world: Path, tmp_path: Path
) -> None:
    settings = options(world, tmp_path, strategies=("last-1",), train=("augment=none",), epochs=1)
    (score,) = scores(settings.changed(**changes)).values()
    assert score.certificate["cut"] is None, why


def test_a_run_in_halves_goes_on_with_the_same_arithmetic(world: Path, tmp_path: Path) -> None:
    settings = options(world, tmp_path, strategies=("last-1",), train=("augment=none",))
    whole = scores(settings.changed(reports=tmp_path / "whole", cache=tmp_path / "whole"))["last-1"]
    with pytest.raises(KeyboardInterrupt):
        scores(replace(settings, console=Stopping(len(Session(settings).splits.train))))
    assert list(settings.folders.cache.rglob("last.json")), "after the first epoch"
    # What was begun in halves is not gone on with from pixels: another arithmetic would not be this run's.
    begun = scores(settings.changed(frozen_gb=0.0, reports=tmp_path / "plain"))["last-1"]
    assert begun.certificate["cut"] is None
    assert len(begun.history) == 2
    again = scores(settings)["last-1"]
    assert [e["train_loss"] for e in again.history] == [e["train_loss"] for e in whole.history]
    assert again.predictions == whole.predictions
