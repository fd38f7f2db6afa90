"""Features with the labels, groups, test and val rows that a function is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np

from probeline.api.arrays import embedding_dataset, held_out, with_groups, with_labels
from probeline.api.console import LogConsole
from probeline.api.features import Features, one_tap
from probeline.api.scratch import ScratchFolder
from probeline.data.label_values import check_order
from probeline.errors import BadOption
from probeline.names import AUTO, MULTI_LABEL, REGRESSION
from probeline.options.settings import Settings
from probeline.session import Session


@dataclass(frozen=True, eq=False)
class Arrangement:
    """The labels, groups, test and val rows of a fit, as :func:`probeline.probe` takes them."""

    labels: Any = None
    test: Any = None
    val: Any = None
    groups: Any = None
    data_seed: int | None = None
    name: str | None = None
    task: str = AUTO

    def of(self, features: Any) -> Features:
        """Return features, of ours or array_like [N, D], with all of this."""
        for values in (self.labels, self.groups):
            check_order(values, features)
        if isinstance(self.test, tuple) and not all(isinstance(row, Integral) for row in self.test):
            return self._with_test_part(features, self.test)
        labels = self.labels
        if not isinstance(features, Features):
            if labels is None:
                raise BadOption("no labels", expected="an array of labels", got="an array of features alone")
            if self.task in (MULTI_LABEL, REGRESSION):
                features = from_arrays({"all": features}, {"all": [""] * len(features)}, self.name)
            else:
                features, labels = from_arrays({"all": features}, {"all": labels}, self.name), None
        own: Features = features
        session = own.session
        dataset = session.dataset if labels is None else with_labels(session.dataset, labels, self.task)
        if self.groups is not None:
            dataset = with_groups(dataset, self.groups)
        rows = held_out(self.test, self.val, len(dataset.parts[dataset.train]))
        own_seed = session.settings.data.data_seed
        seed = own_seed if self.data_seed is None else self.data_seed
        if dataset is session.dataset and rows.test is None and rows.val is None and seed == own_seed:
            return own
        return own.on(dataset, rows, seed)

    def _with_test_part(self, features: Any, test: tuple[Any, ...]) -> Features:
        """Return features whose test part are others: ``(features, labels)``, or `Features` with their own labels."""
        if self.groups is not None:
            raise BadOption("groups need test rows among the features", expected="a share, a mask or row numbers")
        parts = {"train": features, "test": test[0]}
        check_order(test[-1], test[0])
        test_labels = _own_labels(test[0], test[1] if len(test) > 1 else None)
        labels = {"train": _own_labels(features, self.labels), "test": test_labels}
        return replace(self, labels=None, test=None).of(from_arrays(parts, labels, self.name))


def _own_labels(features: Any, labels: Any) -> Any:
    if labels is not None:
        return labels
    if not isinstance(features, Features):
        raise BadOption("no labels", expected="labels with features that are an array")
    return np.array([*features.classes, ""], dtype=object)[features.labels]


def from_arrays(parts: Mapping[str, Any], labels: Mapping[str, Any], name: str | None) -> Features:
    """Return features [N, D] from elsewhere with labels [N], by part.

    Their scores are in a folder that is removed with the last object that reads it.
    """
    name = name or "features"
    dataset = embedding_dataset(parts, labels, name)
    folder = ScratchFolder()
    settings = Settings.of(console=LogConsole(), dataset=f"memory:{name}", backbones=(name,), reports=folder.path)
    session = Session(settings, data=dataset)
    return Features(session, *one_tap(session, fill=False), folder=folder)
