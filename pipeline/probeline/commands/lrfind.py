"""Lrfind: run a learning-rate range test of each strategy on each backbone."""

from __future__ import annotations

from typing import Any

from probeline.evaluate.requests import ScoreRequest, reuse
from probeline.finetuning.lr_range_test import request_range_test, run_range_test
from probeline.finetuning.requests import TrainingJob, plan_jobs
from probeline.options.command_line import command_line
from probeline.report.records.range_tests import round_rate, suggest_rates, suggestion_in_words
from probeline.results.range_test import RANGE_TESTS, RangeTest
from probeline.session import Session


def run(session: Session) -> list[dict[str, Any]]:
    """Run the range tests that have not been run yet, with the first seed, on train rows alone; return all results.

    If the outputs of frozen stages are cached, they are extracted for whole parts, as finetune does and uses again.
    """
    return [_run_or_reuse(job) for job in plan_jobs(session, [session.settings.fitting.seed])]


def _run_or_reuse(job: TrainingJob) -> dict[str, Any]:
    session, title = job.session, f"lrfind: {job.title}"
    request = request_range_test(job)
    test = _find_finished(job, request, title)
    if test is None:
        test = run_range_test(job, request)
        session.console.result(
            f"{title}: {len(test.losses)} steps in {test.seconds:.0f} s; {suggestion_in_words(test)}"
        )
    suggestion = suggest_rates(test)
    command = None
    if suggestion is not None:
        command = command_line(
            session.settings,
            "finetune",
            backbones=(test.backbone,),
            strategies=(job.strategy,),
            train=tuple(word for word in session.settings.training.train if not word.startswith("lr=")),
            lr=round_rate(suggestion.steepest),
        )
        session.console.say(f"lrfind: next: {command}")
    return {
        "backbone": test.backbone,
        "weights": test.weights,
        "method": test.method,
        "seed": test.seed,
        "steps": len(test.losses),
        "ended": test.ended,
        "steepest": None if suggestion is None else suggestion.steepest,
        "tenth": None if suggestion is None else suggestion.tenth,
        "next": command,
        "file": str(RANGE_TESTS.path(session.reports, test.backbone, test.method, test.key)),
    }


def _find_finished(job: TrainingJob, request: ScoreRequest, title: str) -> RangeTest | None:
    """Return the requested test and print that it is skipped; None if it has not been run."""
    reports = job.session.reports
    test = RANGE_TESTS.find(reports, job.backbone.name, request.method, request.key)
    message = f"{title}: already tested, skipped; {suggestion_in_words(test)}" if isinstance(test, RangeTest) else ""
    return reuse(job.session, test, reports / "lr", title, message)
