"""Advice: what to use, the courses' rule against the measurements, and what the curve says of more labels."""

from __future__ import annotations

import re
from dataclasses import replace

from made_records import make_curve
from made_scores import judged, make_score
from probeline.report.model.advice import advice
from probeline.report.model.rows import blocks
from probeline.results.curve import Curve
from probeline.results.score import Score


def advice_text(*scores: Score, curves: tuple[Curve, ...] = ()) -> str:
    return " ".join(advice(blocks(scores), curves))


def small(score: Score, n_train: int) -> Score:
    """Return the same score, fitted on fewer images: of two classes here."""
    return replace(score, n_train=n_train)


def test_without_a_probe_there_is_nothing_to_compare_with() -> None:
    assert advice_text() == ""
    assert advice_text(make_score("knn")) == (
        "Use k-NN. Score the linear probe (verb: probe) to have every row compared with it."
    )


def test_without_training_the_rule_is_untested() -> None:
    classes = len(make_score().class_names)
    for each, rule in ((40, "keep the net frozen"), (400, "train the last stages"), (4000, "fine-tune the whole net")):
        text = advice_text(small(make_score(), each * classes))
        assert text.startswith("Keep the net frozen and use linear probe (exact).")
        assert f"With {each:,} train images per class the usual rule of thumb is to {rule}" in text
        assert "; no fine-tune has been run here, so it is untested (verb: finetune)." in text


def test_a_significant_win_against_the_rule_counts() -> None:
    probe, tuned = make_score(accuracy=0.7), make_score("finetune", seed=0, accuracy=0.9)
    text = advice_text(small(probe, 80), small(tuned, 80))
    assert text.startswith("Train full fine-tune if +20.0 points are worth ")
    assert "times the linear probe's cold time." in text
    assert text.count("the measurements contradict it") == 1
    assert "the measurements agree" in advice_text(probe, tuned)


def test_without_a_significant_gain_training_is_not_urged() -> None:
    probe = make_score(accuracy=0.80, n_test=100)
    tuned = make_score("finetune", seed=0, accuracy=0.82, n_test=100)
    text = advice_text(small(probe, 80), small(tuned, 80))
    assert text.startswith("Train full fine-tune only if ")
    assert "a gain on test is not shown. More test images would decide it." in text
    assert "the measurements neither confirm nor contradict it." in text
    text = advice_text(small(replace(probe, val_top1=0.9), 80), small(tuned, 80))
    assert re.search(
        r"Against the linear probe, full fine-tune has \+2\.0 points \(95 % interval −\d\.\d to \+\d+\.\d\), not sig",
        text,
    )
    assert "the recommendation agrees." in text
    # Where the rule is to train, a difference that is not significant says nothing of it.
    text = advice_text(replace(probe, val_top1=0.9), tuned)
    assert "the measurements neither confirm nor contradict it." in text


def test_a_gain_by_another_strategy_than_the_rules_is_mentioned() -> None:
    low = replace(make_score("finetune", seed=0, accuracy=0.9), method="last-1")
    assert "the measurements agree that training pays, though with another strategy" in advice_text(
        make_score(accuracy=0.7), low
    )
    classes = len(low.class_names)
    few = [small(score, 400 * classes) for score in (make_score(accuracy=0.7), low)]
    assert "; the measurements agree." in advice_text(*few)


def test_a_head_that_is_significantly_better_is_used_at_its_cost() -> None:
    better = replace(make_score("knn", accuracy=0.9, val_top1=0.95), n_train=make_score().n_train)
    text = advice_text(make_score(accuracy=0.7), better)
    assert re.match(
        r"Keep the net frozen and use k-NN: \+\d\d\.\d points, at [\d.]+ times the linear probe's cold", text
    )
    assert advice_text(make_score(accuracy=0.8), make_score("knn", accuracy=0.5)).startswith(
        "Keep the net frozen and use linear probe (exact)."
    )


def test_curves_of_training_are_not_left_out() -> None:
    probe, curve = make_score(), replace(make_curve(), method="finetune")
    assert "on the learning curves all train images gave full fine-tune" in advice_text(probe, curves=(curve,))
    part = replace(make_curve(percents=(10, 50)), method="finetune")
    text = advice_text(probe, curves=(part,))
    assert "only learning curves of training were run, which no test pairs with the probe" in text
    assert "untested" not in text


