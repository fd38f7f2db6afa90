"""The records that a report shows besides scores: curves, range tests, latencies, pictures and findings.

Corrupt files, and those of other images, labels or versions, are skipped with a message.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from probeline.finetune.requests import training_options
from probeline.identity import DOCTOR_VERSION, TRAIN_VERSION, canonical
from probeline.names import Method, method_of
from probeline.options.command_line import command_line
from probeline.options.settings import Settings
from probeline.report.records.not_run import NotRun
from probeline.report.records.range_tests import own_options
from probeline.report.records.row_commands import requested_steps, weights_option
from probeline.results.curve import CURVES, Curve
from probeline.results.embedding_map import MAPS, EmbeddingMap, outdated_map
from probeline.results.findings import FINDINGS, Findings
from probeline.results.gallery import GALLERIES, Gallery, outdated_gallery
from probeline.results.latency import LATENCIES, Latency
from probeline.results.methods import order
from probeline.results.picture import PICTURE_KINDS, PICTURES, Picture, outdated_picture
from probeline.results.range_test import RANGE_TESTS, RangeTest
from probeline.results.score import Score
from probeline.results.store import RecordKind, SkippedFile
from probeline.session import Session

_Record = TypeVar("_Record")
_OfSplits = TypeVar("_OfSplits", Curve, RangeTest)
_Illustration = TypeVar("_Illustration", Picture, Gallery, EmbeddingMap)

_EXAMINED = ("version", "parts", "splits", "class_names")
"""Of what the doctor looked at, what must be as it is now."""


@dataclass(frozen=True)
class Illustrations:
    """What `pictures` left.

    Attributes
    ----------
    pictures : list of Picture
    galleries : list of Gallery
    maps : list of EmbeddingMap
        Each by backbone.
    skipped : list of NotRun
        Corrupt or outdated files, with the reason and the command that renews them.
    """

    pictures: list[Picture]
    galleries: list[Gallery]
    maps: list[EmbeddingMap]
    skipped: list[NotRun]


def load_curves(session: Session) -> list[Curve]:
    """Return the learning curves of just these splits and of the present methods, of several of one backbone one.

    That is the one with the steps, draws and training that the run asks for, or else the one that was written last.
    """
    say = session.console.say
    of_splits = _of_these_splits(session, "learning curves", CURVES)
    curves = [
        curve for curve in of_splits if curve.method == Method.PROBE or curve.options.get("version") == TRAIN_VERSION
    ]
    if len(curves) < len(of_splits):
        say(f"compare: left out {len(of_splits) - len(curves)} learning curves of an earlier version of training")
    newest: dict[tuple[object, ...], Curve] = {}
    for curve in sorted(curves, key=lambda curve: _is_as_requested(session, curve)):
        identity = (curve.backbone, curve.weights, curve.image_size, curve.precision, curve.tap, curve.method)
        if identity in newest:
            shown = "the one asked for" if _is_as_requested(session, curve) else "the last run"
            say(f"compare: of several curves of {curve.backbone} {shown} is shown, with {curve.draws} draws")
        newest[identity] = curve
    return sorted(newest.values(), key=lambda curve: -max(point.test_top1 for point in curve.points))


def load_range_tests(session: Session) -> list[RangeTest]:
    """Return the range tests of just these splits and of the present trainer, of equal ones that written last."""
    tests = _of_these_splits(session, "range tests", RANGE_TESTS)
    current = [test for test in tests if test.options.get("version") == TRAIN_VERSION]
    if len(current) < len(tests):
        session.console.say(
            f"compare: left out {len(tests) - len(current)} range tests of an earlier version of training"
        )
    newest: dict[tuple[object, ...], RangeTest] = {}
    for test in current:
        net = (test.backbone, order(test.method), test.weights, test.image_size, test.precision)
        newest[(*net, test.seed, canonical(own_options(test)))] = test
    return [newest[identity] for identity in sorted(newest)]


def load_latencies(session: Session) -> list[Latency]:
    """Return what was timed, of several times of one net under one name of a device the last."""
    newest: dict[tuple[object, ...], Latency] = {}
    for one in _load(session, LATENCIES):
        where = tuple(one.environment.get(name) for name in ("machine", "processor", "device"))
        newest[(one.backbone, one.weights, one.image_size, one.precision, one.threads, *where)] = one
    return list(newest.values())


def load_findings(session: Session, scores: Sequence[Score]) -> Findings | None:
    """Return the doctor's last findings on these images and labels, of the backbone that is best on validation."""
    say = session.console.say
    loaded = _load(session, FINDINGS)
    parts = {name: session.dataset.parts[name].samples_sha256 for name in session.parts()}
    now = (DOCTOR_VERSION, parts, session.splits_sha256, list(session.dataset.class_names))
    current = [record for record in loaded if tuple(record.of.get(name) for name in _EXAMINED) == now]
    if len(current) < len(loaded):
        say(f"compare: left out {len(loaded) - len(current)} findings of the doctor in other images, splits or labels")

    def merit(findings: Findings) -> float:
        net = (findings.backbone, findings.weights, findings.image_size, findings.precision)
        same = (score for score in scores if (score.backbone, score.weights, score.image_size, score.precision) == net)
        return max((score.val_top1 for score in same if score.method == Method.PROBE), default=-1.0)

    best = max(reversed(current), key=merit, default=None)
    if best and len(current) > 1:
        say(f"compare: of {len(current)} findings of the doctor those with {best.backbone} are shown")
    return best


