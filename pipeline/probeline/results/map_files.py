"""Maps' files: a sealed record for each backbone, of the places of its test embeddings in a plane."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from probeline.identity import MAP_VERSION
from probeline.results import store as sealed
from probeline.results.score_files import slug
from probeline.results.store import Ignored


@dataclass(frozen=True)
class Plane:
    """One way to lay the points of a map out.

    Attributes
    ----------
    method : str
        ``pca`` or ``tsne``.
    title : str
    axes : tuple of 2 str
        What each axis is; empty where it means nothing.
    xy : tuple of tuples of 2 floats [n]
    facts : mapping
        Of ``pca`` the ``explained`` shares of the train rows' variance; of ``tsne`` its ``perplexity``, ``seed`` and
        the ``divergence`` in nats that is left.
    """

    method: str
    title: str
    axes: tuple[str, str]
    xy: tuple[tuple[float, float], ...]
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class EmbeddingMap:
    """Test images as points, near each other where their embeddings are.

    Attributes
    ----------
    backbone, weights : str
    of : mapping
        All that it was made of but for what was asked on top, as JSON values: where this is another, so is the map.
    tap : str
        Where the net is read: as the exact probe that val prefers reads it.
    n_test : int
        Test images, of which `rows` are some or all.
    part : str
        That the rows are of.
    class_names : tuple of str [K]
    rows : tuple of int [n]
    sample_ids : tuple of str [n]
    labels, predicted : tuple of int [n]
        Classes; predicted ones are of the row that val prefers, `judge`.
    judge : str
        That row, in words.
    planes : tuple of Plane
        The principal components first.
    title, caption, alt : str
        What a figure says above, below and in its place.
    """

    backbone: str
    weights: str
    of: Mapping[str, Any]
    tap: str
    n_test: int
    part: str
    class_names: tuple[str, ...]
    rows: tuple[int, ...]
    sample_ids: tuple[str, ...]
    labels: tuple[int, ...]
    predicted: tuple[int, ...]
    judge: str
    planes: tuple[Plane, ...]
    title: str
    caption: str
    alt: str

    @property
    def wrong(self) -> tuple[bool, ...]:
        """Which of the points were taken for another class."""
        return tuple(true != said for true, said in zip(self.labels, self.predicted, strict=True))

    @property
    def methods(self) -> tuple[str, ...]:
        """How the points are laid out."""
        return tuple(plane.method for plane in self.planes)

    @property
    def file(self) -> str:
        """The name of the record."""
        return map_name(self.backbone)

    @property
    def figure(self) -> str:
        """The name of the figure that a report draws of it, without its suffix."""
        return f"map-{slug(self.backbone)}"

    def to_json(self) -> dict[str, Any]:
        """Return the map's record as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> EmbeddingMap:
        """Return the map of a record that :meth:`to_json` made.

        Raises
        ------
        KeyError, TypeError, ValueError
            Where the fields are not those of this version, or its columns differ in length.
        """
        planes = []
        for one in record["planes"]:
            x, y = one["axes"]
            planes.append(Plane(**{**one, "axes": (x, y), "xy": tuple((east, north) for east, north in one["xy"])}))
        columns = {name: tuple(record[name]) for name in ("rows", "sample_ids", "labels", "predicted")}
        lengths = {len(column) for column in (*columns.values(), *(plane.xy for plane in planes))}
        if len(lengths) != 1:
            raise ValueError(f"columns of {sorted(lengths)} points")
        return cls(**{**record, **columns, "class_names": tuple(record["class_names"]), "planes": tuple(planes)})


def map_name(backbone: str) -> str:
    """Return the name of the record of a backbone's map."""
    return f"map-{slug(backbone)}.json"


_MAPS = sealed.Kind("map", MAP_VERSION, EmbeddingMap.from_json, lambda folder, one: folder / one.file)


def save_map(folder: Path, one: EmbeddingMap) -> Path:
    """Write a map into `folder` in place of the one of its backbone, and return its path.

    Raises
    ------
    CannotWrite
        Where the file system refuses.
    """
    return _MAPS.save(folder, one)


def find_map(folder: Path, backbone: str) -> EmbeddingMap | Ignored | None:
    """Return the map of a backbone, None where there is none, or why what is there is not used."""
    return _MAPS.find(folder, folder / map_name(backbone))


def load_maps(folder: Path) -> tuple[list[EmbeddingMap], list[Ignored]]:
    """Read every map of `folder`, by backbone; also return what is no proven one, and why."""
    return _MAPS.load(folder, sorted(folder.glob("map-*.json")))
