"""What has not been run, and the commands that run it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from probeline.format import escape
from probeline.report.model.content import ReportContent
from probeline.report.sections.section import REPRODUCIBILITY, Section, View
from probeline.report.sections.tables import code


class NotRunSection(Section):
    name, title, group = "missing", "Not run", REPRODUCIBILITY

    def markdown(self, content: ReportContent) -> str | None:
        return "\n".join(f"- {escape(one.what)}: {code(one.command)}" for one in content.not_run) or None

    def view(self, content: ReportContent) -> View | None:
        not_run = [*content.not_run, *content.suggestions]
        return View("not_run.html", {"not_run": not_run}) if not_run else None

    def record(self, content: ReportContent) -> Mapping[str, Any]:
        return {"missing": [asdict(one) for one in content.not_run]}
