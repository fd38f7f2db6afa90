"""Compare: one table, its figures and its conditions from every score of the data set; no torch."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from probeline.data.annotations.exact_copies import copies
from probeline.evaluate.current_scores import current_scores
from probeline.finetune.run import training_options
from probeline.identity import DOCTOR_VERSION, TRAIN_VERSION, canonical
from probeline.names import LAST_K, PENULTIMATE, BackboneSpec, Method, method_of, split_tap
from probeline.options.command_line import command_line
from probeline.options.grids import MLP, SGD, grid
from probeline.options.settings import Settings, Step
from probeline.report.model.beside import Beside
from probeline.report.model.conditions import PARTS
from probeline.report.model.exhibits import drawn
from probeline.report.model.holding import hold
from probeline.report.model.row_commands import commands
from probeline.report.model.rows import Block, blocks
from probeline.report.sections.lr_range import asked
from probeline.report.sections.published import Held
from probeline.report.sections.tables import terminal
from probeline.report.write import write
from probeline.results.curve import CURVES, Curve
from probeline.results.findings import FINDINGS, Findings
from probeline.results.latency import LATENCIES, Latency
from probeline.results.methods import METHODS, MethodInfo, method_info, order
from probeline.results.range_test import RANGE_TESTS, RangeTest
from probeline.results.score import Score
from probeline.results.store import SkippedFile
from probeline.session import Session

OfRows = TypeVar("OfRows", Curve, RangeTest)


def run(session: Session) -> dict[str, object]:
    """Write the report of all scores that belong to the data set as it is now, and return where.

    Raises
    ------
    ProbelineError
    """
    settings = session.settings
    scores = current_scores(session, "compare")
    missing = list(dict.fromkeys(row for work in _asked(session) for row in _missing(work, scores)))
    extra = {"Embeddings": _caches(session)}
    parts = {split.role: split.part for split in (session.splits.train, session.splits.val, session.splits.test)}
    if parts["test"] not in ("test", parts["train"]):
        told = ", ".join(f"{role} is of its {part!r}" for role, part in parts.items())
        extra[PARTS] = [f"What the data set calls {parts['test']!r} is the test set here: {told}."]
    for join in session.dataset.joins:
        extra[join.kind.capitalize()] = [join.told]
    if found := copies(session.dataset, session.splits):
        extra["Copies"] = [found.removeprefix("copies: ")]
    curves, table = _curves(session), blocks(scores)
    held = _held(session, table, curves)
    shown, latencies = drawn(session, scores), _latencies(session)
    missing += shown.missing
    beside = Beside(
        curves,
        _range_tests(session),
        held,
        latencies,
        shown.pictures,
        shown.galleries,
        shown.maps,
        _doctor(session, scores),
        commands(settings, table),
    )
    beside = replace(beside, unasked=_unasked(settings, beside, {score.backbone for score in scores}) if scores else {})
    report = write(scores, missing, session.reports, extra, beside)
    settings.console.say(terminal(table, missing, curves))
    if held and held.lines:
        there = sum(ours is not None for _, ours in held.lines)
        settings.console.say(
            f"compare: {there} of {len(held.lines)} published numbers of {held.recipe} have one beside them"
        )
    state = "written to" if report.written else "is up to date in"
    settings.console.say(f"compare: the report {state} {report.markdown}")
    settings.console.say(f"compare: the page is {report.page}")
    for folder in _caches(session):
        settings.console.say(f"compare: embeddings are in {folder}")
    return {"report": str(report.markdown), "json": str(report.json), "csv": str(report.csv), "page": str(report.page)}


_OTHERS = ("mobilenet_v2", "resnet50")


def _unasked(settings: Settings, beside: Beside, nets: Collection[str]) -> dict[str, str]:
    """Return what a report could tell besides and no verb was asked for, with the command of each."""
    told = {
        "curve": ("what more labels would give", beside.curves),
        "pictures": ("mistakes, a map and the first filters", beside.pictures),
        "doctor": ("a check of the data", beside.doctor),
        "latency": ("what a forward pass costs", beside.latencies),
    }
    unasked = {what: command_line(settings, verb) for verb, (what, there) in told.items() if not there}
    if len(nets) == 1:
        other = next(name for name in _OTHERS if name not in nets)
        # Taps, and weights if there are any, may be of this net alone.
        weights = settings.nets.weights if settings.nets.weights == "none" else Settings().nets.weights
        command = command_line(settings, "run", backbones=(other,), taps=Settings().reading.taps, weights=weights)
        unasked[f"another backbone, such as {other}"] = command
    return unasked


def _curves(session: Session) -> list[Curve]:
    """Return the learning curves of just these splits and of the present methods, of several of one backbone one.

    That is the one with the steps, draws and training that the run asks for, or else the one that was written last.
    """
    say = session.console.say
    found = _of_these_splits(session, "learning curves", *CURVES.load(session.reports))
    curves = [curve for curve in found if curve.method == Method.PROBE or curve.options.get("version") == TRAIN_VERSION]
    if len(curves) < len(found):
        say(f"compare: left out {len(found) - len(curves)} learning curves of an earlier version of training")
    newest: dict[tuple[object, ...], Curve] = {}
    for curve in sorted(curves, key=lambda curve: _drawn_as_asked(session, curve)):
        place = (curve.backbone, curve.weights, curve.image_size, curve.precision, curve.tap, curve.method)
        if place in newest:
            shown = "the one asked for" if _drawn_as_asked(session, curve) else "the last run"
            say(f"compare: of several curves of {curve.backbone} {shown} is shown, with {curve.draws} draws")
        newest[place] = curve
    return sorted(newest.values(), key=lambda curve: -max(point.test_top1 for point in curve.points))


def _range_tests(session: Session) -> list[RangeTest]:
    """Return the range tests of just these splits and of the present trainer, of equal ones that written last."""
    tests = _of_these_splits(session, "range tests", *RANGE_TESTS.load(session.reports))
    current = [test for test in tests if test.options.get("version") == TRAIN_VERSION]
    if len(current) < len(tests):
        session.console.say(
            f"compare: left out {len(tests) - len(current)} range tests of an earlier version of training"
        )
    newest: dict[tuple[object, ...], RangeTest] = {}
    for test in current:
        net = (test.backbone, order(test.method), test.weights, test.image_size, test.precision)
        newest[(*net, test.seed, canonical(asked(test)))] = test
    return [newest[place] for place in sorted(newest)]


def _of_these_splits(
    session: Session, what: str, found: Sequence[OfRows], ignored: Sequence[SkippedFile]
) -> list[OfRows]:
    """Return what was found of just these rows and labels, and tell of the rest."""
    say = session.console.say
    for item in ignored:
        say(f"compare: left out {item.path}: {item.reason}")
    here = [one for one in found if one.splits == session.splits_sha256]
    if len(here) < len(found):
        say(f"compare: left out {len(found) - len(here)} {what} of other rows or labels")
    return here


def _drawn_as_asked(session: Session, curve: Curve) -> bool:
    """Say whether a curve has the steps and draws that the run asks for, and if of a training, its options."""
    there = {(point.kind, point.amount) for point in curve.points}

    def drawn(settings: Settings) -> bool:
        shots = set() if settings.curve.shots == (0,) else {("shots", float(k)) for k in settings.curve.shots}
        steps = shots | {("fraction", percent) for percent in settings.curve.fractions}
        return curve.draws == settings.curve.draws and there == steps and _trained_as_asked(settings, curve)

    return any(drawn(settings) for settings, _ in _asked(session))


def _trained_as_asked(settings: Settings, curve: Curve) -> bool:
    asked = [
        training_options(settings, one) for one in settings.curve.curve_strategies if method_of(one) == curve.method
    ]
    return curve.method == Method.PROBE or any(
        all([curve.options.get(name)] == list(values) for name, values in options.items()) for options in asked
    )


def _latencies(session: Session) -> list[Latency]:
    """Return what was timed, of several times of one net under one name of a device the last."""
    found, ignored = LATENCIES.load(session.reports)
    for item in ignored:
        session.console.say(f"compare: left out {item.path}: {item.reason}")
    newest: dict[tuple[object, ...], Latency] = {}
    for one in found:
        where = tuple(one.environment.get(name) for name in ("machine", "processor", "device"))
        newest[(one.backbone, one.weights, one.image_size, one.precision, one.threads, *where)] = one
    return list(newest.values())


def _doctor(session: Session, scores: Sequence[Score]) -> Findings | None:
    """Return what was found in just these images and labels: with the backbone that val prefers, last."""
    say = session.console.say
    found, ignored = FINDINGS.load(session.reports)
    for item in ignored:
        say(f"compare: left out {item.path}: {item.reason}")
    parts = {name: session.dataset.parts[name].samples_sha256 for name in session.parts()}
    now = (DOCTOR_VERSION, parts, session.splits_sha256, list(session.dataset.class_names))
    here = [one for one in found if tuple(one.of.get(name) for name in _EXAMINED) == now]
    if len(here) < len(found):
        say(f"compare: left out {len(found) - len(here)} findings of the doctor in other images, splits or labels")

    def merit(doctor: Findings) -> float:
        net = (doctor.backbone, doctor.weights, doctor.image_size, doctor.precision)
        same = (score for score in scores if (score.backbone, score.weights, score.image_size, score.precision) == net)
        return max((score.val_top1 for score in same if score.method == Method.PROBE), default=-1.0)

    best = max(reversed(here), key=merit, default=None)
    if best and len(here) > 1:
        say(f"compare: of {len(here)} findings of the doctor those with {best.backbone} are shown")
    return best


_EXAMINED = ("version", "parts", "splits", "class_names")
"""Of what the doctor looked at, what must be as it is now."""


def _caches(session: Session) -> list[str]:
    # Read off the disk: which net the configuration asks for need not be known, nor be at hand, to compare scores.
    folder = session.settings.folders.cache / session.dataset.name
    return sorted(str(entry.parent) for entry in folder.glob("*/*/entry.json"))


def _as_asked(settings: Settings, score: Score | Curve) -> bool:
    """Return whether a score or a curve is of the weights, input size and precision that the settings ask for."""
    specs = [spec for spec in settings.nets.specs if spec.name == score.backbone]
    default = BackboneSpec(score.backbone, settings.nets.weights)
    own_start = score.method == Method.SCRATCH
    weights = own_start or any(spec.gives(score.weights) for spec in specs or [default])
    size = settings.nets.image_size in (None, score.image_size)
    return weights and size and score.precision == settings.nets.precision


def _is_of(spec: BackboneSpec, settings: Settings, score: Score) -> bool:
    """Return whether a score is of a backbone as it is asked for; if its weights are left open, any will do."""
    weights = spec.weights == "DEFAULT" or score.method == Method.SCRATCH or spec.gives(score.weights)
    size = settings.nets.image_size in (None, score.image_size)
    return weights and size and score.precision == settings.nets.precision


def _read_as_asked(settings: Settings, tap: str, score: Score) -> bool:
    """Say whether a head was given this tap, and the views that the configuration asks for; training knows of neither.

    Which blocks ``last-4`` stands for only the net knows: any tap will do.
    """
    if method_info(score.method).trains:
        return True
    return (score.tap == tap or any(map(LAST_K.fullmatch, split_tap(tap)))) and score.views == settings.reading.views


def _fitted_as_asked(settings: Settings, score: Score) -> bool:
    """Say whether a head that is trained in minibatches had the grid that the configuration asks for."""
    axes = {"probe-sgd": ("sgd", SGD, settings.heads.sgd), "probe-mlp": ("mlp", MLP, settings.heads.mlp)}.get(
        score.method
    )
    return axes is None or all(score.options.get(name) == list(values) for name, values in grid(*axes).values.items())


def _asked(session: Session) -> Sequence[Step]:
    """Return what the run asks for: a recipe's steps, or everything under its one configuration."""
    return session.steps or ((session.settings, tuple({one.verb for one in METHODS})),)


