"""Perceptual hashes by hand, and the search for near ones against a plain loop."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from PIL import Image

from made_photos import photo_patches
from probeline.analysis import perceptual_hash
from probeline.analysis.duplicates import to_grey
from probeline.analysis.perceptual_hash import Hashes, hash_images, near_hashes
from probeline.images import PixelArray
from probeline.types import HashArray, IntArray


def grey_of(images: list[Image.Image]) -> PixelArray:
    small = [image.resize((32, 32), Image.Resampling.BILINEAR) for image in images]
    return to_grey(np.stack([np.asarray(image) for image in small]))


def distances(first: HashArray, second: HashArray) -> IntArray:
    return np.bitwise_count(first ^ second).astype(np.int64)


def random_hashes(n: int, seed: int) -> Hashes:
    """Return hashes of which many are within a few bits of others, as they are or mirrored."""
    rng = np.random.default_rng(seed)
    few = np.random.default_rng(0).integers(0, 1 << 63, 12, dtype=np.uint64)
    both = []
    for _ in Hashes._fields:
        bits = few[rng.integers(0, len(few), n)]
        for _ in range(4):
            bits = bits ^ (np.uint64(1) << rng.integers(0, 63, n, dtype=np.uint64))
        both.append(bits)
    return Hashes(*both)


def test_the_hash_is_the_signs_of_low_frequencies_about_their_median(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perceptual_hash, "_BLOCK", 2)
    side = 32
    grey = np.random.default_rng(0).integers(0, 256, (5, side, side), np.uint8)
    waves = np.cos(math.pi * np.outer(np.arange(8), np.arange(side) + 0.5) / side)
    for image, hashed in zip(grey, hash_images(grey).straight.tolist(), strict=True):
        low = (waves @ image @ waves.T).ravel()[1:]
        # NumPy packs the first of eight bits as the highest, and the first byte is the lowest of the number.
        bits = "".join(f"{octet:08b}" for octet in int(hashed).to_bytes(8, "little"))
        assert bits == "0" + "".join("1" if value > np.median(low) else "0" for value in low)


def test_the_mirrored_hash_is_that_of_the_mirror_image() -> None:
    grey = grey_of(photo_patches())
    grey = grey[grey.std(axis=(1, 2)) > 2]
    hashes, turned = hash_images(grey), hash_images(np.ascontiguousarray(grey[:, :, ::-1]))
    # Two frequencies next to the median may change places by rounding.
    assert distances(hashes.mirrored, turned.straight).max() <= 2
    assert distances(hashes.straight, turned.mirrored).max() <= 2


def test_contrast_changes_no_hash_and_coding_few_bits() -> None:
    patches = photo_patches()
    grey = grey_of(patches)
    assert distances(hash_images(grey // 2).straight, hash_images(grey // 2 * 2 + 1).straight).max() <= 2
    coded = []
    for image in patches:
        data = io.BytesIO()
        image.save(data, "JPEG", quality=60)
        coded.append(Image.open(data).convert("RGB"))
    changed = distances(hash_images(grey_of(coded)).straight, hash_images(grey).straight)
    # The doctor's radius. In smooth images most frequencies are near zero, so that coding decides their signs.
    assert changed[grey.std(axis=(1, 2)) > 15].max() <= 8 < changed.max()


def test_hashes_of_different_images_are_half_the_bits_apart() -> None:
    hashes = hash_images(np.random.default_rng(1).integers(0, 256, (200, 32, 32), np.uint8)).straight
    apart = distances(hashes[:, None], hashes[None])[np.triu_indices(200, 1)]
    # 31 of 63 bits are set, and bits of noise are independent: a distance has the mean 31.5 and, of independent bits,
    # the deviation sqrt(63) / 2. The mean of 200 x 199 / 2 of them is within a tenth of that.
    assert abs(apart.mean() - 31.5) < math.sqrt(63) / 2 / 10
    assert apart.min() > 8


@pytest.mark.parametrize("at_once", [1, 300, 1 << 17])
@pytest.mark.parametrize(("radius", "most"), [(2, 3), (4, 3), (8, 1), (8, 90)])
def test_near_hashes_are_those_of_a_plain_loop(
    radius: int, most: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(perceptual_hash, "_PAIRS", at_once)
    hashes, other = random_hashes(90, seed=1), random_hashes(60, seed=2)
    queries = Hashes(*(np.concatenate([first[:70], second]) for first, second in zip(hashes, other, strict=True)))
    own = [row if row < 70 else -1 for row in range(130)]
    pairs, crowded = set(), set()
    for query, both in enumerate(zip(*queries, strict=True)):
        distances = [min(int(bits ^ hashed).bit_count() for bits in both) for hashed in hashes.straight]
        near = sorted((d, row) for row, d in enumerate(distances) if d <= radius and row != own[query])
        pairs |= {(query, row) for _, row in near[:most]}
        crowded |= {query} if len(near) > most else set()
    steps: list[int] = []
    found = near_hashes(hashes, queries, np.array(own), radius, most, steps.append)
    assert {(i, j) for i, j in found.pairs.tolist()} == pairs
    assert set(found.crowded.tolist()) == crowded
    assert sum(steps) == 130
    assert pairs
    assert crowded or most > 1


def test_without_images_nothing_is_near() -> None:
    none = random_hashes(0, seed=1)
    for queries in (none, random_hashes(3, seed=2)):
        found = near_hashes(none, queries, np.full(len(queries.straight), -1), 8, 10, lambda _: None)
        assert found.pairs.shape == (0, 2)
        assert found.crowded.shape == (0,)
