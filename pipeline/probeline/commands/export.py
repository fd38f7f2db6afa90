"""Export: one row of the report as a folder that answers for new pictures, proven before it is written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from probeline.data.pixels.decode import resize_crop
from probeline.data.pixels.loading import Unreadable, read_batch
from probeline.data.sampling.stratified import apportion, draw, shuffled
from probeline.disk import path_name
from probeline.errors import Mismatch
from probeline.export.build import Shipment, asked, shipment, taps_of
from probeline.export.chosen_row import chosen_row
from probeline.export.format import CARD, ONNX, PT2, RECORD, ROW_NAMES, ROWS, Artifact
from probeline.export.writing import check_free, there, write
from probeline.extract.canary import TOLERANCE
from probeline.identity import canonical
from probeline.names import Method
from probeline.results.score import Score
from probeline.session import Session
from probeline.types import BoolArray, FloatArray, IntArray, PixelArray, Split

if TYPE_CHECKING:
    from torch import Tensor, nn

    from probeline.export.predictor import Predictor

_PROVEN = 64
"""Test images that go from their pixels through what is to be written, where the head was fitted on cached features."""

_PURPOSE = 5000, 5001
"""Of the random orders that choose train rows and proven ones; see `shuffled`."""

_BATCH = 16

_PART = 256
"""Rows of features that meet a head at a time."""

_ROUNDING, _DRIFT = 1e-5, 1e-4
"""Differences of cosines that a sum in another order may make, and that features of another program may.

