"""What can go wrong through no fault of the program, each as one line that says what to do next.

Every error inherits from :class:`ProbelineError` and from the built-in family a Python caller would catch.
The command line prints ``str(error)`` as one line and exits with ``exit_code``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from probeline.text import printable, shorten, shorten_words

_FEW = 30
"""More valid names than these are not listed; the nearest are suggested."""


def nearest(name: str, valid: Iterable[str]) -> Sequence[str]:
    """Return the few valid names that a misspelt one most likely stands for, the nearest first."""
    by_fold = {known.casefold(): known for known in valid}
    return [by_fold[folded] for folded in difflib.get_close_matches(name.casefold(), by_fold, n=3, cutoff=0.6)]


class ProbelineError(Exception):
    """The user's input is wrong, or the world did not cooperate.

    Its message is one printable line, in which long values are shortened.

    Parameters
    ----------
    what : str
        What is wrong.
    where : object, optional
        The file, option or row that it is about.
    expected, got : object, optional
        What would have been right, and what was found.
    remedy : str, optional
        The next command or step, as an instruction.

    Attributes
    ----------
    finding : str
        The message without the remedy, for an error that has another one.
    """

    exit_code = 2

    def __init__(
        self,
        what: str,
        *,
        where: object = None,
        expected: object = None,
        got: object = None,
        remedy: str | None = None,
    ) -> None:
        line = shorten(what) if where is None else f"{shorten(what)}: {shorten(str(where))}"
        values = (("expected", expected), ("got", None if got is None else shorten(str(got))))
        details = [f"{word} {value}" for word, value in values if value is not None]
        if details:
            line += " (" + ", ".join(details) + ")"
        self.where, self.got, self.finding = where, got, _one_line(line)
        super().__init__(_one_line(f"{line}; {remedy}" if remedy else line))

    def __str__(self) -> str:
        return str(self.args[0])


def _one_line(text: str) -> str:
    return printable(" ".join(part.strip() for part in shorten_words(text).splitlines()))


class UnknownName(ProbelineError, LookupError):
    """A name that is not valid; suggests the nearest valid ones, and lists all if they are few."""

    def __init__(self, kind: str, name: str, valid: Iterable[str], *, remedy: str | None = None) -> None:
        valid = tuple(map(str, valid))
        close = nearest(name, valid)
        listed = valid and (len(valid) <= _FEW or not (close or remedy))
        expected = f"one of: {', '.join(valid)}" if listed else None
        meant = f"did you mean {' or '.join(close)}?" if close else None
        super().__init__(
            f"unknown {kind} {name!r}", expected=expected, remedy=" ".join(filter(None, (meant, remedy))) or None
        )


class BadOption(ProbelineError, ValueError):
    """An option whose value cannot be used."""


class MissingData(ProbelineError, FileNotFoundError):
    """A file or folder that is missing."""


class BadData(ProbelineError, ValueError):
    """Input data, an image or an archive that does not hold what its format promises."""


class BadImage(BadData):
    """An image whose bytes cannot be decoded, today or at any other time."""


class FoundUnreadable(BadData):
    """Images turned out to be unreadable while they were used: loaded again, the data set leaves them out."""


class BadWeights(ProbelineError, ValueError):
    """A weights file that does not belong to the net, or is no plain state dict."""


class DownloadFailed(ProbelineError, OSError):
    """A download that did not arrive, or arrived with other bytes than it should have."""


class BadCache(ProbelineError, OSError):
    """A cache entry that does not prove what it claims."""


class OtherFormat(BadCache):
    """A cache entry of another format version, which may be as sound as any."""


class NewerFormat(OtherFormat):
    """A cache entry of a later format version: a newer version of this program wrote it."""


class BadArtifact(ProbelineError, ValueError):
    """An exported predictor that is damaged, of another format, or that does not hold together."""


class Mismatch(ProbelineError, ArithmeticError):
    """A verification found numbers that are not what they must be."""

    exit_code = 3


class CannotWrite(ProbelineError, OSError):
    """No permission, no space or another refusal of the file system."""


class MissingExtra(ProbelineError, ImportError):
    """An optional dependency that this request needs."""


class StoreFailed(ProbelineError, OSError):
    """A store that machines share could not be reached, or did not let a file be read or written."""


class CrewFailed(ProbelineError, RuntimeError):
    """The workers of a crew could not be started, or ended without having done anything."""


class OutOfMemory(ProbelineError, MemoryError):
    """Not even the smallest batch fits the device."""


class RankLost(ProbelineError, ConnectionError):
    """Another process of the same training has ended; its own message says why."""


class Diverged(ProbelineError, ArithmeticError):
    """Training met a value that is not finite."""
