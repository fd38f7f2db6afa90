"""An exported predictor: what it takes, what it says, what it refuses in one line, and how it goes through many."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

import probeline
from probeline.cli import program as cli
from probeline.cli.console import Terminal
from probeline.data.pixels.decode import MOST_PIXELS
from probeline.errors import BadArtifact, BadData, Diverged, MissingData, ProbelineError
from probeline.export.artifact.record import Artifact, TrainRowFacts
from probeline.export.format import FILES, HEAD, RECORD, ROWS, WEIGHTS, read_record, sealed
from probeline.export.images import crop_of
from probeline.export.predictor import Predictor
from probeline.export.train_rows import QUANTILE, row_tensors, rows_of, threshold
from probeline.identity import digest_bytes
from probeline.options.settings import Settings
from small_artifacts import change_record, make_artifact, nested, replace_file

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``out``, an exported probe on three colours, and ``pictures``; leave it as it is."""
    return make_artifact(tmp_path_factory.mktemp("shipped")).parent


@pytest.fixture(scope="module")
def predictor(shipped: Path) -> Predictor:
    return probeline.load(shipped / "out", device="cpu")


def pictures(shipped: Path, n: int = 6) -> list[Path]:
    return sorted((shipped / "pictures").rglob("*.png"))[::5][:n]


@pytest.fixture
def copy(shipped: Path, tmp_path: Path) -> Path:
    """An artifact to damage."""
    shutil.copytree(shipped / "out", tmp_path / "out")
    return tmp_path / "out"


# What it takes


def test_paths_images_arrays_and_tensors_are_one_thing(shipped: Path, predictor: Predictor) -> None:
    paths = pictures(shipped)
    images = [Image.open(path).convert("RGB") for path in paths]
    arrays = [np.array(image) for image in images]
    tensors = [torch.from_numpy(array).permute(2, 0, 1) for array in arrays]
    wanted = predictor.predict(paths)
    assert len(wanted) == 6
    assert wanted.logits.dtype == np.float32
    assert wanted.predicted.dtype == np.int64
    every: list[Any] = [
        list(map(str, paths)),
        images,
        arrays,
        tensors,
        np.stack(arrays),
        torch.stack(tensors),
        iter(paths),
    ]
    for given in every:
        found = predictor.predict(given)
        assert (found.logits == wanted.logits).all()
        assert found.neighbours == wanted.neighbours
    for i, one in enumerate((paths[0], images[1], arrays[2], tensors[3])):
        assert predictor.predict(one).logits == pytest.approx(wanted.logits[i : i + 1], abs=1e-4)
    assert predictor.predict([]).logits.shape == (0, 3)


def test_other_modes_of_pillow_follow_the_decode_policy(shipped: Path, predictor: Predictor, tmp_path: Path) -> None:
    with Image.open(pictures(shipped)[0]) as image:
        grey, clear = image.convert("L"), image.convert("RGBA")
    clear.putalpha(128)
    for number, one in enumerate((grey, clear)):
        one.save(tmp_path / f"{number}.png")
        said = predictor.predict([one, tmp_path / f"{number}.png"])
        assert (said.logits[0] == said.logits[1]).all()


