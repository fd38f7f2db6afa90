"""The page of a board in a real browser: it requests nothing, fits a phone, and its table sorts and filters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from browsers import started
from made_boards import board_of, make_reports
from probeline.report.board.write import write_board

DESK, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}

# a browser waits longer than it works
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("drawn_figures")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with started() as found:
        yield found


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    reports = make_reports(tmp_path_factory.mktemp("reports"))
    return write_board(board_of(reports, to=reports / "board")).page


@contextmanager
def opened(browser: Any, file: Path, viewport: dict[str, int]) -> Iterator[Any]:
    """Open the page; any other request, or a message on the console, is a failure."""
    context = browser.new_context(viewport=viewport)
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


@pytest.mark.parametrize("viewport", [DESK, PHONE], ids=["desk", "phone"])
def test_it_opens_without_a_request_and_fits(viewport: dict[str, int], browser: Any, file: Path) -> None:
    with opened(browser, file, viewport) as tab:
        assert tab.locator("h1").inner_text() == "Which backbone? 3 backbones on 3 data sets"
        assert tab.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        assert tab.locator("#critical-difference svg[role=group] .told").count() == 3


def test_all_rows_are_sorted_and_filtered(browser: Any, file: Path) -> None:
    with opened(browser, file, DESK) as tab:
        rows = tab.locator("#table-results tbody tr:visible")
        assert rows.count() == 18
        tab.locator("#table-results thead th", has_text="Test top-1").locator("button").click()
        tops = [float(rows.nth(i).locator("td").nth(2).get_attribute("data-value")) for i in range(rows.count())]
        assert tops == sorted(tops, reverse=True)
        tab.locator("form.filter select[name=backbone]").select_option("two")
        assert rows.count() == 6
        tab.locator("form.filter select[name=method]").select_option("k-NN")
        assert rows.count() == 3
