"""What the options of a score say of how its fit was selected and weighted: nothing at the defaults, as ever."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from probeline.errors import BadOption
from probeline.heads.class_weights import BALANCED, ClassWeights
from probeline.names import TOP1, Method
from probeline.options.class_order import class_order
from probeline.options.class_weights import class_weight_options
from probeline.options.settings import Settings


def metric_options(metric: str) -> dict[str, str]:
    """Return what the options of a score say of the metric that selected: nothing at the default."""
    return {} if metric == TOP1 else {"select_by": metric}


def fit_options(settings: Settings, class_names: Sequence[str], *, weighs_classes: bool = True) -> dict[str, Any]:
    """Return what the options of a score say of the metric that selects, and of class weights if the method has a use.

    Raises
    ------
    UnknownName, BadOption
        The weights name another class, or are none.
    """
    weights = class_weight_options(settings.fitting.class_weights, class_names) if weighs_classes else {}
    return {**metric_options(settings.fitting.metric), **weights}


def order_options(settings: Settings, class_names: Sequence[str]) -> dict[str, Any]:
    """Return what the options of a score say of the order of its classes.

    Raises
    ------
    UnknownName, BadOption
        ``--ordinal`` is missing, or gives no order of these classes.
    """
    order = class_order(settings.heads.ordinal, class_names)
    if not order:
        raise BadOption(
            f"{Method.ORDINAL} without an order of the classes",
            expected="--ordinal CLASS CLASS ... from the lowest to the highest, or --ordinal numeric",
        )
    return {"order": list(order)}


def order_in(options: Mapping[str, Any], class_names: Sequence[str]) -> tuple[int, ...]:
    """Return the numbers of the classes in the order that the options of a score name; empty without one."""
    numbers = {name: number for number, name in enumerate(class_names)}
    return tuple(numbers[name] for name in options.get("order", ()))


def shared_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return of the options of a score those that :func:`fit_options` gives."""
    return {name: options[name] for name in ("select_by", "class_weights") if name in options}


def weights_in(options: Mapping[str, Any], class_names: Sequence[str]) -> ClassWeights | None:
    """Return the class weights that the options of a score name; None if all classes weigh the same."""
    weights = options.get("class_weights")
    if weights is None:
        return None
    if weights == BALANCED:
        return BALANCED
    numbers = {name: number for number, name in enumerate(class_names)}
    return {numbers[name]: float(weight) for name, weight in weights.items()}
