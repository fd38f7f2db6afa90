"""The cached images nearest to a row of the data set, or to a new image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np
from PIL import Image

from probeline.analysis.similar.index import ApproximateIndex
from probeline.data.pixels.loading import digest_item
from probeline.errors import BadOption
from probeline.evaluate.features import CachedFeatures
from probeline.extraction.engine import Engine
from probeline.extraction.new_images import embed_new_images
from probeline.images import ImageItems
from probeline.metrics.features.nearest import Nearest, nearest_rows
from probeline.names import MULTI_LABEL
from probeline.session import Session
from probeline.types import DROPPED, FloatArray

Item = bytes | Image.Image
"""An encoded image, or an opened one."""


@dataclass(frozen=True)
class SimilarImage:
    """A cached image that is near a query.

    Attributes
    ----------
    sample_id : str
        As the data set names it.
    part : str
    row : int
        Of the part, from 0.
    class_name : str or None
        Of its label, several labels or numbers by name; None without any.
    role : str or None
        ``train``, ``val`` or ``test``; None for an image that is in no split.
    distance : float
        Cosine distance of the features, 0 to 2.
    """

    sample_id: str
    part: str
    row: int
    class_name: str | None
    role: str | None
    distance: float

    @property
    def place(self) -> str:
        """``PART:ROW``, as ``probeline show`` takes it."""
        return f"{self.part}:{self.row}"


class CachedImages:
    """All images of a data set by the cached features of one backbone at one tap; they are read at the first search.

    Images that are in no split are among them. Nothing is extracted.
    """

    def __init__(self, features: CachedFeatures) -> None:
        self.features = features
        self.session = features.session
        self.parts = features.session.parts()

    def __getstate__(self) -> dict[str, Any]:
        """Return what a pickle holds: what is searched, without features and net, which are read again at need."""
        return {"features": self.features, "session": self.session, "parts": self.parts}

    def __len__(self) -> int:
        return sum(len(self.session.dataset.parts[part]) for part in self.parts)

    @cached_property
    def blocks(self) -> list[FloatArray]:
        """The features float32 [N, D] of each part.

        Raises
        ------
        MissingData
            They are not extracted yet.
        BadCache, Mismatch
        """
        session, blocks = self.session, []
        for part in self.parts:
            taps = [session.features(tap, part).features for tap in self.features.taps]
            blocks.append(taps[0] if len(taps) == 1 else np.concatenate(taps, axis=1))
        self.features.check_canary()
        return blocks

    def number(self, part: str, row: int) -> int:
        """Return the number of a row, counted through all parts."""
        return self._starts[self.parts.index(part)] + row

    def by_rows(self, numbers: Sequence[int], k: int, *, approximate: bool = False) -> list[list[SimilarImage]]:
        """Return for each row, by its number, the k images nearest to it, without itself, the nearest first."""
        queries = np.stack([self._row(number) for number in numbers])
        return self._search(queries, k, numbers, approximate)

    def by_images(
        self, items: Sequence[Item], names: Sequence[str], k: int, *, approximate: bool = False
    ) -> list[list[SimilarImage]]:
        """Return for each new image the k cached images nearest to it, the nearest first.

        Parameters
        ----------
        items : sequence of bytes or PIL images
            They go through exactly the decoding, the preprocessing and the net of the cached features.
        names : sequence of str
            What messages call them.
        k : int
        approximate : bool
            Whether an index is searched, which misses some of them; it is built at the first such search.

        Raises
        ------
        BadOption
            The features are embeddings from elsewhere, for which there is no net.
        BadData
            An image cannot be read.
        MissingData, MissingExtra, BadCache, Mismatch
        """
        self.require_net(names[0])
        _ = self.blocks  # before a net is built
        content = tuple(digest_item(item, name) for item, name in zip(items, names, strict=True))
        images = ImageItems(items.__getitem__, content, names, self.session.decoding)
        precision = self.session.settings.nets.precision
        queries = embed_new_images(self._engine, self.features.taps, images, precision)
        return self._search(queries, k, [None] * len(queries), approximate)

    def require_net(self, name: str) -> None:
        """Raise BadOption if the features are embeddings from elsewhere, whose net is not known."""
        if not self.session.has_images:
            raise BadOption(
                "no new image can be compared with embeddings from elsewhere, whose net is not known",
                where=name,
                expected="a row, [PART:]ROW",
            )

    def _search(
        self, queries: FloatArray, k: int, own: Sequence[int | None], approximate: bool
    ) -> list[list[SimilarImage]]:
        if approximate:
            pairs = zip(queries, own, strict=True)
            return [self._describe(self._index.nearest(query, k, number)) for query, number in pairs]
        return [self._describe(found) for found in nearest_rows(self.blocks, queries, k, own)]

    @cached_property
    def _index(self) -> ApproximateIndex:
        return ApproximateIndex(self.blocks)

    @cached_property
    def _engine(self) -> Engine:
        return Engine(self.session, *self.features.taps)

    @cached_property
    def _starts(self) -> list[int]:
        sizes = [len(self.session.dataset.parts[part]) for part in self.parts]
        return [0, *accumulate(sizes)]

    def locate(self, number: int) -> tuple[str, int]:
        """Return the part and the row of a number."""
        place = int(np.searchsorted(self._starts, number, "right")) - 1
        return self.parts[place], number - self._starts[place]

    def _row(self, number: int) -> FloatArray:
        part, row = self.locate(number)
        features: FloatArray = self.blocks[self.parts.index(part)][row]
        return features

    @cached_property
    def _roles(self) -> dict[tuple[str, int], str]:
        if not self.session.dataset.has_labels:
            return {}
        splits = self.session.splits
        roles = (splits.train, splits.val, splits.test)
        return {(split.part, row): split.role for split in roles for row in split.rows.tolist()}

    def _describe(self, found: Nearest) -> list[SimilarImage]:
        images = []
        for number, distance in zip(found.rows.tolist(), found.distances.tolist(), strict=True):
            name, row = self.locate(number)
            part, role = self.session.dataset.parts[name], self._roles.get((name, row))
            images.append(SimilarImage(part.sample_ids[row], name, row, self.label(name, row), role, distance))
        return images

    def label(self, part: str, row: int) -> str | None:
        """Return the class of a row, its labels, or its numbers by name; None if it has none."""
        dataset = self.session.dataset
        if dataset.targets is not None:
            pairs = zip(dataset.targets.names, dataset.targets.by_part[part][row].tolist(), strict=True)
            known = [(name, value) for name, value in pairs if value == value]
            if dataset.targets.task == MULTI_LABEL:
                return ", ".join(name for name, value in known if value) or None
            return ", ".join(f"{name} {value:g}" for name, value in known) or None
        number = int(dataset.parts[part].labels[row])
        return None if number == DROPPED else dataset.class_names[number]


def one_feature_set(session: Session) -> CachedFeatures:
    """Return the features of the one backbone at the one tap that the settings name, without augmented views.

    Raises
    ------
    BadOption
        They name several.
    """
    plain = session.without_views()
    named = plain.settings.nets.backbones
    if len(named) > 1:
        raise BadOption("one backbone at a time", where="--backbone", got=" ".join(named), remedy="name one of them")
    taps, _ = plain.taps(named[0])
    if len(taps) > 1:
        got = " ".join("+".join(tap.tap for tap in together) for together in taps)
        raise BadOption("one tap at a time", where="--tap", got=got, remedy="name one of them, or join them by +")
    return CachedFeatures(plain, *taps[0])
