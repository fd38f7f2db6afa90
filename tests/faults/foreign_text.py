"""Hostile names through every place that shows text: nothing acts or hides, no line is forged, names come back."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import random
import re
import shutil
import subprocess
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from faults import producer
from faults.figures import Figures, summed
from made_records import make_curve, make_doctor, make_gallery, make_map
from made_scores import make_score, make_scores
from probeline.api.console import LogConsole
from probeline.cli import console, program
from probeline.data.tables.matching import match_names
from probeline.data.tables.reading import read_table
from probeline.errors import BadData, UnknownName
from probeline.export.feature_files import write_features
from probeline.export.feature_table import FeatureTable
from probeline.export.prediction_lines import FORMATS
from probeline.export.predictor import Neighbour, Predictions
from probeline.format import escape
from probeline.options.settings import Settings
from probeline.report.model.content import NotRun, ReportContent
from probeline.report.model.rows import blocks
from probeline.report.sections.tables import code
from probeline.report.write import write_report
from probeline.text import json_text, shell_word

REPORT_NAMES = 200
"""Names in one report, which takes seconds to draw."""

ENCODINGS = ("utf-8", "cp1252", "ascii", "latin-1", "utf-16")
"""Of terminals."""

SIGNS = frozenset(map(chr, (*range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD)))
"""Arabic, Syriac and Kaithi signs that are seen, though Unicode counts them as formats."""

JOINERS = frozenset("\u200c\u200d")
ACTING = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
"""Categories of characters that act or cannot be seen."""

PIECES = (
    *("\x1b[31m", "\x1b]0;title\x07", "\x9b2J", "\x08", "\r", "\n", "\t", "\x7f", "\x85", "\x00"),
    *("\u202a", "\u202e", "\u2066", "\u2069", "\u200e", "\u200f", "\u061c", "\u2028", "\u2029"),
    *("\u200b", "\u2060", "\ufeff", "\u00ad", "\u180e", "\ufffe", "\U000e0041", "\ud800", "\udcff"),
    *("=1+1", "+1", "-1", "@x", "=cmd|' /C calc'!A0", "'=", "-0.5", "1e5", ";", ",", '"', "'", "|", "\\", "`", "$(x)"),
    *("<script>", "&amp;", "</svg>", "]]>", "{{ 7 * 7 }}", "](x)", "# ", "**", "$x^2$", "%s", "\\x1b", "\\u202e"),
    *("a", "cat", " ", "é", "ß", "日本", "한국", "العربية", "می\u200cخواهم", "क\u094d\u200dष", "👩\u200d💻", "❤️", "🏴"),
)
"""What names are put together from: what terminals, editors, pages and spreadsheets obey, and letters."""


def run(count: int, seed: int) -> Figures:
    """Show `count` random names in every place, and in reports of `REPORT_NAMES` names each."""
    chance = random.Random(seed)
    known: dict[str, None] = {}
    while len(known) < count:
        known.setdefault(_name(chance))
    names = list(known)
    complaints: list[str] = []
    with producer.workplace() as place:
        complaints += [_tried(lambda name=name: _first(name, chance)) for name in names]
        complaints += [_tried(lambda: _joined(place, names)), _tried(lambda: _commands(names))]
        for start in range(0, len(names), REPORT_NAMES):
            few = names[start : start + REPORT_NAMES]
            complaints.append(_tried(lambda few=few, start=start: _report(place / str(start), few)))
    note = (
        f"{len(names):,} names of control characters, overrides of direction, unseen characters, formulas, markup and "
        f"letters of ten scripts, on terminals of {len(ENCODINGS)} encodings, in messages, Markdown, JSON, CSV, "
        "predictions and commands, in reports with their figures, and read back by the reader of tables and by bash"
    )
    return summed("Hostile names where text is shown", complaints, note)


def _first(name: str, chance: random.Random) -> str:
    """Return the first complaint of all checks of a name."""
    return next(filter(None, (check(name, chance) for check in CHECKS)), "")


def _tried(check: Callable[[], str]) -> str:
    try:
        return check()
    except Exception as error:
        return f"an error without a name: {error!r}"


def _name(chance: random.Random) -> str:
    name = "".join(chance.choices(PIECES, k=chance.randint(1, 5)))
    # Two halves side by side are one character, in JSON as in UTF-16.
    whole = name.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
    return unicodedata.normalize("NFC", whole)


def acting(text: str) -> list[str]:
    """Return the characters of some lines that act or cannot be seen, apart from joiners and the ends of lines."""
    harmless = SIGNS | JOINERS | {"\n"}
    return sorted({ascii(c) for c in text if c not in harmless and unicodedata.category(c) in ACTING})


def _complaint(where: str, text: str, lines: int = 1) -> str:
    """Say what is wrong with so many shown lines, or nothing."""
    if found := acting(text):
        return f"{where}: raw {' '.join(found)}"
    return "" if text.count("\n") == lines else f"{where}: {text.count(chr(10))} lines instead of {lines}: {text!r}"


@contextlib.contextmanager
def _terminal(encoding: str) -> Iterator[Callable[[], bytes]]:
    """Put standard output and error into one stream that refuses letters it lacks; yields its bytes so far."""
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, errors="strict", write_through=True)
    with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
        yield raw.getvalue


def _shown(name: str, chance: random.Random) -> str:
    encoding = chance.choice(ENCODINGS)
    with _terminal(encoding) as written:
        terminal = console.Terminal(verbose=True)
        for show in (terminal.say, terminal.note, terminal.detail, terminal.result, terminal.warn):
            show(f"about {name}")
        program.main(["extract", f"--limit={name}"])
        program.main([name])
        program.main(["list", name])
        text = written().decode(encoding)
    return _complaint(f"a terminal of {encoding}", text, 8)


def _data(name: str, chance: random.Random) -> str:
    predictions = Predictions(
        (name, "other"),
        np.array([0]),
        np.array([[0.75, 0.25]]),
        np.zeros((1, 2), np.float32),
        ((Neighbour(name, name, 0.5),),),
        np.array([0.5], np.float32),
        np.array([True]),
    )
    predictor: Any = type("Stub", (), {"class_names": (name, "other"), "knows_unlike": True})
    encoding = chance.choice(ENCODINGS)
    for form, lines in FORMATS.items():
        header, line_of = lines(Settings(), predictor)
        with _terminal(encoding) as written:
            terminal = console.Terminal()
            for line in filter(None, (header, line_of(name, predictions))):
                (terminal.result if form == "table" else terminal.data)(line)
            text = written().decode(encoding if form == "table" else "utf-8")
        if found := _complaint(form, text, 1 if form == "jsonl" else 2):
            return found
        if form == "jsonl" and json.loads(text)["image"] != name:
            return f"jsonl: another name: {text!r}"
        if form == "csv" and (found := _formulas(text)):
            return found
    return ""


def _formulas(text: str) -> str:
    for row in csv.reader(io.StringIO(text), strict=True):
        for cell in row:
            if cell.startswith(("=", "+", "-", "@")) and not re.fullmatch(r"[+-]?[\d.]+(e[+-]?\d+)?", cell):
                return f"a formula: {cell!r}"
    return ""


def _messages(name: str, _: random.Random) -> str:
    error = BadData(f"bad {name}", where=name, expected=name, got=name, remedy=name)
    for line in (str(error), str(UnknownName("thing", name, [name, "other"]))):
        if found := _complaint("an error", f"{line}\n"):
            return found
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        LogConsole().note(name)
    return _complaint("a warning", f"{caught[0].message}\n")


def _markdown(name: str, _: random.Random) -> str:
    cells = f"| {escape(name)} | {code(name)} |\n"
    return _complaint("Markdown", cells) or _complaint("JSON", json_text({name: name}, ascii_only=False) + "\n")


CHECKS: Sequence[Callable[[str, random.Random], str]] = (_shown, _data, _messages, _markdown)


def _joined(place: Path, names: Sequence[str]) -> str:
    """Write the names as sample ids of a table that spreadsheets open, and match them with themselves."""
    column = np.array(names, dtype=object)
    table = FeatureTable({"sample_id": column, "label": column}, {"embedding": np.zeros((len(names), 2))}, {})
    (file,) = (path for path in write_features(table, place / "features.npy") if path.suffix == ".csv")
    text = file.read_text(encoding="utf-8")
    if found := _complaint("features", text, len(names) + 1) or _formulas(text):
        return found
    rows = [row[0] for _, row in read_table(file, "table").rows]
    matched = match_names(rows, names).images
    wrong = [(name, row) for name, row, image in zip(names, rows, matched, strict=True) if image != name]
    wrong = [(name, row) for name, row in wrong if rows.count(row) == 1]  # every reader refuses a name that is twice
    return f"a table: {wrong[0][0]!r} comes back as {wrong[0][1]!r}" if wrong else ""


def _commands(names: Sequence[str]) -> str:
    """Let bash read the names as the words of one printed command."""
    bash = shutil.which("bash")
    if bash is None:
        return ""
    given = []
    for name in names:
        with contextlib.suppress(UnicodeEncodeError):  # a half of a character is in no name of a file
            given += [os.fsencode(name)] if "\0" not in name else []
    line = " ".join(["printf", r"'%s\0'", *(shell_word(os.fsdecode(name)) for name in given)])
    if found := _complaint("a command", f"{line}\n"):
        return found
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    done = subprocess.run([bash, "-s"], input=line.encode(), capture_output=True, check=False, env=environment)
    read = done.stdout.split(b"\0")[:-1]
    wrong = [(name, back) for name, back in zip(given, read, strict=False) if name != back]
    return f"bash: {wrong[:1]} {done.stderr[:200]!r}" if wrong or len(read) != len(given) else ""


def _poisoned(record: Any, names: Callable[[], str]) -> Any:
    """Return a record in which every title, name and fact for people is a name."""
    free = ("dataset", "weights", "title", "caption", "alt", "sample_id", "true", "chosen_by", "judge", "what", "why")
    changes: dict[str, Any] = {}
    for field in fields(record):
        value = getattr(record, field.name)
        if field.name in free and isinstance(value, str):
            changes[field.name] = names()
        elif field.name in ("class_names", "sample_ids"):
            changes[field.name] = tuple(f"{names()}{number}" for number in range(len(value)))
        elif field.name == "environment":
            changes[field.name] = {key: names() if isinstance(item, str) else item for key, item in value.items()}
        elif is_dataclass(value):
            changes[field.name] = _poisoned(value, names)
        elif isinstance(value, tuple) and value and is_dataclass(value[0]):
            changes[field.name] = tuple(_poisoned(item, names) for item in value)
    return replace(record, **changes)


def _report(folder: Path, names: Sequence[str]) -> str:
    """Write a report in which every name of others is one of these, and read its files."""
    endless = iter(names * 20)

    def name() -> str:
        return next(endless)

    classes = tuple(f"{name()}{number}" for number in range(5))
    dataset, net, weights = name(), f"timm:{name()}", name()
    shared = {"class_names": classes, "n_test": 60, "dataset": dataset, "weights": weights}
    nets = {"a": net, "b": f"python:{name()}.py:f", "c": name()}
    scores = make_scores(("a", "b"), ("probe", "knn", "finetune"), seeds=2, **shared)
    scores.append(make_score("probe", "c", chosen={"l2": name()}, options={"version": 1, "x": name()}, **shared))
    scores = [replace(score, backbone=nets[score.backbone]) for score in scores]
    content = ReportContent(
        blocks=blocks(scores),
        not_run=[NotRun(name(), name())],
        more_conditions={name(): [name(), name()]},
        curves=[_poisoned(make_curve(net, draws=1), name)],
        galleries=[_poisoned(make_gallery(), name)],
        maps=[_poisoned(make_map(), name)],
        findings=_poisoned(make_doctor(n_test=60), name),
        commands={scores[0].key: name()},
        suggestions=[NotRun(name(), name())],
        folder=folder,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # letters that the font of figures lacks
        report = write_report(content)
    for file in (report.markdown, report.csv, report.page, report.json):
        if found := acting(file.read_text(encoding="utf-8")):
            return f"{file.name}: raw {' '.join(found)}"
    return _formulas(report.csv.read_text(encoding="utf-8"))
