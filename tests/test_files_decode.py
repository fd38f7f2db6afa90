"""The decoder of records: whatever the JSON values are, it returns a record or refuses them by the field's path."""

from __future__ import annotations

import json
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probeline.files.decode import BadRecord, IfKnown, Members, decode, encode, parse_json
from probeline.files.limits import Length, Pattern, Within
from probeline.results.illustrations.embedding_map import EmbeddingMap, Projection


@dataclass(frozen=True)
class Inner:
    name: str
    pair: tuple[int, float]


@dataclass(frozen=True)
class Outer:
    count: int
    share: float
    flag: bool
    kind: Literal["near", "exact", 1]
    seed: int | None
    inner: Inner
    inners: tuple[Inner, ...]
    numbers: tuple[int, ...]
    shares: tuple[float, ...]
    by_name: Mapping[str, Inner]
    counts: Mapping[str, int]
    options: Mapping[str, Any]
    note: str = "none"
    more: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.count < 0:
            raise ValueError(f"count {self.count} is negative")


INNER = Inner("a", (1, 0.5))
OUTER = Outer(
    count=1,
    share=0.5,
    flag=True,
    kind="near",
    seed=None,
    inner=INNER,
    inners=(INNER, Inner("b", (2, 3))),
    numbers=(1, 2, 3),
    shares=(0.5, 1),
    by_name={"c": INNER},
    counts={"train": 3},
    options={"l2": [1e-3, None], "deep": {"lists": [[1, "x", True]]}},
)


def values_of(record: object) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(json.dumps(encode(record)))
    return values


def test_a_record_comes_back_with_its_types() -> None:
    again = decode(Outer, values_of(OUTER))
    assert again == OUTER
    assert isinstance(again.inners[1], Inner)
    assert type(again.shares[1]) is int, "an integer is kept, so that it is written as before"
    assert json.dumps(encode(again)) == json.dumps(asdict(OUTER))
    assert decode(Outer, encode(OUTER)) == OUTER


@dataclass(frozen=True)
class Later:
    count: int
    share: Annotated[float | None, IfKnown()] = None
    other: float | None = None


def test_a_field_of_a_later_program_is_written_only_if_it_is_known() -> None:
    assert encode(Later(1)) == {"count": 1, "other": None}
    assert encode(Later(1, 0.0)) == {"count": 1, "share": 0.0, "other": None}
    for record in (Later(1), Later(1, 0.0), Later(1, 0.25, 0.5)):
        assert decode(Later, values_of(record)) == record
    assert decode(Later, {"count": 1, "share": None}) == Later(1)
    with pytest.raises(BadRecord, match="share: expected"):
        decode(Later, {"count": 1, "share": "x"})


def test_a_field_with_a_default_may_be_missing() -> None:
    values = values_of(OUTER)
    del values["note"], values["more"]
    assert decode(Outer, values) == OUTER


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("count",), True, "count: expected an integer, got True"),
        (("count",), 1.0, "count: expected an integer, got 1.0"),
        (("count",), -1, "the record: count -1 is negative"),
        (("share",), "0.5", "share: expected a number, got '0.5'"),
        (("share",), False, "share: expected a number, got False"),
        (("share",), float("nan"), "share: expected a finite number, got nan"),
        (("share",), 10**400, "share: expected a finite number, got 1000"),
        (("flag",), 1, "flag: expected true or false, got 1"),
        (("kind",), "far", "kind: expected one of 'near', 'exact', 1, got 'far'"),
        (("kind",), True, "kind: expected one of 'near', 'exact', 1, got True"),
        (("kind",), [], "kind: expected one of 'near', 'exact', 1, got a list"),
        (("seed",), "0", "seed: expected an integer, got '0'"),
        (("inner",), None, "inner: expected the fields of a Inner, got None"),
        (("inner", "pair"), [1], "inner.pair: expected 2 values, got 1"),
        (("inner", "pair"), {}, "inner.pair: expected an array, got a dict"),
        (("inners", 1, "pair", 0), "x", "inners[1].pair[0]: expected an integer, got 'x'"),
        (("inners", 0, "novel"), 1, "inners[0]: unknown novel"),
        (("numbers", 2), True, "numbers[2]: expected an integer, got True"),
        (("shares", 0), float("inf"), "shares[0]: expected a finite number, got inf"),
        (("by_name", "c", "name"), None, "by_name.c.name: expected a string, got None"),
        (("counts",), [], "counts: expected an object, got a list"),
        (("options", "deep", "lists", 0, 1), float("-inf"), "options.deep.lists[0][1]: expected a finite number"),
    ],
)
def test_a_wrong_value_is_refused_by_its_path(path: tuple[Any, ...], value: object, message: str) -> None:
    values = values_of(OUTER)
    owner = values
    for step in path[:-1]:
        owner = owner[step]
    owner[path[-1]] = value
    with pytest.raises(BadRecord) as caught:
        decode(Outer, values)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("values", [None, 1, "text", [], True], ids=repr)