A product of unit rows of D = 4,096 sums to within about sqrt(D) 2**-24 = 4e-6; a graph's features differ from the
pipeline's by some 1e-6 of their largest, and `TOLERANCE` of graphs is 1e-4.
"""


def run(session: Session) -> dict[str, Any]:
    """Write the row that is asked for as an artifact, unless it is there, and return where.

    What is to be written is read back first, and must say of the test images what the score says.

    Raises
    ------
    Mismatch
        It says something else.
    BadOption, MissingData, MissingExtra
    ProbelineError
    """
    settings = session.settings
    graphs = tuple(name for name, wanted in ((PT2, settings.export.pt2), (ONNX, settings.export.onnx)) if wanted)
    if settings.export.onnx:
        from probeline.export.graph import check_onnx

        check_onnx()
    score = chosen_row(session, "export")
    folder = settings.export.out or session.reports / "artifacts" / _name(score)
    check_free(folder)
    key = asked(score, settings.export.train_rows, graphs)
    if found := there(folder, key):
        settings.console.say(f"export: it is there, in {folder}")
        return _told(folder, found)
    return _told(folder, _exported(session, score, folder, key, graphs))


def _name(score: Score) -> str:
    at = "" if score.tap == "penultimate" else f"-{path_name(score.tap)}"
    seed = "" if score.seed is None else f"-seed{score.seed}"
    return f"{path_name(score.backbone)}{at}-{score.method}{seed}-{score.key[:12]}"


def _told(folder: Path, artifact: Artifact) -> dict[str, Any]:
    told = artifact.measured
    return {
        "artifact": str(folder),
        "files": [RECORD, *sorted(artifact.files)],
        **{name: told[name] for name in ("backbone", "weights", "tap", "method", "seed", "top1", "key")},
        "interval": list(told["interval"]),
    }


def _exported(session: Session, score: Score, folder: Path, key: str, graphs: Sequence[str]) -> Artifact:
    from probeline.export.card import card
    from probeline.export.loading import assemble

    settings = session.settings
    made = shipment(session, score, taps_of(session, score), key)
    predictor = assemble(made.artifact, made.contents, settings.compute.device, where=folder)
    reader = _Reader(session, made, predictor)
    features, logits = reader.read(session.splits.test)
    moved = _hold(session, score, logits, undecided(predictor.head, features, _ROUNDING))
    pixels, known, proof = reader.proof(features, logits, moved)
    contents = dict(made.contents)
    artifact = replace(made.artifact, measured={**made.artifact.measured, "proof": proof})
    rows = _train_rows(session, score)
    if len(rows) > 1:
        artifact, beside = _with_rows(session, artifact, reader, rows, features)
        contents |= beside
    if graphs:
        artifact, files = _with_graphs(artifact, made, graphs, pixels, known, folder)
        contents |= files
    contents[CARD] = card(artifact).encode()
    whole = write(folder, artifact, contents)
    size = sum(map(len, contents.values()))
    settings.console.say(f"export: {proof}")
    settings.console.say(f"export: {len(contents) + 1} files, {size / 1e6:.1f} MB, in {folder}")
    return whole


class _Reader:
    """What the exported net and head make of the data set's own images: from cached features where there are any."""

    def __init__(self, session: Session, made: Shipment, predictor: Predictor) -> None:
        self._session, self._made, self._predictor = session, made, predictor

    def read(self, split: Split) -> tuple[FloatArray, FloatArray]:
        """Return features float32 [n, D] and logits float32 [n, K] of a split's images, not augmented."""
        import torch

        if self._made.task is None:
            return self.through(split)
        features, head = self._made.task.load_raw(split), self._predictor.head
        if head is None:
            raise ValueError("a head on cached features stands apart from its net")
        with torch.inference_mode():
            logits = [head(some.to(self._predictor.net.device)).cpu().numpy() for some in _tensors(features)]
        return features, np.concatenate(logits)

    def through(self, split: Split) -> tuple[FloatArray, FloatArray]:
        """Return the same, from pixels."""
        settings = self._session.settings
        size = settings.compute.batch_size or _BATCH
        batches = [split.rows[start : start + size] for start in range(0, len(split), size)]
        features, logits = [], []

        def load(rows: IntArray) -> tuple[PixelArray, None]:
            return self._crops(split, rows), None

        with settings.console.bar(f"export: {split.role} images", len(split), "img") as bar:
            for rows, _, outputs in self._predictor.run(load, batches, settings.compute.workers):
                if outputs is None:
                    raise ValueError("a batch without images")
                outputs.check()
                features.append(outputs.features.cpu().numpy())
                logits.append(outputs.logits.cpu().numpy())
                bar.update(len(rows))
        return np.concatenate(features), np.concatenate(logits)

    def proof(self, features: FloatArray, logits: FloatArray, moved: int) -> tuple[PixelArray, FloatArray, str]:
        """Return some test images as crops, the logits float32 [n, K] that their pixels give, and what is proven.

        Parameters
        ----------
        features, logits : float32 [n_test, D] and float32 [n_test, K]
            Of all test images.
        moved : int
            How many of them are answered otherwise than by the score, as rounding decides there.

        Raises
        ------
        Mismatch
            From the pixels, features come out otherwise than from the cache.
        """
        test = self._session.splits.test
        places = np.sort(shuffled(len(test), 0, _PURPOSE[1])[:_PROVEN])
        some = replace(test, rows=test.rows[places])
        pixels = self._crops(some, some.rows)
        if self._made.task is None:
            return (
                pixels,
                logits[places],
                f"all {len(test):,} test images were answered from their pixels as by the score",
            )
        again, known = self.through(some)
        scale = np.maximum(np.abs(features[places]).max(1), np.finfo(np.float32).tiny)
        worst = float((np.abs(again - features[places]).max(1) / scale).max())
        allowed = TOLERANCE[self._session.settings.nets.precision]
        if not worst <= allowed:
            raise Mismatch(
                "from their pixels, test images get other features than the cache has",
                expected=f"differences of at most {allowed:.2g} of a row's largest value",
                got=f"{worst:.2g}",
                remedy="nothing is written; probeline verify looks for the cause",
            )
        sure = _sure(self._predictor.head, features[places])
        difference = np.abs(known - logits[places])[sure].max()
        all_of = f"all {len(test):,}" if not moved else f"all but {moved:,} of {len(test):,}"
        why = "" if not moved else ", whose neighbours rounding picks"
        told = (
            f"{all_of} test images are answered as by the score{why}; from the pixels of {sure.sum()} of them come "
            f"logits that differ by {difference:.1e} at most"
        )
        return pixels, known, told

    def _crops(self, split: Split, rows: IntArray) -> PixelArray:
        preprocess = self._made.artifact.preprocess
        images = self._session.dataset.images[split.part]
        pixels = read_batch(images, rows, lambda image, _: resize_crop(image, preprocess), preprocess.crop)
        if isinstance(pixels, Unreadable):
            raise pixels.errors[0]
        return pixels


