"""The doctor on made pictures: what is planted is found, nothing else is, and nothing is done twice."""

from __future__ import annotations

import base64
import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from threadpoolctl import threadpool_limits

from made_photos import photo_patches
from made_scores import judged, make_score
from probeline.analysis import data_checks
from probeline.analysis.data_checks import BITS, CONTRAST, LEVEL, LISTED, PIXELS, SIMILARITY
from probeline.analysis.duplicates import SHIFT
from probeline.analysis.examined_images import NEIGHBOURS, ExaminedImages
from probeline.commands import compare, doctor, extract
from probeline.identity import HEADS_VERSION
from probeline.results.findings import FINDINGS, Findings, ImageReference
from probeline.results.score import SCORES
from probeline.session import Session
from small_runs import Listening, configuration

pytestmark = pytest.mark.usefixtures("one_thread", "undrawn")

COLOURS = ("blue", "green", "red")
TRAIN, TEST = 20, 8
"""Pictures of each class, before anything is planted."""


def picture(colour: str, seed: int) -> Image.Image:
    """Return a picture of patches whose strongest channel tells its class."""
    rng = np.random.default_rng([COLOURS.index(colour), seed])
    grey = rng.integers(0, 150, (7, 8), dtype=np.uint8)
    pixels = np.repeat(grey[..., None], 3, axis=2) // 2
    pixels[..., 2 - COLOURS.index(colour)] += grey // 2 + 80
    return Image.fromarray(pixels).resize((64, 56), Image.Resampling.BICUBIC)


def planted(root: Path, *, clean: bool = False) -> Path:
    """Make train and test of three classes, and plant in them what there is to find."""
    for part, start, count in (("train", 0, TRAIN), ("test", 100, TEST)):
        for colour in COLOURS:
            (root / part / colour).mkdir(parents=True)
            for number in range(count):
                picture(colour, start + number).save(root / part / colour / f"{number:02d}.png")
    if clean:
        return root
    train, test = root / "train", root / "test"
    (test / "red" / "copy.png").write_bytes((train / "red" / "00.png").read_bytes())
    picture("green", 1).save(test / "green" / "coded.jpg", quality=60)
    ImageOps.mirror(picture("blue", 2)).save(test / "blue" / "mirror.png")
    ImageEnhance.Brightness(picture("red", 3)).enhance(1.15).save(test / "red" / "bright.png")
    picture("green", 5).resize((96, 84), Image.Resampling.BICUBIC).save(train / "green" / "larger.jpg", quality=90)
    (train / "blue" / "conflict.png").write_bytes((train / "red" / "06.png").read_bytes())
    picture("green", 50).save(train / "red" / "wrong.png")
    picture("red", 51).save(test / "blue" / "wrong.png")
    noise = np.random.default_rng(9).integers(0, 2, (56, 64, 3), np.uint8) * 255
    Image.fromarray(noise).save(test / "blue" / "noise.png")
    picture("green", 60).convert("P").save(train / "green" / "palette.png")
    for path in root.rglob("*.*"):
        os.utime(path, (1e9, 1e9))  # a younger file may change yet, and is not remembered
    return root


NEAR = {
    ("train/green/01.png", "test/green/coded.jpg", False),
    ("train/blue/02.png", "test/blue/mirror.png", True),
    ("train/red/03.png", "test/red/bright.png", False),
    ("train/green/05.png", "train/green/larger.jpg", False),
}
EXACT = {("train/red/00.png", "test/red/copy.png"), ("train/blue/conflict.png", "train/red/06.png")}


