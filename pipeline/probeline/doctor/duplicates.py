"""Which images are there twice: by content, and nearly, told by features and confirmed by pixels.

Near duplicates are two files of one shot: another encoding, size, brightness or contrast, mirrored, or cut out a few
pixels aside. Two images of similar things are none. Features find candidates, whatever was done to the pixels; only
pixels can tell one shot from two. Barz and Denzler 2020, "Do we train on test data? Purging CIFAR of near-duplicates",
Journal of Imaging 6(6), go about it in these two steps, the second by eye.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

SHIFT = 2
"""Pixels of 32 by which one image may be cut out aside of the other."""

FLAT = 2.0
"""Grey levels: an image whose standard deviation is lower has no structure that could be compared."""

_AT_ONCE = 2048

_LUMINANCE = (77, 150, 29)
"""Of 256: red, green and blue of ITU-R BT.601."""


def groups(content: Sequence[str]) -> list[list[int]]:
    """Return the rows whose content hashes are equal, where two or more are; in the order of their first rows."""
    found: dict[str, list[int]] = {}
    for row, sha256 in enumerate(content):
        found.setdefault(sha256, []).append(row)
    return [rows for rows in found.values() if len(rows) > 1]


def candidates(rows: Rows, places: Rows, cosines: Floats, floor: float) -> tuple[Rows, Floats]:
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


def luminance(pixels: Pixels) -> Pixels:
    """Return the grey levels uint8 [n, S, S] of RGB images uint8 [n, S, S, 3]."""
    grey = np.full(pixels.shape[:-1], 128, np.uint16)
    for channel, weight in enumerate(_LUMINANCE):
        grey += pixels[..., channel] * np.uint16(weight)
    return (grey >> 8).astype(np.uint8)


def alike(first: Pixels, second: Pixels) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return how alike the structure of two images of each pair is, in [-1, 1], and whether the second is mirrored.

    It is the zero-mean normalised cross-correlation of their grey levels, which brightness and contrast do not change,
    the highest of all shifts up to `SHIFT` pixels and of both directions. An image that is flat is like none.

    Parameters
    ----------
    first, second : uint8 [n, S, S]
        Grey levels of the pairs; S of 32 is meant.
    """
    best, mirrored = np.zeros(len(first), np.float32), np.zeros(len(first), np.bool_)
    for start in range(0, len(first), _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        best[some], mirrored[some] = _alike(first[some], second[some])
    return best, mirrored


def _alike(first: Pixels, second: Pixels) -> tuple[Floats, npt.NDArray[np.bool_]]:
    inside = first.shape[1] - 2 * SHIFT
    own, flat = _normalised(first[:, SHIFT : SHIFT + inside, SHIFT : SHIFT + inside])
    found = []
    for other in (second, second[:, :, ::-1]):
        best = np.full(len(first), -np.inf, np.float32)
        for down in range(2 * SHIFT + 1):
            for right in range(2 * SHIFT + 1):
                moved, bare = _normalised(other[:, down : down + inside, right : right + inside])
                same = np.einsum("ij,ij->i", own, moved)
                np.maximum(best, np.where(flat | bare, 0, same), out=best)
        found.append(best)
    straight, mirrored = found
    return np.maximum(straight, mirrored), mirrored > straight


def _normalised(images: Pixels) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """Return images as rows of mean 0 and length 1, float32 [n, S * S], and which of them are flat."""
    rows = images.reshape(len(images), -1).astype(np.float32)
    rows -= rows.mean(axis=1, keepdims=True)
    lengths = np.sqrt(np.einsum("ij,ij->i", rows, rows))
    flat = lengths < FLAT * np.sqrt(rows.shape[1])
    rows /= np.where(flat, 1, lengths)[:, None]
    return rows, flat