def _tensors(features: FloatArray) -> Iterator[Tensor]:
    """Yield features float32 [n, D] part by part: a vote holds each of a part's rows against all train rows."""
    import torch

    for start in range(0, len(features), _PART):
        yield torch.from_numpy(np.array(features[start : start + _PART]))


def undecided(head: nn.Module | None, features: FloatArray, slack: float) -> BoolArray | None:
    """Return for which features float32 [n, D] rounding picks the neighbours that vote, bool [n]; None for layers."""
    import torch

    from probeline.export.head_modules import Votes

    if not isinstance(head, Votes):
        return None
    with torch.inference_mode():
        device = head.rows.device
        return np.concatenate([head.undecided(some.to(device), slack).cpu().numpy() for some in _tensors(features)])


def _sure(head: nn.Module | None, features: FloatArray) -> BoolArray:
    """Return for which features float32 [n, D] another program may be asked for the same logits: bool [n], some of it.

    Raises
    ------
    Mismatch
        For none: then nothing would be proven.
    """
    free = undecided(head, features, _DRIFT)
    if free is None:
        return np.ones(len(features), np.bool_)
    if free.all():
        raise Mismatch(
            "rounding picks the neighbours of every image that is tried, so that nothing can be proven",
            remedy="choose another row",
        )
    return ~free


def _hold(session: Session, score: Score, logits: FloatArray, free: BoolArray | None) -> int:
    """Refuse logits float32 [n_test, K] that say another class than the score, but for what rounding may decide.

    Of layers rounding decides between logits that are nearly equal; of votes, which are whole numbers, on the images
    that are `free`, bool [n_test]. Returns how many of those are answered otherwise.

    Raises
    ------
    Mismatch
        Names the images.
    """
    test = session.splits.test
    said, own = logits.argmax(1), np.array(score.predictions)
    other = _beyond_rounding(score, logits) if free is None else said != own
    bad = np.flatnonzero(other if free is None else other & ~free)
    if len(bad):
        part, names = session.dataset.parts[test.part], score.class_names
        named = [f"{part.sample_ids[test.rows[i]]} {names[said[i]]}, not {names[own[i]]}" for i in bad[:5]]
        raise Mismatch(
            f"{len(bad)} of {len(said)} test images are not answered as the score of {score.method} has them",
            where="; ".join(named) + ("; ..." if len(bad) > len(named) else ""),
            remedy="nothing is written; remove the score and run its stage again here",
        )
    return int(other.sum())


def _beyond_rounding(score: Score, logits: FloatArray) -> BoolArray:
    """Return which logits float32 [n, K] say clearly another class than the score: bool [n]."""
    said, own, every = logits.argmax(1), np.array(score.predictions), np.arange(len(logits))
    # Rounding is of the size of the terms of a logit, which may be small itself: so of the size of most logits.
    size = np.abs(logits).max(1)
    with np.errstate(invalid="ignore"):  # what is not finite has no margin, and is none of the score's
        margin = (logits[every, said] - logits[every, own]) / np.maximum(np.maximum(size, np.median(size)), 1e-30)
    within: BoolArray = margin <= TOLERANCE[score.precision]
    return ~within