def inputs_of(root: Path, **changes: Any) -> tuple[Session, Listening]:
    console = Listening()
    options = {"dataset": f"folder:{root / 'pictures'}", "limit": None, "workers": 1, "console": console, **changes}
    return Session(configuration(root / "cache", **options)), console


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder whose pictures were examined; leave it as it is."""
    root = tmp_path_factory.mktemp("doctor")
    planted(root / "pictures")
    with threadpool_limits(1):
        extract.run(inputs_of(root)[0])
        doctor.run(inputs_of(root)[0])
    return root


@pytest.fixture
def found(root: Path) -> Findings:
    (record,), ignored = FINDINGS.load(inputs_of(root)[0].reports)
    assert ignored == []
    return record


# What is found


def test_planted_duplicates_are_found_and_nothing_else_is(found: Findings) -> None:
    pairs = found.duplicates.pairs
    ends = {(pair.first.sample_id, pair.second.sample_id) for pair in pairs if pair.kind == "exact"}
    assert {frozenset(pair) for pair in ends} == {frozenset(pair) for pair in EXACT}
    near = {
        (frozenset((pair.first.sample_id, pair.second.sample_id)), pair.mirrored)
        for pair in pairs
        if pair.kind == "near"
    }
    assert near == {(frozenset((first, second)), mirrored) for first, second, mirrored in NEAR}
    assert [pair.second.role for pair in pairs] == ["test"] * 4 + [pair.second.role for pair in pairs[4:]]
    assert "test" not in {image.role for pair in pairs[4:] for image in (pair.first, pair.second)}
    assert pairs[0].kind == "exact"
    (conflict,) = [pair for pair in pairs if pair.first.label != pair.second.label]
    assert "conflict" in conflict.first.sample_id + conflict.second.sample_id


def test_leaked_images_are_places_in_the_test_split(root: Path, found: Findings) -> None:
    session, _ = inputs_of(root)
    test = session.splits.test
    ids = [session.dataset.parts[test.part].sample_ids[row] for row in test.rows.tolist()]
    assert [ids[place] for place in found.duplicates.leaked_exact] == ["test/red/copy.png"]
    near = {ids[place] for place in found.duplicates.leaked_near}
    assert near == {"test/green/coded.jpg", "test/blue/mirror.png", "test/red/bright.png"}
    regions = found.duplicates.regions
    assert (regions["across"].exact, regions["across"].near, regions["across"].conflicts) == (1, 3, 0)
    assert (regions["known"].exact, regions["known"].near, regions["known"].conflicts) == (1, 1, 1)
    assert (regions["test"].exact, regions["test"].near) == (0, 0)


def test_copies_whose_features_are_not_similar_are_found_by_their_pixels(tmp_path: Path) -> None:
    patches, rng = photo_patches(), np.random.default_rng(0)
    grey = np.stack([np.asarray(image.convert("L"), np.float64) for image in patches])
    structured = np.flatnonzero(grey.std(axis=(1, 2)) > 20)  # coding changes the hashes of smooth ones
    copied, turned, dimmed = np.sort(rng.choice(structured, (3, 10), replace=False), axis=1).tolist()
    folder = tmp_path / "pictures"
    for part, rows in (("train", range(len(patches))), ("test", [*copied, *turned, *dimmed])):
        for row in rows:
            (folder / part / COLOURS[row % 3]).mkdir(parents=True, exist_ok=True)
            image = patches[row]
            if part == "train":
                image.save(folder / part / COLOURS[row % 3] / f"{row:03d}.png")
                continue
            image = ImageOps.mirror(image) if row in turned else image
            image = ImageEnhance.Brightness(image).enhance(0.8) if row in dimmed else image
            image.save(folder / part / COLOURS[row % 3] / f"{row:03d}.jpg", quality=60)
    session, _ = inputs_of(tmp_path)
    images = ExaminedImages(session, session.backbone("squeezenet1_1")[0])
    # Features of which no two agree: in 64 dimensions a cosine of 0.7 has a chance below exp(-64 x 0.49 / 2), 2e-7.
    images.__dict__["features"] = rng.standard_normal((len(images), 64), np.float32)
    found = data_checks.find_duplicates(images)
    pairs = {(Path(pair.first.sample_id).stem, Path(pair.second.sample_id).stem) for pair in found.pairs}
    assert pairs == {(f"{row:03d}", f"{row:03d}") for row in (*copied, *turned, *dimmed)}
    assert {Path(pair.second.sample_id).stem for pair in found.pairs if pair.mirrored} == {
        f"{row:03d}" for row in turned
    }
    assert all(pair.features < SIMILARITY <= PIXELS <= pair.pixels == pair.score for pair in found.pairs)
    assert found.regions["across"].near == len(found.leaked_near) == 30
    assert found.search.by_hash == found.search.compared >= 30


def test_planted_wrong_labels_are_ranked_first(found: Findings) -> None:
    names = {"train/red/wrong.png": "green", "test/blue/wrong.png": "red"}
    first = {suspect.image.sample_id: found.class_names[suspect.suggested] for suspect in found.labels.suspects[:4]}
    # The picture that stands in two classes has a wrong label in one of them, so that three are wrong.
    assert names.items() <= first.items()
    scores = [suspect.score for suspect in found.labels.suspects]
    assert scores == sorted(scores, reverse=True)
    for suspect in found.labels.suspects:
        assert suspect.suggested != suspect.image.label
        assert suspect.score == pytest.approx((1 - suspect.chance_label) * suspect.disagreement, abs=2e-6)
    assert found.labels.folds == 5
    assert found.labels.converged
    assert sum(found.labels.judged.values()) == sum(found.images.values())
    # Random labels are wrong by construction, and colours tell the classes apart.
    assert found.labels.planted == (found.images["train"] + found.images["val"]) // 10
    assert found.labels.planted_flagged >= 0.5


def test_a_planted_outlier_is_the_furthest(found: Findings) -> None:
    remote = found.outliers.remote
    assert remote[0].image.sample_id == "test/blue/noise.png"
    assert remote[0].p == pytest.approx(1 / (1 + found.images["train"] + found.images["val"]), abs=1e-6)
    assert [one.distance for one in remote] == sorted((one.distance for one in remote), reverse=True)
    # Of fewer than 99 known images none can lie beyond 1 % of them: those further than all are flagged, and that no
    # known one is.
    known = found.images["train"] + found.images["val"]
    assert found.outliers.level == 1 / (1 + known) > 0.01
    further = [one for one in remote if one.image.role == "test" and one.p < 1.5 / known]
    assert found.outliers.flagged == {"train": 0, "val": 0, "test": len(further)}


def test_balance_and_help_are_counted_by_role(root: Path, found: Findings) -> None:
    session, _ = inputs_of(root)
    splits = session.splits
    for split in (splits.train, splits.val, splits.test):
        labels = session.dataset.parts[split.part].labels[split.rows]
        assert found.balance[split.role].counts == tuple(np.bincount(labels, minlength=3).tolist())
    kinds = {one.kind: one for one in found.helped}
    (palette,) = kinds["palette"].examples
    part, row = palette.split(":")
    assert session.dataset.parts[part].sample_ids[int(row)] == "train/green/palette.png"
    assert sum(kinds["palette"].counts.values()) == 1
    # All are 64 x 56 for a net of 32.
    assert "small" not in kinds


def test_thumbnails_are_those_of_what_is_ranked_first(root: Path, found: Findings) -> None:
    images: list[ImageReference] = [image for pair in found.duplicates.pairs for image in (pair.first, pair.second)]
    images += [suspect.image for suspect in found.labels.suspects[:24]]
    images += [remote.image for remote in found.outliers.remote[:24]]
    assert set(found.thumbnails) == {image.name for image in images}
    for small in found.thumbnails.values():
        with Image.open(io.BytesIO(base64.b64decode(small.webp))) as image:
            assert image.format == "WEBP"
            assert image.size == (small.width, small.height)
            assert max(image.size) <= 96
    (path,) = inputs_of(root)[0].reports.glob("doctor-*.json")
    assert path.stat().st_size < 1_000_000


def test_in_clean_pictures_nothing_is_found(tmp_path: Path) -> None:
    planted(tmp_path / "pictures", clean=True)
    extract.run(inputs_of(tmp_path)[0])
    (outcome,) = doctor.run(inputs_of(tmp_path)[0])
    # Patches of 7 x 8 are 56 numbers: two of them correlate by 0.9 with a chance below exp(-55 x 0.81 / 2), 2e-10, in
    # each of 50 windows of 3,486 pairs at most: 4e-5 in all.
    assert outcome["duplicates"] == {
        name: {"exact": 0, "near": 0, "conflicts": 0} for name in ("known", "across", "test")
    }
    assert (outcome["leaked_exact"], outcome["leaked_near"]) == (0, 0)


# When it is done anew


SECOND = """
import sys
from probeline.cli.program import main
from probeline.analysis import data_checks
data_checks.L2_GRID = (1e-2, 1.0, 10.0)
assert main(["doctor", *sys.argv[1:]]) == 0
assert main(["doctor", *sys.argv[1:], "--json"]) == 0
heavy = {"torch", "torchvision", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
"""


def test_a_second_run_examines_nothing_and_imports_no_torch(root: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    words = ["--dataset", f"folder:{root}/pictures", "--backbone", "squeezenet1_1", "--weights", "none"]
    words += ["--image-size", "32", "--workers", "1", f"--cache={root}/cache", f"--reports={root}/reports"]
    done = subprocess.run([sys.executable, "-c", SECOND, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "doctor: folder--pictures x squeezenet1_1: up to date, skipped" in done.stdout
    assert "doctor: 4 of 30 test images (13.3 %) are in train or val too: 1 as exact" in done.stdout
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()} == before
    (outcome,) = json.loads(done.stdout.splitlines()[-1])["doctor"]
    assert (outcome["leaked_exact"], outcome["leaked_near"]) == (1, 3)
    assert Path(outcome["file"]).is_file()


@pytest.mark.parametrize("change", ["labels", "content"])
def test_whatever_it_is_made_of_changes_its_key(root: Path, change: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {}
    if change == "labels":
        lines = ["sample_id,label", "train/red/00.png,blue"]
        ids = [name for part in inputs_of(root)[0].dataset.parts.values() for name in part.sample_ids]
        lines += [f"{name},{name.split('/')[1]}" for name in ids if name != "train/red/00.png"]
        (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        options["labels"] = tmp_path / "labels.csv"
    session, before = inputs_of(root, **options)[0], inputs_of(root)[0]
    if change == "content":
        part = session.dataset.parts["test"]
        other = replace(part, content=("0" * 64, *part.content[1:]))
        session.__dict__["dataset"] = replace(session.dataset, parts={**session.dataset.parts, "test": other})
    backbone, _ = session.backbone("squeezenet1_1")
    now = data_checks.list_inputs(session, backbone)
    assert now != data_checks.list_inputs(before, backbone)


def test_its_options_are_part_of_its_key(root: Path, found: Findings) -> None:
    session, _ = inputs_of(root)
    inputs = data_checks.list_inputs(session, session.backbone("squeezenet1_1")[0])
    wanted = {"neighbours": NEIGHBOURS, "alike": SIMILARITY, "shift": SHIFT, "level": LEVEL, "listed": LISTED}
    wanted |= {"bits": BITS, "pixels": PIXELS, "contrast": CONTRAST}
    assert {name: inputs["options"][name] for name in wanted} == wanted
    assert found.of["options"] == inputs["options"]


def test_missing_features_are_extracted_first(root: Path, tmp_path: Path) -> None:
    options = {"image_size": 40, "reports": tmp_path / "reports"}
    session, console = inputs_of(root, **options)
    line = "doctor: features of squeezenet1_1 are not extracted yet; extracting what is missing"
    (outcome,) = doctor.run(session)
    assert console.said.count(line) == 1
    assert Path(outcome["file"]).is_file()
    session, console = inputs_of(root, **options)
    doctor.run(session)
    assert line not in console.said


# What compare shows


@pytest.fixture
def copied(root: Path, tmp_path: Path) -> Path:
    """Reports of their own, with what was found and a score."""
    session, _ = inputs_of(root, reports=tmp_path / "reports")
    for path in inputs_of(root)[0].reports.glob("doctor-*.json"):
        session.reports.mkdir(parents=True, exist_ok=True)
        (session.reports / path.name).write_bytes(path.read_bytes())
    facts = {"dataset": session.dataset.title, "splits": session.splits_sha256, "n_test": len(session.splits.test)}
    score = make_score("probe", "squeezenet1_1", weights="none", image_size=32, class_names=COLOURS, **facts)
    labels = session.dataset.parts[session.splits.test.part].labels[session.splits.test.rows]
    score = judged(score, labels=tuple(labels.tolist()))
    SCORES.save(session.reports, replace(score, options={**score.options, "version": HEADS_VERSION}))
    return tmp_path / "reports"


@pytest.mark.usefixtures("undrawn")
def test_compare_shows_what_was_found(root: Path, copied: Path) -> None:
    session, _ = inputs_of(root, reports=copied)
    result = compare.run(session)
    text = Path(str(result["report"])).read_text(encoding="utf-8")
    assert "## Data doctor" in text
    assert "| test/blue/noise.png |" in text
    told = json.loads(Path(str(result["json"])).read_text(encoding="utf-8"))["doctor"]
    (row,) = told["leakage"]
    assert (row["all"]["n"], row["without_exact"]["n"], row["without_both"]["n"]) == (30, 29, 26)
    (outcome,) = doctor.run(session)
    assert [one["without_both"] for one in outcome["rows"]] == [
        {**row["without_both"], "interval": tuple(row["without_both"]["interval"])}
    ]


@pytest.mark.usefixtures("undrawn")
def test_compare_leaves_out_what_was_found_elsewhere_or_is_damaged(root: Path, copied: Path, tmp_path: Path) -> None:
    lines = ["sample_id,label"]
    for part in inputs_of(root)[0].dataset.parts.values():
        lines += [f"{name},{name.split('/')[1]}" for name in part.sample_ids if name != "train/red/00.png"]
    (tmp_path / "labels.csv").write_text("\n".join([*lines, "train/red/00.png,blue"]) + "\n", encoding="utf-8")
    other, console = inputs_of(root, reports=copied, labels=tmp_path / "labels.csv")
    other.reports.mkdir(exist_ok=True)
    (path,) = inputs_of(root, reports=copied)[0].reports.glob("doctor-*.json")
    (other.reports / path.name).write_bytes(path.read_bytes())
    text = Path(str(compare.run(other)["report"])).read_text(encoding="utf-8")
    assert "Data doctor" not in text
    assert "compare: left out 1 findings of the doctor in other images, splits or labels" in console.said
    path.write_bytes(path.read_bytes()[:-7])
    session, console = inputs_of(root, reports=copied)
    assert "Data doctor" not in Path(str(compare.run(session)["report"])).read_text(encoding="utf-8")
    assert f"compare: left out {path}: is damaged: its bytes are not those its sha256 was taken of" in console.said
