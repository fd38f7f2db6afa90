"""Published numbers of a recipe, each with what was measured here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from probeline.format import option, plural
from probeline.metrics.intervals import wilson
from probeline.names import PENULTIMATE, Method
from probeline.options.settings import OPTIONS, Settings
from probeline.recipes import Published, Recipe, read
from probeline.report.model.row import Row
from probeline.report.records.learning_steps import Step, steps
from probeline.results.curve import Curve
from probeline.results.methods import method_info
from probeline.session import Session

_ASIDE = ("recipe", "dataset", "backbones", "device", "workers", "canary", "frozen_gb", "imagenet")
"""Options that may differ from a recipe without changing its protocol, or that the table shows."""


@dataclass(frozen=True)
class Ours:
    """What was measured here with a method.

    Attributes
    ----------
    top1 : float
        On test, the mean over seeds or draws, in [0, 1]; `interval` is Wilson's 95 % interval for other test images.
    n_train : tuple of 2 ints
        The fewest and the most images that were fitted on.
    runs : str
        ``1 seed``, ``3 draws``; empty if nothing is random.
    other : tuple of str
        How it differs from what was published: net, data, weights; and which run of several it is.
    """

    backbone: str
    top1: float
    interval: tuple[float, float]
    n_train: tuple[int, int]
    n_test: int
    runs: str
    trainable: int | None
    other: tuple[str, ...]


@dataclass(frozen=True)
class PublishedComparison:
    """A recipe's published numbers, each with ours, or None if nothing here compares.

    In words, `changed` are the options in which the run differs from the recipe, and `differences` those of the
    protocols.
    """

    recipe: str
    source: str
    lines: tuple[tuple[Published, Ours | None], ...]
    changed: tuple[str, ...]
    differences: tuple[str, ...]

    @property
    def in_words(self) -> str:
        """How many of the numbers are compared with ours."""
        matched = sum(ours is not None for _, ours in self.lines)
        return f"{matched} of {len(self.lines)} published numbers of {self.recipe} compared with ours"

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, shares in [0, 1]."""
        rows = [{**asdict(number), "ours": ours and asdict(ours)} for number, ours in self.lines]
        return {**asdict(self), "lines": rows}


def compare_with_recipe(session: Session, rows: Sequence[Row], curves: Sequence[Curve]) -> PublishedComparison | None:
    """Return the published numbers of the run's recipe, each with ours; None if the recipe has none.

    Rows and curves are those of the requested weights, input size and precision.
    """
    if session.settings.run.recipe is None:
        return None
    recipe = read(session.settings.run.recipe)
    if not recipe.published and not recipe.differences:
        return None
    steps_settings = [settings for settings, _ in session.steps] or [session.settings] * len(recipe.steps)
    backbones = tuple(dict.fromkeys(spec.name for settings in steps_settings for spec in settings.nets.specs))
    title = session.dataset.title
    data = None if title == recipe.dataset else title
    lines = compare_published(recipe.published, rows, curves, backbones=backbones, data=data)
    changed = _changed_options(steps_settings, recipe)
    return PublishedComparison(recipe.name, recipe.source, lines, changed, recipe.differences)


def _changed_options(steps_settings: Sequence[Settings], recipe: Recipe) -> tuple[str, ...]:
    """Return in words the options in which the requested steps differ from the recipe's."""
    changed: dict[str, None] = {}
    for settings, step in zip(steps_settings, recipe.steps, strict=True):
        own = Settings.of(**{**recipe.options, **step.options})
        for name in (name for name, one in OPTIONS.items() if not one.local and name not in _ASIDE):
            value = settings.value(name)
            if value != own.value(name):
                changed[f"no {name}" if value in (None, ()) else option(name, value, exactly=True)] = None
    return tuple(changed)


def compare_published(
    published: Sequence[Published],
    rows: Sequence[Row],
    curves: Sequence[Curve],
    *,
    backbones: Sequence[str],
    data: str | None,
) -> tuple[tuple[Published, Ours | None], ...]:
    """Return each published number with ours, once for each run of ours.

    A requested backbone without published numbers is compared with the published ones that were not requested. `data`
    is our data set, if the published numbers are of another one.
    """
    known = {number.backbone for number in published}
    unpublished = [name for name in backbones if name not in known]
    lines: list[tuple[Published, Ours | None]] = []
    for number in published:
        nets = [number.backbone] if number.backbone in backbones or not unpublished else unpublished
        ours = [mine for net in nets for mine in _ours(number, net, rows, curves, data)]
        lines += [(number, mine) for mine in ours] or [(number, None)]
    return tuple(lines)


def curve_step(curves: Iterable[Curve], backbone: str, name: str, portion: float) -> tuple[Curve, Step] | None:
    """Return the learning curve of a backbone and a method, and its step at a percentage of the train images."""
    for curve in curves:
        if (curve.backbone, curve.method, curve.tap) == (backbone, name, PENULTIMATE):
            for step in steps(curve):
                if (step.kind, step.amount) == ("fraction", portion):
                    return curve, step
    return None


def _ours(
    number: Published, net: str, rows: Sequence[Row], curves: Sequence[Curve], data: str | None
) -> Iterable[Ours]:
    def other(weights: str, *more: str) -> tuple[str, ...]:
        untrained = "untrained" if weights == "none" and number.method != Method.SCRATCH else ""
        return tuple(filter(None, (net if net != number.backbone else "", data or "", untrained, *more)))

    if number.portion is not None:
        if at_portion := curve_step(curves, net, number.method, number.portion):
            curve, step = at_portion
            interval = wilson(step.mean * curve.n_test, curve.n_test)
            runs = plural(step.draws, "draw")
            yield Ours(net, step.mean, interval, step.n_train, curve.n_test, runs, None, other(curve.weights))
        return
    for row in rows:
        if (row.backbone, row.method, row.where) == (net, number.method, ""):
            runs = plural(row.seeds, "seed") if method_info(row.method).seeded else ""
            sizes = (row.n_train, row.n_train)
            more = other(row.weights, row.variant)
            yield Ours(net, row.top1, row.interval, sizes, row.n_test, runs, row.trainable, more)
