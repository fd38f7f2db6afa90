"""The worked example of docs/design/extending.md, and what happens to sections that cannot be used."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from pathlib import Path

import pytest

from made_scores import make_scores
from pages import write_report
from probeline.report.model.content import ReportContent
from probeline.report.sections.registry import GROUP, SECTIONS, all_sections, installed_sections, markdown_order
from probeline.report.sections.section import GROUPS

DOC = (Path(__file__).parents[1] / "docs" / "design" / "extending.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r'```\w+ title="([^"]+)"\n(.*?)```', DOC, re.DOTALL))

FAILING = """
class Failing(Section):
    name, title, group = "failing", "Failing", "Results"

    def markdown(self, content):
        return "Own words."

    def view(self, content):
        return text_view("Own words.")

    def record(self, content):
        return {{"own": 1}}

class Failing(Failing):
    def {method}(self, content):
        return {result}
"""

pytestmark = pytest.mark.usefixtures("undrawn")


def install(
    folder: Path, monkeypatch: pytest.MonkeyPatch, module: str, text: str, entry_points: dict[str, str]
) -> None:
    """Put a distribution with a module and entry points of sections on the path."""
    (folder / f"{module}.py").write_text(text, encoding="utf-8")
    metadata = folder / f"{module}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n", encoding="utf-8")
    lines = [f"[{GROUP}]", *(f"{name} = {value}" for name, value in entry_points.items())]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(folder))


def test_the_example_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = tomllib.loads(BLOCKS["pyproject.toml"])["project"]
    (tmp_path / "site").mkdir()
    entry_points = project["entry-points"][GROUP]
    install(tmp_path / "site", monkeypatch, "seed_ranges", BLOCKS["seed_ranges.py"], entry_points)
    test = compile(BLOCKS["test_seed_ranges.py"], "test_seed_ranges.py", "exec")
    exec(test, {"scores": make_scores(seeds=2, n_test=60), "folder": tmp_path / "report"})  # noqa: S102


def test_a_section_stands_in_its_group_and_makes_reports_out_of_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = installed_sections()
    text = "class Section:\n    name, title, group = 'own', 'Own', {!r}\n"
    both = text.format("Results").replace("Section", "First") + text.format("Mine").replace("own", "mine")
    install(tmp_path, monkeypatch, "own_sections", both, {"own": "own_sections:First", "mine": "own_sections:Section"})
    assert installed_sections() != before
    sections = all_sections()
    groups = [section.group for section in sections]
    assert list(dict.fromkeys(groups)) == [*GROUPS[:-1], "Mine", GROUPS[-1]]
    names = [section.name for section in sections]
    assert names.index("own") == groups.index("Errors") - 1
    order = [section.name for section in markdown_order(sections)]
    assert order.index("doctor") < order.index("own") < order.index("missing")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("raise RuntimeError('broken')", "RuntimeError('broken')"),
        ("", "AttributeError"),
        (
            "class Bad:\n    name, title, group = 'results', 'Results', 'Results'",
            "there is a section 'results' already",
        ),
        ("class Bad:\n    name = 'nameless'", "AttributeError"),
    ],
    ids=["module", "attribute", "name", "no title"],
)
def test_a_section_that_cannot_be_used_is_a_warning(
    text: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(tmp_path, monkeypatch, "bad_section", f"{text}\n", {"worse": "bad_section:Bad"})
    monkeypatch.delitem(sys.modules, "bad_section", raising=False)
    with pytest.warns(UserWarning, match="report section worse = bad_section:Bad is skipped") as warned:
        assert all_sections() == SECTIONS
    assert reason in str(warned[0].message)


@pytest.mark.parametrize(
    ("method", "result", "reason"),
    [
        ("markdown", "1 / 0", "ZeroDivisionError"),
        ("view", "1 / 0", "ZeroDivisionError"),
        ("view", "View('nowhere.html', {})", "TemplateNotFound"),
        ("view", "View('text.html', {})", "UndefinedError"),
        ("record", "1 / 0", "ZeroDivisionError"),
        ("record", "{'own': object()}", "TypeError"),
    ],
)
def test_a_section_that_cannot_be_rendered_is_left_out(
    method: str, result: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = f"from probeline.report.sections.section import Section, View, text_view\n{FAILING}"
    (tmp_path / "site").mkdir()
    text = module.format(method=method, result=result)
    install(tmp_path / "site", monkeypatch, "failing_section", text, {"failing": "failing_section:Failing"})
    monkeypatch.delitem(sys.modules, "failing_section", raising=False)
    with pytest.warns(UserWarning, match="report section failing is skipped") as warned:
        report = write_report(tmp_path / "report", make_scores(n_test=60))
    assert len(warned) == 1
    assert reason in str(warned[0].message)
    text, page = report.markdown.read_text(encoding="utf-8"), report.page.read_text(encoding="utf-8")
    record = json.loads(report.json.read_text(encoding="utf-8"))
    assert "## Failing" not in text
    assert "failing" not in page
    assert "own" not in record
    assert "## Results" in text
    assert '<section id="results"' in page
    assert record["rows"]


def test_no_two_sections_share_a_name_or_a_member() -> None:
    names = [section.name for section in SECTIONS]
    assert len(names) == len(set(names))
    members = [member for section in SECTIONS for member in section.record(ReportContent())]
    assert len(members) == len(set(members))
