"""Latencies' files: one sealed JSON file for each net and the conditions it was timed under."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from probeline.identity import LATENCY_VERSION
from probeline.results.score_files import slug
from probeline.results.store import Ignored, Kind, newest_last, of_key


@dataclass(frozen=True)
class Passes:
    """The timed forward passes of one net with one size of batch.

    Attributes
    ----------
    batch : int
        Images a pass.
    seconds : tuple of float
        Of each pass, turn by turn: the passes of one place in it, of all nets of a session, followed each other.
    peak_bytes : int or None
        Weights, input and the most that a pass held beside them; None where the device does not tell.
    """

    batch: int
    seconds: tuple[float, ...]
    peak_bytes: int | None


@dataclass(frozen=True)
class Latency:
    """What a forward pass of one net costs on one device.

    Attributes
    ----------
    backbone, weights, precision : str
    key : str
        sha256 over the net, the device and all that was asked for.
    session : str
        The same for nets whose passes took turns.
    image_size : int
        Pixels.
    parameters : int
        Of the stock net, its head included.
    norms, folded : int
        Its BatchNorms, and how many of them were folded into the convolution before.
    threads : int
        That torch was given.
    warm_up : int
        Passes of each batch size before the timed ones.
    passes : tuple of Passes
        By batch size, ascending; without those that do not fit the device.
    environment : mapping
        Hardware and versions.
    """

    backbone: str
    weights: str
    precision: str
    key: str
    session: str
    image_size: int
    parameters: int
    norms: int
    folded: int
    threads: int
    warm_up: int
    passes: tuple[Passes, ...]
    environment: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Latency:
        """Return the latency of a record that :meth:`to_json` made.

        Raises
        ------
        KeyError, TypeError
            Where the fields are not those of this version.
        """
        passes = tuple(Passes(**{**one, "seconds": tuple(one["seconds"])}) for one in record["passes"])
        return cls(**{**record, "passes": passes})


def latency_path(folder: Path, backbone: str, key: str) -> Path:
    """Return where the latency of a backbone and key stands in `folder`."""
    return folder / f"latency-{slug(backbone)}-{key[:12]}.json"


_LATENCIES = Kind(
    "latency",
    LATENCY_VERSION,
    Latency.from_json,
    lambda folder, latency: latency_path(folder, latency.backbone, latency.key),
)


def save_latency(folder: Path, latency: Latency) -> Path:
    """Write `latency` into `folder`, in place of an earlier file of the same key, and return its path.

    Raises
    ------
    CannotWrite
        Where the file system refuses.
    """
    return _LATENCIES.save(folder, latency)


def find_latency(folder: Path, backbone: str, key: str) -> Latency | Ignored | None:
    """Return the latency of this key, None where there is none, or why what is there is not used."""
    path = latency_path(folder, backbone, key)
    return of_key(_LATENCIES.find(folder, path), path, key)


def load_latencies(folder: Path) -> tuple[list[Latency], list[Ignored]]:
    """Read every latency of `folder`, the one that was written last at the end; also return what is no proven one."""
    return _LATENCIES.load(folder, newest_last(folder, "latency-*.json"))
