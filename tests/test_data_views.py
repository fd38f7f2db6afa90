"""Augmented views: what is random is a function of the view's number and the image alone."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from probeline.data.pixels.decode import random_resized_crop
from probeline.data.pixels.views import Stream, augment
from probeline.identity import digest
from probeline.images import PixelArray, Preprocess, View

GOLDEN = [0.5046573148846479, 2.802673276645498, 248]
"""Of view 1 of the image whose sha256 is ab, ab, ...: pinned, since keys vouch for what is drawn."""

CONTENTS = [digest(number) for number in range(400)]


def gradient(width: int, height: int) -> Image.Image:
    """Return an image whose pixels tell where they were: red grows to the right, green downwards."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = np.linspace(0, 255, width, dtype=np.uint8)
    pixels[..., 1] = np.linspace(0, 255, height, dtype=np.uint8)[:, None]
    return Image.fromarray(pixels)


def test_the_draws_never_change() -> None:
    stream = Stream(1, "ab" * 32)
    draws = [stream.uniform(0, 1), stream.uniform(2, 4), stream.integers(1000)]
    assert draws == pytest.approx(GOLDEN, abs=1e-12)
    assert Stream(2, "ab" * 32).uniform(0, 1) != Stream(1, "ab" * 32).uniform(0, 1)
    assert Stream(1, "ac" * 32).uniform(0, 1) != Stream(1, "ab" * 32).uniform(0, 1)


def test_draws_stay_in_their_range() -> None:
    stream = Stream(1, CONTENTS[0])
    assert {stream.integers(3) for _ in range(200)} == {0, 1, 2}
    numbers = [stream.uniform(-1, 3) for _ in range(4000)]
    assert min(numbers) >= -1
    assert max(numbers) < 3
    # The mean of 4,000 even draws over a width of 4: standard deviation 4 / sqrt(12 x 4000) = 0.018; five of them.
    assert np.mean(numbers) == pytest.approx(1, abs=0.1)


def view_of(content: str, preprocess: Preprocess, *, number: int = 1, flips: bool = True) -> PixelArray:
    return augment(gradient(80, 60), preprocess, View(number, flips), content)


def test_a_view_is_the_same_for_ever_and_another_one_is_another(preprocess: Preprocess) -> None:
    one = view_of(CONTENTS[0], preprocess)
    assert one.shape == (preprocess.crop, preprocess.crop, 3)
    assert np.array_equal(one, view_of(CONTENTS[0], preprocess))
    others = [view_of(CONTENTS[0], preprocess, number=2), view_of(CONTENTS[1], preprocess)]
    assert not any(np.array_equal(one, other) for other in others)


def test_half_of_the_images_are_mirrored_and_none_where_it_would_be_another_class(preprocess: Preprocess) -> None:
    def mirrored(content: str, *, flips: bool) -> bool:
        pixels = view_of(content, preprocess, flips=flips)
        return bool(pixels[0, 0, 0] > pixels[0, -1, 0])

    # 400 throws of a coin: standard deviation 10; four of them.
    assert 160 <= sum(mirrored(content, flips=True) for content in CONTENTS) <= 240
    assert not any(mirrored(content, flips=False) for content in CONTENTS)


def test_the_region_is_at_least_a_quarter_of_the_image(preprocess: Preprocess) -> None:
    shares = []
    for content in CONTENTS:
        pixels = view_of(content, preprocess, flips=False).astype(int)
        width, height = (np.ptp(pixels[..., channel]) / 255 for channel in (0, 1))
        shares.append(width * height)
    # The outermost pixels of a region are blended: each side may look shorter by up to 2 of 32 pixels.
    assert min(shares) > 0.25 * (30 / 32) ** 2
    assert max(shares) > 0.8


def test_without_the_mirror_it_is_a_random_resized_crop(preprocess: Preprocess) -> None:
    view = View(3, flips=False)
    expected = random_resized_crop(
        gradient(80, 60), preprocess.crop, Stream(3, CONTENTS[5]), scale=view.scale, ratio=view.ratio
    )
    assert np.array_equal(view_of(CONTENTS[5], preprocess, number=3, flips=False), expected)


def test_a_view_is_what_its_record_says() -> None:
    view = View(4, flips=True, scale=(0.5, 0.75))
    assert View.from_identity(view.identity()) == view
