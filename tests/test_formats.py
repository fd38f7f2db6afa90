"""Files of an earlier version: today's code reads them all, computes the same keys, and does nothing anew."""

from __future__ import annotations

import json
import lzma
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import probeline
from probeline.cache.reading import entry_folders, open_entry
from probeline.cli import main
from probeline.files.decode import encode
from probeline.files.digests import FileDigests
from probeline.files.memo import Memo
from probeline.identity import unseal
from probeline.results.curve import CURVES
from probeline.results.findings import FINDINGS
from probeline.results.illustrations.embedding_map import MAPS
from probeline.results.illustrations.gallery import GALLERIES
from probeline.results.illustrations.picture import PICTURES as PICTURE_RECORDS
from probeline.results.latency import LATENCIES
from probeline.results.range_test import RANGE_TESTS
from probeline.results.score import SCORES
from probeline.results.store import RecordKind, SkippedFile

FILES = Path(__file__).parent / "made_by_0_1_0"
LATER_FILES = Path(__file__).parent / "made_by_0_2_0"
"""Files in formats that changed after the first ones, laid over these."""

NET = "--backbone timm:test_efficientnet --weights net.safetensors --image-size 32 --device cpu"
PICTURES = f"--dataset folder:pictures {NET}"
HEAD = "--strategy head --train augment=none"

EXTRACTIONS = (
    f"extract {PICTURES} --tap penultimate blocks.0 --views 1",
    f"extract --dataset digits --limit 1040 --tap blocks.0 {NET}",
)
SCORED = (
    f"probe {PICTURES} --sgd epochs=2 lr=0.01,0.001 --mlp epochs=2 width=4 lr=0.001",
    f"probe {PICTURES} --tap blocks.0+penultimate --views 1 --sgd epochs=2 lr=0.01",
    f"baselines {PICTURES}",
    f"baselines {PICTURES} --labels labels.csv --groups groups.csv",
    f"finetune {PICTURES} --epochs 2 {HEAD}",
    f"finetune {PICTURES} --epochs 2 --strategy full scratch gradual distill-head multi-task-head "
    "--teacher timm:test_efficientnet --second warm=red cold=green,blue",
)
EXAMINED = (
    f"curve {PICTURES} --epochs 1 --fractions 50 100 --shots 0 --draws 2 --curve-strategy head --train augment=none",
    f"lrfind {PICTURES} {HEAD}",
    f"pictures {PICTURES} --map tsne",
)

RECORDS: dict[str, tuple[RecordKind[Any, ...], int]] = {
    "score": (SCORES, 17),
    "curve": (CURVES, 2),
    "range test": (RANGE_TESTS, 1),
    "picture": (PICTURE_RECORDS, 3),
    "gallery": (GALLERIES, 1),
    "map": (MAPS, 1),
    "latency": (LATENCIES, 1),
}
"""Of each kind of record: its module, how that calls several, their folder in a report, and how many there are."""

Run = Callable[[str], Any]

pytestmark = pytest.mark.usefixtures("one_thread", "every_l2")


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the old files, unpacked, in which commands run."""
    folder = Path(shutil.copytree(FILES, tmp_path / "old"))
    for packed in folder.rglob("*.xz"):
        packed.with_suffix("").write_bytes(lzma.decompress(packed.read_bytes()))
        shutil.copystat(packed, packed.with_suffix(""))
        packed.unlink()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def run(old: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command line that must succeed, and return what its verb tells in JSON."""

    def run_line(line: str) -> Any:
        capsys.readouterr()
        assert main([*line.split(), "--json"]) == 0, capsys.readouterr().err
        return json.loads(capsys.readouterr().out)[line.split()[0]]

    return run_line


@pytest.fixture
def answers() -> Any:
    """What the old code read from its own files."""
    return json.loads((FILES / "answers.json").read_bytes())


def snapshot(folder: Path, pattern: str = "*") -> dict[str, tuple[int, int, bytes]]:
    """Return inode, mtime and content of every file: rewriting one changes them even if its bytes stay."""
    files = (path for path in folder.rglob(pattern) if path.is_file() and path.suffix != ".lock")
    return {str(path): (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes()) for path in files}


@contextmanager
def forward_passes() -> Iterator[list[str]]:
    """Give the names of all modules that run meanwhile."""
    names: list[str] = []
    hook = torch.nn.modules.module.register_module_forward_pre_hook(
        lambda module, inputs: names.append(type(module).__name__)
    )
    try:
        yield names
    finally:
        hook.remove()


