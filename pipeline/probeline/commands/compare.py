"""Compare: one report of all scores of the data set. Reads records alone; no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from probeline.evaluate.added import score_predictions
from probeline.evaluate.current_scores import current_scores
from probeline.evaluate.origins import record_origin
from probeline.evaluate.targets.current import current_target_scores, target_verbs
from probeline.options.costs import costs_of_classes
from probeline.report.model.content import ReportContent
from probeline.report.model.row import Block
from probeline.report.model.rows import blocks
from probeline.report.records.data_conditions import data_conditions
from probeline.report.records.further import further_commands
from probeline.report.records.groups import load_groupings
from probeline.report.records.loading import (
    cached_features,
    load_curves,
    load_findings,
    load_illustrations,
    load_latencies,
    load_qualities,
    load_range_tests,
    load_robustness,
    load_unlike,
)
from probeline.report.records.published import PublishedComparison, compare_with_recipe
from probeline.report.records.row_commands import commands, is_as_requested, missing_rows
from probeline.report.sections.scores.groups import group_lines
from probeline.report.targets.compare import compare_targets
from probeline.report.terminal import terminal_table
from probeline.report.write import write_report
from probeline.results.curve import Curve
from probeline.session import Session


def run(session: Session) -> dict[str, object]:
    """Write the report of all scores that belong to the data set as it is now, and return where."""
    if session.dataset.targets is not None:
        return compare_targets(session, current_target_scores(session, "compare"), target_verbs(session))
    settings, console = session.settings, session.console
    added = [score_predictions(session, path) for path in settings.compare.add]
    scores = [*current_scores(session, "compare"), *added]
    if scores:
        record_origin(session)
    curves, table = load_curves(session), blocks(scores)
    published = _published(session, table, curves)
    pictures, galleries, maps, skipped = load_illustrations(session, scores)
    qualities, alignment = load_qualities(session)
    caches = cached_features(session)
    content = ReportContent(
        blocks=table,
        not_run=[*missing_rows(session, scores), *skipped],
        more_conditions={"Embeddings": caches, **data_conditions(session)},
        curves=curves,
        range_tests=load_range_tests(session),
        published=published,
        latencies=load_latencies(session),
        pictures=pictures,
        galleries=galleries,
        maps=maps,
        findings=load_findings(session, scores),
        qualities=qualities,
        alignment=alignment,
        robustness=load_robustness(session, scores),
        unlike=load_unlike(session),
        groupings=load_groupings(session),
        costs=costs_of_classes(settings.compare.costs, session.dataset.class_names),
        commands=commands(settings, table, session.steps),
        folder=session.reports,
    )
    if scores:
        content = replace(content, suggestions=further_commands(settings, content))
    report = write_report(content)
    for line in terminal_table(table, content.not_run, curves).split("\n"):
        console.result(line)
    if published and published.lines:
        console.result(f"compare: {published.in_words}")
    for line in group_lines(content):
        console.result(line)
    state = "written to" if report.written else "is up to date in"
    console.say(f"compare: the report {state} {report.markdown}")
    console.say(f"compare: the page is {report.page}")
    for folder in caches:
        console.say(f"compare: embeddings are in {folder}")
    return {"report": str(report.markdown), "json": str(report.json), "csv": str(report.csv), "page": str(report.page)}


def _published(session: Session, table: Sequence[Block], curves: Sequence[Curve]) -> PublishedComparison | None:
    """Return the recipe's published numbers, each with ours if that is as requested."""
    pairs = [pair for block in table for pair in zip(block.rows, block.scores, strict=True)]
    rows = [row for row, scores in pairs if is_as_requested(session.settings, scores[0])]
    return compare_with_recipe(session, rows, [curve for curve in curves if is_as_requested(session.settings, curve)])
