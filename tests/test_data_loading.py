"""Batches: every row in its place, whatever cannot be read, and no thread left behind."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from probeline.console import Silence
from probeline.data.pixels.decode import decode, resize_crop
from probeline.data.pixels.inspection import inspect_images
from probeline.data.pixels.loading import Unreadable, decode_item, open_image, ordered, read_batch
from probeline.data.source import LoadRequest, Subset
from probeline.data.sources.folder import hash_files
from probeline.errors import BadData
from probeline.export.images import crop_of
from probeline.files.memo import Memo
from probeline.files.memory import DECODING, Budget, Lease
from probeline.identity import digest_bytes, digest_pixels
from probeline.images import ImageArray, ImageFiles, ImageItems, Images, PixelArray, Preprocess
from probeline.types import IntArray

N = 23
SIZE = 32


@pytest.fixture
def files(tmp_path: Path) -> ImageFiles:
    """Pictures of one colour each: row r has red 10 r."""
    paths = tuple(tmp_path / f"{row}.png" for row in range(N))
    for row, path in enumerate(paths):
        Image.new("RGB", (40 + row, 50), (10 * row, 1, 2)).save(path)
    return ImageFiles(paths, tuple(digest_bytes(path.read_bytes()) for path in paths))


@pytest.fixture
def batches() -> list[IntArray]:
    return np.array_split(np.random.default_rng(0).permutation(N), 5)


def threads() -> set[str]:
    return {thread.name for thread in threading.enumerate() if thread.name.startswith("images")}


def read(files: Images, rows: IntArray, preprocess: Preprocess) -> PixelArray | Unreadable:
    return read_batch(files, rows, lambda image, _: resize_crop(image, preprocess), preprocess)


@pytest.mark.parametrize("workers", [1, 3, 16])
def test_batches_come_in_order_with_every_row_in_place(
    files: ImageFiles, batches: list[IntArray], preprocess: Preprocess, workers: int
) -> None:
    found = list(ordered(lambda rows: read(files, rows, preprocess), batches, workers))
    assert len(found) == len(batches)
    for (rows, pixels), expected in zip(found, batches, strict=True):
        assert rows is expected
        assert isinstance(pixels, np.ndarray)
        assert pixels.shape == (len(rows), SIZE, SIZE, 3)
        assert pixels.dtype == np.uint8
        assert pixels[:, 0, 0, 0].tolist() == [10 * row for row in rows]
    assert not threads()


def test_a_view_is_given_the_image_and_its_row(files: ImageFiles, preprocess: Preprocess) -> None:
    rows = np.array([4, 2, 2])

    def view(image: Image.Image, row: int) -> PixelArray:
        assert type(row) is int
        return np.full((2, 2, 3), row + image.width, np.uint8)

    pixels = read_batch(files, rows, view, replace(preprocess, resize=2, crop=2))
    assert isinstance(pixels, np.ndarray)
    assert pixels[:, 0, 0, 0].tolist() == [48, 44, 44]


def test_resident_images_pass_through_the_same_views(preprocess: Preprocess) -> None:
    values = np.random.default_rng(0).integers(0, 256, (5, 9, 7, 3), np.uint8)
    rows = np.array([3, 0])
    pixels = read_batch(ImageArray(values), rows, lambda image, _: resize_crop(image, preprocess), preprocess)
    assert isinstance(pixels, np.ndarray)
    for found, row in zip(pixels, rows, strict=True):
        assert np.array_equal(found, resize_crop(Image.fromarray(values[row]), preprocess))


def items(files: ImageFiles, read: Callable[[int], bytes | Image.Image]) -> ImageItems:
    content = tuple(decode_item(read(row), "")[1] for row in range(N))
    return ImageItems(read, content, [f"item {row}" for row in range(N)])


@pytest.mark.parametrize("opened", [False, True])
def test_items_are_read_as_files_are(files: ImageFiles, preprocess: Preprocess, opened: bool) -> None:
    def read_item(row: int) -> bytes | Image.Image:
        return Image.open(files.paths[row]) if opened else files.paths[row].read_bytes()

    rows, images = np.arange(N), items(files, read_item)
    assert np.array_equal(read(images, rows, preprocess), read(files, rows, preprocess))
    assert (images.content == files.content) is not opened
    pixels = np.asarray(open_image(images, 3))
    assert not opened or images.content[3] == digest_pixels(*pixels.shape[:2], pixels.tobytes())


def test_an_item_that_changes_or_is_no_image_is_named(files: ImageFiles, preprocess: Preprocess) -> None:
    shade = itertools.count()
    images = items(files, lambda row: Image.new("RGB", (9, 9), (row, next(shade), 0)))
    unreadable = read(images, np.array([4]), preprocess)
    assert isinstance(unreadable, Unreadable)
    assert "other content than when the data set was listed: item 4" in str(unreadable.errors[0])
    broken = replace(images, read=lambda row: b"no image")
    unreadable = read(broken, np.array([5, 6]), preprocess)
    assert isinstance(unreadable, Unreadable)
    assert (unreadable.rows, unreadable.errors[1].where) == ((5, 6), "item 6")


def test_an_empty_batch_is_empty(files: ImageFiles, preprocess: Preprocess) -> None:
    pixels = read(files, np.array([], np.int64), preprocess)
    assert isinstance(pixels, np.ndarray)
    assert pixels.shape == (0, SIZE, SIZE, 3)


def test_unreadable_images_never_shift_a_row(
    files: ImageFiles, batches: list[IntArray], preprocess: Preprocess
) -> None:
    bad = {int(batches[1][0]), int(batches[1][-1]), int(batches[3][1])}
    for row in bad:
        files.paths[row].write_bytes(b"broken")
    found = [pixels for _, pixels in ordered(lambda rows: read(files, rows, preprocess), batches, 2)]
    named: set[int] = set()
    for rows, pixels in zip(batches, found, strict=True):
        hit = [row for row in rows.tolist() if row in bad]
        if hit:
            assert isinstance(pixels, Unreadable)
            assert list(pixels.rows) == hit
            for row, error in zip(pixels.rows, pixels.errors, strict=True):
                assert isinstance(error, BadData)
                assert files.paths[row].name in str(error)
            named.update(pixels.rows)
        else:
            assert isinstance(pixels, np.ndarray)
            assert pixels[:, 0, 0, 0].tolist() == [10 * row for row in rows]
    assert named == bad


def test_calls_run_ahead_of_the_caller_but_not_far() -> None:
    started: list[int] = []

    def function(item: int) -> int:
        started.append(item)
        return item

    calls = ordered(function, range(1000), 2)
    for turn in range(10):
        assert next(calls) == (turn, turn)
        time.sleep(0.001)
        assert len(started) <= turn + 4  # two a thread
    calls.close()
    assert len(started) < 20
    assert not threads()


def test_calls_overlap() -> None:
    """Two calls that wait for each other can only end where both run at once."""
    meeting = threading.Barrier(2, timeout=30)
    assert len(list(ordered(lambda _: meeting.wait(), range(4), 2))) == 4


def test_an_exception_comes_at_its_turn_and_ends_the_threads() -> None:
    def function(item: int) -> int:
        if item == 2:
            raise KeyError(item)
        return item

    calls = ordered(function, range(100), 4)
    assert [next(calls), next(calls)] == [(0, 0), (1, 1)]
    with pytest.raises(KeyError):
        next(calls)
    assert not threads()


def test_closing_drops_what_has_not_begun() -> None:
    gate = threading.Event()
    started: list[int] = []

    def function(item: int) -> int:
        started.append(item)
        if item:
            gate.wait(30)
        return item

    calls = ordered(function, range(50), 2)
    next(calls)  # two more calls wait at the gate, and a fourth for a thread
    threading.Timer(0.5, gate.set).start()
    calls.close()
    assert set(started) <= {0, 1, 2}
    assert not threads()


def test_an_interrupt_ends_the_threads() -> None:
    def function(item: int) -> int:
        if item == 3:
            raise KeyboardInterrupt
        return item

    with pytest.raises(KeyboardInterrupt):
        list(ordered(function, range(50), 2))
    assert not threads()


def test_each_thread_is_initialised() -> None:
    local = threading.local()
    calls = ordered(lambda _: local.ready, range(6), 3, initializer=lambda: setattr(local, "ready", True))
    assert all(result for _, result in calls)


def test_decoding_in_batches_equals_decoding_alone(files: ImageFiles, preprocess: Preprocess) -> None:
    alone = np.stack([resize_crop(decode(path), preprocess) for path in files.paths])
    assert np.array_equal(np.asarray(read(files, np.arange(N), preprocess)), alone)


def test_every_place_that_decodes_on_threads_shares_the_budget(
    files: ImageFiles, preprocess: Preprocess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each waits for the others and gives everything back, with less memory than two images take."""
    monkeypatch.setattr(DECODING, "_most", 1)
    most: list[int] = []
    claim = Budget.claim

    def watch(self: Budget, lease: Lease, count: int) -> None:
        claim(self, lease, count)
        most.append(self.held)

    monkeypatch.setattr(Budget, "claim", watch)
    rows = np.arange(len(files.paths))
    request = LoadRequest(tmp_path, Subset(), Memo(None), Silence())
    places: dict[str, Callable[[], object]] = {
        "batches": lambda: list(ordered(lambda row: read(files, np.array([row]), preprocess), rows.tolist(), 4)),
        "doctor": lambda: inspect_images(files, rows, preprocess, 4),
        "hashing": lambda: hash_files(files.paths, request),
        "predict": lambda: list(ordered(lambda path: crop_of(path, preprocess), files.paths, 4)),
    }
    largest = 0
    for path in files.paths:
        with Image.open(path) as image:
            # The file, and the image with a copy of it, or with the two passes of the resizing.
            width, height = preprocess.resized(*image.size)
            copies = 4 * max(
                image.width * image.height, width * image.height + preprocess.crop * (image.height + height)
            )
            largest = max(largest, path.stat().st_size + 4 * image.width * image.height + copies)
    for name, decode_all in places.items():
        most.clear()
        decode_all()
        assert max(most) > 1, name
        assert max(most) <= largest, name
        assert DECODING.held == 0, name
