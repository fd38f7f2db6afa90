"""Data sets of the Hugging Face library: of the hub, or from a local folder or file; an extra, ``probeline[hf]``."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from probeline.data.annotations.groups import attach_groups
from probeline.data.assemble import RawPart, assemble
from probeline.data.label_values import number_labels
from probeline.data.objects.hugging_face import import_datasets, read_images, read_labels
from probeline.data.objects.parts import number_rows
from probeline.data.part_names import named_part
from probeline.data.source import LoadRequest
from probeline.disk import path_name
from probeline.errors import BadData, DownloadFailed
from probeline.images import Images
from probeline.types import DataSet, IntArray

SPEC = "hf:NAME|PATH"

_PATIENCE = 5.0
"""Seconds to wait for the hub's answer."""


def load(name: str, request: LoadRequest) -> DataSet:
    """Return a data set by ``NAME``, ``ORG/NAME``, ``ORG/NAME/CONFIG``, or the path of local data.

    Local data are a folder that ``save_to_disk`` wrote, a folder of Parquet files or images that ``load_dataset``
    reads, or one Parquet or Arrow file. Splits in the usual spellings are parts. Columns are found by type, or named by
    the request: ``image``, ``label`` and ``group``. Rows keep their order.

    Raises
    ------
    DownloadFailed
        The hub cannot be reached, or does not have it.
    BadData, MissingExtra
    """
    path = Path(os.path.expanduser(name))  # noqa: PTH111 - expanduser of Path raises for an unknown user
    is_local = path.exists()
    loaded = _load_local(path) if is_local else _load_from_hub(name, download=request.download)
    parts, notes = _by_part(loaded, name)
    facts = {part: read_labels(data, request.columns) for part, data in parts.items()}
    names = list(dict.fromkeys(name for given in facts.values() for name in given.class_names or ()))
    class_names, numbers = number_labels({part: given.labels for part, given in facts.items()}, f"hf:{name}", names)

    def read(part: str, rows: IntArray) -> tuple[Images, tuple[str, ...]]:
        images = read_images(part, parts[part], rows, request)
        return images, images.content

    raw = {
        part: RawPart(number_rows(part, len(data)), numbers[part], partial(read, part)) for part, data in parts.items()
    }
    notes += list(dict.fromkeys(note for given in facts.values() for note in given.notes))
    title = path.resolve().name if is_local else path_name(name)
    dataset = assemble(f"hf--{title}", raw, class_names, request, notes=notes)
    groups = {
        sample_id: group
        for part, given in facts.items()
        for sample_id, group in zip(raw[part].sample_ids, given.groups or (), strict=False)
    }
    return attach_groups(dataset, groups, f"column {request.columns['group']}") if any(groups.values()) else dataset


def _by_part(loaded: Any, name: str) -> tuple[dict[str, Any], list[str]]:
    """Return the data of each part, and notes about splits that are none."""
    if not hasattr(loaded, "items"):
        return {"all": loaded}, []
    parts: dict[str, Any] = {}
    others = []
    for split, data in loaded.items():
        part = named_part(split)
        if part is None or part in parts:
            others.append(split)
        else:
            parts[part] = data
    if len(loaded) == 1:
        only = next(iter(loaded.values()))
        return ({"train": only} if "train" in parts else {"all": only}), []
    if "train" not in parts:
        raise BadData("the data set has no split train", where=f"hf:{name}", got=", ".join(loaded))
    ordered: dict[str, Any] = {part: parts[part] for part in ("train", "val", "test") if part in parts}
    return ordered, [f"hf: splits that are not used: {', '.join(others)}"] if others else []


def _load_local(path: Path) -> Any:
    datasets = import_datasets()
    try:
        with _quiet(datasets):
            if any((path / name).is_file() for name in ("state.json", "dataset_dict.json")):
                return datasets.load_from_disk(str(path))
            if path.suffix == ".arrow":
                return datasets.Dataset.from_file(str(path))
            with _offline():
                if path.is_file():
                    return datasets.load_dataset(path.suffix.removeprefix("."), data_files=str(path), split="train")
                return datasets.load_dataset(str(path))
    except Exception as error:  # a foreign library's readers raise almost anything
        raise BadData(
            "data cannot be read by the library datasets",
            where=path,
            expected="what save_to_disk wrote, Parquet or Arrow files, or a folder of images",
            got=f"{type(error).__name__}: {error}",
        ) from error


def _load_from_hub(name: str, *, download: bool) -> Any:
    """Return a data set of the hub, from its cache on this machine if the hub is not to be asked, or not reachable."""
    datasets = import_datasets()
    words = name.split("/")
    is_configured = len(words) == 3
    repository, config = ("/".join(words[:2]), words[2]) if is_configured else (name, None)
    is_online = download and _is_reachable()
    try:
        with _quiet(datasets), contextlib.nullcontext() if is_online else _offline():
            return datasets.load_dataset(repository, config)
    except Exception as error:  # as above
        if is_online:
            remedy = "check the name; one of several configurations is hf:ORG/NAME/CONFIG"
        else:
            remedy = "check the path, load it once where the hub can be reached, or copy its save_to_disk folder here"
        raise DownloadFailed(
            f"no data set hf:{name}" + ("" if is_online else ": it is no path, and not in the cache of datasets"),
            got=f"{type(error).__name__}: {error}" if is_online else "no connection to the hub",
            remedy=remedy,
        ) from error


def _is_reachable() -> bool:
    """Return whether the hub answers within a few seconds, so that its client need not retry for half a minute."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    if any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy")):
        return True
    address = urlsplit(constants.ENDPOINT)
    try:
        with socket.create_connection((address.hostname or "", address.port or 443), _PATIENCE):
            return True
    except OSError:
        return False


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """Keep the libraries from the network; they read their setting from these constants alone."""
    import datasets
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before


@contextlib.contextmanager
def _quiet(datasets: Any) -> Iterator[None]:
    """Show no progress bars of the library; its warnings would not be one line."""
    was_shown = datasets.are_progress_bars_enabled() if hasattr(datasets, "are_progress_bars_enabled") else True
    level = datasets.logging.get_verbosity()
    datasets.disable_progress_bars()
    datasets.logging.set_verbosity_error()
    try:
        yield
    finally:
        datasets.logging.set_verbosity(level)
        if was_shown:
            datasets.enable_progress_bars()
