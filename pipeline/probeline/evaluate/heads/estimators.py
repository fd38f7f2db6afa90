"""Any scikit-learn classifier as a head: by its name on the command line, as an object in Python."""

from __future__ import annotations

import importlib
import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from probeline.environment import installed
from probeline.errors import BadOption
from probeline.evaluate.heads.method import Candidate, Candidates, FitSettings, Fold, HeadMethod
from probeline.names import estimator_method
from probeline.options.grids import estimator_grid
from probeline.options.groups.fitting import HeadOptions
from probeline.types import AnyArray, FloatArray

_LEAST = 1e-12
"""Of a probability, so that its logarithm is finite."""


@dataclass(frozen=True, eq=False)
class FittedEstimator:
    """A fitted classifier.

    Attributes
    ----------
    model : object
        With ``classes_`` and ``predict``.
    converged : bool
        False if it warned that it did not.
    """

    model: Any
    classes: int
    converged: bool


class Estimator(HeadMethod[FittedEstimator]):
    """A scikit-learn classifier on standardised features; its parameters are selected on validation.

    Parameters
    ----------
    path : str
        ``sklearn.svm:SVC``: a module, and what is called there.
    grid : mapping of str to sequence
        The values of each parameter that are tried.
    model : estimator, optional
        What is cloned instead of an object that `path` makes.
    """

    weighs_classes = True

    def __init__(self, path: str, grid: Mapping[str, Sequence[Any]], model: Any = None) -> None:
        self._path, self._grid = path, {name: list(values) for name, values in grid.items()}
        self._model = _create(path) if model is None else model
        self._known = self._parameters()
        for name in self._grid:
            if name not in self._known:
                raise BadOption(f"{path} has no parameter {name}", expected=", ".join(sorted(self._known)))
        self.name = estimator_method(path)
        self.is_seeded = "random_state" in self._known and self._known["random_state"] is None

    def _parameters(self) -> dict[str, Any]:
        model = self._model
        if not all(callable(getattr(model, name, None)) for name in ("fit", "predict", "get_params")):
            expected = "a scikit-learn classifier: fit, predict, get_params"
            raise BadOption("no such estimator", where=self._path, expected=expected, got=type(model).__name__)
        parameters: dict[str, Any] = model.get_params()
        return parameters

    def options(self, options: HeadOptions) -> dict[str, Any]:
        return {
            "estimator": self._path,
            "grid": self._grid,
            "parameters": {name: _describe(value) for name, value in self._known.items() if name not in self._grid},
            "scikit-learn": installed("scikit-learn"),
        }

    def candidates(self, settings: FitSettings, rows: int) -> Candidates:
        names = list(self._grid)
        combinations = product(*self._grid.values())
        return Candidates.unordered([dict(zip(names, values, strict=True)) for values in combinations])

    def fit(self, fold: Fold, settings: FitSettings, candidates: Candidates) -> list[FittedEstimator]:
        return [self._fit(fold, settings, candidate) for candidate in candidates.values]

    def _fit(self, fold: Fold, settings: FitSettings, candidate: Candidate) -> FittedEstimator:
        from sklearn.base import clone
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.utils.validation import has_fit_parameter

        seed = {"random_state": settings.seed} if self.is_seeded else {}
        weights = settings.row_weights(fold.y)
        if weights is not None and not has_fit_parameter(self._model, "sample_weight"):
            expected = "a classifier whose fit takes sample_weight"
            raise BadOption("the estimator has no use for --class-weights", where=self._path, expected=expected)
        own = {} if weights is None else {"sample_weight": weights}
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                model = clone(self._model).set_params(**candidate, **seed).fit(fold.X, fold.y, **own)
            except Exception as error:  # whatever another package raises over its parameters
                got = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
                raise BadOption(f"{self._path} cannot be fitted", where=_words(candidate), got=got) from error
        if not hasattr(model, "classes_"):
            expected = "a classifier, which has classes_ when it is fitted"
            raise BadOption("no such estimator", where=self._path, expected=expected, got=type(model).__name__)
        converged = not any(issubclass(warning.category, ConvergenceWarning) for warning in caught)
        return FittedEstimator(model, settings.classes, converged)

    def logits(self, heads: Sequence[FittedEstimator], X: FloatArray) -> Iterable[FloatArray]:
        return (_logits(head, X) for head in heads)

    def has_converged(self, head: FittedEstimator) -> bool:
        return head.converged

    def count_parameters(self, head: FittedEstimator) -> int:
        """Return the number of values in the fitted arrays of the classifier, a pipeline's last step."""
        fitted = (value for name, value in vars(_last(head.model)).items() if name.endswith("_") and name != "classes_")
        return sum(value.size for value in fitted if isinstance(value, np.ndarray))


