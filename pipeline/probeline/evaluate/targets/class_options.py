"""Options that are about classes, which a data set of several labels or of numbers does not have."""

from __future__ import annotations

from probeline.errors import BadOption
from probeline.evaluate.targets.task import target_task
from probeline.names import reads_tokens
from probeline.options.grids import grid, mlp_axes
from probeline.options.settings import OPTIONS, Settings

_ABOUT_CLASSES = (
    *("metric", "class_weights", "sgd", "estimator", "attentive", "ordinal", "zero_shot"),
    *("add", "report_by", "costs"),
)


def refuse_class_options(settings: Settings, task: str) -> None:
    """Raise BadOption if an option is given that is about classes, or a tap of tokens, which heads of classes read.

    `task` is ``multi-label`` or ``regression``.
    """
    for name in _ABOUT_CLASSES:
        value = settings.value(name)
        if value != OPTIONS[name].default:
            metric = f", where validation selects by {target_task(task).title}" if name == "metric" else ""
            got = f"--task {task}{metric}"
            raise BadOption(f"{OPTIONS[name].flag} is about classes", got=got, remedy="leave it out")
    grid("mlp", mlp_axes(task), settings.heads.mlp)  # of numbers nothing is smoothed
    if tokens := [tap for tap in settings.reading.taps if reads_tokens(tap)]:
        raise BadOption(
            f"--tap {tokens[0]} is about classes, as the heads are that read tokens",
            got=f"--task {task}",
            remedy="use a tap of one vector per image, such as penultimate",
        )
