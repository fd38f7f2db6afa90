"""The verdict: no stronger than the numbers allow."""

from __future__ import annotations

import re

from probeline.report.model.rows import blocks
from probeline.report.model.verdict import verdict
from probeline.report.records.learning_steps import steps
from probeline.results.score import Score
from test_report_learning import make_curve
from test_report_rows import make_score, make_scores


def said(*scores: Score) -> str:
    return "\n".join(verdict(blocks(scores)).lines)


def test_nothing_scored() -> None:
    assert said() == "Nothing has been scored yet."


def test_curves_alone_are_told_by_their_ends() -> None:
    curve = make_curve(percents=(10, 50), shots=(), draws=1, n_train=1000, n_test=200)
    end = 100 * steps(curve)[-1].mean
    assert verdict([], [curve]).lines == [
        f"On parts of the train images alone (n = 200), mobilenet_v2: {end:.1f} % with 500 train images."
    ]


def test_one_row_is_named_with_its_interval_and_n() -> None:
    assert said(make_score(accuracy=0.8, n_test=1000)) == (
        "Highest on test: 80.00 % by linear probe (exact) on mobilenet_v2 (95 % interval 77.41 to 82.36, n = 1,000)."
    )


def test_a_clear_lead_is_called_real() -> None:
    text = said(make_score(accuracy=0.7), make_score("finetune", seed=0, accuracy=0.9))
    first, second, *_ = text.splitlines()
    assert first == ("Training pays: full fine-tune has 90.0 % on test, really above the linear probe's 70.0 %.")
    assert second.startswith("Highest on test: 90.0 % by full fine-tune on mobilenet_v2")
    far = r"\+20\.0 points \(95 % interval \+1\d\.\d to \+2\d\.\d\)"
    assert re.search(rf"Over the linear probe, 70\.0 %: {far}, a real difference \(adjusted p < 0\.001\)\.", text)
    assert re.search(rf"Headroom of mobilenet_v2: {far} from its probe to its fine-tune, a real difference", text)
    assert "Not told apart" not in text


def test_a_lead_within_the_noise_is_not() -> None:
    text = said(make_score(accuracy=0.80, n_test=100), make_score("finetune", seed=0, accuracy=0.82, n_test=100))
    assert re.search(r"\+2\.0 points \(95 % interval −\d\.\d to \+\d+\.\d\), not told apart by these test images", text)
    assert text.startswith(
        "Training has shown no gain: full fine-tune has 82.0 % on test, which these 100 images cannot tell apart from "
        "the linear probe's"
    )
    assert "really" not in text
    assert "a real" not in text


def test_the_probe_may_win() -> None:
    text = said(make_score(accuracy=0.9), make_score("knn", accuracy=0.899), make_score("centroid", accuracy=0.5))
    assert text.startswith(
        "Nothing has been fine-tuned; of the heads on frozen features val prefers linear probe (exact): 90.0"
    )
    assert "\nHighest on test: 90.0 % by linear probe (exact) on" in text
    assert "\nNot told apart from the linear probe by these test images: k-NN.\n" in text


def test_several_probes_say_which_is_meant() -> None:
    text = said(*make_scores(("strong", "weak"), ("probe", "finetune"), seeds=2))
    assert "Over the linear probe that val prefers (strong)" in text
    assert "Headroom of strong:" in text
    assert "Headroom of weak:" in text
    assert "2 seeds, sd" in text


def test_taps_are_named() -> None:
    tuned = make_score("finetune", seed=0, accuracy=0.75)
    text = said(
        make_score(accuracy=0.7), make_score(accuracy=0.9, tap="layer3"), make_score("knn", tap="layer3"), tuned
    )
    assert text.startswith(
        "Keep the net frozen: full fine-tune on mobilenet_v2 has 75.0 % on test, really below the linear"
    )
    assert "\nHighest on test: 90.0 % by linear probe (exact) on mobilenet_v2 at layer3 (95 %" in text
    assert re.search(r"Headroom of mobilenet_v2: \+5\.0 points .* from its probe to its fine-tune", text)
    text = said(make_score(accuracy=0.7, val_top1=0.9), make_score(accuracy=0.9, tap="layer3", val_top1=0.8))
    assert "Over the linear probe, 70.0 %" in text
    seen = {"tap": "layer3", "views": 2}
    text = said(make_score(val_top1=0.9, **seen), make_score(val_top1=0.8), make_score("knn", val_top1=0.8))
    assert "Not told apart from the linear probe at layer3 with 2 views by these test images" in text


def test_more_images_to_fit_on_are_mentioned() -> None:
    text = said(make_score(accuracy=0.7), make_score("probe-refit", accuracy=0.9))
    assert "; fitted on 50,000 images, the probe on 45,000." in text


def test_long_lists_are_counted() -> None:
    names = [f"net{i}" for i in range(9)]
    text = said(*(make_score(backbone=name, accuracy=0.8) for name in names))
    assert (
        "Not told apart from the linear probe that val prefers (net0) by these test images: 8 of the 8 other rows."
        in text
    )


def test_the_best_is_counted_among_those_not_told_apart_and_the_others_are_named() -> None:
    names = [f"net{i}" for i in range(8)]
    text = said(
        make_score(backbone="net", accuracy=0.8, val_top1=0.9),
        *(make_score(backbone=name, accuracy=0.8, val_top1=0.5) for name in names),
        make_score(backbone="better", accuracy=0.81, val_top1=0.5),
        make_score("centroid", backbone="net", accuracy=0.2, val_top1=0.5),
    )
    assert "9 of the 10 other rows; really different: nearest centroid on net." in text


def test_rows_that_are_as_high_are_named() -> None:
    text = said(make_score(accuracy=0.7), make_score("knn", accuracy=0.9), make_score("ridge", accuracy=0.9))
    assert re.search(r"Highest on test: 90\.0 % by .*\); (k-NN|ridge regression) as high\.", text)


def test_what_test_has_picked_is_told() -> None:
    lucky = "Its 90.0 % was found by looking at test, so it is probably a little too high."
    assert lucky in said(make_score("knn", val_top1=0.9), make_score("finetune", seed=0, accuracy=0.9, val_top1=0.8))
    assert lucky not in said(
        make_score("knn", val_top1=0.8), make_score("finetune", seed=0, accuracy=0.9, val_top1=0.9)
    )


def test_what_val_has_reached_too_is_no_luck() -> None:
    text = said(make_score(accuracy=0.9, val_top1=0.8), make_score("knn", accuracy=0.9, val_top1=0.9))
    assert "looking at test" not in text


def test_curves_of_another_net_are_another_net() -> None:
    rows = blocks([make_score("probe", "resnet18"), make_score("knn", "resnet18")])
    alone = "Only resnet18 was tried: nothing here compares backbones."
    assert alone in verdict(rows).lines
    assert alone not in verdict(rows, [make_curve()]).lines


def test_without_a_probe_nothing_is_compared() -> None:
    text = said(make_score("knn"), make_score("finetune", seed=0, accuracy=0.9))
    assert text.startswith("Highest on test: 90.0 % by full fine-tune")
    assert "probe" not in text


def test_one_row_is_the_highest_by_nobodys_choice() -> None:
    assert said(make_score("knn")).count("\n") == 0
