"""Classification sets of torchvision, in the layout that torchvision has on disk below ``--data``."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from probeline.data.assemble import RawPart, assemble, select_rows
from probeline.data.folders.walk import ENDLESS, list_folders
from probeline.data.label_values import name_labels, number_labels
from probeline.data.objects.parts import number_rows
from probeline.data.pixels.arrays import digest_images, to_rgb
from probeline.data.source import LoadRequest
from probeline.data.sources.folder import load_files
from probeline.errors import BadData, DownloadFailed, MissingData, UnknownName
from probeline.format import few
from probeline.images import ImageArray, Images, PixelArray
from probeline.types import DataSet, IntArray, Skipped

SPEC = "torchvision:NAME"

_BY_FLAG = MappingProxyType({"train": {"train": True}, "test": {"train": False}})
_TWO = MappingProxyType({"train": {"split": "train"}, "test": {"split": "test"}})
_WITH_VAL = MappingProxyType({"train": {"split": "train"}, "val": {"split": "val"}, "test": {"split": "test"}})
_WHOLE: Mapping[str, Mapping[str, Any]] = MappingProxyType({"all": {}})


@dataclass(frozen=True)
class VisionSet:
    """One of torchvision's data sets.

    Attributes
    ----------
    folder : str
        Where torchvision keeps it below its root; empty for the root itself.
    parts : mapping of str to mapping
        The arguments that give each part.
    flips : bool
        Whether a mirrored image still belongs to its class.
    """

    folder: str
    parts: Mapping[str, Mapping[str, Any]]
    flips: bool = True


SETS: Mapping[str, VisionSet] = MappingProxyType(
    {
        "Caltech101": VisionSet("caltech101", _WHOLE),
        "Caltech256": VisionSet("caltech256", _WHOLE),
        "CIFAR10": VisionSet("cifar-10-batches-py", _BY_FLAG),
        "CIFAR100": VisionSet("cifar-100-python", _BY_FLAG),
        "Country211": VisionSet("country211", {**_WITH_VAL, "val": {"split": "valid"}}),
        "DTD": VisionSet("dtd", _WITH_VAL),
        "EuroSAT": VisionSet("eurosat", _WHOLE),
        "FashionMNIST": VisionSet("FashionMNIST", _BY_FLAG),
        "FGVCAircraft": VisionSet("fgvc-aircraft-2013b", _WITH_VAL),
        "Flowers102": VisionSet("flowers-102", _WITH_VAL),
        "Food101": VisionSet("food-101", _TWO),
        "GTSRB": VisionSet("gtsrb", _TWO, flips=False),
        "Imagenette": VisionSet("imagenette2", {"train": {"split": "train"}, "val": {"split": "val"}}),
        "KMNIST": VisionSet("KMNIST", _BY_FLAG, flips=False),
        "MNIST": VisionSet("MNIST", _BY_FLAG, flips=False),
        "OxfordIIITPet": VisionSet("oxford-iiit-pet", {"train": {"split": "trainval"}, "test": {"split": "test"}}),
        "RenderedSST2": VisionSet("rendered-sst2", _WITH_VAL, flips=False),
        "StanfordCars": VisionSet("stanford_cars", _TWO),
        "STL10": VisionSet("stl10_binary", _TWO),
        "SUN397": VisionSet("SUN397", _WHOLE),
        "SVHN": VisionSet("", _TWO, flips=False),
        "USPS": VisionSet("", _BY_FLAG, flips=False),
    }
)
"""The sets by torchvision's names."""


@dataclass(frozen=True)
class _Content:
    images: Sequence[Path] | PixelArray
    labels: Sequence[str]
    class_names: Sequence[str] | None


def load(name: str, request: LoadRequest) -> DataSet:
    """Return a data set of torchvision by its name, in capitals or not, with its splits as parts.

    Sets of image files read the files as they are; their ids are the paths below ``--data``. Sets in arrays are kept in
    memory; their rows are called ``part/000000``. What is missing is downloaded by torchvision, if that is allowed.

    Raises
    ------
    UnknownName, MissingData, DownloadFailed, BadData
    """
    by_fold = {known.lower(): known for known in SETS}
    if name.lower() not in by_fold:
        raise UnknownName("data set of torchvision", name, SETS)
    known = by_fold[name.lower()]
    vision_set = SETS[known]
    contents = {
        part: _read(_open(known, request, arguments), request.data) for part, arguments in vision_set.parts.items()
    }
    names = next((content.class_names for content in contents.values() if content.class_names), None)
    labels = {part: content.labels for part, content in contents.items()}
    class_names, numbers = number_labels(labels, f"torchvision:{known}", names)
    raw = {part: _raw_part(part, content, numbers[part], request) for part, content in contents.items()}
    return assemble(f"torchvision--{known.lower()}", raw, class_names, request, flips=vision_set.flips)


