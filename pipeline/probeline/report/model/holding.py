"""What a recipe tells of published numbers, held beside the rows and curves of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from probeline.format import option
from probeline.options.config import Config
from probeline.recipes import PLACES, Recipe, read
from probeline.report.model.rows import Row
from probeline.report.sections.published import Held, beside
from probeline.results.curve import Curve
from probeline.session import Inputs

_ASIDE = (*PLACES, "dataset", "backbones", "device", "workers", "canary", "frozen_gb", "imagenet")
"""Options by which a run does not depart from a recipe, or that the table tells of."""


def hold(inputs: Inputs, rows: Sequence[Row], curves: Sequence[Curve]) -> Held | None:
    """Return the published numbers of the run's recipe, and ours beside them; None where nothing is told of any.

    Parameters
    ----------
    inputs : Inputs
    rows, curves : sequences of Row and Curve
        Of the weights, input size and precision that were asked for.
    """
    if inputs.config.recipe is None:
        return None
    recipe = read(inputs.config.recipe)
    if not recipe.published and not recipe.differences:
        return None
    configs = [config for config, _ in inputs.asked] or [inputs.config] * len(recipe.steps)
    title = inputs.dataset.title
    lines = beside(
        recipe.published,
        rows,
        curves,
        backbones=tuple(dict.fromkeys(name for config in configs for name in config.backbones)),
        data=None if title == recipe.dataset else title,
    )
    return Held(recipe.name, recipe.source, lines, _changed(configs, recipe), recipe.differences)


def _changed(configs: Sequence[Config], recipe: Recipe) -> tuple[str, ...]:
    """Return in words the options in which the steps that were asked for are not the recipe's."""
    found: dict[str, None] = {}
    for config, step in zip(configs, recipe.steps, strict=True):
        own = Config(**{**recipe.options, **step.options})
        for name in (field.name for field in fields(Config) if field.name not in _ASIDE):
            value = getattr(config, name)
            if value != getattr(own, name):
                found[f"no {name}" if value in (None, ()) else option(name, value, exactly=True)] = None
    return tuple(found)
