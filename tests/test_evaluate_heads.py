"""Heads from outside: one file with a method, and its row is among the scores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from probeline.commands import probe
from probeline.errors import BadOption, UnknownName
from probeline.evaluate.features import CachedFeatures
from probeline.evaluate.heads import exact, registry
from probeline.evaluate.heads.method import Candidates, FitSettings, Fold, HeadMethod
from probeline.evaluate.score import refit
from probeline.results import methods
from probeline.results.score import SCORES
from probeline.types import FloatArray
from small_runs import extracted

pytestmark = pytest.mark.usefixtures("one_thread")


# toy head
class ClassPriors(HeadMethod[FloatArray]):
    """Predicts how frequent each class is among the rows it is fitted on."""

    name = "class-priors"

    def candidates(self, settings: FitSettings, rows: int) -> Candidates:
        return Candidates.of("smoothing", [0.1, 1.0, 10.0])

    def fit(self, fold: Fold, settings: FitSettings, candidates: Candidates) -> list[FloatArray]:
        counts = np.bincount(fold.y, minlength=settings.classes)
        return [np.log(counts + smoothing).astype(np.float32) for smoothing in candidates.strengths]

    def logits(self, heads: Sequence[FloatArray], X: FloatArray) -> Iterable[FloatArray]:
        return (np.tile(head, (len(X), 1)) for head in heads)

    def count_parameters(self, head: FloatArray) -> int:
        return head.size


# end of toy head


@pytest.fixture
def class_priors(monkeypatch: pytest.MonkeyPatch) -> Iterator[ClassPriors]:
    monkeypatch.setattr(exact, "L2_GRID", (1.0,))
    monkeypatch.setattr(registry, "_METHODS", dict(registry._METHODS))
    monkeypatch.setattr(methods, "_REGISTERED", {})
    method = ClassPriors()
    registry.register_head(method)
    return method


def test_a_registered_head_has_a_score(class_priors: ClassPriors, tmp_path: Path) -> None:
    session = extracted(tmp_path / "cache", sgd=("epochs=1", "lr=1e-3"))
    outcomes = {outcome["method"]: outcome for outcome in probe.run(session)}
    assert outcomes["class-priors"]["chosen"] == {"smoothing": 10.0}, "all are equally good: the strongest is selected"
    score = next(score for score in SCORES.load(session.reports)[0] if score.method == "class-priors")
    assert len(score.path) == 3
    assert score.trainable == 10
    assert score.certificate == {}
    assert score.converged
    assert methods.method_info("class-priors").title == "class-priors"
    assert methods.order("centroid") < methods.order("finetune") < methods.order("class-priors")
    with pytest.raises(BadOption, match="class-priors cannot be exported"):
        refit(CachedFeatures(session, *session.every_tap("squeezenet1_1")), score)


def test_a_name_is_registered_once_and_unknown_ones_are_refused(class_priors: ClassPriors) -> None:
    with pytest.raises(ValueError, match="already"):
        registry.register_head(class_priors)
    with pytest.raises(ValueError, match="no name"):
        methods.register_method("last-2")
    with pytest.raises(UnknownName):
        registry.head_method("no-such-head")
