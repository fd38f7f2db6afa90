"""Verify, its repair and its canary, and explain: the cache against itself, its images and its net."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from threadpoolctl import threadpool_limits

from probeline.cache import exchange, prune
from probeline.cache.entry import Entry
from probeline.cache.format import hdf5
from probeline.cache.reading import entry_folders, open_entry, read_features, read_shard
from probeline.cli import program as cli
from probeline.commands import baselines, explain, extract, probe, verify
from probeline.errors import BadOption, Mismatch, MissingData
from probeline.files.decode import encode
from probeline.files.digests import FileDigests
from probeline.files.fingerprint import fingerprint
from probeline.finetuning import checkpoint_files as sealed
from probeline.identity import TOKENS_FORMAT_VERSION, digest_bytes, seal, unseal
from probeline.images import ImageArray
from probeline.session import Session
from probeline.types import FloatArray
from small_runs import ROWS, Listening, configuration, extracted, make_photos, shards

pytestmark = pytest.mark.usefixtures("one_thread", "small_shards")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embeddings of 60 digits in four shards; leave them as they are."""
    cache = tmp_path_factory.mktemp("whole") / "cache"
    with pytest.MonkeyPatch.context() as patch, threadpool_limits(1):
        patch.setattr("probeline.cache.entry.ROWS_PER_SHARD", ROWS)
        extracted(cache)
    return cache


@pytest.fixture
def cache(whole: Path, tmp_path: Path) -> Path:
    """Those embeddings, to be changed."""
    return shutil.copytree(whole, tmp_path / "cache")


def ask(verb: Any, cache: Path, **options: Any) -> tuple[Any, list[str]]:
    console = Listening()
    return verb.run(Session(configuration(cache, console=console, **options))), console.said


def refused(verb: Any, cache: Path, **options: Any) -> tuple[str, list[str]]:
    console = Listening()
    with pytest.raises(Mismatch) as caught:
        verb.run(Session(configuration(cache, console=console, **options)))
    assert caught.value.exit_code == 3
    return str(caught.value), console.said


def entry_of(cache: Path) -> Entry:
    (folder,) = entry_folders(cache)
    return open_entry(folder)


def rewrite(entry: Entry, number: int, change: Callable[[FloatArray], FloatArray]) -> None:
    """Change a shard's features and vouch for the change, as a wrong net or a forger would."""
    block, record = read_shard(entry, number)
    rows = entry.shards[number]
    data = hdf5.encode(entry.tap, change(block), entry.sample_ids[rows.start : rows.stop])
    path = entry.shard_path(number)
    path.write_bytes(data)
    path.with_suffix(".json").write_bytes(
        seal({**encode(record), "bytes": len(data), "file_sha256": digest_bytes(data)})
    )


# Verify


def test_a_good_cache_is_told_what_was_checked(cache: Path) -> None:
    before = shards(cache)
    found, said = ask(verify, cache)
    (entry,) = found["entries"]
    assert (entry["rows"], entry["proven_shards"], entry["missing_shards"], entry["joined"]) == (60, 4, 0, True)
    assert entry["bytes"] == sum(path.stat().st_size for path in entry_of(cache).folder.iterdir())
    assert "4 of 4 shards verified" in said[0]
    assert "images and labels" in said[0]
    assert shards(cache) == before


