"""The report's files: written when the scores say something new, and left alone when they do not."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from probeline.disk import make_folder, publish
from probeline.identity import REPORT_VERSION, digest, digest_bytes
from probeline.report.model.beside import NOTHING, Beside
from probeline.report.model.conditions import Conditions, conditions
from probeline.report.model.pairs import matrix
from probeline.report.model.rows import blocks
from probeline.report.sections.tables import Missing, csv, markdown, record
from probeline.results.score import Score

_NAME, _PAGE = "report.json", "index.html"


@dataclass(frozen=True)
class Report:
    """The files of a report.

    Attributes
    ----------
    markdown, json, csv, page : Path
    figures : tuple of Path
    written : bool
        False where the files were there already and said the same.
    """

    markdown: Path
    json: Path
    csv: Path
    page: Path
    figures: tuple[Path, ...]
    written: bool


def write(
    scores: Sequence[Score],
    missing: Missing,
    folder: Path,
    extra: Conditions,
    beside: Beside = NOTHING,
) -> Report:
    """Write the files of a report and figures/ into `folder`, unless they are there and up to date.

    They are up to date where report.json is whole and names the same scores, missing rows, conditions and
    `REPORT_VERSION`, and every file that it lists has the bytes that it says; then nothing is written, and
    matplotlib is not imported. Figures that the report before listed and this one does not have are removed;
    no other file is touched.

    Parameters
    ----------
    scores : sequence of Score
        Of one data set; one for each row and seed.
    missing : sequence of (str, str)
        Rows that have not been run: what, and the command that would run it.
    folder : Path
    extra : mapping of str to sequences of str
        Further conditions: headings, and the lines under each, such as the paths of the feature caches.
    beside : Beside

    Raises
    ------
    BadData, UnknownName
        Where the scores do not fit one table; see :func:`probeline.report.model.rows.blocks`.
    CannotWrite
        Where the file system refuses.
    """
    key = digest(
        {
            "scores": sorted(digest(vars(score)) for score in scores),
            "missing": [list(row) for row in missing],
            "conditions": {name: list(lines) for name, lines in extra.items()},
            "version": REPORT_VERSION,
            **beside.to_json(),
        }
    )
    before = _previous(folder)
    if before.get("key") == key and all(_holds(folder / name, sha256) for name, sha256 in before["files"].items()):
        return _report(folder, before["files"], written=False)

    # matplotlib takes a second that an up-to-date report need not spend
    from probeline.report.figures import draw
    from probeline.report.page import render
    from probeline.report.page.content import Content

    table, facts = blocks(scores), conditions(scores, extra, beside.curves, beside.tests)
    pairs = matrix(table)
    drawn = draw(scores, folder / "figures", beside.curves, beside.tests, beside.maps)
    figures = [one.path.relative_to(folder).as_posix() for one in drawn]
    make_folder(folder)
    text = markdown(table, pairs, facts, missing, figures, beside)
    publish(folder / "report.md", text.encode(), replace=True)
    publish(folder / "report.csv", csv(table).encode(), replace=True)
    content = Content(table, pairs, facts, missing, {one.name: one for one in drawn}, beside, folder)
    publish(folder / _PAGE, render(content), replace=True)
    names = ["report.md", "report.csv", _PAGE, *figures]
    for name in set(before.get("files", ())) - set(names):
        if PurePosixPath(name).parent == PurePosixPath("figures"):
            (folder / name).unlink(missing_ok=True)
    # Last, since it vouches for the others: a report that was interrupted is not up to date.
    files = {name: digest_bytes((folder / name).read_bytes()) for name in names}
    told = record(table, pairs, facts, missing, beside)
    facts_of_all = {"key": key, "version": REPORT_VERSION, **told, "files": files}
    whole = json.dumps({**facts_of_all, "sha256": digest(facts_of_all)}, indent=1, ensure_ascii=False)
    publish(folder / _NAME, f"{whole}\n".encode(), replace=True)
    return _report(folder, files, written=True)


def _previous(folder: Path) -> dict[str, Any]:
    """Return the record of the report that is there, or an empty one where none is whole."""
    try:
        found = json.loads((folder / _NAME).read_bytes())
        whole = isinstance(found, dict) and found.pop("sha256", None) == digest(found)
    except (OSError, ValueError):
        return {}
    return found if whole else {}


def _holds(path: Path, sha256: str) -> bool:
    try:
        return digest_bytes(path.read_bytes()) == sha256
    except OSError:
        return False


def _report(folder: Path, files: Iterable[str], *, written: bool) -> Report:
    figures = tuple(folder / name for name in files if name.startswith("figures/"))
    return Report(folder / "report.md", folder / _NAME, folder / "report.csv", folder / _PAGE, figures, written)
