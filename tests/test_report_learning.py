"""Learning curves: steps of points, their table and figure, and their files."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path
from statistics import stdev

import numpy as np
import pytest

from figure_checks import drawn
from made_records import make_curve
from made_scores import LONG
from pages import make_content, markdown_of, write_report
from probeline.metrics.intervals import wilson
from probeline.report.figures.learning import learning
from probeline.report.figures.sheet import default_look, png
from probeline.report.records.learning_steps import curve_titles, steps
from probeline.report.sections.scores.learning import crossings, learning_notes, learning_table
from probeline.results.curve import CURVES, Curve, CurvePoint
from probeline.results.store import SkippedFile
from variants import slow_after


def test_steps_gather_the_draws() -> None:
    curve = make_curve()
    found = steps(curve)
    assert [step.title for step in found[:3]] == ["1 %", "2 %", "5 %"]
    assert [step.title for step in found[-2:]] == ["8 per class", "16 per class"]
    tops = [point.test_top1 for point in curve.points[:5]]
    assert found[0].mean == pytest.approx(sum(tops) / 5)
    assert found[0].sd == stdev(tops)
    assert found[0].range == (min(tops), max(tops))
    assert found[0].interval is None
    whole = found[6]
    assert (whole.draws, whole.sd, whole.images) == (1, None, "45,000")
    assert whole.interval == wilson(round(whole.mean * 10_000), 10_000)


def test_what_is_unusual_is_marked_and_explained() -> None:
    curve = make_curve(percents=(10, 100), shots=(4,))
    points = [replace(p, short=2) if p.kind == "shots" else replace(p, converged=p.draw != 1) for p in curve.points]
    points[0] = replace(points[0], n_train=4600)
    odd = replace(curve, points=tuple(points), grouped=True)
    rows = learning_table([odd]).grid
    assert [row[1] for row in rows[1:]] == ["10 % †", "100 %", "4 per class *"]
    assert rows[1][2] == "4,500 to 4,600"
    notes = "\n".join(learning_notes([odd]))
    for words in ("whole groups", "* some classes have fewer", "† a fit stopped", "5,000 val images"):
        assert words in notes
    plain = "\n".join(learning_notes([curve]))
    for words in ("whole groups", "* some", "†"):
        assert words not in plain


def test_a_part_that_is_more_than_its_percentage_is_marked() -> None:
    curve = make_curve(percents=(1, 10, 20, 50), shots=(), n_train=31)
    of = {1: 10, 10: 10, 20: 10, 50: 16}  # ten classes, and half of 31 rounded up
    tiny = replace(curve, points=tuple(replace(p, n_train=of[int(p.amount)]) for p in curve.points))
    assert [row[1] for row in learning_table([tiny]).grid[1:]] == ["1 % §", "10 % §", "20 % §", "50 %"]
    assert "§ raised to one image per class" in "\n".join(learning_notes([tiny]))
    assert "§" not in "\n".join(learning_notes([make_curve()]) + learning_notes([replace(tiny, grouped=True)]))


def test_titles_tell_curves_apart() -> None:
    curve = make_curve()
    assert curve_titles([curve, make_curve("resnet18")]) == ["mobilenet_v2", "resnet18"]
    assert curve_titles([curve, replace(curve, tap="layer3")]) == ["mobilenet_v2", "mobilenet_v2 at layer3"]
    assert curve_titles([curve, replace(curve, weights="none"), replace(curve, image_size=64)]) == [
        "mobilenet_v2, IMAGENET1K_V1, 224 px",
        "mobilenet_v2, untrained, 224 px",
        "mobilenet_v2, IMAGENET1K_V1, 64 px",
    ]


def test_curves_alone_make_a_report(tmp_path: Path) -> None:
    curve = make_curve(n_test=100)
    report = write_report(tmp_path, curves=[curve])
    assert [path.name for path in report.figures] == ["learning.png"]
    text = report.markdown.read_text(encoding="utf-8")
    assert text.startswith("# cifar10: frozen features and fine-tuning")
    assert "40 s warm, 700 s cold; Linux x86" in text.replace("\\_", "_")
    assert not write_report(tmp_path, curves=[curve]).written
    assert write_report(tmp_path, curves=[replace(curve, warm_seconds=1.0)]).written
    assert "Learning" not in markdown_of(make_content())
    assert write_report(tmp_path).figures == ()


TWO = [make_curve(), make_curve("resnet18", 0.7)]
SETS = {
    "one": [make_curve()],
    "two": TWO,
    "no shots": [make_curve(shots=())],
    "no fractions": [make_curve(percents=())],
    "crossing": [make_curve(LONG, 0.91), make_curve("resnet18", 0.9), make_curve("squeezenet1_1", 0.89)],
    "many": [make_curve(f"timm:net_{number}", 0.9 - 0.03 * number) for number in range(11)],
    "crowded": [make_curve(percents=(10, 11, 12, 13, 99, 100), shots=(1, 50, 51))],
    "one step": [make_curve(percents=(100,), shots=(1,), draws=1)],
    "few images": [make_curve(n_train=90, n_test=20), make_curve(LONG, 0.2, n_train=90, n_test=20)],
}


@pytest.mark.parametrize("case", slow_after(3, SETS))
def test_no_text_is_clipped_or_covers_another(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with default_look():
        figure = learning(SETS[case])
        texts = drawn(figure, monkeypatch)
        boxes = [(text, text.get_window_extent()) for text in texts]
    for text, box in boxes:
        assert (box.min >= figure.bbox.min).all(), text
        assert (box.max <= figure.bbox.max).all(), text
    for (text, box), (other, its) in combinations(boxes, 2):
        overlap = np.minimum(box.max, its.max) - np.maximum(box.min, its.min)
        assert (overlap <= 1).any(), (text, other)
    shown = "\n".join(text.get_text() for text in texts)
    for title in curve_titles(SETS[case]):
        assert title[:20] in shown


def test_equal_curves_give_equal_bytes() -> None:
    with default_look():
        assert png(learning(TWO)) == png(learning(TWO))


def test_what_is_saved_is_found(tmp_path: Path) -> None:
    for curve in TWO:
        path = CURVES.save(tmp_path, curve)
        assert path == CURVES.path(tmp_path, curve.backbone, curve.key)
        assert path.name == f"{curve.backbone}-{curve.key[:12]}.json"
        assert CURVES.find(tmp_path, curve.backbone, curve.key) == curve
        other = CURVES.find(tmp_path, curve.backbone, curve.key[:12] + "0" * 52)
        assert isinstance(other, SkippedFile)
        assert other.reason.startswith("its key is ")
    found, ignored = CURVES.load(tmp_path)
    assert sorted(found, key=lambda curve: curve.backbone) == TWO
    assert ignored == []
    assert CURVES.load(tmp_path / "nowhere") == ([], [])


def test_a_damaged_or_moved_file_is_ignored(tmp_path: Path) -> None:
    path = CURVES.save(tmp_path, TWO[0])
    data = path.read_bytes()
    for at in range(0, len(data), 501):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        assert isinstance(CURVES.find(tmp_path, TWO[0].backbone, TWO[0].key), SkippedFile)
        found, (ignored,) = CURVES.load(tmp_path)
        assert (found, ignored.path) == ([], path)
    path.write_bytes(data)
    path.rename(path.with_name("other.json"))
    assert "belongs at" in CURVES.load(tmp_path)[1][0].reason


def levels(method: str, tops: dict[float, float], **changes: object) -> Curve:
    """Return a curve of a method with one draw at each fraction."""
    points = [
        CurvePoint(
            "fraction", amount, 0, int(10 * amount), 0, None, edge=False, val_top1=top, test_top1=top, converged=True
        )
        for amount, top in tops.items()
    ]
    return replace(make_curve(), method=method, points=tuple(points), draws=1, **changes)  # type: ignore[arg-type]


def test_where_a_training_overtakes_the_probe() -> None:
    probe = levels("probe", {10.0: 0.8, 20.0: 0.85, 50.0: 0.88, 100.0: 0.9})
    late = levels("finetune", {10.0: 0.81, 20.0: 0.7, 50.0: 0.89, 100.0: 0.95})
    assert crossings([probe, late]) == [
        "mobilenet_v2, full fine-tune: above the linear probe from 50 % of the train images on "
        "(89.00 against 88.00 % at 500, though the 95 % intervals overlap)."
    ]
    clear = levels("finetune", {50.0: 0.95, 100.0: 0.97})
    assert crossings([probe, clear])[0].endswith("(95.00 against 88.00 % at 500).")
    never = levels("scratch", {10.0: 0.9, 100.0: 0.9}, weights="none")
    assert crossings([probe, never]) == [
        "mobilenet_v2, from scratch: not above the linear probe at 100 % of the train images "
        "(90.00 against 90.00 % at 1,000)."
    ]
    always = levels("lp-ft", {50.0: 0.89, 100.0: 0.95})
    (line,) = crossings([always, probe])
    assert "above the linear probe at every step, from 50 % of the train images on" in line
    assert crossings([probe]) == []
    assert crossings([levels("finetune", {10.0: 1.0}), replace(probe, image_size=64)]) == []
    assert "no step in common" in crossings([levels("finetune", {30.0: 1.0}), probe])[0]


def test_titles_tell_methods_apart() -> None:
    probe, scratch = make_curve(), levels("scratch", {100.0: 0.5}, weights="none")
    assert curve_titles([probe]) == ["mobilenet_v2"]
    assert curve_titles([probe, scratch]) == ["mobilenet_v2, linear probe (exact)", "mobilenet_v2, from scratch"]
    assert "l2 is chosen on all" in " ".join(learning_notes([probe]))
    assert "l2 and the epoch of a training are chosen on all" in " ".join(learning_notes([probe, scratch]))
