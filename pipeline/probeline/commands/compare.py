"""Compare: one table, its figures and its conditions from every score of the data set; no torch."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from probeline.data.annotations.exact_copies import copies
from probeline.finetune.run import training_options
from probeline.identity import DOCTOR_VERSION, TRAIN_VERSION, canonical
from probeline.names import LAST_K, PENULTIMATE, Method, is_weights_file, method_of, split_tap
from probeline.options.config import Config, Work, command_line
from probeline.options.grids import MLP, SGD, grid
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
from probeline.results.current import current_scores
from probeline.results.curve import CURVES, Curve
from probeline.results.findings import FINDINGS, Findings
from probeline.results.latency import LATENCIES, Latency
from probeline.results.methods import METHODS, MethodInfo, method_info, order
from probeline.results.range_test import RANGE_TESTS, RangeTest
from probeline.results.score import Score
from probeline.results.store import SkippedFile
from probeline.session import Inputs

OfRows = TypeVar("OfRows", Curve, RangeTest)


def run(inputs: Inputs) -> dict[str, object]:
    """Write the report of all scores that belong to the data set as it is now, and return where.

    Raises
    ------
    ProbelineError
    """
    config = inputs.config
    scores = current_scores(inputs, "compare")
    missing = list(dict.fromkeys(row for work in _asked(inputs) for row in _missing(work, scores)))
    extra = {"Embeddings": _caches(inputs)}
    parts = {split.role: split.part for split in (inputs.splits.train, inputs.splits.val, inputs.splits.test)}
    if parts["test"] not in ("test", parts["train"]):
        told = ", ".join(f"{role} is of its {part!r}" for role, part in parts.items())
        extra[PARTS] = [f"What the data set calls {parts['test']!r} is the test set here: {told}."]
    for join in inputs.dataset.joins:
        extra[join.kind.capitalize()] = [join.told]
    if found := copies(inputs.dataset, inputs.splits):
        extra["Copies"] = [found.removeprefix("copies: ")]
    curves, table = _curves(inputs), blocks(scores)
    held = _held(inputs, table, curves)
    shown, latencies = drawn(inputs, scores), _latencies(inputs)
    missing += shown.missing
    beside = Beside(
        curves,
        _range_tests(inputs),
        held,
        latencies,
        shown.pictures,
        shown.galleries,
        shown.maps,
        _doctor(inputs, scores),
        commands(config, table),
    )
    beside = replace(beside, unasked=_unasked(config, beside, {score.backbone for score in scores}) if scores else {})
    report = write(scores, missing, inputs.reports, extra, beside)
    config.console.say(terminal(table, missing, curves))
    if held and held.lines:
        there = sum(ours is not None for _, ours in held.lines)
        config.console.say(
            f"compare: {there} of {len(held.lines)} published numbers of {held.recipe} have one beside them"
        )
    state = "written to" if report.written else "is up to date in"
    config.console.say(f"compare: the report {state} {report.markdown}")
    config.console.say(f"compare: the page is {report.page}")
    for folder in _caches(inputs):
        config.console.say(f"compare: embeddings are in {folder}")
    return {"report": str(report.markdown), "json": str(report.json), "csv": str(report.csv), "page": str(report.page)}


_OTHERS = ("mobilenet_v2", "resnet50")


def _unasked(config: Config, beside: Beside, nets: Collection[str]) -> dict[str, str]:
    """Return what a report could tell besides and no verb was asked for, with the command of each."""
    told = {
        "curve": ("what more labels would give", beside.curves),
        "pictures": ("mistakes, a map and the first filters", beside.pictures),
        "doctor": ("a check of the data", beside.doctor),
        "latency": ("what a forward pass costs", beside.latencies),
    }
    unasked = {what: command_line(config, verb) for verb, (what, there) in told.items() if not there}
    if len(nets) == 1:
        other = next(name for name in _OTHERS if name not in nets)
        # Taps, and weights if there are any, may be of this net alone.
        weights = config.weights if config.weights == "none" else Config().weights
        command = command_line(config, "run", backbones=(other,), taps=Config().taps, weights=weights)
        unasked[f"another backbone, such as {other}"] = command
    return unasked


def _curves(inputs: Inputs) -> list[Curve]:
    """Return the learning curves of just these splits and of the present methods, of several of one backbone one.

    That is the one with the steps, draws and training that the run asks for, or else the one that was written last.
    """
    say = inputs.config.console.say
    found = _of_these_splits(inputs, "learning curves", *CURVES.load(inputs.reports))
    curves = [curve for curve in found if curve.method == Method.PROBE or curve.options.get("version") == TRAIN_VERSION]
    if len(curves) < len(found):
        say(f"compare: left out {len(found) - len(curves)} learning curves of an earlier version of training")
    newest: dict[tuple[object, ...], Curve] = {}
    for curve in sorted(curves, key=lambda curve: _drawn_as_asked(inputs, curve)):
        place = (curve.backbone, curve.weights, curve.image_size, curve.precision, curve.tap, curve.method)
        if place in newest:
            shown = "the one asked for" if _drawn_as_asked(inputs, curve) else "the last run"
            say(f"compare: of several curves of {curve.backbone} {shown} is shown, with {curve.draws} draws")
        newest[place] = curve
    return sorted(newest.values(), key=lambda curve: -max(point.test_top1 for point in curve.points))


def _range_tests(inputs: Inputs) -> list[RangeTest]:
    """Return the range tests of just these splits and of the present trainer, of equal ones that written last."""
    tests = _of_these_splits(inputs, "range tests", *RANGE_TESTS.load(inputs.reports))
    current = [test for test in tests if test.options.get("version") == TRAIN_VERSION]
    if len(current) < len(tests):
        inputs.config.console.say(
            f"compare: left out {len(tests) - len(current)} range tests of an earlier version of training"
        )
    newest: dict[tuple[object, ...], RangeTest] = {}
    for test in current:
        net = (test.backbone, order(test.method), test.weights, test.image_size, test.precision)
        newest[(*net, test.seed, canonical(asked(test)))] = test
    return [newest[place] for place in sorted(newest)]


def _of_these_splits(
    inputs: Inputs, what: str, found: Sequence[OfRows], ignored: Sequence[SkippedFile]
) -> list[OfRows]:
    """Return what was found of just these rows and labels, and tell of the rest."""
    say = inputs.config.console.say
    for item in ignored:
        say(f"compare: left out {item.path}: {item.reason}")
    here = [one for one in found if one.splits == inputs.splits_sha256]
    if len(here) < len(found):
        say(f"compare: left out {len(found) - len(here)} {what} of other rows or labels")
    return here


def _drawn_as_asked(inputs: Inputs, curve: Curve) -> bool:
    """Say whether a curve has the steps and draws that the run asks for, and if of a training, its options."""
    there = {(point.kind, point.amount) for point in curve.points}

    def drawn(config: Config) -> bool:
        shots = set() if config.shots == (0,) else {("shots", float(k)) for k in config.shots}
        steps = shots | {("fraction", percent) for percent in config.fractions}
        return curve.draws == config.draws and there == steps and _trained_as_asked(config, curve)

    return any(drawn(config) for config, _ in _asked(inputs))


def _trained_as_asked(config: Config, curve: Curve) -> bool:
    asked = [training_options(config, one) for one in config.curve_strategies if method_of(one) == curve.method]
    return curve.method == Method.PROBE or any(
        all([curve.options.get(name)] == list(values) for name, values in options.items()) for options in asked
    )


def _latencies(inputs: Inputs) -> list[Latency]:
    """Return what was timed, of several times of one net under one name of a device the last."""
    found, ignored = LATENCIES.load(inputs.reports)
    for item in ignored:
        inputs.config.console.say(f"compare: left out {item.path}: {item.reason}")
    newest: dict[tuple[object, ...], Latency] = {}
    for one in found:
        where = tuple(one.environment.get(name) for name in ("machine", "processor", "device"))
        newest[(one.backbone, one.weights, one.image_size, one.precision, one.threads, *where)] = one
    return list(newest.values())


def _doctor(inputs: Inputs, scores: Sequence[Score]) -> Findings | None:
    """Return what was found in just these images and labels: with the backbone that val prefers, last."""
    say = inputs.config.console.say
    found, ignored = FINDINGS.load(inputs.reports)
    for item in ignored:
        say(f"compare: left out {item.path}: {item.reason}")
    parts = {name: inputs.dataset.parts[name].samples_sha256 for name in inputs.parts()}
    now = (DOCTOR_VERSION, parts, inputs.splits_sha256, list(inputs.dataset.class_names))
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


def _caches(inputs: Inputs) -> list[str]:
    # Read off the disk: which net the configuration asks for need not be known, nor be at hand, to compare scores.
    folder = inputs.config.cache / inputs.dataset.name
    return sorted(str(entry.parent) for entry in folder.glob("*/*/entry.json"))


def _as_asked(config: Config, name: str, score: Score | Curve) -> bool:
    """Say whether a score of a method is of the weights, input size and precision that the configuration asks for.

    Told without building a net: what ``DEFAULT`` stands for is not looked up, any pretrained weights will do.
    """
    asked = Path(config.weights).name if is_weights_file(config.weights) else config.weights
    weights = name == Method.SCRATCH or score.weights == asked or (asked == "DEFAULT" and score.weights != "none")
    size = config.image_size in (None, score.image_size)
    return weights and size and score.precision == config.precision


def _read_as_asked(config: Config, tap: str, score: Score) -> bool:
    """Say whether a head was given this tap, and the views that the configuration asks for; training knows of neither.

    Which blocks ``last-4`` stands for only the net knows: any tap will do.
    """
    if method_info(score.method).trains:
        return True
    return (score.tap == tap or any(map(LAST_K.fullmatch, split_tap(tap)))) and score.views == config.views


def _fitted_as_asked(config: Config, score: Score) -> bool:
    """Say whether a head that is trained in minibatches had the grid that the configuration asks for."""
    axes = {"probe-sgd": ("sgd", SGD, config.sgd), "probe-mlp": ("mlp", MLP, config.mlp)}.get(score.method)
    return axes is None or all(score.options.get(name) == list(values) for name, values in grid(*axes).values.items())


def _asked(inputs: Inputs) -> Sequence[Work]:
    """Return what the run asks for: a recipe's steps, or everything under its one configuration."""
    return inputs.asked or ((inputs.config, tuple({one.verb for one in METHODS})),)


