"""Compare: one report of all scores of several labels or of numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from probeline.report.records.row_commands import missing_target_rows, target_commands
from probeline.report.targets.row import target_rows
from probeline.report.targets.write import FILES, TargetContent, terminal_lines, write_target_report
from probeline.results.targets.score import TargetScore
from probeline.session import Session


def compare_targets(session: Session, scores: Sequence[TargetScore], verbs: Mapping[str, str]) -> dict[str, object]:
    """Write the report of these scores, and return where; `verbs` are those of the methods of the task."""
    settings, console = session.settings, session.console
    rows = target_rows(scores)
    content = TargetContent(
        rows=rows,
        not_run=missing_target_rows(session, scores, verbs),
        commands=target_commands(settings, rows, session.steps),
        folder=session.reports,
        notes=session.dataset.notes,
    )
    state = "written to" if write_target_report(content) else "is up to date in"
    for line in terminal_lines(content):
        console.result(line)
    files = {name: session.reports / file for name, file in FILES.items()}
    console.say(f"compare: the report {state} {files['report']}")
    console.say(f"compare: the page is {files['page']}")
    return {name: str(path) for name, path in files.items()}
