"""Show: a row's image, class, role and embedding, each joined by the data set's own order and from a proven shard."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from probeline import open_features
from probeline.cache.entry import Entry
from probeline.cache.reading import entry_folders, open_entry, read_shard
from probeline.cli import program as cli
from probeline.commands import show
from probeline.errors import BadCache, BadOption, MissingData, UnknownName
from probeline.identity import digest_bytes
from probeline.session import Session
from small_runs import ROWS, Listening, configuration, extracted, make_photos

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def cache(tmp_path: Path, small_shards: None) -> Path:
    """The embeddings of 60 digits in four shards."""
    extracted(tmp_path / "cache")
    return tmp_path / "cache"


def ask(cache: Path, *words: str, **options: Any) -> tuple[list[dict[str, Any]], list[str]]:
    console = Listening()
    return show.run(Session(configuration(cache, words=words, console=console, **options))), console.said


def entry_of(cache: Path) -> Entry:
    (folder,) = entry_folders(cache)
    return open_entry(folder)


def test_a_digits_row_is_joined_to_its_class_and_its_embedding(cache: Path) -> None:
    told, _ = ask(cache, *map(str, range(60)))
    truth = load_digits()
    features = open_features(entry_of(cache).folder)
    for row, image in enumerate(told):
        assert (image["part"], image["row"]) == ("all", row)
        assert image["sample_id"] == features.sample_ids[row]
        number = int(image["sample_id"].removeprefix("all/"))
        assert (image["label"], image["class"]) == (truth.target[number], str(truth.target[number]))
        pixels = np.rint(truth.images[number] * (255 / 16)).astype(np.uint8)
        assert image["content_sha256"] == features.content[row] == digest_bytes(b"8x8:" + pixels.tobytes())
        assert image["file"] is None
        (stored,) = image["embeddings"]
        assert (stored["backbone"], stored["key"]) == ("squeezenet1_1", features.key)
        assert stored["first"] == features[row][:3].tolist()
        # A sum of 512 squares in float64, whatever its order.
        assert stored["norm"] == pytest.approx(float(np.linalg.norm(features[row].astype(np.float64))), rel=1e-12)
        block, _ = read_shard(entry_of(cache), int(Path(stored["shard"]).stem.removeprefix("shard-")))
        assert block[stored["offset"]][:3].tolist() == stored["first"]
    assert {image["embeddings"][0]["offset"] for image in told} == set(range(ROWS))


def test_roles_and_folds_are_those_of_the_splits(cache: Path) -> None:
    told, said = ask(cache, *map(str, range(60)))
    splits = Session(configuration(cache)).splits
    assert splits.folds
    for role in (splits.train, splits.val, splits.test):
        assert [image["row"] for image in told if image["role"] == role.role] == role.rows.tolist()
    for place, rows in enumerate(splits.folds, 1):
        assert [image["row"] for image in told if image["fold"] == place] == rows.tolist()
    assert {image["fold"] for image in told if image["role"] == "test"} == {None}
    assert {image["fold"] for image in told if image["role"] == "val"} == {1}
    train = splits.train.rows[0]
    line = next(line for line in said if f" row {train} is " in line)
    assert line.endswith(f", train, fold {told[train]['fold']} of {len(splits.folds)}")
    test = splits.test.rows[0]
    assert next(line for line in said if f" row {test} is " in line).endswith(", test")


def test_a_row_of_a_folder_is_a_file(tmp_path: Path) -> None:
    root = make_photos(tmp_path / "photos", n=10)
    options = {"dataset": f"folder:{root}", "limit": None}
    extracted(tmp_path / "cache", **options)
    told, said = ask(tmp_path / "cache", "13", "0", "13", **options)
    assert [image["row"] for image in told] == [13, 0, 13]
    assert told[0] == told[2]
    for image in told:
        path = Path(image["file"])
        assert path == root / image["sample_id"]
        assert image["class"] == path.parent.name
        assert digest_bytes(path.read_bytes()) == image["content_sha256"]
    stored = told[0]["embeddings"][0]
    role = f"{told[0]['role']}, fold {told[0]['fold']} of 5" if told[0]["fold"] else "test"
    assert said[:3] == [
        f"show: folder--photos/all row 13 is bees/3.jpg, class bees, {role}",
        f"show:   {root}/bees/3.jpg, sha256 {told[0]['content_sha256']}",
        f"show:   squeezenet1_1: row 13 of {stored['shard']}, L2 norm {stored['norm']:.6g}, "
        f"first values {' '.join(f'{value:.6g}' for value in stored['first'])}",
    ]
    assert len(said) == 9


def test_a_row_is_named_with_its_part_where_there_are_several(tmp_path: Path) -> None:
    for part, seed in (("train", 1), ("test", 2)):
        make_photos(tmp_path / "photos" / part, n=6, seed=seed)
    options = {"dataset": f"folder:{tmp_path / 'photos'}", "limit": None}
    extracted(tmp_path / "cache", **options)
    told, _ = ask(tmp_path / "cache", "test:7", "train:7", **options)
    assert [image["file"] for image in told] == [
        str(tmp_path / "photos" / part / "bees/1.jpg") for part in ("test", "train")
    ]
    assert [image["role"] == "test" for image in told] == [True, False]
    assert told[0]["embeddings"][0]["key"] != told[1]["embeddings"][0]["key"]
    with pytest.raises(BadOption, match=r"row of which part\?: 7 \(expected one of: train:7, test:7\)"):
        ask(tmp_path / "cache", "7", **options)
    with pytest.raises(UnknownName, match=r"unknown part 'val'.*one of: train, test"):
        ask(tmp_path / "cache", "val:7", **options)


def test_each_backbone_has_its_embedding(cache: Path) -> None:
    nets = ("squeezenet1_1", "squeezenet1_0")
    extracted(cache, backbones=nets)
    told, said = ask(cache, "33", "2", backbones=nets)
    for image in told:
        assert [stored["backbone"] for stored in image["embeddings"]] == list(nets)
        for stored in image["embeddings"]:
            features = open_features(stored["key"], cache)
            assert features.inputs["backbone"] == stored["backbone"]
            assert features[image["row"]][:3].tolist() == stored["first"]
    assert [line.split(":")[1].strip() for line in said[2:4]] == list(nets)
    assert len(said) == 8


@pytest.mark.parametrize("word", ["60", "all:60", "999999999999999999"])
def test_a_row_beyond_the_last_is_one_line_with_their_number(
    word: str, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["show", word, f"--cache={cache}", "--limit=60", "--weights=none"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == (f"probeline: no such row: {word} (expected 0 to 59: all of digits-limit60 has 60 rows)\n")


@pytest.mark.parametrize("word", ["", "all", "all:", "x7", "1.5", "7:all", "all/00007", "\u0663", "9" * 5000])
def test_what_is_no_row_is_refused(word: str, cache: Path) -> None:
    with pytest.raises(BadOption, match=r"no row: .*expected \[PART:\]ROW"):
        ask(cache, word)


def test_only_the_shards_of_the_rows_are_read_and_they_are_proven(cache: Path) -> None:
    entry = entry_of(cache)
    for number in (0, 2):
        path = entry.shard_path(number)
        path.write_bytes(path.read_bytes()[:-1] + b"x")
    told, _ = ask(cache, "16", "50")
    assert [Path(image["embeddings"][0]["shard"]).name for image in told] == ["shard-00001.h5", "shard-00003.h5"]
    with pytest.raises(BadCache, match=r"a shard is corrupt.*shard-00002\.h5"):
        ask(cache, "16", "47")


def test_a_row_that_is_not_extracted_names_the_command(cache: Path) -> None:
    for suffix in (".h5", ".json"):
        entry_of(cache).shard_path(1).with_suffix(suffix).unlink()
    assert len(ask(cache, "15", "32")[0]) == 2, "rows of other shards are shown"
    with pytest.raises(
        MissingData, match=r"row 20 of all is not extracted yet.*run: probeline extract --dataset digits"
    ):
        ask(cache, "15", "20")
    with pytest.raises(MissingData, match="row 3 of all is not extracted yet"):
        ask(cache.parent / "elsewhere", "3")


def test_the_command_prints_json_and_imports_no_torch(tmp_path: Path) -> None:
    options = ["--cache", str(tmp_path / "cache"), "--limit=60", "--weights=none", "--image-size=32"]
    options += ["--backbone", "squeezenet1_1"]
    assert cli.main(["extract", *options]) == 0
    program = (
        "import sys\nfrom probeline.cli.program import main\n"
        "assert main(sys.argv[1:]) == 0\n"
        "assert not {'torch', 'torchvision', 'timm', 'matplotlib'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, "show", "7", "all:8", "--json", *options],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    told = json.loads(done.stdout)["show"]
    assert [(image["part"], image["row"]) for image in told] == [("all", 7), ("all", 8)]
    assert done.stderr.count("show: digits-limit60/all row ") == 2
