"""What a recipe tells of published numbers, held beside the rows and curves of a run."""

from __future__ import annotations

from collections.abc import Sequence

from probeline.format import option
from probeline.options.settings import OPTIONS, Settings
from probeline.recipes import Recipe, read
from probeline.report.model.rows import Row
from probeline.report.sections.published import Held, beside
from probeline.results.curve import Curve
from probeline.session import Session

_ASIDE = ("recipe", "dataset", "backbones", "device", "workers", "canary", "frozen_gb", "imagenet")
"""Options by which a run does not depart from a recipe, or that the table tells of."""


def hold(session: Session, rows: Sequence[Row], curves: Sequence[Curve]) -> Held | None:
    """Return the published numbers of the run's recipe, and ours beside them; None where nothing is told of any.

    Parameters
    ----------
    session : Session
    rows, curves : sequences of Row and Curve
        Of the weights, input size and precision that were asked for.
    """
    if session.settings.run.recipe is None:
        return None
    recipe = read(session.settings.run.recipe)
    if not recipe.published and not recipe.differences:
        return None
    configs = [settings for settings, _ in session.steps] or [session.settings] * len(recipe.steps)
    title = session.dataset.title
    lines = beside(
        recipe.published,
        rows,
        curves,
        backbones=tuple(dict.fromkeys(spec.name for settings in configs for spec in settings.nets.specs)),
        data=None if title == recipe.dataset else title,
    )
    return Held(recipe.name, recipe.source, lines, _changed(configs, recipe), recipe.differences)


def _changed(configs: Sequence[Settings], recipe: Recipe) -> tuple[str, ...]:
    """Return in words the options in which the steps that were asked for are not the recipe's."""
    found: dict[str, None] = {}
    for settings, step in zip(configs, recipe.steps, strict=True):
        own = Settings.of(**{**recipe.options, **step.options})
        for name in (name for name, one in OPTIONS.items() if not one.local and name not in _ASIDE):
            value = settings.value(name)
            if value != own.value(name):
                found[f"no {name}" if value in (None, ()) else option(name, value, exactly=True)] = None
    return tuple(found)
