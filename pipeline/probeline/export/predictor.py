"""A predictor in memory: images in; classes, calibrated probabilities and neighbours out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from probeline.backbones.device import decoding_threads, exact_float32
from probeline.backbones.frozen import Frozen
from probeline.data.pixels.loading import ordered
from probeline.errors import BadData, Diverged
from probeline.export.artifact.record import Artifact
from probeline.export.images import crop_of, iterate_images
from probeline.export.train_rows import TrainRows
from probeline.files.reading import memory_bytes
from probeline.images import PixelArray
from probeline.metrics.scores import chances
from probeline.types import BoolArray, DoubleArray, FloatArray, IntArray

if TYPE_CHECKING:
    from probeline.export.images import Picture

_CPU_BATCH, _GPU_BATCH = 16, 256
"""Images per forward pass, as in extraction, or fewer if their passes would not fit into `_SHARE` of the memory."""

_SHARE = 4

NOT_FINITE = "the predictor's output is not finite"

Item = TypeVar("Item")
Rest = TypeVar("Rest")


@dataclass(frozen=True)
class Neighbour:
    """A train image that is near a new one.

    Attributes
    ----------
    sample_id : str
        As the data set names it.
    class_name : str
        Of its label.
    distance : float
        Cosine distance of the features, 0 to 2.
    """

    sample_id: str
    class_name: str
    distance: float


@dataclass(frozen=True, eq=False)
class Predictions:
    """A predictor's answer for n images.

    Attributes
    ----------
    class_names : tuple of str [K]
    predicted : int64 [n]
        Index of the likeliest class; of equals the lower.
    probabilities : float64 [n, K]
        Calibrated: the softmax of the logits over the temperature.
    logits : float32 [n, K]
        As the head gives them.
    neighbours : tuple of tuples of Neighbour [n]
        The nearest train images, nearest first; empty if the predictor has no train images.
    distances : float32 [n]
        To the k-th nearest train image; NaN if the predictor has none.
    unlike : bool [n]
        Whether that is farther than nearly all train images are from theirs; False if the predictor has none.
    """

    class_names: tuple[str, ...]
    predicted: IntArray
    probabilities: DoubleArray
    logits: FloatArray
    neighbours: tuple[tuple[Neighbour, ...], ...]
    distances: FloatArray
    unlike: BoolArray

    def __len__(self) -> int:
        return len(self.predicted)

    @property
    def classes(self) -> tuple[str, ...]:
        """The name of the likeliest class of each image."""
        return tuple(self.class_names[i] for i in self.predicted)

    def top(self, i: int, k: int) -> list[tuple[str, float]]:
        """Return the k likeliest classes of image i with their probabilities, the likeliest first."""
        order = (-self.probabilities[i]).argsort(kind="stable")[:k]
        return [(self.class_names[j], float(self.probabilities[i, j])) for j in order]

    def one(self, i: int) -> Predictions:
        """Return the predictions of image i alone."""
        fields = {name: value[i : i + 1] for name, value in vars(self).items() if name != "class_names"}
        return replace(self, **fields)


@dataclass(frozen=True)
class Outputs:
    """Logits float32 [b, K] and features float32 [b, D] of a batch, on the device."""

    logits: Tensor
    features: Tensor

    @property
    def finite(self) -> BoolArray:
        """Of which images all logits and features are: bool [b]."""
        finite: Tensor = self.logits.isfinite().all(1) & self.features.isfinite().all(1)
        return finite.cpu().numpy()

    def check(self) -> None:
        """Refuse what is not finite.

        Raises
        ------
        Diverged
        """
        if not self.finite.all():
            raise Diverged(NOT_FINITE, remedy="use --precision fp32")

    def of(self, images: BoolArray) -> Outputs:
        """Return those of selected images, bool [b]."""
        selected = torch.from_numpy(images).to(self.logits.device)
        return Outputs(self.logits[selected], self.features[selected])


class Predictor:
    """Classifies images by an exported artifact or by a stock net; :func:`probeline.load` returns one.

    Parameters
    ----------
    artifact : Artifact
    net : Frozen
    head : nn.Module, optional
        On the net's features; None if the head is a part of the net.
    rows : TrainRows, optional
    image_bytes : int
        About how much memory a pass of one image takes on a CPU.

    Attributes
    ----------
    artifact : Artifact
        Its record: classes, temperature, preprocessing, and what was measured.
    """

    def __init__(
        self, artifact: Artifact, net: Frozen, head: nn.Module | None, rows: TrainRows | None, image_bytes: int
    ) -> None:
        self.artifact = artifact
        self.net = net
        crop = 3 * artifact.preprocess.crop**2
        # Elsewhere only pixels are on this machine: each as a crop and as a part of its batch.
        self._image_bytes = max(image_bytes if net.device.type == "cpu" else 0, 2 * crop)
        self.head = None if head is None else head.to(net.device)
        self._rows = None if rows is None else replace(rows, unit=rows.unit.to(net.device))

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes, in the order of the logits."""
        return self.artifact.classes

    @property
    def knows_unlike(self) -> bool:
        """Whether it has train images, so that it can flag images that are unlike them."""
        return self._rows is not None

    def predict(self, images: Picture | Iterable[Picture], *, nearest: int = 3) -> Predictions:
        """Return the predictions of images.

        Parameters
        ----------
        images : one image, or an iterable of them
            Each a path, a PIL image, an array uint8 [H, W, 3] (RGB) or a tensor uint8 [3, H, W]; a batch of arrays or
            tensors may be one of four axes. They are cropped and resized as in training, whatever their size.
        nearest : int
            How many neighbours are returned per image.

        Raises
        ------
        BadData
            Something is no image, or of another kind than the predictor takes; nothing is predicted then.
        Diverged
            An output of the net is not finite.
        """
        parts = []
        for batch in _batches(iterate_images(images), self._batch_size(threads=1)):
            outputs = self.outputs(np.stack([crop_of(picture, self.artifact.preprocess) for picture in batch]))
            outputs.check()
            parts.append(self.answers(outputs, nearest=nearest))
        return _concatenate(parts or [self._empty()])

    def stream(
        self,
        paths: Iterable[str | None],
        *,
        nearest: int = 3,
        batch_size: int | None = None,
        workers: int | None = None,
    ) -> Iterator[tuple[str, Predictions | BadData]]:
        """Yield each path, in order, with the predictions of its image, or why it has none.

        Only as many paths are taken at a time as threads can be busy with: memory stays bounded however many come.

        Parameters
        ----------
        paths : iterable of str
            None says that the next path may be long in coming: those before it are predicted first.
        nearest : int
        batch_size : int, optional
            Images per forward pass; by default it depends on the device and, for large images, on the memory.
        workers : int, optional
            Threads that decode, and on a CPU run the net; by default torch's number of threads on a CPU, and elsewhere
            that of processors. They are fewer if their passes would take more than a quarter of the memory of this
            machine.
        """
        preprocess = self.artifact.preprocess

        def load(batch: tuple[str, ...]) -> tuple[PixelArray, list[BadData | None]]:
            crops: list[PixelArray] = []
            errors: list[BadData | None] = []
            for path in batch:
                try:
                    crops.append(crop_of(path, preprocess))
                    errors.append(None)
                except BadData as error:
                    errors.append(error)
            side = preprocess.crop
            return np.stack(crops) if crops else np.empty((0, side, side, 3), np.uint8), errors

        threads = decoding_threads(self.net.device, workers)
        size = batch_size or self._batch_size(threads)
        threads = min(threads, max(1, self._images_at_once() // size))
        for batch, errors, outputs in self.run(load, _batches_until_none(paths, size), threads):
            finite = np.empty(0, np.bool_) if outputs is None else outputs.finite
            predictions = self._empty() if outputs is None else self.answers(outputs.of(finite), nearest=nearest)
            are_finite, images = iter(finite), map(predictions.one, range(len(predictions)))
            for path, error in zip(batch, errors, strict=True):
                if error is not None:
                    yield path, error
                elif next(are_finite):
                    yield path, next(images)
                else:
                    yield path, BadData(NOT_FINITE, where=path, remedy="use a predictor of --precision fp32")

    def run(
        self,
        load: Callable[[Item], tuple[PixelArray, Rest]],
        batches: Iterable[Item | None],
        workers: int | None = None,
    ) -> Iterator[tuple[Item, Rest, Outputs | None]]:
        """Yield each batch with its outputs, in order; None if it has no pixels.

        On a CPU each thread loads a batch and runs it with one core; elsewhere threads load ahead of the device.

        Parameters
        ----------
        load : callable
            Returns pixels uint8 [b, crop, crop, 3] of a batch, and a value that is yielded with its outputs.
        batches : iterable
            For None see :func:`probeline.data.pixels.loading.ordered`.
        workers : int, optional
        """
        on_cpu, before = self.net.device.type == "cpu", torch.get_num_threads()

        def load_and_run(item: Item) -> tuple[PixelArray, Rest, Outputs | None]:
            pixels, rest = load(item)
            return pixels, rest, self.outputs(pixels) if on_cpu and len(pixels) else None

        try:
            use_one_core = (lambda: torch.set_num_threads(1)) if on_cpu else None
            threads = decoding_threads(self.net.device, workers)
            results = ordered(load_and_run, batches, threads, initializer=use_one_core)
            for item, (pixels, rest, outputs) in results:
                yield item, rest, self.outputs(pixels) if len(pixels) and outputs is None else outputs
        finally:
            torch.set_num_threads(before)

    def outputs(self, pixels: PixelArray) -> Outputs:
        """Return logits and features of crops uint8 [b, crop, crop, 3].

        Raises
        ------
        OutOfMemory
        """
        classes = len(self.artifact.classes)
        with exact_float32(self.artifact.net.precision), torch.inference_mode():
            features = self.net.embed(torch.from_numpy(pixels))
            if self.head is None:  # then the net's own logits come first
                return Outputs(features[:, :classes], features[:, classes:])
            return Outputs(self.head(features), features)

    def answers(self, outputs: Outputs, *, nearest: int) -> Predictions:
        """Return the predictions of images from their outputs."""
        logits = outputs.logits.cpu().numpy()
        shares = chances(logits, self.artifact.temperature)
        if not np.isfinite(shares).all():
            raise Diverged(NOT_FINITE, remedy="export the predictor again")
        names, n, rows = self.artifact.classes, len(logits), self._rows
        neighbours: tuple[tuple[Neighbour, ...], ...] = ((),) * n
        kth, unlike = np.full(n, np.nan, np.float32), np.zeros(n, np.bool_)
        if rows is not None:
            with torch.inference_mode():
                indices, distances, kth = rows.search(outputs.features, nearest)
            unlike = kth > rows.threshold
            neighbours = tuple(
                tuple(
                    Neighbour(rows.sample_ids[i], names[rows.labels[i]], float(distance))
                    for i, distance in zip(*pair, strict=True)
                )
                for pair in zip(indices, distances, strict=True)
            )
        return Predictions(
            class_names=names,
            predicted=logits.argmax(1),
            probabilities=shares,
            logits=logits,
            neighbours=neighbours,
            distances=kth,
            unlike=unlike,
        )

    def _empty(self) -> Predictions:
        """Return the predictions of no image."""
        net = self.artifact.net
        return self.answers(Outputs(torch.empty(0, len(self.class_names)), torch.empty(0, net.features)), nearest=0)

    def _batch_size(self, threads: int) -> int:
        """Return how many images make a batch, so that a batch on each of some threads does not take all memory."""
        usual = _CPU_BATCH if self.net.device.type == "cpu" else _GPU_BATCH
        return max(1, min(usual, self._images_at_once() // threads))

    def _images_at_once(self) -> int:
        return memory_bytes() // (_SHARE * self._image_bytes)


def _batches(items: Iterable[Item], size: int) -> Iterator[tuple[Item, ...]]:
    following = iter(items)
    while batch := tuple(islice(following, size)):
        yield batch


def _batches_until_none(paths: Iterable[str | None], size: int) -> Iterator[tuple[str, ...] | None]:
    """Yield batches of `size` paths; a None ends the batch before it, and is yielded as well."""
    batch: list[str] = []
    for path in paths:
        if path is not None:
            batch.append(path)
        if batch and (path is None or len(batch) == size):
            yield tuple(batch)
            batch = []
        if path is None:
            yield None
    if batch:
        yield tuple(batch)


def _concatenate(parts: list[Predictions]) -> Predictions:
    arrays: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("predicted", "probabilities", "logits", "distances", "unlike")
    }
    return replace(parts[0], neighbours=tuple(chain.from_iterable(part.neighbours for part in parts)), **arrays)
