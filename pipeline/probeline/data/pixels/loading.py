"""Batches of pixels in order, read on threads: Pillow and torch release the interpreter lock while they work."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from PIL import Image

from probeline.data.pixels.decode import LONGEST, Pixels, decode_bytes, decode_file, decode_opened
from probeline.errors import BadData
from probeline.files.memory import DECODING, Lease
from probeline.identity import digest, digest_bytes, digest_pixels
from probeline.images import Decoding, ImageArray, ImageItems, Images, PixelArray, Preprocess
from probeline.types import AnyArray, IntArray

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Unreadable:
    """The result of a batch with images that cannot be read: their rows, and the error of each."""

    rows: tuple[int, ...]
    errors: tuple[BadData, ...]


def open_image(images: Images, row: int) -> Image.Image:
    """Return one image of a part in mode RGB; BadData if it cannot be read, or has other content than when listed."""
    return open_pixels(images, row).image


def open_pixels(images: Images, row: int, lease: Lease | None = None) -> Pixels:
    """Return one image of a part as :func:`open_image` does, and what is worth knowing of its file.

    The `lease` holds the memory that it takes; without one, only while it is decoded.
    """
    if isinstance(images, ImageArray):
        return Pixels(Image.fromarray(images.pixels[row]))
    if isinstance(images, ImageItems):
        return _open_item(images, row, lease)
    return decode_file(images.paths[row], images.content[row], images.decoding, lease)


def lease_for(preprocess: Preprocess) -> Lease:
    """Return a lease of the memory that images take, decoded, cropped and resized by one of the threads that decode."""

    def copies(width: int, height: int) -> int:
        whole, short, long = 4 * width * height, min(width, height), max(width, height)
        if preprocess.function or (preprocess.resize_mode == "shorter" and long > LONGEST * short):
            return whole
        new_width, new_height = preprocess.resized(width, height)
        return max(whole, 4 * (new_width * height + preprocess.crop * (height + new_height)))

    return Lease(DECODING, copies)


def _open_item(images: ImageItems, row: int, lease: Lease | None) -> Pixels:
    pixels, content = decode_item(images.read(row), images.names[row], images.decoding, lease)
    if content != images.content[row]:
        raise BadData(
            "image has other content than when the data set was listed",
            where=images.names[row],
            remedy="images that change, as by a random transform, cannot be cached: give them without it",
        )
    return pixels


def digest_item(item: bytes | Image.Image, name: str) -> str:
    """Return the content digest of an encoded or opened image; encoded ones are not decoded."""
    return digest_bytes(item) if isinstance(item, bytes) else decode_item(item, name)[1]


def decode_item(
    item: bytes | Image.Image,
    name: str,
    decoding: Decoding = Decoding(),  # noqa: B008 - frozen
    lease: Lease | None = None,
) -> tuple[Pixels, str]:
    """Return an encoded or opened image in mode RGB, and its content digest: of the encoded bytes, else of the pixels.

    The digest of pixels is the same for each `decoding`; it is of all that one of them may show.

    Raises
    ------
    BadImage
        Its bytes cannot be decoded; `name` is what the message calls it.
    BadData
        It cannot be read for another reason.
    """
    if isinstance(item, bytes):
        return decode_bytes(item, name, decoding, lease), digest_bytes(item)
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        plain = pixels = decode_opened(item, lease=lease)
        if decoding != Decoding():
            pixels = decode_opened(item, decoding, lease)
    except BadData as error:
        raise BadData("image cannot be read", where=name, got=error.got, remedy="remove or replace it") from error
    content = digest_pixels(plain.image.height, plain.image.width, plain.image.tobytes())
    if plain.is_transparent:  # another decoding shows what this one hides
        content = digest([content, digest_bytes(item.convert("RGBA").tobytes())])
    elif plain.grey_max is not None:
        content = digest([content, digest_bytes(np.asarray(item).astype("<i4").tobytes())])
    return pixels, content


def read_batch(
    images: Images,
    rows: IntArray,
    view: Callable[[Image.Image, int], AnyArray],
    preprocess: Preprocess,
    notice: Callable[[int, Pixels, AnyArray], None] | None = None,
    out: PixelArray | None = None,
) -> AnyArray | Unreadable:
    """Return [b, crop, crop, 3], the `view` of each image and row in its type, or which images cannot be read.

    The `view` crops and resizes as `preprocess` says, be it at random. `notice` is called with the row, the decoded
    image and the view of each. Views of uint8 are written to `out` if it is given, of the readable images in any case.
    """
    pixels: AnyArray = np.empty((len(rows), preprocess.crop, preprocess.crop, 3), np.uint8) if out is None else out
    unreadable: dict[int, BadData] = {}
    for slot, row in enumerate(rows.tolist()):
        try:
            with lease_for(preprocess) as lease:
                opened = open_pixels(images, row, lease)
                seen = view(opened.image, row)
                if seen.dtype != pixels.dtype:
                    pixels = pixels.astype(seen.dtype)  # at the first one
                pixels[slot] = seen
                if notice is not None:
                    notice(row, opened, pixels[slot])
        except BadData as error:
            unreadable[row] = error
    return Unreadable(tuple(unreadable), tuple(unreadable.values())) if unreadable else pixels


def ordered(
    task: Callable[[Item], Result],
    items: Iterable[Item | None],
    threads: int,
    *,
    initializer: Callable[[], object] | None = None,
    stop: Callable[[], object] = lambda: None,
) -> Generator[tuple[Item, Result], None, None]:
    """Yield each item with the result of its task, in the order of the items; tasks run on threads.

    At most two tasks per thread are running or waiting to be yielded, which bounds the memory. Closing the generator,
    or an error of a task, ends the threads.

    Items are taken in the caller's thread. An item None means that the next one may take long: running tasks are
    finished and yielded before it is taken. The initializer runs once in each thread; `stop` is called at an end before
    all is yielded, and makes running tasks end early.
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
    except BaseException:  # GeneratorExit and KeyboardInterrupt are none of Exception
        stop()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
