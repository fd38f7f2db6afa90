"""The reader: rows as NumPy gives them, lazily, each from a shard that this process hashed, under threads and forks."""

from __future__ import annotations

import dataclasses
import os
import pickle
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Dataset

import probeline
from conftest import make_part
from probeline import EntryFeatures, open_features
from probeline.cache.entry import Entry, locate_entry
from probeline.cache.reading import read_features, read_shard
from probeline.cache.writing import write_entry, write_shard
from probeline.errors import BadCache, BadOption, MissingData, UnknownName
from probeline.images import Preprocess
from probeline.types import Backbone

ROWS, DIM, STEP = 50, 5, 8
SHARDS = 7
SHARD_BYTES = STEP * DIM * 4

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
forks = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")


def make_entry(cache: Path, *, dataset: str = "toy", rows: int = ROWS, precision: str = "fp32") -> Entry:
    """Write an entry of random features in shards of 8 rows."""
    preprocess = Preprocess(resize=36, crop=32, interpolation="bilinear", mean=(0.5,) * 3, std=(0.2,) * 3)
    backbone = Backbone("tiny", "none", "0" * 64, "penultimate", "none", DIM, 100, 10, preprocess)
    part = dataclasses.replace(make_part(rows), dataset=dataset)
    entry = dataclasses.replace(locate_entry(cache, part, backbone, precision), rows_per_shard=STEP)
    write_entry(entry)
    values = np.random.default_rng(0).standard_normal((rows, DIM)).astype(np.float32)
    for number, span in enumerate(entry.shards):
        write_shard(entry, number, values[span.start : span.stop], {"seconds": 0.5, "shard": number})
    return entry


@pytest.fixture
def entry(tmp_path: Path) -> Entry:
    return make_entry(tmp_path / "cache")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The shards that were read and hashed, in their order."""
    numbers: list[int] = []

    def read(entry: Entry, number: int) -> Any:
        numbers.append(number)
        return read_shard(entry, number)

    monkeypatch.setattr("probeline.cache.features.read_shard", read)
    monkeypatch.setattr("probeline.cache.reading.read_shard", read)
    return numbers


def damage(entry: Entry, number: int) -> None:
    """Change one byte of a shard's features, which HDF5 alone would read back in silence."""
    path = entry.shard_path(number)
    data = path.read_bytes()
    place = data.index(read_shard(entry, number)[0].tobytes())
    path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])


# What is read


def test_it_is_what_the_store_reads(entry: Entry) -> None:
    expected = read_features(entry)
    features = open_features(entry.folder)
    assert isinstance(features, EntryFeatures)
    assert (len(features), features.shape, features.dtype) == (ROWS, (ROWS, DIM), np.dtype(np.float32))
    assert (features.key, features.sample_ids, features.content) == (entry.key, expected.sample_ids, entry.content)
    assert features.folder == entry.folder
    assert features.inputs == entry.inputs
    assert features.provenance == expected.provenance
    for values in (features.numpy(), features[:], np.asarray(features), np.stack(list(features))):
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values, expected.features)
    assert repr(features) == f"<EntryFeatures toy/train x tiny, float32 [50, 5], key {entry.key[:12]}>"


def test_nothing_that_is_handed_out_leads_back(entry: Entry) -> None:
    features = open_features(entry.folder)
    before = features.numpy()
    for index in (3, slice(2, 20), [1, 2], slice(None)):
        features[index][...] = 7
    features.numpy()[...] = 7
    features.inputs["preprocess"]["crop"] = 7
    features.table()["row"][...] = 7  # type: ignore[call-overload]
    np.testing.assert_array_equal(features[:], before)
    assert features.key == entry.key
    np.testing.assert_array_equal(features.table()["row"], range(ROWS))


