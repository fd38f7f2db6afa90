"""The probe stage: what a learning rate that diverges does to the choice among the others."""

from __future__ import annotations

import pytest

from probeline.errors import Diverged
from probeline.records import Score
from probeline.report.files import load_scores
from probeline.stages import probe
from probeline.stages.inputs import Inputs
from small_runs import extracted


def sgd_score(inputs: Inputs) -> Score:
    (score,) = (score for score in load_scores(inputs.scores)[0] if score.method == "probe-sgd")
    return score


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return extracted(tmp_path_factory.mktemp("probe") / "cache")


@pytest.fixture(autouse=True)
def _sgd_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_exact", lambda task: [])


def test_a_rate_that_diverges_is_no_candidate(inputs: Inputs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_RATES", (1e-4, 1e-2, 1e38))
    probe.run(inputs)
    score = sgd_score(inputs)
    assert score.certificate["diverged"] == [1e38]
    assert [point["lr"] for point in score.path] == [1e-4, 1e-2]
    # A rate above was tried: only the lowest is the grid's end.
    assert score.certificate["edge"] is (score.chosen["lr"] == 1e-4)
    assert [epoch["epoch"] for epoch in score.history] == list(range(1, 31))


def test_no_rate_that_converges_is_one_line(inputs: Inputs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_RATES", (1e37, 1e38))
    with pytest.raises(
        Diverged, match=r"diverged: probe-sgd: digits.*, seed 0 \(got learning rates 1e\+37, 1e\+38\); "
    ):
        probe.run(inputs)