def requested_estimator(options: HeadOptions) -> Estimator | None:
    """Return the method of ``--estimator``; None without it."""
    if options.estimator is None:
        return None
    return Estimator(options.estimator, estimator_grid(options.estimator_params))


def estimator_of(model: Any, grid: Mapping[str, Sequence[Any]]) -> Estimator:
    """Return the method of a classifier object."""
    kind = type(model)
    return Estimator(f"{kind.__module__}:{kind.__qualname__}", grid, model)


def _create(path: str) -> Any:
    module, _, name = path.partition(":")
    expected = "MODULE:CLASS, such as sklearn.svm:SVC"
    if not module or not name:
        raise BadOption("bad --estimator", expected=expected, got=path)
    try:
        return getattr(importlib.import_module(module), name)()
    except ImportError as error:
        raise BadOption("no such estimator", where=path, expected=expected, got=str(error)) from error
    except AttributeError as error:
        raise BadOption("no such estimator", where=path, expected=f"a class of {module}", got=name) from error
    except Exception as error:  # whatever another package raises
        got = f"{type(error).__name__}: {error}"
        raise BadOption(
            "the estimator cannot be created", where=path, expected="a class without arguments", got=got
        ) from error


def _describe(value: Any) -> Any:
    """Return a parameter as a JSON value: as it is, or as its text."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return repr(value)
    return value


def _last(model: Any) -> Any:
    """Return the last step of a pipeline; another classifier as it is."""
    return model[-1] if hasattr(model, "steps") else model


def _words(candidate: Candidate) -> str:
    return ", ".join(f"{name}={value}" for name, value in candidate.items()) or "its defaults"


def _logits(head: FittedEstimator, X: FloatArray) -> FloatArray:
    """Return logits float32 [m, K] whose largest is the predicted class; of classes that were not fitted the least."""
    scores = _scores(head.model, X)
    known = np.asarray(head.model.classes_, np.int64)
    logits = np.full((len(X), head.classes), scores.min(initial=0.0) - 1.0, np.float32)
    logits[:, known] = scores
    predicted = np.asarray(head.model.predict(X), np.int64)
    rows = np.arange(len(X))
    # Some classifiers predict another class than their scores favour, as SVC does between pairs of classes.
    best = logits.max(axis=1)
    disagree = logits.argmax(axis=1) != predicted
    logits[rows[disagree], predicted[disagree]] = np.nextafter(best[disagree], np.float32(np.inf))
    return logits


def _scores(model: Any, X: FloatArray) -> AnyArray:
    """Return log-probabilities, decision values, or without both 0 for the predicted class: [m, fitted classes]."""
    if hasattr(model, "predict_proba"):
        return np.log(np.maximum(np.asarray(model.predict_proba(X), np.float64), _LEAST))
    if hasattr(model, "decision_function"):
        decision = np.asarray(model.decision_function(X), np.float64)
        decision = decision if decision.ndim == 2 else np.column_stack([np.zeros(len(decision)), decision])
        is_of_pairs = decision.shape[1] > 2 and getattr(_last(model), "decision_function_shape", None) == "ovo"
        if decision.shape[1] == len(model.classes_) and not is_of_pairs:
            return decision
    return np.where(np.asarray(model.predict(X))[:, None] == np.asarray(model.classes_)[None, :], 0.0, -1.0)