BAD: dict[str, tuple[Any, str]] = {
    "grey array": (
        np.zeros((40, 40), np.uint8),
        r"this array is no image of 3 channels \(expected .*got uint8 \[40, 40\]\)",
    ),
    "four channels": (
        np.zeros((40, 40, 4), np.uint8),
        r"this array is no image of 3 channels .*got uint8 \[40, 40, 4\]\)",
    ),
    "one channel": (torch.zeros(1, 40, 40, dtype=torch.uint8), r"this tensor is no image .*got uint8 \[1, 40, 40\]\)"),
    "channels last": (
        torch.zeros(40, 40, 3, dtype=torch.uint8),
        r"this tensor is no image .*got uint8 \[40, 40, 3\]\)",
    ),
    "floats": (np.zeros((40, 40, 3), np.float32), r"this array is no image .*got float32 \[40, 40, 3\]\)"),
    "floats out of range": (torch.full((3, 40, 40), 300.0), r"this tensor is no image .*got float32 \[3, 40, 40\]\)"),
    "nothing": (np.zeros((0, 40, 3), np.uint8), r"this array is no image .*got uint8 \[0, 40, 3\]\)"),
    "a number": ([17], r"this is no image \(expected a path, a PIL image, .*got int\)"),
    "not several": (17, r"these are no images \(expected .*got int\)"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_is_no_image_is_one_line(kind: str, predictor: Predictor) -> None:
    given, line = BAD[kind]
    with pytest.raises(BadData, match=f"^{line}$"):
        predictor.predict(given)


def test_images_too_large_are_refused(predictor: Predictor) -> None:
    line = r"^image cannot be read: mode L \(got 178956980 pixels, at most 178956970 are decoded\)$"
    with pytest.raises(BadData, match=line):
        predictor.predict(Image.new("L", (MOST_PIXELS // 10 + 1, 10)))
    line = r"^this image is too large \(expected at most 178956970 pixels, got 178956980\)$"
    with pytest.raises(BadData, match=line):
        predictor.predict(np.broadcast_to(np.zeros(3, np.uint8), (MOST_PIXELS // 10 + 1, 10, 3)))


# What it says


def test_probabilities_are_those_of_the_logits_over_the_temperature(shipped: Path, predictor: Predictor) -> None:
    found = predictor.predict(pictures(shipped))
    shares = np.exp(found.logits.astype(np.float64) / predictor.artifact.temperature)
    assert found.probabilities == pytest.approx(shares / shares.sum(1, keepdims=True))
    (name, share), *rest = found.top(0, 3)
    assert (name, share) == (found.classes[0], found.probabilities[0].max())
    assert [chance for _, chance in rest] == sorted((chance for _, chance in rest), reverse=True)
    assert len(found.top(0, 99)) == 3


def test_a_train_image_is_its_own_nearest_neighbour(shipped: Path, predictor: Predictor) -> None:
    rows = json.loads((shipped / "out" / "neighbours.json").read_text())
    found = predictor.predict([shipped / "pictures" / name for name in rows[:5]], nearest=2)
    for name, near in zip(rows, found.neighbours, strict=False):
        assert len(near) == 2
        assert near[0].sample_id == name
        assert near[0].class_name == name.partition("/")[0]
        # float16 rounds each of 512 values to 2^-11 of itself: the product of two unit rows is off by less than that.
        assert near[0].distance == pytest.approx(0, abs=2**-10)
        assert near[0].distance < near[1].distance


def test_distances_and_threshold_are_those_of_brute_force() -> None:
    rng = np.random.default_rng(0)
    train, new = rng.normal(size=(40, 6)).astype(np.float32), rng.normal(size=(9, 6)).astype(np.float32)
    new[0] *= 1000

    def unit(rows: Any) -> Any:
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    own = np.sort(1 - unit(train) @ unit(train).T + np.diag(np.full(40, 9.0)), axis=1)[:, 4]
    others = np.sort(1 - unit(new) @ unit(train).T, axis=1)
    labels = np.arange(40) % 2
    tensors = row_tensors(train, labels)
    k, limit = threshold(tensors)
    assert (k, QUANTILE) == (5, 0.99)
    # float16's rounding, as above.
    assert limit == pytest.approx(np.quantile(own, 0.99, method="higher"), abs=2**-10)
    rows = rows_of(tensors, tuple(map(str, range(40))), TrainRowFacts(40, k, QUANTILE, limit, "cosine", 0.0), 6)
    places, distances, kth = rows.search(torch.from_numpy(new), 3)
    assert distances == pytest.approx(others[:, :3], abs=2**-10)
    assert kth == pytest.approx(others[:, 4], abs=2**-10)
    assert (1 - (unit(new) @ unit(train).T)[np.arange(9)[:, None], places]) == pytest.approx(distances, abs=2**-10)


def test_few_rows_have_fewer_neighbours() -> None:
    features = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    assert threshold(row_tensors(features, np.zeros(4, np.int64)))[0] == 3


def test_what_nothing_in_training_is_like_is_said(shipped: Path, predictor: Predictor) -> None:
    rows = json.loads((shipped / "out" / "neighbours.json").read_text())
    train = predictor.predict([shipped / "pictures" / name for name in rows])
    assert not train.unlike.any(), "each is as near to itself as can be"
    checks = (np.indices((64, 64)).sum(0) // 8 % 2 * 255).astype(np.uint8)
    strange = predictor.predict(np.dstack([checks, 255 - checks, checks]))
    assert strange.unlike.tolist() == [True]
    facts = predictor.artifact.neighbours
    assert facts is not None
    assert strange.distances[0] > facts.threshold > train.distances.max() / 2


# What it refuses


@pytest.mark.parametrize(
    "name", ["weights.safetensors", "head.safetensors", "neighbours.safetensors", "neighbours.json"]
)
def test_a_damaged_file_is_one_line(name: str, copy: Path) -> None:
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(data)
    sha256 = r"\w{12}\.\.\."
    line = rf"^a file of an artifact is corrupt: .*{name} \(expected sha256 {sha256}, got {sha256}\); export it again$"
    with pytest.raises(BadArtifact, match=line):
        probeline.load(copy)
    (copy / name).unlink()
    with pytest.raises(BadArtifact, match=rf"^a file of an artifact cannot be read: .*{name} \(got No such file"):
        probeline.load(copy)


def test_every_byte_of_the_record_counts(copy: Path) -> None:
    whole = (copy / RECORD).read_bytes()
    for place in range(0, len(whole), 97):
        spoilt = bytearray(whole)
        spoilt[place] ^= 1
        (copy / RECORD).write_bytes(spoilt)
        with pytest.raises(BadArtifact, match=r"^an artifact's record is corrupt: .*; export it again$"):
            read_record(copy)


def rename_net(record: dict[str, Any], name: str) -> None:
    record["net"]["name"] = record["measured"]["backbone"] = name


OTHERS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "newer": (
        lambda r: r.update(version=2),
        r"of another format version: .* \(expected 1, got 2\); use the version of",
    ),
    "not quite 1": (lambda r: r.update(version=1.0), r"of another format version: .* \(expected 1, got 1\.0\)"),
    "foreign": (
        lambda r: r.update(format="cake"),
        r"^this is no artifact: .* \(expected probeline artifact, got 'cake'\)$",
    ),
    "decoding": (lambda r: r["preprocess"].update(decode=9), r"images decoded by version 9, here it is 1\); export it"),
    "channels": (lambda r: r["preprocess"].update(mean=[0.5]), r"preprocess: mean: expected 3 values, got 1\); export"),
    "size": (lambda r: r["preprocess"].update(crop=10**9), r"got crop 1000000000, where 1 to 4096 are read"),
    "another size": (lambda r: r["preprocess"].update(crop=24), r"got crop 24, but 32 was measured"),
    "resize": (lambda r: r["preprocess"].update(resize=257), r"got resize 257, where 32 to 256 are read"),
    "mean": (lambda r: r["preprocess"].update(mean=[0, 0, 1e99]), r"got mean 1e\+99, where -1000 to 1000 are read"),
    "std": (lambda r: r["preprocess"].update(std=[1, 1, 5e-324]), r"got std 5e-324, where 1e-06 to 1e\+06 are read"),
    "temperature": (lambda r: r.update(temperature=0), r"got temperature 0, where calibration gives 0.001 to 1000"),
    "a tiny temperature": (lambda r: r.update(temperature=5e-324), r"got temperature 5e-324, where calibration gives"),
    "another temperature": (lambda r: r.update(temperature=7.5), r"got temperature 7.5, but [\d.]+ was measured"),
    "classes": (lambda r: r.update(classes=["one"]), r"a predictor has two classes or more"),
    "fewer classes": (lambda r: r.update(classes=["a", "b"]), r"do not belong together: .*a head of 2 outputs and 512"),
    "a class twice": (lambda r: r.update(classes=["a", "b", "a"]), r"got 2 classes of the name 'a'"),
    "an empty class": (lambda r: r.update(classes=["a", "b", ""]), r"a class of 0 characters, where 1 to 1,000 are"),
    "half a character": (lambda r: r.update(classes=["a", "b", "\ud800"]), r"surrogates not allowed"),
    "a control character": (lambda r: r.update(classes=["a", "b", "\x1b[2J"]), r"the control character '\\x1b'"),
    "a long class": (lambda r: r.update(classes=["a", "b", 1001 * "c"]), r"a class of 1,001 characters"),
    "no field": (lambda r: r.pop("net"), r"got the record: missing net"),
    "a field more": (lambda r: r.update(code="print(1)"), r"got the record: unknown code"),
    "a field more inside": (lambda r: r["net"].update(code="x"), r"got net: unknown code"),
    "net": (lambda r: rename_net(r, "resnet19"), r"unknown backbone 'resnet19'"),
    "another net": (lambda r: r["net"].update(name="resnet18"), r"backbone 'resnet18', but 'squeezenet1_1' was meas"),
    "other net": (
        lambda r: rename_net(r, "squeezenet1_0"),
        r"weights are of another net: .*weights.safetensors",
    ),
    "a giant": (
        lambda r: (rename_net(r, "timm:vit_giant_patch14_dinov2"), r["net"].update(head="head")),
        r"weights are of another net: .*weights.safetensors",
    ),
    "code": (
        lambda r: rename_net(r, "python:that_nobody_named.py:make"),
        r"is code, which is not run for an artifact alone",
    ),
    "option": (lambda r: r["net"].update(options={"weights_backbone": "x"}), r"got ValueError a net built with"),
    "head": (lambda r: r["net"].update(head="no.such"), r"do not belong together: .*AttributeError"),
    "dim": (lambda r: r["net"].update(dim=7), r"do not belong together: .*a head of 3 outputs and 7 inputs"),
    "rows": (lambda r: r["neighbours"].update(k=99), r"got k 99, where 1 to \d+ are read"),
    "fewer rows": (lambda r: r["neighbours"].update(rows=9), r"do not belong together: .*9 train rows of 512 features"),
    "threshold": (lambda r: r["neighbours"].update(threshold=1e99), r"got threshold 1e\+99, where"),
    "a word for a number": (lambda r: r.update(temperature="1.5"), r"got temperature: expected a number, got '1.5'"),
    "a huge number": (lambda r: r.update(temperature=10**400), r"got temperature: expected a finite number, got 1000"),
    "a list for an object": (lambda r: r.update(files=["x"]), r"got files: expected an object, got a list"),
    "no digest": (lambda r: r["files"].update({HEAD: "0" * 63}), r"head.safetensors: expected 64 hexadecimal digits"),
    "a file less": (lambda r: r["files"].pop(HEAD), r"got files that do not fit the record: head.safetensors"),
    "a graph more": (lambda r: r["files"].update({"model.pt2": "0" * 64}), r"do not fit the record: model.pt2"),
    "half a pixel": (lambda r: r["preprocess"].update(resize=256.5), r"preprocess: resize: expected an integer"),
    "a huge net": (lambda r: r["net"].update(options={"image_size": 65536}), r"a net of \{'image_size': 65536\} for"),
    "no tap": (lambda r: r["net"].update(taps=[]), r"got 0 taps"),
    "an unknown tap": (lambda r: r["net"].update(taps=["x"]), r"taps and the facts of inner taps differ"),
    "pooling": (lambda r: r["net"].update(pooling="max"), r"got pooling 'max'"),
    "precision": (lambda r: r["net"].update(precision="fp8"), r"got precision 'fp8'"),
    "activation": (lambda r: r.update(activation="eval"), r"got activation 'eval'"),
    "other weights": (lambda r: r["net"].update(weights_sha256="0" * 64), r"not the weights that the record names"),
    "accuracy": (lambda r: r["measured"].update(top1=1.5), r"got top1 1.5, where"),
    "nothing measured": (lambda r: r.update(measured=None), r"got measured: expected an object, got None"),
    "depth": (lambda r: r["measured"].update(chosen={"a": nested(40)}), r"nested more than 32 levels deep"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_another_artifact_than_it_was_made_for_is_one_line(kind: str, copy: Path) -> None:
    change, line = OTHERS[kind]
    change_record(copy, change)
    with pytest.raises(ProbelineError, match=line) as caught:
        probeline.load(copy, "cpu")
    assert "\n" not in str(caught.value)


def test_no_artifact_at_all(tmp_path: Path) -> None:
    line = r"^no artifact here: .*nowhere \(expected a folder with artifact.json\); make one with probeline export$"
    with pytest.raises(MissingData, match=line):
        probeline.load(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    with pytest.raises(
        BadArtifact, match=r"^an artifact cannot be read: .*file/artifact.json \(got Not a directory\)$"
    ):
        probeline.load(tmp_path / "file")


def test_without_torch_one_line_says_so(shipped: Path) -> None:
    program = (
        "import sys, importlib.util as u\nfind = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'torch' else find(name, *rest)\n"
        "import probeline\nfrom probeline.errors import MissingExtra\n"
        "try:\n    probeline.load(sys.argv[1])\nexcept MissingExtra as error:\n    print(error)\n"
        "assert 'torch' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program, shipped / "out"], capture_output=True, text=True, check=True)
    assert done.stdout == "torch is not installed, which runs a predictor; pip install torch torchvision\n"


def test_nothing_in_the_folder_is_a_pickle(shipped: Path) -> None:
    for path in (shipped / "out").iterdir():
        assert path.name in (RECORD, *FILES)
        data = path.read_bytes()
        if path.suffix == ".safetensors":
            size = int.from_bytes(data[:8], "little")
            assert isinstance(json.loads(data[8 : 8 + size]), dict)
        else:
            data.decode("utf-8")


def test_a_record_reads_back_equal(shipped: Path) -> None:
    record = read_record(shipped / "out")
    assert isinstance(record, Artifact)
    assert sealed(record) == (shipped / "out" / RECORD).read_bytes()


# Many


def test_streaming_takes_only_as_many_as_it_works_on(shipped: Path, predictor: Predictor) -> None:
    image, taken = str(pictures(shipped)[0]), 0

    def endless() -> Iterator[str]:
        nonlocal taken
        while True:
            taken += 1
            yield image

    stream = predictor.stream(endless(), batch_size=2, workers=2)
    for number in range(1, 40):
        path, found = next(stream)
        assert path == image
        assert not isinstance(found, BadData)
        # Two batches a thread are begun or wait, and one more was handed out.
        assert taken <= number + 2 * (2 * 2 + 1)
    stream.close()  # type: ignore[attr-defined]


def test_what_is_at_hand_is_answered_before_the_next_is_asked_for(shipped: Path, predictor: Predictor) -> None:
    some, asked = [str(path) for path in pictures(shipped)[:5]], 0

    def slow() -> Iterator[str | None]:
        nonlocal asked
        for path in some:
            asked += 1
            yield path
            if asked in (1, 4):
                yield None

    taken = []
    for path, found in predictor.stream(slow(), batch_size=2, workers=2):
        assert not isinstance(found, BadData)
        taken.append((path, asked))
    assert taken == list(zip(some, (1, 4, 4, 4, 5), strict=True))


def test_lines_come_as_they_are_piped_in(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, encoding="utf-8") as stream, os.fdopen(writing, "wb", buffering=0) as pipe:
        monkeypatch.setattr(sys, "stdin", stream)
        lines = Terminal(quiet=False).piped()
        pipe.write(b"one\ntwo\r\nthr")
        assert [next(lines) for _ in range(3)] == ["one", "two", None]
        pipe.write(b"ee\n\n")
        assert [next(lines) for _ in range(3)] == ["three", "", None]
        pipe.write(b"last")
        pipe.close()
        assert [line for line in lines if line is not None] == ["last"]


def test_streaming_says_what_predict_says(shipped: Path, predictor: Predictor) -> None:
    paths = list(map(str, pictures(shipped)))
    wanted = predictor.predict(paths)
    found = list(predictor.stream(paths, batch_size=4, workers=2))
    assert [path for path, _ in found] == paths
    for i, (_, one) in enumerate(found):
        assert not isinstance(one, BadData)
        # Batches of another size: two float32 passes of one net.
        assert one.logits == pytest.approx(wanted.logits[i : i + 1], abs=1e-4)
        assert one.neighbours[0][0].sample_id == wanted.neighbours[i][0].sample_id


Ran = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ran(shipped: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ran:
    """Run ``predict`` in an empty folder, without any data set."""
    monkeypatch.chdir(tmp_path)

    def run(*words: object) -> tuple[int, str, str]:
        code = cli.main(
            ["predict", *map(str, words), "--artifact", str(shipped / "out"), "--device=cpu", "--workers=1"]
        )
        return code, *capsys.readouterr()

    return run


def test_a_table_has_a_line_an_image(shipped: Path, predictor: Predictor, ran: Ran) -> None:
    paths = pictures(shipped)
    code, out, err = ran(*paths, "--top-k=2", "--nearest=1")
    assert (code, err) == (0, "")
    head, *lines = out.splitlines()
    assert head.split() == ["class", "prob.", "image"]
    found = predictor.predict(paths, nearest=1)
    for i, (line, path) in enumerate(zip(lines, paths, strict=True)):
        (name, share), (other, chance) = found.top(i, 2)
        near = found.neighbours[i][0]
        assert line.split()[:3] == [name, f"{100 * share:.1f}", "%"]
        assert f"{path}; then {other} {100 * chance:.1f} %; near {near.sample_id} ({near.distance:.2f})" in line
        assert (" unlike " in line) == found.unlike[i]


def test_a_bad_file_is_a_line_on_standard_error_and_the_rest_goes_on(shipped: Path, ran: Ran, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    first, second = pictures(shipped)[:2]
    code, out, err = ran(first, tmp_path / "bad.png", "nowhere.jpg", second, "--format=jsonl")
    assert code == 2
    assert [json.loads(line)["image"] for line in out.splitlines()] == [str(first), str(second)]
    assert err.splitlines() == [
        f"probeline: image cannot be read: {tmp_path / 'bad.png'} (got a text, none of JPEG, PNG, BMP, WEBP, TIFF, "
        "PPM); remove or replace the file",
        "probeline: image cannot be read: nowhere.jpg (got No such file or directory); remove or replace the file",
        "probeline: 2 of 4 images could not be read (see above)",
    ]


def test_what_is_no_path_is_refused_as_what_it_is(ran: Ran) -> None:
    words = ("https://example.invalid/a.jpg", "q/*.jpg", "'a.jpg'")
    code, out, err = ran(*words, "--format=jsonl")
    assert (code, out) == (2, "")
    lines = err.splitlines()
    hints = ("this is an address: download", "this is a pattern: leave the quotes away", "the quotes are taken for")
    for word, hint, line in zip(words, hints, lines, strict=False):
        assert f"{word} (got No such file or directory); {hint}" in line
    assert lines[3] == "probeline: 3 of 3 images could not be read (see above)"


def test_folders_are_walked_in_order(shipped: Path, ran: Ran, tmp_path: Path) -> None:
    code, out, _ = ran(shipped / "pictures", "--format=jsonl")
    assert code == 0
    wanted = sorted((shipped / "pictures").rglob("*.png"))
    assert [json.loads(line)["image"] for line in out.splitlines()] == list(map(str, wanted))
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").touch()
    code, out, err = ran(tmp_path / "empty")
    assert code == 2
    assert re.fullmatch(r"probeline: no image in this folder: .*empty \(expected \.bmp, .*\)\n", err)


def test_csv_reads_back(shipped: Path, predictor: Predictor, ran: Ran) -> None:
    paths = pictures(shipped)
    code, out, _ = ran(*paths, "--format=csv", "--top-k=3", "--nearest=2")
    assert code == 0
    found = predictor.predict(paths, nearest=2)
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [row["image"] for row in rows] == list(map(str, paths))
    for i, row in enumerate(rows):
        names = [row["class"], row["class_2"], row["class_3"]]
        shares = [float(row[name]) for name in ("probability", "probability_2", "probability_3")]
        assert names == [name for name, _ in found.top(i, 3)]
        assert shares == pytest.approx([share for _, share in found.top(i, 3)], abs=1e-4)
        assert row["unlike"] == str(bool(found.unlike[i])).lower()
        assert [row["nearest_1"], row["nearest_2"]] == [near.sample_id for near in found.neighbours[i]]
        assert float(row["distance"]) == pytest.approx(found.distances[i], abs=1e-4)


def test_json_lines_hold_it_all(shipped: Path, predictor: Predictor, ran: Ran) -> None:
    (path, *_) = pictures(shipped)
    _, out, _ = ran(path, "--format=jsonl", "--top-k=2", "--nearest=1")
    told, found = json.loads(out), predictor.predict(path, nearest=1)
    assert set(told) == {"image", "class", "probability", "top", "unlike", "distance", "nearest"}
    assert told["class"] == found.classes[0] == told["top"][0]["class"]
    assert told["top"][1]["probability"] == pytest.approx(found.top(0, 2)[1][1])
    assert told["nearest"] == [vars(found.neighbours[0][0])]
    assert told["unlike"] is bool(found.unlike[0])


def test_paths_are_piped_in(shipped: Path, ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = pictures(shipped)
    piped = b"\n".join(os.fsencode(path) for path in paths[1:]) + b"\n\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(piped)))
    code, out, _ = ran(paths[0], "-", "--format=jsonl")
    assert code == 0
    assert [json.loads(line)["image"] for line in out.splitlines()] == list(map(str, paths))


def test_what_is_piped_in_stands_for_itself(
    shipped: Path, ran: Ran, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = pictures(shipped)[0]
    (tmp_path / "empty").mkdir()
    piped = b"\n".join(os.fsencode(one) for one in (tmp_path / "empty", path)) + b"\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(piped)))
    code, out, err = ran("-", "--format=jsonl")
    assert code == 2
    assert [json.loads(line)["image"] for line in out.splitlines()] == [str(path)]
    assert "a folder, not a file" in err.splitlines()[0]


def test_hidden_files_are_no_images_and_links_are_followed(shipped: Path, ran: Ran, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "._a.png").write_bytes(b"what macOS leaves")
    (folder / "linked").symlink_to(shipped / "pictures")
    code, out, _ = ran(folder, "--format=jsonl")
    assert code == 0
    assert len(out.splitlines()) == len(list((shipped / "pictures").rglob("*.png")))


def test_rows_that_are_no_numbers_are_refused(copy: Path) -> None:
    contents = safetensors.torch.load((copy / ROWS).read_bytes())
    contents["unit"][0, 0] = float("nan")
    data = safetensors.torch.save(contents)
    replace_file(copy, ROWS, data)
    with pytest.raises(BadArtifact, match="not finite"):
        probeline.load(copy, "cpu")


def overflow_on(place: int, crops: list[np.ndarray], artifact: Path, predictor: Predictor) -> None:
    """Give an artifact a head of one hidden unit that is 0 on all of some crops but one, where its logit overflows."""
    features = predictor.outputs(np.stack(crops)).features.numpy()
    (classes, dim), own_share = (len(predictor.class_names), features.shape[1]), np.linalg.pinv(features)[:, place]
    tensors = {
        "mean": torch.zeros(dim),
        "std": torch.ones(dim),
        "hidden_weight": torch.from_numpy(100 * own_share[None]),
        "hidden_bias": torch.tensor([-50.0]),
        "weight": torch.full((classes, 1), 3e38),
        "bias": torch.zeros(classes),
    }
    data = safetensors.torch.save(tensors)
    (artifact / HEAD).write_bytes(data)
    change_record(
        artifact, lambda record: record.update(activation="relu", files={**record["files"], HEAD: digest_bytes(data)})
    )


def crops_of(shipped: Path, predictor: Predictor) -> list[np.ndarray]:
    """Return the blank crop that loading runs, and those of the pictures."""
    preprocess = predictor.artifact.preprocess
    blank = np.zeros((preprocess.crop, preprocess.crop, 3), np.uint8)
    return [blank, *(crop_of(path, preprocess) for path in pictures(shipped))]


@pytest.mark.parametrize("place", [0, 3, 5])
def test_an_output_that_is_not_finite_is_a_line_and_the_rest_goes_on(
    place: int, shipped: Path, predictor: Predictor, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = pictures(shipped)
    overflow_on(1 + place, crops_of(shipped, predictor), copy, predictor)
    words = [*map(str, files), "--artifact", str(copy), "--device=cpu", "--workers=1", "--format=jsonl"]
    code = cli.main(["predict", *words, "--batch-size=6"])
    out, err = capsys.readouterr()
    assert code == 2
    assert [json.loads(line)["image"] for line in out.splitlines()] == [
        str(f) for i, f in enumerate(files) if i != place
    ]
    assert f"the predictor's output is not finite: {files[place]}; use a predictor of --precision fp32" in err
    with pytest.raises(Diverged, match="not finite"):
        probeline.load(copy, "cpu").predict(files)


def test_what_is_not_finite_on_a_blank_crop_is_told_as_such(shipped: Path, predictor: Predictor, copy: Path) -> None:
    overflow_on(0, crops_of(shipped, predictor), copy, predictor)
    with pytest.raises(Diverged, match=r"^the predictor's output is not finite; use --precision fp32$"):
        probeline.load(copy, "cpu")


def test_json_is_one_object_on_standard_output(shipped: Path, ran: Ran) -> None:
    code, out, err = ran(*pictures(shipped), "--json", "--format=csv")
    assert code == 0
    assert json.loads(out)["predict"] == {"artifact": str(shipped / "out"), "images": 6, "unlike": err.count(",true,")}
    assert len(err.splitlines()) == 7


def test_which_classes_must_be_said_once(ran: Ran, shipped: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["predict", "a.jpg"]) == 2
    line = "probeline: predict needs --artifact FOLDER or --imagenet"
    assert capsys.readouterr().err.startswith(line)
    code, _, err = ran("a.jpg", "--imagenet")
    assert code == 2
    assert "got both" in err


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ("--format=xml", "unknown format 'xml' (expected one of: table, csv, jsonl)"),
        ("--top-k=0", "bad --top-k (expected 1 to 100000, got 0)"),
        ("--nearest=-1", "bad --nearest (expected 0 to 1000, got -1)"),
    ],
)
def test_bad_options_are_one_line(option: str, line: str, ran: Ran) -> None:
    code, out, err = ran("a.jpg", option)
    assert (code, out, err) == (2, "", f"probeline: {line}\n")


def test_a_wrong_artifact_is_told_before_any_image(ran: Ran, tmp_path: Path) -> None:
    code = cli.main(["predict", "a.jpg", "--artifact", str(tmp_path)])
    assert code == 2
    assert not Settings().predict.artifact


def test_weights_of_another_net_beside_a_true_hash(copy: Path, predictor: Predictor) -> None:
    """Whoever writes the record may write any hash: then the tensors themselves must fit."""
    tensors = safetensors.torch.load((copy / WEIGHTS).read_bytes())
    name = next(iter(tensors))
    replace_file(copy, WEIGHTS, safetensors.torch.save({**tensors, name: torch.zeros(3)}))
    with pytest.raises(ProbelineError, match=rf"the weights are of another net: .*expected {re.escape(name)} \["):
        probeline.load(copy, "cpu")
    replace_file(copy, WEIGHTS, safetensors.torch.save(tensors))
    replace_file(copy, ROWS, b"no tensors")
    with pytest.raises(BadArtifact, match=r"a file of an artifact is corrupt: .*10 bytes with a header of"):
        probeline.load(copy, "cpu")