def test_what_has_no_fields_is_refused(values: object) -> None:
    with pytest.raises(BadRecord, match="the record: expected the fields of a Outer"):
        decode(Outer, values)


def test_missing_fields_are_named() -> None:
    with pytest.raises(BadRecord, match="inner: missing name, pair"):
        decode(Outer, {**values_of(OUTER), "inner": {}})


def test_values_nested_too_deeply_are_refused_without_a_walk_through_them() -> None:
    deep: list[Any] = []
    for _ in range(5_000):
        deep = [deep]
    with pytest.raises(BadRecord, match=r"options\.deep: expected at most 32 levels of nested values"):
        decode(Outer, {**values_of(OUTER), "options": {"deep": deep}})
    while deep:  # so that they are let go of one by one
        deep = deep.pop()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("x" * 65_537, "note: expected at most 65,536 characters, got 65537"),
        ("a\0b", "note: expected text without a NUL"),
        ("a\ud800b", "note: expected text without half a character"),
    ],
)
def test_text_that_no_page_or_file_can_hold_is_refused(value: str, message: str) -> None:
    for path, values in (("note", value), ("options.note", {"note": value})):
        with pytest.raises(BadRecord) as caught:
            decode(Outer, {**values_of(OUTER), path.split(".")[0]: values})
        assert str(caught.value).startswith(message.replace("note", path))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"count": 1 << 64}, "count: expected an integer of at most 64 bits"),
        ({"numbers": [1, 1 << 64]}, "numbers[1]: expected an integer of at most 64 bits"),
        ({"count": 10**5000}, "count: expected an integer of at most 64 bits, got an integer of 16,610 bits"),
        ({"share": 1e101}, "share: expected a number up to 1e+100"),
        ({"options": {"a": [-1e101]}}, "options.a[0]: expected a number up to 1e+100"),
    ],
)
def test_numbers_whose_sums_and_squares_would_not_be_finite_are_refused(values: Any, message: str) -> None:
    with pytest.raises(BadRecord) as caught:
        decode(Outer, {**values_of(OUTER), **values})
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":1' + "0" * 5000 + "}", "", "\ud800", '{"a":}'])
def test_a_text_that_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(BadRecord, match="not valid JSON"):
        parse_json(text)


@dataclass(frozen=True)
class Known:
    kind: str
    size: Annotated[int, Within(1, 9)] = 1

    def __post_init__(self) -> None:
        if self.kind == "large" and self.size < 5:
            raise ValueError("a large one below 5")


@dataclass(frozen=True)
class Checked:
    share: Annotated[float, Within(0, 1)]
    pairs: tuple[tuple[str, str], ...]
    either: int | tuple[float, ...] | None
    facts: Annotated[Mapping[str, Any], Members(Known)]
    code: Annotated[str, Pattern("[a-f]+", "letters a to f")] = "a"
    few: Annotated[tuple[int, ...], Length(1, 2)] = (1,)


