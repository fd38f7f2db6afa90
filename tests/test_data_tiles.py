"""Thumbnails: made to fit, and what WebP keeps of them."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from probeline.data.pixels.tiles import encode_webp, scale


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("size", "found"),
    [((8, 8), (96, 96)), ((32, 20), (96, 60)), ((50, 40), (50, 40)), ((400, 300), (96, 72)), ((4000, 2), (96, 1))],
)
def test_an_image_is_made_to_fit(size: tuple[int, int], found: tuple[int, int]) -> None:
    assert scale(noise(*size), 96).size == found


def test_what_is_enlarged_is_made_of_squares() -> None:
    image = noise(8, 8)
    np.testing.assert_array_equal(np.array(scale(image, 96)), np.kron(np.array(image), np.ones((12, 12, 1), np.uint8)))


def test_webp_loses_nothing_where_it_must_not() -> None:
    image = scale(noise(32, 32), 96)
    read = Image.open(BytesIO(encode_webp(image, None)))
    assert read.format == "WEBP"
    np.testing.assert_array_equal(np.array(read.convert("RGB")), np.array(image))


def test_webp_gets_smaller_with_its_quality_and_forgets_what_came_with_the_photo() -> None:
    image = noise(96, 96)
    image.info = {"exif": b"Exif\0\0 where I live", "icc_profile": b"colours"}
    sizes = [len(encode_webp(image, quality)) for quality in (80, 40, 5)]
    assert sizes == sorted(sizes, reverse=True)
    assert len(set(sizes)) == 3
    data = encode_webp(image, 80)
    assert b"where I live" not in data
    assert not {"exif", "icc_profile"} & set(Image.open(BytesIO(data)).info)
