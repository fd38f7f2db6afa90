"""Words of scores: a second task, as means over the seeds with Wilson's interval, and classes that are never right."""

from __future__ import annotations

from typing import Any

from made_scores import judged, make_score
from probeline.metrics.intervals import wilson
from probeline.results.score import Score
from probeline.results.score_words import missed_classes, second_task


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


# Classes that are never right


def rare(predictions: tuple[int, ...], seed: int | None = None) -> Score:
    """Return a score of 24 images of one class and one of another."""
    score = make_score(class_names=("fine", "rare"), n_test=25, seed=seed)
    return judged(score, labels=(0,) * 24 + (1,), predictions=predictions)


def test_a_class_that_is_never_right_is_named_with_its_images() -> None:
    assert missed_classes([rare((0,) * 25)]) == "class 'rare' (1 of 25 test images)"
    assert missed_classes([rare((0,) * 24 + (1,))]) == ""
    assert missed_classes([rare((0,) * 23 + (1, 1))]) == ""


def test_one_seed_that_is_right_is_enough() -> None:
    never, once = rare((0,) * 25, seed=0), rare((1,) * 25, seed=1)
    assert missed_classes([never, once]) == missed_classes([once, never]) == ""
    assert missed_classes([once]) == "class 'fine' (24 of 25 test images)"


def test_of_many_classes_the_most_frequent_are_named_and_those_without_test_images_are_not() -> None:
    names = tuple("abcdefgh")
    score = make_score(class_names=names, n_test=16)
    labels = (0,) * 2 + (1,) * 3 + (2,) * 3 + (3,) * 2 + (4,) + (5,) * 5  # neither g nor h has an image
    assert missed_classes([judged(score, labels=labels, predictions=(6,) * 11 + (5,) * 5)]) == (
        "5 of the 6 tested classes (test images: 'b' 3, 'c' 3, 'a' 2, 'd' 2, and 1 more)"
    )