def test_curves_alone_have_advice_too() -> None:
    whole = make_curve(percents=(10, 50, 100))
    tuned = replace(make_curve(top=0.95, percents=(10, 50, 100)), method="finetune")
    text = advice_text(curves=(whole, tuned))
    each = f"{tuned.n_train / len(tuned.class_names):,.0f}"
    assert text.startswith("Use mobilenet_v2, full fine-tune.")
    assert f"With {each} train images per class the usual rule of thumb is to fine-tune the whole net." in text
    assert "It went from " in text
    assert advice_text(curves=(make_curve(percents=(10,)),)).startswith("Use mobilenet_v2. With ")
    assert advice_text(curves=(make_curve(percents=()),)) == ""


def test_a_significant_loss_keeps_the_probe() -> None:
    text = advice_text(make_score(accuracy=0.9), make_score("scratch", seed=0, accuracy=0.5))
    assert text.startswith("Keep the net frozen and use linear probe (exact).")
    assert "the measurements contradict it" in text


def test_validation_picks_the_strategy_and_not_test() -> None:
    low = replace(make_score("finetune", seed=0, accuracy=0.8, val_top1=0.9), method="last-1")
    high = make_score("finetune", seed=0, accuracy=0.95, val_top1=0.8)
    probe = make_score(accuracy=0.7, val_top1=0.95)
    assert "last stage, the best of 2 trained rows on validation, has +" in advice_text(probe, low, high)


def test_the_curve_says_whether_to_label_more() -> None:
    probe = make_score()
    assert advice_text(probe).endswith("A learning curve (verb: curve) shows whether more labels would help.")
    climbing = replace(make_curve(), points=tuple(replace(p, test_top1=p.amount / 200) for p in make_curve().points))
    assert "The probe went from 25.00 % on half of the train images to 50.00 % on all: label more" in advice_text(
        probe, curves=(climbing,)
    )
    flat = replace(make_curve(), points=tuple(replace(p, test_top1=0.9) for p in make_curve().points))
    assert "to 90.00 % on all: flat, as far as 10,000 test images show" in advice_text(probe, curves=(flat,))
    whole = tuple(replace(p, test_top1=0.905) if p.amount == 100 else p for p in flat.points)
    assert "to 90.50 % on all: it climbs slowly" in advice_text(probe, curves=(replace(flat, points=whole),))
    scattered = tuple(replace(p, test_top1=0.89 + 0.005 * p.draw) if p.amount == 50 else p for p in whole)
    assert "on all: flat" in advice_text(probe, curves=(replace(flat, points=scattered),))
    other = replace(climbing, image_size=96)
    assert advice_text(probe, curves=(other,)) == advice_text(probe)


def unbalanced(method: str, hits: int, val_top1: float = 0.8) -> Score:
    """Return a score of 24 images of one class, all right, and 3 of another, of which `hits` are."""
    score = make_score(method, class_names=("fine", "rare"), n_test=27, val_top1=val_top1)
    predictions = (0,) * 24 + (1,) * hits + (0,) * (3 - hits)
    return replace(judged(score, labels=(0,) * 24 + (1,) * 3, predictions=predictions), macro=(1 + hits / 3) / 2)


def test_a_class_that_is_never_right_is_said_with_the_rows_that_have_it_right() -> None:
    probe = unbalanced("probe", 0, val_top1=0.9)
    never = "If every class matters, do not use it as it is: it is never right on class 'rare' (3 of 27 test images)."
    remedy = (
        "Compare and select by macro (--metric macro), which counts classes alike, and label more of what is missed."
    )
    assert f"{never} There is no other row to compare it with. {remedy}" in advice_text(probe)
    assert f"{never} Every other row misses a class too. {remedy}" in advice_text(probe, unbalanced("knn", 0))
    some = (unbalanced("knn", 1), unbalanced("centroid", 3), unbalanced("ridge", 0))
    right = "Right on some of every class: nearest centroid (macro 100.0 %), k-NN (macro 66.7 %)."
    assert f"{never} {right} {remedy}" in advice_text(probe, *some)
    assert f"Use k-NN. {never} " in advice_text(unbalanced("knn", 0))
    assert "every class" not in advice_text(unbalanced("probe", 1, val_top1=0.9), unbalanced("knn", 0))
