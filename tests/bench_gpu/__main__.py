"""What a GPU gives: one command of less than ten minutes. ``python tests/bench_gpu [--device cuda] [--out FOLDER]``

Ceilings of the device, the bare pass of a net (eager, as a CUDA graph, compiled) by precision, decoding by threads,
extraction, heads on the device and on the CPU at equal objectives, and the trainer and a plain loop with autocast.
Each part runs in a process of its own with a share of the time; what fails is recorded and stops nothing else.
``--device cpu --quick`` takes every path at tiny sizes; its figures mean nothing.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench_gpu import machine, work
from bench_gpu.plan import Plan, Row, make_images, quick
from bench_gpu.report import describe, markdown, ratios
from bench_gpu.runner import Part, Result, run_parts

PARTS: dict[str, tuple[float, Part]] = {
    "hardware": (0.5, machine.hardware),
    "ceilings": (1.0, machine.ceilings),
    "decode": (1.5, work.decode),
    "forward": (4.0, machine.forward),
    "extraction": (4.0, work.extraction),
    "heads": (3.0, work.heads),
    "training": (4.0, work.training),
}
"""Each with its weight: what it leaves of its time goes to those behind it."""

SECONDS = 560.0
"""For all parts together, so that the command ends within ten minutes."""


def tell(part: str, row: Row) -> None:
    found = f"{row['value']:,.4g} {row['unit']}" if "value" in row else row["error"]
    print(f"{part}: {describe(row)}: {found}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to take every path")
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts, of {', '.join(PARTS)}")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for all parts together")
    parser.add_argument("--out", type=Path, default=Path("reports/bench-gpu"), help="folder of the two files")
    options = parser.parse_args()
    chosen = options.only.split(",")
    if unknown := [name for name in chosen if name not in PARTS]:
        parser.error(f"no such part: {', '.join(unknown)}")
    parts = {name: PARTS[name] for name in PARTS if name in chosen or name == "hardware"}
    options.out.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    results: dict[str, Result] = {}
    with tempfile.TemporaryDirectory() as folder:
        plan = quick(options.device, Path(folder)) if options.quick else Plan(options.device, Path(folder))
        make_images(plan)
        for name, result in run_parts(parts, plan, options.seconds - (time.perf_counter() - began), tell):
            results[name] = result
            print(f"{name}: {result.ended} after {result.seconds:.0f} s", flush=True)
            write(options.out, plan, results, is_quick=options.quick)
            if name == "hardware" and not result.rows:
                return 1  # there is no such device: nothing else could run
    print(f"written: {options.out}/bench-gpu.json and .md, {time.perf_counter() - began:.0f} s")
    return int(any(result.ended != "complete" and result.ended != "out of time" for result in results.values()))


def write(folder: Path, plan: Plan, results: dict[str, Result], *, is_quick: bool) -> None:
    """Write both files, after each part: what was measured is kept whatever comes."""
    hardware = next(iter(results["hardware"].rows), {})
    facts = {name: value for name, value in hardware.items() if name not in ("what", "value", "unit")}
    where = facts.get("environment", {})
    title = f"{where.get('device', plan.device)}, torch {where.get('torch')}, {where.get('processor')}"
    compared = ratios(results)
    record = {
        "hardware": facts,
        "quick": is_quick,
        "plan": {**dataclasses.asdict(plan), "folder": ""},
        "ratios": compared,
        "parts": {name: dataclasses.asdict(result) for name, result in results.items()},
    }
    (folder / "bench-gpu.json").write_text(json.dumps(record, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    text = markdown({"title": title + (" (quick: the figures mean nothing)" if is_quick else "")}, results, compared)
    (folder / "bench-gpu.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
