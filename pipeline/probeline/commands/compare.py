"""Compare: one report of all scores of the data set. Reads records alone; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from probeline.data.annotations.exact_copies import copies
from probeline.evaluate.current_scores import current_scores
from probeline.report.model.beside import Beside
from probeline.report.model.conditions import PARTS
from probeline.report.model.holding import hold
from probeline.report.model.records import (
    load_curves,
    load_findings,
    load_illustrations,
    load_latencies,
    load_range_tests,
)
from probeline.report.model.row_commands import commands, further_commands, is_as_requested, missing_rows
from probeline.report.model.rows import Block, blocks
from probeline.report.sections.published import Held
from probeline.report.sections.tables import terminal
from probeline.report.write import write
from probeline.results.curve import Curve
from probeline.session import Session


def run(session: Session) -> dict[str, object]:
    """Write the report of all scores that belong to the data set as it is now, and return where.

    Raises
    ------
    ProbelineError
    """
    settings, console = session.settings, session.console
    scores = current_scores(session, "compare")
    curves, table = load_curves(session), blocks(scores)
    published = _published(session, table, curves)
    illustrations = load_illustrations(session, scores)
    missing = [*missing_rows(session, scores), *illustrations.missing]
    beside = Beside(
        curves=curves,
        tests=load_range_tests(session),
        held=published,
        latencies=load_latencies(session),
        pictures=illustrations.pictures,
        galleries=illustrations.galleries,
        maps=illustrations.maps,
        doctor=load_findings(session, scores),
        commands=commands(settings, table, session.steps),
    )
    if scores:
        beside = replace(beside, unasked=further_commands(settings, beside, {score.backbone for score in scores}))
    caches = _caches(session)
    report = write(scores, missing, session.reports, {"Embeddings": caches, **_conditions(session)}, beside)
    console.result(terminal(table, missing, curves))
    if published and published.lines:
        matched = sum(ours is not None for _, ours in published.lines)
        console.result(
            f"compare: {matched} of {len(published.lines)} published numbers of {published.recipe} have one beside them"
        )
    state = "written to" if report.written else "is up to date in"
    console.say(f"compare: the report {state} {report.markdown}")
    console.say(f"compare: the page is {report.page}")
    for folder in caches:
        console.say(f"compare: embeddings are in {folder}")
    return {"report": str(report.markdown), "json": str(report.json), "csv": str(report.csv), "page": str(report.page)}


def _conditions(session: Session) -> dict[str, Sequence[str]]:
    """Return what a report says of the data set: parts under other names, labels and groups, exact duplicates."""
    splits, dataset = session.splits, session.dataset
    conditions: dict[str, Sequence[str]] = {}
    parts = {split.role: split.part for split in (splits.train, splits.val, splits.test)}
    if parts["test"] not in ("test", parts["train"]):
        roles = ", ".join(f"{role} is of its {part!r}" for role, part in parts.items())
        conditions[PARTS] = [f"What the data set calls {parts['test']!r} is the test set here: {roles}."]
    for join in dataset.joins:
        conditions[join.kind.capitalize()] = [join.told]
    if found := copies(dataset, splits):
        conditions["Copies"] = [found.removeprefix("copies: ")]
    return conditions


def _caches(session: Session) -> list[str]:
    # Read off the disk: which net the settings ask for need not be known, nor be there, to compare scores.
    folder = session.settings.folders.cache / session.dataset.name
    return sorted(str(entry.parent) for entry in folder.glob("*/*/entry.json"))


def _published(session: Session, table: Sequence[Block], curves: Sequence[Curve]) -> Held | None:
    """Return the recipe's published numbers, and beside them what of ours is as it was asked for."""
    pairs = [pair for block in table for pair in zip(block.rows, block.scores, strict=True)]
    rows = [row for row, scores in pairs if is_as_requested(session.settings, scores[0])]
    return hold(session, rows, [curve for curve in curves if is_as_requested(session.settings, curve)])
