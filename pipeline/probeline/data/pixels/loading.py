"""Batches of pixels in order, on threads: Pillow and torch release the interpreter lock while they work."""

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
    """The result of a batch with images that cannot be read.

    Attributes
    ----------
    rows : tuple of int
        The rows of those images.
    errors : tuple of BadData
        Why, in the order of `rows`.
    """

    rows: tuple[int, ...]
    errors: tuple[BadData, ...]


def open_image(images: ImageArray | ImageFiles, row: int) -> Image.Image:
    """Return one image of a part in mode RGB.

    Raises
    ------
    BadData
    """
    if isinstance(images, ImageArray):
        return Image.fromarray(images.pixels[row])
    return decode(images.paths[row], images.content[row])


def read_batch(
    images: ImageArray | ImageFiles, rows: IntArray, view: Callable[[Image.Image, int], PixelArray], size: int
) -> PixelArray | Unreadable:
    """Return the pixels of some images of a part, each made by `view`.

    If any image cannot be read, an :class:`Unreadable` is returned instead, so that no row is shifted.

    Parameters
    ----------
    images : ImageArray or ImageFiles
    rows : int64 [b]
    view : callable
        Returns uint8 [size, size, 3] for an RGB image and its row.
    size : int

    Returns
    -------
    uint8 [b, size, size, 3] or Unreadable
    """
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

    At most two tasks per thread are running or waiting for their result to be taken, which bounds the memory. Closing
    the generator, or an error of a task, ends the threads.

    Parameters
    ----------
    task : callable
        Called from many threads.
    items : iterable
        Advanced in the caller's thread. None says that the next item may take long: running tasks are finished and
        yielded before the iterable is advanced.
    threads : int
    initializer : callable, optional
        Run once in each thread.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="images", initializer=initializer)
    under_way: deque[tuple[Item, Future[Result]]] = deque()
    to_come = iter(items)
    try:
        more = True
        while more or under_way:
            waits = False
            while more and not waits and len(under_way) < 2 * threads:
                try:
                    item = next(to_come)
                except StopIteration:
                    more = False
                    break
                if item is None:
                    waits = True
                else:
                    under_way.append((item, pool.submit(task, item)))
            for _ in range(len(under_way) if waits else min(1, len(under_way))):
                done, future = under_way.popleft()
                yield done, future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
