"""Records of every kind: whole or missing, and read back only if proven."""

from __future__ import annotations

import inspect
import json
import os
import random
import tempfile
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faults.mutations import mutated, sealed
from made_quality import make_quality
from probeline.errors import BadOption, CannotWrite
from probeline.files.decode import encode
from probeline.identity import seal, unseal
from probeline.results.curve import CURVES
from probeline.results.findings import FINDINGS
from probeline.results.illustrations.embedding_map import MAPS
from probeline.results.illustrations.gallery import GALLERIES
from probeline.results.illustrations.picture import PICTURES
from probeline.results.latency import LATENCIES
from probeline.results.quality.features import QUALITIES
from probeline.results.range_test import RANGE_TESTS, RangeTest
from probeline.results.score import SCORES
from probeline.results.store import RecordKind, SkippedFile

SAMPLES = Path(__file__).parents[1] / "reports" / "sample"

KINDS: list[RecordKind[Any, ...]] = [
    SCORES,
    CURVES,
    RANGE_TESTS,
    LATENCIES,
    PICTURES,
    GALLERIES,
    MAPS,
    FINDINGS,
    QUALITIES,
]

RANGE_TEST = RangeTest(
    dataset="hymenoptera",
    backbone="mobilenet_v2",
    weights="IMAGENET1K_V1",
    method="finetune",
    precision="fp32",
    key="ab" * 32,
    splits="cd" * 32,
    options={"steps": 3, "lr": [1e-6, 1.0]},
    image_size=224,
    n_train=219,
    seed=0,
    rates=(1e-6, 1e-3, 1.0),
    losses=(0.7, 0.5, 9),
    ended="highest rate",
    seconds=1.5,
)

QUALITY = make_quality()


def a_record(kind: RecordKind[Any, ...]) -> Any:
    """Return a record of a kind: the first of the samples, which do not have all kinds."""
    made = {RANGE_TESTS.name: RANGE_TEST, QUALITIES.name: QUALITY}
    return made[kind.name] if kind.name in made else kind.load(SAMPLES / "hymenoptera")[0][0]


@dataclass(frozen=True)
class Saved:
    """A record in its file, with the content of its attachment if its kind has one."""

    kind: RecordKind[Any, ...]
    folder: Path
    record: Any
    attachment: bytes | None
    path: Path

    @property
    def names(self) -> dict[str, Any]:
        return {name: getattr(self.record, name) for name in inspect.signature(self.kind.file_name).parameters}

    def find(self, **changes: Any) -> Any:
        return self.kind.find(self.folder, **{**self.names, **changes})

    def rewrite(self, version: int | None = None, **changes: Any) -> None:
        content = unseal(self.path.read_bytes())
        assert content is not None
        member = {**content[self.kind.name], **changes}
        self.path.write_bytes(seal({"version": version or self.kind.version, self.kind.name: member}))

    def reason(self) -> str:
        """Return why the file is skipped, by `find` and by `load`."""
        found = self.find()
        assert isinstance(found, SkippedFile)
        assert self.kind.load(self.folder) == ([], [found])
        return found.reason


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def saved(request: pytest.FixtureRequest, tmp_path: Path) -> Saved:
    kind: RecordKind[Any, ...] = request.param
    samples = SAMPLES / "hymenoptera"
    record = a_record(kind)
    attachment = kind.path_of(samples, record).with_suffix(".png").read_bytes() if kind.attachment else None
    return Saved(kind, tmp_path, record, attachment, kind.save(tmp_path, record, attachment))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_records_of_an_earlier_program_are_read_and_would_be_written_with_the_same_bytes(
    kind: RecordKind[Any, ...], tmp_path: Path
) -> None:
    for folder in SAMPLES.iterdir():
        records, skipped = kind.load(folder)
        assert skipped == []
        for record in records:
            path = kind.save(tmp_path, record)
            assert path.read_bytes() == kind.path_of(folder, record).read_bytes()


