"""The images of a data set as the doctor examines them: labels, features, nearest neighbours and grey levels."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

import numpy as np

from probeline.analysis.duplicates import has_structure, to_grey
from probeline.analysis.perceptual_hash import NearHashes, hash_images, near_hashes
from probeline.data.pixels.inspection import inspect_images
from probeline.environment import cores
from probeline.evaluate.features import CachedFeatures
from probeline.heads.neighbours import nearest
from probeline.identity import digest_bytes
from probeline.images import PixelArray
from probeline.metrics.features.rows import unit_rows
from probeline.results.findings import ImageReference
from probeline.session import Session
from probeline.types import Backbone, BoolArray, FloatArray, IntArray, Split

NEIGHBOURS = 10
"""Nearest images that each image is compared with: for duplicates, for its label and for its distance."""

_BLOCK = 4096
"""Images whose neighbours are searched at once."""


class Neighbours(NamedTuple):
    """The nearest images of m images, the nearest first: indices int64 [m, k] and cosines float32 [m, k]."""

    indices: IntArray
    cosines: FloatArray


class ExaminedImages:
    """All N images of train, val and test, in this order; an index below is a position in it.

    Those of train and val are the known ones, `n_known` in number. `roles`, int64 [N], are indices into `splits`.
    """

    def __init__(self, session: Session, backbone: Backbone) -> None:
        self.session, self.backbone = session, backbone
        self.cached = CachedFeatures(session, backbone)
        self.fit_device = self.cached.fit_device()
        self.splits: tuple[Split, ...] = (session.splits.train, session.splits.val, session.splits.test)
        self.counts: dict[str, int] = {split.role: len(split) for split in self.splits}
        self.n_known = len(self.splits[0]) + len(self.splits[1])
        self.roles = np.repeat(np.arange(len(self.splits)), [len(split) for split in self.splits])
        self.labels = np.concatenate([session.dataset.parts[split.part].labels[split.rows] for split in self.splits])
        self._rows = np.concatenate([split.rows for split in self.splits])

    def __len__(self) -> int:
        return len(self.labels)

    def name(self, index: int) -> str:
        """Return ``PART:ROW`` of an image."""
        return f"{self._split(index).part}:{self._rows[index]}"

    def reference(self, index: int) -> ImageReference:
        """Return how a finding refers to an image."""
        split, row = self._split(index), int(self._rows[index])
        sample_id = self.session.dataset.parts[split.part].sample_ids[row]
        return ImageReference(self.name(index), sample_id, split.role, int(self.labels[index]))

    def content(self) -> list[str]:
        """Return the content hash of every image, or of the features if there are no images."""
        if not self.session.has_images:
            return [digest_bytes(row.tobytes()) for row in self.features]
        parts = self.session.dataset.parts
        return [parts[split.part].content[row] for split in self.splits for row in split.rows.tolist()]

    def count_by_role(self, flags: BoolArray) -> dict[str, int]:
        """Return how many images of each role are flagged, bool [N]."""
        return {role: int(flags[self.roles == number].sum()) for number, role in enumerate(self.counts)}

    def _split(self, index: int) -> Split:
        return self.splits[int(self.roles[index])]

    @cached_property
    def features(self) -> FloatArray:
        """The features float32 [N, D] as the net gives them."""
        return np.concatenate([self.cached.load_raw(split) for split in self.splits])

    @cached_property
    def neighbours(self) -> tuple[Neighbours, Neighbours | None]:
        """The nearest known images to every image, and the nearest test images to every test image.

        An image is not its own neighbour. The second is None if there are fewer than two test images.
        """
        n_known = self.n_known
        X = self.features - self._centre
        own = np.full(len(X), -1)
        own[:n_known] = np.arange(n_known)
        test = X[n_known:]
        with self.session.console.bar("neighbours", len(X) + len(test), "image") as bar:
            known = _search(X[:n_known], X, own, bar.update)
            if len(test) < 2:
                return known, None
            among_test = _search(test, test, np.arange(len(test)), bar.update)
            return known, Neighbours(n_known + among_test.indices, among_test.cosines)

    @cached_property
    def _centre(self) -> FloatArray:
        """The mean features of the known images, float32 [D]."""
        mean: FloatArray = self.features[: self.n_known].mean(axis=0, dtype=np.float64).astype(np.float32)
        return mean

    def cosines(self, pairs: IntArray) -> FloatArray:
        """Return the cosine of the centred features of each pair, float32 [p] of pairs int64 [p, 2]."""
        cosines = np.empty(len(pairs), np.float32)
        for start in range(0, len(pairs), _BLOCK):
            block = slice(start, start + _BLOCK)
            first, second = (unit_rows(self.features[pairs[block, end]] - self._centre) for end in (0, 1))
            cosines[block] = np.einsum("ij,ij->i", first, second)
        return cosines

    def near_hashes(self, radius: int) -> NearHashes:
        """Return pairs of images whose perceptual hashes differ in up to `radius` bits, as `neighbours` has them.

        Each image is near to at most `NEIGHBOURS` known ones, and each test image to as many of test. Flat images,
        which have no structure to compare, are left out.
        """
        grey, n_known = self.inspected[0], self.n_known
        rows = np.flatnonzero(has_structure(grey))
        hashes, known = hash_images(grey[rows]), int((rows < n_known).sum())
        every = np.arange(len(rows))
        with self.session.console.bar("comparing hashes", 2 * len(rows) - known, "image") as bar:
            to_known = near_hashes(
                hashes.take(every[:known]), hashes, np.where(every < known, every, -1), radius, NEIGHBOURS, bar.update
            )
            test = hashes.take(every[known:])
            in_test = near_hashes(test, test, every[: len(rows) - known], radius, NEIGHBOURS, bar.update)
        pairs = np.concatenate([to_known.pairs, in_test.pairs + known])
        crowded = np.union1d(to_known.crowded, in_test.crowded + known)
        return NearHashes(rows[pairs], rows[crowded])

    @cached_property
    def inspected(self) -> tuple[PixelArray, list[tuple[str, ...]]]:
        """The grey levels of small images uint8 [N, S, S], and which conversions the decoding of each image needed."""
        settings = self.session.settings
        grey: list[PixelArray] = []
        decoding: list[tuple[str, ...]] = []
        threads = settings.compute.workers or cores()
        with settings.console.bar("inspecting", len(self), "image") as bar:
            for split in self.splits:
                images = self.session.dataset.images[split.part]
                inspected = inspect_images(images, split.rows, self.backbone.preprocess, threads, bar.update)
                grey.append(to_grey(inspected.thumbnails))
                decoding += inspected.helped
        return np.concatenate(grey), decoding


def _search(X: FloatArray, X_heldout: FloatArray, own: IntArray, advance: Callable[[int], object]) -> Neighbours:
    """Return the rows of X nearest to each other row; `own` is as :func:`probeline.heads.neighbours.nearest`'s."""
    blocks = []
    for start in range(0, len(X_heldout), _BLOCK):
        rows = slice(start, start + _BLOCK)
        blocks.append(nearest(X, X_heldout[rows], min(NEIGHBOURS, len(X) - 1), own=own[rows]))
        advance(len(blocks[-1][0]))
    return Neighbours(*(np.concatenate(arrays) for arrays in zip(*blocks, strict=True)))
