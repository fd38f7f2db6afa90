"""What an exported predictor must reproduce: the score's predictions, from cached features and from pixels."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from probeline.data.pixels.decode import resize_crop
from probeline.data.pixels.loading import Unreadable, read_batch
from probeline.data.sampling.stratified import shuffled
from probeline.errors import Mismatch
from probeline.evaluate.features import CachedFeatures
from probeline.export.modules import Votes
from probeline.extraction.canary import TOLERANCE
from probeline.images import PixelArray
from probeline.results.score import Score
from probeline.session import Session
from probeline.types import BoolArray, FloatArray, IntArray, Split

if TYPE_CHECKING:
    from probeline.export.predictor import Predictor

_PROVEN = 64
"""Test images that are recomputed from pixels if the head was fitted on cached features."""

_PURPOSE = 5001
"""Of the random order that chooses them; see `shuffled`."""

_BATCH = 16

_CHUNK = 256
"""Rows of features that go through a head at a time."""

_ROUNDING, _DRIFT = 1e-5, 1e-4
"""Differences of cosines that a sum in another order may make, and that features of another program may.

A product of unit rows of D = 4,096 sums to within about sqrt(D) 2**-24 = 4e-6; a graph's features differ from the
pipeline's by some 1e-6 of their largest, and `TOLERANCE` of graphs is 1e-4.
"""


@dataclass(frozen=True)
class Proof:
    """Features of all test images float32 [n_test, D]; crops uint8 [n, S, S, 3] and logits float32 [n, K] of some."""

    features: FloatArray
    pixels: PixelArray
    logits: FloatArray
    summary: str


class ImageReader:
    """Features and logits of the data set's own images by the exported net and head; cached features are used."""

    def __init__(self, session: Session, predictor: Predictor, cached: CachedFeatures | None) -> None:
        self._session, self._predictor, self._cached = session, predictor, cached

    def read(self, split: Split) -> tuple[FloatArray, FloatArray]:
        """Return features float32 [n, D] and logits float32 [n, K] of a split's images, not augmented."""
        if self._cached is None:
            return self.read_pixels(split)
        features, head = self._cached.load_raw(split), self._predictor.head
        if head is None:
            raise ValueError("a head on cached features is not part of its net")
        with torch.inference_mode():
            logits = [head(chunk.to(self._predictor.net.device)).cpu().numpy() for chunk in _chunks(features)]
        return features, np.concatenate(logits)

    def read_pixels(self, split: Split) -> tuple[FloatArray, FloatArray]:
        """Return features and logits computed from pixels."""
        compute, console = self._session.settings.compute, self._session.console
        size = compute.batch_size or _BATCH
        batches = [split.rows[start : start + size] for start in range(0, len(split), size)]
        features, logits = [], []

        def load(rows: IntArray) -> tuple[PixelArray, None]:
            return self._crops(split, rows), None

        with console.bar(f"export: {split.role} images", len(split), "img") as bar:
            for rows, _, outputs in self._predictor.run(load, batches, compute.workers):
                if outputs is None:
                    raise ValueError("a batch without images")
                outputs.check()
                features.append(outputs.features.cpu().numpy())
                logits.append(outputs.logits.cpu().numpy())
                bar.update(len(rows))
        return np.concatenate(features), np.concatenate(logits)

    def prove(self, score: Score) -> Proof:
        """Compare the predictions of all test images with the score's, and of some from their pixels.

        Raises
        ------
        Mismatch
            Predictions are not the score's, or features from pixels are not those of the cache.
        """
        test = self._session.splits.test
        features, logits = self.read(test)
        differing = check_predictions(self._session, score, logits, undecided(self._predictor.head, features))
        chosen = np.sort(shuffled(len(test), 0, _PURPOSE)[:_PROVEN])
        sample = replace(test, rows=test.rows[chosen])
        pixels = self._crops(sample, sample.rows)
        count = f"all {len(test):,}" if not differing else f"all but {differing:,} of {len(test):,}"
        summary = f"predictions match the report on {count} test images"
        if self._cached is None:
            return Proof(features, pixels, logits[chosen], f"{summary}, computed from their pixels")
        again, from_pixels = self.read_pixels(sample)
        scale = np.maximum(np.abs(features[chosen]).max(1), np.finfo(np.float32).tiny)
        worst = float((np.abs(again - features[chosen]).max(1) / scale).max())
        allowed = TOLERANCE[self._session.settings.nets.precision]
        if not worst <= allowed:
            raise Mismatch(
                "features of test images computed from their pixels differ from the cached ones",
                expected=f"differences of at most {allowed:.2g} of a row's largest value",
                got=f"{worst:.2g}",
                remedy="nothing is written; probeline verify looks for the cause",
            )
        decided = decided_images(self._predictor.head, features[chosen])
        difference = np.abs(from_pixels - logits[chosen])[decided].max()
        why = ", whose nearest neighbours depend on rounding" if differing else ""
        summary += (
            f"{why}; recomputed from pixels, the logits of {decided.sum()} of them differ by {difference:.1e} at most"
        )
        return Proof(features, pixels, from_pixels, summary)

    def _crops(self, split: Split, rows: IntArray) -> PixelArray:
        preprocess = self._predictor.artifact.preprocess
        images = self._session.dataset.images[split.part]
        pixels = read_batch(images, rows, lambda image, _: resize_crop(image, preprocess), preprocess)
        if isinstance(pixels, Unreadable):
            raise pixels.errors[0]
        return pixels