def _missing(work: Work, scores: list[Score]) -> list[tuple[str, str]]:
    config, verbs = work
    asked = [score for score in scores if _as_asked(config, score.method, score)]
    seeds = range(config.seed, config.seed + config.seeds)
    found: dict[tuple[str, str], None] = {}
    for name in config.backbones:
        for tap in config.taps:
            there = {
                (score.backbone, score.method, score.seed)
                for score in asked
                if _read_as_asked(config, tap, score) and _fitted_as_asked(config, score)
            }
            for one, options in _wanted(config, verbs):
                wanted = list(seeds) if one.seeded else [None]
                absent = [seed for seed in wanted if (name, one.name, seed) not in there]
                if absent:
                    net = name if tap == PENULTIMATE or one.trains else f"{name} at {tap}"
                    few = f", seed {', '.join(map(str, absent))}" if len(absent) < len(wanted) else ""
                    what = f"{one.title} of {net}{few}"
                    found[what, command_line(config, one.verb, backbones=(name,), **options)] = None
    return list(found)


def _wanted(config: Config, verbs: Collection[str]) -> list[tuple[MethodInfo, dict[str, Any]]]:
    """Return the methods that these verbs would score under the configuration, with the options that are theirs."""
    heads: list[tuple[MethodInfo, dict[str, Any]]] = [
        (one, {}) for one in METHODS if not one.trains and (one.name != "probe-mlp" or config.mlp)
    ]
    trainings = [
        (method_info(method_of(strategy)), {"taps": (PENULTIMATE,), "views": 0, "strategies": (strategy,)})
        for strategy in config.strategies
    ]
    return [(one, options) for one, options in (*heads, *trainings) if one.verb in verbs]


def _held(inputs: Inputs, table: Sequence[Block], curves: Sequence[Curve]) -> Held | None:
    """Return the recipe's published numbers, and beside them what of ours is as it was asked for."""
    config = inputs.config
    pairs = [pair for block in table for pair in zip(block.rows, block.scores, strict=True)]
    rows = [row for row, scores in pairs if _as_asked(config, row.method, scores[0])]
    return hold(inputs, rows, [curve for curve in curves if _as_asked(config, curve.method, curve)])
