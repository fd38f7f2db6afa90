"""Extraction: what was asked is in the cache in the rows' order, whatever happened on the way."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from probeline.cache.reading import open_entry, read_features
from probeline.cli.program import run_steps
from probeline.commands import extract
from probeline.environment import PACKAGES, installed
from probeline.errors import BadCache, BadData, CannotWrite, Diverged, FoundUnreadable, Mismatch
from probeline.extraction import engine
from probeline.identity import TOKENS_FORMAT_VERSION, digest_bytes, seal, unseal
from probeline.options.command_line import command_line
from probeline.session import Session
from probeline.types import FloatArray
from small_runs import (
    ROWS,
    Listening,
    bomb,
    configuration,
    extracted,
    make_photos,
    shards,
    unreadable,
    watch_images,
)

pytestmark = pytest.mark.usefixtures("one_thread", "small_shards")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of digits, extracted in one go."""
    with pytest.MonkeyPatch.context() as patch, threadpool_limits(1):
        patch.setattr("probeline.cache.entry.ROWS_PER_SHARD", ROWS)
        cache = tmp_path_factory.mktemp("uninterrupted") / "cache"
        extracted(cache)
    files = shards(cache)
    assert len(files) == 1 + 4
    return files


# Order


@pytest.mark.parametrize("workers", [1, 3, 5])
def test_the_number_of_workers_changes_no_bit(workers: int, tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    extracted(tmp_path / "cache", workers=workers)
    assert shards(tmp_path / "cache") == uninterrupted


def test_batches_that_finish_out_of_order_shift_no_row(tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    delays = random.Random(0)
    last = {rows[-1] for shard in range(4) for rows in batches(shard)}
    finished: list[int] = []

    def slowly(row: int) -> None:
        if row in last:
            time.sleep(delays.random() / 50)
            finished.append(row)

    session = extracted(tmp_path / "cache", watch=slowly, workers=4)
    assert sorted(finished) == sorted(last)
    assert finished != sorted(finished)
    assert shards(tmp_path / "cache") == uninterrupted
    features = session.features(session.backbone("squeezenet1_1")[0], "all").features
    assert len(np.unique(features, axis=0)) == len(features), "equal rows would hide a shift"


def test_rows_are_those_of_each_image_alone(tmp_path: Path) -> None:
    together = features_of(extracted(tmp_path / "together"))
    alone = features_of(extracted(tmp_path / "alone", batch_size=1))
    # Batches of 6 and 1 may sum in another order: float32 through 18 convolutions, relative to the largest value.
    assert np.abs(together - alone).max() <= 1e-5 * np.abs(alone).max()


def features_of(session: Session) -> FloatArray:
    return session.features(session.backbone("squeezenet1_1")[0], "all").features


# What is recorded


def test_provenance_says_where_and_how(tmp_path: Path) -> None:
    session = extracted(tmp_path / "cache")
    found = session.features(session.backbone("squeezenet1_1")[0], "all")
    assert len(found.provenance) == 4
    for shard in found.provenance:
        assert shard["device"] == "CPU"
        assert (shard["batch_size"], shard["workers"]) == (6, 2)
        assert shard["folded_batchnorms"] == 0
        assert shard["seconds"] > 0
        for package in PACKAGES:
            assert shard.get(package) == installed(package)
    assert found.seconds == pytest.approx(sum(shard["seconds"] for shard in found.provenance))


def test_a_limit_makes_a_data_set_of_its_own(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    places = {
        extracted(cache, **options).dataset.name: options
        for options in ({"limit": 30}, {"limit": 40}, {"limit": 30, "data_seed": 1})
    }
    assert list(places) == ["digits-limit30", "digits-limit40", "digits-limit30-dataseed1"]
    keys = {path.parent.name for path in cache.rglob("entry.json")}
    assert len(keys) == 3
    assert {path.name for path in cache.iterdir() if path.is_dir()} == places.keys()
    before = shards(cache)
    extracted(cache, limit=30, seed=5, seeds=3, epochs=7)
    assert shards(cache) == before, "the seed of fitting is none of the data set's"


def test_what_is_there_is_proven_and_left_alone(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    extracted(cache)
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in cache.rglob("*") if path.is_file()}
    console = Listening()
    extract.run(watch_images(Session(configuration(cache, console=console)), unreadable))
    assert "up to date, 60 rows in" in console.said[0]
    assert "(checksums of " in console.said[0]
    after = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in cache.rglob("*") if path.is_file()}
    assert after == before


# Images that cannot be read


def spoil(path: Path, fault: str) -> None:
    """Spoil a photo so that it cannot be decoded; a bomb is found only where it is used."""
    good = path.read_bytes()
    faults = {"truncated": good[: len(good) // 2], "bomb": bomb(60_000, 60_000), "empty": b"", "text": b"no photo"}
    path.write_bytes(faults[fault])


def run_extract(cache: Path, **options: Any) -> tuple[dict[str, Any], list[str]]:
    console = Warned()
    settings = configuration(cache, console=console, limit=None, **options)
    return run_steps(settings, [(settings, ("extract",))]), console.said


class Warned(Listening):
    """A console that keeps warnings too."""

    def warn(self, line: str) -> None:
        self.said.append(line)


@pytest.mark.parametrize("fault", ["truncated", "bomb", "empty", "text"])
def test_an_unreadable_image_is_left_out_as_if_its_file_were_not_there(fault: str, tmp_path: Path) -> None:
    root = make_photos(tmp_path / "photos")
    broken, folder = root / "ants" / "3.jpg", f"folder:{root}"
    spoil(broken, fault)
    results, said = run_extract(tmp_path / "cache", dataset=folder)
    (entry,) = results["extract"]
    assert entry["shape"] == [19, 512]
    (image,) = results["unreadable"]
    assert (image["part"], image["sample_id"]) == ("all", "ants/3.jpg")
    listed = tmp_path / "reports" / "folder--photos" / "unreadable.csv"
    (line,) = [line for line in said if "left out" in line]
    assert line.startswith("1 of 20 images cannot be read and is left out: ants/3.jpg (")
    assert line.endswith(f"; all are in {listed}; --strict stops instead")
    assert list(csv.reader(listed.read_text().splitlines()))[1] == ["ants/3.jpg", image["reason"], image["content"]]
    with pytest.raises(BadData, match=r"an image cannot be read: folder--photos \(got ants/3\.jpg.*without --strict"):
        run_extract(tmp_path / "cache", dataset=folder, strict=True)

    # A warm run decodes nothing, another process comes to the same rows, and so does a user without that file.
    session = Session(configuration(tmp_path / "cache", dataset=folder, limit=None))
    extract.run(watch_images(session, unreadable))
    broken.unlink()
    results, said = run_extract(tmp_path / "cache", dataset=folder)
    assert (results["extract"][0]["key"], results["extract"][0]["extracted_shards"]) == (entry["key"], 0)
    assert "unreadable" not in results
    assert not listed.exists()


def test_images_found_unreadable_on_the_way_cost_no_second_pass_over_the_others(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    make_photos(root / "train", n=20)
    make_photos(root / "test", seed=1)
    broken = ["train/bees/9.jpg", "test/bees/8.jpg", "train/ants/19.jpg"]
    for name in broken:
        spoil(root / name, "bomb")
    nets = ("squeezenet1_1", "squeezenet1_0")
    results, said = run_extract(tmp_path / "cache", dataset=f"folder:{root}", backbones=nets)
    assert sum("turned out to be unreadable" in line for line in said) == 1
    assert sorted(image["sample_id"] for image in results["unreadable"]) == sorted(broken)
    assert [entry["shape"][0] for entry in results["extract"]] == [38, 19, 38, 19]
    # Each unreadable image costs the others of its batch of six, once.
    passes = [line for line in said if " x squeezenet1_1: " in line]
    assert [line.partition(": ")[2].partition(" on ")[0] for line in passes if " images on " in line] == [
        "folder--photos/train x squeezenet1_1: 40 images",
        "folder--photos/test x squeezenet1_1: 20 images",
        "folder--photos/train x squeezenet1_1: 6 images",
        "folder--photos/test x squeezenet1_1: 3 images",
    ]
    assert len(list((tmp_path / "cache").rglob("entry.json"))) == 4, "what cannot be completed is removed"
    plain = [path for name in broken if (path := root / name).exists()]
    for path in plain:
        path.unlink()
    extracted(tmp_path / "plain", dataset=f"folder:{root}", limit=None, backbones=nets)
    first, other = (entries_of(tmp_path / name) for name in ("cache", "plain"))
    assert first.keys() == other.keys()
    for name, features in first.items():
        assert np.allclose(features, other[name], rtol=1e-5, atol=1e-6)


def entries_of(cache: Path) -> dict[str, FloatArray]:
    """Return the features of each entry of a cache by its folder."""
    folders = [path.parent for path in cache.rglob("entry.json")]
    return {str(path.relative_to(cache)): read_features(open_entry(path)).features for path in folders}


def test_a_disk_that_fails_is_no_verdict_on_an_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_photos(tmp_path / "photos")
    session = Session(configuration(tmp_path / "cache", dataset=f"folder:{root}", limit=None))
    assert len(session.dataset.parts["all"]) == 20
    (root / "ants" / "3.jpg").rename(tmp_path / "away.jpg")
    with pytest.raises(BadData, match=r"an image cannot be read: .*3\.jpg \(No such file or directory\)") as caught:
        extract.run(session)
    assert not isinstance(caught.value, FoundUnreadable)
    (tmp_path / "away.jpg").rename(root / "ants" / "3.jpg")
    assert run_extract(tmp_path / "cache", dataset=f"folder:{root}")[0]["extract"][0]["shape"] == [20, 512]


def test_an_image_that_labels_drop_need_not_be_readable(tmp_path: Path) -> None:
    root = make_photos(tmp_path / "photos")
    spoil(root / "ants" / "3.jpg", "bomb")
    spoil(root / "bees" / "4.jpg", "empty")
    lines = {f"{kind}/{n}.jpg": kind for kind in ("ants", "bees") for n in range(10)}
    lines |= {"ants/3.jpg": "", "bees/4.jpg": ""}
    labels = tmp_path / "labels.csv"
    labels.write_text("sample_id,label\n" + "".join(f"{name},{label}\n" for name, label in lines.items()))
    options = {"dataset": f"folder:{root}", "labels": labels, "strict": True}
    results, said = run_extract(tmp_path / "cache", **options)
    assert results["extract"][0]["shape"] == [18, 512]
    assert "unreadable" not in results
    assert not any("left out" in line for line in said)
    labels.write_text(labels.read_text().replace("bees/4.jpg,", "bees/4.jpg,bees"))
    with pytest.raises(BadData, match=r"an image cannot be read: .*bees/4\.jpg"):
        run_extract(tmp_path / "cache", **options)


def test_a_class_of_which_nothing_can_be_read_is_named(tmp_path: Path) -> None:
    root = make_photos(tmp_path / "photos", n=4)
    for path in (root / "ants").iterdir():
        spoil(path, "text")
    with pytest.raises(BadData, match=r"class 'ants' has no image that can be read.*got 4 files: a text"):
        run_extract(tmp_path / "cache", dataset=f"folder:{root}")


# Caches that are not what they say


def entry_of(cache: Path) -> Path:
    (path,) = cache.rglob("entry.json")
    return path.parent


def foreign_hdf5() -> bytes:
    with h5py.File("foreign", "w", driver="core", backing_store=False) as file:
        file.create_dataset("embeddings", data=np.zeros((16, 3)))
        file.flush()
        return bytes(file.id.get_file_image())


def flip(folder: Path) -> None:
    path = folder / "shard-00001.h5"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def replace_by_foreign(folder: Path) -> None:
    (folder / "shard-00001.h5").write_bytes(foreign_hdf5())


def vouch_for_foreign(folder: Path) -> None:
    data = foreign_hdf5()
    path = folder / "shard-00001.h5"
    path.write_bytes(data)
    record = unseal(path.with_suffix(".json").read_bytes())
    assert record is not None
    path.with_suffix(".json").write_bytes(seal({**record, "bytes": len(data), "file_sha256": digest_bytes(data)}))


def remove_shard(folder: Path) -> None:
    (folder / "shard-00001.h5").unlink()


def spoil_record(folder: Path) -> None:
    path = folder / "shard-00001.json"
    path.write_bytes(path.read_bytes().replace(b'"shard":1', b'"shard":2'))


def another_version(folder: Path) -> None:
    record = unseal((folder / "entry.json").read_bytes())
    assert record is not None
    (folder / "entry.json").write_bytes(seal({**record, "format": TOKENS_FORMAT_VERSION + 1}))


@pytest.mark.parametrize(
    ("fault", "named", "words"),
    [
        (flip, "shard-00001.h5", "a shard is corrupt"),
        (replace_by_foreign, "shard-00001.h5", "a shard is corrupt"),
        (vouch_for_foreign, "shard-00001.h5", "no shard of Probeline"),
        (remove_shard, "shard-00001.h5", "a shard is missing"),
        (spoil_record, "shard-00001.json", "a record of the cache is corrupt"),
        (another_version, "entry.json", "written by a newer version of Probeline"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_damaged_cache_is_refused_and_its_remedy_heals_it(
    fault: Callable[[Path], None], named: str, words: str, tmp_path: Path, uninterrupted: dict[str, bytes]
) -> None:
    cache = tmp_path / "cache"
    session = extracted(cache)
    folder = entry_of(cache)
    fault(folder)
    with pytest.raises(BadCache, match=words) as caught:
        session.features(session.backbone("squeezenet1_1")[0], "all")
    assert str(folder / named) in str(caught.value)
    if fault is not vouch_for_foreign:  # hashes prove that a shard is its record's; only reading looks inside
        with pytest.raises(BadCache, match=words):
            extracted(cache)
    if fault is another_version:
        extracted(tmp_path / "another")
        cache = tmp_path / "another"
    else:
        assert "then run extract again" in str(caught.value)
        for suffix in (".h5", ".json"):
            (folder / f"shard-00001{suffix}").unlink(missing_ok=True)
        extracted(cache)
    assert shards(cache) == uninterrupted


def test_features_that_are_not_finite_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(configuration(tmp_path / "cache"))
    loaded = session.net("squeezenet1_1")
    next(loaded.net.parameters()).data.fill_(float("inf"))
    built = engine.Engine(session, loaded.backbone, loaded=loaded)
    with pytest.raises(Diverged, match=r"not finite.*--precision"):
        built.fill(engine.ShardRequest(session.entry(loaded.backbone, "all"), [0]))
    assert not list(tmp_path.rglob("*.h5"))


def test_a_net_of_another_preprocessing_than_its_record_is_refused(tmp_path: Path) -> None:
    session = Session(configuration(tmp_path / "cache"))
    record = session.backbone("squeezenet1_1")[0]
    other = replace(record, preprocess=replace(record.preprocess, mean=(0.5, 0.5, 0.5)))
    with pytest.raises(Mismatch, match=r"wrong about squeezenet1_1 .*: it is dropped \(expected preprocess "):
        engine.Engine(session, other)


# Cut short


@pytest.mark.parametrize("batch", [0, 4, 7])
def test_an_interrupted_run_goes_on_where_it_stopped(
    batch: int, tmp_path: Path, uninterrupted: dict[str, bytes]
) -> None:
    firsts = {rows[0] for shard in range(4) for rows in batches(shard)}

    def interrupt(row: int) -> None:
        if row in firsts and row // 6 >= batch:
            raise KeyboardInterrupt

    cache = tmp_path / "cache"
    with pytest.raises(KeyboardInterrupt):
        extracted(cache, watch=interrupt)
    kept = {path: path.stat().st_mtime_ns for path in cache.rglob("shard-*")}
    # A shard of 16 rows is batches of 6, 6 and 4; the fault is told by a batch's first row.
    assert {path.name for path in kept if path.suffix == ".h5"} == {
        f"shard-{number:05d}.h5" for number in range(4) if all(rows[0] // 6 < batch for rows in batches(number))
    }
    extracted(cache)
    assert shards(cache) == uninterrupted
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def batches(shard: int) -> list[range]:
    """Return the rows of each batch of a shard of the 60 images."""
    end = min((shard + 1) * ROWS, 60)
    return [range(start, min(start + 6, end)) for start in range(shard * ROWS, end, 6)]


CHILD = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from probeline.cache import entry
entry.ROWS_PER_SHARD = 16
from probeline.extraction import engine
read_batch = engine.read_batch
def slowly(images, rows, *arguments):
    time.sleep(0.1 if rows[0] < 32 else 20 if rows[0] >= 48 else 0.5)
    return read_batch(images, rows, *arguments)
engine.read_batch = slowly
from probeline.cli.program import entry_point
sys.argv[0] = "probeline"
entry_point()
"""


@pytest.mark.slow
def test_a_real_interrupt_keeps_what_is_finished(tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    cache = tmp_path / "cache"
    command = command_line(configuration(cache, workers=1), "extract")
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, *shlex.split(command)[1:]],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        deadline = time.monotonic() + 120
        while child.poll() is None and not list(cache.rglob("shard-00001.json")) and time.monotonic() < deadline:
            time.sleep(0.05)
        for _ in range(3):  # an impatient finger
            child.send_signal(signal.SIGINT)
            time.sleep(0.02)
        # The batch under way ends first, so the signal comes while the third shard's are read.
        out, err = child.communicate(timeout=120)
    finally:
        child.kill()
    assert child.returncode == 130
    assert err == "probeline: interrupted; what is finished is kept, and the same command goes on from there\n"
    assert "60 images" in out or not out
    kept = {path: path.stat().st_mtime_ns for path in cache.rglob("shard-*")}
    assert {"shard-00000.json", "shard-00001.json"} <= {path.name for path in kept}
    assert "shard-00003.json" not in {path.name for path in kept}
    assert not list(cache.rglob("*.tmp"))
    extracted(cache)
    assert shards(cache) == uninterrupted
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


# Several processes

WORKER = """
import os, sys, time
from small_runs import ROWS
from probeline.cache import entry
entry.ROWS_PER_SHARD = ROWS
from probeline.extraction import engine
read_batch = engine.read_batch
def telling(images, rows, *arguments):
    with open(os.environ["TOLD"], "a") as told:
        told.write(f"{os.environ['WHO']} {rows[0]}\\n")
    time.sleep(0.2)
    return read_batch(images, rows, *arguments)
engine.read_batch = telling
from probeline.cli.program import entry_point
sys.argv[0] = "probeline"
entry_point()
"""


def worker(who: str, cache: Path, told: Path) -> subprocess.Popen[str]:
    command = command_line(configuration(cache, workers=1), "extract")
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, *shlex.split(command)[1:]],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "TOLD": str(told),
            "WHO": who,
        },
    )


@pytest.mark.slow
def test_processes_share_the_work_and_no_row_is_done_twice(tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    cache, told = tmp_path / "cache", tmp_path / "told"
    children = [worker(who, cache, told) for who in ("one", "other")]
    for child in children:
        assert child.communicate(timeout=240)[1] == ""
        assert child.returncode == 0
    assert shards(cache) == uninterrupted
    assert not list(cache.rglob("*.lock"))
    lines = [line.split() for line in told.read_text().splitlines()]
    assert sorted(int(row) for _, row in lines) == sorted(row for shard in range(4) for row, *_ in batches(shard))


def test_a_killed_process_holds_up_nobody(tmp_path: Path, uninterrupted: dict[str, bytes]) -> None:
    cache, told = tmp_path / "cache", tmp_path / "told"
    victim = worker("victim", cache, told)
    try:
        deadline = time.monotonic() + 120
        while victim.poll() is None and not list(cache.rglob("shard-00000.json")) and time.monotonic() < deadline:
            time.sleep(0.02)
        victim.kill()
        victim.communicate()
        assert list(cache.rglob("*.lock")), "it died with a claim in its hand"
        finished = {record.with_suffix(".lock") for record in cache.rglob("shard-*.json")}
    finally:
        victim.kill()
    done: list[int] = []
    extracted(cache, watch=done.append)
    assert shards(cache) == uninterrupted
    # Nobody asks for a shard that is done, so what is killed between record and release leaves its lock to gc.
    assert set(cache.rglob("*.lock")) <= finished
    assert len(done) == len(set(done)), "what the survivor did, it did once"
    assert 0 not in done, "what the victim had finished stayed"


# Disks that refuse


def refusing(call: Callable[..., Any], code: int, after: int) -> Callable[..., Any]:
    """Return `call` that works `after` times and then fails for ever."""
    calls = iter(range(after))

    def wrapped(*arguments: Any, **options: Any) -> Any:
        if next(calls, None) is None:
            raise OSError(code, os.strerror(code))
        return call(*arguments, **options)

    return wrapped


@pytest.mark.parametrize("after", [0, 1, 4])
@pytest.mark.parametrize(("call", "code"), [("write", errno.ENOSPC), ("fsync", errno.ENOSPC), ("open", errno.EACCES)])
def test_a_disk_that_refuses_loses_nothing_that_was_written(
    call: str, code: int, after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uninterrupted: dict[str, bytes]
) -> None:
    cache = tmp_path / "cache"
    session = Session(configuration(cache))
    session.backbone("squeezenet1_1")  # its memo is written, and may fail to be in silence, elsewhere
    with monkeypatch.context() as patch:
        patch.setattr(os, call, refusing(getattr(os, call), code, after))
        with pytest.raises(CannotWrite, match=f"cannot write: .*{os.strerror(code)}.*run again: what is finished"):
            extract.run(session)
    assert not [path for path in cache.rglob("*.tmp") if call != "open"]
    whole = {name: data for name, data in shards(cache).items() if name.endswith(".h5")}
    assert whole.items() <= uninterrupted.items(), "no half-written shard has a shard's name"
    kept = {path: path.stat().st_mtime_ns for path in cache.rglob("shard-*")}
    extracted(cache)
    assert shards(cache) == uninterrupted
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOSPC])
def test_a_file_system_without_links_does_as_well(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uninterrupted: dict[str, bytes]
) -> None:
    monkeypatch.setattr(os, "link", refusing(os.link, code, 0))
    extracted(tmp_path / "cache")
    assert shards(tmp_path / "cache") == uninterrupted


def test_records_are_json_that_anyone_can_read(tmp_path: Path) -> None:
    extracted(tmp_path / "cache")
    records = sorted(tmp_path.rglob("shard-*.json"))
    assert [json.loads(path.read_bytes())["rows"] for path in records] == [[0, 16], [16, 32], [32, 48], [48, 60]]
    with h5py.File(io.BytesIO(records[0].with_suffix(".h5").read_bytes())) as file:
        assert file["features/penultimate"].shape == (16, 512)
