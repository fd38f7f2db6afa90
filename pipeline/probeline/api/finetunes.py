"""Fine-tuning from Python."""

from __future__ import annotations

from typing import Any, Literal

from probeline.api.arrangement import Arrangement
from probeline.api.console import raises_in_keywords
from probeline.api.features import Features, one_tap, open_data
from probeline.api.results import Result, TargetResult
from probeline.errors import BadOption, UnknownName
from probeline.finetuning.fit import finetune as train
from probeline.finetuning.requests import plan_jobs
from probeline.finetuning.targets.fit import finetune_targets as train_targets
from probeline.names import MULTI_LABEL, REGRESSION
from probeline.session import Session, leaving_out_unreadable


@raises_in_keywords
def finetune(
    data: Any,
    backbone: Any = None,
    *,
    labels: Any = None,
    test: Any = None,
    val: Any = None,
    groups: Any = None,
    data_seed: int | None = None,
    strategy: str = "full",
    epochs: int | None = None,
    lr: float | None = None,
    seed: int = 0,
    seeds: int = 1,
    verbose: bool = False,
    **options: Any,
) -> Result:
    """Train a whole net or its upper stages, and score it once on the test rows, as ``probeline finetune`` does.

    Parameters
    ----------
    data : Features or object
        Features, whose net is trained on the rows that a probe of them is fitted on, or images as
        :func:`probeline.extract` takes them.
    backbone : str or nn.Module, optional
        As :func:`probeline.extract` takes it; with `Features` it is theirs.
    labels, test, val, groups, data_seed : optional
        With `Features`, as :func:`probeline.probe` takes them. Images may have labels and groups.
    strategy : str
        What is trained: ``full``, ``head``, ``last-1``, ``lp-ft`` and the like.
    epochs : int, optional
        Epochs of training; 10 by default.
    lr : float, optional
        Peak learning rate of the head, by default 0.001; below it a tenth of that.
    seed : int
        First seed.
    seeds : int
        Number of seeds, counted up from the first.
    verbose : bool
        Whether what is done is printed.
    **options
        Any other option of ``probeline finetune`` by its name there: ``train={"lr": [1e-3, 1e-2], "clip": 1}``,
        ``cache="cache"``; and `name` and `preprocess` with images and nets of yours.

    Raises
    ------
    Diverged
        Training diverged.
    ProbelineError
    """
    training = {"strategies": (strategy,), "epochs": epochs, "lr": lr, "seed": seed, "seeds": seeds}
    given = {name: value for name, value in training.items() if value is not None}
    if isinstance(data, Features):
        if backbone is not None:
            raise TypeError("features have a backbone of their own")
        arrangement = Arrangement(labels, test=test, val=val, groups=groups, data_seed=data_seed)
        features = arrangement.of(data).with_options(verbose=verbose, **given, **options)
    elif test is not None or val is not None:
        remedy = "probeline.finetune(probeline.extract(data, backbone), test=...)"
        raise BadOption("test and val are rows of features", got=type(data).__name__, remedy=remedy)
    else:
        own = {"verbose": verbose, "data_seed": data_seed, **given, **options}
        session = open_data(data, backbone, labels=labels, groups=groups, **own)
        features = Features(session, *one_tap(session, fill=False))
    features.session.require_images("fine-tuning")
    if features.session.dataset.targets is not None:
        raise BadOption(
            "fine-tuning on classes needs one class for each image",
            got=f"the {features.session.dataset.targets.task} targets of {features.session.dataset.name}",
            remedy="use probeline.finetune_targets",
        )

    def run(session: Session) -> Result:
        jobs = plan_jobs(session, range(seed, seed + seeds))
        return Result(session, tuple(train(job) for job in jobs), Features(session, *features.cached.taps))

    return leaving_out_unreadable(features.session, run)


@raises_in_keywords
def finetune_targets(
    data: Any,
    targets: Any,
    backbone: Any = None,
    *,
    task: Literal["multi-label", "regression"],
    test: Any = None,
    val: Any = None,
    groups: Any = None,
    data_seed: int | None = None,
    strategy: str = "full",
    epochs: int | None = None,
    lr: float | None = None,
    seed: int = 0,
    seeds: int = 1,
    verbose: bool = False,
    **options: Any,
) -> TargetResult:
    """Train a net on several labels or on numbers, and score it once on the test rows.

    It is what ``probeline finetune --task`` does, with the same numbers.

    Parameters
    ----------
    data : Features or object
        As :func:`probeline.finetune` takes it.
    targets : array_like
        As :func:`probeline.probe_targets` takes them, for the rows of all parts of the data.
    backbone : str or nn.Module, optional
        As :func:`probeline.extract` takes it; with `Features` it is theirs.
    task : str
        ``multi-label`` or ``regression``.
    test, val, groups, data_seed : optional
        As :func:`probeline.probe_targets` takes them.
    strategy : str
        What is trained: ``full``, ``head``, ``last-1``, ``lp-ft`` and the like.
    epochs, lr, seed, seeds, verbose, **options
        As :func:`probeline.finetune` takes them; of numbers also ``train={"loss": "huber"}``.

    Raises
    ------
    BadOption
        A strategy or an option that is about classes.
    Diverged
        Training diverged.
    ProbelineError
    """
    if task not in (MULTI_LABEL, REGRESSION):
        raise UnknownName("task", task, (MULTI_LABEL, REGRESSION))
    training = {"strategies": (strategy,), "epochs": epochs, "lr": lr, "seed": seed, "seeds": seeds}
    given = {name: value for name, value in training.items() if value is not None}
    features = data
    if not isinstance(data, Features):
        session = open_data(data, backbone, **options)
        features = Features(session, *one_tap(session, fill=False))
        options = {}
    elif backbone is not None:
        raise TypeError("features have a backbone of their own")
    features.session.require_images("fine-tuning")
    arrangement = Arrangement(targets, test=test, val=val, groups=groups, data_seed=data_seed, task=task)
    ready = arrangement.of(features).with_options(verbose=verbose, **given, **options)

    def run(session: Session) -> TargetResult:
        jobs = plan_jobs(session, range(seed, seed + seeds))
        return TargetResult(session, tuple(train_targets(job) for job in jobs))

    return leaving_out_unreadable(ready.session, run)
