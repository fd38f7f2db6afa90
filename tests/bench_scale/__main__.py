"""How the cache grows with the rows of an entry, and what a folder of many files costs a later stage.

    python tests/bench_scale [--rows 10000 100000 ...] [--files N] [--only OPERATION ...] [--out FILE]

Each operation runs in a process of its own. A slope is that of log seconds over log rows between the two largest
sizes: 1 is linear.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from probeline.environment import environment

sys.path.insert(0, str(Path(__file__).parent))

import operations


def ask(operation: str, rows: int, cache: Path) -> dict[str, Any]:
    """Run one operation in a fresh process and return what it took."""
    command = [sys.executable, operations.__file__, operation, str(rows), str(cache)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    print(
        f"  {operation} {rows:,}: {found['cpu_seconds']:.2f} s of CPU, {found['wall_seconds']:.2f} s, "
        f"+{found['bytes'] / 1e6:.0f} MB",
        flush=True,
    )
    return found


def grow(sizes: list[int], only: list[str]) -> dict[str, Any]:
    """Measure the operations at each size."""
    found: dict[str, Any] = {operation: {} for operation in only}
    for rows in sizes:
        with tempfile.TemporaryDirectory() as place:
            needed = only if "begin" in only or only == ["order"] else ["begin", *only]
            for operation in needed:
                result = ask(operation, rows, Path(place) / "cache")
                if operation in only:
                    found[operation][str(rows)] = result
    for by_size in found.values():
        if len(sizes) > 1:
            by_size["slope"] = slope([(rows, by_size[str(rows)]["cpu_seconds"]) for rows in sizes[-2:]])
    return found


def slope(points: list[tuple[int, float]]) -> float:
    """Return how the logarithm of the seconds grows with that of the rows."""
    (few, short), (many, long) = points
    return math.log(max(long, 1e-6) / max(short, 1e-6)) / math.log(many / few)


def make_files(folder: Path, count: int) -> None:
    """Write so many images of 8 x 8 pixels, of two classes, a thousand to a folder."""
    random = np.random.default_rng(0)
    for number in range(count):
        name = "dark" if number % 2 else "light"
        place = folder / name / f"{name}-{number // 2000:04d}"
        if number % 2000 < 2:
            place.mkdir(parents=True)
        pixels = random.integers(0, 128, (8, 8, 3), np.uint8) + np.uint8(0 if number % 2 else 127)
        Image.fromarray(pixels).save(place / f"{number}.png")


def later_probe(files: int) -> dict[str, Any]:
    """Return what `probeline probe` takes on a folder of files once its work is done."""
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        make_files(place / "data", files)
        time.sleep(3)  # the memo remembers no file that has just been written
        command = [
            *(sys.executable, "-c", "from probeline.cli import entry_point; entry_point()", "probe"),
            *("--dataset", f"folder:{place / 'data'}", "--backbone", "squeezenet1_1", "--weights", "none"),
            *("--image-size", "32", "--sgd", "lr=1e-2", "epochs=1"),
            *("--cache", str(place / "cache"), "--reports", str(place / "reports")),
        ]
        runs = [run(command) for _ in range(3)]
        return {"files": files, "first": runs[0], "later": runs[1:]}


def run(command: list[str]) -> dict[str, Any]:
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    found = {
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "wall_seconds": time.perf_counter() - began,
        "peak_bytes": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
    }
    print(
        f"  probe: {found['cpu_seconds']:.1f} s of CPU, {found['wall_seconds']:.1f} s, "
        f"{found['peak_bytes'] / 1e6:.0f} MB",
        flush=True,
    )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_280_000, 10_000_000])
    parser.add_argument("--files", type=int, default=200_000)
    parser.add_argument("--only", nargs="+", choices=operations.OPERATIONS, default=list(operations.OPERATIONS))
    parser.add_argument("--out", type=Path, default=Path("reports/bench-scale.json"))
    options = parser.parse_args()
    found: dict[str, Any] = {"environment": environment(), "operations": grow(sorted(options.rows), options.only)}
    if options.files:
        found["later probe"] = later_probe(options.files)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=1) + "\n")
    print(f"written: {options.out}")


main()
