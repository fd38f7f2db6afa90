"""Galleries: which images come first, their text, and which records are valid."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from made_records import GALLERY_SCORES, NET, REFIT, make_gallery
from made_scores import judged, make_score
from probeline.analysis.gallery import count_shared_errors, gallery_text
from probeline.identity import GALLERY_VERSION, seal, unseal
from probeline.report.model.rows import row_titles
from probeline.report.sections.images.illustrations import gallery_facts
from probeline.results.illustrations.gallery import (
    GALLERIES,
    gallery_of,
    outdated_gallery,
)
from probeline.results.ranking import best_by_validation, best_probe, rank_by_validation
from probeline.results.score import Score
from probeline.results.store import SkippedFile

# Which images


def test_rows_are_ranked_by_val_and_judged_by_their_first_seeds() -> None:
    rows = rank_by_validation(GALLERY_SCORES)
    assert [row[0].method for row in rows] == ["finetune", "probe", "knn"]
    assert [len(row) for row in rows] == [2, 1, 1]
    assert rows[0] == best_by_validation(GALLERY_SCORES)
    probe = best_probe(GALLERY_SCORES)
    assert probe is not None
    assert probe.method == "probe"
    assert best_probe([score for score in GALLERY_SCORES if score.method != "probe"]) is None
    worse = make_score(accuracy=0.3, n_test=60, tap="features.13")
    assert best_probe([worse, *GALLERY_SCORES]) == probe


def test_what_all_have_wrong_comes_first_then_what_most_have() -> None:
    rows = rank_by_validation(GALLERY_SCORES)
    found = count_shared_errors(rows)
    counts = [
        sum(row[0].predictions[place] != row[0].labels[place] for row in rows)
        for place in range(GALLERY_SCORES[0].n_test)
    ]
    assert found.counts.tolist() == counts
    assert {1, 3} <= set(counts)
    expected = sorted((place for place, count in enumerate(counts) if count), key=lambda place: (-counts[place], place))
    assert found.errors.tolist() == expected
    assert found.shown.tolist() == [place for place in expected if counts[place] > 1]
    assert counts[expected[0]] == 3


def test_what_one_row_alone_has_wrong_is_shown_where_there_is_nothing_else() -> None:
    right = make_score("knn", accuracy=1.0, n_test=60)
    found = count_shared_errors([[make_score(accuracy=0.9, n_test=60)], [right]])
    assert found.counts.max() == 1
    np.testing.assert_array_equal(found.shown, found.errors)
    assert len(count_shared_errors([[make_score(accuracy=0.2, n_test=60)]]).shown) == 24


def test_another_seed_of_a_row_has_no_say() -> None:
    rows = rank_by_validation(GALLERY_SCORES)
    first = [row[:1] for row in rows]
    np.testing.assert_array_equal(count_shared_errors(rows).errors, count_shared_errors(first).errors)
    assert gallery_of(rows, first[1][0]) == gallery_of(first, first[1][0])


# The text


def words(scores: list[Score], **refit: Any) -> str:
    rows = rank_by_validation(scores)
    probe = best_probe(scores)
    assert probe is not None
    facts = replace(REFIT, **refit)
    return gallery_text(probe, count_shared_errors(rows), len(rows), facts, 3)[1]


def test_a_caption_tells_the_numbers() -> None:
    counts = count_shared_errors(rank_by_validation(GALLERY_SCORES)).counts
    text = words(GALLERY_SCORES)
    wrong, by_all, together = (int(some.sum()) for some in (counts > 0, counts == 3, counts > 1))
    assert together < min(wrong, 24)
    assert text.startswith(
        f"{wrong} of 60 test images are misclassified by at least one of 3 rows, {by_all} by all (first seed of "
        f"each row). Shown: {together}, all images that several rows misclassify, most frequent errors first. "
    )
    assert "Probabilities are those of the exact linear probe, l2 0.001, refitted on the cached features" in text
    assert "at temperature 1.5: 60 of its 60 predictions are the same." in text
    assert text.endswith(
        "Below each image: the 3 nearest train images, by cosine similarity of this probe's standardised features."
    )


def test_a_caption_of_one_row_names_it() -> None:
    score = make_score(accuracy=0.9, n_test=60, tap="features.13")
    wrong = sum(a != b for a, b in zip(score.labels, score.predictions, strict=True))
    assert words([score]).startswith(
        f"{wrong} of 60 test images are misclassified by the exact linear probe at features.13. Shown: all, in data "
        "set order."
    )


def test_a_refit_that_is_invalid_is_reported() -> None:
    text = words(GALLERY_SCORES, held=False, same=51)
    assert "No probabilities: the exact linear probe, l2 0.001, refitted" in text
    assert "does not reproduce its score, as only 51 of its 60 predictions are the same." in text


def test_titles_tell_rows_apart() -> None:
    inner = make_score(n_test=60, tap="features.13")
    other = make_score(n_test=60, weights="IMAGENET1K_V2")
    titles = row_titles([*GALLERY_SCORES, inner])
    assert titles[inner.key] == "linear probe (exact), at features.13"
    assert titles[GALLERY_SCORES[0].key] == "linear probe (exact)"
    assert row_titles([GALLERY_SCORES[0], other])[other.key] == f"linear probe (exact) ({NET}, IMAGENET1K_V2)"


# Files


def test_a_gallery_reads_back(tmp_path: Path) -> None:
    made = make_gallery()
    path = GALLERIES.save(tmp_path, made)
    assert path == tmp_path / "pictures" / f"gallery-{NET}.json" == tmp_path / "pictures" / made.file
    assert GALLERIES.find(tmp_path, NET) == made
    assert GALLERIES.load(tmp_path) == ([made], [])
    assert made.thumbnails["test:3"].uri == "data:image/webp;base64,AAAA"
    GALLERIES.remove(tmp_path, NET)
    assert GALLERIES.find(tmp_path, NET) is None
    GALLERIES.remove(tmp_path, NET)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda data: data.replace(b"AAAA", b"AAAB"), "is damaged: its bytes are not those its sha256 was taken of"),
        (lambda data: rewritten(data, version=0), "has gallery version 0; this program reads 2: run its stage again"),
        (
            lambda data: rewritten(data, images=[{"name": "test:3"}]),
            "has other fields than a gallery: images[0]: missing chance, neighbours, predicted, ",
        ),
        (lambda data: rewritten(data, colour="red"), "has other fields than a gallery: the record: unknown colour"),
        (
            lambda data: rewritten(data, backbone="vgg11"),
            "holds the gallery that belongs at pictures/gallery-vgg11.json",
        ),
    ],
    ids=["a byte", "version", "an image", "a field", "a name"],
)
def test_what_is_no_gallery_is_ignored(change: Any, reason: str, tmp_path: Path) -> None:
    path = GALLERIES.save(tmp_path, make_gallery())
    path.write_bytes(change(path.read_bytes()))
    found = GALLERIES.find(tmp_path, NET)
    assert isinstance(found, SkippedFile)
    assert found.reason.startswith(reason)
    assert GALLERIES.load(tmp_path) == ([], [found])


def rewritten(data: bytes, version: int = GALLERY_VERSION, **changes: Any) -> bytes:
    record = unseal(data)
    assert record is not None
    return seal({"version": version, "gallery": {**record["gallery"], **changes}})


def test_a_gallery_is_of_its_scores() -> None:
    made = make_gallery()
    assert outdated_gallery(made, GALLERY_SCORES) is None
    assert outdated_gallery(made, GALLERY_SCORES[::-1]) is None, "in whatever order they come"
    elsewhere = make_score(backbone="vgg11", n_test=60)
    assert outdated_gallery(made, [*GALLERY_SCORES, elsewhere]) is None
    assert outdated_gallery(made, [*GALLERY_SCORES, make_score("ridge", n_test=60)]) == "its scores have changed"
    flipped = judged(GALLERY_SCORES[1], predictions=GALLERY_SCORES[1].labels)
    assert outdated_gallery(made, [GALLERY_SCORES[0], flipped, *GALLERY_SCORES[2:]]) == "its scores have changed"
    assert outdated_gallery(made, [elsewhere]) == "its exact probe is gone"


def test_facts_are_all_but_the_images() -> None:
    facts = gallery_facts(make_gallery())
    assert "thumbnails" not in facts
    assert facts["images"][0]["neighbours"][0]["cosine"] == 0.75
    assert facts["images"][0]["predicted"] == ("cat", "cat", "bird")
