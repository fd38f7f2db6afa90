"""A second task in words: means over the seeds, with their number of images and Wilson's interval."""

from __future__ import annotations

from typing import Any

from probeline.metrics.intervals import wilson
from probeline.results.second_task_words import second_task


def certificate(test: float | None, val: float | None = 0.5, *, n: int = 40) -> dict[str, Any]:
    def read(top1: float | None) -> dict[str, Any]:
        return {"n": 0 if top1 is None else n, "top1": top1, "interval": None}

    return {"second": {"classes": ["a", "b", "c"], "test": read(test), "val": read(val)}}


def test_without_a_second_task_there_are_no_words() -> None:
    assert second_task([]) == ""
    assert second_task([{"edge": False}]) == ""


def test_seeds_without_it_or_with_other_images_are_left_out() -> None:
    known = certificate(0.7)
    for other in ({"edge": False}, {"second": None}, certificate(None, None), certificate(0.9, n=30)):
        assert second_task([known, other]) == second_task([known])


def test_seeds_are_averaged() -> None:
    low, high = (100 * end for end in wilson(0.75 * 40, 40))
    of_val = "–".join(f"{100 * end:.1f}" for end in wilson(20, 40))
    assert second_task([certificate(0.7), certificate(0.8)]) == (
        f"second task, 3 classes: test top-1 75.0 % ({low:.1f}–{high:.1f}, n=40), val top-1 50.0 % ({of_val}, n=40)"
    )


def test_a_test_set_without_labels_is_reported() -> None:
    assert second_task([certificate(1.0, None, n=2000)]).endswith("n=2,000), val has no label of it")
