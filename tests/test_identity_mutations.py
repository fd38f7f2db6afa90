"""The key, both ways, on real files: what changes the numbers changes it, and nothing else does."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from probeline.backbones.build import random_net
from probeline.cache.entry import locate_entry
from probeline.environment import PACKAGES, installed
from probeline.images import Decoding, View
from probeline.names import GREY_BITS
from probeline.session import Session
from small_runs import configuration

NET = "squeezenet1_1"
HEAD = "classifier.1.weight"


@dataclass
class World:
    """A folder of pictures, a file of weights and the options of a run over them."""

    root: Path
    weights: Path
    options: dict[str, Any]

    def session(self) -> Session:
        options = {"dataset": f"folder:{self.root}", "weights": str(self.weights), "limit": None, **self.options}
        return Session(configuration(self.root.parent / "cache", **options))

    def key(self) -> str:
        session = self.session()
        backbone, _ = session.backbone(session.settings.nets.backbones[0])
        return session.entry(backbone, "all").key


def save_weights(path: Path, change: Callable[[dict[str, torch.Tensor]], None] = lambda state: None) -> Path:
    state = random_net(NET, 0).state_dict()
    change(state)
    torch.save(state, path)
    return path


def flip_last_bit(state: dict[str, torch.Tensor], name: str) -> None:
    state[name].view(-1)[7:8].view(torch.int32).bitwise_xor_(1)


def save_picture(path: Path, seed: int, *, pixel: int | None = None) -> None:
    pixels = np.random.default_rng(seed).integers(0, 255, (40, 50, 3), dtype=np.uint8)
    if pixel is not None:
        pixels[20, 20, 1] += pixel
    Image.fromarray(pixels).save(path)


@pytest.fixture
def world(tmp_path: Path) -> World:
    root = tmp_path / "pictures"
    for number, name in enumerate(("ants", "bees")):
        (root / name).mkdir(parents=True)
        for row in range(4):
            save_picture(root / name / f"{row}.png", 10 * number + row)
    return World(root, save_weights(tmp_path / "w.pth"), {})


# What changes the numbers


def another_weight(world: World) -> None:
    save_weights(world.weights, lambda state: flip_last_bit(state, "features.3.squeeze.weight"))


def another_pixel(world: World) -> None:
    save_picture(world.root / "bees" / "2.png", 12, pixel=1)


def an_image_more(world: World) -> None:
    save_picture(world.root / "bees" / "9.png", 99)


def an_image_less(world: World) -> None:
    (world.root / "bees" / "3.png").unlink()


def another_order(world: World) -> None:
    one, other, aside = (world.root / "ants" / name for name in ("0.png", "1.png", "aside"))
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


@pytest.mark.parametrize(
    "change", [another_weight, another_pixel, an_image_more, an_image_less, another_order], ids=lambda f: f.__name__
)
def test_files_that_change_the_numbers_change_the_key(change: Callable[[World], None], world: World) -> None:
    before = world.key()
    change(world)
    assert world.key() != before


@pytest.mark.parametrize(
    "options",
    [{"image_size": 40}, {"precision": "bf16"}, {"precision": "fp16"}, {"precision": "tf32"}, {"limit": 6}],
    ids=str,
)
def test_options_that_change_the_numbers_change_the_key(options: dict[str, Any], world: World) -> None:
    before = world.key()
    world.options.update(options)
    assert world.key() != before


def test_every_field_of_the_preprocessing_changes_the_key(world: World) -> None:
    session = world.session()
    backbone, _ = session.backbone(NET)
    record = backbone.preprocess
    changes: dict[str, Any] = {
        "resize": record.resize + 1,
        "crop": record.crop - 1,
        "interpolation": "bicubic",
        "mean": tuple(value + 1e-7 for value in record.mean),
        "std": tuple(value + 1e-7 for value in record.std),
        "antialias": False,
        "resize_mode": "square",
        "decoding": Decoding(background="white"),
        "function": "mine",
    }
    assert changes.keys() == vars(record).keys(), "a field that is not in this list"
    others = [replace(backbone, preprocess=replace(record, **{name: value})) for name, value in changes.items()]
    others += [replace(backbone, preprocess=replace(record, decoding=Decoding(grey_range=name))) for name in GREY_BITS]
    others += [replace(backbone, tap="stage3"), replace(backbone, pooling="none")]
    keys = {session.entry(other, "all").key for other in (backbone, *others)}
    assert len(keys) == len(others) + 1


def test_every_field_of_a_view_changes_the_key(world: World) -> None:
    session = world.session()
    backbone, _ = session.backbone(NET)
    view = View(1, flips=True)
    changes: dict[str, Any] = {"number": 2, "flips": False, "scale": (0.3, 1.0), "ratio": (0.7, 1.5)}
    assert changes.keys() == vars(view).keys(), "a field that is not in this list"
    views = [None, view, *(replace(view, **{name: value}) for name, value in changes.items())]
    assert len({session.entry(backbone, "all", each).key for each in views}) == len(views)


# What does not


def another_place(world: World) -> None:
    shutil.copytree(world.root, world.root.parent / "moved" / "pictures")
    world.root = world.root.parent / "moved" / "pictures"


def another_weights_file(world: World) -> None:
    world.weights = Path(shutil.copy(world.weights, world.root.parent / "renamed.pt"))


def weights_as_safetensors(world: World) -> None:
    from safetensors.torch import save_file

    world.weights = world.root.parent / "w.safetensors"
    save_file(random_net(NET, 0).state_dict(), world.weights)


def another_head(world: World) -> None:
    save_weights(world.weights, lambda state: flip_last_bit(state, HEAD))


def another_time(world: World) -> None:
    for path in (*world.root.rglob("*.png"), world.weights):
        os.utime(path, (1e9, 1e9))


def no_memo(world: World) -> None:
    (world.root.parent / "cache" / ".memo.json").unlink()


def what_is_no_photo(world: World) -> None:
    (world.root / "ants" / "notes.txt").write_text("not a photo", encoding="utf-8")


@pytest.mark.parametrize(
    "change",
    [
        another_place,
        another_weights_file,
        weights_as_safetensors,
        another_head,
        another_time,
        no_memo,
        what_is_no_photo,
    ],
    ids=lambda f: f.__name__,
)
def test_files_that_change_no_number_leave_the_key(change: Callable[[World], None], world: World) -> None:
    before = world.key()
    change(world)
    assert world.key() == before


@pytest.mark.parametrize(
    "options",
    [
        {"device": "cuda"},
        {"batch_size": 7},
        {"workers": 1},
        {"data_seed": 3},
        {"seed": 5, "seeds": 3},
        {"epochs": 99, "lr": 0.5, "freeze_batchnorm": True},
        {"canary": 0},
        {"reports": Path("elsewhere")},
    ],
    ids=str,
)
def test_options_that_change_no_number_leave_the_key(options: dict[str, Any], world: World) -> None:
    before = world.key()
    world.options.update(options)
    assert world.key() == before


def test_labels_class_names_and_splits_leave_the_key(world: World) -> None:
    session = world.session()
    backbone, _ = session.backbone(NET)
    part = session.dataset.parts["all"]
    relabelled = replace(part, labels=1 - part.labels, class_names=("x", "y"), dataset="other", name="train")
    keys = {locate_entry(Path(), each, backbone, "fp32").key for each in (part, relabelled)}
    assert keys == {session.entry(backbone, "all").key}


def test_other_versions_of_the_libraries_leave_the_key(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = world.key()
    for package in PACKAGES:
        folder = tmp_path / "site" / f"{package.replace('-', '_')}-99.9.9.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 99.9.9\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert {installed(package) for package in PACKAGES} == {"99.9.9"}
    assert world.key() == before
