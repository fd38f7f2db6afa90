"""Learning curves' files: one sealed JSON file for each backbone and key, as scores have them."""

from __future__ import annotations

from pathlib import Path

from probeline.disk import make_folder, publish
from probeline.identity import CURVE_VERSION, seal
from probeline.records import Curve
from probeline.report.files import Ignored, opened, slug


def curve_path(folder: Path, backbone: str, key: str) -> Path:
    """Return where the curve of a backbone and key stands in `folder`."""
    return folder / f"{slug(backbone)}-{key[:12]}.json"


def save_curve(folder: Path, curve: Curve) -> Path:
    """Write `curve` into `folder`, in place of an earlier file of the same key, and return its path.

    Raises
    ------
    CannotWrite
        Where the file system refuses.
    """
    path = curve_path(folder, curve.backbone, curve.key)
    make_folder(folder)
    publish(path, seal({"version": CURVE_VERSION, "curve": curve.to_json()}), replace=True)
    return path


def find_curve(folder: Path, backbone: str, key: str) -> Curve | None:
    """Return the curve of this key, or None where there is none that is proven."""
    path = curve_path(folder, backbone, key)
    found = _read(path) if path.exists() else None
    return found if isinstance(found, Curve) and found.key == key else None


def load_curves(folder: Path) -> tuple[list[Curve], list[Ignored]]:
    """Read every curve of `folder`, the one that was written last at the end.

    Returns
    -------
    curves : list of Curve
    ignored : list of Ignored
        The files that are no proven curve of this version, each with its reason.
    """
    found = [_read(path) for path in sorted(folder.glob("*.json"), key=lambda path: (path.stat().st_mtime_ns, path))]
    return [one for one in found if isinstance(one, Curve)], [one for one in found if isinstance(one, Ignored)]


def _read(path: Path) -> Curve | Ignored:
    record = opened(path, "curve", CURVE_VERSION)
    if isinstance(record, Ignored):
        return record
    try:
        curve = Curve.from_json(record["curve"])
        place = curve_path(path.parent, curve.backbone, curve.key)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        return Ignored(path, f"has other fields than a curve: {error}")
    return curve if path == place else Ignored(path, f"holds the curve that belongs at {place.name}")
