"""Heads on features, from Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from probeline.api.arrangement import Arrangement
from probeline.api.console import raises_in_keywords
from probeline.api.results import Result, TargetResult
from probeline.errors import BadOption, UnknownName
from probeline.evaluate.features import vectors_of
from probeline.evaluate.heads.estimators import estimator_of
from probeline.evaluate.heads.method import MethodOf
from probeline.evaluate.heads.registry import all_head_methods
from probeline.evaluate.score import score_head
from probeline.evaluate.targets.class_options import refuse_class_options
from probeline.evaluate.targets.methods import target_method
from probeline.evaluate.targets.score import score_method
from probeline.names import MULTI_LABEL, REGRESSION, Method

_OTHER_NAMES = {"exact": Method.PROBE.value}
"""Of methods."""


@raises_in_keywords
def probe(
    features: Any,
    labels: Any = None,
    *,
    test: Any = None,
    val: Any = None,
    groups: Any = None,
    method: Any = "exact",
    params: Mapping[str, Sequence[Any]] | None = None,
    seed: int = 0,
    seeds: int = 1,
    data_seed: int | None = None,
    name: str | None = None,
    reports: Any = None,
    verbose: bool = False,
    **options: Any,
) -> Result:
    """Fit a head on features, chosen on validation rows, and score it once on test rows.

    It is what ``probeline probe`` and ``probeline baselines`` do, with the same numbers.

    Parameters
    ----------
    features : Features or array_like [N, D]
        Of :func:`probeline.extract`, or from elsewhere.
    labels : array_like [N], optional
        Text or whole numbers, one for each row; None, NaN or an empty string for a row to leave out. By default the
        labels of the data set that the features are of.
    test : float, bool [N], int [n] or tuple, optional
        The test rows: a share of the rows, chosen at random within each class, a mask, row numbers, or other features
        with their labels as ``(features, labels)``. By default the data set's own test part, or a fifth.
    val : float, bool [N] or int [n], optional
        The rows that hyper-parameters are chosen on. By default those that the data set ships, or a tenth of the rest,
        or with fewer than 1,000 rows five folds.
    groups : array_like [N], optional
        Rows of one group are never separated.
    method : str or estimator
        ``exact`` for the exact linear probe, ``probe-refit``, ``ordinal``, ``probe-sgd``, ``probe-mlp``, ``logistic``,
        ``ridge``, ``knn``, ``knn-weighted``, ``centroid``, ``centroid-shrunken``, or one that another package adds; or
        a scikit-learn classifier, which is cloned and fitted on standardised features. Features of a tap
        ``MODULE:tokens`` have one method, ``probe-attentive``; those of an openclip net at the tap ``projection`` have
        two more, ``zero-shot`` and ``probe-from-zero-shot``.
    params : mapping of str to sequence, optional
        The values of each parameter of a classifier that are tried; the best on validation is kept.
    seed : int
        First seed of a method that is random.
    seeds : int
        Number of seeds, counted up from the first.
    data_seed : int, optional
        Seed of the splits; 0 by default, or that of the features.
    name : str, optional
        What features from elsewhere are called in reports.
    reports : path, optional
        Where the score is kept; by default in ``reports`` like the command's, or for arrays in a folder that is
        removed when the process ends.
    verbose : bool
        Whether what is done is printed.
    **options
        Grids of the minibatch heads: ``sgd={"lr": [1e-3, 1e-2]}``, ``mlp={"width": 512}``,
        ``attentive={"queries": 16}``; where they are fitted: ``device="cuda"``; what validation selects by:
        ``metric="macro"``; how much classes count in fitting: ``class_weights="balanced"`` or ``{"rare": 5}``; the
        prompts of zero-shot: ``templates=["a photo of a {}."]``, ``class_texts={"n02084071": "dog"}``; and of
        ``ordinal`` the classes from the lowest to the highest: ``ordinal=["small", "medium", "large"]``.

    Raises
    ------
    UnknownName
        No such method.
    ProbelineError
    """
    head = _find_method(method, params or {})
    if head.reads_texts:
        options["zero_shot"] = True
    arrangement = Arrangement(labels, test=test, val=val, groups=groups, data_seed=data_seed, name=name)
    ready = arrangement.of(features).with_options(verbose=verbose, reports=reports, seed=seed, seeds=seeds, **options)
    if ready.session.settings.heads.ordinal and not head.orders_classes:
        raise BadOption("an order does not concern this method", expected='method="ordinal"', got=head.name)
    if ready.session.settings.fitting.class_weights and not head.weighs_classes:
        raise BadOption("class weights do not concern this method", expected="another method", got=head.name)
    numbers = range(seed, seed + seeds) if head.is_seeded else (None,)
    return Result(ready.session, tuple(score_head(ready.cached, head, number) for number in numbers), ready)


@raises_in_keywords
def probe_targets(
    features: Any,
    targets: Any,
    *,
    task: Literal["multi-label", "regression"],
    test: Any = None,
    val: Any = None,
    groups: Any = None,
    method: str = "exact",
    seed: int = 0,
    seeds: int = 1,
    data_seed: int | None = None,
    name: str | None = None,
    reports: Any = None,
    verbose: bool = False,
    **options: Any,
) -> TargetResult:
    """Fit a head of several labels or of numbers on features, chosen on validation rows, and score it once on test.

    It is what ``probeline probe --task`` and ``probeline baselines --task`` do, with the same numbers.

    Parameters
    ----------
    features : Features or array_like [N, D]
        Of :func:`probeline.extract`, or from elsewhere.
    targets : array_like
        Labels as an array [N, L] of 0, 1 and NaN for unknown, or for each row the list of its labels, None where they
        are unknown; or numbers [N] or [N, T], NaN where unknown. A pandas frame names them.
    task : str
        ``multi-label`` or ``regression``.
    test, val, groups, seed, seeds, data_seed, name, reports, verbose
        As of :func:`probeline.probe`; without `test` and `val` each label has its share of both.
    method : str
        ``exact``, ``probe-refit``, ``probe-mlp``, ``knn``, or of labels ``logistic``.
    **options
        The grid of ``probe-mlp``: ``mlp={"width": 512}``; where heads are fitted: ``device="cuda"``.

    Raises
    ------
    UnknownName
        No such method of the task.
    ProbelineError
    """
    if task not in (MULTI_LABEL, REGRESSION):
        raise UnknownName("task", task, (MULTI_LABEL, REGRESSION))
    found = target_method(_OTHER_NAMES.get(method, method), task)
    arrangement = Arrangement(targets, test=test, val=val, groups=groups, data_seed=data_seed, name=name, task=task)
    ready = arrangement.of(features).with_options(verbose=verbose, reports=reports, seed=seed, seeds=seeds, **options)
    refuse_class_options(ready.session.settings, task)
    vectors, numbers = vectors_of(ready.cached), range(seed, seed + seeds) if found.is_seeded else (None,)
    return TargetResult(ready.session, tuple(score_method(vectors, found, number) for number in numbers))


def _find_method(method: Any, params: Mapping[str, Sequence[Any]]) -> MethodOf[Any, Any]:
    if not isinstance(method, str):
        return estimator_of(method, params)
    if params:
        raise BadOption("params without a classifier", expected="method=SVC()", got=f"method={method!r}")
    name = _OTHER_NAMES.get(method, method)
    known = {head.name: head for verb in ("probe", "baselines") for head in all_head_methods(verb)}
    if name not in known:
        raise UnknownName("method", method, [*_OTHER_NAMES, *known])
    return known[name]
