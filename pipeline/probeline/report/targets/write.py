"""The report of several labels or of numbers: Markdown, page, table and record, in the folder of the data set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probeline.environment import describe_environment
from probeline.files.decode import encode
from probeline.format import decimals, describe_input, escape, listing, option, plural
from probeline.identity import REPORT_VERSION, digest
from probeline.report.folder import RECORD_NAME, ReportFolder
from probeline.report.model.content import NotRun, ReportFigure
from probeline.report.palette import class_of_colour
from probeline.report.sections.section import FITS, REPRODUCIBILITY, RESULTS, View, figure_view, tables_view
from probeline.report.sections.tables import TextTable, bullets, code, join_parts, padded
from probeline.report.targets.row import TargetRow
from probeline.report.targets.tables import results_notes, results_table, summary_cells, targets_table
from probeline.report.terminal import TERMINAL_WIDTH
from probeline.results.methods import method_info
from probeline.results.targets.score import TargetScore
from probeline.results.targets.words import METRICS
from probeline.text import csv_text, printable, printable_lines

if TYPE_CHECKING:
    from probeline.report.figures.sheet import Sheet
    from probeline.report.page.answer import SummaryRow
    from probeline.report.page.render import Heading as PageHeading

_MARKDOWN, _CSV, _PAGE = "report.md", "report.csv", "index.html"
FILES = {"report": _MARKDOWN, "json": RECORD_NAME, "csv": _CSV, "page": _PAGE}
"""The files of a report by what they are."""


@dataclass(frozen=True)
class TargetContent:
    """What a report of several labels or of numbers is made from: its rows, the best on validation first."""

    rows: Sequence[TargetRow]
    not_run: Sequence[NotRun]
    commands: Mapping[str, str]
    """The command that makes a row, by the key of its first score."""
    folder: Path
    notes: Sequence[str] = ()
    """What is known of the data."""
    figures: Mapping[str, ReportFigure] = field(default_factory=dict)

    @property
    def places(self) -> int:
        """Decimals of percentages."""
        return decimals(row.first.n_test for row in self.rows)


@dataclass(frozen=True)
class Heading:
    """Of a section on the page."""

    name: str
    title: str
    group: str


def write_target_report(content: TargetContent) -> bool:
    """Write the files of a report into its folder, and return whether they were not up to date.

    Raises
    ------
    CannotWrite, BadOption
        As :meth:`probeline.report.folder.ReportFolder.write`.
    """
    folder = ReportFolder(content.folder)
    key = digest({**_identity(content), "version": REPORT_VERSION})
    if folder.current_files(key, (_MARKDOWN, _CSV, _PAGE)):
        return False

    # matplotlib takes a second that an up-to-date report need not spend
    from probeline.report.figures import draw_sheets
    from probeline.report.page.render import render_page

    drawn = draw_sheets(content.folder, _sheets(content)) if content.rows else []
    figures = {figure.name: figure for figure, _ in drawn}
    contents = {
        _MARKDOWN: markdown(content, figures).encode(),
        _CSV: csv_table(content.rows).encode(),
        _PAGE: render_page(first_screen(content), tuple(_sections(content, figures))),
        **{figure.path.relative_to(folder.path).as_posix(): png for figure, png in drawn},
    }
    rows = [{"name": row.name, "scores": [_record(score) for score in row.scores]} for row in content.rows]
    record = {
        "version": REPORT_VERSION,
        "verdict": [headline(content)],
        "rows": rows,
        "missing": [asdict(missing) for missing in content.not_run],
        "conditions": conditions(content),
    }
    folder.write(key, contents, record)
    return True


def _identity(content: TargetContent) -> dict[str, Any]:
    return {
        "target_scores": sorted(digest(encode(score)) for row in content.rows for score in row.scores),
        "not_run": [asdict(missing) for missing in content.not_run],
        "commands": dict(content.commands),
        "notes": list(content.notes),
    }


def _record(score: TargetScore) -> dict[str, Any]:
    """Return a score without its predictions, which its own file has."""
    return {name: value for name, value in encode(score).items() if name not in ("truth", "outputs")}


def _sheets(content: TargetContent) -> Iterator[tuple[str, Sheet | None]]:
    from probeline.report.figures.targets import labels, predictions, target_scores, training

    yield "scores", target_scores(content.rows, content.places)
    best = content.rows[0]
    if best.first.task == "regression":
        yield "predictions", predictions(best)
    else:
        yield "labels", labels(best)
    yield "training", training(content.rows)


def headline(content: TargetContent) -> str:
    """Return the answer in a sentence."""
    if not content.rows:
        return "Nothing has been scored yet"
    best = content.rows[0]
    words, metric = METRICS[best.first.selected_by], best.metric(best.first.selected_by)
    unit = " %" if words.is_share else ""
    value = f"{words.title} {words.shown(metric.value, content.places)}{unit}"
    if metric.interval is not None:
        low, high = (words.shown(end, content.places) for end in metric.interval)
        value += f" (95 % interval {low} to {high})"
    chosen = "the best on validation" if len(content.rows) > 1 else "the only row"
    name = best.name[0].upper() + best.name[1:]
    return f"{name}, {chosen}: {value} on {best.first.n_test:,} test images."


def caveats(content: TargetContent) -> list[str]:
    """Return what weakens the answer."""
    if not content.rows:
        return []
    best, lines = content.rows[0], []
    values = best.first.per_target["average precision" if best.first.task == "multi-label" else "r2"]
    if undefined := [name for name, value in zip(best.first.target_names, values, strict=True) if value is None]:
        what = "all test images have, or none has," if best.first.task == "multi-label" else "are the same everywhere:"
        some = listing(list(undefined[:5])) + (f" and {len(undefined) - 5:,} more" if len(undefined) > 5 else "")
        lines.append(f"{plural(len(undefined), 'target')} that {what} {some} are left out of the means.")
    if best.over_probe is not None and not best.over_probe.is_significant:
        lines.append(f"The difference of {best.name} from the linear probe on the same images is not significant.")
    if not best.converged:
        lines.append(f"The fit of {best.name} stopped before its tolerance.")
    return lines


def conditions(content: TargetContent) -> dict[str, list[str]]:
    """Return in words what the numbers depend on."""
    scores = [score for row in content.rows for score in row.scores]
    if not scores:
        return {}
    first = scores[0]
    what = "label" if first.task == "multi-label" else "target"
    lines = {
        "Data": [f"{first.dataset}, {plural(len(first.target_names), what)}", *content.notes],
        "Images": [f"{s.n_train:,} train, {s.n_val:,} val, {s.n_test:,} test" for s in scores],
        "Selected on": [s.chosen_by or "nothing to select" for s in scores],
        "Options": [
            f"{method_info(s.method).short}: "
            + (", ".join(option(n, v) for n, v in s.options.items() if n not in ("version", "weights")) or "none")
            for s in scores
        ],
        "Test": ["used once, after selection"],
        "Weights": [f"{s.backbone}: {s.weights}" for s in scores],
        "Input": [f"{describe_input(s.image_size)}, {s.precision}" for s in scores],
        "Hardware and versions": [describe_environment(s.environment) for s in scores],
    }
    return {name: list(dict.fromkeys(own)) for name, own in lines.items()}


def first_screen(content: TargetContent) -> dict[str, Any]:
    """Return the values of the page's first screen."""
    rows = content.rows
    dataset = rows[0].first.dataset if rows else ""
    words = METRICS[rows[0].first.selected_by] if rows else None
    question = "method" if any(row.trains for row in rows) else "head"
    return {
        "title": f"{dataset}: which backbone and {question}?" if rows else "Nothing has been scored yet",
        "headline": headline(content),
        "heads": ("Row", f"Test {words.head}", "Difference from the probe", "Validation", "Cold s") if words else (),
        "rows": _summary(content),
        "caption": f"n = {rows[0].first.n_test:,} test images; with 95 % intervals, for other images." if rows else "",
        "caveats": caveats(content),
        "advice": [],
        "scope": [plural(len(rows), "row"), f"{rows[0].first.n_test:,} test images"] if rows else [],
        "footer": "Every number on this page comes from the records in its folder.",
    }


