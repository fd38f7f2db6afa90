"""Corruptions of ImageNet-C: published parameters, direct formulas, statistics of noise, and what they depend on."""

from __future__ import annotations

import math
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import hsv_to_rgb, rgb_to_hsv
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.stats import norm, poisson

from probeline.data.pixels.corruptions import blur, digital, weather
from probeline.data.pixels.corruptions.table import PARAMETERS, corrupt
from probeline.data.pixels.decode import resize_crop
from probeline.data.pixels.views import view_by
from probeline.errors import BadOption, UnknownName
from probeline.identity import digest
from probeline.images import Corruption, PixelArray, Preprocess, sight_from_identity
from probeline.names import CORRUPTIONS
from probeline.options.corruptions import parse_corruptions

SIDE = 224
CONTENT = digest("an image")


@pytest.fixture(scope="module")
def photo() -> PixelArray:
    """A smooth image with edges, of many colours."""
    y, x = np.mgrid[:SIDE, :SIDE] / (SIDE - 1)
    pixels = np.stack([x, y, 0.5 + 0.5 * np.sin(9 * x * y)], axis=2)
    pixels[60:120, 90:170] = (0.9, 0.1, 0.2)
    return (255 * pixels).round().astype(np.uint8)


def grey(value: int, side: int = SIDE) -> PixelArray:
    return np.full((side, side, 3), value, np.uint8)


def corrupted(pixels: PixelArray, name: str, severity: int, content: str = CONTENT, seed: int = 0) -> Any:
    return corrupt(pixels, Corruption(name, severity, seed), content).astype(float)


def test_the_published_parameters() -> None:
    unit = 244
    assert dict(PARAMETERS) == {
        "gaussian_noise": tuple((c,) for c in (0.08, 0.12, 0.18, 0.26, 0.38)),
        "shot_noise": tuple((c,) for c in (60, 25, 12, 5, 3)),
        "impulse_noise": tuple((c,) for c in (0.03, 0.06, 0.09, 0.17, 0.27)),
        "defocus_blur": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
        "glass_blur": ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
        "motion_blur": ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
        "zoom_blur": ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
        "snow": (
            ((0.1, 0.3, 3, 0.5), (10, 4), 0.8),
            ((0.2, 0.3, 2, 0.5), (12, 4), 0.7),
            ((0.55, 0.3, 4, 0.9), (12, 8), 0.7),
            ((0.55, 0.3, 4.5, 0.85), (12, 8), 0.65),
            ((0.55, 0.3, 2.5, 0.85), (12, 12), 0.55),
        ),
        "fog": ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
        "brightness": tuple((c,) for c in (0.1, 0.2, 0.3, 0.4, 0.5)),
        "contrast": tuple((c,) for c in (0.4, 0.3, 0.2, 0.1, 0.05)),
        "elastic_transform": (
            (unit * 2, unit * 0.7, unit * 0.1),
            (unit * 2, unit * 0.08, unit * 0.2),
            (unit * 0.05, unit * 0.01, unit * 0.02),
            (unit * 0.07, unit * 0.01, unit * 0.02),
            (unit * 0.12, unit * 0.01, unit * 0.02),
        ),
        "pixelate": tuple((c,) for c in (0.6, 0.5, 0.4, 0.3, 0.25)),
        "jpeg_compression": tuple((c,) for c in (25, 18, 15, 10, 7)),
    }
    assert tuple(PARAMETERS) == CORRUPTIONS


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_severity_0_is_the_image_and_worse_is_farther(name: str, photo: PixelArray) -> None:
    assert np.array_equal(corrupt(photo, Corruption(name, 0), CONTENT), photo)
    worst = corrupt(photo, Corruption(name, 5), CONTENT)
    assert (worst.shape, worst.dtype) == (photo.shape, np.uint8)
    distance = [np.abs(corrupted(photo, name, severity) - photo).mean() for severity in (1, 5)]
    assert distance[0] > 0.5
    # The elastic transform's kinds differ: the first two bend the whole image, the others ripple it.
    assert distance[0] < distance[1] or name == "elastic_transform"


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_small_images_and_one_pixel_more_are_corrupted_too(name: str) -> None:
    for side in (32, 225):
        assert corrupt(grey(120, side), Corruption(name, 5), CONTENT).shape == (side, side, 3)


