"""Whether the backbones differ over the data sets, and what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from math import factorial

from probeline.format import count, listing, percent, plural, points, probability, seconds, signed
from probeline.report.board.board import Board
from probeline.report.board.cost import Cost, costs
from probeline.report.board.sections.section import NO_CELL, BoardSection, table_section
from probeline.report.board.verdict import power_in_words, rank, why_not_tested
from probeline.report.model.differences import LEVEL
from probeline.report.sections.section import RESULTS
from probeline.report.sections.tables import text_table


def tests_section(board: Board) -> BoardSection | None:
    standing = board.standing
    if standing is None:
        return None
    heading = ("critical-difference", "Do the backbones differ?", RESULTS)
    tests, n, k = standing.tests, len(standing.datasets), len(standing.nets)
    if tests is None:
        return table_section(board, heading, [], [why_not_tested(n, k)])
    titles = [board.titles[one.net] for one in standing.nets]
    table = text_table(
        [
            ("Backbone", [titles[pair.better] for pair in tests.pairs]),
            ("Minus", [titles[pair.worse] for pair in tests.pairs]),
            ("Mean difference, normalised points", [points(pair.difference, board.places) for pair in tests.pairs]),
            ("Higher, equal, lower on", [", ".join(map(str, pair.wins)) for pair in tests.pairs]),
            ("Adjusted p", [probability(pair.p).removeprefix("p ").removeprefix("= ") for pair in tests.pairs]),
        ],
        2,
    )
    found = tests.friedman
    many = "with too many permutations for an exact p"
    exact = many if found.p_exact is None else f"exact {probability(found.p_exact)}"
    notes = [
        f"Friedman's test: chi-squared {found.chi2:.3g} with {k - 1} degrees of freedom, {exact}, by the chi-squared "
        f"distribution {probability(found.p_chi2)}, by Iman and Davenport's F {probability(found.p_f)}.",
        f"Nemenyi's critical difference of mean ranks at {LEVEL}: {rank(tests.critical_difference)}. Mean ranks "
        f"differ by {k - 1} at most.",
        "Pairs: Wilcoxon's signed-rank test of the normalised accuracies over the data sets, exact, adjusted by "
        "Holm's method for all pairs (Demšar 2006). It does not depend on the other backbones, as Nemenyi's does.",
        "These tests are about other data sets of the same kind. They count each data set alike, whatever its number "
        "of test images, and ranks count a difference of one image like one of many.",
        *power_in_words(tests, n),
    ]
    return table_section(board, heading, [table], notes)


def cost_section(board: Board) -> BoardSection | None:
    standing = board.standing
    if standing is None:
        return None
    known = costs(standing, board.records.latencies)
    fronts = {one.name: one.front for one in known}
    columns = [
        ("Backbone", [board.titles[one.net] for one in standing.nets]),
        ("Normalised %", [percent(one.normalised, board.places) for one in standing.nets]),
        ("Cold s", [seconds(one.cold_seconds) for one in standing.nets]),
        ("Warm s", [seconds(one.warm_seconds) for one in standing.nets]),
        ("Parameters", [count(one.parameters) if one.parameters else NO_CELL for one in standing.nets]),
        ("Memory MB", _memory(known)),
        (
            "Not beaten in accuracy and",
            [listing([name for name, front in fronts.items() if i in front]) for i in range(len(standing.nets))]
            if len(standing.nets) > 1
            else [],
        ),
    ]
    notes = [
        f"Seconds of the shown rows, {plural(len(standing.datasets), 'data set')} together: cold time includes feature "
        "extraction, warm time uses cached features; both include all settings tried and the test.",
        "Parameters are those of the predictor with the most classes.",
    ]
    if "cold time" not in fronts:
        notes.append("The rows were measured on different hardware, so that their times are not compared.")
    if "memory" not in fronts:
        notes.append("Memory: not recorded for all backbones on one device; probeline latency records it on a GPU.")
    return table_section(board, ("cost", "Accuracy against cost", RESULTS), [text_table(columns, 1)], notes)


def _memory(known: Sequence[Cost]) -> list[str]:
    memory = next((one for one in known if one.name == "memory"), None)
    return [f"{value:,.0f}" for value in memory.values] if memory else []


_NAMES = {
    "effective_rank": "effective rank",
    "rankme": "RankMe",
    "two_nn": "dimension (two-NN)",
    "between": "variance between classes",
    "h_score": "H-score",
    "log_me": "LogME",
    "nmi": "NMI of clusters",
    "ari": "ARI of clusters",
}
"""Of the predictors in words."""


def predictors_section(board: Board) -> BoardSection | None:
    """Return how well numbers of the features alone order the backbones; None without such records."""
    found = board.predictors
    if not found:
        return None
    names = [data.name for data in board.datasets]
    by_data = [{one.data: one for one in predictor.correlations} for predictor in found]
    columns = [
        ("Predictor", [_NAMES[predictor.name] for predictor in found]),
        ("Mean tau", [_correlation(predictor.kendall) for predictor in found]),
        ("Mean rho", [_correlation(predictor.spearman) for predictor in found]),
        *(
            (name, [_correlation(own[name].kendall) if name in own else NO_CELL for own in by_data])
            for name in names
            if any(name in own for own in by_data)
        ),
    ]
    counts = sorted({one.n for predictor in found for one in predictor.correlations})
    n = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    notes = [
        "Rank correlation of a number of the features alone (probeline quality) with test top-1 of the exact probe, "
        f"over {n} backbones on each data set: Kendall's tau-b by data set and as a mean, and the mean of Spearman's "
        "rho. 1 is the same order, -1 the reverse.",
        f"Of {counts[0]} backbones, chance alone lets {_perfect(counts[0])} have exactly the right order: so few say "
        "little of a predictor.",
    ]
    record = {"predictors": [asdict(predictor) for predictor in found]}
    heading = ("predictors", "Predicting accuracy without a fit", RESULTS)
    return table_section(board, heading, [text_table(columns, 1)], notes, **record)


def _correlation(value: float) -> str:
    return signed(f"{value:+.2f}")


def _perfect(n: int) -> str:
    """Return how many predictors in how many put `n` backbones into one order by chance."""
    return f"one predictor in {factorial(n):,}"
