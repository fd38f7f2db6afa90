"""Perceptual hashes of images, and the images whose hashes are near: whole images compared by a few bits.

The hash is pHash's: the signs of the low frequencies of a small grey image relative to their median. Another encoding,
size, brightness or contrast changes few of its bits; two images have about half of them in common. C. Zauner 2010,
"Implementation and benchmarking of perceptual image hash functions", master's thesis, Upper Austria University of
Applied Sciences, section 3.2.1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.fft import dctn

from probeline.images import PixelArray
from probeline.types import HashArray, IntArray

_FREQUENCIES = 8
"""Of each direction; the lowest of all, the mean, is not used: 63 bits."""

_BLOCK = 1024
"""Images that are hashed at once."""

_PAIRS = 1 << 17
"""Hashes that are compared at once: what a processor's cache holds."""


class Hashes(NamedTuple):
    """Hashes of n images uint64 [n], as they are and mirrored."""

    straight: HashArray
    mirrored: HashArray

    def take(self, rows: IntArray) -> Hashes:
        """Return the hashes of some images, int64 [m]."""
        return Hashes(self.straight[rows], self.mirrored[rows])


class NearHashes(NamedTuple):
    """Pairs of images whose hashes are near."""

    pairs: IntArray
    """int64 [p, 2]: a query and an image, by their indices."""
    crowded: IntArray
    """int64 [c]: the queries that more images are near to than were kept."""


def hash_images(grey: PixelArray) -> Hashes:
    """Return the hashes of square grey images uint8 [n, S, S]."""
    # A mirrored image has the same frequencies, those of odd number along a row with the other sign.
    signs = np.where(np.arange(_FREQUENCIES) % 2, -1, 1).astype(np.float32)
    hashes = Hashes(*(np.empty(len(grey), np.uint64) for _ in Hashes._fields))
    for start in range(0, len(grey), _BLOCK):
        block = slice(start, start + _BLOCK)
        low = dctn(grey[block].astype(np.float32), axes=(1, 2))[:, :_FREQUENCIES, :_FREQUENCIES]
        for hashed, frequencies in zip(hashes, (low, low * signs), strict=True):
            values = frequencies.reshape(len(low), -1)
            bits = values > np.median(values[:, 1:], axis=1, keepdims=True)
            bits[:, 0] = False
            hashed[block] = np.packbits(bits, axis=1).view(np.uint64)[:, 0]
    return hashes


def near_hashes(
    hashes: Hashes, queries: Hashes, own: IntArray, radius: int, most: int, advance: Callable[[int], object]
) -> NearHashes:
    """Return for each query up to `most` images within a Hamming distance, mirrored or not: the nearest ones.

    Of equally near images the first comes first. All pairs are compared, in blocks; how long that takes depends neither
    on the bits nor on how many are near, and is a twelfth of a search for neighbours by 1,280 features.

    Parameters
    ----------
    hashes : Hashes
        Of n images.
    queries : Hashes
        Of m images.
    own : int64 [m]
        Index in `hashes` of each query, which is not near itself; -1 if it is not among them.
    radius : int
        The largest distance in bits.
    most : int
        Images that are kept of each query.
    advance : callable
        Called with the number of queries since the last call.
    """
    found, crowded = [np.empty((0, 2), np.int64)], [np.empty(0, np.int64)]
    size = max(1, _PAIRS // max(1, len(hashes.straight)))
    for start in range(0, len(own), size):
        block = slice(start, start + size)
        straight, mirrored = (
            np.bitwise_count(hashes.straight ^ bits[block, None]) for bits in (queries.straight, queries.mirrored)
        )
        distances = np.minimum(straight, mirrored)
        listed = np.flatnonzero(own[block] >= 0)
        near = distances <= radius
        near[listed, own[block][listed]] = False
        full = np.flatnonzero(near.sum(axis=1) > most)
        for row in full.tolist():
            others = np.flatnonzero(near[row])
            near[row, others[np.argsort(distances[row, others], kind="stable")[most:]]] = False
        found.append(np.argwhere(near) + np.array([start, 0]))
        crowded.append(start + full)
        advance(len(near))
    return NearHashes(np.concatenate(found), np.concatenate(crowded))
