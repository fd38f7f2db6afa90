"""What has not been run, all figures, and what the numbers depend on, with the keys and commands of all rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import PurePosixPath
from typing import Any

from probeline.format import escape
from probeline.report.model.content import ReportContent
from probeline.report.sections.section import REPRODUCIBILITY, Section, View, figure_view
from probeline.report.sections.tables import code

_KEY_DIGITS = 12
"""Digits of a key that identify a score; its file is named by them."""


class NotRunSection(Section):
    name, title, group = "missing", "Not run", REPRODUCIBILITY

    def markdown(self, content: ReportContent) -> str | None:
        return "\n".join(f"- {escape(missing.what)}: {code(missing.command)}" for missing in content.not_run) or None

    def view(self, content: ReportContent) -> View | None:
        not_run = [*content.not_run, *content.suggestions]
        return View("not_run.html", {"not_run": not_run}) if not_run else None

    def record(self, content: ReportContent) -> Mapping[str, Any]:
        return {"missing": [asdict(missing) for missing in content.not_run]}


class FigureSection(Section):
    """The figure of that name; on the page only."""

    def __init__(self, group: str, name: str, title: str) -> None:
        self.group, self.name, self.title = group, name, title

    def view(self, content: ReportContent) -> View | None:
        figure = content.figures.get(self.name)
        return figure_view(figure) if figure else None


class AllFigures(Section):
    """All figures; in Markdown only."""

    name, title, group = "figures", "Figures", REPRODUCIBILITY

    def markdown(self, content: ReportContent) -> str | None:
        paths = [figure.path.relative_to(content.folder).as_posix() for figure in content.figures.values()]
        return "\n\n".join(f"![{escape(PurePosixPath(path).stem)}]({path})" for path in paths) or None


class ConditionsSection(Section):
    name, title, group = "making", "Conditions", REPRODUCIBILITY

    def markdown(self, content: ReportContent) -> str | None:
        parts = []
        for name, lines in content.conditions.items():
            if len(lines) == 1:
                parts.append(f"- **{escape(name)}**: {escape(lines[0])}")
            else:
                parts += [f"- **{escape(name)}**:", *(f"  - {escape(line)}" for line in lines)]
        return "\n".join(parts) or None

    def view(self, content: ReportContent) -> View | None:
        rows = [
            {
                "name": f"{titled.row.short} on {titled.title}",
                "key_digits": [key[:_KEY_DIGITS] for key in titled.row.keys],
                "command": next((content.commands[key] for key in titled.row.keys if key in content.commands), ""),
            }
            for titled in content.titled
        ]
        if not rows and not content.conditions:
            return None
        has_commands = any(row["command"] for row in rows)
        return View("conditions.html", {"conditions": content.conditions, "rows": rows, "has_commands": has_commands})

    def record(self, content: ReportContent) -> Mapping[str, Any]:
        return {"conditions": content.conditions}
