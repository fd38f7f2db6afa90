"""A browser of this machine for tests of pages; nothing is ever fetched for it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")

FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


def found() -> str:
    """Return the path of a Chromium: $PROBELINE_CHROMIUM, else one on the path; skip where there is none."""
    named = os.environ.get("PROBELINE_CHROMIUM")
    path = named or next(filter(None, map(shutil.which, NAMES)), None)
    if path is None or not Path(path).exists():
        pytest.skip(f"no browser: neither {' nor '.join(NAMES)} is on the path, and $PROBELINE_CHROMIUM names none")
    return path


@contextmanager
def started() -> Iterator[Any]:
    """Start the browser; skip where Playwright is not installed."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = found()
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()
