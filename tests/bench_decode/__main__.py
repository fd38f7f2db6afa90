"""How much of decoding holds the interpreter's lock, and what threads and processes make of the same photos.

    python tests/bench_decode [--data FOLDER] [--rounds N] [--workers 1 2] [--out FILE]

The share of time with the lock needs a C compiler and the headers of CPython 3.11 or newer; it is null without them.
Rates are of decoding and resizing to 224 pixels without a net, in turn within each round. The best round is that which
other programs disturbed least; CPU time includes the start of processes.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import resource
import shutil
import statistics
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from probeline.data.folders.contents import HEAD, format_of
from probeline.data.pixels.facts import find_oddities
from probeline.data.pixels.loading import ordered, read_batch
from probeline.data.pixels.processes import DecodingProcesses
from probeline.data.pixels.views import view_by
from probeline.environment import environment
from probeline.identity import digest_bytes
from probeline.images import ImageFiles, Preprocess
from probeline.options.settings import Settings
from probeline.types import AnyArray, IntArray

PREPROCESS = Preprocess(256, 224, "bilinear", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
BATCH = 64


class Photos:
    """The photos below a folder, read again and again."""

    def __init__(self, folder: Path, least: int) -> None:
        paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        paths = [path for path in paths if format_of(path.read_bytes()[:HEAD]) == "JPEG"]
        self.count = len(paths)
        paths *= -(-least // len(paths))
        self.files = ImageFiles(paths, tuple(digest_bytes(path.read_bytes()) for path in paths))
        self.batches = np.array_split(np.arange(len(paths)), len(paths) // BATCH)

    def __len__(self) -> int:
        return len(self.files.paths)

    def read(self, rows: IntArray) -> AnyArray:
        def notice(_: int, pixels: Any, view: Any) -> None:
            find_oddities(pixels, view)

        pixels = read_batch(self.files, rows, view_by(PREPROCESS, None, self.files.content), PREPROCESS, notice)
        assert isinstance(pixels, np.ndarray)
        return pixels

    def by_threads(self, workers: int) -> float:
        """Return the seconds that so many threads take."""
        started = time.perf_counter()
        for _ in ordered(self.read, self.batches, workers):
            pass
        return time.perf_counter() - started

    def by_processes(self, workers: int) -> float:
        """Return the seconds that so many processes take once they have started; each batch is copied as for a GPU."""
        with DecodingProcesses(workers, max(map(len, self.batches)), PREPROCESS, None) as decoders:

            def load(rows: IntArray) -> AnyArray:
                with decoders.read(self.files, rows, lambda *_: None) as pixels:
                    assert isinstance(pixels, np.ndarray)
                    return pixels.copy()

            list(ordered(load, [np.arange(1)] * (2 * workers), workers))
            started = time.perf_counter()
            for _ in ordered(load, self.batches, workers, stop=decoders.stop):
                pass
            return time.perf_counter() - started


def wait_until_idle(seconds: float) -> None:
    """Wait until the processors have little else to do, but not for longer than so many seconds; Linux only."""

    def times() -> list[int]:
        return list(map(int, Path("/proc/stat").read_text(encoding="utf-8").split("\n", 1)[0].split()[1:]))

    until = time.monotonic() + seconds
    while time.monotonic() < until:
        before = times()
        time.sleep(0.3)
        spent = [now - then for now, then in zip(times(), before, strict=True)]
        if spent[3] > 0.9 * sum(spent):
            return


def cpu_seconds() -> float:
    """Return the CPU time of this process and of its children that have ended."""
    own, ended = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime


def start_up(photos: Photos) -> float:
    """Return the CPU seconds of a process that decodes one image."""
    before = cpu_seconds()
    one, nothing = np.arange(1), lambda *_: None
    with DecodingProcesses(1, 1, PREPROCESS, None) as decoders, decoders.read(photos.files, one, nothing):
        pass
    return cpu_seconds() - before


def lock_share(work: Callable[[], object]) -> float | None:
    """Return the share of the time that some work of one thread holds the interpreter's lock."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "probe.so"
        source = Path(__file__).with_name("lock_probe.c")
        command = [compiler, "-O1", "-shared", "-fPIC", f"-I{sysconfig.get_path('include')}", str(source), "-pthread"]
        if subprocess.run([*command, "-o", str(library)], capture_output=True, check=False).returncode:
            return None
        probe = ctypes.CDLL(str(library))
    probe.end.restype = ctypes.c_double
    probe.begin()
    work()
    share: float = probe.end()
    return share


def spin() -> None:
    """Hold the lock for half a second."""
    until = time.perf_counter() + 0.5
    while time.perf_counter() < until:
        pass


def threads_served(share: float, threads: int) -> float:
    """Return how many of some threads work at a time, if each needs a lock for a share of its work.

    Mean value analysis of a closed queue with one server (Reiser and Lavenberg 1980), as if on as many processors.
    """
    waiting = served = 0.0
    for count in range(1, threads + 1):
        at_lock = share * (1 + waiting)
        served = count / (1 - share + at_lock)
        waiting = served * at_lock
    return served


def main() -> None:
    """Measure, print a line for each number and write all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Settings().data.data)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--patience", type=float, default=0, help="seconds to wait for an idle machine each time")
    parser.add_argument("--out", type=Path, default=Path("reports/bench-decode.json"))
    options = parser.parse_args()
    photos = Photos(options.data / "hymenoptera_data", options.images)
    photos.by_threads(1)
    shares = [lock_share(lambda: photos.by_threads(1)) for _ in range(3)]
    share = None if None in shares else statistics.median(filter(None, shares))
    served = None if share is None else {str(n): threads_served(share, n) for n in (1, 2, 4, 6, 8, 16, 32)}
    found: dict[str, Any] = {
        "photos": photos.count,
        "images": len(photos),
        "lock_share": share,
        "lock_share_of_python_loop": lock_share(spin),
        "threads_served": served,
        "start_up_cpu_seconds": statistics.median(start_up(photos) for _ in range(5)),
        "rounds": [],
        "environment": environment("CPU"),
    }
    for _ in range(options.rounds):
        by_name: dict[str, Any] = {}
        for workers in options.workers:
            for kind, work in (("threads", photos.by_threads), ("processes", photos.by_processes)):
                wait_until_idle(options.patience)
                before = cpu_seconds()
                seconds = work(workers)
                name = f"{workers} {kind}"
                by_name[name] = {
                    "images_per_second": len(photos) / seconds,
                    "cpu_ms_per_image": (cpu_seconds() - before) / len(photos) * 1e3,
                }
        found["rounds"].append(by_name)
        print({name: round(value["images_per_second"]) for name, value in by_name.items()}, flush=True)
    for name in found["rounds"][0]:
        rates, cpu = (
            [one[name][what] for one in found["rounds"]] for what in ("images_per_second", "cpu_ms_per_image")
        )
        print(f"{name}: at best {max(rates):.0f} images/s; {statistics.median(cpu):.2f} ms of CPU per image")
    print({name: value for name, value in found.items() if name not in ("rounds", "environment")})
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
