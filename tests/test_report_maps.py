"""Maps: what they say, which records are believed, and how they are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from figure_checks import assert_clear, cielab, drawn
from made_records import MAP_SCORES, NET, make_map
from made_scores import judged, make_score
from pages import write_report
from probeline.analysis.embedding_map import map_text
from probeline.identity import seal, unseal
from probeline.report.figures.pictures import COLOURS, embedding_map, rendered
from probeline.report.figures.sheet import default_look
from probeline.report.figures.style import INK, MARKERS, MUTED
from probeline.report.sections.images.illustrations import map_facts
from probeline.results.illustrations.embedding_map import MAPS, EmbeddingMap, outdated_map
from probeline.results.store import SkippedFile

LONG = "timm:convnext_tiny.in12k_ft_in1k_384_with_a_long_name"


# Words


def test_a_caption_tells_what_is_shown() -> None:
    one = make_map(tsne=True)
    assert one.title == f"Embedding map of {NET}, test images"
    assert one.caption.startswith(f"All 90 test images: features of {NET}, standardised as for its probe. ")
    assert "Principal components of the 45,000 train images, with 23.1 and 12.0 % of their variance" in one.caption
    assert "t-SNE of these test images alone, perplexity 30, seed 0" in one.caption
    assert one.caption.endswith(
        f"Ringed: the {sum(one.wrong)} errors of the full fine-tune, the row of {NET} that is best on validation."
    )
    assert one.alt == (
        f"Scatter plot of 90 test images in two principal components, and by t-SNE, {sum(one.wrong)} of them ringed"
    )


def test_a_sample_is_reported_as_one() -> None:
    probe = make_score(n_test=90, tap="features.13")
    caption = map_text(probe, probe, 40, 2, 7, []).caption
    assert caption.startswith(
        f"40 of 90 test images (stratified sample, data seed 7): features of {NET} at features.13, "
    )
    assert caption.endswith(
        f"the 2 errors of the linear probe (exact) at features.13, the row of {NET} that is best on validation."
    )


def test_facts_leave_the_points_out() -> None:
    one = make_map(tsne=True)
    facts = map_facts(one)
    assert facts["shown"] == 90
    assert facts["wrong"] == sum(one.wrong) > 0
    assert facts["planes"][0]["facts"] == {"explained": [0.231, 0.1204]}
    assert facts["planes"][1]["facts"] == {"perplexity": 30.0, "seed": 0, "divergence": 0.5}
    assert "xy" not in str(facts)
    assert "sample_ids" not in facts


# Files


def test_a_map_reads_back(tmp_path: Path) -> None:
    one = make_map(tsne=True)
    assert MAPS.save(tmp_path, one) == tmp_path / "pictures" / f"map-{NET}.json" == tmp_path / "pictures" / one.file
    assert MAPS.find(tmp_path, NET) == one
    assert MAPS.load(tmp_path) == ([one], [])
    assert one.methods == ("pca", "tsne")
    assert MAPS.find(tmp_path, "vgg11") is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"rows": [1, 2]}, "has other fields than a map: the record: columns of [2, 90] points"),
        ({"planes": [{}]}, "has other fields than a map: planes[0]: missing axes, facts, method, title, xy"),
        ({"backbone": "vgg11"}, "holds the map that belongs at pictures/map-vgg11.json"),
        (None, "is damaged: its bytes are not those its sha256 was taken of"),
    ],
    ids=["columns", "planes", "name", "byte"],
)
def test_what_is_no_map_is_ignored(changes: dict[str, Any] | None, reason: str, tmp_path: Path) -> None:
    path = MAPS.save(tmp_path, make_map())
    record = unseal(path.read_bytes())
    assert record is not None
    data = path.read_bytes()[:-5] if changes is None else seal({**record, "map": {**record["map"], **changes}})
    path.write_bytes(data)
    found = MAPS.find(tmp_path, NET)
    assert isinstance(found, SkippedFile)
    assert found.reason == reason
    assert MAPS.load(tmp_path) == ([], [found])


def test_a_map_is_of_its_scores() -> None:
    one = make_map()
    assert outdated_map(one, MAP_SCORES) is None
    assert outdated_map(one, [*MAP_SCORES, make_score("knn", accuracy=0.2, n_test=90)]) is None, (
        "neither leads nor probes"
    )
    assert outdated_map(one, [*MAP_SCORES, make_score("ridge", accuracy=0.99, n_test=90)]) == "its scores have changed"
    flipped = [judged(score, predictions=score.labels) for score in MAP_SCORES]
    assert outdated_map(one, flipped) == "its scores have changed"
    assert outdated_map(one, MAP_SCORES[1:]) == "its exact probe is gone"


# The figure


def marks(figure: Any) -> list[tuple[str, str, int]]:
    """Return marker, colour and number of points of every group that is drawn."""
    return [(line.get_marker(), line.get_color(), len(line.get_xdata())) for line in figure.axes[0].get_lines()]


def test_classes_have_a_colour_and_a_marker_and_mistakes_a_ring() -> None:
    one = make_map()
    with default_look():
        figure = embedding_map(one)
        counts = np.bincount(one.labels).tolist()
        assert marks(figure) == [
            *((MARKERS[k], COLOURS[k], counts[k]) for k in range(3)),
            ("o", INK, sum(one.wrong)),
        ]
        ring = figure.axes[0].get_lines()[-1]
        assert ring.get_markerfacecolor() == "none"
        wrong = np.array(one.wrong)
        np.testing.assert_array_equal(ring.get_xydata(), np.array(one.planes[0].xy)[wrong])
        assert figure.axes[0].get_xlabel() == "first component, 23.1 % of the variance"


def test_many_classes_are_grey() -> None:
    one = make_map(classes=13)
    with default_look():
        figure = embedding_map(one)
        assert marks(figure) == [("o", MUTED, 90), ("o", INK, sum(one.wrong))]
        assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == [
            "13 classes",
            "misclassified",
        ]
        assert len(marks(embedding_map(make_map(classes=12)))) == 13


def test_colours_of_classes_are_distinct() -> None:
    # As for the methods: several times what is just noticed, which is 2.3 (Sharma 2003).
    found = [cielab(colour) for colour in COLOURS]
    assert min(float(np.linalg.norm(a - b)) for a, b in combinations(found, 2)) > 8 * 2.3
    assert len(COLOURS) == len(set(MARKERS[: len(COLOURS)]))


@pytest.mark.parametrize(
    "one",
    [
        make_map(),
        make_map(classes=12, tsne=True, class_names=tuple("W" * 30 for _ in range(12))),
        make_map(classes=40, title=f"Embedding map of {LONG} at blocks.11:cls, test images"),
        make_map(n=1, class_names=("a", "b", "c")),
    ],
    ids=["three", "twelve", "forty", "one point"],
)
def test_no_text_of_a_map_is_clipped_or_covers_another(one: EmbeddingMap, monkeypatch: pytest.MonkeyPatch) -> None:
    with default_look():
        figure = embedding_map(one)
        texts: Sequence[Any] = drawn(figure, monkeypatch)
        assert_clear(figure, [(text, text.get_window_extent()) for text in texts])
        for axes in figure.axes:
            assert axes.get_position().width > 0.4


def test_points_that_all_lie_at_one_place_are_drawn() -> None:
    one = make_map()
    plane = replace(one.planes[0], xy=((0.0, 0.0),) * 90)
    assert rendered(lambda: embedding_map(replace(one, planes=(plane,)))).startswith(b"\x89PNG")


def test_a_report_draws_its_maps(tmp_path: Path) -> None:
    one = make_map()
    report = write_report(tmp_path, maps=[one])
    assert [path.name for path in report.figures] == [f"map-{NET}.png"]
    assert f"![map-{NET}](figures/map-{NET}.png)" in report.markdown.read_text(encoding="utf-8")
    assert not write_report(tmp_path, maps=[one]).written
    assert write_report(tmp_path, maps=[replace(one, judge="another")]).written
