"""What is measured, and on what: sizes for a GPU, and tiny ones that run every path on a CPU."""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Row = dict[str, Any]
"""One figure: labels such as net and precision, and ``value`` and ``unit``, or ``error`` in place of these."""

SIDES = 375, 500
"""Height and width of the JPEGs, as most of ImageNet's have; about 80 kB each."""


@dataclass(frozen=True)
class Plan:
    """Sizes of all parts.

    Attributes
    ----------
    folder : Path
        Where the images are, and what a part writes.
    image_size : int or None
        Side of the nets' input; None for their own.
    heads : tuple
        Rows, columns, classes and values of l2 of each exact path.
    """

    device: str
    folder: Path
    nets: tuple[str, ...] = ("resnet18", "resnet50", "vit_b_16")
    precisions: tuple[str, ...] = ("bf16", "fp32", "tf32", "fp16")
    batch_size: int = 256
    image_size: int | None = None
    jpegs: int = 8192
    distinct: int = 64
    arrays: int = 20_480
    workers: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    side_of_product: int = 8192
    copied_bytes: int = 1 << 30
    repeats: int = 9
    heads: tuple[tuple[int, int, int, tuple[float, ...]], ...] = (
        (20_000, 768, 10, (1e-1, 1e-2, 1e-3)),
        (50_000, 1280, 100, (1e-1, 1e-2)),
        (20_000, 256, 1000, (1e-2,)),
    )
    epochs_of_heads: int = 3
    training_batches: tuple[int, ...] = (128, 32)
    batches_of_an_epoch: int = 24
    compiler: str = "inductor"

    @property
    def jpeg_folder(self) -> Path:
        return self.folder / "jpeg"

    @property
    def array_file(self) -> Path:
        return self.folder / "arrays.npz"


def quick(device: str, folder: Path) -> Plan:
    """Return a plan whose figures mean nothing, but that takes every path."""
    return Plan(
        device,
        folder,
        nets=("resnet18",),
        precisions=("bf16", "fp32"),
        batch_size=8,
        image_size=32,
        jpegs=32,
        distinct=4,
        arrays=32,
        workers=(1, 2),
        side_of_product=128,
        copied_bytes=1 << 16,
        repeats=2,
        heads=((200, 16, 3, (1e-1, 1e-2)),),
        epochs_of_heads=1,
        training_batches=(4,),
        batches_of_an_epoch=2,
        compiler="eager",
    )


def make_images(plan: Plan) -> None:
    """Write the folder of JPEGs, each file unique by a few bytes behind its end, and the file of arrays."""
    with ThreadPoolExecutor() as pool:
        pictures = list(pool.map(_jpeg, range(plan.distinct)))
    for number in range(plan.jpegs):
        folder = plan.jpeg_folder / f"class{number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        tail = number.to_bytes(8, "big")
        (folder / f"{number:06d}.jpg").write_bytes(pictures[number % plan.distinct] + tail)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (plan.arrays, 32, 32, 3), dtype=np.uint8)
    np.savez(plan.array_file, x=pixels, y=np.arange(plan.arrays) % 10)


def _jpeg(number: int) -> bytes:
    """Return a picture with large shapes and noise, which decodes as a photo does."""
    rng = np.random.default_rng(number)
    height, width = SIDES
    shapes = np.clip(rng.normal(128, 40, (48, 64, 3)), 0, 255).astype(np.uint8)
    large = np.asarray(Image.fromarray(shapes).resize((width, height), Image.Resampling.BICUBIC), np.float64)
    pixels = np.clip(large + rng.normal(0, 9, large.shape), 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    return file.getvalue()


def attempt(labels: Row, unit: str, measure: Callable[[], float | Row]) -> Row:
    """Return the row of a measurement: its value, or more than that; or if it fails, its error."""
    try:
        found = measure()
    except Exception as error:  # whatever a library raises: the other measurements go on
        words = str(error).strip().partition("\n")[0]
        return {**labels, "error": f"{type(error).__name__}: {words}"[:300]}
    return {**labels, **(found if isinstance(found, dict) else {"value": found}), "unit": unit}
