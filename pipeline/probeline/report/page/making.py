"""How the page's numbers were made: conditions, keys and commands."""

from __future__ import annotations

from dataclasses import dataclass

from probeline.report.page.content import Content, View

_KEY = 12
"""Digits of a key that tell it apart; a score's file is called by them."""


@dataclass(frozen=True)
class Made:
    """A row with the keys of its scores and the command that makes them."""

    name: str
    digits: tuple[str, ...]
    command: str


def view(content: Content) -> View | None:
    """Return the conditions of all numbers, and of each row its keys and its command; None where there is neither."""
    commands = content.beside.commands
    rows = [
        Made(
            f"{row.short} on {title}",
            tuple(key[:_KEY] for key in row.keys),
            next((commands[key] for key in row.keys if key in commands), ""),
        )
        for title, row, _ in content.titled
    ]
    if not rows and not content.conditions:
        return None
    return {
        "conditions": content.conditions,
        "rows": rows,
        "commanded": any(row.command for row in rows),
    }


def missing_view(content: Content) -> View | None:
    """Return what has not been run, and how it would be; None where nothing is missing."""
    missing = [*content.missing, *content.beside.unasked.items()]
    return {"missing": missing} if missing else None
