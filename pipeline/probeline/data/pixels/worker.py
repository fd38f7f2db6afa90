"""The program of a process that decodes: requests come from its standard input until that ends, answers go back.

It imports Pillow and NumPy alone, and is started by :mod:`probeline.data.pixels.processes`. What it cannot read it only
names: the process that asked tries again by itself, so that errors and their words come from one place. Answers are
JSON, since decoders of images have had faults that let a file run code: what is unpickled there would run in the other
process too.
"""

from __future__ import annotations

import json
import mmap
import os
import pickle
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import PIL

import probeline
from probeline.data.pixels.decode import Pixels
from probeline.data.pixels.facts import find_oddities
from probeline.data.pixels.loading import Unreadable, read_batch
from probeline.data.pixels.views import view_by
from probeline.files.decode import encode
from probeline.files.memory import DECODING
from probeline.identity import PREPROCESS_VERSION, VIEWS_VERSION
from probeline.images import Decoding, ImageFiles, ImageItems, Images, PixelArray, Preprocess, Sight

OTHER_VERSIONS = 3
"""Exit code of a process that finds other versions than the one that asks."""


def versions() -> tuple[str, ...]:
    """Return the versions of what decides pixels, which change if packages are replaced while a program runs."""
    return tuple(map(str, (PREPROCESS_VERSION, VIEWS_VERSION, probeline.__version__, PIL.__version__, np.__version__)))


@dataclass(frozen=True)
class DecodingJob:
    """What stays the same for all batches of a process."""

    versions: tuple[str, ...]
    """Those of the process that asks; one of other versions ends."""
    slab: int
    """The descriptor of the shared memory to which pixels are written: uint8 [rows, crop, crop, 3]."""
    rows: int
    preprocess: Preprocess
    view: Sight | None
    memory: int
    """Bytes that decoding may take; images that need more are left to the process that asks."""


@dataclass(frozen=True)
class BatchRequest:
    """Images of a batch or of a part of one: the paths of their files, or their encoded bytes."""

    start: int
    """The place in the slab of the first one."""
    content: tuple[str, ...]
    """The sha256 of each."""
    decoding: Decoding
    paths: tuple[str, ...] = ()
    encoded: tuple[bytes, ...] = ()

    def as_images(self) -> Images:
        """Return the images as a part has them."""
        if self.paths:
            return ImageFiles(list(map(Path, self.paths)), self.content, self.decoding)
        return ImageItems(self.encoded.__getitem__, self.content, self.content, self.decoding)


@dataclass(frozen=True)
class BatchAnswer:
    """What is known of images whose pixels are in the slab, by their places in the request."""

    unread: tuple[int, ...]
    """Images that this process could not read, for whatever reason; their pixels are undefined."""
    facts: Mapping[str, Mapping[str, Any]]
    """What is odd about some of the others, by their places as text, as JSON has it."""

    def check(self, count: int) -> None:
        """Raise ValueError if places are not those of so many images."""
        if not {*self.unread, *map(int, self.facts)} <= set(range(count)):
            raise ValueError("places of no image")


def decode_batches(job: DecodingJob, requests: BinaryIO, answers: BinaryIO) -> None:
    """Decode each batch that is asked for, until there are no more requests."""
    crop = job.preprocess.crop
    slab = np.frombuffer(mmap.mmap(job.slab, job.rows * crop * crop * 3), np.uint8).reshape(job.rows, crop, crop, 3)
    DECODING.restrict(job.memory)
    while True:
        try:
            request: BatchRequest = pickle.load(requests)  # noqa: S301 - of the process that started this one
        except (EOFError, pickle.UnpicklingError):  # the other process is gone, be it in the middle of a request
            return
        answer = decode_batch(job, request, slab[request.start :][: len(request.content)])
        answers.write(json.dumps(encode(answer), allow_nan=False).encode() + b"\n")
        answers.flush()


def decode_batch(job: DecodingJob, request: BatchRequest, out: PixelArray) -> BatchAnswer:
    """Write the pixels of the images that are asked for to `out`, as many."""
    facts: dict[str, dict[str, Any]] = {}

    def notice(place: int, pixels: Pixels, view: PixelArray) -> None:
        if odd := find_oddities(pixels, view):
            facts[str(place)] = odd

    view = view_by(job.preprocess, job.view, request.content)
    result = read_batch(request.as_images(), np.arange(len(out)), view, job.preprocess, notice, out)
    return BatchAnswer(result.rows if isinstance(result, Unreadable) else (), facts)


def main() -> None:
    """Run the process: its job is the first message."""
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not get among the answers
    try:
        job: DecodingJob = pickle.load(requests)  # noqa: S301 - of the process that started this one
        if job.versions != versions():
            raise SystemExit(OTHER_VERSIONS)
        decode_batches(job, requests, answers)
    except BrokenPipeError:
        os._exit(1)  # the process that asked is gone