def load_illustrations(session: Session, scores: Sequence[Score]) -> Illustrations:
    """Return the pictures, galleries and maps of these scores; no image and no feature is read."""
    skipped: list[NotRun] = []

    def select(
        records: Sequence[tuple[_Illustration, str, str | None]], bad: Sequence[SkippedFile]
    ) -> list[_Illustration]:
        command = command_line(session.settings, "pictures")
        skipped.extend(NotRun(f"{file.path.name}, which {file.reason}", command) for file in bad)
        skipped.extend(
            NotRun(f"{name}, as {reason}", _renewal(session, record)) for record, name, reason in records if reason
        )
        return [record for record, _, reason in records if not reason]

    pictures, bad = PICTURES.load(session.reports)
    reasons = [outdated_picture(picture, scores, session.dataset, session.splits) for picture in pictures]
    current = select([(record, record.png, reason) for record, reason in zip(pictures, reasons, strict=True)], bad)
    galleries, bad = GALLERIES.load(session.reports)
    current_galleries = select([(record, record.file, outdated_gallery(record, scores)) for record in galleries], bad)
    maps, bad = MAPS.load(session.reports)
    current_maps = select([(record, record.file, outdated_map(record, scores)) for record in maps], bad)
    current.sort(key=lambda picture: (picture.backbone, PICTURE_KINDS.index(picture.kind)))
    return Illustrations(current, current_galleries, current_maps, sorted(skipped))


def _renewal(session: Session, one: Picture | Gallery | EmbeddingMap) -> str:
    """Return the command that renews a record, a map with the projections that it has."""
    layout = one.methods[-1] if isinstance(one, EmbeddingMap) else session.settings.pictures.map
    weights = weights_option([step for step, _ in requested_steps(session)], one.backbone, one.weights)
    return command_line(session.settings, "pictures", backbones=(one.backbone,), weights=weights, map=layout)


def _load(session: Session, kind: RecordKind[_Record, ...]) -> list[_Record]:
    found, skipped = kind.load(session.reports)
    for item in skipped:
        session.console.say(f"compare: left out {item.path}: {item.reason}")
    return found


def _of_these_splits(session: Session, what: str, kind: RecordKind[_OfSplits, ...]) -> list[_OfSplits]:
    """Return the records of just these rows and labels, and say how many others there are."""
    found = _load(session, kind)
    current = [one for one in found if one.splits == session.splits_sha256]
    if len(current) < len(found):
        session.console.say(f"compare: left out {len(found) - len(current)} {what} of other rows or labels")
    return current


def _is_as_requested(session: Session, curve: Curve) -> bool:
    """Return whether a curve has the steps and draws that the run asks for, and if of a training, its options."""
    points = {(point.kind, point.amount) for point in curve.points}

    def is_of(settings: Settings) -> bool:
        shots = set() if settings.curve.shots == (0,) else {("shots", float(k)) for k in settings.curve.shots}
        steps = shots | {("fraction", percent) for percent in settings.curve.fractions}
        return curve.draws == settings.curve.draws and points == steps and _is_trained_as_requested(settings, curve)

    return any(is_of(settings) for settings, _ in requested_steps(session))


def _is_trained_as_requested(settings: Settings, curve: Curve) -> bool:
    requested = [
        training_options(settings, one) for one in settings.curve.curve_strategies if method_of(one) == curve.method
    ]
    return curve.method == Method.PROBE or any(
        all([curve.options.get(name)] == list(values) for name, values in options.items()) for options in requested
    )
