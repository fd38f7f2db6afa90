"""The verdict: no stronger than the numbers allow."""

from __future__ import annotations

import re

from made_records import make_curve
from made_scores import make_score, make_scores
from probeline.report.model.rows import blocks
from probeline.report.model.verdict import verdict
from probeline.report.records.learning_steps import steps
from probeline.results.score import Score


def verdict_text(*scores: Score) -> str:
    return "\n".join(verdict(blocks(scores)).lines)


def test_nothing_scored() -> None:
    assert verdict_text() == "Nothing has been scored yet."


def test_curves_alone_are_recommended_by_validation_and_listed() -> None:
    curve = make_curve(percents=(10, 50), shots=(), draws=1, n_train=1000, n_test=200)
    end = 100 * steps(curve)[-1].mean
    assert verdict([], [curve]).lines == [
        f"Recommended: mobilenet_v2, because there is no other learning curve; with 500 train images it has "
        f"{end:.1f} % on test.",
        f"Learning curves (n = 200): mobilenet_v2: {end:.1f} % with 500 train images.",
        "Only 200 test images.",
    ]


def test_curves_of_shots_alone_recommend_nothing() -> None:
    curve = make_curve(percents=(), shots=(1, 2), draws=1)
    (line,) = verdict([], [curve]).lines
    assert line.startswith("Learning curves (n = ")


def test_one_row_is_named_with_its_interval_and_n() -> None:
    assert verdict_text(make_score(accuracy=0.8, n_test=1000)).splitlines() == [
        "Recommended: linear probe (exact), because no other row has been scored; it has 80.00 % on test.",
        "Highest on test: 80.00 % by linear probe (exact) on mobilenet_v2 (95 % interval 77.41 to 82.36, n = 1,000).",
    ]


def test_a_clear_lead_is_significant() -> None:
    text = verdict_text(make_score(accuracy=0.7), make_score("finetune", seed=0, accuracy=0.9))
    first, second, *_ = text.splitlines()
    assert first == (
        "Recommended: full fine-tune, because it is best on validation (90.0 %) and has 90.0 % on test, significantly "
        "above the linear probe (70.0 %)."
    )
    assert second.startswith("Highest on test: 90.0 % by full fine-tune on mobilenet_v2")
    far = r"\+20\.0 points \(95 % interval \+1\d\.\d to \+2\d\.\d\)"
    assert re.search(rf"from the linear probe \(70\.0 %\): {far}, significant \(adjusted p < 0\.001\)\.", text)
    assert re.search(rf"Headroom of mobilenet_v2: {far} from its probe to its fine-tune, significant", text)
    assert "No significant" not in text


def test_a_lead_within_the_noise_is_not() -> None:
    text = verdict_text(
        make_score(accuracy=0.80, n_test=100), make_score("finetune", seed=0, accuracy=0.82, n_test=100)
    )
    assert re.search(r"\+2\.0 points \(95 % interval −\d\.\d to \+\d+\.\d\), not significant \(adjusted p", text)
    assert text.splitlines()[0].endswith(
        "has 82.0 % on test, no significant difference from the linear probe (80.0 %)."
    )
    assert re.search(r"the true difference may be anywhere from −\d\.\d to \+\d+\.\d points", text)
    assert "significantly above" not in text
    assert ", significant" not in text


def test_training_that_loses_on_test_is_not_recommended() -> None:
    probe = make_score(accuracy=0.9, val_top1=0.8)
    tuned = make_score("finetune", seed=0, accuracy=0.7, val_top1=0.95)
    assert verdict_text(probe, tuned).splitlines()[0] == (
        "Recommended: linear probe (exact), because it is the best frozen head on validation and has 90.0 % on test; "
        "full fine-tune is higher on validation but significantly below it on test, with 70.0 %."
    )


def test_the_probe_may_win() -> None:
    text = verdict_text(
        make_score(accuracy=0.9), make_score("knn", accuracy=0.899), make_score("centroid", accuracy=0.5)
    )
    assert text.startswith(
        "Recommended: linear probe (exact), because it is best on validation (90.0 %) and has 90.0 % on test.\n"
    )
    assert "\nHighest on test: 90.0 % by linear probe (exact) on" in text
    assert text.endswith("\nNo significant difference from the linear probe on test: k-NN.")


def test_several_probes_say_which_is_meant() -> None:
    text = verdict_text(*make_scores(("strong", "weak"), ("probe", "finetune"), seeds=2))
    assert "difference from the linear probe on strong (" in text
    assert "Headroom of strong:" in text
    assert "Headroom of weak:" in text
    assert "2 seeds, sd" in text


def test_taps_are_named() -> None:
    tuned = make_score("finetune", seed=0, accuracy=0.75)
    text = verdict_text(
        make_score(accuracy=0.7), make_score(accuracy=0.9, tap="layer3"), make_score("knn", tap="layer3"), tuned
    )
    assert text.startswith("Recommended: linear probe (exact) at layer3, because it is best on validation (90.0 %)")
    assert "; full fine-tune was trained and has 75.0 %, significantly below it." in text
    assert "\nHighest on test: 90.0 % by linear probe (exact) on mobilenet_v2 at layer3 (95 %" in text
    assert re.search(r"Headroom of mobilenet_v2: \+5\.0 points .* from its probe to its fine-tune", text)
    seen = {"tap": "layer3", "views": 2}
    text = verdict_text(make_score(val_top1=0.9, **seen), make_score(val_top1=0.8), make_score("knn", val_top1=0.8))
    assert "No significant difference from the linear probe at layer3, 2 views on test" in text


def test_more_images_to_fit_on_are_mentioned() -> None:
    text = verdict_text(make_score(accuracy=0.7), make_score("probe-refit", accuracy=0.9))
    assert "; fitted on 50,000 images, the probe on 45,000." in text


def test_long_lists_are_counted() -> None:
    names = [f"net{i}" for i in range(9)]
    text = verdict_text(*(make_score(backbone=name, accuracy=0.8) for name in names))
    assert "No significant difference from the linear probe on net0 on test: 8 of the 8 other rows." in text


def test_the_best_is_counted_too_and_those_that_differ_are_named() -> None:
    names = [f"net{i}" for i in range(8)]
    text = verdict_text(
        make_score(backbone="net", accuracy=0.8, val_top1=0.9),
        *(make_score(backbone=name, accuracy=0.8, val_top1=0.5) for name in names),
        make_score(backbone="better", accuracy=0.81, val_top1=0.5),
        make_score("centroid", backbone="net", accuracy=0.2, val_top1=0.5),
    )
    assert "9 of the 10 other rows; significantly different: nearest centroid on net." in text


def test_rows_that_are_equally_high_are_named() -> None:
    text = verdict_text(make_score(accuracy=0.7), make_score("knn", accuracy=0.9), make_score("ridge", accuracy=0.9))
    assert re.search(r"Highest on test: 90\.0 % by .*\); (k-NN|ridge regression) equally high\.", text)


def test_curves_of_another_net_are_another_net() -> None:
    rows = blocks([make_score("probe", "resnet18"), make_score("knn", "resnet18")])
    alone = "Only resnet18 was tried: nothing here compares backbones."
    assert alone in verdict(rows).lines
    assert alone not in verdict(rows, [make_curve()]).lines


def test_without_a_probe_nothing_is_compared() -> None:
    text = verdict_text(make_score("knn"), make_score("finetune", seed=0, accuracy=0.9))
    assert text.startswith(
        "Recommended: full fine-tune, because it is best on validation (90.0 %) and has 90.0 % on test."
    )
    assert "No linear probe was scored, so nothing is compared with it." in text
