"""Numbers as people read them."""

from __future__ import annotations

import pytest

from probeline.format import count, decimals, listing, option, percent, points, probability, seconds, signed


@pytest.mark.parametrize(("sizes", "places"), [([153], 1), ([999, 10_000], 1), ([1_000], 2), ([], 1)])
def test_decimals_follow_the_test_images(sizes: list[int], places: int) -> None:
    assert decimals(sizes) == places


def test_percent() -> None:
    assert percent(0.78346, 2) == "78.35"
    assert percent(1.0, 1) == "100.0"


@pytest.mark.parametrize(
    ("difference", "text"), [(0.031, "+3.1"), (-0.0025, "−0.2"), (0.0004, "0.0"), (-0.0004, "0.0"), (0.0, "0.0")]
)
def test_points_carry_a_sign_that_the_digits_bear_out(difference: float, text: str) -> None:
    assert points(difference, 1) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [("+1.5", "+1.5"), ("-1,234.5", "−1,234.5"), ("2", "2"), ("0.00", "0.00"), ("-0.00", "0.00"), ("+0", "0")],
)
def test_only_a_number_other_than_zero_has_a_sign(number: str, text: str) -> None:
    assert signed(number) == text


@pytest.mark.parametrize(
    ("p", "text"),
    [(1.0, "p = 1"), (0.01234, "p = 0.0123"), (0.001, "p = 0.001"), (0.00099, "p < 0.001"), (0, "p < 0.001")],
)
def test_probability(p: float, text: str) -> None:
    assert probability(p) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.0421, "0.0421"), (12.64, "12.6"), (99.96, "100"), (312.4, "312"), (4512.3, "4,512")],
)
def test_seconds(value: float, text: str) -> None:
    assert seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (650, "650"),
        (999, "999"),
        (1_000, "1k"),
        (12_810, "12.8k"),
        (999_499, "999k"),
        (999_500, "1M"),
        (2_236_682, "2.24M"),
        (1_100_000_000, "1.1G"),
    ],
)
def test_count(value: int, text: str) -> None:
    assert count(value) == text


@pytest.mark.parametrize(
    ("items", "text"), [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")]
)
def test_listing(items: list[str], text: str) -> None:
    assert listing(items) == text


@pytest.mark.parametrize(
    ("name", "value", "brief", "exact"),
    [
        ("lr", 0.0010001, "lr 0.001", "lr 0.0010001"),
        ("weight_decay", [1e-4, 1e-3], "weight decay 0.0001/0.001", "weight decay 0.0001/0.001"),
        ("l2", [1e-6, 1e-3, 1.0, 1e5], "l2 1e-06 to 1e+05 (4)", "l2 1e-06/0.001/1.0/100000.0"),
        ("optimizer", ["adam", "sgd", "adamw", "x"], "optimizer adam/sgd/adamw/x", "optimizer adam/sgd/adamw/x"),
        ("freeze_batchnorm", False, "no freeze batchnorm", "no freeze batchnorm"),
        ("epochs", 30, "epochs 30", "epochs 30"),
        ("patience", None, "no patience", "no patience"),
        ("gamma", ["scale", None], "gamma scale/none", "gamma scale/none"),
        ("lr", [[None, 1], 2], "lr none/1/2", "lr none/1/2"),
        ("lr", {"head": None, "body": 2}, "lr head none, body 2", "lr head none, body 2"),
    ],
)
def test_options(name: str, value: object, brief: str, exact: str) -> None:
    assert option(name, value) == brief
    assert option(name, value, exactly=True) == exact