def _chunks(features: FloatArray) -> Iterator[Tensor]:
    """Yield features float32 [n, D] in chunks: a vote compares each row of a chunk with all train rows."""
    for start in range(0, len(features), _CHUNK):
        yield torch.from_numpy(np.array(features[start : start + _CHUNK]))


def undecided(head: nn.Module | None, features: FloatArray, slack: float = _ROUNDING) -> BoolArray | None:
    """Return for which features float32 [n, D] rounding decides which neighbours vote, bool [n]; None for layers."""
    if not isinstance(head, Votes):
        return None
    with torch.inference_mode():
        device = head.rows.device
        return np.concatenate([head.undecided(chunk.to(device), slack).cpu().numpy() for chunk in _chunks(features)])


def decided_images(head: nn.Module | None, features: FloatArray) -> BoolArray:
    """Return for which features float32 [n, D] another program must give the same logits: bool [n], not all False.

    Raises
    ------
    Mismatch
        For none: then nothing would be proven.
    """
    open_votes = undecided(head, features, _DRIFT)
    if open_votes is None:
        return np.ones(len(features), np.bool_)
    if open_votes.all():
        raise Mismatch(
            "rounding decides the nearest neighbours of every image that was tried, so that nothing can be proven",
            remedy="choose another row",
        )
    return ~open_votes


def check_predictions(session: Session, score: Score, logits: FloatArray, open_votes: BoolArray | None) -> int:
    """Refuse logits float32 [n_test, K] that predict other classes than the score, except where rounding may decide.

    For layers rounding decides between logits that are nearly equal; for votes, which are whole numbers, on the images
    of `open_votes`, bool [n_test]. Returns how many of those are predicted otherwise.

    Raises
    ------
    Mismatch
    """
    test = session.splits.test
    predicted, scored = logits.argmax(1), np.array(score.predictions)
    differs = _differs_clearly(score, logits) if open_votes is None else predicted != scored
    bad = np.flatnonzero(differs if open_votes is None else differs & ~open_votes)
    if len(bad):
        part, names = session.dataset.parts[test.part], score.class_names
        examples = [f"{part.sample_ids[test.rows[i]]} {names[predicted[i]]}, not {names[scored[i]]}" for i in bad[:5]]
        raise Mismatch(
            f"predictions of {len(bad)} of {len(predicted)} test images differ from the score of {score.method}",
            where="; ".join(examples) + ("; ..." if len(bad) > len(examples) else ""),
            remedy="nothing is written; remove the score and run its stage again here",
        )
    return int(differs.sum())


def _differs_clearly(score: Score, logits: FloatArray) -> BoolArray:
    """Return which logits float32 [n, K] are of another class than the score's by more than rounding: bool [n]."""
    predicted, scored, rows = logits.argmax(1), np.array(score.predictions), np.arange(len(logits))
    # Rounding scales with the terms of a logit, which may be small itself: so with the size of most logits.
    size = np.abs(logits).max(1)
    with np.errstate(invalid="ignore"):  # a margin that is not finite counts as a clear difference
        margin = (logits[rows, predicted] - logits[rows, scored]) / np.maximum(np.maximum(size, np.median(size)), 1e-30)
    within: BoolArray = margin <= TOLERANCE[score.precision]
    return ~within