def test_rows_of_entries_read_as_before(old: Path, answers: Any) -> None:
    assert {str(path.parent.relative_to(old)) for path in old.rglob("entry.json")} == set(answers["rows"])
    for folder, rows in answers["rows"].items():
        features = probeline.open_features(folder)
        np.testing.assert_array_equal(features[0], np.array(rows["first"], np.float32))
        np.testing.assert_array_equal(features[len(features) - 1], np.array(rows["last"], np.float32))


def test_todays_keys_are_those_on_disk(old: Path, run: Run, answers: Any) -> None:
    before = snapshot(old / "cache", "*-*/*")
    entries = [entry for line in EXTRACTIONS for entry in run(line)]
    assert {entry["folder"] for entry in entries} == set(answers["rows"])
    assert {entry["extracted_shards"] for entry in entries} == {0}
    with forward_passes() as modules:
        for line in EXTRACTIONS:
            run(line)
    assert not modules
    assert snapshot(old / "cache", "*-*/*") == before


def test_entries_and_the_checkpoint_are_proven(run: Run, answers: Any) -> None:
    told = run(f"verify {PICTURES} --tap penultimate blocks.0 --views 1")
    assert told["checkpoints"] == 1
    proven = {entry["folder"]: (entry["proven_shards"], entry["missing_shards"]) for entry in told["entries"]}
    assert proven == {folder: (2 if "digits" in folder else 1, 0) for folder in answers["rows"]}
    assert sum(entry["joined"] for entry in told["entries"]) == 6


def test_an_exported_entry_is_taken_in(old: Path, run: Run) -> None:
    told = run("cache import val.h5 --cache other")
    assert told["new_shards"] == 1
    own = old / "cache" / Path(told["folder"]).relative_to("other")
    assert (old / told["folder"] / "shard-00000.h5").read_bytes() == (own / "shard-00000.h5").read_bytes()
    taken, there = open_entry(old / told["folder"]), open_entry(own)
    assert taken.listed_record() == there.listed_record()


def test_entries_of_format_1_are_upgraded_on_request_and_answer_as_before(old: Path, run: Run) -> None:
    folders = list(entry_folders(old / "cache"))
    before = {folder: open_entry(folder).listed_record() for folder in folders}
    assert {unseal((folder / "entry.json").read_bytes())["format"] for folder in folders} == {1}
    assert sorted(run("cache upgrade")["upgraded"]) == sorted(f"cache/{f.relative_to(old / 'cache')}" for f in folders)
    assert {folder: open_entry(folder).listed_record() for folder in folders} == before
    for line in EXTRACTIONS:
        assert all(entry["extracted_shards"] == 0 for entry in run(line))


def test_the_memo_is_not_read_as_it_was_unsealed_and_what_it_said_is_found_again(old: Path, run: Run) -> None:
    path = old / "cache" / ".memo.json"
    before = json.loads(path.read_text().replace("/srv/example", str(old)))
    assert not any(Memo(path).get(name, [], tuple[str, ...]) for name in before if name.endswith(":files"))
    run(EXTRACTIONS[0])
    record = unseal(path.read_bytes())
    assert record

    def name_of(key: str) -> str:
        # The digest in a backbone's name is also of the versions of torch and timm.
        return re.sub(":[0-9a-f]{64}", "", key)

    after = {name_of(name): entry["value"] for name, entry in record["entries"].items()}
    digests = FileDigests(path.with_name(".memo-hashes.jsonl"))
    for name, entry in before.items():
        if name.startswith("image:"):
            assert digests.get(name.removeprefix("image:")) == entry["value"]
            continue
        was, now = entry["value"], after[name_of(name)]
        if name.endswith(":files"):
            assert now == was
        else:
            assert [[one[key] for key in ("weights_sha256", "tap", "dim")] for one in now["records"]] == [
                [one[key] for key in ("weights_sha256", "tap", "dim")] for one in was
            ]


@pytest.mark.parametrize("name", RECORDS)
def test_records_load_and_are_written_as_before(name: str, old: Path, tmp_path: Path) -> None:
    kind, count = RECORDS[name]
    folder = old / "reports" / "folder--pictures"
    records, skipped = kind.load(folder)
    assert (len(records), skipped) == (count, [])
    for record in records:
        file = kind.path_of(folder, record)
        png = file.with_suffix(".png").read_bytes() if kind.attachment else None
        assert kind.save(tmp_path / "again", record, png).read_bytes() == file.read_bytes()


