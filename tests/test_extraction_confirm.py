"""What the memo says of a net is held against its weights before features are used; the memo never decides."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from probeline.backbones import resolve
from probeline.backbones.build import random_net
from probeline.cache.reading import open_entry
from probeline.commands import extract, probe, show
from probeline.errors import Mismatch
from probeline.extraction import confirm
from probeline.files.fingerprint import fingerprint
from probeline.identity import digest_bytes, seal, unseal
from probeline.options.settings import Settings
from probeline.session import Session
from small_runs import Listening, configuration
from variants import slow_after

pytestmark = pytest.mark.usefixtures("one_thread", "small_shards")

NET = "squeezenet1_1"
LONG_AGO = 1_500_000_000


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A folder with the weights A and B."""
    for seed, name in enumerate(("A.pth", "B.pth")):
        torch.save(random_net(NET, seed + 1).state_dict(), tmp_path / name)
        os.utime(tmp_path / name, (LONG_AGO, LONG_AGO))
    return tmp_path


@pytest.fixture
def new_process(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Forget what this process has computed from weights, as a new one has computed nothing."""
    return lambda: monkeypatch.setattr(resolve, "_BUILT", {})


@pytest.fixture
def no_nets(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on, building a net is an error."""

    def fail(*_: object) -> None:
        raise AssertionError("a net was built")

    return lambda: monkeypatch.setattr("probeline.backbones.build.build", fail)


def settings(weights: Path | str, cache: Path, **options: Any) -> Settings:
    return configuration(cache, weights=str(weights), console=Listening(), **options)


def extract_by(settings: Settings) -> tuple[dict[str, Any], list[str]]:
    """Extract, and return what the verb tells of the one entry, and all lines."""
    (result,) = extract.run(Session(settings))
    console = settings.console
    assert isinstance(console, Listening)
    return result, console.said


def edit(memo: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the entries of a memo and seal it again, as somebody does who knows its format."""
    record = unseal(memo.read_bytes())
    assert record
    change(record["entries"])
    del record["format"]
    memo.write_bytes(seal({"entries": record["entries"], "format": 2}))


def value(entries: dict[str, Any], ending: str) -> Any:
    (found,) = [entry for name, entry in entries.items() if name.endswith(ending)]
    return found["value"]


def forge(weights: Path, cache: Path, *, digests: bool) -> None:
    """Make the cache's memo say that B has the tensors of A; with their own or A's digests of the file."""
    extract_by(settings(weights / "A.pth", cache))
    extract_by(settings(weights / "B.pth", cache.parent / "elsewhere"))
    of_b = unseal((cache.parent / "elsewhere" / ".memo.json").read_bytes())
    assert of_b

    def change(entries: dict[str, Any]) -> None:
        record = {**value(entries, ":penultimate")["records"][0], "weights": "B.pth"}
        false = value(of_b["entries"], ":penultimate")
        sha256 = digest_bytes((weights / ("A.pth" if digests else "B.pth")).read_bytes())
        false.update(records=[record], files={str(weights / "B.pth"): sha256})
        entries.update(of_b["entries"])

    edit(cache / ".memo.json", change)


@pytest.mark.parametrize("digests", [False, True])
def test_weights_never_get_the_features_of_others(
    digests: bool, weights: Path, tmp_path: Path, new_process: Callable[[], None]
) -> None:
    cache = tmp_path / "cache"
    forge(weights, cache, digests=digests)
    new_process()
    asked = settings(weights / "B.pth", cache)
    assert Session(asked).backbone(NET)[1] is None, "the forged record is decoded"
    with pytest.raises(Mismatch, match=r"wrong about squeezenet1_1 with --weights B.pth: it is dropped \(expected wei"):
        extract.run(Session(asked))
    assert not (cache / ".memo.json").exists()
    assert len(list(cache.rglob("entry.json"))) == 1, "nothing was written under the key of A"
    result, _ = extract_by(asked)
    assert result["extracted_shards"] == 4
    reference, _ = extract_by(settings(weights / "B.pth", tmp_path / "reference"))
    assert result["key"] == reference["key"]


@pytest.mark.parametrize("work", [probe.run, show.run])
def test_heads_and_rows_are_refused_too(
    work: Callable[[Session], Any], weights: Path, tmp_path: Path, new_process: Callable[[], None]
) -> None:
    forge(weights, tmp_path / "cache", digests=True)
    new_process()
    with pytest.raises(Mismatch, match=r"wrong about squeezenet1_1 with --weights B\.pth"):
        work(Session(settings(weights / "B.pth", tmp_path / "cache", words=("0",))))
    assert not list((tmp_path / "reports").rglob("scores/*.json"))


def test_random_weights_never_get_the_features_of_a_file(
    weights: Path, tmp_path: Path, new_process: Callable[[], None]
) -> None:
    cache = tmp_path / "cache"
    extract_by(settings(weights / "A.pth", cache))
    entries = unseal((cache / ".memo.json").read_bytes())
    assert entries
    of_a = value(entries["entries"], ":penultimate")["records"][0]
    extract_by(settings("none", tmp_path / "elsewhere"))
    edit(
        tmp_path / "elsewhere" / ".memo.json",
        lambda forged: value(forged, ":penultimate").update(records=[{**of_a, "weights": "none"}]),
    )
    shutil.copy(tmp_path / "elsewhere" / ".memo.json", cache / ".memo.json")
    new_process()
    with pytest.raises(Mismatch, match="with --weights none: it is dropped"):
        extract.run(Session(settings("none", cache)))


def test_a_second_process_proves_the_weights_without_building_a_net(
    weights: Path, tmp_path: Path, new_process: Callable[[], None], no_nets: Callable[[], None]
) -> None:
    for asked in (settings(weights / "A.pth", tmp_path / "cache"), settings("none", tmp_path / "cache")):
        result, _ = extract_by(asked)
        shard = json.loads((Path(result["folder"]) / "shard-00000.json").read_bytes())
        files = {"A.pth": digest_bytes((weights / "A.pth").read_bytes())} if asked.nets.weights != "none" else {}
        name = Path(asked.nets.weights).name
        assert shard["provenance"]["weights"] == {"name": name, "image_size": 32, "files": files}
    new_process()
    no_nets()
    for text in (str(weights / "A.pth"), "none"):
        result, said = extract_by(settings(text, tmp_path / "cache"))
        assert result["extracted_shards"] == 0
        assert any("up to date" in line for line in said)
        assert probe.run(Session(settings(text, tmp_path / "cache")))


def test_a_net_is_built_again_where_no_shard_tells_its_weights(
    weights: Path, tmp_path: Path, new_process: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of shards of an earlier version, or if equal tensors came from another file."""
    cache = tmp_path / "cache"
    result, _ = extract_by(settings(weights / "A.pth", cache))
    save_file(random_net(NET, 1).state_dict(), tmp_path / "same.safetensors")
    os.utime(tmp_path / "same.safetensors", (LONG_AGO, LONG_AGO))
    built: list[object] = []
    net = Session.net
    monkeypatch.setattr(Session, "net", lambda *arguments: built.append(arguments) or net(*arguments))
    again, _ = extract_by(settings(tmp_path / "same.safetensors", cache))
    assert (again["key"], again["extracted_shards"], built) == (result["key"], 0, [])
    new_process()
    extract_by(settings(tmp_path / "same.safetensors", cache))
    assert len(built) == 1
    for path in Path(result["folder"]).glob("shard-*.json"):
        record = unseal(path.read_bytes())
        assert record
        del record["provenance"]["weights"]
        path.write_bytes(seal(record))
    extract_by(settings(weights / "A.pth", cache))
    assert len(built) == 2


def test_weights_that_changed_under_an_old_fingerprint_are_found(
    weights: Path, tmp_path: Path, new_process: Callable[[], None]
) -> None:
    """Nobody lies here: file systems without times of changes, or with wrong clocks, do as much."""
    cache, file = tmp_path / "cache", weights / "A.pth"
    extract_by(settings(file, cache))
    shutil.copy(weights / "B.pth", file)

    def fit(entries: dict[str, Any]) -> None:
        for entry in entries.values():
            entry["files"] = [[path, *fingerprint(Path(path))] for path, *_ in entry["files"]]

    edit(cache / ".memo.json", fit)
    new_process()
    with pytest.raises(Mismatch, match=r"wrong about squeezenet1_1 with --weights A\.pth"):
        extract.run(Session(settings(file, cache)))


@pytest.mark.parametrize(
    "odd",
    slow_after(
        6,
        [
            [],
            [{}],
            ["x"],
            {"files": {}, "records": []},
            {"records": []},
            {"records": "twice"},
            {"files": {}},
            {"files": {"x": "y"}},
            {"dim": 10**13},
            {"dim": True},
            {"dim": "1"},
            {"name": "resnet18"},
            {"tap": "layer1"},
            {"weights": "other.pth"},
            {"weights_sha256": "x"},
            {"preprocess": {}},
            {"crop": 33},
            {"std": [0.1, 0.1, 0.0]},
        ],
    ),
    ids=str,
)
def test_an_odd_record_counts_as_missing(
    odd: Any, weights: Path, tmp_path: Path, new_process: Callable[[], None]
) -> None:
    cache = tmp_path / "cache"
    asked = settings(weights / "A.pth", cache)
    expected, _ = extract_by(asked)

    def change(entries: dict[str, Any]) -> None:
        (name,) = [name for name in entries if name.endswith(":penultimate")]
        known = entries[name]["value"]
        record = known["records"][0]
        if not isinstance(odd, dict) or len(odd) == 2:
            entries[name]["value"] = odd
        elif odd == {"records": "twice"}:
            known["records"] = [record, record]
        elif odd.keys() <= known.keys():
            known.update(odd)
        elif odd.keys() <= record.keys():
            record.update(odd)
        else:
            record["preprocess"].update(odd)

    edit(cache / ".memo.json", change)
    new_process()
    assert Session(asked).backbone(NET)[1] is not None, "the net is built"
    result, _ = extract_by(asked)
    assert (result["key"], result["extracted_shards"]) == (expected["key"], 0)


def test_files_that_the_memo_names_must_be_those_of_the_request(
    weights: Path, tmp_path: Path, new_process: Callable[[], None]
) -> None:
    cache = tmp_path / "cache"
    asked = settings(weights / "A.pth", cache)
    extract_by(asked)

    def change(entries: dict[str, Any]) -> None:
        for name, entry in entries.items():
            if name.endswith(":files"):
                entry["value"] = []
            elif name.startswith("backbone:"):
                entry.update(files=[], value={**entry["value"], "files": {}})

    edit(cache / ".memo.json", change)
    new_process()
    assert Session(asked).backbone(NET)[1] is not None, "the net is built"


def test_large_weights_are_not_read_and_a_note_says_so(
    weights: Path,
    tmp_path: Path,
    new_process: Callable[[], None],
    no_nets: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = settings(weights / "A.pth", tmp_path / "cache")
    extract_by(asked)
    monkeypatch.setattr(confirm, "MOST_BYTES", 1000)
    new_process()
    no_nets()
    _, said = extract_by(asked)
    assert any("0.0 GB of weights are known by their size and times alone: probeline verify" in line for line in said)


def test_copied_rows_say_their_weights(weights: Path, tmp_path: Path, new_process: Callable[[], None]) -> None:
    cache = tmp_path / "cache"
    extract_by(settings(weights / "A.pth", cache))
    new_process()
    fewer, said = extract_by(settings(weights / "A.pth", cache, limit=50))
    assert any("rows of identical images reused" in line for line in said)
    record = json.loads((Path(fewer["folder"]) / "shard-00000.json").read_bytes())
    assert record["provenance"]["device"] == "none"
    assert record["provenance"]["weights"]["files"] == {"A.pth": digest_bytes((weights / "A.pth").read_bytes())}
    assert len(open_entry(Path(fewer["folder"]))) == 50
