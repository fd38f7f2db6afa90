"""The doctor's record and what a report says of it: files, words, and accuracy without the leaked images."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from made_records import make_doctor
from made_scores import make_score, make_scores
from pages import make_content, markdown_of, record_of, table
from probeline.files.decode import encode
from probeline.identity import DOCTOR_VERSION, digest, seal
from probeline.metrics.intervals import wilson
from probeline.report.model.rows import blocks
from probeline.report.records.findings import findings_in_words, leakage, leakage_lines
from probeline.report.sections.images.doctor import DataDoctor
from probeline.results.findings import (
    FINDINGS,
    Findings,
)
from probeline.results.score import Score
from probeline.results.store import SkippedFile


def section(doctor: Findings, scores: Sequence[Score]) -> str:
    return DataDoctor().markdown(make_content(scores, findings=doctor)) or ""


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    doctor = make_doctor()
    path = FINDINGS.save(tmp_path, doctor)
    assert path == FINDINGS.path(tmp_path, "mobilenet_v2", doctor.key)
    assert path.name == f"doctor-mobilenet_v2-{doctor.key[:12]}.json"
    assert FINDINGS.find(tmp_path, "mobilenet_v2", doctor.key) == doctor
    assert FINDINGS.find(tmp_path, "mobilenet_v2", digest("another")) is None
    assert FINDINGS.load(tmp_path) == ([doctor], [])
    (again,), _ = FINDINGS.load(tmp_path)
    assert findings_in_words(again) == findings_in_words(doctor), "whatever order its file has"
    assert [pair.first.label != pair.second.label for pair in doctor.duplicates.pairs] == [False, True]


@pytest.mark.parametrize("gone", ["images", "labels", "thumbnails"])
def test_a_record_of_other_fields_is_left_out(tmp_path: Path, gone: str) -> None:
    values = {name: value for name, value in encode(make_doctor()).items() if name != gone}
    FINDINGS.save(tmp_path, make_doctor()).write_bytes(seal({"version": DOCTOR_VERSION, "doctor": values}))
    found, (ignored,) = FINDINGS.load(tmp_path)
    assert found == []
    assert ignored.reason.startswith(f"has other fields than a doctor: the record: missing {gone}")
    path = FINDINGS.path(tmp_path, "mobilenet_v2", make_doctor().key)
    path.write_bytes(path.read_bytes()[:-9])
    damaged = FINDINGS.find(tmp_path, "mobilenet_v2", make_doctor().key)
    assert damaged == SkippedFile(path, "is damaged: its bytes are not those its sha256 was taken of")


def test_accuracy_with_and_without_the_leaked_images_by_hand() -> None:
    n = 200
    score = make_score(n_test=n)
    right = np.equal(score.labels, score.predictions)
    (leak,) = leakage(make_doctor(exact=(3,), near=(5, 8), n_test=n), blocks([score]))
    kept = np.delete(right, [3, 5, 8])
    assert (leak.backbone, leak.row) == ("mobilenet_v2", "linear probe (exact)")
    assert (leak.all.n, leak.all.top1, leak.all.interval) == (n, right.mean(), wilson(int(right.sum()), n))
    assert (leak.without_exact.n, leak.without_exact.top1) == (n - 1, np.delete(right, 3).mean())
    assert (leak.without_both.n, leak.without_both.top1) == (n - 3, kept.mean())
    assert leak.without_both.interval == wilson(int(kept.sum()), n - 3)
    assert (leak.exact.n, leak.exact.top1) == (1, right[3])
    assert (leak.near.n, leak.near.top1) == (2, right[[5, 8]].mean())


def test_of_several_seeds_the_mean_counts() -> None:
    scores = [make_score("finetune", seed=seed, n_test=100) for seed in range(3)]
    (leak,) = leakage(make_doctor(near=tuple(range(10, 60)), exact=(), n_test=100), blocks(scores))
    right = np.mean([np.equal(score.labels, score.predictions) for score in scores], axis=0)
    assert leak.all.top1 == pytest.approx(np.mean([score.top1 for score in scores]))
    assert leak.near.top1 == pytest.approx(right[10:60].mean())
    assert (leak.exact.n, leak.exact.top1, leak.exact.interval) == (0, None, None)


def test_without_leaks_no_row_is_mentioned() -> None:
    doctor = make_doctor(exact=(), near=())
    table = blocks([make_score()])
    assert leakage_lines(leakage(doctor, table)) == []
    assert findings_in_words(doctor)[0].startswith("0 of 500 test images (0.0 %) are in train or val too; 1 exact and ")
    assert "Without near duplicates" not in section(doctor, [make_score()])
    assert leakage(doctor, []) == []


def test_findings_in_words() -> None:
    lines = findings_in_words(make_doctor())
    assert lines == [
        "3 of 500 test images (0.6 %) are in train or val too: 1 as exact, 2 as near duplicates; 1 exact and 2 near "
        "pairs within train and val; 2 pairs have different labels",
        "34 of 1,000 labels of train and val are suspect (about 33 would be if all labels were right, since some "
        "images are hard), and 12 of 500 of test. As a check, 100 label errors were planted: 93 % of them were found; "
        "half of the planted errors ranked above all but 17 of the original labels",
        "15 of 500 test images (3.0 %, 1.8–4.9) are far from all train and val images; 1.0 % would be, if test were "
        "like them",
        "train: 900 images, the largest class is 5 times the smallest, 2.6 effective classes of 3",
        "val: 100 images, the largest class is 1 times the smallest, 2 effective classes of 3; no images of c*t",
        "test: 500 images, the largest class is 2 times the smallest, 2.9 effective classes of 3",
        "colours from a palette: 2 of 900 of train and 1 of 500 of test, such as train:4",
    ]


def test_pairs_that_were_not_compared_and_images_that_look_alike_are_counted() -> None:
    doctor = make_doctor()
    search = replace(doctor.duplicates.search, crowded=1234, copied=57)
    line = findings_in_words(replace(doctor, duplicates=replace(doctor.duplicates, search=search)))[0]
    assert line.endswith(
        "; 2 pairs have different labels; 1,234 images have hashes near more than 10 others, of which the 10 nearest "
        "were compared; 57 images have 10 near duplicates or more, as images have that merely look alike"
    )


def test_even_classes_are_one_line() -> None:
    doctor = make_doctor()
    even = {role: replace(spread, ratio=1.05, empty=()) for role, spread in doctor.balance.items()}
    lines = findings_in_words(replace(doctor, balance=even))
    assert "the classes are even in train (900), val (100) and test (500)" in lines
    assert not any("times the smallest" in line for line in lines)


def test_the_section_tables_what_was_found() -> None:
    doctor = make_doctor()
    scores = make_scores(("mobilenet_v2",), seeds=2, n_test=500)
    found = blocks(scores)
    text = section(doctor, scores) + "\n"
    leaks = table(text)
    assert len(leaks) == len(found[0].rows)
    (first, *_) = leakage(doctor, found)
    assert first.all.top1 is not None
    low, high = wilson(first.all.top1 * 500, 500)
    assert leaks[0]["Test top-1 % (95 % interval)"] == (
        f"{100 * first.all.top1:.1f} ({100 * low:.1f}–{100 * high:.1f}), n=500"
    )
    assert leaks[0]["Without exact duplicates"].endswith(", n=499")
    assert leaks[0]["Without near duplicates either"].endswith(", n=497")
    assert leaks[0]["On leaked images"].startswith("exact ")
    pairs = table(text, 1)
    assert [(pair["Image"], pair["and"], pair["Kind"]) for pair in pairs] == [
        ("train/00007", "test/00003", "exact"),
        ("train/00009", "test/00005", "near, mirrored"),
    ]
    assert pairs[1]["Classes"] == "ant ≠ bee"
    (suspect,) = table(text, 2)
    assert (suspect["Suspect label of"], suspect["Label"], suspect["Suggested"]) == ("train/00011", r"c\*t", "bee")
    (remote,) = table(text, 3)
    assert (remote["Outlier"], remote["Distance"], remote["p"]) == ("test/00002", "0.930", "0.001")
    assert "1234" not in text
    assert "1,234 pairs were compared" in text
    assert "up to 8 of 63 bits differ (56 pairs by hash alone)" in text
    assert "The score is the correlation of the grey levels if that is 0.95 or more, otherwise" in text
    assert "Without exact duplicates" not in section(make_doctor(exact=()), scores)


def test_a_report_shows_the_doctor_where_there_is_one() -> None:
    content = make_content([make_score()])
    assert "Data doctor" not in markdown_of(content)
    assert "doctor" not in record_of(content)
    content = replace(content, findings=make_doctor())
    where = r"\n\n## Data doctor\n\nChecks .* of mobilenet_v2 \(IMAGENET1K_V1, 224 px, fp32\)\."
    assert re.search(where, markdown_of(content))
    record = record_of(content)["doctor"]
    assert "thumbnails" not in record
    assert record["leakage"][0]["without_both"]["n"] == 497
    assert record["findings"] == findings_in_words(make_doctor())
    # Whatever changes in it is another report.
    other = replace(make_doctor(), seconds=13.0)
    assert replace(content, findings=other).identity() != content.identity()
