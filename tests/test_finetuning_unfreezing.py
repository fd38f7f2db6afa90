"""Which stages a strategy trains, and from when on."""

from __future__ import annotations

import pytest

from probeline.errors import BadOption, UnknownName
from probeline.finetuning.training.unfreezing import plan_unfreezing

N = None


@pytest.mark.parametrize(
    ("strategy", "begins", "frozen"),
    [
        ("full", (0, 0, 0, 0), 0),
        ("scratch", (0, 0, 0, 0), 0),
        ("lp-ft", (0, 0, 0, 0), 0),
        ("head", (N, N, N, N), 4),
        ("last-1", (N, N, N, 0), 3),
        ("last-3", (N, 0, 0, 0), 1),
        ("last-4", (0, 0, 0, 0), 0),
        ("freeze-early", (N, 0, 0, 0), 1),
        ("freeze-middle", (0, N, N, 0), 0),
        ("distill", (0, 0, 0, 0), 0),
        ("distill-head", (N, N, N, N), 4),
        ("multi-task", (0, 0, 0, 0), 0),
        ("multi-task-head", (N, N, N, N), 4),
    ],
)
def test_stages_of_a_strategy(strategy: str, begins: tuple[int | None, ...], frozen: int) -> None:
    found = plan_unfreezing(strategy, 4, 10)
    assert found.begins == begins
    assert found.frozen_stages == frozen
    assert found.trained(9) == tuple(begin is not None for begin in begins)


def test_gradual_begins_at_the_top_at_equal_distances() -> None:
    found = plan_unfreezing("gradual", 4, 10)
    assert found.begins == (8, 6, 4, 2)
    assert found.trained(0) == (False,) * 4
    assert found.trained(5) == (False, False, True, True)


@pytest.mark.parametrize(("epochs", "begins"), [(1, (0, 0, 0, 0)), (2, (1, 1, 0, 0)), (3, (2, 1, 1, 0))])
def test_gradual_within_few_epochs_adds_several_stages_at_once(epochs: int, begins: tuple[int, ...]) -> None:
    assert plan_unfreezing("gradual", 4, epochs).begins == begins


def test_gradual_at_given_epochs_gives_the_rest_with_the_last() -> None:
    assert plan_unfreezing("gradual", 4, 10, (3, 6)).begins == (6, 6, 6, 3)


@pytest.mark.parametrize(("strategy", "stages"), [("freeze-early", 1), ("freeze-middle", 1), ("freeze-middle", 2)])
def test_nets_with_too_few_stages_are_refused(strategy: str, stages: int) -> None:
    line = rf"no such --strategy of {stages} stages \(expected a net of {stages + 1 if stages > 1 else '[23]'} or more"
    with pytest.raises(BadOption, match=line):
        plan_unfreezing(strategy, stages, 10, ())
    plan_unfreezing(strategy, 3, 10, ())


@pytest.mark.parametrize("unfreeze", [(6, 3), (3, 10)])
def test_epochs_that_do_not_grow_or_are_not_reached_are_refused(unfreeze: tuple[int, ...]) -> None:
    with pytest.raises(BadOption, match="bad --unfreeze"):
        plan_unfreezing("gradual", 4, 10, unfreeze)


def test_more_stages_than_there_are_is_told_with_those_there_are() -> None:
    with pytest.raises(BadOption, match=r"expected last-1 to last-4, got last-5"):
        plan_unfreezing("last-5", 4, 10)


def test_an_unknown_strategy_is_refused() -> None:
    with pytest.raises(UnknownName, match="half"):
        plan_unfreezing("half", 4, 10)
