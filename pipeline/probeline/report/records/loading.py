"""The records that a report shows in addition to scores: curves, range tests, latencies, pictures, findings, quality.

Corrupt files, and those of other images, labels or versions, are skipped with a message.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from probeline.data.pixels.decode import decode_bytes
from probeline.errors import BadData
from probeline.evaluate.fit_options import fit_options, shared_options
from probeline.files.reading import IMAGE, read_bytes
from probeline.identity import DOCTOR_VERSION, TRAIN_VERSION, canonical
from probeline.names import Method
from probeline.options.command_line import command_line
from probeline.options.settings import Settings
from probeline.report.model.content import NotRun
from probeline.report.records.range_tests import own_options
from probeline.report.records.row_commands import is_trained_as_requested, requested_steps, weights_option
from probeline.results.curve import CURVES, Curve
from probeline.results.findings import FINDINGS, Findings
from probeline.results.illustrations.embedding_map import MAPS, EmbeddingMap, outdated_map
from probeline.results.illustrations.gallery import GALLERIES, Gallery, outdated_gallery
from probeline.results.illustrations.picture import PICTURE_FOLDER, PICTURE_KINDS, PICTURES, Picture, outdated_picture
from probeline.results.latency import LATENCIES, Latency
from probeline.results.methods import order
from probeline.results.quality.alignment import ALIGNMENTS, FeatureAlignment
from probeline.results.quality.features import QUALITIES, FeatureQuality
from probeline.results.range_test import RANGE_TESTS, RangeTest
from probeline.results.score import Score
from probeline.results.shifts.corruptions import ROBUSTNESS, Robustness
from probeline.results.shifts.unlike import UNLIKE, Unlike
from probeline.results.store import RecordKind
from probeline.session import Session

_Record = TypeVar("_Record")
_Illustration = TypeVar("_Illustration", Picture, Gallery, EmbeddingMap)

_EXAMINED = ("version", "parts", "splits", "class_names")
"""Of what the doctor looked at, what must be as it is now."""


def load_curves(session: Session) -> list[Curve]:
    """Return the learning curves of these splits and of the present methods, one per backbone, tap and method.

    Of several, the one with the requested steps, draws and training options, or else the one that was written last.
    """

    def is_current(curve: Curve) -> bool:
        return curve.method == Method.PROBE or curve.options.get("version") == TRAIN_VERSION

    curves = _load(
        session,
        CURVES,
        (lambda curve: _is_of_these_rows(session, curve), "learning curves of other rows or labels"),
        (is_current, "learning curves of an earlier version of training"),
    )
    newest: dict[tuple[object, ...], Curve] = {}
    for curve in sorted(curves, key=lambda curve: _is_as_requested(session, curve)):
        identity = (curve.backbone, curve.weights, curve.image_size, curve.precision, curve.tap, curve.method)
        if identity in newest:
            which = "the requested one" if _is_as_requested(session, curve) else "the last run"
            session.console.say(
                f"compare: of several curves of {curve.backbone} {which} is shown, with {curve.draws} draws"
            )
        newest[identity] = curve
    return sorted(newest.values(), key=lambda curve: -max(point.test_top1 for point in curve.points))


def load_range_tests(session: Session) -> list[RangeTest]:
    """Return the range tests of these splits and of the present trainer; of equal ones the one written last."""
    here = (session.dataset.title, session.splits_sha256)
    tests = _load(
        session,
        RANGE_TESTS,
        (lambda test: (test.dataset, test.splits) == here, "range tests of other rows or labels"),
        (lambda test: test.options.get("version") == TRAIN_VERSION, "range tests of an earlier version of training"),
    )

    def identity(test: RangeTest) -> tuple[object, ...]:
        net = (test.backbone, order(test.method), test.weights, test.image_size, test.precision)
        return (*net, test.seed, canonical(own_options(test)))

    newest = {identity(test): test for test in tests}
    return [newest[identity] for identity in sorted(newest)]


def load_latencies(session: Session) -> list[Latency]:
    """Return the last latency of each net on each device."""
    newest: dict[tuple[object, ...], Latency] = {}
    for latency in _load(session, LATENCIES):
        where = tuple(latency.environment.get(name) for name in ("machine", "processor", "device"))
        net = (latency.backbone, latency.weights, latency.image_size, latency.precision)
        newest[(*net, latency.threads, *where)] = latency
    return list(newest.values())


def load_qualities(session: Session) -> tuple[list[FeatureQuality], FeatureAlignment | None]:
    """Return the last quality of each set of features on these rows, and the alignment of the most of them.

    Of several alignments of as many sets the one that was written last is returned.
    """
    here = (session.dataset.title, session.splits_sha256)

    def is_of_these(record: FeatureQuality | FeatureAlignment) -> bool:
        return (record.dataset, record.rows) == here

    newest = {
        quality.net: quality
        for quality in _load(session, QUALITIES, (is_of_these, "measures of the quality of features on other rows"))
    }
    alignments = _load(session, ALIGNMENTS, (is_of_these, "alignments of features on other rows"))
    largest = max(reversed(alignments), key=lambda alignment: len(alignment.nets), default=None)
    return [newest[net] for net in sorted(newest)], largest


def load_robustness(session: Session, scores: Sequence[Score]) -> list[Robustness]:
    """Return how heads of these scores did on corrupted test images, of each the record written last."""
    keys = {score.key: place for place, score in enumerate(scores)}
    is_current = (lambda record: record.score in keys, "records of robustness of other scores")
    newest = {record.score: record for record in _load(session, ROBUSTNESS, is_current)}
    return sorted(newest.values(), key=lambda record: keys[record.score])


def load_unlike(session: Session) -> list[Unlike]:
    """Return how images of other data sets were told from these test images; of equal ones the one written last."""
    here = (session.dataset.title, session.splits_sha256)
    is_current = (lambda record: (record.dataset, record.splits) == here, "records of images unlike other splits")
    newest = {
        (one.backbone, one.weights, one.image_size, one.precision, one.tap, one.other): one
        for one in _load(session, UNLIKE, is_current)
    }
    return [newest[identity] for identity in sorted(newest)]


def load_findings(session: Session, scores: Sequence[Score]) -> Findings | None:
    """Return the doctor's last findings on these images and labels, of the backbone that is best on validation."""
    parts = {name: session.dataset.parts[name].samples_sha256 for name in session.parts()}
    now = (DOCTOR_VERSION, parts, session.splits_sha256, list(session.dataset.class_names))
    splits, class_names = session.splits, session.dataset.class_names
    images = {split.role: len(split) for split in (splits.train, splits.val, splits.test)}

    def is_current(findings: Findings) -> bool:
        is_of_these = (findings.images, findings.class_names) == (images, class_names)
        return is_of_these and tuple(findings.of.get(name) for name in _EXAMINED) == now

    current = _load(session, FINDINGS, (is_current, "findings of the doctor in other images, splits or labels"))

    def merit(findings: Findings) -> float:
        net = (findings.backbone, findings.weights, findings.image_size, findings.precision)
        same = (score for score in scores if (score.backbone, score.weights, score.image_size, score.precision) == net)
        return max((score.val_top1 for score in same if score.method == Method.PROBE), default=-1.0)

    best = max(reversed(current), key=merit, default=None)
    if best and len(current) > 1:
        session.console.say(f"compare: of {len(current)} findings of the doctor those with {best.backbone} are shown")
    return best


