"""Figures: those that have data, with equal bytes for equal scores, and nothing clipped or covered."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from figure_checks import assert_clear, cielab, drawn
from made_scores import CIFAR, LONG, judged, make_score, make_scores
from pages import make_content, write_report
from probeline.images import PixelArray
from probeline.report.figures import classes, draw
from probeline.report.figures.classes import by_class, confusions
from probeline.report.figures.cost import cost
from probeline.report.figures.curves import path, training
from probeline.report.figures.labels import place_labels
from probeline.report.figures.pictures import TILE, Panel, filters, misclassified, net_input, rendered
from probeline.report.figures.reliability import Bin, pooled, reliability
from probeline.report.figures.rows import accuracy, calibration, ladder
from probeline.report.figures.sheet import default_look, names, png
from probeline.report.model.axis import axis_start
from probeline.report.model.confusion_rows import select_confusion_rows
from probeline.report.model.row import Block
from probeline.report.model.rows import blocks
from probeline.results.illustrations.picture import Misclassification
from probeline.results.methods import METHODS, method_info
from probeline.results.score import Score
from probeline.types import IntArray

pytestmark = pytest.mark.usefixtures("drawn_figures")

MANY_CLASSES = [f"a class whose name is long {i}" for i in range(60)]


def confusion(table: Sequence[Block]) -> Figure:
    return confusions(table[0].title, table[0].rows[-1], table[0].scores[-1][0])


def test_of_very_many_classes_a_confusion_matrix_has_cells_of_several(monkeypatch: pytest.MonkeyPatch) -> None:
    score = make_score(n_test=40, class_names=tuple(f"class {i}" for i in range(100_000)))
    labels, predictions = np.array(score.labels), np.array(score.predictions)
    wrong = np.flatnonzero(labels != predictions)[:3]
    labels[wrong], predictions[wrong] = 99_999, 99_998
    score = replace(score, labels=tuple(labels.tolist()), predictions=tuple(predictions.tolist()))
    monkeypatch.setattr(classes, "_CELLS", 100)
    figure = confusion(blocks([score]))
    (image,) = figure.axes[0].images
    assert image.get_array().shape == (100, 100)  # and not 10^10 cells, 80 GB
    assert "A cell is 1000 by 1000 classes" in figure.caption
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert texts[:2] == ["3", "class 99999 as class 99998"]


def test_only_figures_with_data_are_drawn(tmp_path: Path) -> None:
    bare = make_score(n_test=40, path=(), class_names=("ants", "bees"))
    assert draw(make_content(folder=tmp_path)) == []
    alone = draw(make_content([replace(bare, method="knn")], folder=tmp_path))
    assert [one.path.name for one, _ in alone] == [
        "accuracy.png",
        "per-class.png",
        "confusion-mobilenet_v2-knn.png",
        "calibration.png",
        "reliability.png",
    ]


def test_confusions_are_of_the_probe_its_backbone_s_training_and_the_best_row_on_validation() -> None:
    scores = [
        make_score("probe", "resnet18", val_top1=0.9, n_test=40),
        make_score("probe", "timm:x/y", val_top1=0.8, n_test=40),
        make_score("finetune", "resnet18", val_top1=0.7, seed=0, n_test=40),
        make_score("finetune", "timm:x/y", val_top1=0.99, seed=0, n_test=40),
    ]

    def names(*some: Score) -> list[str]:
        return [row.figure.removeprefix("confusion-") for row in select_confusion_rows(blocks(some))]

    assert names(*scores[:3]) == ["resnet18-probe", "resnet18-finetune"]
    assert names(*scores) == ["resnet18-probe", "resnet18-finetune", "timm--x--y-finetune"]
    assert names(*scores[:2], scores[3]) == ["resnet18-probe", "timm--x--y-finetune"]
    inner = make_score("probe", "resnet18", val_top1=0.95, n_test=40, tap="layer3")
    assert names(*scores[:3], inner) == ["resnet18-probe", "resnet18-finetune"], (
        "the inner tap's probe is the reference"
    )
    lower = replace(make_score("finetune", "resnet18", val_top1=0.6, seed=0, n_test=40), method="last-1")
    assert names(*scores[:3], lower) == ["resnet18-probe", "resnet18-finetune"]
    ridge = make_score("ridge", "resnet18", val_top1=0.97, n_test=40)
    assert names(*scores[:3], ridge) == ["resnet18-probe", "resnet18-finetune", "resnet18-ridge"]
    other = replace(make_score("ridge", "resnet18", val_top1=0.98, n_test=40), views=3)
    assert names(scores[0], ridge, other) == ["resnet18-probe", "resnet18-ridge"]


def test_ridge_has_no_reliability() -> None:
    assert reliability(blocks([make_score("ridge", val_top1=0.97, n_test=40)])) is None


def test_small_bins_of_confidence_are_drawn_as_one() -> None:
    bins: list[Bin] = [(0, 0.0, 0.0), (1, 0.2, 0.0), (2, 0.35, 0.5), (0, 0.0, 0.0), (3, 0.7, 1.0), (40, 0.98, 0.95)]
    np.testing.assert_allclose(pooled(bins, 1), [one for one in bins if one[0]])
    (small, large) = pooled(bins, 5)
    assert large == pytest.approx((40, 0.98, 0.95))
    assert small == (6, pytest.approx((0.2 + 0.7 + 2.1) / 6), pytest.approx((0 + 1 + 3) / 6))
    assert pooled(bins, 10) == [(46, pytest.approx((3 + 39.2) / 46), pytest.approx((4 + 38) / 46))]
    assert pooled(bins[:1], 10) == []


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0, 1), st.floats(0, 1)), max_size=15), st.integers(1, 20))
def test_pooling_keeps_every_image(bins: list[Bin], least: int) -> None:
    found = pooled(bins, least)
    images = sum(n for n, _, _ in bins)
    assert sum(n for n, _, _ in found) == images
    assert all(n >= min(least, images) for n, _, _ in found)
    for i in (1, 2):
        assert sum(one[0] * one[i] for one in found) == pytest.approx(sum(one[0] * one[i] for one in bins))


def test_an_axis_over_l2_shows_where_the_choice_is() -> None:
    entries = [
        {"l2": 10.0**i, "top1": top1, "nll": 1.0, "test_top1": top1, "test_nll": 1.0}
        for i, top1 in enumerate((0.9, 0.89, 0.5, 0.1))
    ]
    with default_look():
        figure = path(blocks([make_score(path=entries, chosen={"l2": 1.0})]))
        assert figure is not None
        low, high = figure.axes[0].get_ylim()
    assert low == 77.5, "twelve points below the best, and half a point for the marks there"
    assert 90 < high <= 101
    assert "Top-1 below 78 % is not drawn." in figure.caption


def test_a_path_that_ended_early_says_where() -> None:
    entries = [{"l2": l2, "top1": 0.9, "nll": 1.0, "test_top1": 0.9, "test_nll": 1.0} for l2 in (1e-2, 1e-1, 1.0, 10.0)]
    captions = []
    for grid in ([1e-3, 1e-2, 1e-1, 1.0, 10.0], [1e-2, 1e-1, 1.0, 10.0]):
        score = make_score(path=entries, chosen={"l2": 1.0})
        with default_look():
            figure = path(blocks([replace(score, options={**score.options, "l2": grid})]))
        assert figure is not None
        captions.append(figure.caption)
    ended = " Below l2 0.01 nothing was fitted: val top-1 was already far below the best."
    assert ended in captions[0]
    assert captions[0].replace(ended, "") == captions[1]


def test_what_lies_far_below_keeps_its_tap() -> None:
    heads = [make_score(accuracy=0.9 + i / 100, cold_seconds=5.0 + i, tap=f"layer{i}") for i in range(1, 4)]
    far = [make_score("knn", accuracy=0.4, tap=f"layer{i}") for i in (1, 2)]
    with default_look():
        figure = cost(blocks([*heads, *far]))
    assert figure is not None
    there = {text.get_text() for text in figure.axes[0].texts}
    assert {"k-NN at layer1 40.0", "k-NN at layer2 40.0", "linear probe (exact) at layer3"} <= there


@pytest.mark.parametrize("make", [accuracy, ladder])
def test_what_lies_far_below_is_drawn_at_the_edge(make: Callable[[Sequence[Block]], Figure | None]) -> None:
    tops = {"probe": 0.95, "finetune": 0.93, "scratch": 0.4}
    table = blocks([make_score(name, seed=0, accuracy=top1, n_test=2000) for name, top1 in tops.items()])
    (low,) = {row.interval[0] for row in table[0].rows if row.method == "finetune"}
    assert axis_start(table[0].rows) == low
    with default_look():
        figure = make(table)
    assert figure is not None
    lines = figure.axes[0].get_lines()
    assert [100 * low] == [np.ravel(line.get_xdata())[0] for line in lines if line.get_marker() == "<"]
    assert figure.axes[0].get_xlim()[0] > 80
    assert "A triangle" in getattr(figure, "caption", "")
    assert any(text.get_text().startswith("40.00") for text in figure.axes[0].texts)


def test_what_leaves_the_others_room_is_drawn_in_its_place() -> None:
    for top1s in ((0.95, 0.93, 0.9), (0.95, 0.95, 0.5), (0.9,), (0.5, 0.9)):
        names = ("probe", "knn", "centroid")[: len(top1s)]
        scores = [make_score(name, accuracy=top1, n_test=200) for name, top1 in zip(names, top1s, strict=True)]
        rows = [row for block in blocks(scores) for row in block.rows]
        assert axis_start(rows) == 0.0, top1s


def test_names_stand_next_to_the_rows_of_one_backbone() -> None:
    heads = ("probe", "knn", "finetune")
    one, two = make_scores(("resnet18",), heads), make_scores(("resnet18", "vgg11"), heads)
    views = [make_score("knn", "resnet18", views=3, cold_seconds=70.0)]
    with default_look():
        for scores, named in ((one, True), (one + views, True), (two, False)):
            figure = cost(blocks(scores))
            assert figure is not None
            there = {text.get_text() for text in figure.axes[0].texts}
            assert ({"k-NN", "full fine-tune"} <= there) is named
            assert ("k-NN, 3 views" in there) is (scores == one + views)
            assert (figure.axes[0].get_legend() is None) is named


@pytest.mark.slow
def test_reports_of_equal_scores_are_equal_to_the_byte(tmp_path: Path) -> None:
    scores = make_scores(methods=("probe", "finetune"), n_test=40, class_names=("ants", "bees"))
    write_report(tmp_path / "a", scores)
    with mpl.rc_context({"font.size": 30, "axes.facecolor": "red", "savefig.dpi": 20, "image.cmap": "gray"}):
        write_report(tmp_path / "b", scores)
        assert mpl.rcParams["font.size"] == 30
    a, b = (
        {file.relative_to(folder): file.read_bytes() for file in sorted(folder.rglob("*.*"))}
        for folder in (tmp_path / "a", tmp_path / "b")
    )
    assert a == b
    figures = {path.stem: data for path, data in a.items() if path.suffix == ".png"}
    assert figures.keys() == {
        "accuracy",
        "cost",
        "per-class",
        "confusion-mobilenet_v2-probe",
        "confusion-mobilenet_v2-finetune",
        "calibration",
        "reliability",
        "path",
        "training",
    }
    assert all(data.startswith(b"\x89PNG") and b"Software" not in data for data in figures.values())


def test_pyplot_is_not_imported() -> None:
    program = "import sys, probeline.report.figures; print('matplotlib.pyplot' in sys.modules, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout == "False False\n"


TWO = make_scores(seeds=5, class_names=("ants", "bees"), n_test=153)
TEN = make_scores(
    ("mobilenet_v2", LONG, "squeezenet1_1"), ("probe", "probe-sgd", "knn", "finetune"), seeds=2, n_test=200
)
MANY = make_scores((LONG,), ("probe", "finetune"), class_names=MANY_CLASSES, n_test=300)
TAPS = [
    score
    for changes in ({}, {"tap": "blocks.11:cls"}, {"tap": "blocks.11:cls+penultimate", "views": 3})
    for score in make_scores((LONG,), ("probe", "probe-sgd", "knn"), seeds=2, n_test=200, **changes)
] + make_scores((LONG,), ("finetune",), n_test=200)
LADDERS = make_scores((LONG, "squeezenet1_1"), ("probe", "finetune", "scratch"), seeds=3, n_test=200)
EDGE = [
    make_score(accuracy=1.0, n_test=20, cold_seconds=0.0, class_names=("only",)),
    make_score("knn", accuracy=0.0, n_test=20, class_names=("only",), cold_seconds=0.0),
]


@pytest.mark.parametrize(
    "scores",
    [
        *(pytest.param(scores, id=name) for scores, name in ((TEN, "ten"), (EDGE, "edge"))),
        *(
            pytest.param(scores, id=name, marks=pytest.mark.slow)
            for scores, name in ((TWO, "two"), (LADDERS, "ladders"), (MANY, "sixty"), (TAPS, "taps"))
        ),
    ],
)
@pytest.mark.parametrize(
    "make", [accuracy, cost, ladder, by_class, calibration, reliability, confusion, path, training]
)
def test_no_text_is_clipped_or_covers_another(
    make: Callable[[Sequence[Block]], Figure | None], scores: list[Score], monkeypatch: pytest.MonkeyPatch
) -> None:
    with default_look():
        figure = make(blocks(scores))
        if figure is None:
            assert make is ladder or (scores is EDGE and make is training)
            return
        texts = drawn(figure, monkeypatch)
        # The box around a slanted text says nothing of what its letters cover.
        boxes = [(text, text.get_window_extent()) for text in texts]
    assert len(texts) > 5
    assert_clear(figure, boxes)


WIDE = ("W" * 40, "ants", "m" * 22)


def noise(height: int, width: int) -> PixelArray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def wrong(count: int) -> Figure:
    mistaken = [Misclassification(10_000 * i, i % 3, (i + 1) % 3) for i in range(count)]
    title = f"The first {count} of {count + 1} mistakes of the linear probe (exact) on {LONG} at blocks.11:cls, 3 views"
    return misclassified(title, "validation", mistaken, [noise(TILE, TILE)] * count, WIDE)


def seen(height: int, width: int) -> Figure:
    panels = [
        Panel("raw", f"{width} x {height} pixels", noise(height, width)),
        Panel("as the net gets it", "−122.12 is black, 122.64 full colour", noise(224, 224)),
        Panel("denormalised", "224 x 224 pixels, 0 to 255", noise(224, 224)),
    ]
    return net_input(f"What {LONG} is given of an image", panels)


def kernels(count: int, side: int) -> Figure:
    values = np.random.default_rng(0).normal(size=(count, 3, side, side)).astype(np.float32)
    return filters(f"First-layer filters of {LONG}: {count} of 768", values)


@pytest.mark.parametrize(
    "make",
    [
        *(partial(wrong, count) for count in (1, 5, 24)),
        *(partial(seen, *size) for size in ((300, 400), (400, 300), (8, 8), (40, 800), (800, 40))),
        *(partial(kernels, *size) for size in ((64, 16), (24, 3), (3, 7), (1, 32))),
    ],
    ids=lambda make: f"{make.func.__name__}-{'x'.join(map(str, make.args))}",
)
def test_no_text_of_a_picture_is_clipped_or_covers_another(
    make: Callable[[], Figure], monkeypatch: pytest.MonkeyPatch
) -> None:
    with default_look():
        figure = make()
        texts = drawn(figure, monkeypatch)
        boxes = [(text, text.get_window_extent()) for text in texts]
        images = [image.get_window_extent() for axes in figure.axes for image in axes.get_images()]
    assert_clear(figure, boxes)
    for text, box in boxes:
        for image in images:
            overlap = np.minimum(box.max, image.max) - np.maximum(box.min, image.min)
            assert (overlap <= 1).any(), text


def test_images_of_mistakes_are_large_enough_to_see() -> None:
    with default_look():
        figure = wrong(24)
        png(figure)
        boxes = [image.get_window_extent() for image in figure.axes[0].get_images()]
    assert len(boxes) == 24
    for box in boxes:
        # A quarter of the sheet but for the gaps between them.
        assert box.width > 0.9 * figure.bbox.width / 4
        assert box.height == pytest.approx(box.width)


def test_equal_pictures_are_equal_to_the_byte() -> None:
    assert rendered(partial(wrong, 5)) == rendered(partial(wrong, 5))
    with mpl.rc_context({"font.size": 30}):
        assert rendered(partial(kernels, 3, 7)) == rendered(partial(kernels, 3, 7))
        assert mpl.rcParams["font.size"] == 30


def test_every_kernel_is_in_the_grid() -> None:
    values = np.zeros((10, 3, 2, 2), np.float32)
    values[:, 0, 0, 0] = 1  # one corner of each is red
    with default_look():
        (image,) = filters("ten", values).axes[0].get_images()
    pixels: IntArray = np.asarray(image.get_array())
    red = (pixels == (255, 0, 0)).all(axis=2)
    rows, columns = np.flatnonzero(np.diff(red.any(axis=1).astype(int)) == 1), np.flatnonzero(red.any(axis=0))
    assert len(rows) + bool(red[0].any()) == 2, "eight, then two more"
    starts = red[0].astype(int)
    assert (np.diff(np.concatenate([[0], starts])) == 1).sum() == 8
    assert (np.diff(np.concatenate([[0], red[rows[-1] + 1].astype(int)])) == 1).sum() == 2
    assert columns[0] == 0


def test_long_names_leave_room_for_the_axes() -> None:
    table = blocks(make_scores(("m" * 70, "w" * 70), ("probe", "knn"), n_test=20))
    with default_look():
        for make in (cost, path):
            figure = make(table)
            assert figure is not None
            png(figure)
            # A legend takes less than half of the width; made of the widest letter there is, two thirds.
            assert figure.axes[0].get_position().width > 0.25


def test_names_that_a_figure_cannot_show_become_numbers() -> None:
    shown = names(["US$ bill $", "日本語", "", "two\nlines", "x" * 40, "Ærø"])
    assert shown == ["US$ bill $", "class 1", "class 2", r"two\nlines", "x" * 21 + "…", "Ærø"]


def test_strange_class_names_are_drawn_without_a_warning() -> None:
    scores = make_scores(methods=("probe",), class_names=("$\\frac$", "日本", "a\nb", "_x^2_"), n_test=40)
    with default_look():
        for make in (by_class, confusion):
            png(make(blocks(scores)))


def test_classes_without_test_images_are_left_out() -> None:
    score = make_score(n_test=40, class_names=CIFAR)
    labels = tuple(label % 4 for label in score.labels)
    with default_look():
        figure = by_class(blocks([judged(score, labels=labels)]))
    shown = {text.get_text() for text in figure.axes[0].get_yticklabels()}
    assert shown == set(CIFAR[:4])


def test_histories_and_paths_may_have_holes() -> None:
    history = ({"epoch": 1, "train_loss": 1.0, "train_top1": 0.5, "val_loss": None, "val_top1": 0.6},)
    tested = {"test_top1": 0.5, "test_nll": 1.0}
    trail = ({"l2": 0.0, "top1": 0.5, "nll": 1.0, **tested}, {"l2": 0.1, "top1": 0.6, "nll": None, **tested})
    scores = [make_score("finetune", seed=0, n_test=20, history=history), make_score(n_test=20, path=trail)]
    with default_look():
        for make in (training, path):
            figure = make(blocks(scores))
            assert figure is not None
            png(figure)


def test_colours_are_distinct() -> None:
    # One that is just noticed is 2.3 away (Sharma 2003); marks of a few pixels want several times that.
    names = [one.name for one in METHODS if one.name != "last-K"]
    found = [cielab(method_info(name).colour) for name in (*names, "last-1", "last-2", "last-3")]
    assert min(float(np.linalg.norm(a - b)) for a, b in combinations(found, 2)) > 8 * 2.3


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(100, 900), st.integers(100, 500)), min_size=1, max_size=6))
def test_labels_of_a_few_points_never_cover_anything(spots: list[tuple[int, int]]) -> None:
    points = np.array(spots, dtype=np.float64)
    sizes = np.tile([90.0, 14.0], (len(points), 1))
    dots = np.concatenate([points - 7, points + 7], axis=1)
    corners = place_labels(points, sizes, dots, (0, 0, 1000, 600), gap=2)
    found = np.concatenate([np.concatenate([corners, corners + sizes], axis=1), dots])
    overlap = np.minimum(found[:, None, 2:], found[None, :, 2:]) - np.maximum(found[:, None, :2], found[None, :, :2])
    covered = (overlap > 0).all(axis=2)[: len(points)]
    covered[:, : len(points)] &= ~np.eye(len(points), dtype=bool)
    assert not covered.any()
    assert (corners >= 0).all()
    assert (corners + sizes <= [1000, 600]).all()
