"""What the numbers depend on, and the keys and commands of all rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from probeline.format import escape
from probeline.report.model.content import ReportContent
from probeline.report.sections.section import REPRODUCIBILITY, Section, View

_KEY_DIGITS = 12
"""Digits of a key that identify a score; its file is named by them."""


@dataclass(frozen=True)
class RowOrigin:
    """A row with the keys of its scores and the command that makes them."""

    name: str
    keys: tuple[str, ...]
    command: str


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
            RowOrigin(
                f"{titled.row.short} on {titled.title}",
                tuple(key[:_KEY_DIGITS] for key in titled.row.keys),
                next((content.commands[key] for key in titled.row.keys if key in content.commands), ""),
            )
            for titled in content.titled
        ]
        if not rows and not content.conditions:
            return None
        has_commands = any(row.command for row in rows)
        return View("conditions.html", {"conditions": content.conditions, "rows": rows, "has_commands": has_commands})

    def record(self, content: ReportContent) -> Mapping[str, Any]:
        return {"conditions": content.conditions}