def test_an_empty_cache_has_nothing_bad(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    assert ask(verify, tmp_path / "cache")[0] == {"checkpoints": 0, "entries": []}
    with pytest.raises(MissingData, match="no such folder"):
        ask(verify, tmp_path / "elsewhere")


def test_what_is_not_extracted_yet_is_no_fault(cache: Path) -> None:
    for suffix in (".h5", ".json"):
        entry_of(cache).shard_path(2).with_suffix(suffix).unlink()
    found, said = ask(verify, cache)
    assert (found["entries"][0]["proven_shards"], found["entries"][0]["missing_shards"]) == (3, 1)
    assert "1 not extracted yet" in said[0]


def test_entries_of_other_nets_and_data_sets_are_checked_too(cache: Path, tmp_path: Path) -> None:
    extracted(cache, limit=30)
    spoilt = next(path for path in entry_folders(cache) if "limit30" in str(path)) / "shard-00001.h5"
    spoilt.write_bytes(spoilt.read_bytes()[:-1])
    line, said = refused(verify, cache)
    assert "1 problem in the cache" in line
    assert any(str(spoilt) in told for told in said)


def test_a_lost_record_is_found_and_made_anew(cache: Path) -> None:
    path = entry_of(cache).folder / "entry.json"
    before = shards(cache)
    path.unlink()
    _, said = refused(verify, cache)
    assert any("the record of an entry is missing" in told and str(path) in told for told in said)
    ask(verify, cache, repair=True)
    assert shards(cache) == before


def test_another_format_is_no_damage(cache: Path) -> None:
    path = entry_of(cache).folder / "entry.json"
    path.write_bytes(seal({**entry_of(cache).listed_record(), "format": 0}))
    before = path.read_bytes()
    _, said = refused(verify, cache, repair=True)
    assert any("another format version" in told for told in said)
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["entry.json", "shard-00001.json"])
def test_what_a_newer_version_wrote_is_called_that_and_left_as_it_is(name: str, cache: Path) -> None:
    path = entry_of(cache).folder / name
    record = unseal(path.read_bytes())
    assert record is not None
    path.write_bytes(seal({**record, "format": TOKENS_FORMAT_VERSION + 1}))
    before = shards(cache)
    _, said = ask(verify, cache, repair=True, canary=0)
    assert any("written by a newer version of Probeline: neither checked nor changed" in line for line in said)
    assert any("no problem found" in line for line in said)
    assert shards(cache) == before


def test_a_repair_changes_nothing_in_a_folder_that_holds_other_things(cache: Path) -> None:
    entry_of(cache).shard_path(1).write_bytes(b"damage")
    (cache / "thesis.tex").write_text("mine", encoding="utf-8")
    before = {path: path.read_bytes() for path in cache.rglob("*") if path.is_file()}
    with pytest.raises(BadOption, match=r"nothing was changed.*1 other item: thesis\.tex\); move what is yours"):
        ask(verify, cache, repair=True)
    assert {path: path.read_bytes() for path in cache.rglob("*") if path.is_file()} == before


def test_a_cache_of_an_earlier_version_is_repaired_even_if_no_record_of_it_can_be_read(cache: Path) -> None:
    before = shards(cache)
    (cache / "CACHEDIR.TAG").unlink()
    (entry_of(cache).folder / "entry.json").write_bytes(b"{}")
    with pytest.raises(BadOption, match="not a cache of Probeline"):
        ask(verify, cache, repair=True, limit=30)
    ask(verify, cache, repair=True)
    assert shards(cache) == before
    assert (cache / "CACHEDIR.TAG").is_file()


@pytest.mark.parametrize("level", [1, 2, 3])
def test_a_repair_goes_through_no_link(level: int, cache: Path, tmp_path: Path) -> None:
    entry = entry_of(cache)
    entry.shard_path(1).write_bytes(b"damage")
    link = cache / Path(*entry.folder.relative_to(cache).parts[:level])
    link.rename(tmp_path / "elsewhere")
    link.symlink_to(tmp_path / "elsewhere")
    before = sorted(path.name for path in entry.folder.iterdir())
    refused(verify, cache, repair=True)
    assert sorted(path.name for path in entry.folder.iterdir()) == before


def test_a_repair_puts_aside_a_link_and_not_what_it_leads_to(cache: Path, tmp_path: Path) -> None:
    path, outside = entry_of(cache).shard_path(1), tmp_path / "mine.h5"
    outside.write_bytes(b"mine")
    path.unlink()
    path.symlink_to(outside)
    path.with_name(f"{path.name}.bad").symlink_to(tmp_path / "gone")
    ask(verify, cache, repair=True)
    assert outside.read_bytes() == b"mine"
    assert path.with_name(f"{path.name}.bad").readlink() == tmp_path / "gone"
    assert path.with_name(f"{path.name}.2.bad").readlink() == outside
    assert path.is_file()
    assert not path.is_symlink()


def test_what_one_repair_put_aside_the_next_one_leaves(cache: Path) -> None:
    path = entry_of(cache).shard_path(1)
    for damage in (b"one", b"two"):
        path.write_bytes(damage)
        ask(verify, cache, repair=True)
    assert path.with_name(path.name + ".bad").read_bytes() == b"one"
    assert path.with_name(path.name + ".2.bad").read_bytes() == b"two"
    assert len(prune.find_leftovers(cache).paths) == 4


