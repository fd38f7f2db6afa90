"""Artifacts of a hostile hand: a forged record is refused in a line or answered, and no file is trusted too early."""

from __future__ import annotations

import copy as copying
import importlib.util
import io
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import probeline
from probeline.backbones.build import bare_net, random_net
from probeline.backbones.penultimate import Tap, find_tap, tensors_behind_output
from probeline.backbones.weights.outline import bytes_of_pass, outline_of
from probeline.backbones.weights.state_dict import load_state, tensors_sha256
from probeline.cli import program as cli
from probeline.errors import BadArtifact, BadOption, BadWeights, OutOfMemory, ProbelineError
from probeline.export import modules
from probeline.export import predictor as predicting
from probeline.export.artifact.graph_files import check_onnx_file, check_pt2
from probeline.export.artifact.ranges import check_ranges
from probeline.export.artifact.record import Measured, from_values, to_values
from probeline.export.format import CARD, HEAD, ONNX, PT2, RECORD, ROW_NAMES, ROWS, WEIGHTS, check_exportable, sealed
from probeline.export.format import read_record as read
from probeline.export.modules import net_tensors
from probeline.files import reading
from probeline.identity import digest_bytes
from probeline.results.score import Score
from small_artifacts import (
    ODD,
    answer,
    change_record,
    make_artifact,
    paths_of,
    put,
    record_of,
    replace_file,
    sealed_anyhow,
)

pytestmark = pytest.mark.usefixtures("one_thread")