@pytest.mark.parametrize("name", ["gaussian_noise", "shot_noise", "impulse_noise", "glass_blur", "snow", "fog"])
def test_what_is_random_depends_on_content_seed_and_severity_alone(name: str, photo: PixelArray) -> None:
    once = corrupted(photo, name, 2)
    corrupted(photo, name, 3, content=digest("another"))
    assert np.array_equal(once, corrupted(photo, name, 2))
    assert not np.array_equal(once, corrupted(photo, name, 2, content=digest("another")))
    assert not np.array_equal(once, corrupted(photo, name, 2, seed=1))


@pytest.mark.parametrize("severity", [1, 3, 5])
def test_gaussian_noise_has_the_published_spread(severity: int) -> None:
    std = PARAMETERS["gaussian_noise"][severity - 1][0]
    values = corrupted(grey(128), "gaussian_noise", severity).ravel() / 255
    # Of N(m, std) clipped to [0, 1]: E min(max(X, 0), 1) = integral of 1 - F; rounding down takes half a level.
    grid = np.linspace(0, 1, 20_001)
    above = norm.sf(grid, 128 / 255, std)
    mean = np.trapezoid(above, grid)
    variance = np.trapezoid(2 * grid * above, grid) - mean**2
    assert values.mean() == pytest.approx(mean - 0.5 / 255, abs=5 * math.sqrt(variance / values.size) + 0.2 / 255)
    # A sample variance of n values has a relative standard deviation of at most sqrt(2 / n) for these light tails.
    assert values.var() == pytest.approx(variance, rel=5 * math.sqrt(2 / values.size) + 2e-3)


@pytest.mark.parametrize("severity", [1, 3, 5])
def test_shot_noise_is_poisson(severity: int) -> None:
    photons = PARAMETERS["shot_noise"][severity - 1][0]
    values = corrupted(grey(100), "shot_noise", severity).ravel()
    counts = np.arange(400)
    levels = np.floor(255 * np.minimum(counts / photons, 1) + 1e-9)
    chances = poisson.pmf(counts, photons * 100 / 255)
    mean = (levels * chances).sum()
    variance = ((levels - mean) ** 2 * chances).sum()
    fourth = ((levels - mean) ** 4 * chances).sum()
    n = values.size
    assert values.mean() == pytest.approx(mean, abs=5 * math.sqrt(variance / n))
    assert values.var() == pytest.approx(variance, abs=5 * math.sqrt((fourth - variance**2) / n))
    assert set(values) <= set(levels)


@pytest.mark.parametrize("severity", [1, 3, 5])
def test_impulse_noise_replaces_the_published_share(severity: int) -> None:
    share = PARAMETERS["impulse_noise"][severity - 1][0]
    values = corrupted(grey(100), "impulse_noise", severity).ravel()
    bound = 5 * math.sqrt(share / values.size)
    assert (values == 0).mean() == pytest.approx(share / 2, abs=bound)
    assert (values == 255).mean() == pytest.approx(share / 2, abs=bound)
    assert set(values) == {0, 100, 255}


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_jpeg_is_pillows(severity: int, photo: PixelArray) -> None:
    file = BytesIO()
    Image.fromarray(photo).save(file, "JPEG", quality=(25, 18, 15, 10, 7)[severity - 1])
    assert np.array_equal(corrupted(photo, "jpeg_compression", severity), np.array(Image.open(file)))


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
def test_contrast_brightness_and_pixels_by_their_formulas(severity: int, photo: PixelArray) -> None:
    shares = photo / 255
    c = (0.4, 0.3, 0.2, 0.1, 0.05)[severity - 1]
    means = shares.reshape(-1, 3).mean(axis=0)
    assert np.abs(corrupted(photo, "contrast", severity) - np.floor(255 * (means + c * (shares - means)))).max() <= 1
    hsv = rgb_to_hsv(shares)
    hsv[..., 2] = np.clip(hsv[..., 2] + severity / 10, 0, 1)
    assert np.abs(corrupted(photo, "brightness", severity) - np.floor(255 * hsv_to_rgb(hsv))).max() <= 1
    small = int(SIDE * (0.6, 0.5, 0.4, 0.3, 0.25)[severity - 1])
    image = Image.fromarray(photo).resize((small, small), Image.Resampling.BOX)
    expected = np.array(image.resize((SIDE, SIDE), Image.Resampling.BOX))
    assert np.array_equal(corrupted(photo, "pixelate", severity), expected)


