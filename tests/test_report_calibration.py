"""The second table: its columns follow from what was scored, its notes from what needs saying."""

from __future__ import annotations

import pytest

from made_scores import aggregate, make_score, make_scores
from probeline.heads.temperature import LIMITS
from probeline.report.sections.scores.calibration import calibration_columns, calibration_notes
from probeline.results.score import Score


def cells(*scores: Score) -> list[dict[str, str]]:
    rows = aggregate(scores)
    return [{column.head: column.cell(row) for column in calibration_columns(rows)} for row in rows]


def notes(*scores: Score) -> str:
    return "\n".join(calibration_notes(aggregate(scores)))


def test_every_number_has_its_cell() -> None:
    score = make_score(nll=0.61234, brier=0.3, ece=0.0345, temperature=1.2345, raw_nll=0.7, raw_ece=0.1, optimism=0.006)
    assert cells(score) == [
        {
            "Method": "linear probe (exact)",
            "NLL": "0.612",
            "Brier": "0.300",
            "ECE %": "3.5",
            "Temperature": "1.23",
            "NLL at 1": "0.700",
            "ECE % at 1": "10.0",
            "Val top-1 %": "78.0",
            "Optimism": "+0.6",
        }
    ]


def test_seeds_are_averaged() -> None:
    seeds = [make_score("probe-sgd", seed=seed, nll=1.0 + seed, optimism=0.01 * seed, top5=0.9) for seed in range(3)]
    (row,) = aggregate(seeds)
    assert (row.nll, row.top5) == (2.0, pytest.approx(0.9))
    assert row.optimism == pytest.approx(0.01)


def test_top5_and_optimism_stand_where_there_are_any() -> None:
    (few,) = cells(make_score("centroid"))
    assert not {"Top-5 %", "Optimism"} & few.keys()
    many = cells(make_score(top5=0.951), make_score("centroid", accuracy=0.7, top5=0.9))
    assert [line["Top-5 %"] for line in many] == ["95.1", "90.0"]
    assert [line["Optimism"] for line in many] == ["+0.4", ""]


@pytest.mark.parametrize("limit", LIMITS)
def test_a_temperature_at_its_limit_is_flagged(limit: float) -> None:
    (line,) = cells(make_score(temperature=limit))
    assert line["Temperature"].endswith(" §")
    assert notes(make_score(temperature=limit)).startswith("§ ")
    assert "§" not in notes(make_score(temperature=0.9 * LIMITS[1]))


def test_notes_are_no_more_than_the_rows_need() -> None:
    assert "no log-probabilities" not in notes(make_score())
    assert "the scores of the nearest centroid are no log-probabilities" in notes(make_score("centroid"))
    both = notes(*make_scores(n_test=60))
    assert "the scores of ridge regression and the nearest centroid are no" in both
    assert "The refit has the temperature" in both
    assert "Optimism" not in notes(make_score("finetune", seed=0))
