"""What is printed: for people in what their terminal can show, for programs in UTF-8, and never half-silently."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest

from probeline.cli.console import Terminal
from probeline.console import print_data, print_text


def printed(encoding: str, show: Any, text: str) -> bytes:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding=encoding, errors="replace")
    assert show(text, stream)
    return raw.getvalue()


@pytest.mark.parametrize(
    ("encoding", "text"),
    [("utf-8", "é 日"), ("latin-1", r"é \u65e5"), ("ascii", r"\xe9 \u65e5"), ("utf-16", "é 日")],
)
def test_a_letter_that_a_terminal_lacks_is_written_out(encoding: str, text: str) -> None:
    assert printed(encoding, print_text, "é 日").decode(encoding) == f"{text}\n"


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii", "utf-16"])
def test_data_are_utf8_whatever_the_terminal_has(encoding: str) -> None:
    assert printed(encoding, print_data, "é 日") == "é 日\n".encode()


def test_text_and_data_keep_their_order() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="latin-1")
    print_text("é", stream)
    print_data("é", stream)
    print_text("é", stream)
    assert raw.getvalue() == b"\xe9\n\xc3\xa9\n\xe9\n"


@pytest.mark.parametrize("show", [print_text, print_data])
def test_a_stream_without_bytes_or_none_at_all(show: Any) -> None:
    stream = io.StringIO()
    assert show("é", stream)
    assert stream.getvalue() == "é\n"
    assert show("é", None)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize("show", [print_text, print_data])
def test_a_full_disk_is_an_error_that_names_the_stream_and_is_not_met_again(show: Any) -> None:
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        with pytest.raises(OSError, match=r"No space left on device: '/dev/full'"):
            show("a", full)
        assert show("b", full), "it leads nowhere from now on"


def test_no_line_of_a_terminal_acts_or_forges_another(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal(verbose=True)
    for show in (terminal.say, terminal.note, terminal.detail, terminal.result, terminal.data, terminal.warn):
        show("a\x1b[31m\nb\u202e")
    shown = capsys.readouterr()
    assert shown.out.splitlines() == [r"a\x1b[31m\nb\u202e"] * 5
    assert shown.err == "probeline: a\\x1b[31m\\nb\\u202e\n"
