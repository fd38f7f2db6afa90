"""The methods that a report knows: their names, order and colours."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from importlib.metadata import entry_points

from probeline.errors import UnknownName
from probeline.names import ESTIMATOR, LAST_K, Method


@dataclass(frozen=True)
class MethodInfo:
    """One way to get from a backbone to predictions."""

    name: str
    """As in a score's `method`."""
    title: str
    short: str
    """The title where space is scarce."""
    verb: str
    """Of the command line: what makes its score."""
    colour: str
    """Of its marks in all figures: Okabe and Ito's palette with grey in place of yellow, which vanishes on white; more
    colours were searched over hues for the greatest distance from these and one another, on white and on dark."""
    seeded: bool = False
    """Whether it has a score for each seed."""
    weighs_classes: bool = True
    """Whether class weights concern it."""

    @property
    def trains(self) -> bool:
        """Whether the net itself is trained, so that no tap concerns it."""
        return self.verb == "finetune"


METHODS = (
    MethodInfo("probe", "linear probe (exact)", "linear probe (exact)", "probe", "#0072B2"),
    MethodInfo("probe-refit", "linear probe, refit on train + val", "linear probe (refit)", "probe", "#56B4E9"),
    MethodInfo("ordinal", "ordinal probe (proportional odds)", "ordinal probe", "probe", "#853699"),
    MethodInfo("probe-sgd", "linear head (minibatch)", "linear (minibatch)", "probe", "#009E73", seeded=True),
    MethodInfo("probe-mlp", "MLP head", "MLP head", "probe", "#BF09A0", seeded=True),
    MethodInfo("probe-attentive", "attentive probe", "attentive probe", "probe", "#DA71FE", seeded=True),
    MethodInfo("zero-shot", "zero-shot, by class names", "zero-shot", "probe", "#00566B", weighs_classes=False),
    MethodInfo("probe-from-zero-shot", "linear probe from zero-shot", "probe from zero-shot", "probe", "#95C795"),
    MethodInfo("logistic", "scikit-learn logistic regression", "logistic (sklearn)", "baselines", "#CC79A7"),
    MethodInfo("ridge", "ridge regression", "ridge regression", "baselines", "#8F7EE5"),
    MethodInfo("knn", "k-NN", "k-NN", "baselines", "#E69F00", weighs_classes=False),
    MethodInfo(
        "knn-weighted", "k-NN, weighted by similarity", "k-NN (weighted)", "baselines", "#CBA75E", weighs_classes=False
    ),
    MethodInfo("centroid", "nearest centroid", "nearest centroid", "baselines", "#8C8C8C", weighs_classes=False),
    MethodInfo(
        "centroid-shrunken",
        "nearest shrunken centroid",
        "shrunken centroid",
        "baselines",
        "#321A6C",
        weighs_classes=False,
    ),
    MethodInfo("head", "head alone, by the trainer", "head (trainer)", "finetune", "#0BE5E5", seeded=True),
    MethodInfo("last-K", "last {} and head", "last {}", "finetune", "#799E2F", seeded=True),
    MethodInfo("bitfit", "BitFit, biases and head", "BitFit", "finetune", "#04B857", seeded=True),
    MethodInfo("lora", "LoRA, adapters and head", "LoRA", "finetune", "#834B52", seeded=True),
    MethodInfo("freeze-early", "all but the early stages", "early frozen", "finetune", "#7F4206", seeded=True),
    MethodInfo("freeze-middle", "all but the middle stages", "middle frozen", "finetune", "#E58F7E", seeded=True),
    MethodInfo("gradual", "gradual unfreezing", "gradual unfreezing", "finetune", "#BF3939", seeded=True),
    MethodInfo("lp-ft", "LP-FT, from the probe's solution", "LP-FT", "finetune", "#5F44E5", seeded=True),
    MethodInfo("wise-ft", "WiSE-FT, between probe and LP-FT", "WiSE-FT", "finetune", "#6005FF", seeded=True),
    MethodInfo("finetune", "full fine-tune", "full fine-tune", "finetune", "#D55E00", seeded=True),
    MethodInfo(
        "distill-head", "distilled from a teacher, head alone", "distilled head", "finetune", "#E50B78", seeded=True
    ),
    MethodInfo("distill", "distilled from a teacher, whole net", "distilled", "finetune", "#E50B0B", seeded=True),
    MethodInfo("multi-task-head", "two tasks, heads alone", "two tasks, heads", "finetune", "#27BF09", seeded=True),
    MethodInfo("multi-task", "two tasks, whole net", "two tasks", "finetune", "#C10BE5", seeded=True),
    MethodInfo("scratch", "from scratch", "from scratch", "finetune", "#262626", seeded=True),
)
"""In the order in which a report shows them; ``last-K`` stands for every number of stages."""

