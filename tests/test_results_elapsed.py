import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from probeline.format import seconds
from probeline.results import elapsed as module
from probeline.results.elapsed import Elapsed, Stopwatch


def spin(wanted: float) -> None:
    """Keep a core busy for so many seconds of the processor."""
    before = time.thread_time()
    while time.thread_time() - before < wanted:
        pass


def test_what_two_parts_took_is_added() -> None:
    both = Elapsed(2.0, 3.0, 1.0) + Elapsed(1.0, 1.0, 1.0)
    assert both == Elapsed(3.0, 4.0, 2.0)
    assert both.waited_share == pytest.approx(2 / 6)
    unknown = both + Elapsed(1.0, 1.0, None)
    assert (unknown.waited, unknown.waited_share) == (None, None)
    assert Elapsed().waited_share is None


def test_the_share_is_of_the_threads_that_wanted_a_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def has_waited(**nanoseconds: int) -> None:
        for thread, waited in nanoseconds.items():
            (tmp_path / thread).mkdir(exist_ok=True)
            (tmp_path / thread / "schedstat").write_text(f"0 {waited} 1\n")

    monkeypatch.setattr(module, "_TASKS", tmp_path)
    monkeypatch.setattr(time, "process_time", iter([10.0, 16.0]).__next__)
    has_waited(one=5 * 10**9, two=10**9)
    watch = Stopwatch()
    (tmp_path / "ended").mkdir()  # between the listing and the reading
    has_waited(one=6 * 10**9, three=10**9)
    elapsed = watch.read()
    assert (elapsed.computed, elapsed.waited, elapsed.waited_share) == (6.0, 2.0, 0.25)


@pytest.mark.parametrize("content", ["", "no numbers here", None])
def test_a_system_that_does_not_say_leaves_it_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    monkeypatch.setattr(module, "_TASKS", tmp_path / "task")
    if content is not None:
        (tmp_path / "task" / "1").mkdir(parents=True)
        (tmp_path / "task" / "1" / "schedstat").write_text(content)
    elapsed = Stopwatch().read()
    assert (elapsed.waited, elapsed.waited_share) == (None, None)
    assert elapsed.seconds >= 0


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="the system does not say how long threads wait")
def test_programs_on_the_same_core_make_each_other_wait() -> None:
    program = (
        "import os, sys, time; os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]); print(flush=True)\n"
        "while True: pass"
    )
    others = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) for _ in range(3)]
    try:
        for other in others:
            assert other.stdout is not None
            other.stdout.readline()
        found: list[Elapsed] = []
        thread = threading.Thread(target=on_the_first_core, args=(lambda: spin(0.1), found))
        thread.start()
        thread.join()
    finally:
        for other in others:
            other.kill()
            other.communicate()
    # Four programs on a core have a quarter of it each; what else the machine does makes the share larger.
    share = found[0].waited_share
    assert share is not None
    assert share > 0.5


def on_the_first_core(work: Callable[[], None], found: list[Elapsed]) -> None:
    import os

    os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
    watch = Stopwatch()
    work()
    found.append(watch.read())


def test_seconds_are_marked_from_a_tenth_on() -> None:
    assert [seconds(12.6, waited) for waited in (None, 0.0, 0.09, 0.1, 0.9)] == ["12.6"] * 3 + ["≈ 12.6"] * 2
