"""Duplicates among arrays: equal contents, neighbours as pairs, and images that are one shot."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from probeline.analysis import duplicates
from probeline.analysis.duplicates import (
    SHIFT,
    correlate,
    group_identical,
    has_structure,
    other_pairs,
    select_pairs,
    to_grey,
    usual_correlation,
)
from probeline.images import PixelArray
from probeline.types import BoolArray, FloatArray

S = 32


def beside(first: PixelArray, second: PixelArray) -> tuple[FloatArray, BoolArray]:
    """Say how alike images [n, S, S] are, one with one."""
    n = len(first)
    return correlate(np.concatenate([first, second]), np.stack([np.arange(n), n + np.arange(n)], axis=1))


def pictures(n: int, *, side: int = S + 2 * SHIFT, seed: int = 0) -> list[Image.Image]:
    """Return images of random patches with edges, a little larger than what is cut out of them."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (n, 9, 9, 3), dtype=np.uint8)
    return [Image.fromarray(one).resize((side, side), Image.Resampling.BICUBIC) for one in coarse]


def cut(image: Image.Image, right: int = SHIFT, down: int = SHIFT) -> PixelArray:
    return to_grey(np.asarray(image.crop((right, down, right + S, down + S)))[None])[0]


def as_jpeg(image: Image.Image) -> Image.Image:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=40)
    return Image.open(data).convert("RGB")


def test_equal_contents_are_grouped_in_the_order_of_their_first_rows() -> None:
    assert group_identical(["a", "b", "c", "b", "a", "a", "d"]) == [[0, 4, 5], [1, 3]]
    assert group_identical(["a", "b"]) == []


def test_neighbours_become_pairs_once_each() -> None:
    places = np.array([[1, 2], [0, 2], [0, 3]])
    cosines = np.array([[0.9, 0.2], [0.9, 0.6], [0.2, 0.7]], np.float32)
    pairs, found = select_pairs(np.arange(3), places, cosines, 0.5)
    assert pairs.tolist() == [[0, 1], [1, 2], [2, 3]]
    np.testing.assert_allclose(found, [0.9, 0.6, 0.7], rtol=1e-6)
    assert select_pairs(np.arange(3), places, cosines, 0.95)[0].shape == (0, 2)


def test_grey_levels_are_those_of_pillow() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 5, 3), np.uint8)
    pillow = np.stack([np.asarray(Image.fromarray(one).convert("L")) for one in pixels])
    # Its weights are of 16 bits, ours of 8: they differ by at most 0.3 of 255 in sum, and both round.
    assert np.abs(to_grey(pixels).astype(int) - pillow).max() <= 1


@pytest.mark.parametrize(
    ("name", "change", "mirrored"),
    [
        ("encoded anew", as_jpeg, False),
        ("mirrored", ImageOps.mirror, True),
        ("brighter", lambda image: ImageEnhance.Brightness(image).enhance(1.2), False),
        ("duller", lambda image: ImageEnhance.Contrast(image).enhance(0.5), False),
        ("mirrored and encoded", lambda image: as_jpeg(ImageOps.mirror(image)), True),
    ],
)
def test_one_shot_is_told_whatever_was_done_to_it(name: str, change: object, mirrored: bool) -> None:
    assert callable(change)
    first = pictures(20)
    found, flipped = beside(np.stack(list(map(cut, first))), np.stack([cut(change(image)) for image in first]))
    # Clipping and coding are what is lost: less than a twentieth of an image's variance.
    assert found.min() > 0.95, name
    assert flipped.tolist() == [mirrored] * len(first)


@pytest.mark.parametrize(("right", "down"), [(0, 0), (2 * SHIFT, 0), (SHIFT + 1, SHIFT - 1)])
def test_an_image_cut_out_aside_is_the_same(right: int, down: int) -> None:
    images = pictures(10)
    found, _ = beside(np.stack([cut(one) for one in images]), np.stack([cut(one, right, down) for one in images]))
    # What is compared lies in both: the windows overlap to the pixel.
    assert found.min() > 0.9999


