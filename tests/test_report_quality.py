"""The section of the quality of features: tables, notes, figure and terms; what is not there is not shown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from figure_checks import drawn
from made_quality import make_alignment, make_quality
from made_scores import make_scores
from pages import Element, make_content, markdown_of, page_of, parsed, record_of, table
from probeline.report.figures.alignment import alignment_map
from probeline.report.figures.sheet import default_look, svg
from probeline.report.records.quality import (
    NONE,
    alignment_in_words,
    feature_titles,
    quality_in_words,
)
from probeline.report.sections.feature_quality import quality_notes

QUALITIES = (make_quality(), make_quality("resnet18", "layer3", dim=256))


def section(page: str) -> Element:
    (found,) = parsed(page).all("section", id="quality")
    return found


def test_a_report_without_measures_has_no_such_section() -> None:
    content = make_content(make_scores(n_test=120))
    assert "Quality of the features" not in markdown_of(content)
    assert 'id="quality"' not in page_of(make_scores(n_test=120))
    assert record_of(content)["feature_quality"] == []
    assert record_of(content)["feature_alignment"] is None


def test_the_tables_have_each_number_with_its_n() -> None:
    text = markdown_of(make_content(make_scores(("mobilenet_v2",), n_test=120), qualities=QUALITIES))
    text = text[text.index("## Quality of the features") :]
    features, retrieval = table(text, 0), table(text, 1)
    assert features[0] == {
        "Features": "mobilenet_v2",
        "Images": "400",
        "Columns": "1,280",
        "Effective rank": "158.2",
        "RankMe": "131.3",
        "Dimension (two-NN)": "23.0",
        "Between classes %": "8.4",
        "H-score": "0.977",
        "LogME": "−0.097",
        "Probe top-1 %": features[0]["Probe top-1 %"],
    }
    assert float(features[0]["Probe top-1 %"]) > 50
    assert features[1]["Features"] == "resnet18 at layer3"
    assert features[1]["Probe top-1 %"] == "", "no probe of these features"
    assert retrieval[0] == {
        "Features": "mobilenet_v2",
        "Recall@1 %": "92.5 (86.3–96.0)",
        "Recall@5 %": "100.0 (96.9–100.0)",
        "mAP %": "78.3 (76.1–80.2)",
        "NMI": "0.650 (0.600–0.700)",
        "ARI": "0.527 (−0.010–0.800)",
    }
    notes = text[: text.index("\n## ", 5)]
    for fact in (
        "of 398 images",
        "each of 120 test images",
        "the 400 train images",
        "seeds 0, 1 and 2",
        "2,000 times, seed 0",
    ):
        assert fact in notes, fact


def test_numbers_that_are_not_defined_are_dashes_with_a_note() -> None:
    none = make_quality(
        spectrum=replace(QUALITIES[0].spectrum, effective_rank=None),
        dimension=replace(QUALITIES[0].dimension, two_nn=None),
        transfer=replace(QUALITIES[0].transfer, log_me=None, between=None),
        clusters=None,
    )
    text = markdown_of(make_content(qualities=[none, QUALITIES[1]]))
    row = table(text[text.index("## Quality") :])[0]
    assert [row[name] for name in ("Effective rank", "Dimension (two-NN)", "LogME", "Between classes %")] == [NONE] * 4
    assert f"{NONE}: the number is not defined" in text
    assert f"{NONE}: the number is not defined" not in markdown_of(make_content(qualities=QUALITIES))
    assert "effective rank –" in quality_in_words(none)[0]


def test_samples_and_queries_that_are_left_out_are_said() -> None:
    retrieval = replace(QUALITIES[0].retrieval, queries=100, test=120, unanswerable=3)
    quality = make_quality(retrieval=retrieval)
    notes = "\n".join(quality_notes([quality], make_alignment(of_images=900)))
    assert "each of 100 of 120 test images" in notes
    assert "3 whose class no train image has are left out" in notes
    assert "the same 400 of 900 train images" in notes
    words = "\n".join(quality_in_words(quality))
    assert (
        "100 of 120 test images searched among 400 train images by cosine, 3 without their class there left out"
        in words
    )
    assert "2 further ones equal others" in words


def test_titles_have_what_differs() -> None:
    net = ("resnet18", "IMAGENET1K_V1", "penultimate", 224, "fp32")
    assert feature_titles([net]) == ["resnet18"]
    others = [
        net,
        ("resnet18", "none", "penultimate", 224, "fp32"),
        ("resnet18", "IMAGENET1K_V1", "layer3", 96, "bf16"),
    ]
    assert feature_titles(others) == ["resnet18, IMAGENET1K_V1", "resnet18, untrained", "resnet18 at layer3"]
    sizes = [net, (*net[:3], 96, "fp32"), (*net[:3], 96, "bf16")]
    assert len(set(feature_titles(sizes))) == 3


def test_the_alignment_is_a_table_a_figure_and_a_record() -> None:
    alignment = make_alignment()
    content = make_content(qualities=QUALITIES, alignment=alignment)
    text = markdown_of(content)
    cka = table(text[text.index("## Quality") :], 2)
    assert cka[0]["mobilenet_v2 at features.10"] == "0.500"
    assert cka[1]["resnet18"] == cka[2]["mobilenet_v2 at features.10"] == NONE
    assert cka[0]["mobilenet_v2"] == ""
    record = record_of(content)["feature_alignment"]
    assert record["titles"] == ["mobilenet_v2", "mobilenet_v2 at features.10", "resnet18"]
    assert record["pairs"][0]["biased"] == pytest.approx(0.8)
    assert "of" not in record
    assert record_of(content)["feature_quality"][0]["predictors"]["nmi"] == pytest.approx(0.65)


def test_the_heat_map_has_the_numbers_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    with default_look():
        figure = alignment_map(make_alignment())
        texts = [text.get_text() for text in drawn(figure, monkeypatch)]
    assert texts.count("1.00") == 3
    assert texts.count("0.50") == 2
    assert texts.count("0.20") == 2
    assert "Blank: not defined." in figure.caption
    assert "n = " in figure.caption or "400 train images" in figure.caption
    assert "mobilenet_v2 and mobilenet_v2 at features.10 0.500 are most alike" in figure.alt


def test_many_sets_of_features_fit_into_the_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    many = make_alignment(*((f"timm:a_long_name_of_a_net_{i}", "penultimate") for i in range(24)))
    with default_look():
        figure = alignment_map(many)
        texts = [text.get_text() for text in drawn(figure, monkeypatch)]
        assert "viewBox" in svg(figure)
    assert sum(text.replace("\n", " ").startswith("timm:") for text in texts) == 48
    assert not [text for text in texts if text.startswith("0.") and len(text) == 4 and text not in ("0.25", "0.75")]
    text = markdown_of(make_content(alignment=many))
    assert "| CKA" not in text, "so many are in the figure alone"


def test_without_a_pair_that_is_defined_nothing_is_most_alike() -> None:
    alignment = make_alignment()
    none = replace(alignment, pairs=tuple(replace(pair, unbiased=None) for pair in alignment.pairs))
    assert "not defined" in alignment_in_words(none)


def test_the_terms_are_explained_where_they_are_used(tmp_path: Path) -> None:
    def terms(**records: object) -> list[str]:
        (found,) = parsed(page_of(make_scores(n_test=120), **records)).all("section", id="terms")
        return [term.text for term in found.all("dt")]

    ours = ["effective rank, RankMe", "intrinsic dimension", "H-score, LogME", "Recall@k", "mAP", "NMI, ARI", "CKA"]
    assert not {*ours} & {*terms()}
    assert {*ours} <= {*terms(qualities=QUALITIES, alignment=make_alignment())}
    plain = make_quality(transfer=None, retrieval=None, clusters=None)
    assert {*ours} & {*terms(qualities=[plain])} == {"effective rank, RankMe", "intrinsic dimension"}
