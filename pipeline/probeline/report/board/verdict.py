"""What a board says in sentences: the recommended backbone, what was measured, and how far to trust it."""

from __future__ import annotations

from collections.abc import Sequence

from probeline.format import listing, percent, plural, probability
from probeline.metrics.ranks import smallest_friedman_p
from probeline.report.board.board import Board
from probeline.report.board.cost import hardware
from probeline.report.board.entries import method_name
from probeline.report.board.standing import FEWEST, NetStanding, RankTests, Standing
from probeline.report.model.differences import LEVEL

_FEW = 6
"""Longer lists are counted."""


def rank(value: float) -> str:
    """Return a mean rank: ``1.33``."""
    return f"{value:.2f}"


def verdict(board: Board) -> list[str]:
    """Return the recommendation, and the result of the tests."""
    standing = board.standing
    if standing is None:
        return ["Nothing comparable has been scored yet."]
    return [_recommendation(board, standing), *tests_in_words(board, standing)]


def _recommendation(board: Board, standing: Standing) -> str:
    best, places = standing.recommended, board.places
    title = board.titles[best.net]
    n, k = len(standing.datasets), len(standing.nets)
    normalised = f"{percent(best.normalised, places)} % on test, where 0 is chance"
    if k == 1:
        return (
            f"Only {title} has been scored, on {plural(n, 'data set')}; its mean normalised accuracy is {normalised}."
        )
    equal = [other for other in standing.nets if abs(other.val_rank - best.val_rank) < 1e-9 and other is not best]
    names = listing([board.titles[other.net] for other in equal])
    tie = (
        f", as {'have' if len(equal) > 1 else 'has'} {names}; its normalised accuracy is highest there" if equal else ""
    )
    on_validation = f"{rank(best.val_rank)} of {k} backbones over {plural(n, 'data set')}"
    return (
        f"Recommended: {title}, because it has the best mean rank on validation ({on_validation}){tie}. "
        f"{_on_test(board, standing, best)} Its own mean normalised accuracy is {normalised}."
    )


def _on_test(board: Board, standing: Standing, best: NetStanding) -> str:
    """Return whether the recommended net has the best mean rank on test too."""
    first = standing.nets[0]
    ahead = [one for one in standing.nets if abs(one.mean_rank - first.mean_rank) < 1e-9]
    if best in ahead:
        others = listing([board.titles[one.net] for one in ahead if one is not best])
        return f"So it has on test ({rank(best.mean_rank)})" + (f", as has {others}." if others else ".")
    names = listing([board.titles[one.net] for one in ahead])
    is_apart = (
        standing.tests is not None
        and standing.tests.friedman.p < LEVEL
        and best.mean_rank - first.mean_rank >= standing.tests.critical_difference
    )
    tested = f", {'a significant' if is_apart else 'no significant'} difference" if standing.tests is not None else ""
    are, by = "is" if len(ahead) == 1 else "are", f"{rank(first.mean_rank)} against {rank(best.mean_rank)}"
    return f"On test {names} {are} ahead ({by}){tested}."


def tests_in_words(board: Board, standing: Standing) -> list[str]:
    """Return whether the backbones differ over the data sets, or why that is not tested."""
    tests, n, k = standing.tests, len(standing.datasets), len(standing.nets)
    if tests is None:
        return [why_not_tested(n, k)]
    found = tests.friedman
    exact = "exact" if found.p_exact is not None else "Iman and Davenport's F"
    is_significant = found.p < LEVEL
    lines = [
        f"Friedman's test finds {'a' if is_significant else 'no'} significant difference among the {k} backbones over "
        f"the {n} data sets ({probability(found.p)}, {exact})."
    ]
    if is_significant:
        lines.append(_apart(board, standing, tests))
    return [*lines, *power_in_words(tests, n)]


def why_not_tested(n: int, k: int) -> str:
    """Return why `k` nets on `n` data sets have no critical difference."""
    few = [plural(count, noun) for count, noun in ((n, "data set"), (k, "backbone")) if count < FEWEST]
    least = ""
    if n > 1 and k > 1 and smallest_friedman_p(n, k) >= LEVEL:
        least = f"; even if all data sets agreed, Friedman's test would give p = {smallest_friedman_p(n, k):.3g}"
    return f"No test over data sets and no critical-difference diagram: {listing(few)} of {FEWEST} needed{least}."


def power_in_words(tests: RankTests, n: int) -> list[str]:
    """Return what so few data sets cannot show; empty if they are enough."""
    lines = []
    if tests.smallest_p >= LEVEL:
        lines.append(
            f"{n} data sets have no power: even if all agreed, Friedman's test would give p = {tests.smallest_p:.3g}."
        )
    elif tests.smallest_pair_p >= LEVEL:
        lines.append(
            f"{n} data sets have little power: Friedman's test gives at least p = {tests.smallest_p:.2g}, if all "
            f"agree, and Wilcoxon's test of a pair at least {tests.smallest_pair_p:.2g}, so that no pair can be "
            "significant."
        )
    return lines


def _apart(board: Board, standing: Standing, tests: RankTests) -> str:
    """Return which nets differ by the critical difference."""
    titles = [board.titles[one.net] for one in standing.nets]
    ranks = [one.mean_rank for one in standing.nets]
    pairs = [
        f"{titles[i]} and {titles[j]}"
        for i in range(len(ranks))
        for j in range(i + 1, len(ranks))
        if ranks[j] - ranks[i] >= tests.critical_difference
    ]
    difference = f"Nemenyi's critical difference of mean ranks is {rank(tests.critical_difference)}"
    if not pairs:
        return f"{difference}: no pair differs by as much."
    if len(pairs) > _FEW:
        return f"{difference}: {len(pairs)} pairs differ by as much."
    return f"{difference}: {listing(pairs)} differ by as much."


def caveats(board: Board) -> list[str]:
    """Return how far to trust a board."""
    standing = board.standing
    if standing is None:
        return []
    ranked = {one.net for one in standing.nets}
    outside = [board.titles[net] for net in board.nets if net not in ranked]
    unused = [data.name for data in board.datasets if data not in standing.datasets]
    lines = [
        f"{listing(list(names))} share images, so that they count more than once."
        for names in board.records.overlapping
    ]
    if outside:
        lines.append(f"Without a rank, as rows are missing on some of these data sets: {_named(outside)}.")
    if unused:
        lines.append(f"Not in the means and ranks, as rows of some of these backbones are missing: {_named(unused)}.")
    sizes = {one.net.image_size for one in standing.nets if one.net.image_size}
    if len(sizes) > 1:
        lines.append("The backbones have different image sizes, each its own; --image-size compares them at one.")
    methods = {method_name(entry) for one in standing.nets for entry in one.entries}
    if len(methods) > 1:
        lines.append(
            f"Each accuracy is of the method that is best on validation for that backbone and data set, of the same "
            f"methods for all backbones: {_named(sorted(methods))}."
        )
    if len(kinds := hardware(standing)) > 1:
        lines.append(f"Times are not compared, as rows were measured on different hardware: {'; '.join(kinds)}.")
    if any(not entry.row.converged for one in standing.nets for entry in one.entries):
        lines.append("Some fits stopped before their tolerance (†).")
    return lines


def _named(names: Sequence[str]) -> str:
    return listing(list(names)) if len(names) <= _FEW else f"{len(names)} of them"
