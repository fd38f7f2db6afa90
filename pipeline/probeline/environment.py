"""Hardware and versions that a number was measured with, found without importing the packages."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import platform
import re
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from probeline.errors import MissingExtra
from probeline.files.reading import TEXT, read_text

PACKAGES = ("torch", "torchvision", "timm", "numpy", "scikit-learn", "h5py", "pillow")


def _processor() -> str:
    try:
        lines = read_text(Path("/proc/cpuinfo"), TEXT).splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _driver() -> str | None:
    """Return the version of the NVIDIA driver, or None if there is none."""
    try:
        match = re.search(r"\b\d{3,}(\.\d+)+", read_text(Path("/proc/driver/nvidia/version"), TEXT))
    except OSError:
        return None
    return match.group() if match else None


@functools.cache
def commit() -> str | None:
    """Return the git commit of the checkout that this code runs from, or None if it is an installed package."""
    git = Path(__file__).resolve().parents[2] / ".git"
    try:
        head = read_text(git / "HEAD", TEXT).strip()
        reference = head.removeprefix("ref: ")
        return head if reference == head else read_text(git / reference, TEXT).strip()
    except OSError:
        return None


def cores() -> int:
    """Return the number of processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def installed(package: str) -> str | None:
    """Return an installed package's version, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def package_folder(name: str) -> Path:
    """Return the folder of an installed package, without importing it, or raise `MissingExtra`."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise MissingExtra(f"{name} is not installed", remedy=f"pip install {name}")
    return Path(spec.origin).parent


def user_folder() -> Path:
    """Return this user's folder for what is remembered between caches: below ``XDG_CACHE_HOME`` or ``~/.cache``."""
    # Not Path.expanduser, which raises for a user without a home.
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "probeline"  # noqa: PTH111


def environment(device: str = "CPU") -> Mapping[str, str | int]:
    """Return hardware and versions as JSON values; `device` as :func:`probeline.backbones.device.describe` names it."""
    versions = {name: number for name in PACKAGES if (number := installed(name)) is not None}
    return {
        "machine": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": cores(),
        "device": device,
        "python": platform.python_version(),
        **({"driver": driver} if (driver := _driver()) else {}),
        **versions,
        "probeline": installed("probeline") or "source",
    }


@functools.cache
def _gpus() -> tuple[str, ...]:
    """Return the names of the NVIDIA GPUs, as torch has them too."""
    files = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    lines = (line for file in files for line in read_text(file, TEXT).splitlines())
    return tuple(line.partition(":")[2].strip() for line in lines if line.startswith("Model:"))


def likely_device(option: str) -> str:
    """Return the device that an option most likely stands for on this machine, without importing torch."""
    kind, _, index = option.partition(":")
    if kind in ("auto", "cuda") and _driver():
        gpus = _gpus()[int(index or 0) :]
        return gpus[0] if gpus else "GPU"
    apple = (sys.platform, platform.machine()) == ("darwin", "arm64")
    return "Apple GPU" if kind == "mps" or (kind == "auto" and apple) else "CPU"


CONDITIONS = (
    *("machine", "processor", "driver", "device"),
    *("torch", "torchvision", "timm", "numpy", "pillow", "probeline"),
)
"""Facts of an environment that could change what a net computes; each is a text, or missing."""


def conditions(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts of an environment that could change what a net computes."""
    return {name: facts.get(name) for name in CONDITIONS}


def today(option: str) -> dict[str, Any]:
    """Return the conditions of a computation now, with a device option."""
    return conditions(environment(likely_device(option)))


def origins(provenance: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the distinct conditions that a shard's rows were computed under; for copied rows those of their source."""
    computed = [dict(origin) for origin in provenance.get("origins", [])]
    if provenance.get("imported"):
        computed.insert(0, {**conditions(provenance), "imported": True})
    elif provenance.get("device") != "none":
        computed.insert(0, conditions(provenance))
    return [origin for i, origin in enumerate(computed) if origin not in computed[:i]]


_HARDWARE = ("machine", "processor", "cores", "device")
"""Of an environment's facts, those that are no versions."""


def describe_environment(facts: Mapping[str, Any]) -> str:
    """Return what numbers were measured on: ``Linux x86_64, Xeon, 2 cores, CPU; python 3.12.3, torch 2.13.0``."""
    named = {name: str(facts[name]) for name in _HARDWARE if name in facts}
    if "cores" in named:
        named["cores"] += " core" if facts["cores"] == 1 else " cores"
    versions = [f"{name} {version}" for name, version in sorted(facts.items()) if name not in _HARDWARE]
    return "; ".join(filter(None, (", ".join(named.values()), ", ".join(versions)))) or "not recorded"


@functools.cache
def declare_missing_operators() -> object:
    """Let torchvision be imported also if its compiled operators do not match the installed torch.

    With a CPU build of torch, torchvision's ordinary wheel cannot load its compiled library and then fails on two
    detection operators. No classification net or data set uses them, so they are declared here, without an
    implementation, before the import.
    """
    import torch

    compiled = next(iter(sorted(package_folder("torchvision").glob("_C*.so"))), None)
    if compiled is not None:
        with contextlib.suppress(OSError):
            torch.ops.load_library(str(compiled))  # type: ignore[no-untyped-call]
            return None
    library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # type: ignore[no-untyped-call]
    return library