def _missing(work: Step, scores: list[Score]) -> list[tuple[str, str]]:
    settings, verbs = work
    seeds = range(settings.seeding.seed, settings.seeding.seed + settings.seeding.seeds)
    found: dict[tuple[str, str], None] = {}
    for text, spec in zip(settings.nets.backbones, settings.nets.specs, strict=True):
        name = spec.name
        asked = [score for score in scores if score.backbone == name and _is_of(spec, settings, score)]
        for tap in settings.reading.taps:
            there = {
                (score.backbone, score.method, score.seed)
                for score in asked
                if _read_as_asked(settings, tap, score) and _fitted_as_asked(settings, score)
            }
            for one, options in _wanted(settings, verbs):
                wanted = list(seeds) if one.seeded else [None]
                absent = [seed for seed in wanted if (name, one.name, seed) not in there]
                if absent:
                    net = name if tap == PENULTIMATE or one.trains else f"{name} at {tap}"
                    few = f", seed {', '.join(map(str, absent))}" if len(absent) < len(wanted) else ""
                    what = f"{one.title} of {net}{few}"
                    found[what, command_line(settings, one.verb, backbones=(text,), **options)] = None
    return list(found)


def _wanted(settings: Settings, verbs: Collection[str]) -> list[tuple[MethodInfo, dict[str, Any]]]:
    """Return the methods that these verbs would score under the configuration, with the options that are theirs."""
    heads: list[tuple[MethodInfo, dict[str, Any]]] = [
        (one, {}) for one in METHODS if not one.trains and (one.name != "probe-mlp" or settings.heads.mlp)
    ]
    trainings = [
        (method_info(method_of(strategy)), {"taps": (PENULTIMATE,), "views": 0, "strategies": (strategy,)})
        for strategy in settings.training.strategies
    ]
    return [(one, options) for one, options in (*heads, *trainings) if one.verb in verbs]


def _held(session: Session, table: Sequence[Block], curves: Sequence[Curve]) -> Held | None:
    """Return the recipe's published numbers, and beside them what of ours is as it was asked for."""
    settings = session.settings
    pairs = [pair for block in table for pair in zip(block.rows, block.scores, strict=True)]
    rows = [row for row, scores in pairs if _as_asked(settings, scores[0])]
    return hold(session, rows, [curve for curve in curves if _as_asked(settings, curve)])