def test_black_gets_brighter_without_a_hue() -> None:
    assert np.unique(corrupted(grey(0), "brightness", 3)).tolist() == [math.floor(0.3 * 255 + 1e-9)]


def test_the_disk_is_round_and_even() -> None:
    for radius, softness in PARAMETERS["defocus_blur"]:
        kernel = blur.disk(radius, softness)
        assert kernel.shape == ((17, 17) if radius <= 8 else (21, 21))
        assert np.allclose(kernel, kernel.T)
        assert np.allclose(kernel, kernel[::-1, ::-1])
        middle = kernel[kernel.shape[0] // 2, kernel.shape[0] // 2]
        steps = np.arange(-radius, radius + 1)
        assert middle == pytest.approx(1 / (steps[:, None] ** 2 + steps**2 <= radius**2).sum())
    # A point becomes the kernel.
    point = np.zeros((41, 41, 3))
    point[20, 20] = 1
    assert np.allclose(blur.defocus_blur(point, 4, 0.5)[12:29, 12:29, 0], blur.disk(4, 0.5))


def test_motion_blur_smears_along_its_angle() -> None:
    point = np.zeros((61, 61))
    point[30, 30] = 1
    streak = blur.motion_blur(point, 10, 3, 0.0)
    weights = np.exp(-(np.arange(21) ** 2) / 18)
    assert np.allclose(streak[30, 10:31][::-1], weights / weights.sum())
    assert streak.sum() == pytest.approx(1)
    rows, columns = np.nonzero(blur.motion_blur(point, 10, 3, 45.0))
    assert np.array_equal(rows, columns)
    flat = np.full((20, 20, 3), 0.4)
    assert np.allclose(blur.motion_blur(flat, 15, 8, -30.0), flat)


def test_glass_takes_pixels_as_the_published_loop_does() -> None:
    pixels = np.random.default_rng(0).random((40, 40, 3))
    sigma, reach, rounds = 0.7, 2, 2
    found = blur.glass_blur(pixels, sigma, reach, rounds, np.random.RandomState(5))
    rng, side = np.random.RandomState(5), 40
    smooth = np.uint8(gaussian_filter(pixels, (sigma, sigma, 0), mode="nearest") * 255)
    for _ in range(rounds):
        for h in range(side - reach, reach, -1):
            for w in range(side - reach, reach, -1):
                dx, dy = rng.randint(-reach, reach, size=(2,))
                # Of views of one array, so that the second assignment finds what the first has written.
                smooth[h, w], smooth[h + dy, w + dx] = smooth[h + dy, w + dx], smooth[h, w]
    assert np.allclose(found, gaussian_filter(smooth / 255, (sigma, sigma, 0), mode="nearest"))


def test_zoom_enlarges_the_centre(photo: PixelArray) -> None:
    shares = photo / 255
    assert np.allclose(blur.zoom(shares, 1.0), shares)
    twice = blur.zoom(shares, 2.0)
    half = shares[SIDE // 4 : 3 * SIDE // 4, SIDE // 4 : 3 * SIDE // 4]
    # Corners are aligned: the first and the last pixel of the centre stay at the border.
    assert np.allclose(twice[[0, 0, -1, -1], [0, -1, 0, -1]], half[[0, 0, -1, -1], [0, -1, 0, -1]])
    assert np.allclose(blur.zoom_blur(np.full((50, 50, 3), 0.3), 1.31, 0.03), 0.3)


def test_fog_is_the_fractal_in_front_of_the_image() -> None:
    rng, again = np.random.RandomState(3), np.random.RandomState(3)
    foggy = weather.fog(np.full((SIDE, SIDE, 3), 0.5), 2.0, 1.7, rng)
    clouds = weather.fractal(256, 1.7, again)
    assert (clouds.min(), clouds.max()) == (0, 1)
    assert np.allclose(foggy[..., 1], (0.5 + 2 * clouds[:SIDE, :SIDE]) * 0.5 / 2.5)


def test_a_rough_fractal_is_rougher() -> None:
    smooth, rough = (weather.fractal(256, decay, np.random.RandomState(0)) for decay in (3.0, 1.2))
    assert np.abs(np.diff(rough, axis=0)).mean() > 3 * np.abs(np.diff(smooth, axis=0)).mean()


def test_the_elastic_transform_without_shift_and_strength_is_the_identity(photo: PixelArray) -> None:
    shares = photo / 255
    still = digital.elastic_transform(shares, 0.0, 2.0, 0.0, np.random.RandomState(0))
    assert np.allclose(still, shares, atol=1e-9)
    # An affine map keeps a linear ramp linear, up to its mirrored border.
    ramp = np.repeat(np.mgrid[:SIDE, :SIDE][1][..., None] / SIDE, 3, axis=2)
    moved = digital.elastic_transform(ramp, 0.0, 2.0, 5.0, np.random.RandomState(0))[60:160, 60:160, 0]
    assert np.abs(np.diff(moved, n=2, axis=1)).max() < 1e-9
    assert not np.allclose(moved, ramp[60:160, 60:160, 0])


def test_snow_falls_on_black_and_whitens() -> None:
    black = corrupted(grey(0), "snow", 1)
    # Black is whitened to 0.2 x 0.5 of white at least.
    assert black.min() == math.floor(0.1 * 255)
    assert black.max() > 60
    assert np.array_equal(black[..., 0], black[..., 2])


def test_the_view_of_a_row_does_not_depend_on_the_others(photo: PixelArray, preprocess: Preprocess) -> None:
    corruption = Corruption("gaussian_noise", 3)
    contents = [digest(i) for i in range(3)]
    image = Image.fromarray(photo)
    first = view_by(preprocess, corruption, contents)
    other = view_by(preprocess, corruption, contents[::-1])
    assert np.array_equal(first(image, 0), other(image, 2))
    assert not np.array_equal(first(image, 0), first(image, 1))
    assert np.array_equal(first(image, 0), corrupt(resize_crop(image, preprocess), corruption, contents[0]))


def test_a_corruption_is_what_its_record_says() -> None:
    corruption = Corruption("fog", 3, 7)
    assert sight_from_identity(corruption.identity()) == corruption
    assert corruption.identity() == {"corruption": "fog", "severity": 3, "seed": 7, "corruptions_version": 1}


def test_words_of_corruptions() -> None:
    assert parse_corruptions(["snow:2", "fog", "snow:1", "fog:3"]) == [
        ("snow", 1),
        ("snow", 2),
        *(("fog", severity) for severity in range(1, 6)),
    ]
    assert len(parse_corruptions(["all"])) == 70
    assert parse_corruptions(["all:3"]) == [(name, 3) for name in CORRUPTIONS]
    with pytest.raises(UnknownName, match="unknown corruption 'fogg'"):
        parse_corruptions(["fogg"])
    with pytest.raises(BadOption, match="1 to 5"):
        parse_corruptions(["fog:6"])
    with pytest.raises(BadOption, match="frost is not among"):
        parse_corruptions(["frost"])
