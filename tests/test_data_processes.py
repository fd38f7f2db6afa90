"""Processes that decode: the pixels and errors of threads, whatever dies, and nothing left behind."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from probeline.data.pixels import processes
from probeline.data.pixels.facts import find_oddities
from probeline.data.pixels.loading import Unreadable, ordered, read_batch
from probeline.data.pixels.processes import DecodingProcesses, count_processes, requests_for
from probeline.data.pixels.views import view_by
from probeline.files.memory import DECODING
from probeline.identity import digest_bytes
from probeline.images import Decoding, ImageArray, ImageFiles, ImageItems, Images, PixelArray, Preprocess, View
from probeline.types import IntArray

Facts = dict[int, dict[str, Any]]

VIEW = View(1, flips=True)


def noise(*shape: int, top: int = 256) -> np.ndarray[Any, Any]:
    return np.random.default_rng(len(shape)).integers(0, top, shape)


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> ImageFiles:
    """Images of every kind that the decode policy has a rule for."""
    root = tmp_path_factory.mktemp("odd")
    rgb = Image.fromarray(noise(60, 47, 3).astype(np.uint8))
    alpha = Image.fromarray(noise(50, 50, 4).astype(np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    rgb.save(root / "turned.jpg", exif=exif)
    rgb.save(root / "progressive.jpg", progressive=True)
    rgb.convert("CMYK").save(root / "cmyk.jpg")
    rgb.convert("L").save(root / "grey.jpg")
    rgb.quantize(16).save(root / "palette.png", transparency=3)
    rgb.convert("1").save(root / "bits.png")
    rgb.save(root / "lossless.webp", lossless=True)
    rgb.save(root / "plain.tif")
    rgb.save(root / "plain.ppm")
    rgb.resize((480, 40)).save(root / "long.bmp")
    Image.fromarray(noise(4, 500, 3).astype(np.uint8)).save(root / "longer.png")
    alpha.save(root / "alpha.png")
    Image.new("RGBA", (40, 40)).save(root / "transparent.png")
    Image.new("RGB", (40, 40), (7, 8, 9)).save(root / "flat.png")
    Image.fromarray(noise(44, 44, top=1 << 12).astype(np.uint16)).save(root / "deep.png")
    paths = sorted(root.iterdir())
    return ImageFiles(paths, tuple(digest_bytes(path.read_bytes()) for path in paths))


@pytest.fixture
def two(preprocess: Preprocess) -> Iterator[DecodingProcesses]:
    with DecodingProcesses(2, 32, preprocess, None) as two:
        yield two


def by_thread(
    images: Images, rows: IntArray, preprocess: Preprocess, view: View | None = None
) -> tuple[PixelArray | Unreadable, Facts]:
    assert not isinstance(images, ImageArray)
    facts: Facts = {}

    def notice(row: int, pixels: Any, seen: PixelArray) -> None:
        if odd := find_oddities(pixels, seen):
            facts[row] = odd

    return read_batch(images, rows, view_by(preprocess, view, images.content), preprocess, notice), facts


def by_process(decoders: DecodingProcesses, images: Images, rows: IntArray) -> tuple[PixelArray | Unreadable, Facts]:
    facts: Facts = {}
    with decoders.read(images, rows, facts.__setitem__) as pixels:
        return pixels if isinstance(pixels, Unreadable) else pixels.copy(), facts


def as_items(files: ImageFiles) -> ImageItems:
    """Return the same images as archives and tables have them: encoded, behind a function."""
    data = [path.read_bytes() for path in files.paths]
    return ImageItems(lambda row: data[row], files.content, [path.name for path in files.paths], files.decoding)


def has_ended(process_id: int) -> bool:
    """Return whether a process is gone, or dead and not yet asked for its exit code by whoever inherited it."""
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(process_id)], capture_output=True, text=True, check=False)
    return done.stdout.strip()[:1] in ("", "Z")


def wait_until_ended(process_ids: list[int], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not all(map(has_ended, process_ids)):
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize("view", [None, VIEW], ids=["crop", "view"])
@pytest.mark.parametrize("decoding", [Decoding(), Decoding("white", "12")], ids=["default", "white"])
def test_pixels_and_facts_are_those_of_threads(
    odd: ImageFiles, preprocess: Preprocess, decoding: Decoding, view: View | None
) -> None:
    files = ImageFiles(odd.paths, odd.content, decoding)
    rows = np.random.default_rng(0).permutation(len(files.paths))
    expected, facts = by_thread(files, rows, preprocess, view)
    assert isinstance(expected, np.ndarray)
    assert len(facts) >= (view is None) * 3, "some images are odd"
    with DecodingProcesses(1, len(rows), preprocess, view) as decoders:
        for images in (files, as_items(files)):
            assert None not in requests_for(images, rows)
            pixels, found = by_process(decoders, images, rows)
            assert np.array_equal(pixels, expected)
            assert found == facts
        assert not decoders.take_deaths()
        assert not any(map(has_ended, decoders.process_ids)), "it was the process that decoded"


def test_encoded_images_are_sent_in_parts(
    odd: ImageFiles, preprocess: Preprocess, two: DecodingProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = as_items(odd)
    rows = np.arange(len(odd.paths))
    monkeypatch.setattr(processes, "MOST_SENT", 4000)
    requests = list(requests_for(items, rows))
    assert len(requests) > 2
    assert [path.read_bytes() for path in odd.paths] == [data for one in requests if one for data in one.encoded]
    assert all(sum(map(len, one.encoded[:-1])) <= 4000 for one in requests if one), "and one more"
    expected, facts = by_thread(items, rows, preprocess)
    pixels, found = by_process(two, items, rows)
    assert np.array_equal(pixels, expected)
    assert found == facts
    broken = ImageItems(lambda row: b"none" if row == rows[-2] else items.read(row), items.content, items.names)
    for images in (broken, ImageItems(broken.read, ("0" * 64,) * len(rows), items.names)):
        told, also = by_process(two, images, rows)[0], by_thread(images, rows, preprocess)[0]
        assert isinstance(told, Unreadable)
        assert isinstance(also, Unreadable)
        assert told.rows == also.rows
        assert list(map(str, told.errors)) == list(map(str, also.errors))


def test_the_process_decodes_and_not_the_thread_that_asks(
    odd: ImageFiles, two: DecodingProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError("decoded here")

    monkeypatch.setattr(processes, "read_batch", forbidden)
    rows = np.arange(len(odd.paths))
    assert isinstance(by_process(two, odd, rows)[0], np.ndarray)
    opened = ImageItems(lambda _: Image.new("RGB", (40, 40)), odd.content, odd.content)
    with pytest.raises(AssertionError, match="decoded here"):
        by_process(two, opened, rows)


def test_batches_come_in_order_from_several_processes(
    odd: ImageFiles, preprocess: Preprocess, two: DecodingProcesses
) -> None:
    batches = [np.random.default_rng(seed).permutation(len(odd.paths))[: 3 + seed % 9] for seed in range(20)]
    found = list(ordered(lambda rows: by_process(two, odd, rows), batches, 2, stop=two.stop))
    for (rows, result), batch in zip(found, batches, strict=True):
        assert rows is batch
        expected, facts = by_thread(odd, batch, preprocess)
        assert np.array_equal(result[0], expected)
        assert result[1] == facts


def test_what_cannot_be_read_is_said_in_the_same_words(
    odd: ImageFiles, preprocess: Preprocess, two: DecodingProcesses, tmp_path: Path
) -> None:
    photo = tmp_path / "photo.jpg"
    Image.fromarray(noise(80, 80, 3).astype(np.uint8)).save(photo)
    data = photo.read_bytes()
    faults = {"cut.jpg": data[: len(data) // 2], "text.jpg": b"no image at all", "empty.png": b"", "changed.jpg": data}
    for name, bytes_of_file in faults.items():
        (tmp_path / name).write_bytes(bytes_of_file)
    paths = [photo, *(tmp_path / name for name in faults), tmp_path / "missing.jpg", photo]
    content = [digest_bytes(path.read_bytes()) if path.exists() else "0" * 64 for path in paths]
    content[paths.index(tmp_path / "changed.jpg")] = "1" * 64
    files = ImageFiles(paths, tuple(content))
    rows = np.arange(len(paths))
    expected, _ = by_thread(files, rows, preprocess)
    found, _ = by_process(two, files, rows)
    assert isinstance(expected, Unreadable)
    assert isinstance(found, Unreadable)
    assert found.rows == expected.rows == (1, 2, 3, 4, 5)
    assert [type(error) for error in found.errors] == [type(error) for error in expected.errors]
    assert list(map(str, found.errors)) == list(map(str, expected.errors))
    assert np.array_equal(by_process(two, odd, np.arange(5))[0], by_thread(odd, np.arange(5), preprocess)[0])


def test_images_that_need_more_memory_than_a_process_has_are_decoded_here(
    preprocess: Preprocess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large, small = tmp_path / "large.png", tmp_path / "small.png"
    Image.fromarray(noise(1000, 1000, 3).astype(np.uint8)).save(large)
    Image.fromarray(noise(40, 40, 3).astype(np.uint8)).save(small)
    files = ImageFiles([small, large, small], tuple(digest_bytes(p.read_bytes()) for p in (small, large, small)))
    rows = np.arange(3)
    expected, _ = by_thread(files, rows, preprocess)
    DECODING.limit(0.008)  # each of two processes gets 2 MB, and a million pixels of RGB take 8
    here: list[list[int]] = []

    def read(images: Images, rows: IntArray, *others: Any) -> Any:
        here.append(rows.tolist())
        return read_batch(images, rows, *others)

    try:
        whole = DECODING.most
        monkeypatch.setattr(processes, "read_batch", read)
        with DecodingProcesses(2, 3, preprocess, None) as decoders:
            assert DECODING.most == whole // 2, "the other half is lent"
            pixels, _ = by_process(decoders, files, rows)
        assert DECODING.most == whole
    finally:
        DECODING.limit(None)
    assert np.array_equal(pixels, expected)
    assert here == [[1]], "only the large one"


@pytest.mark.parametrize("killed", [1, 2])
def test_what_a_killed_process_had_to_do_is_done_again(
    odd: ImageFiles, preprocess: Preprocess, two: DecodingProcesses, killed: int
) -> None:
    rows = np.arange(len(odd.paths))
    expected, _ = by_thread(odd, rows, preprocess)
    by_process(two, odd, rows)  # they have started
    for process_id in two.process_ids[:killed]:
        os.kill(process_id, signal.SIGSTOP)  # so that it dies with a batch in its hands
    threading.Timer(0.5, lambda: [os.kill(pid, signal.SIGKILL) for pid in two.process_ids[:killed]]).start()
    found = list(ordered(lambda rows: by_process(two, odd, rows)[0], [rows] * 6, 2, stop=two.stop))
    assert len(found) == 6
    assert all(np.array_equal(pixels, expected) for _, pixels in found)
    deaths = two.take_deaths()
    assert len(deaths) == killed
    assert "one of 2 processes that decode images ended by signal 9" in deaths[0]
    assert not two.take_deaths(), "each is reported once"


def test_a_process_that_cannot_start_is_like_one_that_died(
    odd: ImageFiles, preprocess: Preprocess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_PROGRAM", "raise SystemExit(7)")
    rows = np.arange(len(odd.paths))
    with DecodingProcesses(1, len(rows), preprocess, None) as decoders:
        pixels, _ = by_process(decoders, odd, rows)
        assert "with exit code 7" in decoders.take_deaths()[0]
    assert np.array_equal(pixels, by_thread(odd, rows, preprocess)[0])


def test_a_process_of_other_versions_decodes_nothing(
    odd: ImageFiles, preprocess: Preprocess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("probeline.data.pixels.worker.PREPROCESS_VERSION", 0)  # of this process alone
    rows = np.arange(len(odd.paths))
    with DecodingProcesses(1, len(rows), preprocess, None) as decoders:
        pixels, _ = by_process(decoders, odd, rows)
        assert "packages were replaced while this program ran" in decoders.take_deaths()[0]
    assert np.array_equal(pixels, by_thread(odd, rows, preprocess)[0])


@pytest.mark.parametrize("answer", ["no JSON", '{"unread": [99], "facts": {}}', '{"unread": [], "facts": {"-1": {}}}'])
def test_an_answer_that_makes_no_sense_is_no_answer(
    odd: ImageFiles, preprocess: Preprocess, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    monkeypatch.setattr(processes, "_PROGRAM", f"print({answer!r}, flush=True); import time; time.sleep(60)")
    rows = np.arange(len(odd.paths))
    with DecodingProcesses(1, len(rows), preprocess, None) as decoders:
        pixels, _ = by_process(decoders, odd, rows)
        assert decoders.take_deaths()
    assert np.array_equal(pixels, by_thread(odd, rows, preprocess)[0])


PROGRAM = """
import sys, time
from pathlib import Path
import numpy as np
from probeline.data.pixels.loading import ordered
from probeline.data.pixels.processes import DecodingProcesses
from probeline.identity import digest_bytes
from probeline.images import ImageFiles, Preprocess

