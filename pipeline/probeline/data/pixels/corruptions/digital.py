"""Digital corruptions of ImageNet-C: contrast, elastic deformation, pixelation and JPEG compression."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image
from scipy import ndimage

from probeline.data.pixels.decode import decode_bytes
from probeline.images import PixelArray
from probeline.types import DoubleArray


def contrast(pixels: DoubleArray, kept: float) -> DoubleArray:
    """Return pixels [H, W, 3] with this share of their distance to each channel's mean."""
    means = pixels.mean(axis=(0, 1))
    flatter: DoubleArray = (pixels - means) * kept + means
    return flatter


def elastic_transform(
    pixels: DoubleArray, strength: float, sigma: float, shift: float, rng: np.random.RandomState
) -> DoubleArray:
    """Return pixels [S, S, 3] after a random affine map, and then a random smooth displacement.

    Parameters
    ----------
    strength, sigma : float
        Of the displacement, in pixels: uniform noise in [-1, 1], blurred by `sigma` and multiplied by `strength`.
    shift : float
        Pixels by which three points of the image move at most, which define the affine map.
    """
    side = pixels.shape[0]
    centre, reach = side // 2, side // 3
    points = np.array([[centre + reach, centre + reach], [centre + reach, centre - reach], [centre - reach] * 2], float)
    moved = points + rng.uniform(-shift, shift, size=points.shape)
    # Rows of the solution map (x, y, 1) of the moved points back to the original ones.
    back = np.linalg.lstsq(np.c_[moved, np.ones(3)], points, rcond=None)[0]
    y, x = np.mgrid[:side, :side].astype(np.float64)
    from_x, from_y = (x * back[0, i] + y * back[1, i] + back[2, i] for i in (0, 1))
    image = _at(pixels, from_y, from_x, "mirror")
    dx, dy = (
        strength * ndimage.gaussian_filter(rng.uniform(-1, 1, size=(side, side)), sigma, mode="reflect", truncate=3)
        for _ in range(2)
    )
    return _at(image, y + dy, x + dx, "reflect")


def _at(pixels: DoubleArray, rows: DoubleArray, columns: DoubleArray, mode: str) -> DoubleArray:
    """Return pixels [H, W, 3] at fractional places [H, W], bilinearly."""
    layers = (pixels[..., i] for i in range(pixels.shape[2]))
    return np.stack([ndimage.map_coordinates(layer, [rows, columns], order=1, mode=mode) for layer in layers], axis=2)


def pixelate(pixels: PixelArray, share: float) -> PixelArray:
    """Return pixels [S, S, 3] after resizing to this share of their side and back, by means of boxes."""
    side = pixels.shape[0]
    small = max(1, int(side * share))
    image = Image.fromarray(pixels).resize((small, small), Image.Resampling.BOX)
    return np.array(image.resize((side, side), Image.Resampling.BOX))


def jpeg_compression(pixels: PixelArray, quality: int) -> PixelArray:
    """Return pixels [H, W, 3] after JPEG compression by Pillow with this quality."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    return np.array(decode_bytes(file.getvalue(), f"the image at quality {quality}").image)
