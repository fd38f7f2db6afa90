"""Extraction with a store: machines without a common disk share the work, and one of them gets all of it."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

import small_crews
from made_stores import BUCKET, Watched, s3_server
from probeline.cache.reading import missing_shards, read_features, verify_entry
from probeline.cli import main
from probeline.crews import work
from probeline.crews.crew import Job
from probeline.extraction import fill
from probeline.options.settings import Settings
from probeline.session import Session
from probeline.stores.folder import FolderStore
from small_crews import COMMAND, assert_same, entry_in
from small_shares import PROCESSES, SHARDS, make_place, passes, start


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for package in ("obstore", "moto"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    with s3_server(monkeypatch):
        yield BUCKET


@pytest.mark.slow
def test_machines_with_caches_of_their_own_share_the_work(tmp_path: Path, bucket: str) -> None:
    place = make_place(tmp_path)
    alone = start(place, "alone", None)
    processes = [
        start(place, f"machine-{number}", f"{number + 1}/{PROCESSES}", 0.1, "--store", bucket)
        for number in range(PROCESSES)
    ]
    while not all((place / f"machine-{number}.log").exists() for number in range(PROCESSES)):
        time.sleep(0.02)
        assert all(process.poll() in (None, 0) for process in processes)
    processes[3].send_signal(signal.SIGKILL)
    said = [process.communicate()[0] for process in (*processes, alone)]
    codes = [process.returncode for process in (*processes, alone)]
    assert codes == [0, 0, 0, -signal.SIGKILL, 0], "\n".join(said)
    ran = sum(passes(place, f"machine-{number}") for number in range(PROCESSES))
    assert SHARDS <= ran <= SHARDS + PROCESSES**2
    some = entry_in(place / "machine-0")
    left = len(missing_shards(some))
    assert left, "what others extracted stays in the store"

    last = start(place, "last", None, 0.1, "--store", bucket)
    words, _ = last.communicate()
    assert last.returncode == 0, words
    assert f"{SHARDS} shards fetched from the store (checksums verified)" in words
    assert "up to date" in words
    assert not (place / "last.log").exists() or passes(place, "last") == 0, "no image went through the net again"
    got, expected = entry_in(place / "last"), entry_in(place / "alone")
    assert verify_entry(got) > 0
    np.testing.assert_array_equal(read_features(got).features, read_features(expected).features)

    again = start(place, "machine-0", None, 0.1, "--store", bucket)
    words, _ = again.communicate()
    assert again.returncode == 0, words
    assert f"{left} shards fetched" in words
    for number in range(SHARDS):
        assert some.record_path(number).read_bytes() == got.record_path(number).read_bytes(), "one shard for all"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(small_crews.make_place(tmp_path))
    (tmp_path / "store").mkdir()
    return tmp_path


def test_listings_that_come_late_cost_passes_and_nothing_else(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main([*COMMAND, "--cache", "a", "--store", "store"]) == 0
    late = Late(FolderStore(place / "store"))
    monkeypatch.setattr(fill, "find_store", lambda _: late)
    assert main([*COMMAND, "--cache", "b", "--store", "store"]) == 0
    assert late.calls["publish"] == 0, "what is there is asked for before it is computed"
    assert_same(place / "a", place / "b")
    a, b = entry_in(place / "a"), entry_in(place / "b")
    assert all(a.record_path(n).read_bytes() == b.record_path(n).read_bytes() for n in range(small_crews.SHARDS))


class Late(Watched):
    """A store whose listings are empty."""

    def names_in(self, folder: str) -> set[str]:
        super().names_in(folder)
        return set()


def test_what_the_cache_had_before_goes_to_the_store(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main([*COMMAND, "--cache", "a"]) == 0
    capsys.readouterr()
    assert main([*COMMAND, "--cache", "a", "--store", "store"]) == 0
    assert f"{small_crews.SHARDS} shards of the cache written to the store" in capsys.readouterr().out
    monkeypatch.setenv("BROKEN", "1")
    assert main([*COMMAND, "--cache", "b", "--store", "store"]) == 0
    assert_same(place / "a", place / "b")
    assert main([*COMMAND, "--cache", "c", "--store", "store", "--share", "1/2"]) == 0
    said = capsys.readouterr().out
    assert f"up to date, {small_crews.SHARDS} shards in the cache or the store" in said
    assert not list(Path("c").glob("*/*/*/shard-*"))


def test_a_dry_run_counts_what_the_store_has(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [*COMMAND, "--dry-run", "--cache", "b", "--store", "store"]
    assert main([*COMMAND, "--cache", "a", "--store", "store"]) == 0
    for path in Path("store").rglob("shard-00000*"):
        path.unlink()
    capsys.readouterr()
    assert main(command) == 0
    assert "6,139 images, 5,115 cached" in capsys.readouterr().out
    assert not Path("b").exists()


class Elsewhere:
    """Workers on machines that share no disk with this one."""

    def run(self, jobs: Sequence[Job], at_once: int) -> list[str]:  # noqa: ARG002
        return [
            f"exit code {main([{'shared': f'machine-{number}'}.get(word, word) for word in job.words])}"
            for number, job in enumerate(jobs)
        ]


def test_a_crew_that_shares_no_disk_is_judged_by_the_store(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("probeline.crews.local.Local", lambda **_: Elsewhere())
    crew = ["--crew", "local", "--crew-size", "2", "--cache", "shared"]
    assert main([*COMMAND, *crew]) == 2
    assert "give a --cache that all machines share, or a --store" in capsys.readouterr().err
    assert main([*COMMAND, *crew, "--store", "store"]) == 0
    said = capsys.readouterr().out
    assert f"{small_crews.SHARDS} shards done, 0 missing" in said
    assert f"{small_crews.SHARDS} shards fetched from the store" in said
    assert main([*COMMAND, "--cache", "alone"]) == 0
    assert_same(place / "shared", place / "alone")


def test_a_crew_is_judged_by_what_the_store_has_and_not_by_what_it_lists(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("probeline.crews.local.Local", lambda **_: Elsewhere())
    late = Late(FolderStore(place / "store"))
    for module in (fill, work):
        monkeypatch.setattr(module, "find_store", lambda _: late)
    crew = ["--crew", "local", "--crew-size", "2", "--cache", "shared", "--store", "store"]
    assert main([*COMMAND, *crew]) == 0
    said = capsys.readouterr().out
    assert f"wave 1: 2 workers ended (2 x exit code 0); {small_crews.SHARDS} shards done, 0 missing" in said
    assert late.calls["publish"] == 2 * small_crews.SHARDS, "no shard twice"
    assert not missing_shards(entry_in(place / "shared"))


def test_a_crew_asks_for_single_shards_only_where_few_are_missing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    late = Late(FolderStore(place / "store"))
    assert main([*COMMAND, "--cache", "a", "--store", "store"]) == 0
    monkeypatch.setattr(work, "find_store", lambda _: late)
    monkeypatch.setattr(work, "_ASKED_FOR", 2)
    settings = Settings.of(dataset="arrays:images.npz", backbones=("python:net.py:make",), store="store")
    shards = work.Shards(Session(settings))
    shards.commands(2)
    assert shards.count_missing() == small_crews.SHARDS
    assert late.calls["exists"] == 0
    monkeypatch.setattr(work, "_ASKED_FOR", small_crews.SHARDS)
    assert shards.count_missing() == 0
    assert late.calls["exists"] == small_crews.SHARDS


def test_a_data_set_may_have_another_name_on_each_machine(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main([*COMMAND, "--cache", "a", "--store", "store"]) == 0
    Path("images.npz").rename("fotos.npz")
    monkeypatch.setenv("BROKEN", "1")
    other = ["arrays:fotos.npz" if word == "arrays:images.npz" else word for word in COMMAND]
    assert main([*other, "--cache", "b", "--store", "store", "--canary", "0"]) == 0
    a, b = entry_in(place / "a"), entry_in(place / "b")
    assert (a.key, a.dataset != b.dataset) == (b.key, True)
    np.testing.assert_array_equal(read_features(a).features, read_features(b).features)
