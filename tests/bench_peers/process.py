"""One contender in a process of its own: what the whole process takes, and what its work takes after the imports."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

CHILD = Path(__file__).parent / "child.py"


class Clock:
    """Seconds since the last lap, by the wall and of the processor, those of children that have ended included."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), _cpu_seconds()

    def lap(self) -> dict[str, float]:
        wall, cpu = time.perf_counter(), _cpu_seconds()
        found = {"seconds": wall - self._wall, "cpu_seconds": cpu - self._cpu}
        self._wall, self._cpu = wall, cpu
        return found


def _cpu_seconds() -> float:
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def run_process(command: list[str]) -> dict[str, Any]:
    """Run a command and return its seconds, its peak memory, its exit status and the last 4,000 characters it wrote."""
    clock = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return {
        "seconds": time.perf_counter() - clock,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "peak_bytes": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
        "status": process.returncode,
        "output": output[-4000:],
    }


def ask(contender: str, folder: Path, **options: Any) -> dict[str, Any]:
    """Run one contender, ``module.function``, in a fresh process; return what it found and what the process took.

    One that fails is an ``error`` with the end of what it wrote, so that it does not stop the others.
    """
    answer = folder / "answer.json"
    answer.unlink(missing_ok=True)
    command = [sys.executable, str(CHILD), contender, str(folder), json.dumps(options)]
    whole = run_process(command)
    output = whole.pop("output")
    if whole["status"] == -signal.SIGKILL:
        print(f"  {contender} was killed", flush=True)
        return {"process": whole, "error": "killed"}
    if whole["status"] or not answer.exists():
        print(f"  {contender} failed ({whole['status']}): {output.strip().splitlines()[-1:]}", flush=True)
        return {"process": whole, "error": output[-1500:]}
    found: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    shown = {**found, **{f"process_{name}": value for name, value in whole.items()}}
    words = ", ".join(f"{name} {value:.6g}" for name, value in shown.items() if isinstance(value, float | int))
    print(f"  {contender}: {words}", flush=True)
    return {**found, "process": whole}