path = Path(sys.argv[1])
files = ImageFiles([path] * 24, (digest_bytes(path.read_bytes()),) * 24)

def read(rows):
    with decoders.read(files, rows, lambda *_: None) as pixels:
        return pixels.copy()

started = time.monotonic()
with DecodingProcesses(2, 24, Preprocess(36, 32, "bilinear", (0.5,) * 3, (0.5,) * 3), None) as decoders:
    for number, _ in enumerate(ordered(read, (np.arange(24) for _ in range(10**6)), 2, stop=decoders.stop)):
        if number == 0:
            print(time.monotonic() - started, *decoders.process_ids, flush=True)
"""
"""A user's script without a guard of its main part, that decodes until it is ended; a batch takes seconds."""


@dataclass(frozen=True)
class Running:
    """A program that decodes."""

    program: subprocess.Popen[str]
    seconds: float
    """What its first batch took."""
    process_ids: list[int]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    large = tmp_path / "large.jpg"
    Image.fromarray(noise(1500, 1500, 3).astype(np.uint8)).resize((2000, 2000)).save(large)
    (tmp_path / "script.py").write_text(PROGRAM, encoding="utf-8")
    command = [sys.executable, str(tmp_path / "script.py"), str(large)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, start_new_session=True, **pipes) as program:
        assert program.stdout is not None
        try:
            seconds, *process_ids = program.stdout.readline().split()
            yield Running(program, float(seconds), list(map(int, process_ids)))
        finally:
            program.kill()


