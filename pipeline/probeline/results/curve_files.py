"""Learning curves' files: one sealed JSON file for each backbone and key."""

from __future__ import annotations

from pathlib import Path

from probeline.identity import CURVE_VERSION
from probeline.results.curve import Curve
from probeline.results.score_files import slug
from probeline.results.store import Ignored, Kind, newest_last, of_key


def curve_path(folder: Path, backbone: str, key: str) -> Path:
    """Return where the curve of a backbone and key stands in `folder`."""
    return folder / f"{slug(backbone)}-{key[:12]}.json"


_CURVES = Kind(
    "curve", CURVE_VERSION, Curve.from_json, lambda folder, curve: curve_path(folder, curve.backbone, curve.key)
)


def save_curve(folder: Path, curve: Curve) -> Path:
    """Write `curve` into `folder`, in place of an earlier file of the same key, and return its path.

    Raises
    ------
    CannotWrite
        Where the file system refuses.
    """
    return _CURVES.save(folder, curve)


def find_curve(folder: Path, backbone: str, key: str) -> Curve | None:
    """Return the curve of this key, or None where there is none that is proven."""
    path = curve_path(folder, backbone, key)
    found = of_key(_CURVES.find(folder, path), path, key)
    return None if isinstance(found, Ignored) else found


def load_curves(folder: Path) -> tuple[list[Curve], list[Ignored]]:
    """Read every curve of `folder`, the one that was written last at the end.

    Returns
    -------
    curves : list of Curve
    ignored : list of Ignored
        The files that are no proven curve of this version, each with its reason.
    """
    return _CURVES.load(folder, newest_last(folder))
