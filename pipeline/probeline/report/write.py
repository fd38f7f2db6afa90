"""The report's files: written if there is something new, and otherwise left alone."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from probeline.disk import make_folder, publish
from probeline.files.reading import RECORD, read_bytes
from probeline.format import escape
from probeline.identity import REPORT_VERSION, digest, digest_bytes
from probeline.report.model.advice import advice
from probeline.report.model.content import ReportContent
from probeline.report.model.recommendation import recommend
from probeline.report.model.verdict import verdict
from probeline.report.sections.registry import SECTIONS, all_sections, installed_sections, markdown_order
from probeline.report.sections.section import Section
from probeline.report.sections.tables import join_parts
from probeline.report.terminal import csv_table

_MARKDOWN, _CSV, _RECORD, _PAGE, _FIGURES = "report.md", "report.csv", "report.json", "index.html", "figures"


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


@dataclass(frozen=True)
class Report:
    """The files of a report; they were up to date if they are not `written`."""

    markdown: Path
    json: Path
    csv: Path
    page: Path
    figures: tuple[Path, ...]
    written: bool


def write_report(content: ReportContent) -> Report:
    """Write the files of a report into its folder, unless they are up to date.

    They are if report.json is intact and of the same content, sections and `REPORT_VERSION`, and every file that it
    lists has the stated bytes; then nothing is written, and matplotlib is not imported. Figures that only the previous
    report lists are removed; no other file is touched. A section of another distribution that cannot be rendered is
    left out with a warning.

    Raises
    ------
    CannotWrite
        The file system refuses.
    """
    folder = content.folder
    key = digest({**content.identity(), "sections": installed_sections(), "version": REPORT_VERSION})
    previous = _previous(folder)
    if previous.get("key") == key and all(_has_bytes(folder / name, sha) for name, sha in previous["files"].items()):
        return _report(folder, previous["files"], written=False)

    # matplotlib takes a second that an up-to-date report need not spend
    from probeline.report.figures import draw
    from probeline.report.page.render import render

    content = replace(content, figures={figure.name: figure for figure in draw(content)})
    sections = [section for section in all_sections() if section in SECTIONS or _is_rendered(section, content)]
    figures = [figure.path.relative_to(folder).as_posix() for figure in content.figures.values()]
    make_folder(folder)
    publish(folder / _MARKDOWN, markdown(content, sections).encode(), replace=True)
    publish(folder / _CSV, csv_table(content.blocks).encode(), replace=True)
    publish(folder / _PAGE, render(content, sections), replace=True)
    names = [_MARKDOWN, _CSV, _PAGE, *figures]
    for name in set(previous.get("files", ())) - set(names):
        if PurePosixPath(name).parent == PurePosixPath(_FIGURES):
            (folder / name).unlink(missing_ok=True)
    # Last, since it vouches for the others: a report that was interrupted is not up to date.
    files = {name: digest_bytes(read_bytes(folder / name, RECORD)) for name in names}
    record = {
        "key": key,
        "version": REPORT_VERSION,
        "recommendation": recommend(content.blocks, content.curves).to_json(),
        "verdict": verdict(content.blocks, content.curves).lines,
        "advice": advice(content.blocks, content.curves),
        **{name: value for section in sections for name, value in section.record(content).items()},
        "files": files,
    }
    text = json.dumps({**record, "sha256": digest(record)}, indent=1, ensure_ascii=False)
    publish(folder / _RECORD, f"{text}\n".encode(), replace=True)
    return _report(folder, files, written=True)


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


def _previous(folder: Path) -> dict[str, Any]:
    """Return the record of the report in a folder; empty if it is missing or corrupt."""
    try:
        record = json.loads(read_bytes(folder / _RECORD, RECORD))
        intact = isinstance(record, dict) and record.pop("sha256", None) == digest(record)
    except (OSError, ValueError):
        return {}
    return record if intact else {}


def _has_bytes(path: Path, sha256: str) -> bool:
    try:
        return digest_bytes(read_bytes(path, RECORD)) == sha256
    except OSError:
        return False


def _report(folder: Path, files: Iterable[str], *, written: bool) -> Report:
    figures = tuple(folder / name for name in files if name.startswith(f"{_FIGURES}/"))
    return Report(folder / _MARKDOWN, folder / _RECORD, folder / _CSV, folder / _PAGE, figures, written)
