"""A short, seeded sample of every check of the fault suite; and a sabotaged store, which each must notice."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from torch import Tensor, nn

from faults import (
    __main__ as suite,
)
from faults import (
    archives,
    artifacts,
    bombs,
    command_line,
    damage,
    every_call,
    folder_trees,
    foreign_text,
    kills,
    machine,
    pictures,
    power,
    readers,
    records,
    refusals,
    removals,
    small_disk,
    special_files,
    trainings,
    weights,
    writers,
)
from faults.figures import Figures
from probeline import disk
from probeline.backbones.weights import state_dict
from probeline.cache import prune, reading, writing
from probeline.cache.entry import Entry
from probeline.cache.features import EntryFeatures
from probeline.cache.format.records import ShardRecord
from probeline.cache.reuse import KnownRows
from probeline.cli import console as terminal
from probeline.data.archives import unpack as room
from probeline.data.folders import walk
from probeline.data.pixels import decode as picture_decoder
from probeline.export import format as artifact_files
from probeline.files import decode
from probeline.files import reading as guarded
from probeline.finetuning import checkpoint
from probeline.options.share import Share
from probeline.results import store
from probeline.types import FloatArray

pytestmark = pytest.mark.usefixtures("one_thread")

Run = Callable[[int, int], Figures]


def named(value: object) -> str | None:
    """Return what a check is called in a test's name."""
    value = getattr(value, "func", value)
    name = getattr(value, "__name__", None)
    return f"{value.__module__.rpartition('.')[2]}.{name}" if name and callable(value) else name


@pytest.mark.parametrize(
    ("run", "count"),
    [
        (kills.run, 5),
        pytest.param(trainings.run, 1, marks=pytest.mark.slow),
        (every_call.run, 10),
        pytest.param(partial(command_line.run, images=1100), 1, marks=pytest.mark.slow),
        (damage.run, 120),
        (damage.run_cuts, 70),
        (refusals.run, 20),
        (small_disk.run, 4),
        (removals.run, 60),
        (writers.run, 1),
        (writers.run_shared, 3),
        (writers.run_between, 4),
        (writers.run_other_bits, 4),
        (power.run, 20),
        pytest.param(readers.run, 1, marks=pytest.mark.slow),
        pytest.param(readers.run_fresh, 1, marks=pytest.mark.slow),
        (archives.run, 40),
        pytest.param(artifacts.run, 40, marks=pytest.mark.slow),
        pytest.param(artifacts.run_files, 30, marks=pytest.mark.slow),
        (pictures.run, 150),
        pytest.param(special_files.run, 3, marks=pytest.mark.slow),
        pytest.param(folder_trees.run, 40, marks=pytest.mark.slow),
        pytest.param(foreign_text.run, 40, marks=pytest.mark.slow),
        pytest.param(weights.run, 60, marks=pytest.mark.slow),
        pytest.param(bombs.run, 1, marks=pytest.mark.slow),
        (machine.run, 2),
        (records.run_scores, 10),
        (records.run_reports, 14),
        (records.run_cache, 45),
        (records.run_files, 100),
    ],
    ids=named,
)
def test_nothing_is_lost(run: Run, count: int) -> None:
    found = run(count, 1)
    assert found.lost == 0, found.note
    assert found.held == found.tried >= count
    assert not found.control


@pytest.mark.parametrize("checksums", [False, True], ids=["plain", "fletcher32"])
def test_a_reader_without_proofs_is_what_damage_is_for(checksums: bool) -> None:
    found = damage.run_plain(600, 0, checksums=checksums)
    assert found.control
    assert found.tried == found.held + found.lost == 600
    # Of all flips two in five are read wrongly without checksums, and two in a thousand with them.
    assert found.lost > 100 or checksums


# Each check finds what it is there for


def in_place(path: Path, data: bytes | Iterable[bytes], *, replace: bool = False) -> bool:
    """Write as most programs do."""
    if path.exists() and not replace:
        return False
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    for piece in [data] if isinstance(data, bytes) else data:
        os.write(descriptor, piece)
    os.close(descriptor)
    return True