def test_as_an_array_it_is_always_a_copy(entry: Entry) -> None:
    features = open_features(entry.folder)
    assert np.asarray(features, dtype=np.float64).dtype == np.float64
    np.testing.assert_array_equal(np.array(features, copy=True), features.numpy())
    with pytest.raises(ValueError, match="by being copied"):
        np.array(features, copy=False)


def test_a_sample_leads_to_its_row(entry: Entry) -> None:
    features = open_features(entry.folder)
    assert [features.row(name) for name in entry.sample_ids] == list(range(ROWS))
    with pytest.raises(UnknownName, match=r"sample id 'train/99999'.*train/00000, \.\.\., train/00049"):
        features.row("train/99999")


def test_the_table_has_a_column_for_each_question(entry: Entry) -> None:
    features = open_features(entry.folder)
    table = features.table()
    assert list(table) == ["row", "sample_id", "content_sha256", "shard"]
    assert table["sample_id"] == list(entry.sample_ids)
    assert table["content_sha256"] == list(entry.content)
    np.testing.assert_array_equal(table["row"], range(ROWS))
    np.testing.assert_array_equal(table["shard"], [row // STEP for row in range(ROWS)])
    wide = features.table(features=True)
    assert list(wide) == [*table, "f0", "f1", "f2", "f3", "f4"]
    np.testing.assert_array_equal(np.stack([wide[f"f{place}"] for place in range(DIM)], axis=1), features.numpy())


def test_pandas_takes_the_table_as_it_is(entry: Entry) -> None:
    pandas = pytest.importorskip("pandas")
    features = open_features(entry.folder)
    frame = pandas.DataFrame(features.table(features=True)).set_index("sample_id")
    assert len(frame) == ROWS
    np.testing.assert_array_equal(frame.loc["train/00017", [f"f{place}" for place in range(DIM)]], features[17])


# Indexing, with NumPy for a reference


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[EntryFeatures, np.ndarray]:
    """Features that keep two shards of seven, and the array that they stand for."""
    entry = make_entry(tmp_path_factory.mktemp("features"))
    return EntryFeatures(entry, keep_bytes=2 * SHARD_BYTES), read_features(entry).features


_NUMBER = st.integers(-ROWS - 3, ROWS + 2)
_BOUND = st.none() | st.integers(-2 * ROWS, 2 * ROWS)
_INDICES = st.one_of(
    _NUMBER,
    _NUMBER.map(np.int32),
    st.builds(slice, _BOUND, _BOUND, st.none() | st.integers(-ROWS, ROWS).filter(bool)),
    st.lists(st.integers(-ROWS, ROWS - 1), max_size=80),
    st.lists(_NUMBER, max_size=5).map(lambda rows: np.array(rows, np.int64)),
    st.lists(st.booleans(), min_size=ROWS, max_size=ROWS).map(np.array),
    st.integers(ROWS - 1, ROWS + 1).map(lambda n: np.ones(n, bool)),
)


@settings(deadline=None, max_examples=100)
@given(index=_INDICES)
@example(index=np.array([[0, -1, 7], [8, 49, 8]]))
@example(index=np.zeros(ROWS, bool))
@example(index=...)
@example(index=None)
@example(index=1.5)
@example(index="train/00000")
def test_rows_are_indexed_as_numpy_does(pair: tuple[EntryFeatures, np.ndarray], index: Any) -> None:
    features, array = pair
    try:
        expected = array[index]
    except IndexError:
        with pytest.raises(IndexError):
            features[index]
        return
    values = features[index]
    assert (values.dtype, values.shape) == (expected.dtype, expected.shape)
    np.testing.assert_array_equal(values, expected)


def test_columns_are_not_indexed(entry: Entry) -> None:
    with pytest.raises(IndexError, match=r"features\[rows\]\[:, columns\]"):
        open_features(entry.folder)[:, 0]  # type: ignore[index]


# What is proven, and when


def test_opening_reads_no_shard(entry: Entry) -> None:
    for path in entry.folder.glob("*.h5"):
        path.unlink()
    features = open_features(entry.folder)
    assert features.shape == (ROWS, DIM)
    assert features.row("train/00009") == 9
    assert len(features.table()["shard"]) == ROWS
    with pytest.raises(BadCache, match=r"a shard is missing.*shard-00001\.h5"):
        features[9]


def test_only_the_rows_of_a_damaged_shard_are_refused(entry: Entry, reads: list[int]) -> None:
    expected = read_features(entry).features
    damage(entry, 2)
    reads.clear()
    features = open_features(entry.folder)
    others = [row for row in range(ROWS) if row // STEP != 2]
    np.testing.assert_array_equal(features[others], expected[others])
    assert reads == [0, 1, 3, 4, 5, 6]
    for _ in range(2):
        for index in (16, -27, slice(10, 20), [0, 23]):
            with pytest.raises(BadCache, match=r"a shard is corrupt.*shard-00002\.h5"):
                features[index]
    for whole in (features.numpy, lambda: np.asarray(features), lambda: features.table(features=True)):
        with pytest.raises(BadCache):
            whole()
    np.testing.assert_array_equal(features[others], expected[others])


def test_the_shards_used_last_are_kept_within_the_limit(entry: Entry, reads: list[int]) -> None:
    features = open_features(entry.folder, keep_bytes=2 * SHARD_BYTES + 1)
    for row in (0, 8, 0, 16, 1, 7):
        features[row]
    assert reads == [0, 1, 2], "shard 1 made room for shard 2"
    features[8]
    assert reads == [0, 1, 2, 1]
    features[[0, 8]]
    assert reads == [0, 1, 2, 1]
    features.numpy()
    assert sorted(reads[4:]) == [2, 3, 4, 5, 6], "what is kept is not read again"
    features[[0, 8]]
    assert len(reads) == 9, "reading all drops nothing that is kept"


def test_a_batch_reads_each_shard_once_even_where_nothing_is_kept(entry: Entry, reads: list[int]) -> None:
    features = open_features(entry.folder, keep_bytes=0)
    rows = np.random.default_rng(1).integers(0, ROWS, 200)
    np.testing.assert_array_equal(features[rows], read_features(entry).features[rows])
    assert sorted(reads[:SHARDS]) == list(range(SHARDS))
    assert len(reads) == 2 * SHARDS, "once by the reader, once by read_features"
    reads.clear()
    features.torch_dataset().__getitems__([0, 40, 1, 41, 2])
    assert sorted(reads) == [0, 5]


def test_what_was_dropped_is_hashed_anew(entry: Entry) -> None:
    features = open_features(entry.folder, keep_bytes=SHARD_BYTES)
    row = features[0]
    damage(entry, 0)
    np.testing.assert_array_equal(features[0], row, "its bytes were proven before the file was damaged")
    features[8]
    with pytest.raises(BadCache, match="a shard is corrupt"):
        features[0]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="this system does not list open files")
def test_no_file_stays_open(entry: Entry) -> None:
    features = open_features(entry.folder)
    features[:]
    links = [link for link in Path("/proc/self/fd").iterdir() if os.path.lexists(link)]
    assert not [link for link in links if str(entry.folder) in os.path.realpath(link)]


# Threads and processes


@pytest.fixture
def quick_switches() -> Iterator[None]:
    """Threads take turns a thousand times as often, so that they meet in the middle of things."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.slow
@pytest.mark.usefixtures("quick_switches")
@pytest.mark.parametrize(("kept", "rounds"), [(1, 20), (6, 150)], ids=["most are read anew", "most are kept"])
def test_many_threads_get_the_right_rows(kept: int, rounds: int, entry: Entry) -> None:
    expected = read_features(entry).features
    limit = kept * SHARD_BYTES
    features = open_features(entry.folder, keep_bytes=limit)
    start = threading.Barrier(16)

    def work(seed: int) -> int:
        rows = random.Random(seed)
        start.wait(timeout=30)
        wrong = 0
        for _ in range(rounds):
            batch = [rows.randrange(ROWS) for _ in range(rows.randrange(1, 4))]
            wrong += int((features[batch] != expected[batch]).any())
            wrong += int(sum(block.nbytes for block in features._shards._snapshot[1].values()) > limit)
        return wrong

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(work, range(16))) == [0] * 16


def in_a_fork(work: Callable[[], None]) -> bool:
    """Say whether `work` ends without an error in a forked child; one that hangs is ended after 30 seconds."""
    process = os.fork()
    if process == 0:
        signal.alarm(30)
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitpid(process, 0)[1] == 0


@needs_fork
@forks
def test_a_forked_child_hashes_for_itself(entry: Entry, reads: list[int]) -> None:
    features = open_features(entry.folder)
    expected = features[:]
    assert reads == list(range(SHARDS))
    reads.clear()

    def equal() -> None:
        np.testing.assert_array_equal(features[:], expected)
        assert reads == list(range(SHARDS))

    assert in_a_fork(equal)
    damage(entry, 3)
    reads.clear()
    np.testing.assert_array_equal(features[:], expected)
    assert reads == [], "the parent has the bytes that it proved"

    def refused() -> None:
        np.testing.assert_array_equal(features[:24], expected[:24])
        with pytest.raises(BadCache, match="a shard is corrupt"):
            features[24]
        with pytest.raises(BadCache, match="a shard is corrupt"):
            features.numpy()

    assert in_a_fork(refused)


@pytest.mark.slow
@needs_fork
@forks
@pytest.mark.usefixtures("quick_switches")
def test_a_fork_amid_reading_threads_finds_no_lock_held(entry: Entry) -> None:
    features = open_features(entry.folder, keep_bytes=SHARD_BYTES)
    expected = features[:]
    done = threading.Event()

    def keep_reading(seed: int) -> int:
        rows, count = random.Random(seed), 0
        while not done.is_set():
            features[rows.randrange(ROWS)]
            count += 1
        return count

    def child() -> None:
        np.testing.assert_array_equal(features[:], expected)
        assert features.row(entry.sample_ids[-1]) == ROWS - 1

    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(keep_reading, seed) for seed in range(4)]
        try:
            all_ended = all(in_a_fork(child) for _ in range(8))
        finally:
            done.set()
        assert all(reader.result() for reader in readers)
    assert all_ended


@pytest.mark.slow
@forks
@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")
@pytest.mark.parametrize(("start", "workers"), [pytest.param("fork", 2, marks=needs_fork), ("spawn", 1)])
def test_the_workers_of_a_loader_read_the_same_rows(start: str, workers: int, entry: Entry) -> None:
    features = open_features(entry.folder)
    expected = features.numpy()
    labels = np.arange(ROWS) * 3
    data = features.torch_dataset(labels)
    assert features[0].shape == (DIM,), "the parent has read before its workers start"
    loader = DataLoader(
        data,
        batch_size=7,
        shuffle=True,
        generator=torch.Generator().manual_seed(0),
        num_workers=workers,
        multiprocessing_context=start,
        timeout=90,
    )
    batches = [tuple(batch) for batch in loader]
    values, found = torch.cat([batch[0] for batch in batches]), torch.cat([batch[1] for batch in batches])
    assert (values.dtype, found.dtype) == (torch.float32, torch.int64)
    assert sorted(found.tolist()) == labels.tolist()
    np.testing.assert_array_equal(values.numpy(), expected[found.numpy() // 3])


def test_what_is_pickled_is_the_path_and_the_key(entry: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    features = open_features(entry.folder.relative_to(tmp_path), keep_bytes=123)
    expected = features[:]
    data = pickle.dumps(features)
    rows = pickle.dumps(features.torch_dataset())
    # The values alone are 1,000 bytes, their hashes and sample ids 4,000.
    assert max(len(data), len(rows)) < 500 + len(os.fspath(entry.folder))
    monkeypatch.chdir("/")
    again = pickle.loads(data)  # noqa: S301
    np.testing.assert_array_equal(again[:], expected)
    assert pickle.dumps(again) == data
    assert pickle.dumps(open_features(entry.folder)) != data, "the limit is pickled too"
    np.testing.assert_array_equal(torch.stack(list(pickle.loads(rows))).numpy(), expected)  # noqa: S301
    with pytest.raises(BadCache, match="another entry has taken the place"):
        pickle.loads(data.replace(features.key.encode(), b"0" * 64))  # noqa: S301
    entry.folder.rename(tmp_path / entry.folder.name)
    with pytest.raises(MissingData, match=r"no cache entry here"):
        pickle.loads(data)  # noqa: S301


# The torch data set and its labels


def test_the_data_set_gives_rows_with_and_without_labels(entry: Entry) -> None:
    features = open_features(entry.folder)
    expected = features.numpy()
    alone = features.torch_dataset()
    assert isinstance(alone, Dataset)
    assert len(alone) == ROWS
    values = alone[-1]
    assert isinstance(values, torch.Tensor)
    assert values.dtype == torch.float32
    np.testing.assert_array_equal(values.numpy(), expected[-1])
    labels = np.arange(ROWS, dtype=np.uint8)
    data = features.torch_dataset(labels)
    labels[:] = 0
    item = data[17]
    np.testing.assert_array_equal(item[0].numpy(), expected[17])
    assert item[1] == 17
    with pytest.raises(IndexError):
        data[ROWS]


def labels_of(data: Any) -> list[int]:
    return [label for _, label in data]


def test_labels_are_joined_by_sample_id(entry: Entry) -> None:
    features = open_features(entry.folder)
    by_id = {name: place % 7 for place, name in enumerate(entry.sample_ids)}
    expected = list(by_id.values())
    backwards = dict(reversed(by_id.items())) | {"train/of another data set": 5}
    assert labels_of(features.torch_dataset(by_id)) == expected
    assert labels_of(features.torch_dataset(backwards)) == expected
    assert labels_of(features.torch_dataset(expected)) == expected
    del backwards["train/00003"], backwards["train/00048"]
    with pytest.raises(BadOption, match=r"for each of 50 sample ids, got none for 2, such as train/00003, train/00048"):
        features.torch_dataset(backwards)


class Series:
    """What pandas calls a Series, as far as it matters: values with an index, and no Mapping."""

    def __init__(self, values: dict[Any, int]) -> None:
        self._values = values
        self.keys = values.keys

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __getitem__(self, name: object) -> int:
        return self._values[name]

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return np.array(list(self._values.values()))


def test_a_series_is_joined_by_its_index_and_not_by_position(entry: Entry) -> None:
    features = open_features(entry.folder)
    backwards = {name: row for row, name in reversed(list(enumerate(entry.sample_ids)))}
    assert labels_of(features.torch_dataset(Series(backwards))) == list(range(ROWS))  # type: ignore[arg-type]
    with pytest.raises(BadOption, match=r"none for 50.*array of labels in row order"):
        features.torch_dataset(Series(dict.fromkeys(range(ROWS), 1)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "labels",
    [
        np.zeros(ROWS - 1, np.int64),
        np.zeros((ROWS, 1), np.int64),
        np.zeros(ROWS),
        np.zeros(ROWS, bool),
        ["1"] * ROWS,
    ],
    ids=["short", "column", "float", "bool", "text"],
)
def test_labels_that_are_none_are_refused(labels: Any, entry: Entry) -> None:
    with pytest.raises(BadOption, match=r"bad labels.*expected integers \[50\], got"):
        open_features(entry.folder).torch_dataset(labels)


# Finding the entry


def test_an_entry_is_found_by_the_beginning_of_its_key(
    entry: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    make_entry(cache, precision="bf16")
    for digits in (entry.key[:6], entry.key[:12], entry.key[:13], entry.key, entry.key[:20].upper()):
        assert open_features(digits, cache).folder == entry.folder
    monkeypatch.chdir(tmp_path)
    assert open_features(entry.key[:6]).folder == entry.folder
    assert open_features(os.path.relpath(entry.folder)).folder == entry.folder
    link = tmp_path / "abcdef"
    link.symlink_to(entry.folder)
    assert open_features("abcdef").key == entry.key, "a folder of that name comes first"


def test_an_unknown_key_lists_what_there_is(entry: Entry, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    other = make_entry(cache, precision="bf16")
    digits = "0" if entry.key[12] != "0" else "1"
    for unknown in ("0" * 6, entry.key[:12] + digits, "f" * 64):
        with pytest.raises(UnknownName, match=f"unknown key '{unknown}'") as caught:
            open_features(unknown, cache)
        for known in (entry, other):
            assert known.folder.relative_to(cache).as_posix() in str(caught.value)
        assert str(cache) in str(caught.value)


def test_a_key_that_several_entries_have_lists_them(entry: Entry, tmp_path: Path) -> None:
    twin = make_entry(tmp_path / "cache", dataset="copy")
    assert twin.key == entry.key
    with pytest.raises(BadOption, match="several entries begin like this") as caught:
        open_features(entry.key[:8], tmp_path / "cache")
    for one in (entry, twin):
        assert one.folder.relative_to(tmp_path / "cache").as_posix() in str(caught.value)
        assert open_features(one.folder).folder == one.folder


def test_what_names_no_entry_is_refused(entry: Entry, tmp_path: Path) -> None:
    with pytest.raises(BadOption, match=r"too few digits of a key.*6 or more, got abcde"):
        open_features("abcde", tmp_path / "cache")
    with pytest.raises(MissingData, match=r"no entry in this cache.*nowhere.*run extract"):
        open_features(entry.key, tmp_path / "nowhere")
    with pytest.raises(MissingData, match=r"no cache entry here.*nowhere.*run extract"):
        open_features(tmp_path / "nowhere")
    with pytest.raises(MissingData, match=r"no cache entry here.*toy-aa; run extract"):
        open_features(str(tmp_path / "toy-aa"))


def test_an_entry_that_is_not_whole_is_not_opened(entry: Entry) -> None:
    record = entry.shard_path(4).with_suffix(".json")
    data = record.read_bytes()
    record.unlink()
    with pytest.raises(MissingData, match=r"1 of 7 shards are missing.*run extract"):
        open_features(entry.folder)
    for path, good in ((record, data), (entry.folder / "entry.json", (entry.folder / "entry.json").read_bytes())):
        path.write_bytes(data[:-3] + bytes([data[-3] ^ 1]) + data[-2:])
        with pytest.raises(BadCache, match=f"a record of the cache is corrupt.*{path.name}"):
            open_features(entry.folder)
        path.write_bytes(good)
    assert len(open_features(entry.folder)) == ROWS


# The package


def test_importing_the_package_costs_nothing() -> None:
    program = (
        "import sys, probeline\n"
        "heavy = {'numpy', 'torch', 'h5py', 'scipy', 'sklearn', 'pandas'}\n"
        "assert not heavy & set(sys.modules)\n"
        "assert probeline.__version__ and 'open_features' in dir(probeline)\n"
        "probeline.open_features, probeline.EntryFeatures\n"
        "assert heavy & set(sys.modules) == {'numpy'}, heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


def test_the_package_names_what_is_public() -> None:
    assert set(probeline.__all__) <= set(dir(probeline))
    assert all(getattr(probeline, name) is not None for name in probeline.__all__)
    with pytest.raises(AttributeError, match="'probeline' has no attribute 'nope'"):
        probeline.nope  # noqa: B018