def test_the_value_is_the_correlation_of_the_best_window() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 256, (2, S, S), np.uint8)
    inner = a[SHIFT:-SHIFT, SHIFT:-SHIFT].ravel().astype(float)
    side = S - 2 * SHIFT
    best = max(
        np.corrcoef(inner, other[y : y + side, x : x + side].ravel())[0, 1]
        for other in (b, b[:, ::-1])
        for y in range(2 * SHIFT + 1)
        for x in range(2 * SHIFT + 1)
    )
    np.testing.assert_allclose(beside(a[None], b[None])[0], [best], rtol=1e-5)


def test_pairs_that_are_listed_already_are_left_out() -> None:
    pairs = np.array([[3, 1], [1, 3], [0, 2], [5, 4], [0, 1]])
    assert other_pairs(pairs, np.array([[0, 1], [2, 9]])).tolist() == [[0, 2], [1, 3], [4, 5]]
    assert other_pairs(pairs[:0], np.array([[0, 1]])).shape == (0, 2)
    assert other_pairs(pairs, pairs[:0]).tolist() == [[0, 1], [0, 2], [1, 3], [4, 5]]


def test_only_images_that_correlate_with_none_are_without_structure() -> None:
    rng = np.random.default_rng(3)
    # Noise of all strengths around the limit, which lies at a norm of FLAT x 28 and here at a deviation of 1.75.
    noise = rng.standard_normal((400, S, S)) * np.linspace(1.6, 2.2, 400)[:, None, None]
    images = np.clip(128 + noise, 0, 255).round().astype(np.uint8)
    found, _ = beside(images, images)
    structured = has_structure(images)
    assert not (found > 0)[~structured].any()
    assert 0 < structured.sum() < len(images)
    assert (found > 0).any()


def test_the_usual_correlation_is_that_with_the_tenth_most_similar_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "_BLOCK", 50)
    images = np.stack([cut(one) for one in pictures(120)])
    correlations = np.corrcoef(images.reshape(120, -1).astype(np.float64))
    np.fill_diagonal(correlations, -1)
    tenth = np.sort(correlations, axis=1)[:, -10]
    np.testing.assert_allclose(usual_correlation(images), np.quantile(tenth, 0.95), atol=1e-5)
    # Nine copies of every image raise it by no more than their own difference.
    copies = np.repeat(images, 9, axis=0)
    assert usual_correlation(copies) < usual_correlation(images) + 0.2 < 0.95
    assert usual_correlation(np.repeat(images, 12, axis=0)) > 0.999
    assert usual_correlation(images[:1]) == -1


def test_noise_is_like_no_other_noise() -> None:
    noise = np.random.default_rng(2).integers(0, 256, (30, S, S), np.uint8)
    pairs = np.array([(i, j) for i in range(30) for j in range(i)])
    found, _ = correlate(noise, pairs)
    # A direction in d dimensions lies within c of another with a chance of at most exp(-d c^2 / 2): with d of 783
    # (28 x 28 pixels less their mean), and 50 windows of each of 435 pairs, none in a billion runs is above this.
    bound = math.sqrt(2 * math.log(50 * len(pairs) * 1e9) / ((S - 2 * SHIFT) ** 2 - 1))
    assert 0 < found.max() < bound < 0.4


def test_many_pairs_are_compared_as_few_are() -> None:
    images = np.random.default_rng(2).integers(0, 256, (48, S, S), np.uint8)
    pairs = np.array([(i, j) for i in range(48) for j in range(i)])
    found, mirrored = correlate(images, pairs)
    for rows in (slice(0, 7), slice(505, 519), slice(1020, 1030), slice(len(pairs) - 7, len(pairs))):
        alone, alone_mirrored = correlate(images, pairs[rows])
        np.testing.assert_allclose(found[rows], alone, atol=1e-6)
        np.testing.assert_array_equal(mirrored[rows], alone_mirrored)


def test_flat_images_are_like_none() -> None:
    flat = np.full((2, S, S), 100, np.uint8)
    flat[1, 3, 3] = 103
    assert beside(flat[:1], flat[1:])[0].tolist() == [0]
    assert beside(flat[:1], flat[:1])[0].tolist() == [0]
