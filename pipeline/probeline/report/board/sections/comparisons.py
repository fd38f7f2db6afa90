"""Whether the backbones differ over the data sets, and what they cost."""

from __future__ import annotations

from collections.abc import Sequence

from probeline.format import count, listing, percent, plural, points, probability, seconds
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