WITHOUT_STREAMS = """
import os, sys
from pathlib import Path
import numpy as np
from probeline.data.pixels.processes import DecodingProcesses
from probeline.identity import digest_bytes
from probeline.images import ImageFiles, Preprocess

path = Path(sys.argv[1])
files = ImageFiles([path] * 3, (digest_bytes(path.read_bytes()),) * 3)
with DecodingProcesses(1, 3, Preprocess(36, 32, "bilinear", (0.5,) * 3, (0.5,) * 3), None) as decoders:
    with decoders.read(files, np.arange(3), lambda *_: None) as pixels:
        found = pixels.mean()
    Path(sys.argv[2]).write_text(str([bool(found > 0), decoders.take_deaths()]))
"""


@pytest.mark.parametrize("closed", ["0<&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_a_program_without_standard_streams_has_processes(tmp_path: Path, closed: str) -> None:
    """As a daemon may be started: then the first files that it opens are 0, 1 and 2."""
    photo, script, answer = (tmp_path / name for name in ("photo.png", "script.py", "answer"))
    Image.fromarray(noise(40, 40, 3).astype(np.uint8)).save(photo)
    script.write_text(WITHOUT_STREAMS)
    words = shlex.join([sys.executable, str(script), str(photo), str(answer)])
    subprocess.run(["sh", "-c", f"exec {words} {closed}"], check=True, timeout=60)
    assert answer.read_text() == "[True, []]"


def test_ctrl_c_ends_all_at_once(running: Running) -> None:
    assert len(running.process_ids) == 2
    assert not any(map(has_ended, running.process_ids))
    assert [os.getsid(process_id) for process_id in running.process_ids] == running.process_ids, "out of its reach"
    started = time.monotonic()
    os.killpg(running.program.pid, signal.SIGINT)  # as a terminal does
    _, errors = running.program.communicate(timeout=60)
    assert time.monotonic() - started < running.seconds / 2, "no batch is waited for"
    assert errors.count("Traceback") == 1, "the script's own, and none of a process that decodes"
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert all(map(has_ended, running.process_ids))


def test_a_killed_parent_leaves_no_process(running: Running) -> None:
    assert not any(map(has_ended, running.process_ids))
    running.program.kill()
    running.program.wait()
    assert wait_until_ended(running.process_ids, 10 * running.seconds), "each ends with its batch"


def test_the_shared_memory_has_no_name(odd: ImageFiles, two: DecodingProcesses) -> None:
    """So none can be left over; what other programs have in the folder of shared memory is their own."""
    folder = Path("/dev/shm")  # noqa: S108
    if not folder.exists():
        pytest.skip("no folder of shared memory in this system")
    by_process(two, odd, np.arange(5))
    assert two._all[0].slab.nbytes not in [path.stat().st_size for path in folder.iterdir()]
    for process_id in two.process_ids:
        links = Path(f"/proc/{process_id}/fd").iterdir()
        slabs = {link.stat().st_ino for link in links if link.exists() and "memfd:probeline" in str(link.readlink())}
        assert len(slabs) <= 1, "its own, and no other's"


def test_processes_import_neither_torch_nor_h5py() -> None:
    program = (
        "import sys, probeline.data.pixels.worker\n"
        "heavy = {'torch', 'h5py', 'scipy', 'sklearn', 'matplotlib', 'multiprocessing', 'pyarrow'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_processes_are_for_many_images_and_more_workers_than_threads_serve(
    preprocess: Preprocess, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, many = ImageFiles([], ()), processes.LEAST_IMAGES
    least = processes.MOST_THREADS + 1
    memory = processes.LEAST_MEMORY * 2 * 16
    try:
        DECODING.limit(memory / 1e9)
        assert count_processes(files, preprocess, many, least) == least
        assert count_processes(files, preprocess, many - 1, least) == 0
        assert count_processes(files, preprocess, many, least - 1) == 0
        assert count_processes(files, preprocess, many, 100) == 16, "each with its share of the memory"
        assert count_processes(ImageArray(np.zeros((1, 8, 8, 3), np.uint8)), preprocess, many, least) == 0
        function = Preprocess(36, 32, "bilinear", (0.5,) * 3, (0.2,) * 3, function="mine")
        assert count_processes(files, function, many, least) == 0
        monkeypatch.setattr(sys, "frozen", True, raising=False)
        assert count_processes(files, preprocess, many, least) == 0, "it would start the user's program once more"
    finally:
        DECODING.limit(None)