def load_illustrations(
    session: Session, scores: Sequence[Score]
) -> tuple[list[Picture], list[Gallery], list[EmbeddingMap], list[NotRun]]:
    """Return the pictures, galleries and maps of these scores; no image and no feature is read.

    The last list is of corrupt and outdated files, with the reason and the command that renews them.
    """
    skipped: list[NotRun] = []

    def load(
        kind: RecordKind[_Illustration, ...], outdated: Callable[[_Illustration], str | None]
    ) -> list[_Illustration]:
        records, bad = kind.load(session.reports)
        command = command_line(session.settings, "pictures")
        skipped.extend(NotRun(f"{file.path.name}, which {file.reason}", command) for file in bad)
        current = []
        for record in records:
            if reason := outdated(record):
                name = record.png if isinstance(record, Picture) else record.file
                skipped.append(NotRun(f"{name}, as {reason}", _renewal(session, record)))
            elif isinstance(record, Picture) and (reason := _fault_of_png(session, record)):
                skipped.append(NotRun(f"{record.png}, which is no picture: {reason}", _renewal(session, record)))
            else:
                current.append(record)
        return current

    pictures = load(PICTURES, lambda picture: outdated_picture(picture, scores, session.dataset, session.splits))
    pictures.sort(key=lambda picture: (picture.backbone, PICTURE_KINDS.index(picture.kind)))
    galleries = load(GALLERIES, lambda gallery: outdated_gallery(gallery, scores))
    maps = load(MAPS, lambda embedding_map: outdated_map(embedding_map, scores))
    return pictures, galleries, maps, sorted(skipped)


