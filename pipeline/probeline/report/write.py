"""The report's files: written if there is something new, and otherwise left alone."""

from __future__ import annotations

import warnings
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from probeline.format import escape
from probeline.identity import REPORT_VERSION, digest
from probeline.report.folder import FIGURES, GROUPS, RECORD_NAME, ReportFolder
from probeline.report.model.advice import advice
from probeline.report.model.content import ReportContent
from probeline.report.model.recommendation import recommend
from probeline.report.model.verdict import verdict
from probeline.report.sections.registry import SECTIONS, all_sections, installed_sections, markdown_order
from probeline.report.sections.scores.groups import groups_csv
from probeline.report.sections.section import Section
from probeline.report.sections.tables import join_parts
from probeline.report.terminal import csv_table
from probeline.text import printable_lines

_MARKDOWN, _CSV, _PAGE = "report.md", "report.csv", "index.html"


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
    return printable_lines(join_parts(*parts)) + "\n"


@dataclass(frozen=True)
class Report:
    """The files of a report; they were up to date if they are not `written`."""

    markdown: Path
    json: Path
    csv: Path
    page: Path
    figures: tuple[Path, ...]
    groups: Path | None
    """The table of accuracy by group, if there is one."""
    written: bool


def write_report(content: ReportContent) -> Report:
    """Write the files of a report into its folder, unless they are up to date.

    They are if report.json is intact and of the same content, sections and `REPORT_VERSION`, and every file that it
    lists has the stated bytes; then nothing is written, and matplotlib is not imported. Figures and tables that only
    the previous report lists are removed, unless they have changed; no other file is touched. A stranger's file that
    has the name of one is put aside with a warning. A section of another distribution that cannot be rendered is left
    out with a warning.

    Raises
    ------
    CannotWrite
        The file system refuses.
    BadOption
        A link is where a file or folder of the report belongs.
    """
    folder = ReportFolder(content.folder)
    key = digest({**content.identity(), "sections": installed_sections(), "version": REPORT_VERSION})
    if files := folder.current_files(key, (_MARKDOWN, _CSV, _PAGE)):
        return _report(folder.path, files, written=False)

    # matplotlib takes a second that an up-to-date report need not spend
    from probeline.report.figures import draw
    from probeline.report.page.render import render

    drawn = draw(content)
    content = replace(content, figures={figure.name: figure for figure, _ in drawn})
    sections = [section for section in all_sections() if section in SECTIONS or _is_rendered(section, content)]
    contents = {
        _MARKDOWN: markdown(content, sections).encode(),
        _CSV: csv_table(content.blocks).encode(),
        _PAGE: render(content, sections),
        **({GROUPS: groups_csv(content).encode()} if content.by_group else {}),
        **{figure.path.relative_to(folder.path).as_posix(): png for figure, png in drawn},
    }
    record = {
        "version": REPORT_VERSION,
        "recommendation": recommend(content.blocks, content.curves).to_json(),
        "verdict": verdict(content.blocks, content.curves).lines,
        "advice": advice(content.blocks, content.curves),
        **{name: value for section in sections for name, value in section.record(content).items()},
    }
    written = folder.write(key, contents, record)
    return _report(folder.path, written, written=True)


def _is_rendered(section: Section, content: ReportContent) -> bool:
    """Return whether a section of another distribution renders; if not, warn."""
    from probeline.report.page.render import render

    try:
        markdown(content, [section])
        render(content, [section])
        digest(dict(section.record(content)))
    except Exception as error:  # whatever another distribution raises must not cost the report
        warnings.warn(f"report section {section.name} is skipped: {error!r}", stacklevel=3)
        return False
    return True


def _report(folder: Path, files: Collection[str], *, written: bool) -> Report:
    figures = tuple(folder / name for name in files if name.startswith(f"{FIGURES}/"))
    always = (folder / _MARKDOWN, folder / RECORD_NAME, folder / _CSV, folder / _PAGE)
    return Report(*always, figures, folder / GROUPS if GROUPS in files else None, written)
