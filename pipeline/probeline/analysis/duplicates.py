"""Duplicates: exact ones by content, near ones by features or hashes and then by pixels.

Near duplicates are two files of one shot: another encoding, size, brightness or contrast, mirrored, or shifted by a few
pixels. Two images of similar things are not duplicates. Features find candidates, whatever was done to the pixels, and
perceptual hashes find them whatever a network makes of small changes; only pixels distinguish one shot from two. Barz
and Denzler 2020, "Do we train on test data? Purging CIFAR of near-duplicates", Journal of Imaging 6(6), use features
and pixels, the latter by eye.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.fft import irfft2, rfft2

from probeline.images import PixelArray
from probeline.types import BoolArray, DoubleArray, FloatArray, IntArray

SHIFT = 2
"""Pixels, of 32, by which one image may be shifted against the other."""

FLAT = 2.0
"""Grey levels: an image with a lower standard deviation has no structure to compare."""

_BLOCK = 512
"""Pairs that are compared at once."""

_SAMPLE = 500
"""Images that are compared with all others to see how similar different images are."""

_OTHERS = 10
"""Images that a sampled image is compared with: more than there usually are of one shot."""

_SHARE = 0.95
"""Share of the sampled images that are less similar to others than what is returned."""

_LUMINANCE = (77, 150, 29)
"""Of 256: red, green and blue of ITU-R BT.601."""


def group_identical(content: Sequence[str]) -> list[list[int]]:
    """Return groups of two or more rows with equal content hashes, in the order of their first rows."""
    rows_of: dict[str, list[int]] = {}
    for row, sha256 in enumerate(content):
        rows_of.setdefault(sha256, []).append(row)
    return [rows for rows in rows_of.values() if len(rows) > 1]


def select_pairs(
    rows: IntArray, neighbours: IntArray, cosines: FloatArray, least: float
) -> tuple[IntArray, FloatArray]:
    """Return pairs int64 [p, 2] of neighbours with at least this cosine, and their cosines float32 [p].

    Each pair is listed once, its lower row first, in ascending order. `rows` are int64 [m], `neighbours`, their nearest
    rows, int64 [m, k], and `cosines` float32 [m, k].
    """
    near = np.nonzero(cosines >= least)
    both = np.stack([rows[near[0]], neighbours[near]], axis=1)
    both.sort(axis=1)
    pairs, first = np.unique(both, axis=0, return_index=True)
    return pairs, cosines[near][first]


def other_pairs(pairs: IntArray, listed: IntArray) -> IntArray:
    """Return the pairs int64 [p, 2] that are not among the listed ones, lower row first, each once, in ascending order.

    The listed ones have their lower row first.
    """
    ordered = np.unique(np.sort(pairs, axis=1), axis=0)
    rows = 1 + max(int(ordered.max(initial=0)), int(listed.max(initial=0)))
    return ordered[~np.isin(ordered @ [rows, 1], listed @ [rows, 1])]


def to_grey(pixels: PixelArray) -> PixelArray:
    """Return the grey levels uint8 [n, S, S] of RGB images uint8 [n, S, S, 3]."""
    grey = np.full(pixels.shape[:-1], 128, np.uint16)
    for channel, weight in enumerate(_LUMINANCE):
        grey += pixels[..., channel] * np.uint16(weight)
    return (grey >> 8).astype(np.uint8)


def correlate(grey: PixelArray, pairs: IntArray) -> tuple[FloatArray, BoolArray]:
    """Return the correlation of the two images of each pair, in [-1, 1], and whether the second is mirrored.

    It is the zero-mean normalised cross-correlation of their grey levels, which does not depend on brightness and
    contrast: the maximum over all shifts up to `SHIFT` pixels, mirrored or not. A flat image correlates with none.
    `grey` is uint8 [n, S, S], `pairs` are int64 [p, 2]; the result is float32 [p] and bool [p].
    """
    best, mirrored = np.zeros(len(pairs), np.float32), np.zeros(len(pairs), np.bool_)
    for start in range(0, len(pairs), _BLOCK):
        block = slice(start, start + _BLOCK)
        best[block], mirrored[block] = _correlate(grey[pairs[block, 0]], grey[pairs[block, 1]])
    return best, mirrored


def has_structure(grey: PixelArray) -> BoolArray:
    """Return which images, uint8 [n, S, S], can correlate with another one: a flat one correlates with none.

    The norm of an image bounds that of every window of it, so no image is left out that :func:`correlate` could find
    similar to another one.
    """
    rounding = 1e-4  # of a norm in float32: more than the 1,024 terms of its sum can add up to
    least = FLAT * (grey.shape[1] - 2 * SHIFT) * (1 - rounding)
    structured: BoolArray = _norms(grey) >= least
    return structured


def usual_correlation(grey: PixelArray) -> float:
    """Return how similar different images of a data set are, as a correlation in [-1, 1].

    95 % of a sample of images have a lower correlation with the tenth of the images that are most similar to them. So
    duplicates, of which there are rarely ten, do not raise it, whereas handwritten digits or X-rays do, all of which
    look alike. `grey` is uint8 [n, S, S]; the sample is spread evenly over it.
    """
    n, others = len(grey), min(_OTHERS, len(grey) - 1)
    if others < 1:
        return -1.0
    rows = np.unique(np.linspace(0, n - 1, min(n, _SAMPLE)).astype(np.int64))
    sample = _unit_rows(grey[rows])
    best = np.full((len(rows), others), -1, np.float32)
    for start in range(0, n, _BLOCK):
        products = sample @ _unit_rows(grey[start : start + _BLOCK]).T
        own = np.flatnonzero((rows >= start) & (rows < start + _BLOCK))
        products[own, rows[own] - start] = -1
        best = np.partition(np.concatenate([best, products], axis=1), -others, axis=1)[:, -others:]
    return float(np.quantile(best.min(axis=1), _SHARE))


def _unit_rows(grey: PixelArray) -> FloatArray:
    """Return images less their means, of length 1, as rows float32 [n, S * S]; a flat one is zero."""
    norms = np.where(has_structure(grey), _norms(grey), np.inf).astype(np.float32)
    rows: FloatArray = (grey - grey.mean(axis=(1, 2), keepdims=True, dtype=np.float32)).reshape(len(grey), -1)
    return rows / norms[:, None]


def _norms(grey: PixelArray) -> DoubleArray:
    """Return the norm of each image minus its mean."""
    norms: DoubleArray = grey.std(axis=(1, 2), dtype=np.float64) * grey.shape[1]
    return norms


def _correlate(first: PixelArray, second: PixelArray) -> tuple[FloatArray, BoolArray]:
    side = first.shape[1]
    inside, shifts = side - 2 * SHIFT, 2 * SHIFT + 1
    middle = first[:, SHIFT : SHIFT + inside, SHIFT : SHIFT + inside].astype(np.float32)
    middle -= middle.mean(axis=(1, 2), keepdims=True)
    lengths = np.sqrt(np.einsum("ijk,ijk->i", middle, middle))
    # The middle and its mirror image slide over the other image. A product of spectra does it; it wraps around only
    # outside the shifts that are used, as middle and shifts together fill the image's side.
    both = np.stack([middle, middle[:, :, ::-1]], axis=1)
    other = second.astype(np.float32) - second.mean(axis=(1, 2), dtype=np.float32)[:, None, None]
    spectra = np.conj(rfft2(both, s=(side, side))) * rfft2(other)[:, None]
    products = irfft2(spectra, s=(side, side))[..., :shifts, :shifts]
    least = FLAT * inside
    others = _window_lengths(second, inside)
    structured = (lengths[:, None, None] >= least) & (others >= least)
    scale = np.where(structured, lengths[:, None, None] * others, np.inf)
    straight, mirrored = (products / scale[:, None]).max(axis=(2, 3)).T
    return np.maximum(straight, mirrored).astype(np.float32), mirrored > straight


def _window_lengths(images: PixelArray, inside: int) -> DoubleArray:
    """Return the norm of every square window minus its mean: float64 [n, P, P] of images uint8 [n, S, S]."""
    grey = images.astype(np.int64)

    def window_sums(values: IntArray) -> IntArray:
        columns = sliding_window_view(values, inside, axis=1).sum(axis=-1)
        sums: IntArray = sliding_window_view(columns, inside, axis=2).sum(axis=-1)
        return sums

    # In whole numbers the radicand is never negative.
    lengths: DoubleArray = np.sqrt(window_sums(grey * grey) * inside**2 - window_sums(grey) ** 2) / inside
    return lengths