def _summary(content: TargetContent) -> list[SummaryRow]:
    """Return the row that is best on validation, the linear probe and the row that is highest on test, each once."""
    from probeline.report.page.answer import SummaryRow  # imports matplotlib

    if not content.rows:
        return []
    rows, metric = content.rows, content.rows[0].first.selected_by
    highest = max(rows, key=lambda row: row.metric(metric).value or float("-inf"))
    probe = next((row for row in rows if row.is_reference), None)
    roles: dict[int, list[str]] = {}
    for role, row in (("best on validation", rows[0]), ("linear probe", probe), ("highest on test", highest)):
        if row is not None:
            roles.setdefault(rows.index(row), []).append(role)
    return [
        SummaryRow(
            ", ".join(own).capitalize(),
            rows[i].name,
            class_of_colour(method_info(rows[i].first.method).colour),
            summary_cells(rows[i], content.places),
            is_recommended=i == 0,
        )
        for i, own in roles.items()
    ]


def _tables(content: TargetContent) -> tuple[list[TextTable], list[str]]:
    return [results_table(content.rows)], results_notes(content.rows)


def _sections(content: TargetContent, figures: Mapping[str, ReportFigure]) -> Iterator[tuple[PageHeading, View | None]]:
    if not content.rows:
        return
    tables, notes = _tables(content)
    yield Heading("results", "Results", RESULTS), tables_view(tables, notes, figures.get("scores"))
    own = "By label" if content.rows[0].first.task == "multi-label" else "By target"
    detail = figures.get("labels") or figures.get("predictions")
    yield Heading("targets", own, RESULTS), tables_view([targets_table(content.rows[0])], (), detail)
    if curves := figures.get("training"):
        yield Heading("training", "Training curves", FITS), figure_view(curves)
    if content.not_run:
        yield Heading("missing", "Not run", REPRODUCIBILITY), View("not_run.html", {"not_run": content.not_run})
    rows = [
        {
            "name": row.name,
            "key_digits": [score.key[:12] for score in row.scores],
            "command": content.commands.get(row.first.key, ""),
        }
        for row in content.rows
    ]
    view = {"conditions": conditions(content), "rows": rows, "has_commands": any(row["command"] for row in rows)}
    yield Heading("making", "Conditions", REPRODUCIBILITY), View("conditions.html", view)


