"""Processes that decode for this one, whose threads would wait for each other: a photo needs the interpreter's lock.

Each has a slab of shared memory for the pixels of one batch, which has no name in any file system, and ends as soon as
its standard input does. So nothing is left behind, whatever becomes of this process. Processes are programs of their
own: a fork would copy threads and a device, and `multiprocessing` would run the user's script once more in each.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import pickle
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import ExitStack, contextmanager, suppress
from typing import IO, Any

import numpy as np

from probeline.data.pixels.facts import find_oddities
from probeline.data.pixels.loading import Unreadable, read_batch
from probeline.data.pixels.views import view_by
from probeline.data.pixels.worker import OTHER_VERSIONS, BatchAnswer, BatchRequest, DecodingJob, versions
from probeline.errors import BadData
from probeline.files.decode import decode, parse_json
from probeline.files.memory import DECODING
from probeline.images import ImageArray, ImageFiles, Images, PixelArray, Preprocess, Sight
from probeline.types import IntArray

MOST_THREADS = 4
"""Threads that are worth having: each holds the interpreter's lock for a sixth of its time, so that six take all of it
and four wait for a tenth of theirs. Measured in docs/benchmarks/extraction.md."""

LEAST_IMAGES = 4_096
"""Images for which processes are started. A start takes each as long as some 60 photos do, measured there too."""

LEAST_MEMORY = 128 << 20
"""Bytes that each process may take for decoding, or there are fewer: as much as a photo of 16 million pixels needs."""

MOST_SENT = 16 << 20
"""Bytes of encoded images, and one more image, that are sent to a process at a time."""

Notice = Callable[[int, dict[str, Any]], None]
"""Is given a row and what is odd about its image."""

_PROGRAM = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from probeline.data.pixels.worker import main; main()"
)

_FIRST = 3
"""The first descriptor that no process has as a standard stream; a program without these opens files as 0 to 2."""

_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""Environment in which NumPy's libraries start no threads."""


