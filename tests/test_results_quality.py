"""Records of the quality of features: read back as they were, refused out of range, and their predictors by name."""

from __future__ import annotations

import json
import random
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faults.mutations import mutated, sealed
from made_quality import make_alignment, make_quality
from probeline.files.decode import BadRecord, decode, encode
from probeline.results.quality.alignment import ALIGNMENTS, FeatureAlignment
from probeline.results.quality.features import (
    PREDICTORS,
    QUALITIES,
    FeatureQuality,
    find_predictors,
    predictor_values,
)


def test_records_are_read_back_as_they_were(tmp_path: Path) -> None:
    quality, alignment = make_quality(), make_alignment()
    paths = [QUALITIES.save(tmp_path, quality), ALIGNMENTS.save(tmp_path, alignment)]
    assert QUALITIES.load(tmp_path) == ([quality], [])
    assert ALIGNMENTS.load(tmp_path) == ([alignment], [])
    assert QUALITIES.find(tmp_path, "mobilenet_v2", "penultimate", quality.key) == quality
    assert ALIGNMENTS.find(tmp_path, alignment.key) == alignment
    assert ALIGNMENTS.find(tmp_path, "0" * 64) is None
    assert [path.parent.name for path in paths] == ["quality", "quality"]


def test_without_labels_a_record_has_less(tmp_path: Path) -> None:
    plain = make_quality(transfer=None, retrieval=None, clusters=None)
    QUALITIES.save(tmp_path, plain)
    assert QUALITIES.load(tmp_path) == ([plain], [])


def test_long_names_make_names_that_a_file_can_have(tmp_path: Path) -> None:
    quality = make_quality("hub:" + "n" * 300, "+".join(["layer"] * 80))
    path = QUALITIES.save(tmp_path, quality)
    assert len(path.name) < 255
    assert QUALITIES.load(tmp_path) == ([quality], [])


@pytest.mark.parametrize(
    ("where", "value", "reason"),
    [
        (("dim",), 0, "dim: expected 1"),
        (("spectrum", "n"), 0, "spectrum.n: expected 1"),
        (("spectrum", "rankme"), 0.5, "spectrum.rankme: expected 0.999999"),
        (("dimension", "two_nn"), -1.0, "dimension.two_nn: expected 0"),
        (("transfer", "between"), 1.2, "transfer.between: expected 0 to 1"),
        (("transfer", "h_score"), -0.1, "transfer.h_score: expected 0"),
        (("retrieval", "mean_precision"), 0.9, "mean average precision 0.761 to 0.802 does not hold 0.9"),
        (("retrieval", "unanswerable"), 120, "120 queries of 120, 120 of them without an answer"),
        (("retrieval", "queries"), 121, "121 queries of 120"),
        (("retrieval", "recall", 0, "value"), 0.5, "recall at 1 0.863 to 0.96 does not hold 0.5"),
        (("retrieval", "recall"), [], "retrieval.recall: expected a length of 1"),
        (("clusters", "nmi"), [0.5], "3 seeds, 1 nmi, 3 ari"),
        (("clusters", "ari", 1), 1.5, "clusters.ari[1]: expected"),
        (("key",), "x", "key: expected 64 hexadecimal digits"),
    ],
)
def test_values_that_no_features_have_are_refused(where: tuple[Any, ...], value: Any, reason: str) -> None:
    values = json.loads(json.dumps(encode(make_quality())))
    inner = values
    for name in where[:-1]:
        inner = inner[name]
    inner[where[-1]] = value
    with pytest.raises(BadRecord) as refusal:
        decode(FeatureQuality, values)
    assert reason in str(refusal.value)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"pairs": ()}, "0 pairs of 3 sets of features"),
        ({"n": 500}, "500 of 400 images"),
        ({"pairs": make_alignment().pairs[::-1]}, "not each two in order"),
    ],
)
def test_an_alignment_has_each_two_sets_once(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        replace(make_alignment(), **changes)


def test_one_set_of_features_has_no_alignment() -> None:
    values = encode(make_alignment())
    with pytest.raises(BadRecord, match="nets: expected a length of 2"):
        decode(FeatureAlignment, {**values, "nets": values["nets"][:1], "pairs": []})


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(chance=st.randoms(use_true_random=False))
def test_a_mutated_alignment_is_used_or_named(chance: random.Random) -> None:
    alignment = make_alignment()
    values = json.loads(json.dumps(encode(alignment)))
    with tempfile.TemporaryDirectory() as name:
        path = ALIGNMENTS.path_of(Path(name), alignment)
        path.parent.mkdir()
        content = {"version": ALIGNMENTS.version, ALIGNMENTS.name: mutated(values, chance)[0]}
        path.write_bytes(sealed(content, chance))
        records, skipped = ALIGNMENTS.load(Path(name))
        assert len(records) + len(skipped) == 1
        assert all(file.reason.isprintable() for file in skipped)


def test_predictors_are_the_numbers_of_train_images_by_name() -> None:
    values = predictor_values(make_quality())
    assert tuple(values) == PREDICTORS
    assert values["effective_rank"] == 158.2
    assert values["two_nn"] == 22.97
    assert values["log_me"] == -0.0969
    assert values["nmi"] == pytest.approx(0.65)
    assert values["ari"] == pytest.approx(1.58 / 3)
    plain = make_quality(transfer=None, clusters=None)
    assert tuple(predictor_values(plain)) == ("effective_rank", "rankme", "two_nn")
    none = replace(plain, dimension=replace(plain.dimension, two_nn=None))
    assert tuple(predictor_values(none)) == ("effective_rank", "rankme")


def test_predictors_are_found_as_a_score_names_its_features() -> None:
    older, newer = make_quality(), make_quality(data_seed=1, spectrum=replace(make_quality().spectrum, rankme=7.0))
    others = [make_quality("resnet18"), make_quality(tap="features.10"), make_quality(weights="none")]
    net = ("mobilenet_v2", "IMAGENET1K_V1", "penultimate", 224, "fp32")
    assert find_predictors([older, newer, *others], "cifar10", *net)["rankme"] == 7.0
    assert find_predictors([older, *others], "cifar10", *net) == predictor_values(older)
    assert find_predictors([older], "cifar100", *net) == {}
    assert find_predictors([older], "cifar10", *net[:3], 96, "fp32") == {}
