"""The page in a real browser: it requests nothing, and works by pointer, keyboard and screen reader."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from browsers import started
from made_scores import LONG, make_scores
from pages import full, written

DESK = {"width": 1280, "height": 900}
PHONE = {"width": 360, "height": 740}

# a browser waits longer than it works: two minutes
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("drawn_figures")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with started() as found:
        yield found


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return full(tmp_path_factory.mktemp("page"))


@contextmanager
def opened(browser: Any, file: Path, **options: Any) -> Iterator[Any]:
    """Open a page in a fresh context; any other request, or a message on the console, is a failure."""
    context = browser.new_context(**{"viewport": DESK, **options})
    tab = context.new_page()
    requests: list[str] = []
    messages: list[str] = []
    tab.on("request", lambda request: requests.append(request.url))
    tab.on("console", lambda message: messages.append(message.text))
    tab.on("pageerror", lambda error: messages.append(str(error)))
    try:
        tab.goto(file.as_uri())
        yield tab
        assert [url for url in requests if not url.startswith("data:")] == [file.as_uri()]
        assert messages == []
    finally:
        context.close()


def lines(tab: Any, column: int) -> list[str]:
    """Return the texts of a column of the rows that are shown."""
    rows = tab.locator("#table-results tbody tr:visible")
    return [rows.nth(i).locator("th,td").nth(column).inner_text() for i in range(rows.count())]


def head(tab: Any, title: str) -> Any:
    return tab.locator("#table-results thead th", has_text=title)


def test_it_opens_without_a_request_or_a_complaint(browser: Any, file: Path) -> None:
    with opened(browser, file) as tab:
        assert tab.locator("h1").inner_text().startswith("cifar10")
        tab.mouse.wheel(0, 20_000)
        assert tab.evaluate("document.readyState") == "complete"


def test_columns_sort_by_their_numbers(browser: Any, file: Path) -> None:
    with opened(browser, file) as tab:
        title = "Cold s"
        titles = tab.locator("#table-results thead th").all_inner_texts()
        column = [text.strip() for text in titles].index(title)
        head(tab, title).locator("button").click()
        falling = [float(text.replace(",", "")) for text in lines(tab, column)]
        assert falling == sorted(falling, reverse=True)
        assert len(set(falling)) > 5
        assert head(tab, title).get_attribute("aria-sort") == "descending"
        head(tab, title).locator("button").press("Enter")
        assert [float(text.replace(",", "")) for text in lines(tab, column)] == falling[::-1]
        assert head(tab, title).get_attribute("aria-sort") == "ascending"
        assert tab.locator("#table-results th[aria-sort]").count() == 1
        head(tab, "Method").locator("button").click()
        assert lines(tab, 0) == sorted(lines(tab, 0), key=str.lower)


def test_rows_without_a_number_stay_at_the_end(browser: Any, file: Path) -> None:
    with opened(browser, file) as tab:
        titles = [text.strip() for text in tab.locator("#table-results thead th").all_inner_texts()]
        column = titles.index("Headroom")
        tab.get_by_label("All columns").first.check()
        for _ in range(2):
            head(tab, "Headroom").locator("button").click()
            filled = [bool(text.strip()) for text in lines(tab, column)]
            assert True in filled
            assert filled == sorted(filled, reverse=True)


def test_rows_are_filtered(browser: Any, file: Path) -> None:
    with opened(browser, file) as tab:
        assert len(lines(tab, 0)) == 18
        tab.locator("form.filter [name=backbone]").select_option("resnet18")
        assert len(lines(tab, 0)) == 9
        assert set(lines(tab, 2)) == {"resnet18"}
        tab.locator("form.filter [name=text]").fill("PROBE (exact")
        assert lines(tab, 0) == ["linear probe (exact)"]
        assert tab.locator("form.filter output").inner_text() == "1 of 18 rows"
        tab.locator("form.filter [name=text]").fill("")
        tab.locator("form.filter [name=method]").select_option("k-NN")
        tab.locator("form.filter [name=backbone]").select_option("")
        assert lines(tab, 0) == ["k-NN", "k-NN"]


def test_marks_tell_their_numbers_to_pointer_and_keyboard(browser: Any, file: Path) -> None:
    with opened(browser, file) as tab:
        marks = tab.locator("#cost .told")
        assert marks.count() == 18
        marks.nth(3).hover()
        tip = tab.locator("#tip")
        assert tip.inner_text() == marks.nth(3).get_attribute("aria-label")
        tab.keyboard.press("Escape")
        assert tip.is_hidden()
        marks.nth(0).focus()
        tab.keyboard.press("ArrowRight")
        assert tip.inner_text() == marks.nth(1).get_attribute("aria-label")
        assert tab.evaluate("document.activeElement.getAttribute('aria-label')") == marks.nth(1).get_attribute(
            "aria-label"
        )
        box = tip.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= DESK["width"]
        assert tab.locator("#cost .told[tabindex='0']").count() == 1
        tab.locator("#table-results .bar").first.hover()
        assert "95 % interval" in tip.inner_text()


def test_light_and_dark_are_the_readers_choice(browser: Any, file: Path) -> None:
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    for scheme in ("light", "dark"):
        with opened(browser, file, color_scheme=scheme) as tab:
            before = tab.evaluate(ground)
            button = tab.locator("#theme")
            assert button.inner_text() == ("Light" if scheme == "dark" else "Dark")
            button.click()
            assert tab.evaluate(ground) != before
            button.click()
            assert tab.evaluate(ground) == before
            tab.emulate_media(media="print")
            assert tab.evaluate("getComputedStyle(document.body).color") == "rgb(26, 26, 26)"


FAULTS = "async () => (await axe.run(document, {resultTypes: ['violations']})).violations"


def grave(tab: Any) -> list[tuple[str, str, list[str]]]:
    """Return what axe finds serious or critical, with the first elements that have it."""
    package = pytest.importorskip("axe_playwright_python", reason="axe-playwright-python is not installed")
    (axe,) = Path(package.__file__).parent.rglob("axe.min.js")
    tab.evaluate(axe.read_text(encoding="utf-8"))
    return [
        (fault["id"], fault["help"], [node["html"][:200] for node in fault["nodes"][:3]])
        for fault in tab.evaluate(FAULTS)
        if fault["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize(
    ("scheme", "view"),
    [
        pytest.param("light", DESK, id="desk-light"),
        pytest.param("dark", PHONE, id="phone-dark"),
        pytest.param("dark", DESK, id="desk-dark", marks=pytest.mark.slow),
        pytest.param("light", PHONE, id="phone-light", marks=pytest.mark.slow),
    ],
)
def test_axe_finds_no_serious_fault(browser: Any, file: Path, scheme: str, view: dict[str, int]) -> None:
    with opened(browser, file, color_scheme=scheme, viewport=view) as tab:
        assert grave(tab) == []


def test_a_phone_has_no_sideways_scroll(browser: Any, file: Path) -> None:
    with opened(browser, file, viewport=PHONE, has_touch=True, is_mobile=True) as tab:
        assert tab.evaluate("document.scrollingElement.scrollWidth") <= PHONE["width"]
        tab.evaluate("scrollTo(500, 0)")
        assert tab.evaluate("scrollX") == 0


def test_print_is_no_wider_than_paper(browser: Any, file: Path) -> None:
    # A4 is 210 mm wide and has margins of 12 mm: 186 mm are 703 pixels of 96 to the inch.
    with opened(browser, file, viewport={"width": 703, "height": 1000}) as tab:
        tab.emulate_media(media="print")
        assert tab.evaluate("document.scrollingElement.scrollWidth") <= 703


def test_it_reads_without_script(browser: Any, file: Path) -> None:
    with opened(browser, file, java_script_enabled=False) as tab:
        assert len(lines(tab, 0)) == 18
        for selector in ("h1", ".headline", ".summary", "#cost svg", "#making table"):
            assert tab.locator(selector).first.is_visible()
        for selector in ("form.filter", "#theme"):
            assert tab.locator(selector).is_hidden()
        for selector in ("#table-results thead button", ".command button", ".tools"):
            assert tab.locator(selector).count() == 0
        headroom = head(tab, "Headroom")
        assert headroom.is_hidden()
        tab.get_by_label("All columns").first.check()
        assert headroom.is_visible(), "no script is needed to see all columns"


def test_every_figure_is_named_and_drawn(browser: Any, file: Path) -> None:
    with opened(browser, file) as tab:
        figures = tab.locator("figure svg")
        assert figures.count() >= 7
        for i in range(figures.count()):
            assert len(figures.nth(i).get_attribute("aria-label")) > 40
            box = figures.nth(i).bounding_box()
            assert box["width"] > 300
            assert box["height"] > 100


WIDTHS = {390: 844, 768: 1024, 1280: 900, 1920: 1080}


def at_width(width: int) -> dict[str, Any]:
    phone = width < 500
    return {"viewport": {"width": width, "height": WIDTHS[width]}, "has_touch": phone, "is_mobile": phone}


CUT_OFF = """() => {
    const width = document.documentElement.clientWidth;
    const beyond = (element, left, right) => {
        const box = element.getBoundingClientRect();
        return box.width > 0 && (box.left < left - 1 || box.right > right + 1);
    };
    const name = (element) => `${element.outerHTML.split(">")[0]}> ${element.textContent.slice(0, 60)}`;
    return [...document.querySelectorAll("body *")].filter((element) => {
        if (element.closest(".unseen, .skip") || element.parentElement.closest("svg")) return false;
        const box = element.parentElement.closest(".scroll");
        if (!box) return beyond(element, 0, width);
        const marked = box.classList.contains("over") && box.parentElement.querySelector(".hint:not([hidden])");
        const frame = box.getBoundingClientRect();
        return !marked && beyond(element, frame.left, frame.right);
    }).map(name);
}"""
"""Elements that reach beyond the window, or beyond a box that does not say that it scrolls."""


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_cut_off(browser: Any, file: Path, width: int) -> None:
    with opened(browser, file, **at_width(width)) as tab:
        assert tab.evaluate(CUT_OFF) == []
        assert tab.evaluate(OUTSIDE) == []
        assert tab.evaluate("document.scrollingElement.scrollWidth") <= width
        scrolling = tab.locator(".scroll.over")
        assert scrolling.locator("svg:scope > *, .summary, .rows").count() == 0
        for box in scrolling.all():
            box.evaluate("(box) => { box.scrollLeft = box.scrollWidth; }")
            assert box.evaluate("(box) => box.scrollLeft + box.clientWidth >= box.scrollWidth - 1"), (
                "its end is reached"
            )


@pytest.mark.parametrize("width", WIDTHS)
def test_all_columns_can_be_seen_at_any_width(browser: Any, file: Path, width: int) -> None:
    with opened(browser, file, **at_width(width)) as tab:
        first = tab.locator("#table-results tbody tr").first.locator("td")
        hidden = [i for i in range(first.count()) if first.nth(i).is_hidden()]
        assert hidden, "some columns are left out at first"
        assert not first.nth(0).is_hidden()
        tab.get_by_label("All columns").first.check()
        assert all(first.nth(i).is_visible() for i in range(first.count()) if first.nth(i).inner_text().strip())
        assert tab.evaluate(CUT_OFF) == []


def test_a_phone_stacks_the_cells_of_a_row_under_its_name(browser: Any, file: Path) -> None:
    with opened(browser, file, **at_width(390)) as tab:
        row = tab.locator(".summary tbody tr").first
        boxes = [cell.bounding_box() for cell in row.locator("th,td").all()]
        role, name, *cells = boxes
        assert role["y"] < name["y"] < cells[0]["y"]
        assert cells[0]["y"] < cells[2]["y"] < cells[-1]["y"], "two in a line"
        cell = row.locator("td[data-label]").first
        label = cell.evaluate("(cell) => getComputedStyle(cell, '::before').content")
        assert label == '"Test top-1 % (95 % interval)"'
        for role in ("table", "row", "cell"):
            assert tab.get_by_role(role).count() > 2, "stacked, it still is a table to a screen reader"


def test_a_reduced_figure_can_be_enlarged(browser: Any, file: Path) -> None:
    with opened(browser, file, **at_width(390)) as tab:
        figure = tab.locator("#cost figure svg")
        button = tab.locator("#cost").get_by_role("button", name="Enlarge")
        assert figure.bounding_box()["width"] < 390
        button.press("Enter")
        assert figure.bounding_box()["width"] > 600
        assert tab.locator("#cost .hint").is_visible()
        assert tab.evaluate(CUT_OFF) == []
        button.press("Enter")
        assert figure.bounding_box()["width"] < 390
        assert tab.locator("#cost .hint").is_hidden()
    with opened(browser, file) as tab:
        assert tab.locator("#cost").get_by_role("button", name="Enlarge").count() == 0


def test_commands_are_copied(browser: Any, file: Path) -> None:
    with opened(browser, file, permissions=["clipboard-read", "clipboard-write"]) as tab:
        command = tab.locator("#missing .command").first
        button = command.get_by_role("button")
        text = command.locator("code").inner_text()
        assert button.get_attribute("aria-label") == f"Copy the command {text}"
        button.focus()
        tab.keyboard.press("Enter")
        tab.wait_for_function("document.querySelector('[role=status].unseen').textContent !== ''")
        assert button.inner_text() == "Copied"
        assert tab.evaluate("navigator.clipboard.readText()") == text
        assert tab.locator("[role=status].unseen").inner_text() == "The command is copied"
        assert tab.evaluate("document.activeElement.textContent") == "Copied"


def test_commands_are_copied_without_the_clipboard_interface(browser: Any, file: Path) -> None:
    with opened(browser, file, permissions=["clipboard-read", "clipboard-write"]) as tab:
        tab.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('no')); }")
        command = tab.locator("#making .command").first
        command.get_by_role("button").click()
        tab.wait_for_function("document.querySelector('[role=status].unseen').textContent !== ''")
        assert tab.evaluate("navigator.clipboard.readText()") == command.locator("code").inner_text()


def saved(tab: Any, name: str) -> tuple[str, list[list[str]]]:
    """Return the name and the lines of the CSV file that a button saves."""
    with tab.expect_download() as download:
        tab.get_by_role("button", name=f"Save as CSV: {name}").first.click()
    text = Path(download.value.path()).read_text(encoding="utf-8-sig")
    return download.value.suggested_filename, list(csv.reader(text.splitlines()))


def test_tables_are_saved_as_csv(browser: Any, file: Path) -> None:
    record = json.loads((file.parent / "report.json").read_text(encoding="utf-8"))
    with opened(browser, file) as tab:
        name, (heads, *rows) = saved(tab, "All rows")
        assert name == "results.csv"
        assert len(rows) == 18
        assert {"Method", "Headroom", "Chosen"} <= set(heads), "hidden columns too"
        column = heads.index("Test top-1 % (95 % interval), as a number")
        assert [float(row[column]) for row in rows] == [row["top1"] for row in record["rows"]]
        assert not any("\n" in cell for row in rows for cell in row)
        name, (heads, *rows) = saved(tab, "The rows to compare")
        assert name == "summary.csv"
        assert rows[0][heads.index("Role")].startswith("Recommended")
        assert tab.locator("main table").count() == tab.get_by_role("button", name="Save as CSV").count()


def test_no_cell_of_a_saved_table_is_a_formula(browser: Any, tmp_path: Path) -> None:
    names = ("=HYPERLINK(0)", "+cmd", "@x", 'say "a", b')
    file = written(tmp_path, make_scores(methods=("probe", "knn"), n_test=80, class_names=names))
    with opened(browser, file) as tab:
        _, rows = saved(tab, "Accuracy of each class")
        assert {row[0] for row in rows[1:]} == {"'=HYPERLINK(0)", "'+cmd", "'@x", 'say "a", b'}


def test_letters_stay_within_their_figure(browser: Any, tmp_path: Path) -> None:
    file = written(tmp_path, make_scores(("mobilenet_v2", LONG), seeds=2, n_test=90))
    with opened(browser, file) as tab:
        assert tab.evaluate(OUTSIDE) == []


OUTSIDE = """() => [...document.querySelectorAll("figure svg")].flatMap((svg) => {
    const box = svg.getBoundingClientRect();
    return [...svg.querySelectorAll("text")].filter((text) => {
        const own = text.getBoundingClientRect();
        return own.left < box.left - 1 || own.right > box.right + 1
            || own.top < box.top - 1 || own.bottom > box.bottom + 1;
    }).map((text) => text.textContent);
})"""
"""Letters that are drawn beyond the edge of their figure."""

SAMPLES = sorted((Path(__file__).parents[1] / "reports" / "sample").glob("*/index.html"))


@pytest.mark.slow
@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.parent.name)
@pytest.mark.parametrize(("scheme", "view"), [("light", DESK), ("dark", PHONE)], ids=["desk-light", "phone-dark"])
def test_the_samples_hold_to_it_too(browser: Any, sample: Path, scheme: str, view: dict[str, int]) -> None:
    assert sample.stat().st_size < 5_000_000
    with opened(browser, sample, color_scheme=scheme, viewport=view) as tab:
        tab.mouse.wheel(0, 50_000)
        assert tab.evaluate(OUTSIDE) == []
        assert tab.evaluate("document.scrollingElement.scrollWidth") <= view["width"]
        assert tab.locator("img:not([alt]), img[alt='']").count() == 0
        assert all(len(one.get_attribute("aria-label")) > 40 for one in tab.locator("figure svg").all())
        assert grave(tab) == []
