"""Canonical JSON, digests and sealed records; golden digests keep old caches readable."""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from probeline.identity import canonical, digest, digest_lines, seal, unseal

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def test_canonical_is_pinned() -> None:
    assert canonical({"b": [1, 1.0, None, True], "a": "é"}) == b'{"a":"\\u00e9","b":[1,1.0,null,true]}'


def test_digests_are_pinned() -> None:
    assert digest({"x": 1}) == "5041bf1f713df204784353e82f6a4a535931cb64f1f4b4a5aeaffcb720918b22"
    assert digest_lines(["a", "bc"]) == "5310a58788781ab25d5ad7c3f85035824b4eb7bdfa394e0ac2186271472b5492"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}])
def test_what_has_no_canonical_text_is_refused(value: object) -> None:
    with pytest.raises((ValueError, TypeError)):
        canonical(value)


def test_lines_are_distinguished_by_their_lengths() -> None:
    assert digest_lines(["ab", "c"]) != digest_lines(["a", "bc"]) != digest_lines(["abc"])


@settings(suppress_health_check=[HealthCheck.too_slow])  # the first text drawn builds hypothesis' Unicode tables
@given(st.dictionaries(st.text().filter(lambda name: name != "sha256"), JSON, min_size=1, max_size=4))
def test_a_sealed_record_reads_back(record: dict[str, object]) -> None:
    data = seal(record)
    assert unseal(data) == record
    assert json.loads(data)["sha256"] == digest(record)


def test_every_byte_of_a_sealed_record_counts() -> None:
    data = seal({"rows": [0, 1024], "name": "shard", "seconds": 1.5})
    for place in range(len(data)):
        for flip in (1, 32, 255):
            damaged = data[:place] + bytes([data[place] ^ flip]) + data[place + 1 :]
            assert unseal(damaged) is None
        assert unseal(data[:place]) is None
    assert unseal(data + b"\n") is None


@pytest.mark.parametrize("record", [{}, {"sha256": "x"}])
def test_what_cannot_be_sealed_is_refused(record: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="sealed record"):
        seal(record)
