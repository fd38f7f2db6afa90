"""Batches of pixels in order, read on threads: Pillow and torch release the interpreter lock while they work."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from PIL import Image

from probeline.data.pixels.decode import decode
from probeline.errors import BadData
from probeline.types import ImageArray, ImageFiles, IntArray, PixelArray

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Unreadable:
    """The result of a batch with images that cannot be read: their rows, and the error of each."""

    rows: tuple[int, ...]
    errors: tuple[BadData, ...]


def open_image(images: ImageArray | ImageFiles, row: int) -> Image.Image:
    """Return one image of a part in mode RGB; BadData if it cannot be read."""
    if isinstance(images, ImageArray):
        return Image.fromarray(images.pixels[row])
    return decode(images.paths[row], images.content[row], images.decoding)


def read_batch(
    images: ImageArray | ImageFiles, rows: IntArray, view: Callable[[Image.Image, int], PixelArray], size: int
) -> PixelArray | Unreadable:
    """Return uint8 [b, size, size, 3], the `view` of each image and row, or which images cannot be read."""
    pixels = np.empty((len(rows), size, size, 3), np.uint8)
    unreadable: dict[int, BadData] = {}
    for slot, row in zip(pixels, rows.tolist(), strict=True):
        try:
            slot[:] = view(open_image(images, row), row)
        except BadData as error:
            unreadable[row] = error
    return Unreadable(tuple(unreadable), tuple(unreadable.values())) if unreadable else pixels


def ordered(
    task: Callable[[Item], Result],
    items: Iterable[Item | None],
    threads: int,
    *,
    initializer: Callable[[], object] | None = None,
) -> Generator[tuple[Item, Result], None, None]:
    """Yield each item with the result of its task, in the order of the items; tasks run on threads.

    At most two tasks per thread are running or waiting to be yielded, which bounds the memory. Closing the generator,
    or an error of a task, ends the threads.

    Items are taken in the caller's thread. An item None means that the next one may take long: running tasks are
    finished and yielded before it is taken. The initializer runs once in each thread.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="images", initializer=initializer)
    running: deque[tuple[Item, Future[Result]]] = deque()
    try:
        for item in items:
            if item is not None:
                running.append((item, pool.submit(task, item)))
            while running and (item is None or len(running) >= 2 * threads):
                done, future = running.popleft()
                yield done, future.result()
        for done, future in running:
            yield done, future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