def test_a_saved_record_is_found_and_loaded(saved: Saved) -> None:
    assert saved.find() == saved.record
    assert saved.kind.load(saved.folder) == ([saved.record], [])
    assert saved.path == saved.kind.path_of(saved.folder, saved.record) == saved.kind.path(saved.folder, **saved.names)


def test_saving_again_gives_the_same_bytes_and_leaves_nothing_else(saved: Saved) -> None:
    before = {path: path.read_bytes() for path in saved.path.parent.iterdir()}
    assert saved.kind.save(saved.folder, saved.find(), saved.attachment) == saved.path
    assert {path: path.read_bytes() for path in saved.path.parent.iterdir()} == before


def test_a_record_of_another_backbone_is_missing(saved: Saved) -> None:
    assert saved.find(backbone="vgg11") is None
    assert saved.kind.load(saved.folder / "elsewhere") == ([], [])


def test_a_removed_record_is_missing(saved: Saved) -> None:
    saved.kind.remove(saved.folder, **saved.names)
    assert saved.find() is None
    assert list(saved.path.parent.iterdir()) == []
    saved.kind.remove(saved.folder, **saved.names)


def test_what_only_has_the_name_of_a_record_is_not_removed(saved: Saved) -> None:
    saved.path.write_bytes(b"mine")
    saved.kind.remove(saved.folder, **saved.names)
    assert saved.path.read_bytes() == b"mine"