def unsynced(path: Path, pieces: Iterable[bytes], mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    for piece in pieces:
        os.write(descriptor, piece)
    os.close(descriptor)


def believing(entry: Entry, number: int) -> tuple[bytes, ShardRecord]:
    """Stand in for the proof of a shard."""
    record = reading.find_shard_record(entry, number)
    assert record is not None
    return entry.shard_path(number).read_bytes(), record


def trusting(record_class: type, values: Any) -> Any:
    """Stand in for the decoder, and refuse nothing."""
    with contextlib.suppress(decode.BadRecord):
        return decode.decode(record_class, values)
    record = object.__new__(record_class)
    for name, value in values.items():
        object.__setattr__(record, name, tuple(value) if isinstance(value, list) else value)
    return record


def record_first(entry: Entry, number: int, features: FloatArray, provenance: Mapping[str, Any]) -> None:
    """Vouch for a shard before it is there."""
    real = disk.publish
    waiting: list[tuple[Path, bytes]] = []

    def publish(path: Path, data: bytes, *, replace: bool = False) -> bool:
        if path.suffix == ".h5":
            waiting.append((path, data))
            return True
        published = real(path, data, replace=replace)
        for late in waiting:
            real(*late)
        return published

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(disk, "publish", publish)
        WRITE_SHARD(entry, number, features, provenance)


WRITE_SHARD = writing.write_shard


def through_links(top: Path, path: Path) -> None:
    """Remove what a path leads to."""
    path.resolve().unlink(missing_ok=True)


def swapped(self: EntryFeatures, index: Any) -> FloatArray:
    return self.numpy()[index][::-1]


def copied_upside_down(
    self: KnownRows, features: FloatArray, rows: range, provenance: Mapping[str, Any]
) -> dict[str, Any]:
    facts = COPY_INTO(self, features, rows, provenance)
    features[:] = features[::-1].copy()
    return facts


COPY_INTO = KnownRows.copy_into


def unforeseen(path: str, expected: str, value: object) -> None:
    """Refuse a value of a record as code does that expects none other."""
    raise TypeError(f"{path} is no {expected}")


def forgetful(net: nn.Module, optimizer: object, tensors: Mapping[str, Tensor]) -> None:
    """Stand in for `restore`, and lose what the optimizer knows."""
    net.load_state_dict({name.removeprefix("net."): t for name, t in tensors.items() if name.startswith("net.")})


@pytest.mark.slow
@pytest.mark.parametrize(
    ("run", "count", "place", "name", "sabotage"),
    [
        (every_call.run, 12, disk, "publish", in_place),
        (every_call.run, 12, writing, "write_shard", record_first),
        (damage.run, 150, reading, "_verified_bytes", believing),
        (writers.run_shared, 4, Share, "order", lambda share, shards: [n for n in shards if n % 4 == share.index]),
        (refusals.run, 30, disk, "_refusals_named", lambda path: contextlib.nullcontext()),
        (small_disk.run, 3, disk, "_refusals_named", lambda path: contextlib.nullcontext()),
        (removals.run, 60, prune, "is_own", lambda name: True),
        (removals.run, 200, disk, "remove_below", through_links),
        (power.run, 30, disk, "_write_synced", unsynced),
        (power.run, 30, disk, "sync_folder", lambda folder: None),
        (readers.run, 1, EntryFeatures, "__getitem__", swapped),
        (archives.run, 60, room, "_check_path", lambda name, top: PurePosixPath(name.lstrip("/"))),
        (
            partial(special_files.run, kinds=["a pipe"], limit=15),
            2,
            guarded,
            "open_file",
            lambda path, kind: path.open("rb"),
        ),
        (foreign_text.run, 10, terminal, "printable", str),
        (artifacts.run, 30, decode, "_refuse", unforeseen),
        (artifacts.run_files, 60, artifact_files, "_check_digest", lambda artifact, path, found: None),
        (partial(bombs.run, bombs_alone=3), 1, picture_decoder, "check_cost", lambda data: False),
        (weights.run, 1, state_dict, "check_torch_file", lambda path: None),
        (pictures.run, 60, pictures, "decode", lambda path, sha256: pictures.Image.new("RGB", (1, 1))),
        (folder_trees.run, 20, walk, "MOST_DEEP", 2),
        (partial(machine.run, shrink=False), 10, KnownRows, "copy_into", copied_upside_down),
        (records.run_scores, 16, store, "decode", trusting),
        (records.run_cache, 60, reading, "decode", trusting),
        (partial(trainings.run, span=(0.3, 0.7)), 2, checkpoint, "restore", forgetful),
    ],
    ids=named,
)
def test_a_sabotaged_store_is_caught(
    run: Run, count: int, place: Any, name: str, sabotage: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(place, name, sabotage)
    assert run(count, 2).lost > 0


# The report


def test_the_report_lists_what_was_lost_and_what_was_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = Figures("A fault", 1000, 1000, 0, "how")
    checks = [
        suite.Check(lambda count, seed: good, 1),
        suite.Check(lambda count, seed: dataclasses.replace(good, name="h5py", lost=7, control=True), None),
    ]
    for number, check in enumerate(checks):
        check.run.__name__ = f"run{number}"
    assert suite.main([f"--reports={tmp_path}"], checks) == 0
    text = (tmp_path / "faults" / "report.md").read_text(encoding="utf-8")
    assert "| A fault | 1,000 | 1,000 | 0 | how |" in text
    assert text.index("read by h5py") < text.index("| h5py | 1,000 | 1,000 | 7 | how |")
    assert "1,000 faults, 0 lost" in text
    found = json.loads((tmp_path / "faults" / "report.json").read_bytes())
    assert [check["tried"] for check in found["checks"]] == [1000, 1000]
    assert "python" in found["environment"]

    def broken(count: object, seed: int) -> Figures:
        raise OSError("no room")

    assert suite.main([f"--reports={tmp_path}"], [*checks, suite.Check(broken, 1)]) == 1
    assert "the check itself failed: OSError('no room')" in capsys.readouterr().out
