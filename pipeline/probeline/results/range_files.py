"""Range tests' files: one sealed JSON file for each backbone, strategy and key, as scores have them."""

from __future__ import annotations

from pathlib import Path

from probeline.identity import RANGE_VERSION
from probeline.results.methods import method_info
from probeline.results.range_test import RangeTest
from probeline.results.score_files import slug
from probeline.results.store import Ignored, Kind, newest_last, of_key


def range_path(folder: Path, backbone: str, method: str, key: str) -> Path:
    """Return where the range test of a backbone, a method and a key stands in `folder`."""
    return folder / f"{slug(backbone)}-{method}-{key[:12]}.json"


def _place(folder: Path, test: RangeTest) -> Path:
    return range_path(folder, test.backbone, method_info(test.method).name, test.key)


_TESTS = Kind("range test", RANGE_VERSION, RangeTest.from_json, _place)


def save_range_test(folder: Path, test: RangeTest) -> Path:
    """Write `test` into `folder`, in place of an earlier file of the same key, and return its path.

    Raises
    ------
    CannotWrite
        Where the file system refuses.
    """
    return _TESTS.save(folder, test)


def find_range_test(folder: Path, backbone: str, method: str, key: str) -> RangeTest | Ignored | None:
    """Return the range test of this key, or None where there is none, or why the file in its place is not used."""
    path = range_path(folder, backbone, method, key)
    return of_key(_TESTS.find(folder, path), path, key)


def load_range_tests(folder: Path) -> tuple[list[RangeTest], list[Ignored]]:
    """Read every range test of `folder`, the one that was written last at the end.

    Returns
    -------
    tests : list of RangeTest
    ignored : list of Ignored
        The files that are no proven range test of this version, each with its reason.
    """
    return _TESTS.load(folder, newest_last(folder))