def count_processes(images: Images, preprocess: Preprocess, count: int, workers: int) -> int:
    """Return how many processes are to decode `count` of some images for so many workers; 0 if threads serve better.

    Arrays need no decoding, and a function of the program that runs is known to its own process alone.
    """
    is_python = bool(sys.executable) and not getattr(sys, "frozen", False)  # else it may be the user's program
    if isinstance(images, ImageArray) or preprocess.function or count < LEAST_IMAGES or not is_python:
        return 0
    processes = min(workers, DECODING.most // 2 // LEAST_MEMORY)
    return processes if processes > MOST_THREADS else 0


class DecodingProcesses:
    """Processes that decode batches in one way, each for one thread of this process at a time.

    A process that dies, as for lack of memory, is not replaced: the threads that ask decode its batch, and as many
    others from then on. Half of the memory for decoding is lent to the processes while they exist.

    Parameters
    ----------
    count : int
        How many.
    rows : int
        Images of the largest batch.
    preprocess, view : Preprocess, Sight or None
        How an image becomes a net's input.

    Raises
    ------
    OSError
        The system grants no more processes or memory; those that were started have ended.
    """

    def __init__(self, count: int, rows: int, preprocess: Preprocess, view: Sight | None) -> None:
        self._preprocess, self._view = preprocess, view
        self._is_stopped = False
        self._lock = threading.Lock()
        self._deaths: list[str] = []
        memory = DECODING.most // 2 // count
        with ExitStack() as started:
            started.enter_context(DECODING.lend(memory * count))
            self._idle = [started.enter_context(_Process(rows, preprocess, view, memory)) for _ in range(count)]
            self._started = started.pop_all()
        self._all = tuple(self._idle)

    def __enter__(self) -> DecodingProcesses:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._started.close()

    def __len__(self) -> int:
        """Return how many processes were started."""
        return len(self._all)

    @property
    def process_ids(self) -> list[int]:
        """Their numbers in the operating system."""
        return [process.program.pid for process in self._all]

    def stop(self) -> None:
        """End the processes; threads that wait for an answer get CancelledError."""
        self._is_stopped = True
        for process in self._all:
            process.program.kill()

    def take_deaths(self) -> list[str]:
        """Return a line about each process that has died since the last call."""
        with self._lock:
            deaths, self._deaths = self._deaths, []
        return deaths

    @contextmanager
    def read(self, images: Images, rows: IntArray, notice: Notice) -> Iterator[PixelArray | Unreadable]:
        """Give the pixels of some rows, uint8 [b, crop, crop, 3], or what cannot be read, during a ``with`` block.

        The pixels are in shared memory, which the next batch needs: what is to stay must be copied.
        """
        with self._lock:
            process = self._idle.pop() if self._idle else None
        try:
            pixels = None if process is None else self._ask(process, images, rows, notice)
            yield self._read_here(images, rows, notice) if pixels is None else pixels
        finally:
            if process is not None and not process.is_dead:
                with self._lock:
                    self._idle.append(process)

    def _ask(self, process: _Process, images: Images, rows: IntArray, notice: Notice) -> PixelArray | Unreadable | None:
        """Return what a process makes of a batch; None if it died, or if the images cannot be sent."""
        unread: list[int] = []
        odd: list[tuple[int, dict[str, Any]]] = []
        for request in requests_for(images, rows):
            if request is None:
                return None
            answer = process.ask(request)
            if answer is None:
                self._note_death(process)
                return None
            unread += [request.start + place for place in answer.unread]
            odd += [(request.start + int(place), dict(facts)) for place, facts in answer.facts.items()]
        for place, facts in odd:
            notice(int(rows[place]), facts)
        pixels = process.slab[: len(rows)]
        if unread:
            again = self._read_here(images, rows[unread], notice)
            if isinstance(again, Unreadable):
                return again
            pixels[unread] = again
        return pixels

    def _note_death(self, process: _Process) -> None:
        how = process.end()
        with self._lock:
            if self._is_stopped:
                raise CancelledError
            self._deaths.append(
                f"one of {len(self._all)} processes that decode images ended {how}: its images are decoded by a thread "
                "instead, and nothing is lost"
            )

    def _read_here(self, images: Images, rows: IntArray, notice: Notice) -> PixelArray | Unreadable:
        view = view_by(self._preprocess, self._view, () if isinstance(images, ImageArray) else images.content)
        return read_batch(
            images, rows, view, self._preprocess, lambda row, pixels, view: notice(row, find_oddities(pixels, view))
        )


def requests_for(images: Images, rows: IntArray) -> Iterator[BatchRequest | None]:
    """Yield what a process needs for some rows, in parts if it is a lot.

    The last is None if there are opened images, or some whose bytes cannot be read.
    """
    if isinstance(images, ImageArray):
        yield None
        return
    content = [images.content[row] for row in rows.tolist()]
    if isinstance(images, ImageFiles):
        yield BatchRequest(
            0, tuple(content), images.decoding, paths=tuple(str(images.paths[row]) for row in rows.tolist())
        )
        return
    encoded: list[bytes] = []
    start = 0
    for place, row in enumerate(rows.tolist(), 1):
        try:
            item = images.read(row)
        except BadData:
            item = None
        if not isinstance(item, bytes):
            yield None
            return
        encoded.append(item)
        if place == len(rows) or sum(map(len, encoded)) > MOST_SENT:
            yield BatchRequest(start, tuple(content[start:place]), images.decoding, encoded=tuple(encoded))
            start, encoded = place, []


class _Process:
    """A running process and its slab; leaving the context ends it."""

    program: subprocess.Popen[bytes]
    slab: PixelArray
    """uint8 [rows, crop, crop, 3]: what this process and that one see alike."""

    def __init__(self, rows: int, preprocess: Preprocess, view: Sight | None, memory: int) -> None:
        self._shape = (rows, preprocess.crop, preprocess.crop, 3)
        self._preprocess, self._view, self._memory = preprocess, view, memory
        self.is_dead = False

    def __enter__(self) -> _Process:
        size = int(np.prod(self._shape))
        with _unnamed_memory(size) as descriptor:
            self.slab = np.frombuffer(mmap.mmap(descriptor, size), np.uint8).reshape(self._shape)
            self.program = subprocess.Popen(  # noqa: S603 - this program
                # Not from the user's folder, whose files may be called like modules; and in a session of its own,
                # so that Ctrl-C reaches the process that asks alone.
                [sys.executable, "-P", "-c", _PROGRAM, json.dumps(list(map(str, sys.path)), allow_nan=False)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=None if sys.__stderr__ else subprocess.DEVNULL,  # None: that of this process, if it has one
                pass_fds=(descriptor,),
                env={**os.environ, **_ONE_THREAD},
                start_new_session=True,
            )
        job = DecodingJob(versions(), descriptor, self._shape[0], self._preprocess, self._view, self._memory)
        with suppress(OSError):  # if it is dead, that is found when it is asked
            self._send(job)
        return self

    def __exit__(self, *_: object) -> None:
        self.program.kill()
        self.program.wait()
        for stream in (self.program.stdin, self.program.stdout):
            with suppress(OSError):  # what was not sent is not missed
                _open(stream).close()

    def ask(self, request: BatchRequest) -> BatchAnswer | None:
        """Return the answer to a request, whose pixels are in the slab; None if the process is dead."""
        try:
            self._send(request)
            answer = decode(BatchAnswer, parse_json(_open(self.program.stdout).readline()))
            answer.check(len(request.content))
        except (OSError, ValueError):  # also BadRecord, of an answer that breaks off
            self.is_dead = True
            return None
        return answer

    def _send(self, message: object) -> None:
        stream = _open(self.program.stdin)
        pickle.dump(message, stream, pickle.HIGHEST_PROTOCOL)
        stream.flush()

    def end(self) -> str:
        """Return in words how the process ended, after it was ended if need be."""
        with suppress(subprocess.TimeoutExpired):
            self.program.wait(1)
        self.program.kill()
        code = self.program.wait()
        if code == OTHER_VERSIONS:
            return "at once, as packages were replaced while this program ran"
        return f"by signal {-code}" if code < 0 else f"with exit code {code}"


def _open(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise ValueError("no pipe")
    return stream


@contextmanager
def _unnamed_memory(size: int) -> Iterator[int]:
    """Give the descriptor of shared memory, which exists as long as it is mapped or open in any process."""
    with ExitStack() as opened:
        if hasattr(os, "memfd_create"):  # no part of /dev/shm, which is tiny in containers
            descriptor = os.memfd_create("probeline")
            opened.callback(os.close, descriptor)
        else:
            descriptor = opened.enter_context(tempfile.TemporaryFile()).fileno()
        if descriptor < _FIRST:
            descriptor = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _FIRST)
            opened.callback(os.close, descriptor)
        os.ftruncate(descriptor, size)
        yield descriptor
