r"""Text of others, such as names of files, classes and tensors, as it is shown: nothing in it acts or hides.

A terminal obeys control characters, and a page or an editor the overrides of writing direction; others cannot be seen.
They are written out, as in ``\x1b`` or ``\u202e``. Letters of every script stay, and so do what joins and varies them.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Collection, Iterable

_JOINED = "\u0600-\u1fff\u2190-\U000dffff"
"""What the joiners U+200C and U+200D belong between: letters from Arabic to Indic scripts, and emoji."""

_ACTING = (
    r"\x00-\x1f\x7f-\x9f"  # control characters: C0, DEL and C1
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # the direction of writing
    r"\u2028\u2029"  # ends of lines and paragraphs
    r"\ud800-\udfff"  # halves of characters, such as bytes of file names that are not UTF-8
    r"\u00ad\u034f\u115f\u1160\u17b4\u17b5\u180e\u200b\u2060-\u2065\u206a-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb"
    r"\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e00ff\U000e01f0-\U000e0fff"  # fillers, tags: unseen
    r"\ufdd0-\ufdef" + "".join(f"\\U{plane:04x}fffe\\U{plane:04x}ffff" for plane in range(17))  # no characters
)
_HIDDEN = re.compile(
    f"[{_ACTING}]|[\u200c\u200d](?:(?<![{_JOINED}].)|(?<=[{_ACTING}].)|(?![{_JOINED}])|(?=[{_ACTING}]))", re.DOTALL
)

_LONGEST, _BEGINNING, _END = 400, 200, 100
"""Characters of the longest word in a message; of a longer one so many are shown."""

_MOST = 1_000
"""Characters of the longest value in a message."""

_FORMULA = re.compile(r"['\s]*[=+\-@\uff1d\uff0b\uff0d\uff20]")
"""The beginning of what a spreadsheet takes for a formula, with apostrophes before it or without."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf|nan")
_SEPARATED = re.compile(r"""[",;|]""")


def printable(text: str) -> str:
    r"""Return text on one line with all that acts or cannot be seen written out, as in ``\n``, ``\x1b``, ``\u202e``.

    Letters of every script stay, and variation selectors; U+200C and U+200D stay between letters of scripts that join
    them, and between emoji.
    """
    return text if is_printable(text) else _HIDDEN.sub(lambda found: ascii(found[0])[1:-1], text)


def printable_lines(text: str) -> str:
    """Return lines of text, each printable."""
    return "\n".join(map(printable, text.split("\n")))


def is_printable(text: str) -> bool:
    """Return whether text is shown as it is."""
    return (text.isascii() and text.isprintable()) or _HIDDEN.search(text) is None


def shown_names(names: Collection[str]) -> dict[str, str]:
    """Return the names that are not printable, by how they are shown, where that is no name by itself or of several."""
    hidden = [name for name in names if not is_printable(name)]
    by_shown: dict[str, list[str]] = {}
    for name in hidden:
        by_shown.setdefault(printable(name), []).append(name)
    taken = set(names) if hidden else set()
    return {shown: own[0] for shown, own in by_shown.items() if len(own) == 1 and shown not in taken}


def shorten(text: str) -> str:
    """Return a value as messages show it: long words without their middle, and the beginning of what is longer."""
    short = shorten_words(text)
    return short if len(short) <= _MOST else f"{short[:_MOST]}... ({len(text):,} characters)"


def shorten_words(text: str) -> str:
    """Return text with long words without their middle."""
    return re.sub(rf"\S{{{_LONGEST + 1},}}", lambda found: _without_middle(found[0]), text)


def _without_middle(word: str) -> str:
    return f"{word[:_BEGINNING]}...({len(word):,} characters)...{word[-_END:]}"


def shell_word(text: str) -> str:
    """Return text as a word of a command that is shown: quoted if needed, and printable, in ``$'...'`` of bash."""
    if is_printable(text):
        return shlex.quote(text)
    plain = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"$'{_HIDDEN.sub(lambda found: _shell_escape(ord(found[0])), plain)}'"


def _shell_escape(code: int) -> str:
    is_byte = code < 0x80 or 0xDC80 <= code <= 0xDCFF
    return f"\\x{code & 0xFF:02x}" if is_byte else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def json_text(value: object, indent: int | None = None, *, ascii_only: bool = True) -> str:
    """Return a value as JSON in which all that acts or cannot be seen is an escape: other text, the same value.

    ValueError is raised for NaN and infinity, which JSON cannot hold.
    """
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only, allow_nan=False)
    return "\n".join(_HIDDEN.sub(lambda found: _json_escape(found[0]), line) for line in text.split("\n"))


def _json_escape(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[start : start + 4]}" for start in range(0, len(units), 4))


def csv_text(rows: Iterable[Iterable[object]]) -> str:
    r"""Return rows as lines of CSV, each with its end; None is an empty cell.

    Cells are printable. One that a spreadsheet would take for a formula begins with an apostrophe; numbers do not.
    """
    return "".join(",".join(map(_cell, row)) + "\n" for row in rows)


def _cell(value: object) -> str:
    text = "" if value is None else printable(str(value))
    if _FORMULA.match(text) and not _NUMBER.fullmatch(text):
        text = f"'{text}"
    if _SEPARATED.search(text) or text != text.strip():
        text = '"' + text.replace('"', '""') + '"'
    return text


def without_apostrophe(cell: str) -> str:
    """Return a cell of a table without the apostrophe that `csv_text` begins a formula with."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell
