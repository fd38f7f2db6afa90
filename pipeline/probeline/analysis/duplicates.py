"""Which images are there twice: by content, and nearly, told by features and confirmed by pixels.

Near duplicates are two files of one shot: another encoding, size, brightness or contrast, mirrored, or cut out a few
pixels aside. Two images of similar things are none. Features find candidates, whatever was done to the pixels; only
pixels can tell one shot from two. Barz and Denzler 2020, "Do we train on test data? Purging CIFAR of near-duplicates",
Journal of Imaging 6(6), go about it in these two steps, the second by eye.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.fft import irfft2, rfft2

from probeline.types import BoolArray, DoubleArray, FloatArray, IntArray, PixelArray

SHIFT = 2
"""Pixels of 32 by which one image may be cut out aside of the other."""

FLAT = 2.0
"""Grey levels: an image whose standard deviation is lower has no structure that could be compared."""

_AT_ONCE = 512

_LUMINANCE = (77, 150, 29)
"""Of 256: red, green and blue of ITU-R BT.601."""


def groups(content: Sequence[str]) -> list[list[int]]:
    """Return the rows whose content hashes are equal, where two or more are; in the order of their first rows."""
    found: dict[str, list[int]] = {}
    for row, sha256 in enumerate(content):
        found.setdefault(sha256, []).append(row)
    return [rows for rows in found.values() if len(rows) > 1]


def candidates(rows: IntArray, places: IntArray, cosines: FloatArray, floor: float) -> tuple[IntArray, FloatArray]:
    """Return each pair of rows that are neighbours with at least this cosine, once: int64 [p, 2], the lower row first.

    Parameters
    ----------
    rows : int64 [m]
    places : int64 [m, k]
        Rows that are near each of them.
    cosines : float32 [m, k]
    floor : float

    Returns
    -------
    pairs : int64 [p, 2]
        Ascending.
    cosines : float32 [p]
    """
    near = np.nonzero(cosines >= floor)
    both = np.stack([rows[near[0]], places[near]], axis=1)
    both.sort(axis=1)
    pairs, first = np.unique(both, axis=0, return_index=True)
    return pairs, cosines[near][first]


def luminance(pixels: PixelArray) -> PixelArray:
    """Return the grey levels uint8 [n, S, S] of RGB images uint8 [n, S, S, 3]."""
    grey = np.full(pixels.shape[:-1], 128, np.uint16)
    for channel, weight in enumerate(_LUMINANCE):
        grey += pixels[..., channel] * np.uint16(weight)
    return (grey >> 8).astype(np.uint8)


def alike(grey: PixelArray, pairs: IntArray) -> tuple[FloatArray, BoolArray]:
    """Return how alike the structure of two images of each pair is, in [-1, 1], and whether the second is mirrored.

    It is the zero-mean normalised cross-correlation of their grey levels, which brightness and contrast do not change,
    the highest of all shifts up to `SHIFT` pixels and of both directions. An image that is flat is like none.

    Parameters
    ----------
    grey : uint8 [n, S, S]
        Grey levels of all images; S of 32 is meant.
    pairs : int64 [p, 2]
    """
    best, mirrored = np.zeros(len(pairs), np.float32), np.zeros(len(pairs), np.bool_)
    for start in range(0, len(pairs), _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        best[some], mirrored[some] = _alike(grey[pairs[some, 0]], grey[pairs[some, 1]])
    return best, mirrored


def _alike(first: PixelArray, second: PixelArray) -> tuple[FloatArray, BoolArray]:
    side = first.shape[1]
    inside, places = side - 2 * SHIFT, 2 * SHIFT + 1
    middle = first[:, SHIFT : SHIFT + inside, SHIFT : SHIFT + inside].astype(np.float32)
    middle -= middle.mean(axis=(1, 2), keepdims=True)
    lengths = np.sqrt(np.einsum("ijk,ijk->i", middle, middle))
    # Both directions of the middle slide over the other image: a product of spectra, which wraps nowhere among the
    # places that are read, as middle and shifts fill the image's side.
    both = np.stack([middle, middle[:, :, ::-1]], axis=1)
    other = second.astype(np.float32) - second.mean(axis=(1, 2), dtype=np.float32)[:, None, None]
    spectra = np.conj(rfft2(both, s=(side, side))) * rfft2(other)[:, None]
    products = irfft2(spectra, s=(side, side))[..., :places, :places]
    least = FLAT * inside
    others = _window_lengths(second, inside)
    structured = (lengths[:, None, None] >= least) & (others >= least)
    scale = np.where(structured, lengths[:, None, None] * others, np.inf)
    straight, mirrored = (products / scale[:, None]).max(axis=(2, 3)).T
    return np.maximum(straight, mirrored).astype(np.float32), mirrored > straight


def _window_lengths(images: PixelArray, inside: int) -> DoubleArray:
    """Return the lengths of all square windows less their means: float64 [n, P, P] of images uint8 [n, S, S]."""
    grey = images.astype(np.int64)
    sums, squares = (
        np.pad(some, ((0, 0), (1, 0), (1, 0))).cumsum(axis=1).cumsum(axis=2) for some in (grey, grey * grey)
    )

    def inner(total: IntArray) -> IntArray:
        return (
            total[:, inside:, inside:]
            - total[:, inside:, :-inside]
            - total[:, :-inside, inside:]
            + (total[:, :-inside, :-inside])
        )

    # Of whole numbers, what is below the root is never negative.
    lengths: DoubleArray = np.sqrt(inner(squares) * inside**2 - inner(sums) ** 2) / inside
    return lengths