HEADS_GROUP = "probeline.heads"
"""The entry-point group by which other packages add methods of fitting heads."""

_REGISTERED: dict[str, MethodInfo] = {}
_OTHER_COLOUR = "#595959"
_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")

_PLACES = {info.name: place for place, info in enumerate(METHODS)}


def method_info(name: str) -> MethodInfo:
    """Return the method that a score calls `name`, or raise `UnknownName`."""
    if match := LAST_K.fullmatch(name):
        last, count = METHODS[_PLACES["last-K"]], int(match[1])
        stages = f"{count} stages" if count > 1 else "stage"
        title, short = (words.format(stages) for words in (last.title, last.short))
        return replace(last, name=name, title=title, short=short, colour=_darker(last.colour, count - 1))
    if name in _REGISTERED:
        return _REGISTERED[name]
    if name == Method.ADDED:
        return MethodInfo(
            name, "predictions from elsewhere", "predictions", "compare", _OTHER_COLOUR, weighs_classes=False
        )
    if match := ESTIMATOR.fullmatch(name):
        return MethodInfo(
            name, f"{match[1]} (scikit-learn)", f"{match[1]} (sklearn)", "probe", _OTHER_COLOUR, seeded=True
        )
    if name not in _PLACES or name == "last-K":
        if entry_points(group=HEADS_GROUP, name=name):
            return register_method(name)
        raise UnknownName("method", name, _PLACES)
    return METHODS[_PLACES[name]]


def register_method(
    name: str, *, verb: str = "probe", is_seeded: bool = False, weighs_classes: bool = False
) -> MethodInfo:
    """Add a method of fitting heads, titled by its name, and return it.

    Raises
    ------
    ValueError
        The name is taken, or has other characters than lower-case letters, digits and hyphens.
    """
    if not _NAME.fullmatch(name) or name in _PLACES or LAST_K.fullmatch(name):
        raise ValueError(f"no name for a new method: {name!r}")
    _REGISTERED[name] = MethodInfo(
        name, name, name, verb, _OTHER_COLOUR, seeded=is_seeded, weighs_classes=weighs_classes
    )
    return _REGISTERED[name]


def order(name: str) -> tuple[int, int]:
    """Return what methods are sorted by, or raise `UnknownName`."""
    match = LAST_K.fullmatch(method_info(name).name)
    if ESTIMATOR.fullmatch(name) or name == Method.ADDED:
        return len(METHODS), -1 if name != Method.ADDED else -2
    if name in _REGISTERED:
        return len(METHODS), list(_REGISTERED).index(name)
    return (_PLACES["last-K"], int(match[1])) if match else (_PLACES[name], 0)


def _darker(colour: str, times: int) -> str:
    """Return ``#RRGGBB`` with each channel reduced by 35 % so many times."""
    levels = (round(int(colour[i : i + 2], 16) * 0.65**times) for i in (1, 3, 5))
    return "#" + "".join(f"{level:02X}" for level in levels)
