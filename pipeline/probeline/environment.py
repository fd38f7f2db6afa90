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

from probeline import __version__
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
    """Return the number of processors this process may use: by its affinity, and by the quota of its container."""
    if hasattr(os, "process_cpu_count"):
        count = os.process_cpu_count()
    else:
        count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(filter(None, (count, _quota())), default=1))


@functools.cache
def _quota(root: Path = Path("/")) -> int | None:
    """Return how many processors the control groups of this process grant it, rounded up; None if they set no limit."""
    quotas = []
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, group = line.split(":", 2)
        if controllers == "" or "cpu" in controllers.split(","):
            mounted = root / "sys/fs/cgroup" / ("cpu" if controllers else "")
            inner = mounted / group.strip("/")
            # A group may be seen from outside of its container: then the files at the root of the mount are its own.
            for folder in (inner, *inner.parents):
                quotas += _quota_of(folder)
                if folder == mounted:
                    break
    return min(quotas, default=None)


def _quota_of(group: Path) -> list[int]:
    """Return the quota of one control group, by the second or first version, in a list, empty without one."""
    words = " ".join(_lines(group / "cpu.max")).split()
    if not words:
        words = [word for name in ("cfs_quota_us", "cfs_period_us") for word in _lines(group / f"cpu.{name}")]
    if len(words) == 2 and all(word.isdecimal() and int(word) for word in words):
        return [-(-int(words[0]) // int(words[1]))]
    return []


def _lines(path: Path) -> list[str]:
    try:
        return read_text(path, TEXT).splitlines()
    except (OSError, ValueError):
        return []


def installed(package: str) -> str | None:
    """Return an installed package's version, or None."""
    return _version_on(tuple(sys.path), package)


@functools.cache
def _version_on(path: tuple[str, ...], package: str) -> str | None:  # noqa: ARG001  where it is looked for
    """Return a package's version; the files that say it are read once, since every record of a result has versions."""
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
        # Not that of the installed metadata, which an editable installation keeps while its sources change.
        "probeline": __version__,
    }


VISIBLE = "CUDA_VISIBLE_DEVICES"
"""The variable that lists the GPUs that CUDA shows to a process; ``cuda:1`` is the second one of the list."""


@functools.cache
def _gpus(root: Path = Path("/")) -> tuple[tuple[str, str], ...]:
    """Return the names of the NVIDIA GPUs, as torch has them too, each with its UUID."""
    gpus = []
    for file in sorted((root / "proc/driver/nvidia/gpus").glob("*/information")):
        facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in _lines(file))}
        if "Model" in facts:
            gpus.append((facts["Model"], facts.get("GPU UUID", "")))
    return tuple(gpus)


def _visible_gpus(root: Path = Path("/")) -> list[str]:
    """Return the names of the GPUs that CUDA shows to this process, in its order; ``GPU`` for a part of one."""
    gpus = _gpus(root)
    listed = os.environ.get(VISIBLE)
    if listed is None:
        return [name for name, _ in gpus]
    names: list[str] = []
    for word in (word.strip() for word in listed.split(",")):
        if re.fullmatch(r"\d{1,4}", word) and int(word) < len(gpus):
            names.append(gpus[int(word)][0])
        elif word.startswith("MIG-"):
            names.append("GPU")
        elif word.startswith("GPU-") and (same := [name for name, uuid in gpus if uuid.startswith(word)]):
            names.append(same[0])
        else:  # CUDA shows none of those behind a wrong one either
            break
    return names


def likely_device(option: str) -> str:
    """Return the device that an option most likely stands for on this machine, without importing torch."""
    kind, _, index = option.partition(":")
    if kind in ("auto", "cuda") and _driver():
        gpus = _visible_gpus()[int(index or 0) :]
        if kind == "cuda" or gpus or VISIBLE not in os.environ:
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
