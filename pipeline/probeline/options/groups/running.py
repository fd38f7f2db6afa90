"""Options of how a run is done and watched: where it computes, who shares the work, where results are kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from probeline.options.crew import CREWS
from probeline.options.table import MOST, option

DEVICES = ("auto", "cpu", "cuda", "cuda:N", "mps")


@dataclass(frozen=True)
class ComputeOptions:
    """Where and how the backbone runs."""

    device: str = option("auto", "where the net runs", metavar="auto|cpu|cuda[:N]|mps")
    batch_size: int | None = option(None, "images per batch", metavar="N", within=(1, MOST), shown_default="by device")
    workers: int | None = option(
        None,
        "threads that decode, and on a CPU run the net",
        metavar="N",
        within=(1, 1024),
        shown_default="all cores",
    )
    decode_gb: float | None = option(
        None,
        "memory for decoding in all workers together",
        metavar="GB",
        within=(0.001, 1e6),
        shown_default="a quarter",
        local=True,
    )
    canary: int | None = option(
        None,
        "cached rows to extract again as a check",
        metavar="K",
        within=(0, MOST),
        shown_default="8; 0 for none",
    )


@dataclass(frozen=True)
class ShareOptions:
    """Several processes on one extraction."""

    share: str | None = option(
        None,
        "which of N processes this is, counted from 1: each takes its part of the shards, then what is left",
        metavar="I/N",
        shown_default="as torchrun, SLURM, Kubernetes or SkyPilot says",
        local=True,
    )
    store: str | None = option(
        None, "share shards with other machines: s3://, gs:// or az://BUCKET/PREFIX, or DIR", metavar="URL", local=True
    )
    crew: str | None = option(
        None,
        "work in several processes, started here, on Ray or as a SLURM array, until nothing is missing; not with "
        "--share, and refused in a process that a launcher has numbered",
        metavar="|".join(CREWS),
        choices=tuple(CREWS),
        local=True,
    )
    crew_size: int | None = option(None, "workers of the crew", metavar="N", within=(1, 10_000), local=True)
    crew_with: tuple[str, ...] = option(
        (),
        "what each worker gets: "
        + "; ".join(f"of {name} {', '.join(kind.settings)}" for name, kind in CREWS.items() if kind.settings),
        metavar="NAME=VALUE",
        local=True,
    )


@dataclass(frozen=True)
class FolderOptions:
    """Where results are kept."""

    cache: Path = option(Path("cache"), "folder of the cached features", metavar="DIR", local=True)
    reports: Path = option(Path("reports"), "folder of scores and reports", metavar="DIR", local=True)


@dataclass(frozen=True)
class MaintenanceOptions:
    """Looking after the cache."""

    repair: bool = option(False, "put corrupt files aside and extract them again", local=True)
    yes: bool = option(False, "remove or replace without asking", local=True)
    sha256: str | None = option(
        None, "expected sha256 of the file to import, or of an artifact's artifact.json", metavar="HEX", local=True
    )


@dataclass(frozen=True)
class RunOptions:
    """What is run, and what is printed."""

    recipe: str | None = option(None, "steps and options of a recipe; other options override it", metavar="NAME|FILE")
    dry_run: bool = option(False, "print what would run, what is cached and about how long it takes", local=True)
    json: bool = option(False, "print one JSON object on standard output", local=True)
    quiet: bool = option(False, "print results and warnings only", short="-q", local=True)
    verbose: bool = option(False, "print details too, such as every skipped file", short="-v", local=True)