def _what(rows: Sequence[TargetRow]) -> str:
    return "frozen features and fine-tuning" if any(row.trains for row in rows) else "frozen features"


def markdown(content: TargetContent, figures: Mapping[str, ReportFigure]) -> str:
    """Return the report in Markdown."""
    if not content.rows:
        return "# Nothing has been scored yet\n"
    tables, notes = _tables(content)
    images = [f"![{escape(one.headline)}](figures/{one.path.name})" for one in figures.values()]
    parts = [
        f"# {escape(content.rows[0].first.dataset)}: {_what(content.rows)}",
        f"**{escape(headline(content))}**",
        bullets(caveats(content)),
        "## Results",
        *(table.markdown() for table in tables),
        bullets(notes),
        "## By label" if content.rows[0].first.task == "multi-label" else "## By target",
        targets_table(content.rows[0]).markdown(),
        *images,
    ]
    if content.not_run:
        parts += ["## Not run", "\n".join(f"- {escape(one.what)}: {code(one.command)}" for one in content.not_run)]
    parts.append("## Conditions")
    parts += [f"{escape(name)}:\n\n{bullets(lines)}" for name, lines in conditions(content).items()]
    return printable_lines(join_parts(*parts)) + "\n"


def csv_table(rows: Sequence[TargetRow]) -> str:
    """Return a header and one line for each score, with its metrics and their intervals; empty without rows."""
    lines: list[dict[str, Any]] = []
    for row in rows:
        for score in row.scores:
            line = {
                name: getattr(score, name)
                for name in ("dataset", "task", "backbone", "weights", "tap", "views", "image_size", "precision")
            }
            line |= {name: getattr(score, name) for name in ("method", "seed", "n_train", "n_val", "n_test")}
            line |= {"selected_by": score.selected_by, "val_score": score.val_score}
            for name in METRICS:
                if name in score.metrics:
                    low, high = score.metrics[name].interval or (None, None)
                    line |= {name: score.metrics[name].value, f"{name}_low": low, f"{name}_high": high}
            line |= {"cold_seconds": score.cold_seconds, "warm_seconds": score.warm_seconds, "key": score.key}
            lines.append(line)
    if not lines:
        return ""
    return csv_text([lines[0], *(line.values() for line in lines)])


def terminal_lines(content: TargetContent) -> list[str]:
    """Return the table of results for a terminal, the answer below it, and what has not been run."""
    lines: list[str] = []
    if content.rows:
        metric = METRICS[content.rows[0].first.selected_by]
        grid = [["backbone", "method", metric.head, "difference", "validation", "cold s"]]
        for row in content.rows:
            value, difference, on_val, cold = summary_cells(row, content.places)
            grid.append([printable(row.backbone), row.method, value, difference, on_val, cold])
        table = ["  ".join(line).rstrip() for line in padded(grid, [True, True, *[False] * 4])]
        lines += [line if len(line) <= TERMINAL_WIDTH else line[: TERMINAL_WIDTH - 1] + "…" for line in table]
        lines.append("")
    lines += [printable(line) for line in (headline(content), *caveats(content))]
    return lines + [printable(f"Not run: {one.what}: {one.command}") for one in content.not_run]