OLD = Path(__file__).parent / "made_by_0_1_0" / "artifacts"


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported probe on three colours with a .pt2; leave it as it is."""
    return make_artifact(tmp_path_factory.mktemp("shipped"), pt2=True)


@pytest.fixture
def copy(shipped: Path, tmp_path: Path) -> Path:
    """An artifact to damage."""
    return Path(shutil.copytree(shipped, tmp_path / "out"))


@pytest.fixture
def picture(shipped: Path) -> Path:
    return min((shipped.parent / "pictures").rglob("*.png"))


def refused(folder: Path, **options: Any) -> str:
    """Return the line in which loading an artifact is refused."""
    with pytest.raises(ProbelineError) as caught:
        probeline.load(folder, "cpu", **options)
    (line,) = str(caught.value).splitlines()
    return line


# The record


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(ODD),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.slow
def test_whatever_a_record_says_is_refused_in_a_line_or_answered(shipped: Path, tmp_path: Path, picture: Path) -> None:
    folder = tmp_path / "out"
    shutil.copytree(shipped, folder)
    record = record_of(shipped)
    places = [place for place in paths_of(record) if "l2" not in place and "bins" not in place]

    # A load and a prediction take up to a second where other processes want the cores: most are refused in thousandths.
    @settings(max_examples=150, derandomize=True, database=None, deadline=None)
    @given(place=st.sampled_from(places), value=JSON, adds=st.booleans())
    def attack(place: Any, value: Any, adds: bool) -> None:
        other = copying.deepcopy(record)
        put(other, (*place[:-1], f"{place[-1]}?") if adds and isinstance(place[-1], str) else place, value)
        (folder / RECORD).write_bytes(sealed_anyhow(other))
        outcomes.add(answer(folder, picture))

    outcomes: set[str] = set()
    attack()
    assert outcomes == {"refused", "answered"}


@pytest.mark.parametrize("name", ["probe", "knn"])
def test_an_old_record_is_read_and_sealed_as_before(name: str) -> None:
    record = read(OLD / name)
    assert sealed(record) == (OLD / name / RECORD).read_bytes()
    assert from_values(to_values(record)) == record


def test_an_artifact_tells_all_of_a_score_but_single_images_epochs_and_candidates() -> None:
    left_out = {"predictions", "labels", "odds", "history", "path", "class_names"}
    assert {one.name for one in fields(Measured)} == {one.name for one in fields(Score)} - left_out | {"proof"}


def test_a_row_whose_record_would_be_refused_is_not_exported(shipped: Path) -> None:
    record = read(shipped)
    check_exportable(record)
    line = r"^this row cannot be exported: .* \(got a class of 1,001 characters, .*other names of classes$"
    with pytest.raises(BadOption, match=line):
        check_exportable(replace(record, classes=("a", "b", "c" * 1001)))


def test_a_temperature_at_the_end_of_its_range_is_read(shipped: Path) -> None:
    record = read(shipped)
    for limit in (1e-3, 1e3, 1e-3 * (1 - 2**-50), 1e3 * (1 + 2**-50)):
        check_ranges(replace(record, temperature=limit, measured=replace(record.row, temperature=limit)))


def test_records_too_large_or_no_files_are_named(copy: Path) -> None:
    (copy / RECORD).unlink()
    with (copy / RECORD).open("wb") as file:
        file.truncate(1 << 30)
    assert "got 1,073,741,824 bytes, where the record of an artifact has at most 16,777,216" in refused(copy)
    (copy / RECORD).unlink()
    os.mkfifo(copy / RECORD)
    assert "artifact.json (got a pipe, not a plain file)" in refused(copy)
    assert "a name that no file can have" in refused(Path("a\0b"))


# Its sha256


def test_the_sha256_of_the_record_proves_who_sent_it(shipped: Path, copy: Path, picture: Path) -> None:
    sha256 = digest_bytes((shipped / RECORD).read_bytes())
    assert probeline.load(copy, "cpu", sha256=sha256.upper()).class_names == ("blue", "green", "red")
    change_record(copy, lambda record: record.update(classes=["green", "blue", "red"]))
    assert answer(copy, picture) == "answered", "anybody can seal a record"
    assert f"this is not the artifact that was sent: {copy / RECORD} (expected sha256 {sha256}, got " in refused(
        copy, sha256=sha256
    )


def test_predict_takes_the_sha256(copy: Path, picture: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sha256 = digest_bytes((copy / RECORD).read_bytes())
    words = ["predict", str(picture), "--device=cpu", "--workers=1"]
    assert cli.main([*words, "--artifact", str(copy), "--sha256", sha256]) == 0
    capsys.readouterr()
    assert cli.main([*words, "--artifact", str(copy), "--sha256", "0" * 64]) == 2
    assert "this is not the artifact that was sent" in capsys.readouterr().err
    assert cli.main([*words, "--imagenet", "--sha256", sha256]) == 2
    assert "--sha256 is of an artifact (got --imagenet); leave it out" in capsys.readouterr().err


# Its tensors


def changed_tensors(folder: Path, name: str, change: Callable[[dict[str, Tensor]], object]) -> None:
    """Change the tensors of a file, and its sha256 in the record."""
    tensors = safetensors.torch.load((folder / name).read_bytes())
    change(tensors)
    replace_file(folder, name, safetensors.torch.save(tensors))


def test_tensors_are_held_against_the_weights_that_the_record_names(copy: Path) -> None:
    changed_tensors(copy, WEIGHTS, lambda tensors: tensors["features.0.weight"][0].mul_(1 + 1e-6))
    assert "these are not the weights that the record names: " in refused(copy)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_tensors_that_are_not_finite_are_named(value: float, copy: Path) -> None:
    changed_tensors(copy, WEIGHTS, lambda tensors: tensors["features.0.bias"][:1].fill_(value))
    assert "a tensor has values that are not finite: " in (line := refused(copy))
    assert "(got features.0.bias)" in line


NETS = ("squeezenet1_1", "mnasnet0_5", "swin_t", "regnet_y_400mf", "timm:test_vit", "timm:swin_tiny_patch4_window7_224")


@pytest.mark.parametrize("name", [NETS[0], *(pytest.param(name, marks=pytest.mark.slow) for name in NETS[1:])])
def test_the_names_behind_the_weights_sha256_are_found_again(name: str) -> None:
    """Also of nets that compute some tensors when they are built, or whose code needs values."""
    if name.startswith("timm:"):
        pytest.importorskip("timm")
    net, size = random_net(name, 3), 160 if name == "timm:test_vit" else 224
    tap = find_tap(net, size, name)
    sha256, stored = tensors_sha256(net, tap.tensors), net_tensors(net, tap)
    again = bare_net(name, {})
    bare = Tap(tap.head, tap.pooling, tap.dim, tuple(stored))
    modules._strip(again, bare)
    load_state(again, stored, where=name)
    names = tensors_behind_output(again, bare, size)
    assert names == tap.tensors
    assert tensors_sha256(again, names) == sha256
    outline = outline_of(name, {})
    assert (outline is None) == (name == "regnet_y_400mf")
    image = 3 * 4 * size**2
    assert image < bytes_of_pass(outline, size) < 400 * image


def test_a_net_is_compared_before_its_tensors_are_allocated(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("timm")

    def rename(record: dict[str, Any]) -> None:
        record["net"].update(name="timm:vit_7b_patch16_dinov3", head="added_head", pooling="output")
        record["measured"]["backbone"] = record["net"]["name"]

    change_record(copy, rename)
    monkeypatch.setattr(modules, "bare_net", lambda *_: pytest.fail("27 GB would be allocated"))
    with pytest.raises(BadWeights, match="the weights are of another net"):
        probeline.load(copy, "cpu")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (lambda t: t.update(unit=t["unit"] * 2), "not finite, or longer than 1"),
        (lambda t: t.update(unit=t["unit"].float()), "train rows are float16"),
        (lambda t: t.update(labels=t["labels"].int()), "and their labels int64"),
        (lambda t: t["labels"][:1].fill_(3), "train rows of classes 0 to 3"),
        (lambda t: t["labels"][:1].fill_(-1), "train rows of classes -1 to"),
    ],
)
def test_train_rows_that_no_export_writes(change: Callable[[dict[str, Tensor]], object], line: str, copy: Path) -> None:
    changed_tensors(copy, ROWS, change)
    assert line in refused(copy)


@pytest.mark.parametrize("ids", [b"{}", b'["a"]', b"[1, 2]", b"[" * 100_000])
def test_sample_ids_that_no_export_writes(ids: bytes, copy: Path) -> None:
    replace_file(copy, ROW_NAMES, ids)
    assert "the files of an artifact do not belong together: " in refused(copy)


# The size of its files


def test_a_sparse_file_is_refused_before_it_is_read(copy: Path) -> None:
    with (copy / WEIGHTS).open("r+b") as file:
        file.truncate(reading.memory_bytes() // 2 + 1)
    assert "where a file of tensors on this machine has at most" in refused(copy)
    with (copy / WEIGHTS).open("r+b") as file:
        file.truncate(1 << 30)
    assert "got 1,073,741,824 bytes, where its header says 2," in refused(copy)


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"", "0 bytes with a header of 0"),
        (b"\xff" * 8 + b"{}", "10 bytes with a header of 18,446,744,073,709,551,615"),
        (b"\x02" + bytes(7) + b"[]", "a header that is not one of safetensors"),
        (b"\x07" + bytes(7) + b'{"a":1}', "a header that is not one of safetensors"),
        (b"\x20" + bytes(7) + b'{"a":{"data_offsets":[0,1e300]}}', "a header whose offsets are no numbers"),
    ],
)
def test_headers_of_no_safetensors(data: bytes, line: str, copy: Path) -> None:
    replace_file(copy, HEAD, data)
    assert f"a file of an artifact is corrupt: {copy / HEAD} (got {line}" in refused(copy)


def test_images_too_large_for_the_machine_are_refused_before_a_pass(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def enlarge(record: dict[str, Any]) -> None:
        record["preprocess"].update(crop=4096, resize=4096)
        record["measured"]["image_size"] = 4096
        for facts in record["graphs"].values():
            facts["input"]["pixels"] = ["N", 4096, 4096, 3]

    change_record(copy, enlarge)
    # A pass was measured to take 4.2 GB.
    monkeypatch.setattr(modules, "memory_bytes", lambda: 6 << 30)
    monkeypatch.setattr(modules, "bare_net", lambda *_: pytest.fail("it is built"))
    line = r"^the images of this artifact, of 4096 pixels, are too large for this machine: .* \(expected a pass of one "
    with pytest.raises(OutOfMemory, match=line):
        probeline.load(copy, "cpu")


@pytest.mark.parametrize(("memory", "size"), [(1 << 60, 16), (0, 1)])
def test_batches_shrink_where_memory_is_short(
    memory: int, size: int, shipped: Path, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = probeline.load(shipped, "cpu")
    monkeypatch.setattr(predicting, "memory_bytes", lambda: memory)
    batches = []
    run = predictor.run

    def watched(load: Any, paths: Any, workers: int) -> Any:
        batches.append(workers)
        return run(load, (batches.append(len(batch)) or batch for batch in paths), workers)  # type: ignore[func-returns-value]

    monkeypatch.setattr(predictor, "run", watched)
    assert len(list(predictor.stream([str(picture)] * 17, workers=3))) == 17
    assert batches == [3 if memory else 1, *([16, 1] if memory else [1] * 17)]
    assert max(batches[1:]) == size


# Its graphs


def zipped(*members: tuple[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return stream.getvalue()


def table(**facts: Any) -> tuple[str, bytes]:
    return "model/data/weights/model_weights_config.json", json.dumps({"config": {"w": facts}}).encode()


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (zipped(("model/data/weights/w", bytes(100 << 20))), "members unpack to 104,857,600"),
        (zipped(table(use_pickle=True)), "a .pt2 with pickles: w"),
        (zipped(table(use_pickle="no")), "a .pt2 with pickles: w"),
        (zipped(table()), "is no table of torch's"),
        (zipped(("model/data/sample_inputs/model.pt", b"x")), "a .pt2 with pickles: data/sample_inputs/model.pt"),
        (b"no archive", "a .pt2 that cannot be read"),
        (b"", "a .pt2 that cannot be read"),
    ],
)
def test_graphs_that_run_code_or_unpack_to_more(data: bytes, line: str, copy: Path) -> None:
    replace_file(copy, PT2, data)
    assert f"a graph of an artifact is not safe to run: {copy / PT2} (got " in (found := refused(copy))
    assert line in found


def test_a_damaged_graph_is_named_and_a_missing_one_is_not_missed(copy: Path, picture: Path) -> None:
    check_pt2(copy / PT2)
    data = bytearray((copy / PT2).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / PT2).write_bytes(data)
    assert f"a file of an artifact is corrupt: {copy / PT2}" in refused(copy)
    for name in (PT2, CARD):
        (copy / name).unlink()
    assert answer(copy, picture) == "answered"


def message(*members: tuple[int, bytes]) -> bytes:
    """Return a message of protobuf with fields of bytes, each shorter than 128."""
    return b"".join(tag(number) + bytes([len(data)]) + data for number, data in members)


def tag(number: int) -> bytes:
    first = number << 3 | 2
    return bytes([first]) if first < 128 else bytes([first & 127 | 128, first >> 7])


OUTSIDE = message((13, message((1, b"location"), (2, b"../../etc/passwd"))))
ELSEWHERE = b"\x70\x01"


@pytest.mark.parametrize("tensor", [OUTSIDE, ELSEWHERE])
@pytest.mark.parametrize(
    "way",
    [
        (7, 5),
        (7, 15, 1),
        (7, 1, 5, 5),
        (7, 1, 5, 6, 5),
        (7, 1, 5, 10),
        (7, 1, 5, 11, 1, 5, 5),
        (7, 1, 5, 22, 1),
        (7, 1, 5, 23, 2),
        (20, 1, 5),
        (25, 7, 5, 5),
    ],
)
def test_tensors_outside_of_an_onnx_file_are_seen_wherever_they_are(way: tuple[int, ...], tensor: bytes) -> None:
    model = tensor
    for number in reversed(way):
        model = message((number, model))
    with pytest.raises(ValueError, match="an ONNX file with tensors in other files"):
        check_onnx_file(model)


def test_onnx_files_that_are_none() -> None:
    check_onnx_file(message((7, message((5, b"\x70\x00")))))
    for data in (b"\x3a", b"\x3a\x05x", b"\x0f", b"\xff" * 11):
        with pytest.raises(ValueError, match="an ONNX file that is"):
            check_onnx_file(data)


@pytest.mark.skipif(not importlib.util.find_spec("onnx"), reason="no onnx: pip install 'probeline[onnx]'")
def test_an_onnx_file_with_external_data_is_refused(copy: Path) -> None:
    import onnx

    values = onnx.numpy_helper.from_array(torch.zeros(3).numpy(), "w")
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["w"], ["y"])], "g", [], [], [values])
    model = onnx.helper.make_model(graph)
    check_onnx_file(model.SerializeToString())
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], "../../etc/passwd")
    (copy / ONNX).write_bytes(model.SerializeToString())

    def add(record: dict[str, Any]) -> None:
        record["files"][ONNX] = digest_bytes(model.SerializeToString())
        record["graphs"][ONNX] = {**record["graphs"][PT2], "opset": 18}

    change_record(copy, add)
    assert f"a graph of an artifact is not safe to run: {copy / ONNX} (got an ONNX file with tensors in" in refused(
        copy
    )


# What is among the images


def test_pipes_devices_and_sparse_files_are_named_and_the_rest_is_answered(
    shipped: Path, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "zeros.jpg").symlink_to("/dev/zero")
    (tmp_path / "self.jpg").symlink_to("self.jpg")
    with (tmp_path / "sparse.jpg").open("wb") as file:
        file.truncate(60 << 30)
    words = [*sorted(map(str, tmp_path.glob("*.jpg"))), str(picture), "--format=jsonl", "--device=cpu", "--workers=1"]
    assert cli.main(["predict", *words, "--artifact", str(shipped)]) == 2
    out, err = capsys.readouterr()
    assert [json.loads(line)["image"] for line in out.splitlines()] == [str(picture)]
    for name, reason in (
        ("pipe.jpg", "a pipe, not a plain file"),
        ("zeros.jpg", "a device, not a plain file"),
        ("self.jpg", "Too many levels of symbolic links"),
        ("sparse.jpg", "64,424,509,440 bytes, where an image has at most 1,073,741,824"),
    ):
        assert f"image cannot be read: {tmp_path / name} (got {reason})" in err
    assert err.splitlines()[-1] == "probeline: 4 of 5 images could not be read (see above)"


def test_an_artifact_is_refused_before_torch_is_needed(copy: Path) -> None:
    change_record(copy, lambda record: record.update(temperature=5e-324))
    with pytest.raises(BadArtifact, match=r"got temperature 5e-324, where calibration gives 0\.001 to 1000"):
        read(copy)