def _raw_part(part: str, content: _Content, numbers: IntArray, request: LoadRequest) -> RawPart:
    if isinstance(content.images, np.ndarray):
        return RawPart(number_rows(part, len(numbers)), numbers, partial(_load_array, content.images))
    ids = [path.relative_to(request.data).as_posix() for path in content.images]
    return RawPart(ids, numbers, partial(load_files, content.images, request=request))


def _load_array(pixels: PixelArray, rows: IntArray) -> tuple[Images, tuple[str, ...]]:
    images = select_rows(ImageArray(pixels), rows)
    return images, digest_images(pixels[rows])


def _open(name: str, request: LoadRequest, arguments: Mapping[str, Any]) -> Any:
    """Return the object of torchvision for one part, without opening an image."""
    from probeline.environment import declare_missing_operators

    declare_missing_operators()
    import torchvision.datasets

    folder = request.data / SETS[name].folder
    make = partial(getattr(torchvision.datasets, name), root=str(request.data), **arguments)
    if folder != request.data:
        _check_links(folder)
    try:
        if folder.is_dir():  # some make their folder if it is missing
            return make()
        reason: object = "no such folder"
    except (RuntimeError, OSError, ValueError, KeyError) as error:
        reason = f"{type(error).__name__}: {error}"
    if not request.download:
        raise MissingData(
            f"torchvision's {name} is missing or incomplete",
            where=folder,
            got=reason,
            remedy=f"put it there, as torchvision.datasets.{name} has it, or name its parent folder by --data",
        )
    request.console.say(f"torchvision: {name} is downloaded to {request.data}")
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            request.data.mkdir(parents=True, exist_ok=True)
            return make(download=True)
    except Exception as error:  # whatever a download of torchvision may raise
        raise DownloadFailed(
            f"torchvision's {name} could not be downloaded",
            where=folder,
            got=f"{type(error).__name__}: {error}",
            remedy=f"put it there by hand, as torchvision.datasets.{name} has it, or name its parent folder by --data",
        ) from error


def _check_links(folder: Path) -> None:
    """Refuse links to a folder that is listed anyway: torchvision follows them all, along every path that there is."""
    skipped: list[Skipped] = []
    list_folders(folder, skipped)
    if endless := [f"{one.path} is {one.reason}{one.detail}" for one in skipped if one.reason in ENDLESS]:
        raise BadData("a folder that torchvision cannot list", where=folder, got=few(endless, 3), remedy="remove it")


def _read(data: Any, root: Path) -> _Content:
    """Return what an object of torchvision knows of its images: their files, or an array of them."""
    classes = getattr(data, "classes", None)
    names = [name if isinstance(name, str) else name[0] for name in classes] if classes else None
    samples = getattr(data, "samples", None) or getattr(data, "_samples", None)
    if samples is not None:
        images, labels = [Path(path) for path, _ in samples], [label for _, label in samples]
    elif hasattr(data, "_labels"):
        images, labels = list(map(Path, getattr(data, "_image_files", None) or data._images)), data._labels
    elif hasattr(data, "categories"):
        images, labels = _caltech(data), data.y
        names = [str(name).partition(".")[2] or str(name) for name in data.categories]
    else:
        pixels, _ = to_rgb(np.asarray(data.data), type(data).__name__)
        given = list(data.targets if hasattr(data, "targets") else data.labels)
        return _Content(pixels, name_labels(given, len(pixels), root, names), names)
    if not images:
        raise BadData("no images", where=root, got=type(data).__name__)
    return _Content(images, name_labels(list(labels), len(images), root, names), names)


def _caltech(data: Any) -> list[Path]:
    """Return the files of Caltech 101 or 256."""
    root, pairs = Path(data.root), list(zip(data.y, data.index, strict=True))
    if (root / "101_ObjectCategories").is_dir():
        return [root / "101_ObjectCategories" / data.categories[y] / f"image_{index:04d}.jpg" for y, index in pairs]
    folder = root / "256_ObjectCategories"
    return [folder / data.categories[y] / f"{y + 1:03d}_{index:04d}.jpg" for y, index in pairs]
