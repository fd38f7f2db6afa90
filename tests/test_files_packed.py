"""Long columns of classes are packed in a record, and read as they were."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest

from made_scores import make_score
from probeline.files.decode import BadRecord, decode, encode
from probeline.files.packed import MOST_LISTED, Packed
from probeline.results.score import SCORES


@dataclass(frozen=True)
class Column:
    values: Annotated[tuple[int, ...], Packed()]


@pytest.mark.parametrize(("most", "kind"), [(0, "<u1"), (255, "<u1"), (256, "<u2"), (65_535, "<u2"), (65_536, "<u4")])
def test_the_smallest_type_is_used_that_holds_all_values(most: int, kind: str) -> None:
    record = Column((most, *range(MOST_LISTED)[: 0 if most < 256 else 100], *[0] * MOST_LISTED))
    value = encode(record)["values"]
    assert value["type"] == kind
    got = np.frombuffer(base64.b64decode(value["base64"]), kind)
    np.testing.assert_array_equal(got, record.values, "NumPy reads what is written")
    assert decode(Column, json.loads(json.dumps({"values": value}))) == record


def test_a_column_that_is_not_so_long_is_a_list() -> None:
    record = Column((7,) * MOST_LISTED)
    assert encode(record)["values"] == record.values
    assert decode(Column, {"values": [1, 2]}) == Column((1, 2))


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({}, "expected type, one of <u1, <u2, <u4, and base64"),
        ({"type": "<u8", "base64": ""}, "expected type"),
        ({"type": ["<u1"], "base64": ""}, "expected type"),
        ({"type": "<u1", "base64": 5}, "expected type"),
        ({"type": "<u1", "base64": "", "more": 1}, "expected type"),
        ({"type": "<u1", "base64": "AA=A"}, "expected base64 of <u1"),
        ({"type": "<u1", "base64": "\u00e9"}, "expected base64 of <u1"),
        ({"type": "<u4", "base64": "AAAA"}, "expected base64 of <u4"),
        ("AAAA", "expected an array"),
    ],
)
def test_what_is_no_packed_column_is_refused(value: Any, words: str) -> None:
    with pytest.raises(BadRecord, match=f"values: {words}"):
        decode(Column, {"values": value})


def test_a_score_of_many_images_is_read_as_it_was_saved(tmp_path: Path) -> None:
    n, rng = MOST_LISTED + 1, np.random.default_rng(0)
    labels = rng.integers(0, 10, n)
    predictions = np.where(rng.random(n) < 0.8, labels, 9 - labels)
    top1 = float((labels == predictions).mean())
    bins = ((n, top1, top1),)
    score = replace(
        make_score(),
        n_test=n,
        labels=tuple(labels.tolist()),
        predictions=tuple(predictions.tolist()),
        top1=top1,
        interval=(top1, top1),
        bins=bins,
        raw_bins=bins,
    )
    path = SCORES.save(tmp_path, score)
    assert SCORES.load(tmp_path) == ([score], [])
    assert path.stat().st_size < 2 * (4 * n / 3 + 8) + 20_000, "a byte for each class, in base64, twice; and the rest"
    for name in ("labels", "predictions"):
        forged = encode(score)
        forged[name] = {"type": "<u1", "base64": base64.b64encode(bytes([10] * n)).decode()}
        with pytest.raises(BadRecord, match=f"{name} in \\[10, 10\\], where there are 10 classes"):
            decode(type(score), forged)
