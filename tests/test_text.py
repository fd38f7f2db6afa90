"""Text of others as it is shown: what acts or hides is written out, letters stay, and names come back."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess

import pytest

from probeline.text import (
    csv_text,
    is_printable,
    json_text,
    printable,
    printable_lines,
    shell_word,
    shorten,
    shown_names,
    without_apostrophe,
)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("a\rb\nc\td\x08\x00", r"a\rb\nc\td\x08\x00"),
        ("\x7f\x85\x9b", r"\x7f\x85\x9b"),
        ("exe.\u202egpj\u2066\u2069\u200e\u200f\u061c", r"exe.\u202egpj\u2066\u2069\u200e\u200f\u061c"),
        ("\u2028\u2029\u200b\u2060\ufeff\u00ad\u3164", r"\u2028\u2029\u200b\u2060\ufeff\xad\u3164"),
        ("\ud800\udcff\ufffe\U000e0041", r"\ud800\udcff\ufffe\U000e0041"),
        ("ca\u200dt\u200c", r"ca\u200dt\u200c"),
        ("日\u200d\u202e", r"日\u200d\u202e"),
    ],
)
def test_what_acts_or_hides_is_written_out(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert not is_printable(text)
    assert is_printable(shown)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "Käfer",
            "日本語",
            "한국어",
            "العربية",
            "עברית",
            "ไทย",
            "Ελληνικά",
            "e\u0301",
            "a b\u00a0c\u3000d",
        ),
        *("می\u200cخواهم", "क\u094d\u200dष", "👩\u200d💻", "❤️\u200d🔥", "\u06dd٣", "−0.25 %", r"\x1b"),
    ],
)
def test_letters_of_every_script_stay(text: str) -> None:
    assert printable(text) == text
    assert is_printable(text)


def test_lines_stay_lines() -> None:
    assert printable_lines("a\x1b\nb\r\n") == "a\\x1b\nb\\r\n"


def test_long_values_are_shortened_with_their_length() -> None:
    assert shorten("short text") == "short text"
    assert shorten("/".join("x" * 9 for _ in range(40))) == "/".join("x" * 9 for _ in range(40)), "a deep path is whole"
    word = shorten(f"a {'x' * 4990}end b")
    assert word.startswith("a xxx")
    assert word.endswith("xend b")
    assert "(4,993 characters)" in word
    assert len(word) < 400
    assert shorten("a " * 3000).endswith("(6,000 characters)")


@pytest.mark.parametrize(
    "cell", ["=1+1", "+cmd", "-1+1", "@x", "  =x", "＝x", "=cmd|' /C calc'!A0", "'=x", "''=x", "-", "+1 -1"]
)
def test_no_cell_is_a_formula_and_each_is_read_back(cell: str) -> None:
    ((shown,),) = csv.reader(io.StringIO(csv_text([[cell]])))
    assert shown == f"'{cell}"
    assert without_apostrophe(shown) == cell


@pytest.mark.parametrize("cell", ["-0.5", "+1e-05", "-inf", "nan", ".5", "it's", "'quoted'", "a=b", "3-1"])
def test_other_cells_stay(cell: str) -> None:
    assert csv_text([[cell]]) == f"{cell}\n"
    assert without_apostrophe(cell) == cell


def test_cells_are_printable_and_separated_by_commas_alone() -> None:
    text = csv_text([["a\x1b", 'b"', "c;=d", "e,f", " g", None, -0.5, True], ["x\ny"]])
    assert text == 'a\\x1b,"b""","c;=d","e,f"," g",,-0.5,True\nx\\ny\n'


def test_json_of_what_hides_is_the_same_value() -> None:
    value = {"\x7f\u202e": ["\x9b\u2028\ud800\U000e0041\n", "é"]}
    for ascii_only in (True, False):
        text = json_text(value, indent=1, ascii_only=ascii_only)
        assert json.loads(text) == value
        assert all(map(is_printable, text.split("\n")))
        assert ("é" in text) != ascii_only


def test_words_of_commands_are_printable_and_mean_the_same_to_bash() -> None:
    assert shell_word("a b") == "'a b'"
    words = ["a\x1b[31m", "it's \\x \u202e", "\n", "\udcff\U000e0041", "plain", "", "$(x)\x07"]
    line = "printf '%s|' " + " ".join(map(shell_word, words))
    assert is_printable(line)
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash")
    done = subprocess.run([bash, "-c", line], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"})
    assert done.stdout == "".join(f"{word}|" for word in words).encode("utf-8", "surrogateescape")


def test_shown_names_that_two_have_stand_for_none() -> None:
    assert shown_names(["plain", "a\x1b", "b\x07", r"b\x07"]) == {r"a\x1b": "a\x1b"}
