"""The rule of choice: val top-1, then val loss, then the stronger candidate."""

from __future__ import annotations

from itertools import pairwise

import pytest

from probeline.heads.select import L2_GRID, choose


def test_the_highest_top1_wins() -> None:
    assert choose([(0.8, 0.1), (0.9, 5.0), (0.7, 0.0)], [1, 2, 3]) == (1, False)


def test_ties_go_to_the_lower_loss_then_to_the_stronger() -> None:
    assert choose([(0.9, 0.3), (0.9, 0.2), (0.9, 0.4)], [1, 2, 3]) == (1, False)
    assert choose([(0.9, 0.2), (0.9, 0.2), (0.1, 0.2)], [1, 2, 3]) == (1, False)


def test_a_winner_at_the_end_of_the_grid_is_flagged() -> None:
    scores = [(0.9, 0.2), (0.8, 0.2), (0.7, 0.2)]
    assert choose(scores, [1, 2, 3]) == (0, True)
    assert choose(scores[::-1], [3, 2, 1]) == (2, True)
    assert choose(scores[:1], [1]) == (0, False)


@pytest.mark.parametrize("scores", [[], [(0.5, 0.5)] * 3, [(float("nan"), 0.1), (0.5, 0.5)]])
def test_what_cannot_be_chosen_from_is_refused(scores: list[tuple[float, float]]) -> None:
    with pytest.raises(ValueError, match=r"scores for|not a number"):
        choose(scores, [1, 2])


def test_the_grid_is_quarter_decades() -> None:
    assert len(L2_GRID) == 45
    assert (L2_GRID[0], L2_GRID[-1]) == (1e-6, 1e5)
    for weaker, stronger in pairwise(L2_GRID):
        assert stronger / weaker == pytest.approx(10**0.25)


def test_the_last_bit_of_a_mean_decides_nothing() -> None:
    assert 0.1 + 0.2 > 0.3
    assert choose([(0.1 + 0.2, 0.5), (0.3, 0.4), (0.2, 0.1)], [1, 2, 3]) == (1, False)