@pytest.mark.parametrize("where", ["the file", "a folder", "the folder of the report"])
def test_nothing_is_written_or_removed_through_a_link(where: str, saved: Saved, tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "reports" / "digits"
    path = saved.kind.path_of(folder, saved.record)
    link = {"the file": path, "a folder": path.parent, "the folder of the report": folder}[where]
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(outside)
    if where == "the file":
        outside.write_bytes(b"mine")
    else:
        outside.mkdir()
    for do in (
        lambda: saved.kind.save(folder, saved.record, saved.attachment),
        lambda: saved.kind.remove(folder, **saved.names),
    ):
        with pytest.raises(BadOption, match="this is a link: nothing is written through it"):
            do()
    assert outside.read_bytes() == b"mine" if where == "the file" else not list(outside.iterdir())
    assert link.is_symlink()


def test_a_damaged_file_is_skipped_wherever_the_damage_is(saved: Saved) -> None:
    data = saved.path.read_bytes()
    places = range(0, len(data), max(1, len(data) // 40))
    for torn in (b"", data[: len(data) // 2], data + b"\n"):
        saved.path.write_bytes(torn)
        assert "is damaged" in saved.reason()
    for at in places:
        saved.path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert "is damaged" in saved.reason()


def test_another_version_is_skipped(saved: Saved) -> None:
    name, version = saved.kind.name, saved.kind.version
    saved.rewrite(version=version + 1)
    assert saved.reason() == f"has {name} version {version + 1}; this program reads {version}: run its stage again"
    saved.path.write_bytes(seal({name: {}}))
    assert saved.reason().startswith(f"has no {name} version; this program reads {version}")


@pytest.mark.parametrize("member", [{}, [], "text", None, 3], ids=repr)
def test_what_is_no_record_is_skipped(saved: Saved, member: object) -> None:
    saved.path.write_bytes(seal({"version": saved.kind.version, saved.kind.name: member}))
    assert saved.reason().startswith(f"has other fields than a {saved.kind.name}: the record: ")
    saved.path.write_bytes(seal({"version": saved.kind.version}))
    assert saved.reason().startswith(f"has other fields than a {saved.kind.name}: the record: ")


def test_other_fields_are_skipped_and_named(saved: Saved) -> None:
    saved.rewrite(novel=1)
    assert saved.reason().endswith("the record: unknown novel")


def test_a_field_of_another_type_is_skipped_and_named(saved: Saved) -> None:
    saved.rewrite(backbone=3)
    assert saved.reason().endswith("backbone: expected a string, got 3")


def test_a_record_in_a_wrong_place_is_skipped(saved: Saved) -> None:
    saved.rewrite(backbone="vgg11")
    own = saved.kind.path_of(Path(), replace(saved.record, backbone="vgg11"))
    assert saved.reason() == f"holds the {saved.kind.name} that belongs at {own}"


def test_a_record_whose_key_only_begins_like_the_wanted_one_is_skipped(saved: Saved) -> None:
    if "key" not in saved.names:
        pytest.skip("has no key")
    key = saved.record.key
    found = saved.find(key=key[:12] + "0" * 52)
    assert found == SkippedFile(saved.path, f"its key is {key}, not {key[:12]}{'0' * 52}")


def test_names_that_share_a_file_are_distinguished(saved: Saved) -> None:
    record = replace(saved.record, backbone="timm:a.b")
    path = saved.kind.save(saved.folder, record, saved.attachment)
    found = saved.find(backbone="timm/a.b")
    assert found == SkippedFile(path, "its backbone is timm:a.b, not timm/a.b")


def test_a_file_that_cannot_be_read_is_skipped(saved: Saved) -> None:
    saved.path.unlink()
    saved.path.mkdir()
    assert saved.reason() == "cannot be read: a folder, not a file"


def test_a_refusal_of_the_file_system_is_one_line(saved: Saved) -> None:
    with pytest.raises(CannotWrite, match=r"cannot write: .*json"):
        saved.kind.save(saved.path, saved.record, saved.attachment)


def test_numbers_that_json_cannot_hold_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        RANGE_TESTS.save(tmp_path, replace(RANGE_TEST, seconds=float("nan")))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", [b"", b"other", None], ids=["empty", "other", "missing"])
def test_a_record_without_its_whole_attachment_is_skipped(saved: Saved, damage: bytes | None) -> None:
    if saved.kind.attachment is None:
        pytest.skip("has no attachment")
    path = saved.path.with_suffix(saved.kind.attachment)
    path.unlink()
    if damage is not None:
        path.write_bytes(damage)
    whole = "is damaged: its bytes are not those its record tells"
    assert saved.reason() == ("cannot be read: No such file or directory" if damage is None else whole)
    assert saved.find().path == path


def test_the_newest_record_is_loaded_last(tmp_path: Path) -> None:
    for number, backbone in enumerate("bca"):
        path = RANGE_TESTS.save(tmp_path, replace(RANGE_TEST, backbone=backbone))
        os.utime(path, ns=(number, number))
    assert [test.backbone for test in RANGE_TESTS.load(tmp_path)[0]] == ["b", "c", "a"]


@pytest.mark.parametrize(
    ("backbone", "weights", "seed", "file"),
    [
        ("resnet18", "IMAGENET1K_V1", None, "resnet18-IMAGENET1K_V1/probe-seedless-0123456789ab.json"),
        ("timm:a/b.c", "none", 7, "timm--a--b.c-none/probe-seed7-0123456789ab.json"),
        ("r", "my weights (1).pth", 0, "r-my-weights--1-.pth/probe-seed0-0123456789ab.json"),
        ("r", "../../x", 0, "r-..--..--x/probe-seed0-0123456789ab.json"),
        ("r", "w" * 300, 0, f"r-{'w' * 80}/probe-seed0-0123456789ab.json"),
    ],
)
def test_file_names_of_scores(backbone: str, weights: str, seed: int | None, file: str) -> None:
    assert SCORES.file_name(backbone, weights, "probe", seed, "0123456789ab" + "f" * 52) == f"scores/{file}"


@pytest.mark.parametrize("kind", [SCORES, RANGE_TESTS], ids=lambda kind: kind.name)
def test_a_method_that_this_program_does_not_know_is_named(kind: RecordKind[Any, ...], tmp_path: Path) -> None:
    record = a_record(kind)
    one = Saved(kind, tmp_path, record, None, kind.save(tmp_path, record))
    one.rewrite(method="magic")
    assert "magic" in one.reason()


# Sealed by somebody else


@cache
def original(kind: RecordKind[Any, ...]) -> tuple[Path, dict[str, Any], bytes | None]:
    """Return a record's file below its folder, its content, and that of its attachment."""
    samples = SAMPLES / "hymenoptera"
    record = a_record(kind)
    png = kind.path_of(samples, record).with_suffix(".png").read_bytes() if kind.attachment else None
    content = {"version": kind.version, kind.name: json.loads(json.dumps(encode(record)))}
    return kind.path_of(Path(), record), content, png


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(chance=st.randoms(use_true_random=False))
def test_a_mutated_record_is_used_or_named(kind: RecordKind[Any, ...], chance: random.Random) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file, content, png = original(kind)
        path = folder / file
        path.parent.mkdir(exist_ok=True, parents=True)
        if png is not None:
            path.with_suffix(".png").write_bytes(png)
        path.write_bytes(sealed({**content, kind.name: mutated(content[kind.name], chance)[0]}, chance))
        records, skipped = kind.load(folder)
        assert len(records) + len(skipped) == 1
        for file in skipped:
            assert file.path.stem == path.stem
            assert file.reason.isprintable()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"certificate": None}, "certificate: expected an object, got None"),
        ({"top1": 1.5}, "top1: expected 0 to 1, got 1.5"),
        ({"top1": 0.125}, "top1 0.125, where "),
        ({"auroc": 1.5}, "auroc: expected 0 to 1, got 1.5"),
        (
            {"auroc": 0.5, "labels": [0] * 153, "predictions": [0] * 153, "top1": 1.0, "interval": [0.9, 1.0]},
            "auroc of",
        ),
        ({"interval": [0.9, 0.1]}, "interval 0.9 to 0.1 does not hold"),
        ({"predictions": [0]}, "1 predictions, "),
        ({"labels": [7] * 153}, "labels in [7, 7], where there are 2 classes"),
        ({"n_test": 152}, "153 predictions, 153 labels, 152 images"),
        ({"class_names": []}, "class_names: expected a length of 1"),
        ({"bins": [[1, 0.5, 0.5]] * 15}, "bins of 15 images, where test has 153"),
        ({"raw_bins": [[153, 0.5, 0.5]]}, "15 bins, 1 raw_bins"),
        ({"chosen": {}}, "chosen without l2"),
        ({"path": [{"l2": 1.0}]}, "a path whose entries lack l2, top1 or test_top1"),
        ({"history": [{}]}, "history[0]: missing epoch"),
        ({"certificate": {"diverged": 3}}, "certificate.diverged: expected an array"),
        ({"certificate": {"second": {"classes": []}}}, "certificate.second: missing test, val"),
        ({"options": {"teacher": "x"}}, "options: a teacher without alpha and temperature"),
        ({"options": {"unfreeze": 3}}, "options.unfreeze: expected an array"),
        ({"environment": {"device": 3}}, "environment.device: expected a string"),
        ({"cold_seconds": 1e300}, "cold_seconds: expected a number up to 1e+100"),
        ({"temperature": 5e-324}, "temperature: expected 1e-06 to 1,000,000"),
        ({"backbone": "x" * 2000}, "backbone: expected a length of 1 to 1,000"),
        ({"seed": 1 << 70}, "seed: expected an integer of at most 64 bits"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_score_that_does_not_hold_together_is_skipped(change: dict[str, Any], reason: str, tmp_path: Path) -> None:
    (score,) = [one for one in SCORES.load(SAMPLES / "hymenoptera")[0] if one.method == "probe"][:1]
    path = SCORES.save(tmp_path, score)
    path.write_bytes(seal({"version": SCORES.version, "score": {**encode(score), **change}}))
    records, (skipped,) = SCORES.load(tmp_path)
    assert not records
    assert skipped.path == path
    assert reason in skipped.reason


def test_a_record_behind_a_link_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    (tmp_path / "curves").mkdir()
    link = tmp_path / "curves" / "x.json"
    link.symlink_to(tmp_path / "gone")
    assert CURVES.load(tmp_path) == ([], [SkippedFile(link, "cannot be read: No such file or directory")])