def _is_of_these_rows(session: Session, curve: Curve) -> bool:
    of = (curve.dataset, curve.splits, curve.n_test, curve.class_names)
    dataset = session.dataset
    return of == (dataset.title, session.splits_sha256, len(session.splits.test), dataset.class_names)


def _fault_of_png(session: Session, picture: Picture) -> str | None:
    """Return why the file of a picture cannot be shown: its record vouches for bytes, not for an image."""
    path = session.reports / PICTURE_FOLDER / picture.png
    try:
        decode_bytes(read_bytes(path, IMAGE), path)
    except BadData as error:
        return str(error.got)
    except OSError as error:
        return error.strerror or type(error).__name__
    return None


def _renewal(session: Session, record: Picture | Gallery | EmbeddingMap) -> str:
    """Return the command that renews a record, a map with the projections that it has."""
    layout = record.methods[-1] if isinstance(record, EmbeddingMap) else session.settings.pictures.map
    weights = weights_option([step for step, _ in requested_steps(session)], record.backbone, record.weights)
    return command_line(session.settings, "pictures", backbones=(record.backbone,), weights=weights, map=layout)


def _load(
    session: Session, kind: RecordKind[_Record, ...], *checks: tuple[Callable[[_Record], bool], str]
) -> list[_Record]:
    """Return the records that pass all checks, and say which files and how many of the other records are left out."""
    records, skipped = kind.load(session.reports)
    for file in skipped:
        session.console.say(f"compare: left out {file.path}: {file.reason}")
    for is_current, others in checks:
        current = [record for record in records if is_current(record)]
        if len(current) < len(records):
            session.console.say(f"compare: left out {len(records) - len(current)} {others}")
        records = current
    return records


def _is_as_requested(session: Session, curve: Curve) -> bool:
    """Return whether a curve has the requested steps and draws, and is selected and weighted as requested.

    If it is of a training, it has the requested options too.
    """
    points = {(point.kind, point.amount) for point in curve.points}

    def is_of(settings: Settings) -> bool:
        shots = set() if settings.curve.shots == (0,) else {("shots", float(k)) for k in settings.curve.shots}
        steps = shots | {("fraction", percent) for percent in settings.curve.fractions}
        return (
            curve.draws == settings.curve.draws
            and points == steps
            and shared_options(curve.options) == fit_options(settings, curve.class_names)
            and is_trained_as_requested(settings, settings.curve.curve_strategies, curve)
        )

    return any(is_of(settings) for settings, _ in requested_steps(session))


def cached_features(session: Session) -> list[str]:
    """Return the folders of the data set's cached features.

    They are taken from the disk: scores are compared even if the settings name unknown or missing nets.
    """
    folder = session.settings.folders.cache / session.dataset.name
    entries = (entry.parent for entry in folder.glob("*/*/entry.json"))
    # Those of corrupted images are many, and no row is fitted on them.
    return sorted(str(entry) for entry in entries if "@" not in entry.name or "@view" in entry.name)
