"""The bench runs, and its figures belong together."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest

from probeline.commands import bench
from probeline.session import Session
from small_runs import Listening, configuration

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.slow
def test_every_contender_is_measured_and_told(tmp_path: Path) -> None:
    console = Listening()
    session = Session(configuration(tmp_path / "cache", console=console, workers=2, limit=30))
    found = bench.run(session)["squeezenet1_1"]
    rates = found["every_round"]
    names = {"ours", "bare", "bare, one thread per batch", "reading alone", "plain", "ceiling"}
    assert rates.keys() == found["images_per_second"].keys() == names
    assert found["ratio_of_ours"].keys() == names - {"ours"}
    assert all(len(values) == found["rounds"] and min(values) > 0 for values in rates.values())
    for place in range(found["rounds"]):
        bare = max(rates["bare"][place], rates["bare, one thread per batch"][place])
        seconds = 1 / bare + 1 / rates["reading alone"][place]
        assert rates["ceiling"][place] == pytest.approx(1 / seconds)
    ratio = statistics.median(ours / bare for ours, bare in zip(rates["ours"], rates["bare"], strict=True))
    assert found["ratio_of_ours"]["bare"] == pytest.approx(ratio)
    assert sum("ratio" in line for line in console.said) == 5
    assert json.loads((session.reports / "bench.json").read_text())["squeezenet1_1"] == found
    assert not list((tmp_path / "cache").rglob("*.h5")), "what is measured is not kept"


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"batch_size": 200}, {"workers": 13}], ids=str)
def test_a_batch_or_threads_that_its_images_do_not_fill(options: dict[str, int], tmp_path: Path) -> None:
    """A bare pass runs at least once on each thread, and torch has nothing to warn of."""
    settings = {"workers": 2, "limit": 250, **options}
    found = bench.run(Session(configuration(tmp_path / "cache", **settings)))["squeezenet1_1"]
    assert all(min(values) > 0 for values in found["every_round"].values())
    assert found["images"] == 192
