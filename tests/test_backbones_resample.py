"""Resizing on the device equals Pillow bit for bit, at any size."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from probeline.backbones.resample import Resample
from probeline.data.pixels.decode import resize_crop
from probeline.images import Preprocess

SIZES = [(36, 32), (73, 64), (110, 96), (232, 224), (236, 224), (256, 224), (342, 299), (20, 16), (32, 32), (9, 5)]


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("resize", "crop"), SIZES)
@pytest.mark.parametrize("shape", [(32, 32), (8, 8), (33, 48)])
def test_equals_pillow(interpolation: str, resize: int, crop: int, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(resize)
    pixels = rng.integers(0, 256, (6, *shape, 3), dtype=np.uint8)
    pixels[0], pixels[1] = 255, rng.integers(0, 2, (*shape, 3)) * 255
    record = Preprocess(resize, crop, interpolation, (0, 0, 0), (1, 1, 1))  # type: ignore[arg-type]
    ours = Resample(*shape, record, torch.device("cpu"))(torch.from_numpy(pixels)).numpy()
    pillow = np.stack([resize_crop(Image.fromarray(image), record) for image in pixels])
    np.testing.assert_array_equal(ours, pillow)


@pytest.mark.parametrize(("resize", "crop"), [(64, 64), (73, 64)])
def test_both_sides_to_one_length_equals_pillow(resize: int, crop: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (1, 33, 90, 3), dtype=np.uint8)
    record = Preprocess(resize, crop, "bicubic", (0, 0, 0), (1, 1, 1), resize_mode="square")
    ours = Resample(33, 90, record, torch.device("cpu"))(torch.from_numpy(pixels)).numpy()[0]
    photo = Image.fromarray(pixels[0])
    np.testing.assert_array_equal(ours, resize_crop(photo, record))
    start = round((resize - crop) / 2)
    whole = photo.resize((resize, 33), Image.Resampling.BICUBIC).resize((resize, resize), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(ours, np.asarray(whole)[start : start + crop, start : start + crop])


def test_the_ratio_enters_the_key_only_where_it_is_not_kept() -> None:
    kept = Preprocess(64, 64, "bicubic", (0, 0, 0), (1, 1, 1))
    squashed = Preprocess(64, 64, "bicubic", (0, 0, 0), (1, 1, 1), resize_mode="square")
    assert "resize_mode" not in kept.identity()
    assert squashed.identity() == {**kept.identity(), "resize_mode": "square"}
    assert squashed.at(32).resize_mode == "square"
