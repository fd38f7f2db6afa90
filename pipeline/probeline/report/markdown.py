"""report.md: the verdict, the advice, and every section that has Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from probeline.format import escape
from probeline.report.model.advice import advice
from probeline.report.model.content import ReportContent
from probeline.report.model.verdict import verdict
from probeline.report.sections.registry import markdown_order
from probeline.report.sections.section import Section
from probeline.report.sections.tables import join_parts


def markdown(content: ReportContent, sections: Sequence[Section]) -> str:
    """Return a report that renders on GitHub and reads well as plain text."""
    dataset = content.dataset
    parts = [f"# {escape(dataset)}: frozen features and fine-tuning" if dataset else "# Nothing has been scored yet"]
    if content.blocks or content.curves:
        first, *others = verdict(content.blocks, content.curves).lines
        parts.append("\n".join([f"**{escape(first)}**", *(f"\n{escape(line)}" for line in others)]))
    if sentences := advice(content.blocks, content.curves):
        parts += ["## What to do next", escape(" ".join(sentences))]
    for section in markdown_order(sections):
        if text := section.markdown(content):
            parts += [f"## {escape(section.title)}", text]
    return join_parts(*parts) + "\n"