def test_a_folder_under_another_name_has_the_same_key(cache: Path, tmp_path: Path) -> None:
    one, other = make_photos(tmp_path / "one"), make_photos(tmp_path / "other")
    extracted(cache, dataset=f"folder:{one}", limit=None)
    found, said = ask(explain, cache, dataset=f"folder:{other}", limit=None)
    assert found[0]["differences"] == {}
    assert "has the same key: extract reuses its rows" in said[0]


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        *(
            (name, fault)
            for name in ("entry.json", "samples.bin", "shard-00001.json", "shard-00001.h5")
            for fault in ("flip", "cut")
        ),
        ("shard-00001.h5", "gone"),
    ],
)
def test_what_is_bad_is_named_and_repaired_to_the_bit(name: str, fault: str, cache: Path) -> None:
    before = shards(cache)
    path = entry_of(cache).folder / name
    data = path.read_bytes()
    if fault == "gone":
        path.unlink()
    else:
        path.write_bytes(data[: len(data) // 2] if fault == "cut" else data[:50] + bytes([data[50] ^ 1]) + data[51:])
    line, said = refused(verify, cache)
    assert "1 problem in the cache" in line
    assert "verify --repair" in line
    assert any(told.startswith("verify: bad: ") and str(path) in told for told in said)
    spoilt = {file: file.stat().st_mtime_ns for file in path.parent.iterdir()}

    _, said = ask(verify, cache, repair=True)
    assert shards(cache) == before
    touched = {file.name for file, written in spoilt.items() if not file.exists() or file.stat().st_mtime_ns != written}
    allowed = {"samples.bin": {name, "entry.json"}, "entry.json": {name}}
    assert touched <= allowed.get(name, {"shard-00001.json", "shard-00001.h5"}), "what is good is left alone"
    assert fault == "gone" or path.with_name(name + ".bad").exists(), "nothing is lost"
    found, _ = ask(verify, cache)
    assert found["entries"][0]["proven_shards"] == 4


def test_a_command_that_finds_something_bad_exits_with_3(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entry_of(cache).shard_path(0).write_bytes(b"")
    arguments = ["verify", f"--cache={cache}", "--dataset=digits", "--limit=60", "--json"]
    assert cli.main(arguments) == 3
    told = capsys.readouterr()
    assert told.out == ""
    assert "a shard is corrupt" in told.err


def test_rows_in_another_order_are_found(cache: Path) -> None:
    entry = entry_of(cache)
    block, record = read_shard(entry, 1)
    names = entry.sample_ids[16:32]
    data = hdf5.encode(entry.tap, block[::-1], names[::-1])
    path = entry.shard_path(1)
    path.write_bytes(data)
    path.with_suffix(".json").write_bytes(
        seal({**encode(record), "bytes": len(data), "file_sha256": digest_bytes(data)})
    )
    _, said = refused(verify, cache)
    assert any("a shard holds other rows than its entry" in told for told in said)


def test_the_memo_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_photos(tmp_path / "photos")
    old = root / "ants" / "3.jpg"
    os.utime(old, ns=(10**18, 10**18))
    options = {"dataset": f"folder:{root}", "limit": None}
    extracted(tmp_path / "cache", **options)
    # Another picture of the same size and date, and a memo that somebody fitted to it: only its bytes tell.
    data = bytearray(old.read_bytes())
    data[-20] ^= 1
    with old.open("r+b") as file:
        file.write(data)
    os.utime(old, ns=(10**18, 10**18))
    digests = FileDigests(tmp_path / "cache" / ".memo-hashes.jsonl")
    (remembered,) = [sha256 for _, sha256 in [digests._known.folders[str(old.parent)]["3.jpg"]]]
    monkeypatch.setattr("probeline.files.digests.is_settled", lambda _: True)
    digests.put(str(old), fingerprint(old), remembered)
    digests.save()
    monkeypatch.setattr("probeline.data.remembered.SAMPLE", 0)
    assert Session(configuration(tmp_path / "cache", **options)).dataset.parts["all"].content[3] != digest_bytes(data)
    line, said = refused(verify, tmp_path / "cache", **options)
    assert "1 problem in the cache" in line
    assert any("1 file changed under an old size and time, such as ants/3.jpg: the memo" in told for told in said)
    assert any("no entry of exactly these images" in told for told in said)
    found, said = ask(verify, tmp_path / "cache", **options)
    assert not found["entries"][0]["joined"]
    assert ask(explain, tmp_path / "cache", **options)[0][0]["missing_shards"] > 0, "the memo is dropped"


# Canary


def test_rows_run_again_are_those_that_are_stored(cache: Path) -> None:
    before = shards(cache)
    _, said = ask(verify, cache, canary=8)
    assert "8 rows were run again and differ by" in said[0]
    assert shards(cache) == before


def wrong_net(block: FloatArray) -> FloatArray:
    return np.roll(block, 1, axis=1)


def slightly_wrong(block: FloatArray) -> FloatArray:
    # A thousandth of each row's largest value: eight times what rounding is allowed.
    return block + np.float32(1e-3) * np.abs(block).max(1, keepdims=True)


@pytest.mark.parametrize("change", [wrong_net, slightly_wrong])
def test_numbers_that_another_net_made_are_caught(change: Callable[[FloatArray], FloatArray], cache: Path) -> None:
    for number in range(4):
        rewrite(entry_of(cache), number, change)
    ask(verify, cache)  # every seal and hash is right
    before = shards(cache)
    _, said = refused(verify, cache, canary=8)
    (line,) = [told for told in said if told.startswith("verify: bad: ")]
    assert "8 of 8 rows of digits-limit60/all x squeezenet1_1 come out differently" in line
    assert "(row " in line
    assert "the cache is left as it is" in line
    assert shards(cache) == before


def use_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this machine name another architecture."""
    monkeypatch.setattr(platform, "machine", lambda: "another")


def install_torch(version: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install the metadata of a version of torch, without its code."""
    metadata = folder / f"torch-{version}" / f"torch-{version}.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text(f"Metadata-Version: 2.1\nName: torch\nVersion: {version}\n", encoding="utf-8")
    monkeypatch.syspath_prepend(metadata.parents[1])


def test_an_entry_of_another_machine_is_held_against_this_one_once(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = shards(cache)
    use_another_machine(monkeypatch)
    _, said = ask(extract, cache)
    assert "rows were computed on other hardware or with other software; 8 of them were run again" in said[0]
    monkeypatch.setitem(sys.modules, "torch", None)  # without it no row can be run again
    _, said = ask(extract, cache)
    assert len(said) == 1, "what passed is remembered"
    assert "(checksums of " in said[0]
    assert shards(cache) == before


def test_another_version_of_torch_asks_again(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_torch("99.0", tmp_path, monkeypatch)
    assert "8 of them were run again" in ask(extract, cache)[1][0]
    install_torch("99.1", tmp_path, monkeypatch)
    assert "3 of them were run again" in ask(extract, cache, canary=3)[1][0]
    install_torch("99.2", tmp_path, monkeypatch)
    assert len(ask(extract, cache, canary=0)[1]) == 1


def test_what_was_taken_in_from_elsewhere_is_held_against_this_machine(cache: Path) -> None:
    sha256 = exchange.export_entry(entry_of(cache), cache.parent / "entry.h5")
    exchange.import_entry(cache.parent / "entry.h5", cache.parent / "theirs", sha256)
    assert "8 of them were run again" in ask(extract, cache.parent / "theirs")[1][0]
    assert len(ask(extract, cache.parent / "theirs")[1]) == 1


def test_what_passed_once_says_nothing_of_other_shards_of_the_same_key(cache: Path) -> None:
    exchange.export_entry(entry_of(cache), cache.parent / "entry.h5")
    exchange.import_entry(cache.parent / "entry.h5", cache.parent / "theirs")
    assert "8 of them were run again" in ask(extract, cache.parent / "theirs")[1][0]
    forged = entry_of(cache.parent / "theirs")
    for number in range(4):
        rewrite(forged, number, wrong_net)
    line, _ = refused(extract, cache.parent / "theirs")
    assert "come out differently" in line


def test_rows_whose_entry_lost_its_record_meet_the_canary_too(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = entry_of(cache)
    for number in range(4):
        rewrite(entry, number, wrong_net)
    (entry.folder / "entry.json").unlink()
    use_another_machine(monkeypatch)
    line, said = refused(extract, cache)
    assert "come out differently" in line
    assert "its record was missing and is written again" in said[0]


def test_each_origin_has_its_own_canaries(cache: Path) -> None:
    entry = entry_of(cache)
    for number, facts in enumerate([{"device": "NVIDIA H100"}, {"driver": "1.2.3"}, {"driver": "1.2.3"}]):
        _, record = read_shard(entry, number)
        path = entry.shard_path(number).with_suffix(".json")
        path.write_bytes(seal({**encode(record), "provenance": {**record.provenance, **facts}}))
    assert "3 from other hardware" in ask(verify, cache)[1][0]
    assert "6 of them were run again" in ask(extract, cache, canary=3)[1][0], "3 rows of each of two origins"


def test_a_canary_that_could_run_nothing_again_says_so(cache: Path) -> None:
    with pytest.raises(MissingData, match="no row was run again"):
        ask(verify, cache, canary=8, limit=30)


def drift(block: FloatArray) -> FloatArray:
    """Return features as a machine would give them that computes a thousandth more."""
    return block * np.float32(1.001)


def test_a_machine_that_drifts_is_caught_before_its_rows_are_used(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        rewrite(entry_of(cache), number, drift)
    before = shards(cache)
    use_another_machine(monkeypatch)
    line, _ = refused(extract, cache)
    assert "8 of 8 rows" in line
    assert "use another --cache" in line
    assert shards(cache) == before


@pytest.mark.parametrize("stage", [probe, baselines])
def test_no_head_is_fitted_on_rows_that_drift(stage: Any, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_another_machine(monkeypatch)
    entry = entry_of(cache)
    written = {path: path.read_bytes() for path in entry.folder.glob("shard-*")}
    for number in range(4):
        rewrite(entry, number, drift)
    line, _ = refused(stage, cache)
    for path, data in written.items():
        path.write_bytes(data)
    assert "8 of 8 rows" in line
    assert not list((cache.parent / "reports").rglob("*.json"))
    found, said = ask(stage, cache)
    assert "8 of them were run again" in said[0]
    assert sum("run again" in told for told in said) == 1, "what passed is remembered"
    assert found


def test_checkpoints_are_proven_too(cache: Path) -> None:
    folder = cache / "digits-limit60" / "squeezenet1_1-finetune" / "seed0-0123456789ab"
    sealed.write(folder, "best", b"tensors", {"key": "a" * 64})
    sealed.write(folder, "last", b"more tensors", {"key": "a" * 64})
    found, said = ask(verify, cache)
    assert found["checkpoints"] == 2
    assert any("2 of 2 training checkpoints verified" in told for told in said)
    for name, position in (("best.safetensors", 3), ("best.json", 5)):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[:position] + b"#" + whole[position + 1 :])
        line, said = refused(verify, cache)
        assert "1 problem in the cache" in line
        assert any("checkpoint" in told and str(folder / "best") in told for told in said)
        (folder / name).write_bytes(whole)
    (folder / "best.safetensors").unlink()
    refused(verify, cache)
    _, said = ask(verify, cache, repair=True)
    assert any("set aside" in told for told in said)
    assert (folder / "best.json.bad").is_file()
    assert ask(verify, cache)[0]["checkpoints"] == 1
    assert prune.find_leftovers(cache).paths.keys() == {folder / "best.json.bad"}


def test_wrong_preprocessing_is_caught(cache: Path, tmp_path: Path) -> None:
    images = Session(configuration(cache)).dataset.images["all"]
    assert isinstance(images, ImageArray)
    for row, pixels in enumerate(images.pixels):
        path = tmp_path / "coarse" / ("first" if row < 30 else "second") / f"{row:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).resize((7, 7), Image.Resampling.BOX).save(path)
    other = extracted(tmp_path / "other", dataset=f"folder:{tmp_path / 'coarse'}", limit=None)
    features = other.features(other.backbone("squeezenet1_1")[0], "all").features
    entry = entry_of(cache)
    for number, rows in enumerate(entry.shards):
        rewrite(entry, number, lambda _, rows=rows: features[rows.start : rows.stop])
    _, said = refused(verify, cache, canary=4)
    assert any("of 4 rows" in told for told in said)


# Copies


def test_only_new_images_go_through_the_net(tmp_path: Path) -> None:
    root = make_photos(tmp_path / "photos")
    options = {"dataset": f"folder:{root}", "limit": None}
    extracted(tmp_path / "cache", **options)
    make_photos(tmp_path / "more", n=1, seed=5)
    (tmp_path / "more/ants/0.jpg").rename(root / "ants" / "new.jpg")
    (root / "bees" / "4.jpg").unlink()
    (root / "bees" / "7.jpg").rename(root / "bees" / "seven.jpg")
    # Features that the net does not give, but this close to its own that they pass for its: copies tell themselves.
    entry = entry_of(tmp_path / "cache")
    for number in range(len(entry.shards)):
        rewrite(entry, number, lambda block: block * np.float32(1 + 1e-6))
    marked = dict(zip(entry.content, read_features(entry).features, strict=True))
    console = Listening()
    session = Session(configuration(tmp_path / "cache", console=console, **options))
    extract.run(session)
    assert any("1 images on CPU" in line for line in console.said)
    assert "19 rows of identical images reused from another entry of the cache (checksums verified)" in console.said[0]
    anew = Session(configuration(tmp_path / "anew", **options))
    extract.run(anew)
    ours, theirs = (each.features(each.backbone("squeezenet1_1")[0], "all").features for each in (session, anew))
    part = session.dataset.parts["all"]
    copied = [row for row, content in enumerate(part.content) if content in marked]
    assert [part.sample_ids[row] for row in range(len(part)) if row not in copied] == ["ants/new.jpg"]
    for row in copied:
        np.testing.assert_array_equal(ours[row], marked[part.content[row]])
    # Batches of other sizes may sum in another order: float32 through 18 convolutions.
    assert np.abs(ours - theirs).max() <= 1e-5 * np.abs(theirs).max()


def test_rows_of_a_machine_that_computes_otherwise_are_not_copied(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        rewrite(entry_of(cache), number, wrong_net)
    use_another_machine(monkeypatch)
    _, said = ask(extract, cache, limit=30)
    assert "no rows are reused" in said[0]
    session = Session(configuration(cache, limit=30))
    alone = extracted(cache.parent / "alone", limit=30)
    features = [each.features(each.backbone("squeezenet1_1")[0], "all").features for each in (session, alone)]
    np.testing.assert_array_equal(*features)


# Explain


def test_explain_names_the_fields_that_differ(cache: Path) -> None:
    found, said = ask(explain, cache)
    assert found[0]["differences"] == {}
    assert "4 of 4 shards are in" in said[0]
    for options, fields in (
        ({"precision": "bf16"}, ["precision"]),
        ({"image_size": 40}, ["preprocess.crop", "preprocess.resize"]),
        ({"limit": 30}, ["samples_sha256"]),
        ({"backbones": ("squeezenet1_0",)}, ["backbone", "weights_sha256"]),
    ):
        found, said = ask(explain, cache, **options)
        assert sorted(found[0]["differences"]) == fields
        assert found[0]["nearest"] == str(entry_of(cache).folder)
        count = "1 field of the key differs" if len(fields) == 1 else f"{len(fields)} fields of the key differ"
        assert count in said[0]
    assert "30 removed" in ask(explain, cache, limit=30)[0][0]["differences"]["samples_sha256"]
    assert "30 of 30 rows can be reused from there" in ask(explain, cache, limit=30)[1][1]


def test_explain_of_an_empty_cache(tmp_path: Path) -> None:
    assert "the cache is empty" in ask(explain, tmp_path / "cache")[1][0]


def test_explain_counts_images_that_changed(tmp_path: Path) -> None:
    root = make_photos(tmp_path / "photos")
    options = {"dataset": f"folder:{root}", "limit": None}
    extracted(tmp_path / "cache", **options)
    path = root / "ants" / "3.jpg"
    path.write_bytes(path.read_bytes() + b"\0")
    (difference,) = ask(explain, tmp_path / "cache", **options)[0][0]["differences"].values()
    assert difference == "1 changed, such as ants/3.jpg; 19 of 20 rows can be reused from there"