def _train_rows(session: Session, score: Score) -> list[tuple[str, int]]:
    """Return part and row of the images beside the artifact: of those fitted on, stratified, at most so many."""
    splits = session.splits
    fitted = [splits.train, splits.val] if score.method == Method.PROBE_REFIT else [splits.train]
    every = [(split.part, int(row)) for split in fitted for row in split.rows]
    labels = np.array([session.dataset.parts[part].labels[row] for part, row in every])
    counts = np.bincount(labels, minlength=len(score.class_names))
    wanted = min(session.settings.export.train_rows, len(every))
    seats = apportion(counts, wanted, least=np.minimum(counts, 1 if wanted >= len(counts) else 0), most=counts)
    return [every[i] for i in draw(labels, seats, shuffled(len(every), 0, _PURPOSE[0]))]


def _with_rows(
    session: Session, artifact: Artifact, reader: _Reader, rows: Sequence[tuple[str, int]], test: FloatArray
) -> tuple[Artifact, dict[str, bytes]]:
    """Return an artifact that tells of train rows, and their files.

    Parameters
    ----------
    session, artifact, reader
    rows : sequence of (str, int)
    test : float32 [n_test, D]
        Features of the test images.
    """
    import torch
    from safetensors.torch import save

    from probeline.export.train_rows import QUANTILE, row_tensors, rows_of, threshold

    parts = session.dataset.parts
    found: list[FloatArray] = []
    for part in dict.fromkeys(part for part, _ in rows):
        some = np.array([row for of, row in rows if of == part])
        found.append(reader.read(Split(part, some, "train"))[0])
    ordered = [(part, row) for part in dict.fromkeys(of for of, _ in rows) for of, row in rows if of == part]
    labels = np.array([parts[part].labels[row] for part, row in ordered], np.int64)
    sample_ids = tuple(parts[part].sample_ids[row] for part, row in ordered)
    tensors = row_tensors(np.concatenate(found), labels)
    k, limit = threshold(tensors)
    facts = {"rows": len(rows), "k": k, "quantile": QUANTILE, "threshold": limit, "distance": "cosine"}
    kept = rows_of(tensors, sample_ids, facts, artifact.net.features)
    _, _, kth = kept.search(torch.from_numpy(np.array(test)), 0)
    told = {**facts, "test_share": float((kth > limit).mean())}
    contents = {ROWS: save(tensors), ROW_NAMES: canonical(list(sample_ids))}
    return replace(artifact, neighbours=told), contents


def _with_graphs(
    artifact: Artifact,
    made: Shipment,
    names: Sequence[str],
    pixels: PixelArray,
    known: FloatArray,
    folder: Path,
) -> tuple[Artifact, dict[str, bytes]]:
    """Return an artifact that tells of graphs, and their files; each must give the logits that are known.

    Parameters
    ----------
    artifact : Artifact
    made : Shipment
    names : sequence of str
    pixels : uint8 [n, S, S, 3]
    known : float32 [n, K]
        Of these crops, by the pipeline.
    folder : Path
    """
    from probeline.export.graph import check_parity, graphs, run_graph
    from probeline.export.loading import assemble

    exact = replace(made.artifact, net=replace(made.artifact.net, precision="fp32"))
    predictor = assemble(exact, made.contents, "cpu", where=folder)
    if made.artifact.net.precision != "fp32":  # graphs compute in float32, whatever the row was measured with
        known = predictor.outputs(pixels).logits.numpy()
    told, contents = {}, {}
    sure = _sure(predictor.head, predictor.outputs(pixels).features.numpy())
    for name, (data, facts) in graphs(predictor, names).items():
        worst = check_parity(name, run_graph(name, data, pixels)[0][sure], known[sure])
        told[name] = {**facts, "images": int(sure.sum()), "difference": worst}
        contents[name] = data
    return replace(artifact, graphs=told), contents
