"""All checks at full size: ``python tests/faults``. Exits with 1 where anything is lost."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from faults import (
    archives,
    artifacts,
    bombs,
    command_line,
    damage,
    every_call,
    folder_trees,
    foreign_text,
    kills,
    machine,
    pictures,
    power,
    readers,
    records,
    refusals,
    removals,
    small_disk,
    special_files,
    trainings,
    weights,
    writers,
)
from faults.figures import Figures
from probeline.environment import environment

SEED = 0


@dataclass(frozen=True)
class Check:
    """A check at full size.

    Attributes
    ----------
    run : callable
        Takes the count and the seed.
    count : int or None
        None for all that there is to try.
    """

    run: Callable[[Any, int], Figures]
    count: int | None

    @property
    def name(self) -> str:
        return f"{self.run.__module__.rpartition('.')[2]}.{self.run.__name__}"


def run_plain_with_checksums(count: int | None, seed: int) -> Figures:
    """Read with plain h5py what it wrote with its own checksums."""
    return damage.run_plain(count, seed, checksums=True)


CHECKS = (
    Check(kills.run, 1000),
    Check(every_call.run, None),
    Check(command_line.run, 30),
    Check(damage.run, None),
    Check(damage.run_cuts, None),
    Check(damage.run_plain, None),
    Check(run_plain_with_checksums, None),
    Check(refusals.run, None),
    Check(small_disk.run, None),
    Check(removals.run, 2000),
    Check(writers.run, 200),
    Check(writers.run_shared, 500),
    Check(writers.run_between, 1000),
    Check(writers.run_other_bits, 1000),
    Check(power.run, 1000),
    Check(readers.run, 100),
    Check(readers.run_fresh, 10),
    Check(archives.run, 2000),
    Check(artifacts.run, 2000),
    Check(artifacts.run_files, 1000),
    Check(pictures.run, 20_000),
    Check(special_files.run, None),
    Check(folder_trees.run, 2000),
    Check(foreign_text.run, 5_000),
    Check(bombs.run, 178),
    Check(weights.run, 2000),
    Check(machine.run, 500),
    Check(records.run_scores, 3000),
    Check(records.run_reports, 3500),
    Check(records.run_cache, 2500),
    Check(records.run_files, 1000),
    Check(trainings.run, 50),
)


def main(arguments: list[str] | None = None, checks: Sequence[Check] = CHECKS) -> int:
    """Run the checks, print the result of each, and write the report."""
    parser = argparse.ArgumentParser(prog="python tests/faults", description=__doc__)
    parser.add_argument("--reports", type=Path, default=Path("reports"), help="faults/report.md and .json go there")
    parser.add_argument("--only", nargs="+", metavar="CHECK", help="one of: " + ", ".join(c.name for c in checks))
    options = parser.parse_args(arguments)
    done: dict[str, tuple[Figures, float]] = {}
    for check in checks:
        if options.only and check.name not in options.only:
            continue
        began = time.perf_counter()
        try:
            figures = check.run(check.count, SEED)
        except Exception as error:
            figures = Figures(check.name, 0, 0, 1, f"the check itself failed: {error!r}")
        done[check.name] = figures, time.perf_counter() - began
        sys.stdout.write(f"{done[check.name][1]:6.0f} s  {row(figures)}\n")
        sys.stdout.flush()
    folder = options.reports / "faults"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.md").write_text(report(done), encoding="utf-8")
    (folder / "report.json").write_text(json.dumps(record(done), indent=1) + "\n", encoding="utf-8")
    lost = sum(figures.lost for figures, _ in done.values() if not figures.control)
    sys.stdout.write(f"{lost} lost; {folder / 'report.md'}\n")
    return 1 if lost else 0


def row(figures: Figures) -> str:
    """Return a row of the table."""
    cells = (figures.name, f"{figures.tried:,}", f"{figures.held:,}", f"{figures.lost:,}", figures.note)
    return "| " + " | ".join(cell.replace("|", "/").replace("\n", " ") for cell in cells) + " |"


def report(done: Mapping[str, tuple[Figures, float]]) -> str:
    """Return the report as Markdown."""
    ours = [figures for figures, _ in done.values() if not figures.control]
    controls = [figures for figures, _ in done.values() if figures.control]
    tried, lost = (sum(getattr(figures, name) for figures in ours) for name in ("tried", "lost"))
    where = ", ".join(f"{name} {value}" for name, value in environment().items())
    lines = [
        "# What the embedding store survives",
        "",
        f"{tried:,} faults, {lost:,} lost; seed {SEED}, {sum(seconds for _, seconds in done.values()):,.0f} s.",
        "",
        "Held: refused by name, or withstood and, after the next run, equal bit for bit to what one undisturbed writer",
        "leaves. Lost: anything else, be it a wrong row accepted, a row gone, a traceback, a crash or a hang.",
        "",
        "| fault | tried | held | lost | how |",
        "|---|---:|---:|---:|---|",
        *map(row, ours),
        "",
        *(
            [
                "The same flips, read by h5py without a proof:",
                "",
                "| reader | tried | refused or harmless | lost | how |",
                "|---|---:|---:|---:|---|",
                *map(row, controls),
                "",
            ]
            if controls
            else []
        ),
        f"Measured on: {where}.",
        "",
    ]
    return "\n".join(lines)


def record(done: Mapping[str, tuple[Figures, float]]) -> dict[str, Any]:
    """Return the report as JSON values."""
    return {
        "seed": SEED,
        "environment": dict(environment()),
        "checks": [
            {"check": name, "seconds": round(seconds, 1), **dataclasses.asdict(figures)}
            for name, (figures, seconds) in done.items()
        ],
    }


if __name__ == "__main__":
    sys.exit(main())
