"""Make two small data sets of images with more than one class each, and the tables of their targets.

    python examples/make_targets.py collages OUT --cifar10 data/cifar-10-batches-bin --images 2000
    python examples/make_targets.py rotations OUT --images 1500

``collages``: two CIFAR-10 images side by side, with the labels of both. ``rotations``: a handwritten digit turned by an
angle from -60 to 60 degrees, which is its number. Both write PNG files and ``targets.csv`` below OUT:

    probeline run --dataset table:OUT/targets.csv --task multi-label --columns label=labels --backbone resnet18
    probeline run --dataset table:OUT/targets.csv --task regression --columns label=angle --backbone resnet18
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

_RECORD = 1 + 3 * 32 * 32
"""Bytes of an image of CIFAR-10's binary files: its label, then its pixels by channel."""


def make_collages(out: Path, cifar10: Path, images: int, seed: int) -> None:
    """Write pairs of CIFAR-10's training images, no image twice, with the sorted labels of both."""
    names = (cifar10 / "batches.meta.txt").read_text().split()
    records = np.concatenate(
        [np.fromfile(path, np.uint8).reshape(-1, _RECORD) for path in sorted(cifar10.glob("data_batch_*.bin"))]
    )
    if 2 * images > len(records):
        raise SystemExit(f"at most {len(records) // 2:,} collages of {len(records):,} images")
    chosen = np.random.default_rng(seed).permutation(len(records))[: 2 * images].reshape(images, 2)
    rows = []
    for number, pair in enumerate(chosen):
        pixels = records[pair, 1:].reshape(2, 3, 32, 32).transpose(2, 0, 3, 1).reshape(32, 64, 3)
        canvas = np.zeros((64, 64, 3), np.uint8)
        canvas[16:48] = pixels  # square, so that no net crops a picture away
        file = f"images/{number:05d}.png"
        Image.fromarray(canvas).save(out / file)
        rows.append({"file_name": file, "labels": "|".join(sorted({names[label] for label in records[pair, 0]}))})
    write_table(out, rows)


def make_rotations(out: Path, images: int, seed: int) -> None:
    """Write digits of scikit-learn's data set, enlarged and turned, no digit twice."""
    digits = load_digits()
    if images > len(digits.images):
        raise SystemExit(f"at most {len(digits.images):,} rotations")
    rng = np.random.default_rng(seed)
    rows = []
    for number, row in enumerate(rng.permutation(len(digits.images))[:images]):
        angle = round(float(rng.uniform(-60, 60)), 2)
        pixels = (digits.images[row] * 15.9375).round().astype(np.uint8)
        image = Image.fromarray(pixels).resize((48, 48), Image.Resampling.BICUBIC)
        canvas = Image.new("L", (72, 72))
        canvas.paste(image, (12, 12))
        file = f"images/{number:05d}.png"
        canvas.rotate(angle, Image.Resampling.BICUBIC).save(out / file)
        rows.append({"file_name": file, "angle": str(angle), "digit": str(digits.target[row])})
    write_table(out, rows)


def write_table(out: Path, rows: list[dict[str, str]]) -> None:
    """Write the table of the images."""
    with (out / "targets.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    print(f"{len(rows):,} images and {out / 'targets.csv'}")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("kind", choices=["collages", "rotations"])
    parser.add_argument("out", type=Path)
    parser.add_argument("--cifar10", type=Path, default=Path("data/cifar-10-batches-bin"))
    parser.add_argument("--images", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    (arguments.out / "images").mkdir(parents=True, exist_ok=True)
    if arguments.kind == "collages":
        make_collages(arguments.out, arguments.cifar10, arguments.images, arguments.seed)
    else:
        make_rotations(arguments.out, arguments.images, arguments.seed)


if __name__ == "__main__":
    main()
