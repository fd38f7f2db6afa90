"""Advice: what val prefers, whether test can tell, the courses' rule, and what the curve says of more labels."""

from __future__ import annotations

import re
from dataclasses import replace

from probeline.report.model.advice import advice
from probeline.report.model.rows import blocks
from probeline.results.curve import Curve
from probeline.results.score import Score
from test_report_learning import make_curve
from test_report_rows import make_score


def said(*scores: Score, curves: tuple[Curve, ...] = ()) -> str:
    return " ".join(advice(blocks(scores), curves))


def small(score: Score, n_train: int) -> Score:
    """Return the same score, fitted on fewer images: of two classes here."""
    return replace(score, n_train=n_train)


def test_nothing_without_a_probe() -> None:
    assert said() == ""
    assert said(make_score("knn")) == ""


def test_without_training_the_rule_stands_untested() -> None:
    classes = len(make_score().class_names)
    for each, rule in ((40, "keep the net frozen"), (400, "train the last stages"), (4000, "fine-tune the whole net")):
        text = said(small(make_score(), each * classes))
        assert text.startswith(f"With {each:,} train images a class the usual rule of thumb is to {rule}")
        assert "it stands untested" in text


def test_a_real_win_against_the_rule_counts() -> None:
    probe, tuned = make_score(accuracy=0.7), make_score("finetune", seed=0, accuracy=0.9)
    text = said(small(probe, 80), small(tuned, 80))
    assert "Trained was full fine-tune: +20.0 points against the linear probe's 70.0 %" in text
    assert "That is a real difference" in text
    assert text.count("the measurement goes against the rule") == 1
    assert "the rule and the measurement agree" in said(probe, tuned)


def test_what_test_cannot_tell_leaves_the_probe() -> None:
    probe = make_score(accuracy=0.80, n_test=100)
    tuned = make_score("finetune", seed=0, accuracy=0.82, n_test=100)
    text = said(small(probe, 80), small(tuned, 80))
    assert re.search(
        r"With 100 test images the true difference may lie anywhere from −\d\.\d to \+\d+\.\d points", text
    )
    assert "training has not shown a gain: keep the probe, or test on more images; the rule says the same." in text
    # Where the rule is to train, what test cannot tell says nothing of it.
    text = said(probe, tuned)
    assert "keep the probe, or test on more images; the rule is neither borne out nor refuted." in text


def test_a_win_of_another_training_than_the_rules_is_told() -> None:
    low = replace(make_score("finetune", seed=0, accuracy=0.9), method="last-1")
    assert "that training pays the rule says too, though not this one" in said(make_score(accuracy=0.7), low)
    classes = len(low.class_names)
    few = [small(score, 400 * classes) for score in (make_score(accuracy=0.7), low)]
    assert "the rule and the measurement agree" in said(*few)


def test_a_head_that_is_really_better_is_told() -> None:
    better = replace(make_score("knn", accuracy=0.9, val_top1=0.95), n_train=make_score().n_train)
    assert "Of the heads on cached features val prefers k-NN, +" in said(make_score(accuracy=0.7), better)
    assert "Of the heads" not in said(make_score(accuracy=0.8), make_score("knn", accuracy=0.5))


def test_what_curves_of_training_tell_is_not_left_out() -> None:
    probe, curve = make_score(), replace(make_curve(), method="finetune")
    assert "on the learning curves all train images gave full fine-tune" in said(probe, curves=(curve,))
    assert "stands untested" not in said(probe, curves=(curve,))


def test_curves_alone_have_advice_too() -> None:
    whole = make_curve(percents=(10, 50, 100))
    tuned = replace(make_curve(top=0.95, percents=(10, 50, 100)), method="finetune")
    text = said(curves=(whole, tuned))
    each = f"{tuned.n_train / len(tuned.class_names):,.0f}"
    assert text.startswith(f"With {each} train images a class the usual rule of thumb is to fine-tune the whole net.")
    assert f"With {tuned.n_train:,} of them val prefers mobilenet_v2, full fine-tune, of 2 curves: 9" in text
    assert "It went from " in text
    assert "val prefers" not in said(curves=(whole,))
    tenth = said(curves=(make_curve(percents=(10,)),))
    assert tenth.startswith(f"With {each} train images a class"), "the rule is for what there is to train on"
    assert f"With {tuned.n_train // 10:,} of them mobilenet_v2 has " in tenth
    assert said(curves=(make_curve(percents=()),)) == ""


def test_a_real_loss_keeps_the_probe() -> None:
    text = said(make_score(accuracy=0.9), make_score("scratch", seed=0, accuracy=0.5))
    assert "Training really loses here: keep the probe; the measurement goes against the rule" in text


def test_val_picks_the_strategy_and_not_test() -> None:
    low = replace(make_score("finetune", seed=0, accuracy=0.8, val_top1=0.9), method="last-1")
    high = make_score("finetune", seed=0, accuracy=0.95, val_top1=0.8)
    assert "Of 2 strategies that were trained val prefers last stage and head" in said(
        make_score(accuracy=0.7), low, high
    )


def test_the_curve_says_whether_to_label_more() -> None:
    probe = make_score()
    assert said(probe).endswith("Whether more labels would help is what probeline curve tells.")
    climbing = replace(make_curve(), points=tuple(replace(p, test_top1=p.amount / 200) for p in make_curve().points))
    assert "The probe went from 25.00 % on half of the train images to 50.00 % on all: label more" in said(
        probe, curves=(climbing,)
    )
    flat = replace(make_curve(), points=tuple(replace(p, test_top1=0.9) for p in make_curve().points))
    assert "to 90.00 % on all: that is flat, as far as 10,000 test images show" in said(probe, curves=(flat,))
    whole = tuple(replace(p, test_top1=0.905) if p.amount == 100 else p for p in flat.points)
    assert "to 90.50 % on all: it climbs, but slowly" in said(probe, curves=(replace(flat, points=whole),))
    scattered = tuple(replace(p, test_top1=0.89 + 0.005 * p.draw) if p.amount == 50 else p for p in whole)
    assert "that is flat" in said(probe, curves=(replace(flat, points=scattered),))
    other = replace(climbing, image_size=96)
    assert said(probe, curves=(other,)) == said(probe)
