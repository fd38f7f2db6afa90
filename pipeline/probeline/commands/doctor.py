"""Doctor: what the cached embeddings tell of the data itself: duplicates and leaks, doubtful labels, outliers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np

from probeline.analysis.balance import balance
from probeline.analysis.duplicates import SHIFT, alike, candidates, groups, luminance
from probeline.analysis.label_errors import doubts, expected, plant, thresholds
from probeline.analysis.outliers import p_values, remoteness, threshold
from probeline.analysis.thumbnails import thumbnails
from probeline.data.pixels.inspection import HELP, inspect_images
from probeline.environment import cores, environment
from probeline.evaluate.current_scores import current_scores
from probeline.evaluate.features import CachedFeatures
from probeline.evaluate.out_of_fold import out_of_fold
from probeline.evaluate.requests import reuse
from probeline.evaluate.stopwatch import Stopwatch
from probeline.heads.neighbours import nearest
from probeline.heads.select import L2_GRID
from probeline.heads.temperature import fit_temperature
from probeline.identity import DOCTOR_VERSION, HEADS_VERSION, digest
from probeline.metrics.scores import chances
from probeline.names import PENULTIMATE
from probeline.report.model.rows import blocks
from probeline.report.records.findings_text import findings_in_words
from probeline.report.records.leakage import leakage, leakage_lines
from probeline.results.findings import (
    FINDINGS,
    ClassCounts,
    DecodingNote,
    DuplicatePair,
    Duplicates,
    Findings,
    ImageReference,
    LabelErrors,
    Outlier,
    Outliers,
    PairCounts,
    SuspectLabel,
)
from probeline.session import Session
from probeline.types import Backbone, BoolArray, FloatArray, IntArray, PixelArray, Split

NEIGHBOURS = 10
"""Images that each is held against: as candidates for its duplicates, for its label, and for how remote it is."""

ALIKE = 0.7
"""From where on a pair is a near duplicate: cosine of its centred embeddings x correlation of its grey levels."""

LEVEL = 0.01
"""Share of train and val that counts as outliers."""

LISTED = {"pairs": 500, "suspects": 500, "remote": 100, "examples": 24}
"""Findings that a record lists at most; it counts all of them."""

SHOWN = 24
"""Findings of each kind whose thumbnails a record holds."""

_THUMBNAIL_BYTES = 400_000
"""What all thumbnails of a record may take."""

_AT_ONCE = 4096


def run(session: Session) -> list[dict[str, Any]]:
    """Examine the data set with each backbone where that is not done yet, say what was found, and return where.

    Returns
    -------
    list of mappings
        Per backbone: how much was found of what, top-1 of each row without the leaked images, and the file.

    Raises
    ------
    MissingData
        The embeddings have not been extracted.
    BadData
        An image that cannot be read.
    ProbelineError
    """
    say, outcomes = session.console.say, []
    table = blocks(current_scores(session, "doctor"))
    for name in session.settings.nets.backbones:
        doctor = _examined(session.reading(name, PENULTIMATE, 0))
        leaks = leakage(doctor, table)
        for line in (*findings_in_words(doctor), *leakage_lines(leaks)):
            say(f"doctor: {line}")
        path = FINDINGS.path(session.reports, doctor.backbone, doctor.key)
        say(f"doctor: all of it is in {path}, and compare shows it")
        outcomes.append(_outcome(doctor) | {"rows": [asdict(leak) for leak in leaks], "file": str(path)})
    return outcomes


def _outcome(doctor: Findings) -> dict[str, Any]:
    return {
        "backbone": doctor.backbone,
        "weights": doctor.weights,
        "images": doctor.images,
        "duplicates": {name: asdict(region) for name, region in doctor.duplicates.regions.items()},
        "leaked_exact": len(doctor.duplicates.leaked_exact),
        "leaked_near": len(doctor.duplicates.leaked_near),
        "doubted_labels": doctor.labels.flagged,
        "expected_doubts": doctor.labels.expected,
        "outliers": doctor.outliers.flagged,
        "helped": {one.kind: one.counts for one in doctor.helped},
    }


def _examined(session: Session) -> Findings:
    """Return what there is to find with the one backbone of the configuration."""
    backbone, _ = session.backbone(session.settings.nets.backbones[0])
    name = backbone.name
    of = _of(session, backbone)
    key, title = digest(of), f"doctor: {session.dataset.name} x {name}"
    found = FINDINGS.find(session.reports, name, key)
    if there := reuse(session, found, session.reports, title, f"{title}: up to date, skipped"):
        return there
    watch, room = Stopwatch(), _Room(session, backbone)
    room.task.check_canary()
    duplicates, labels, outliers = room.duplicates(), room.labels(), room.outliers()
    doctor = Findings(
        backbone=name,
        weights=backbone.weights,
        precision=session.settings.nets.precision,
        image_size=backbone.preprocess.crop,
        key=key,
        of=of,
        class_names=session.dataset.class_names,
        images=room.sizes,
        duplicates=duplicates,
        labels=labels,
        outliers=outliers,
        balance={
            role: ClassCounts(**vars(balance(room.classes[room.role_of == place], room.task.classes)))
            for place, role in enumerate(room.sizes)
        },
        helped=room.helped(),
        thumbnails=thumbnails(session.dataset, _ranked_first(duplicates, labels, outliers), _THUMBNAIL_BYTES),
        seconds=watch.seconds(),
        environment=environment(),
    )
    FINDINGS.save(session.reports, doctor)
    return doctor


def _of(session: Session, backbone: Backbone) -> dict[str, Any]:
    parts = session.parts()
    return {
        "version": DOCTOR_VERSION,
        "parts": {name: session.dataset.parts[name].samples_sha256 for name in parts},
        "splits": session.splits_sha256,
        "class_names": list(session.dataset.class_names),
        "backbone": backbone.name,
        "weights_sha256": backbone.weights_sha256,
        "features": [entry.key for entry in session.entries(backbone)],
        "preprocess": backbone.preprocess.identity(),
        "options": {
            "neighbours": NEIGHBOURS,
            "alike": ALIKE,
            "shift": SHIFT,
            "level": LEVEL,
            "listed": LISTED,
            "shown": SHOWN,
            "l2": list(L2_GRID),
            "heads": HEADS_VERSION,
        },
    }


def _ranked_first(duplicates: Duplicates, labels: LabelErrors, outliers: Outliers) -> list[str]:
    """Return the names of the images whose thumbnails are kept, each once."""
    images = [image for pair in duplicates.pairs[:SHOWN] for image in (pair.first, pair.second)]
    images += [suspect.image for suspect in labels.suspects[:SHOWN]]
    images += [remote.image for remote in outliers.remote[:SHOWN]]
    return list(dict.fromkeys(image.name for image in images))


@dataclass(frozen=True)
class _Near:
    """The nearest images of some: their places int64 [m, k] and cosines float32 [m, k]."""

    places: IntArray
    cosines: FloatArray


class _Room:
    """All images that play a role, in one order: train, val, test; a place is a number in it.

    Attributes
    ----------
    sizes : mapping of str to int
        Images of each role.
    known : int
        Those of train and val, which come first.
    role_of, classes : int64 [N]
    """

    def __init__(self, session: Session, backbone: Backbone) -> None:
        self.session, self.backbone = session, backbone
        self.task = CachedFeatures(session, backbone)
        self.splits: tuple[Split, ...] = (session.splits.train, session.splits.val, session.splits.test)
        self.sizes: dict[str, int] = {split.role: len(split) for split in self.splits}
        self.known = len(self.splits[0]) + len(self.splits[1])
        self.role_of = np.repeat(np.arange(len(self.splits)), [len(split) for split in self.splits])
        self.classes = np.concatenate([session.dataset.parts[split.part].labels[split.rows] for split in self.splits])
        self._rows = np.concatenate([split.rows for split in self.splits])

    def _part(self, place: int) -> str:
        return self.splits[int(self.role_of[place])].part

    def _name(self, place: int) -> str:
        return f"{self._part(place)}:{self._rows[place]}"

    def _seen(self, place: int) -> ImageReference:
        part = self.session.dataset.parts[self._part(place)]
        role = self.splits[int(self.role_of[place])].role
        return ImageReference(
            self._name(place), part.sample_ids[int(self._rows[place])], role, int(self.classes[place])
        )

    def _by_role(self, flags: BoolArray) -> dict[str, int]:
        return {role: int(flags[self.role_of == place].sum()) for place, role in enumerate(self.sizes)}

    @cached_property
    def _embeddings(self) -> FloatArray:
        parts = [self.session.features(self.backbone, split.part).features[split.rows] for split in self.splits]
        return np.concatenate(parts)

    @cached_property
    def _near(self) -> tuple[_Near, _Near | None]:
        """The nearest of train and val to every image, and of test to every test image; none of one test image."""
        X = self._embeddings - self._embeddings[: self.known].mean(axis=0, dtype=np.float64).astype(np.float32)
        own = np.full(len(X), -1)
        own[: self.known] = np.arange(self.known)
        known, test = X[: self.known], X[self.known :]
        with self.session.console.bar("neighbours", len(X) + len(test), "image") as bar:
            near = _search(known, X, own, bar.update)
            return near, _search(test, test, np.arange(len(test)), bar.update) if len(test) > 1 else None

    def duplicates(self) -> Duplicates:
        """Return the images that are there twice."""
        content = [self._content(place) for place in range(len(self.classes))]
        exact = np.array([(same[0], other) for same in groups(content) for other in same[1:]], np.int64).reshape(-1, 2)
        pairs, cosines, pixels, mirrored, compared = self._near_pairs(content)
        every = np.concatenate([exact, pairs])
        is_exact = np.arange(len(every)) < len(exact)
        ones = np.ones(len(exact), np.float32)
        cosines, pixels = np.concatenate([ones, cosines]), np.concatenate([ones, pixels])
        mirrored = np.concatenate([np.zeros(len(exact), np.bool_), mirrored])
        conflict = self.classes[every[:, 0]] != self.classes[every[:, 1]]
        held = every < self.known
        where = {"known": held.all(axis=1), "across": held[:, 0] & ~held[:, 1], "test": ~held.any(axis=1)}
        regions = {
            name: PairCounts(*(int((there & some).sum()) for some in (is_exact, ~is_exact, conflict)))
            for name, there in where.items()
        }
        leaked = [every[where["across"] & some, 1] - self.known for some in (is_exact, ~is_exact)]
        order = np.lexsort((every[:, 1], every[:, 0], -cosines * pixels, ~is_exact, ~where["across"]))
        listed = tuple(
            DuplicatePair(
                first=self._seen(int(every[i, 0])),
                second=self._seen(int(every[i, 1])),
                kind="exact" if is_exact[i] else "near",
                features=_brief(cosines[i]),
                pixels=_brief(pixels[i]),
                mirrored=bool(mirrored[i]),
            )
            for i in order[: LISTED["pairs"]]
        )
        return Duplicates(
            regions=regions,
            leaked_exact=tuple(np.unique(leaked[0]).tolist()),
            leaked_near=tuple(np.setdiff1d(leaked[1], leaked[0]).tolist()),
            compared=compared,
            pairs=listed,
        )

    def _content(self, place: int) -> str:
        return self.session.dataset.parts[self._part(place)].content[int(self._rows[place])]

    def _near_pairs(self, content: Sequence[str]) -> tuple[IntArray, FloatArray, FloatArray, BoolArray, int]:
        """Return the near duplicates int64 [p, 2], cosine, pixels and mirrored of each, and how many were compared."""
        near, among_test = self._near
        found = [candidates(np.arange(len(near.places)), near.places, near.cosines, ALIKE)]
        if among_test is not None:
            rows = self.known + np.arange(len(among_test.places))
            found.append(candidates(rows, self.known + among_test.places, among_test.cosines, ALIKE))
        pairs, cosines = (np.concatenate(some) for some in zip(*found, strict=True))
        differ = np.array([content[i] != content[j] for i, j in pairs.tolist()], np.bool_)
        pairs, cosines = pairs[differ], cosines[differ]
        pixels, mirrored = alike(self._grey, pairs)
        sure = cosines * pixels >= ALIKE
        return pairs[sure], cosines[sure], pixels[sure], mirrored[sure], len(pairs)

    @cached_property
    def _looks(self) -> tuple[PixelArray, list[tuple[str, ...]]]:
        """The grey levels of each image at a small size uint8 [N, S, S], and what its decoding needed."""
        settings = self.session.settings
        grey: list[PixelArray] = []
        helped: list[tuple[str, ...]] = []
        with settings.console.bar("looking", len(self.classes), "image") as bar:
            for split in self.splits:
                images = self.session.dataset.images[split.part]
                looks = inspect_images(
                    images, split.rows, self.backbone.preprocess, settings.compute.workers or cores(), bar.update
                )
                grey.append(luminance(looks.small))
                helped += looks.helped
        return np.concatenate(grey), helped

    @property
    def _grey(self) -> PixelArray:
        return self._looks[0]

    def labels(self) -> LabelErrors:
        """Return the labels that are likely wrong."""
        told = out_of_fold(self.task)
        y, judged, known = self.classes, told.unseen, np.arange(len(self.classes)) < self.known
        fitted = np.flatnonzero(judged & known)
        temperature = fit_temperature(y[fitted], told.logits[fitted])
        sure = chances(told.logits, temperature)
        confident = thresholds(sure[fitted], y[fitted])
        neighbours = y[self._near[0].places]
        found = doubts(sure, y, confident, neighbours)
        flagged = found.flagged & judged
        rows, wrong = plant(y[fitted], self.task.classes)
        trial = doubts(sure[fitted[rows]], wrong, confident, neighbours[fitted[rows]])
        median = float(np.median(np.where(trial.flagged, trial.score, -1)))
        order = np.flatnonzero(flagged)
        order = order[np.argsort(-found.score[order], kind="stable")]
        return LabelErrors(
            judged=self._by_role(judged),
            flagged=self._by_role(flagged),
            expected=_brief(expected(sure[fitted])),
            planted=len(rows),
            planted_flagged=_brief(trial.flagged.mean()),
            planted_rank=int((flagged & known & (found.score >= median)).sum()) if median >= 0 else None,
            l2=told.l2,
            temperature=temperature,
            top1=float((told.logits[fitted].argmax(axis=1) == y[fitted]).mean()),
            folds=told.folds,
            converged=told.converged,
            neighbours=neighbours.shape[1],
            suspects=tuple(
                SuspectLabel(
                    image=self._seen(place),
                    suggested=int(found.suggested[place]),
                    chance_label=_brief(sure[place, y[place]]),
                    chance_suggested=_brief(sure[place, found.suggested[place]]),
                    disagreement=_brief(found.disagreement[place]),
                    score=_brief(found.score[place]),
                )
                for place in order[: LISTED["suspects"]].tolist()
            ),
        )

    def outliers(self) -> Outliers:
        """Return the images that are unlike all of train and val."""
        places = self._near[0].places
        distances = remoteness(self._embeddings[: self.known], self._embeddings, places)
        known = distances[: self.known]
        p = p_values(known, distances)
        # A known image is among the known ones already.
        p[: self.known] = (p[: self.known] * (1 + self.known) - 1) / self.known
        level = max(LEVEL, 1 / (1 + self.known))  # of few images, to be further than all is the most that there is
        order = np.argsort(-distances, kind="stable")[: LISTED["remote"]]
        return Outliers(
            level=level,
            threshold=_brief(threshold(known, level)),
            flagged=self._by_role(p <= level),
            images=self.sizes,
            neighbours=places.shape[1],
            remote=tuple(Outlier(self._seen(i), _brief(distances[i]), _brief(p[i])) for i in order.tolist()),
        )

    def helped(self) -> tuple[DecodingNote, ...]:
        """Return which images needed help, by what they needed."""
        found = []
        for kind, told in HELP.items():
            flags = np.array([kind in needed for needed in self._looks[1]], np.bool_)
            if flags.any():
                first = np.flatnonzero(flags)[: LISTED["examples"]].tolist()
                found.append(DecodingNote(kind, told, self._by_role(flags), tuple(map(self._name, first))))
        return tuple(found)


def _search(X: FloatArray, X_held: FloatArray, own: IntArray, advance: Callable[[int], object]) -> _Near:
    """Return the nearest rows of X to each held one, as many as are wanted and there are."""
    found = []
    for start in range(0, len(X_held), _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        found.append(nearest(X, X_held[some], min(NEIGHBOURS, len(X) - 1), own=own[some]))
        advance(len(found[-1][0]))
    return _Near(*(np.concatenate(one) for one in zip(*found, strict=True)))


def _brief(value: float) -> float:
    return round(float(value), 6)
