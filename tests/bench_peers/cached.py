"""What the two caches do after a flipped bit, a deleted file and a kill: photos of hymenoptera, MobileNetV2.

A damaged cache is a copy of a whole one. What counts is what the next reader is given: the features that were written,
others without a word, or an error; and how many images went through the net again.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench_peers.number import NET, WEIGHTS
from bench_peers.process import run_process
from probeline.environment import declare_missing_operators

FloatArray = npt.NDArray[np.float32]
Read = Callable[[Path], FloatArray]

REPAIRS = 3
"""Refused caches of each kind that are repaired by the command and read again."""

NOTABLE = 1e-3
"""Difference, relative to a row's largest value, from which a row is more than a little wrong."""


class Counting:
    """Counts the images that go through a net, by a hook on its first layer; kills the process at a count."""

    def __init__(self, kill_at: int = 0) -> None:
        self.images, self.kill_at = 0, kill_at

    def __call__(self, _: Any, inputs: tuple[Any, ...]) -> None:
        if self.kill_at and self.images >= self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.images += len(inputs[0])


def probeline_reader(data: str, limit: int, count: Counting) -> Read:
    """Return a function that reads all features through Probeline, extracting what is missing."""
    import torch

    import probeline

    def count_pass(module: Any, inputs: tuple[Any, ...]) -> None:
        if isinstance(module, torch.nn.Conv2d) and inputs[0].shape[1] == 3:
            count(module, inputs)

    torch.nn.modules.module.register_module_forward_pre_hook(count_pass)

    def read(cache: Path) -> FloatArray:
        features = probeline.extract("hymenoptera", NET, weights=WEIGHTS, cache=cache, limit=limit or None, canary=0)
        return features.numpy()

    return read


def visbench_reader(data: str, limit: int, count: Counting) -> Read:
    """Return a function that reads all features through VisBench, extracting what is missing."""
    declare_missing_operators()
    from torchvision.models import MobileNet_V2_Weights, mobilenet_v2
    from visbench.backbones.custom import CustomBackbone
    from visbench.cache import FeatureCache
    from visbench.data import ImageFolderDataset

    weights = MobileNet_V2_Weights[WEIGHTS]
    net = mobilenet_v2(weights=weights).features
    net[0].register_forward_pre_hook(count)
    backbone = CustomBackbone(net, preprocess=weights.transforms(), name=NET, device="cpu")
    parts = [ImageFolderDataset(Path(data) / "hymenoptera_data" / part, part) for part in ("train", "val")]
    if limit:
        parts = [part.subset(limit) for part in parts]

    def read(cache: Path) -> FloatArray:
        rows = [FeatureCache(cache).extract_dataset(backbone, part, keep="pooled")["pooled"] for part in parts]
        return np.concatenate([block.numpy() for block in rows])

    return read


READERS = {"probeline": probeline_reader, "visbench": visbench_reader}


def probeline(folder: Path, **options: Any) -> dict[str, Any]:
    return try_damage(folder, "probeline", **options)


def visbench(folder: Path, **options: Any) -> dict[str, Any]:
    return try_damage(folder, "visbench", **options)


def try_damage(folder: Path, name: str, data: str, limit: int, trials: int, seed: int) -> dict[str, Any]:
    """Flip one random bit, or delete one random file, in so many copies of a cache, and read each copy."""
    count = Counting()
    read, whole = READERS[name](data, limit, count), folder / f"{name}-whole"
    clean, rng = read(whole), np.random.default_rng(seed)
    assert np.array_equal(clean, read(whole))
    found: dict[str, Any] = {"images": len(clean), "files": len(_files(whole)), "bytes": sum(map(_size, _files(whole)))}
    for kind, damage in (("flip", flip_bit), ("delete", delete_file)):
        outcomes: list[dict[str, float]] = []
        repairs = []
        for trial in range(trials):
            copy = folder / f"{name}-{kind}-{trial}"
            shutil.copytree(whole, copy)
            damage(copy, rng)
            outcomes.append(read_damaged(read, copy, clean, count))
            if outcomes[-1]["refused"] and len(repairs) < REPAIRS:
                repairs.append(_repair(copy, data, limit) and read_damaged(read, copy, clean, count)["same"])
            shutil.rmtree(copy)
        found[kind] = {"trials": trials, **_sum(outcomes), "repairs": len(repairs), "repaired": sum(repairs)}
    return found


def _repair(cache: Path, data: str, limit: int) -> bool:
    """Run the command that repairs Probeline's cache: VisBench refuses nothing and has none."""
    options = ("--dataset", "hymenoptera", "--data", data, "--limit", str(limit), "--cache", str(cache))
    command = [sys.executable, "-m", "probeline", "verify", "--repair", "--backbone", f"{NET}@{WEIGHTS}", *options]
    return run_process(command)["status"] == 0


def flip_bit(folder: Path, rng: np.random.Generator) -> None:
    """Flip a random bit of a file that is chosen by its share of all bytes."""
    files = _files(folder)
    sizes = np.array([_size(path) for path in files])
    path = files[int(rng.choice(len(files), p=sizes / sizes.sum()))]
    content = bytearray(path.read_bytes())
    content[int(rng.integers(len(content)))] ^= 1 << int(rng.integers(8))
    path.write_bytes(content)


def delete_file(folder: Path, rng: np.random.Generator) -> None:
    files = [path for path in _files(folder) if _size(path)]
    files[int(rng.integers(len(files)))].unlink()


def read_damaged(read: Read, cache: Path, clean: FloatArray, count: Counting) -> dict[str, float]:
    """Return what a reader was given: 1 in one of ``same``, ``wrong`` and ``refused``, and the images that were run."""
    before = count.images
    try:
        rows = read(cache)
    except Exception:
        return {"same": 0, "wrong": 0, "notably_wrong": 0, "refused": 1, "run_again": count.images - before}
    again = count.images - before
    # Rows that were computed anew in other batches may differ in their last digits; those that were read may not.
    difference = np.abs(rows - clean).max(axis=1) / np.abs(clean).max(axis=1) if rows.shape == clean.shape else [np.inf]
    wrong = not np.all(np.asarray(difference) <= (1e-5 if again else 0))
    notable = not np.all(np.asarray(difference) <= NOTABLE)
    return {
        "same": int(not wrong),
        "wrong": int(wrong),
        "notably_wrong": int(notable),
        "refused": 0,
        "run_again": again,
    }


def _sum(outcomes: list[dict[str, float]]) -> dict[str, float]:
    return {name: sum(outcome[name] for outcome in outcomes) for name in outcomes[0]}


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _size(path: Path) -> int:
    return path.stat().st_size


def extract(folder: Path, name: str, data: str, cache: str, kill_at: int = 0) -> dict[str, Any]:
    """Extract everything into a cache, killed without notice before more than `kill_at` images went through the net."""
    count = Counting(kill_at)
    rows = READERS[name](data, 0, count)(Path(cache))
    left = [path.name for path in _files(Path(cache)) if path.suffix in (".tmp", ".part") or ".tmp" in path.name]
    return {"images": len(rows), "run": count.images, "files_left_over": len(left)}
