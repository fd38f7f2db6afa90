"""The recommendation: one decision, which verdict, advice and record word without contradicting it or each other."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from made_records import make_curve
from made_scores import judged, make_score
from probeline.names import PENULTIMATE
from probeline.report.model.advice import advice
from probeline.report.model.recommendation import Reason, Recommendation, recommend
from probeline.report.model.rows import Block, blocks
from probeline.report.model.verdict import verdict
from probeline.report.page.answer import summary
from probeline.results.curve import Curve
from probeline.results.methods import method_info
from probeline.results.ranking import rank_by_validation
from probeline.results.score import Score

UNTRAINED = ("no fine-tune", "nothing has been fine-tuned", "not been fine-tuned", "untested")
FROZEN, TRAINED = ("probe", "probe-refit", "knn", "ridge", "centroid"), ("finetune", "scratch")
ROUNDS = 120


def one_epoch(score: Score) -> Score:
    return replace(score, history=score.history[:1], options={**score.options, "epochs": 1})


def generated(seed: int) -> tuple[list[Score], list[Curve]]:
    """Return rows and curves as a user may have them: any methods, nets, taps, ties, epochs, and curves of training."""
    draw = random.Random(seed)
    n_test = draw.choice((40, 200, 1000))
    scores = []
    for net in draw.sample(("mobilenet_v2", "resnet18", "vgg11"), draw.randint(1, 3)):
        methods = draw.sample(FROZEN, draw.randint(0, 3)) + draw.sample(TRAINED, draw.randint(0, 2))
        methods = list(dict.fromkeys(["probe"] * (draw.random() < 0.8) + methods))
        for method in methods:
            accuracy, val = draw.choice((0.3, 0.7, 0.71, 0.9)), draw.choice((0.5, 0.9, 0.9, 0.95))
            seeded = method_info(method).seeded
            tap = draw.choice((PENULTIMATE, "layer3")) if method in FROZEN else PENULTIMATE
            other_images = {"draw": 1} if draw.random() < 0.1 else {}
            short = seeded and draw.random() < 0.5
            for number in range(draw.randint(1, 2) if seeded else 1):
                score = make_score(
                    method,
                    net,
                    accuracy,
                    seed=number if seeded else None,
                    n_test=n_test,
                    val_top1=val,
                    tap=tap,
                    converged=draw.random() < 0.9,
                    **other_images,
                )
                scores.append(one_epoch(score) if short else score)
    curves = []
    if draw.random() < 0.5:
        curves.append(make_curve(n_test=n_test, percents=(10, 50, 100)))
    if draw.random() < 0.4:
        options = {"epochs": draw.choice((1, 20))}
        curve = make_curve(n_test=n_test, percents=draw.choice(((10, 50), (10, 50, 100))))
        curves.append(replace(curve, method="finetune", options=options))
    return scores, curves


def cases() -> Iterator[tuple[list[Score], list[Curve]]]:
    for seed in range(ROUNDS):
        scores, curves = generated(seed)
        yield scores, curves
        if not seed % 10:
            yield [], curves


@dataclass(frozen=True)
class Case:
    """Rows and curves, the table that a report makes of them, and the decision."""

    scores: list[Score]
    curves: list[Curve]
    table: list[Block]
    decision: Recommendation


@pytest.fixture(scope="module")
def every_case() -> list[Case]:
    made = ((scores, curves, blocks(scores)) for scores, curves in cases())
    return [Case(scores, curves, table, recommend(table, curves)) for scores, curves, table in made]


def test_the_cases_are_of_all_kinds(every_case: list[Case]) -> None:
    decisions = [case.decision for case in every_case]
    assert {one.reason for one in decisions} >= set(Reason) - {Reason.ONLY_ROW}
    compared = [one.best_trained.over_probe for one in decisions if one.best_trained]
    real = [one for one in compared if one is not None and one.real]
    assert any(one.top1 > 0 for one in real)
    assert any(one.top1 < 0 for one in real)
    assert any(one is not None and not one.real for one in compared)
    assert any(one.trained_curves and one.best_trained is None for one in decisions)
    assert any(one.reference is None and one.candidates for one in decisions)


def test_no_sentence_denies_a_training_that_was_run(every_case: list[Case]) -> None:
    denied = 0
    for case in every_case:
        text = " ".join([*verdict(case.table, case.curves).lines, *advice(case.table, case.curves)]).lower()
        trained = any(method_info(one.method).trains for one in (*case.scores, *case.curves))
        decision = case.decision
        assert trained == (decision.best_trained is not None or bool(decision.trained_curves))
        if trained:
            assert not any(words in text for words in UNTRAINED), text
        denied += any(words in text for words in UNTRAINED)
    assert denied


def test_the_first_on_validation_is_recommended_unless_test_speaks_against_training(
    every_case: list[Case],
) -> None:
    for case in every_case:
        decision = case.decision
        if not case.scores:
            assert decision.recommended is None
            continue
        first, *others = rank_by_validation(case.scores)
        (candidate,) = [one for one in decision.candidates if one.scores == first]
        assert decision.best_on_validation is candidate
        difference = candidate.over_probe
        if candidate.trains and difference is not None and difference.real and difference.top1 < 0:
            first = next(row for row in others if not method_info(row[0].method).trains)
        assert decision.recommended is not None
        assert decision.recommended.scores == first


def test_lead_advice_table_and_record_name_the_same_row(every_case: list[Case]) -> None:
    for case in every_case:
        decision = case.decision
        lead, steps = verdict(case.table, case.curves).answer, advice(case.table, case.curves)
        record = json.loads(json.dumps(decision.to_json()))
        if not decision.name:
            assert not lead.startswith("Recommended")
            assert steps == []
            assert record["recommended"] is None
            continue
        assert lead.startswith(f"Recommended: {decision.name}, because ")
        assert decision.name in steps[0]
        assert record["recommended"]["name"] == decision.name
        if decision.recommended is not None:
            first, *others = summary(decision)
            assert len(others) < 4
            assert first.roles.startswith("Recommended")
            assert first.is_recommended
            assert not any(one.is_recommended for one in others)
            frozen = steps[0].startswith("Keep the net frozen")
            assert steps[0].startswith(("Keep the net frozen", "Train ", "Use "))
            assert not (frozen and decision.recommended.trains)


def test_significance_is_reported_as_tested(every_case: list[Case]) -> None:
    for case in every_case:
        decision = case.decision
        if decision.recommended is None or decision.reason is Reason.TRAINING_LOSES:
            continue
        difference, lead = decision.recommended.over_probe, verdict(case.table, case.curves).answer.split(";")[0]
        if difference is None:
            assert "significant" not in lead
        else:
            word = "above" if difference.top1 > 0 else "below"
            assert (f"significantly {word} " if difference.real else "no significant difference from ") in lead


def test_what_weakens_the_answer_is_among_the_caveats(every_case: list[Case]) -> None:
    single = 0
    for case in every_case:
        decision = case.decision
        caveats = {line.split(":")[0]: line for line in decision.caveats}
        shown = (decision.recommended, decision.reference, decision.highest_on_test, decision.best_trained)
        for candidate in filter(None, shown):
            if any(len(score.history) == 1 or score.options.get("epochs") == 1 for score in candidate.scores):
                assert candidate.name in caveats["Trained for one epoch only"]
                single += 1
            if not candidate.row.converged:
                assert candidate.name in caveats["Not converged"]
            if method_info(candidate.row.method).seeded and candidate.row.seeds == 1:
                assert candidate.name in caveats["One seed only, so the spread between seeds is unknown"]
        if decision.recommended is not None:
            assert any(line.startswith("Only") and "test images" in line for line in decision.caveats) == (
                decision.recommended.row.n_test < 1000
            )
            assert ("No linear probe was scored, so nothing is compared with it." in decision.caveats) == (
                decision.reference is None
            )
    assert single > 10


def test_a_curve_of_one_epoch_is_reported() -> None:
    curve = replace(make_curve(percents=(10, 100)), method="finetune", options={"epochs": 1})
    assert "Trained for one epoch only: mobilenet_v2, full fine-tune." in recommend([], [make_curve(), curve]).caveats


def caveats(*scores: Score) -> str:
    return "\n".join(recommend(blocks(scores)).caveats)


def test_an_edge_of_the_grid_is_reported() -> None:
    edge = make_score(chosen={"l2": 1e5, "edge": True})
    words = "Hyper-parameter at the edge of its grid, so a wider grid may do better: linear probe (exact)."
    assert words in caveats(edge, make_score("knn", accuracy=0.5))
    assert words not in caveats(make_score(), make_score("knn", accuracy=0.5))


def test_selection_on_test_is_reported() -> None:
    words = "Full fine-tune is highest on test; its accuracy was selected on test, so probably a little too high."
    assert words in caveats(make_score("knn", val_top1=0.9), make_score("finetune", seed=0, accuracy=0.9, val_top1=0.8))
    assert words not in caveats(
        make_score("knn", val_top1=0.8), make_score("finetune", seed=0, accuracy=0.9, val_top1=0.9)
    )
    assert "selected on test" not in caveats(
        make_score(accuracy=0.9, val_top1=0.8), make_score("knn", accuracy=0.9, val_top1=0.9)
    )


def test_other_validation_images_are_reported() -> None:
    probe, tuned = make_score(val_top1=0.9), make_score("finetune", seed=0, val_top1=0.8)
    assert "compare only roughly" not in caveats(probe, tuned)
    folds = replace(probe, chosen_by="5-fold (n=45000)")
    assert (
        "Validation accuracies compare only roughly: linear probe (exact) was chosen by 5-fold (n=45000), some rows by "
        "val (n=5000)."
    ) in caveats(folds, tuned)
    # What had nothing to choose was scored on the same images as its like.
    plain = replace(make_score("centroid", accuracy=0.99), chosen_by="", chosen={})
    assert "compare only roughly" not in caveats(folds, plain)


def test_ties_on_validation_are_reported() -> None:
    def tied(*others: Score) -> str:
        return caveats(make_score(val_top1=0.9 + 1e-12), *others)

    some = [make_score(name, val_top1=0.9) for name in ("knn", "ridge", "centroid", "probe-sgd", "finetune")]
    some = [replace(score, seed=0) if score.method in ("probe-sgd", "finetune") else score for score in some]
    assert "Tied on validation with ridge regression and k-NN." in tied(*some[:2])
    assert "Tied on validation with 5 rows." in tied(*some)
    assert "Tied" not in tied(make_score("knn", val_top1=0.8))
    assert "Tied" not in tied(make_score("probe-refit", val_top1=0.9)), "a refit has the probe's validation"


def test_disagreement_of_validation_and_test_is_reported() -> None:
    probe = make_score(accuracy=0.7, val_top1=0.9)
    tuned = make_score("finetune", seed=0, accuracy=0.95, val_top1=0.8)
    words = "Validation and test disagree: full fine-tune is significantly above the linear probe on test."
    assert words in caveats(probe, tuned)
    worse = make_score("knn", accuracy=0.4, val_top1=0.95)
    assert "Validation and test disagree: k-NN is significantly below the linear probe." in caveats(probe, worse)


def unbalanced(method: str, hits: int, *, val_top1: float) -> Score:
    """Return a score of 24 images of one class, all right, and 3 of another, of which `hits` are."""
    score = make_score(method, class_names=("fine", "rare"), n_test=27, val_top1=val_top1)
    predictions = (0,) * 24 + (1,) * hits + (0,) * (3 - hits)
    return replace(judged(score, labels=(0,) * 24 + (1,) * 3, predictions=predictions), macro=(1 + hits / 3) / 2)


def test_a_class_that_the_recommended_row_never_has_right_is_the_first_caveat() -> None:
    blind, other = unbalanced("probe", 0, val_top1=0.9), unbalanced("knn", 1, val_top1=0.8)
    first, *_ = recommend(blocks([blind, other])).caveats
    assert first == (
        "Linear probe (exact) is never right on class 'rare' (3 of 27 test images): its top-1 of 88.9 % does not show "
        "that; macro, the mean accuracy of the classes, is 50.0 %."
    )
    # What another row misses is no caveat of the recommended one.
    assert "never right" not in caveats(replace(blind, val_top1=0.7), other)