def test_findings_of_the_doctor_are_made_again_next_to_the_old_ones(old: Path, run: Run) -> None:
    folder = old / "reports" / "folder--pictures"
    before = snapshot(folder)
    (path,) = folder.glob("doctor-*.json")
    reason = "has doctor version 1; this program reads 2: run its stage again"
    assert FINDINGS.load(folder) == ([], [SkippedFile(path, reason)])
    (printed,) = run(f"doctor {PICTURES}")
    after = snapshot(folder)
    assert set(after) - set(before) == {str(old / printed["file"])}
    assert {name: after[name] for name in before} == before
    (now,), (skipped,) = FINDINGS.load(folder)
    assert skipped.path == path
    # The search for duplicates changed, and nothing else of what is found.
    content = unseal(path.read_bytes())
    assert content
    was, again = content["doctor"], json.loads(json.dumps(encode(now)))
    assert was["duplicates"]["regions"] == again["duplicates"]["regions"]
    for name in ("images", "balance", "helped", "class_names"):
        assert was[name] == again[name], name
    assert [image["image"] for image in was["outliers"]["remote"]] == [
        image["image"] for image in again["outliers"]["remote"]
    ]


def test_findings_of_0_2_0_are_up_to_date(old: Path, run: Run, tmp_path: Path) -> None:
    shutil.copytree(LATER_FILES / "reports", old / "reports", dirs_exist_ok=True)
    folder = old / "reports" / "folder--pictures"
    (record,), (skipped,) = FINDINGS.load(folder)
    assert "version 1" in skipped.reason
    file = FINDINGS.path_of(folder, record)
    assert FINDINGS.save(tmp_path / "again", record).read_bytes() == file.read_bytes()
    before = snapshot(folder)
    (printed,) = run(f"doctor {PICTURES}")
    assert old / printed["file"] == file
    assert snapshot(folder) == before
    run(f"compare {PICTURES}".removesuffix(" --device cpu"))
    shown = json.loads((folder / "report.json").read_bytes())["doctor"]
    assert shown["duplicates"]["search"] == encode(record)["duplicates"]["search"]


LATER = ("anatomy-", "histogram-", ".data", "knn-weighted-", "centroid-shrunken-")
"""What 0.1.0 did not write, by the beginnings of names of files or of their folders: it is added to what it did."""


def is_later(path: str) -> bool:
    return Path(path).name.startswith(LATER) or Path(path).parent.name.startswith(LATER)


@pytest.mark.parametrize("line", [*SCORED, *EXAMINED])
def test_what_is_done_stays_as_it_is(line: str, old: Path, run: Run) -> None:
    before = snapshot(old / "reports")
    told = run(line)
    assert told
    after = snapshot(old / "reports")
    assert {str(old / one["file"]) for one in told} <= set(after)
    assert {path: state for path, state in after.items() if not is_later(path)} == before


@pytest.mark.usefixtures("undrawn")
def test_the_report_tells_the_same_numbers(old: Path, run: Run) -> None:
    path = old / "reports" / "folder--pictures" / "report.json"
    before = json.loads(path.read_bytes())
    run(f"compare {PICTURES}".removesuffix(" --device cpu"))
    now = json.loads(path.read_bytes())
    names = ("method", "tap", "views", "top1", "interval", "val_top1", "chosen", "nll", "ece", "headroom", "optimism")
    rows = [[[row[name] for name in names] for row in report["rows"]] for report in (before, now)]
    assert len(rows[0]) == 17
    assert rows[0] == rows[1]
    for section in ("curves", "range_tests", "latencies", "pictures", "galleries", "maps"):
        assert len(now[section]) == len(before[section])
    assert "doctor" not in now  # its record has another version, and is named as left out


@pytest.mark.parametrize("name", ["probe", "knn"])
def test_artifacts_predict_the_same(name: str, old: Path, answers: Any) -> None:
    before = answers["predictions"][f"artifacts/{name}"]
    now = probeline.load(old / "artifacts" / name, "cpu").predict(answers["images"])
    assert list(now.classes) == before["classes"]
    np.testing.assert_allclose(now.probabilities, before["probabilities"], rtol=0, atol=1e-6)
    assert [[one.sample_id for one in near] for near in now.neighbours] == before["neighbours"]


@pytest.mark.parametrize(("name", "rows"), [("probe", 12), ("knn", 0)])
def test_artifacts_are_up_to_date(name: str, rows: int, old: Path, run: Run) -> None:
    before = snapshot(old / "artifacts")
    run(f"export {PICTURES} --method {name} --train-rows {rows} --out artifacts/{name}")
    assert snapshot(old / "artifacts") == before


def test_a_checkpoint_is_exported(old: Path, run: Run) -> None:
    """Export refuses a checkpoint whose net does not say of the test images what its score says."""
    told = run(f"export {PICTURES} --method head --train-rows 0 --out artifacts/head")
    assert told["method"] == "head"
    assert probeline.load(old / "artifacts" / "head", "cpu").class_names == ("blue", "green", "red")