CHECKED = {"share": 1, "pairs": [["a", "b"]], "either": [0.5], "facts": {"kind": "x", "more": [None]}}


def test_hints_with_checks_unions_and_members() -> None:
    record = decode(Checked, CHECKED)
    assert record.facts == {"kind": "x", "more": [None]}, "the mapping stays as it is, with members of other names"
    assert (record.pairs, record.either) == ((("a", "b"),), (0.5,))
    assert decode(Checked, {**CHECKED, "either": None}).either is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"share": 1.5}, "share: expected 0 to 1, got 1.5"),
        ({"pairs": [["a"]]}, "pairs[0]: expected 2 values, got 1"),
        ({"pairs": [["a", "b"], ["a", 1]]}, "pairs[1][1]: expected a string, got 1"),
        ({"pairs": [["a", "b\0"]]}, "pairs[0][1]: expected text without a NUL"),
        ({"either": "x"}, "either: expected an integer or an array, got 'x'"),
        ({"facts": {}}, "facts: missing kind"),
        ({"facts": []}, "facts: expected an object, got a list"),
        ({"facts": {"kind": "x", "size": 0}}, "facts.size: expected 1 to 9, got 0"),
        ({"facts": {"kind": "large"}}, "facts: a large one below 5"),
        ({"code": "xyz"}, "code: expected letters a to f, got 'xyz'"),
        ({"few": []}, "few: expected a length of 1 to 2, got a list"),
        ({"facts": {"kind": "x", "\x1b[31m" + "y" * 99: float("nan")}}, "facts.\\x1b[31myyyyy"),
    ],
)
def test_checks_name_the_path_and_what_they_expect(change: Any, message: str) -> None:
    with pytest.raises(BadRecord) as caught:
        decode(Checked, {**CHECKED, **change})
    assert str(caught.value).startswith(message)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


def test_columns_of_a_map_have_one_length() -> None:
    plane = Projection("pca", "PCA", ("a", "b"), ((0.0, 1.0),), {})
    columns: dict[str, Any] = {"rows": (1,), "sample_ids": ("a",), "labels": (0,), "predicted": (0,)}
    rest = {"judge": "", "planes": (plane,), "title": "", "caption": "", "alt": ""}
    one = EmbeddingMap("net", "none", {}, "penultimate", 1, "test", ("ants",), **columns, **rest)
    assert decode(EmbeddingMap, values_of(one)) == one
    with pytest.raises(BadRecord, match=r"the record: columns of \[1, 2\] points"):
        decode(EmbeddingMap, {**values_of(one), "labels": [0, 1]})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def mutated(draw: st.DrawFn) -> Any:
    """Return the values of a record of which some, at any depth, are replaced, removed or added."""
    root = {"record": deepcopy(values_of(OUTER))}
    for _ in range(draw(st.integers(1, 3))):
        owner: Any = root
        key: Any = "record"
        while isinstance(owner[key], dict | list) and owner[key] and draw(st.integers(0, 4)):
            owner = owner[key]
            key = draw(st.sampled_from(sorted(owner) if isinstance(owner, dict) else range(len(owner))))
        action = draw(st.sampled_from(["replace", "remove", "add"]))
        if action == "remove" and owner is not root:
            del owner[key]
        elif action == "add" and isinstance(owner, list):
            owner.append(draw(JSON))
        elif action == "add" and owner is not root:
            owner[draw(st.text(max_size=5))] = draw(JSON)
        else:
            owner[key] = draw(JSON)
    return root["record"]


@settings(max_examples=400, deadline=None)
@given(mutated())
def test_mutated_values_are_a_record_or_refused(values: Any) -> None:
    try:
        record = decode(Outer, values)
    except BadRecord:
        return
    again = json.loads(json.dumps(encode(record), allow_nan=False))
    assert decode(Outer, again) == record
