"""Figures within a page: letters stay letters, styles become attributes, names are their own."""

from __future__ import annotations

import re
from functools import cache

import matplotlib as mpl
import pytest

from made_scores import make_score, make_scores
from pages import Element, parsed
from probeline.report.figures.classes import confusions
from probeline.report.figures.cost import cost
from probeline.report.figures.inline import inline
from probeline.report.figures.rows import accuracy, calibration, ladder, rungs
from probeline.report.figures.sheet import default_look, png, svg
from probeline.report.model.rows import blocks

TABLE = blocks(make_scores(n_test=60, class_names=("ants", "bees")))


def draw() -> tuple[str, str]:
    """Draw the figure of costs: its SVG file and its alternative text."""
    with default_look():
        figure = cost(TABLE)
        assert figure is not None
        return svg(figure), figure.alt


drawn_once = cache(draw)


def drawn(name: str = "cost") -> str:
    file, alt = drawn_once()
    return inline(file, name, alt)


def element(text: str) -> Element:
    (root,) = parsed(text).children
    assert root.tag == "svg"
    return root


def test_equal_figures_are_equal_to_the_byte_whatever_the_users_settings() -> None:
    with mpl.rc_context({"font.size": 30, "svg.fonttype": "path", "svg.hashsalt": "x", "axes.facecolor": "red"}):
        assert draw() == drawn_once()


def test_nothing_is_left_that_a_strict_page_refuses() -> None:
    text = drawn()
    assert "style=" not in text
    assert "<style" not in text
    assert "metadata" not in text
    assert "http" not in text
    assert "matplotlib" not in text.lower()


def test_names_of_two_figures_never_meet() -> None:
    ids = [set(re.findall(r'\bid="([^"]+)"', drawn(name))) for name in ("cost", "other")]
    assert len(ids[0]) == len(ids[1]) > 0
    assert not ids[0] & ids[1]
    for name in set(re.findall(r'(?:href="#|url\(#)([^")]+)', drawn())):
        assert name in ids[0]


def test_letters_stay_letters_and_have_the_pages_font() -> None:
    shown = {one.text for one in element(drawn()).all("text")}
    assert {"cold seconds (log scale)", "full fine-tune"} <= shown
    assert "font-family" not in drawn()


def test_title_and_caption_are_the_pages_own() -> None:
    with default_look():
        figure = cost(TABLE)
        assert figure is not None
        before = png(figure)
        text = svg(figure)
        assert png(figure) == before, "the figure is as it was"
    assert figure.headline not in text
    assert figure.caption[:30] not in text
    root = element(inline(text, "cost", figure.alt))
    # Both have lines of their own in the PNG file, whose height is that of the sheet, 96 pixels to the inch on a page.
    assert float(root.facts["height"]) < 96 * figure.get_figheight() - 40
    assert float(root.facts["width"]) == 96 * figure.get_figwidth()


def test_colours_are_classes_over_attributes() -> None:
    root = element(drawn())
    for one in root.all("*"):
        for name, kind in (("fill", "t" if one.tag == "text" else "f"), ("stroke", "s")):
            if re.fullmatch("#[0-9a-f]{6}", one.facts.get(name, "")):
                assert any(own.startswith(f"{kind}-") for own in one.classes), one
    assert root.all("*", **{"class": "t-ink"})
    assert root.facts["class"] == "drawing"


def test_a_figure_of_pixels_stands_on_paper() -> None:
    names = [f"class {i}" for i in range(30)]
    table = blocks([make_score(n_test=90, class_names=names)])
    with default_look():
        figure = confusions("net", table[0].rows[0], table[0].scores[0][0])
        root = element(inline(svg(figure), "confusion", figure.alt))
    assert "paper" in root.classes
    assert not [own for one in root.all("*") for own in one.classes if own.startswith(("f-", "s-", "t-"))]
    assert all(one.facts["href"].startswith("data:image/png;base64,") for one in root.all("image"))


def test_marks_tell_their_row() -> None:
    root = element(drawn())
    marks = [one for one in root.all("g") if "told" in one.classes]
    assert len(marks) == len(TABLE[0].rows)
    assert root.facts["role"] == "group"
    assert marks[0].facts["aria-label"].startswith("linear probe (exact) on mobilenet_v2: ")


def test_what_xml_cannot_hold_is_written_out() -> None:
    text = (
        '<svg xmlns="http://www.w3.org/2000/svg" width="72pt" height="36pt"><text>a\x07b &amp; &lt;c&gt;</text></svg>'
    )
    root = element(inline(text, "x", 'says "this" <b>'))
    assert root.all("text")[0].text == r"a\x07b & <c>"
    assert root.facts["aria-label"] == 'says "this" <b>'
    assert (root.facts["width"], root.facts["height"], root.facts["role"]) == ("96", "48", "img")


def test_alternatives_come_from_the_data() -> None:
    rows = TABLE[0].rows
    best = max(rows, key=lambda row: row.top1)
    with default_look():
        for make in (accuracy, cost, ladder, calibration):
            figure = make(TABLE)
            assert figure is not None
            assert re.search(r"\d\.\d %", figure.alt)
            assert "cifar10" in figure.alt
        assert f"{100 * best.top1:.1f} % ({best.short} on mobilenet_v2)" in accuracy(TABLE).alt


@pytest.mark.parametrize(
    ("methods", "expected"),
    [
        (("probe", "finetune"), []),
        (("finetune", "scratch"), ["finetune", "scratch"]),
        (("scratch", "knn", "finetune", "probe"), ["probe", "finetune", "scratch"]),
    ],
)
def test_a_ladder_has_rungs_in_order(methods: tuple[str, ...], expected: list[str]) -> None:
    (block,) = blocks(make_scores(methods=methods, n_test=40))
    assert [row.method for row in rungs(block)] == expected


def test_taps_share_one_probe_on_the_ladder() -> None:
    scores = [
        make_score("probe", n_test=40, val_top1=0.7),
        make_score("probe", n_test=40, val_top1=0.8, tap="layer3"),
        *make_scores(methods=("finetune", "scratch"), n_test=40),
    ]
    (block,) = blocks(scores)
    assert (rungs(block)[0].method, rungs(block)[0].tap) == ("probe", "layer3")
    assert len(rungs(block)) == 3


def test_the_probe_with_views_is_a_rung_of_its_own() -> None:
    scores = [
        *(make_score("probe", n_test=40, val_top1=0.7 + views / 100, views=views) for views in (0, 2, 4)),
        make_score("probe-sgd", n_test=40, views=2, seed=0),
        *make_scores(methods=("finetune", "scratch"), n_test=40),
    ]
    (block,) = blocks(scores)
    assert [(row.method, row.views) for row in rungs(block)][:3] == [("probe", 0), ("probe", 4), ("finetune", 0)]
    figure = ladder([block])
    assert figure is not None
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels[:2] == ["linear probe (exact)", "linear probe (exact), 4 views"]
