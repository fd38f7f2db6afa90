"""The registry of head methods: those of the package, and others by the entry-point group ``probeline.heads``."""

from __future__ import annotations

import functools
from typing import Any

from probeline.errors import BadOption, UnknownName
from probeline.evaluate.heads.attentive import PROBE_ATTENTIVE
from probeline.evaluate.heads.estimators import requested_estimator
from probeline.evaluate.heads.exact import LOGISTIC, PROBE, PROBE_REFIT, RIDGE
from probeline.evaluate.heads.method import MethodOf
from probeline.evaluate.heads.minibatch import PROBE_MLP, PROBE_SGD
from probeline.evaluate.heads.neighbours import CENTROID, CENTROID_SHRUNKEN, KNN, KNN_WEIGHTED
from probeline.evaluate.heads.ordinal import ORDINAL
from probeline.evaluate.heads.zero_shot import PROBE_FROM_ZERO_SHOT, ZERO_SHOT
from probeline.names import ESTIMATOR
from probeline.options.groups.fitting import HeadOptions
from probeline.plugins import Plugins
from probeline.results.methods import HEADS_GROUP, register_method

_PROBES = (PROBE, PROBE_REFIT, ORDINAL, PROBE_SGD, PROBE_MLP, PROBE_ATTENTIVE, ZERO_SHOT, PROBE_FROM_ZERO_SHOT)
_BASELINES = (LOGISTIC, RIDGE, KNN, KNN_WEIGHTED, CENTROID, CENTROID_SHRUNKEN)
_METHODS: dict[str, MethodOf[Any, Any]] = {method.name: method for method in (*_PROBES, *_BASELINES)}
_PLUGINS: Plugins[MethodOf[Any, Any]] = Plugins(
    "head method", "probeline.evaluate.heads", HEADS_GROUP, ("name", "candidates", "fit", "logits")
)


def register_head(method: MethodOf[Any, Any]) -> None:
    """Add a method, for this process.

    Raises
    ------
    ValueError
        Its name is taken, or is no name.
    """
    if method.name in _METHODS:
        raise ValueError(f"there is a head method {method.name!r} already")
    register_method(method.name, verb=method.verb, is_seeded=method.is_seeded, weighs_classes=method.weighs_classes)
    _METHODS[method.name] = method


@functools.cache
def _load_entry_points() -> None:
    for name in _PLUGINS.added():
        register_head(_PLUGINS.load(name))


def all_head_methods(verb: str) -> list[MethodOf[Any, Any]]:
    """Return the registered methods of a verb, in the order of their registration."""
    _load_entry_points()
    return [method for method in _METHODS.values() if method.verb == verb]


def head_methods(verb: str, options: HeadOptions) -> list[MethodOf[Any, Any]]:
    """Return the methods that a verb fits with these options."""
    own = [method for method in all_head_methods(verb) if method.is_requested(options)]
    estimator = requested_estimator(options) if verb == "probe" else None
    return [*own, *([estimator] if estimator else [])]


def head_method(name: str) -> MethodOf[Any, Any]:
    """Return the method of a score, if its name says all of it; BadOption for a classifier of another package."""
    _load_entry_points()
    if ESTIMATOR.fullmatch(name):
        raise BadOption(f"{name} cannot be exported", expected="a method that has layers", got=name)
    if name not in _METHODS:
        raise UnknownName("head method", name, _METHODS)
    return _METHODS[name]
