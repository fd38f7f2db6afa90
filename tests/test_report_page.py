"""The page: one file that asks nobody, says what the records say, and shows any name as it is."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import pytest

from figure_checks import cielab
from made_records import make_doctor, make_gallery, make_map
from made_scores import make_score, make_scores
from pages import TWO, Element, full, make_content, page_of, parsed, picture, thumbnail, written
from probeline.format import count, percent, points, seconds
from probeline.report.page import render
from probeline.report.palette import DARK, LETTER, LEVELS, LIGHT, MARK, class_of_colour, contrast, readable
from probeline.report.sections.glossary import Glossary
from probeline.report.sections.images.illustrations import fit_picture
from probeline.report.sections.registry import SECTIONS
from probeline.report.sections.scores.comparisons import compare_predictions, count_unanimous
from probeline.results.illustrations.picture import PICTURE_FOLDER
from probeline.results.methods import METHODS, method_info
from probeline.results.score import Score
from sketches import drawn
from variants import slow_after

HOSTILE = '<script>alert("1")</script>'


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with drawn():
        return full(tmp_path_factory.mktemp("page"))


def tree(path: Path) -> Element:
    return parsed(path.read_text(encoding="utf-8"))


def section(root: Element, name: str) -> Element:
    (found,) = [one for one in root.all("section") if one.facts.get("id") == name]
    return found


def test_every_section_that_has_data_is_there(page: Path) -> None:
    root = tree(page)
    there = [one.facts["id"] for one in root.all("section") if "id" in one.facts]
    without = {"ranges", "published", "latency", "figures", "robustness", "unlike", "groups", "operating"}
    assert there == [section.name for section in SECTIONS if section.name not in without]
    (contents,) = root.all("nav")
    assert [one.facts["href"] for one in contents.all("a")] == [f"#{name}" for name in there]


def test_contents_are_grouped_and_no_group_comes_twice(page: Path) -> None:
    groups = [section.group for section in SECTIONS]
    (contents,) = tree(page).all("nav")
    terms = [one.text for one in contents.all("dt")]
    assert terms == list(dict.fromkeys(groups))
    assert len([1 for a, b in pairwise(groups) if a != b]) + 1 == len(terms)


def test_terms_are_those_of_the_page(page: Path) -> None:
    there = [one.text for one in section(tree(page), "terms").all("dt")]
    assert {"linear probe (exact)", "headroom", "adjusted p", "near duplicate", "draw"} <= set(there)
    view = Glossary().view(make_content([make_score("knn")]))
    assert view is not None
    names = [term.name for term in view.values["terms"]]
    assert "k-NN" in names
    assert {
        "linear probe (exact)",
        "headroom",
        "adjusted p",
        "LP-FT",
        "views",
        "macro",
        "tap",
        "near duplicate",
        "draw",
    }.isdisjoint(names)


def test_ids_are_unique_and_what_is_referred_to_is_there(page: Path) -> None:
    root = tree(page)
    ids = [one.facts["id"] for one in root.all("*") if "id" in one.facts]
    assert len(ids) > 40
    assert len(ids) == len(set(ids))
    for one in root.all("*"):
        for name in ("href", "clip-path", "aria-labelledby", "data-for"):
            target = (
                re.fullmatch(r"#(.+)|url\(#(.+)\)", one.facts.get(name, "")) if name in ("href", "clip-path") else None
            )
            if target:
                assert (target[1] or target[2]) in ids
            elif name in ("aria-labelledby", "data-for") and name in one.facts:
                assert one.facts[name] in ids


def test_every_figure_says_what_it_shows(page: Path) -> None:
    root = tree(page)
    assert [image.facts["alt"] for image in section(root, "pictures").all("img")] == ["Many squares"]
    assert all(len(image.facts["alt"]) > 10 for image in root.all("img"))
    figures = [one for one in root.all("svg") if one.facts.get("aria-hidden") != "true"]
    assert len(figures) >= 7
    for one in figures:
        assert one.facts["role"] in ("img", "group")
        assert len(one.facts["aria-label"]) > 40, one.facts["aria-label"]
    accuracy = next(
        one for one in figures if one.facts["aria-label"].startswith("Test accuracy of 18 rows on cifar10, from ")
    )
    marks = [one for one in accuracy.all("g") if "told" in one.classes]
    assert len(marks) == 18
    for mark in marks:
        (title,) = mark.all("title")
        assert title.text == mark.facts["aria-label"]
        assert re.search(r"\d+\.\d % \(95 % interval .*, n = 120.*s cold, .* parameters trained", title.text)


def test_nothing_is_requested_from_any_network(page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    assert "http:" not in html
    assert "https:" not in html
    for one in parsed(html).all("*"):
        for name in ("src", "href", "srcset", "data", "action", "poster", "xlink:href"):
            value = one.facts.get(name, "")
            assert not value or value.startswith(("#", "data:")), (one.tag, name, value[:60])
        assert "style" not in one.facts, "a style of its own would be against the policy"
        assert not [name for name in one.facts if name.startswith("on")]
    assert "@import" not in html
    assert "url(" not in re.search(r"<style>(.*?)</style>", html, re.DOTALL)[1]  # type: ignore[index]


def test_the_policy_names_just_what_is_there(page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    (meta,) = parsed(html).all("meta", **{"http-equiv": "Content-Security-Policy"})
    policy = dict(part.split(" ", 1) for part in meta.facts["content"].split("; "))
    for tag in ("style", "script"):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        sha256 = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert policy[f"{tag}-src"] == f"'sha256-{sha256}'"
    assert policy["default-src"] == "'none'"
    assert policy["img-src"] == "data:"
    assert html.index("Content-Security-Policy") < html.index("<style>")


def test_the_table_tells_the_records_numbers(page: Path) -> None:
    record = json.loads((page.parent / "report.json").read_text(encoding="utf-8"))
    (table,) = tree(page).all("table", id="table-results")
    heads = [one.text for one in table.all("th", scope="col")]
    lines = [[one.text for one in row.all("th") + row.all("td")] for row in table.all("tr")[1:]]
    cells = [dict(zip(heads, line, strict=True)) for line in lines]
    assert len(cells) == len(record["rows"]) == 18
    for cell, row in zip(cells, record["rows"], strict=True):
        low, high = (percent(end, 1) for end in row["interval"])
        assert cell["Test top-1 % (95 % interval)"].endswith(f"{percent(row['top1'], 1)} ({low}–{high})")
        assert cell["Cold s"] == seconds(row["cold_seconds"])
        assert cell["Trainable / total"] == f"{count(row['trainable'])} / {count(row['total'])}"
        if row["over_probe"]:
            assert cell["Difference from the probe"].startswith(points(row["over_probe"]["top1"], 1))
    values = [
        one.facts["data-value"] for row in table.all("tr")[1:] for one in row.all("td") if "data-value" in one.facts
    ]
    exact = {repr(float(row[name])) for row in record["rows"] for name in ("top1", "cold_seconds")}
    assert exact <= set(values)


def test_the_first_screen_answers(page: Path) -> None:
    record = json.loads((page.parent / "report.json").read_text(encoding="utf-8"))
    root = tree(page)
    (headline,) = [one for one in root.all("p") if "headline" in one.classes]
    assert headline.text == record["verdict"][0]
    assert headline.text.startswith(f"Recommended: {record['recommendation']['recommended']['name']}, because ")
    for line in (*record["advice"], *record["recommendation"]["caveats"]):
        assert line in root.text
    (table,) = [one for one in root.all("table") if "summary" in one.classes]
    heads = [one.text for one in table.all("th", scope="col")]
    rows = [dict(zip(heads, cells(row), strict=True)) for row in table.all("tr")[1:]]
    assert 1 < len(rows) <= 4
    assert rows[0]["Role"].startswith("Recommended")
    assert [row["Difference from the probe"] for row in rows].count("reference") == 1
    best = max(record["rows"], key=lambda row: row["top1"])
    (highest,) = [row for row in rows if "highest on test" in row["Role"].lower()]
    low, high = (percent(end, 1) for end in best["interval"])
    assert highest["Test top-1 % (95 % interval)"] == f"{percent(best['top1'], 1)} ({low}–{high})"
    assert re.fullmatch(r"[+−]\d+\.\d \(.* to .*\), (not )?significant \(p .*\)", highest["Difference from the probe"])
    assert highest["Cold time, s"] == seconds(best["cold_seconds"])
    assert "n = 120 test images" in root.text


def cells(row: Element) -> list[str]:
    return [one.text.strip() for one in row.children if one.tag in ("th", "td")]


def test_one_net_needs_no_column_of_its_name() -> None:
    def heads(*scores: Score) -> list[str]:
        return [one.text for one in section(parsed(page_of(scores)), "results").all("th")]

    probe = make_score()
    assert "Backbone" not in heads(probe, make_score("knn"), replace(probe, views=4, key="f" * 64))
    assert "Backbone" in heads(probe, make_score("probe", "resnet18"))
    assert "Backbone" in heads(probe, make_score(tap="layer3"))


def test_leaked_images_are_reported_at_the_top() -> None:
    scores = [make_score(n_test=120), make_score("knn", n_test=120, accuracy=0.9)]
    root = parsed(page_of(scores, findings=make_doctor()))
    has = r"of mobilenet_v2 has \d\d\.\d %"
    leaked = r"\d+ test images are in train or val too, exactly or nearly; without them"
    assert re.search(rf"{leaked} k-NN {has} and linear probe \(exact\) {has}\.", root.text)


def test_images_that_merely_look_alike_are_not_called_duplicates() -> None:
    scores, doctor = [make_score(n_test=120)], make_doctor()
    few, many = (
        replace(doctor, duplicates=replace(doctor.duplicates, search=replace(doctor.duplicates.search, copied=copied)))
        for copied in (15, 16)  # of 1,500 images
    )
    assert "test images are in train or val too" in parsed(page_of(scores, findings=few)).text
    text = parsed(page_of(scores, findings=many)).text
    assert re.search(r"\d+ test images look like images of train or val\. They may be duplicates, or images of", text)
    assert "since 16 images have 10 such partners or more; without them linear probe" in text
    assert "3 of 500 test images (0.6 %) are in train or val too, or look like an image there: 1 as exact" in text


def test_leaks_are_reported_for_the_reference_probe() -> None:
    nets = [make_score("probe", name, n_test=120, val_top1=val) for name, val in (("resnet18", 0.9), ("vgg11", 0.8))]
    best = make_score("knn", "vgg11", n_test=120, accuracy=0.95, val_top1=0.5)
    root = parsed(page_of([*nets, best], findings=make_doctor()))
    assert re.search(r"without them k-NN of vgg11 has .* and linear probe \(exact\) of resnet18 has", root.text)


def test_the_page_is_listed_and_not_written_again(page: Path) -> None:
    files = json.loads((page.parent / "report.json").read_text(encoding="utf-8"))["files"]
    assert files["index.html"] == hashlib.sha256(page.read_bytes()).hexdigest()
    before = page.stat().st_mtime_ns
    assert full(page.parent).stat().st_mtime_ns == before


def rows_of(path: Path) -> int:
    tables = tree(path).all("table", id="table-results")
    return len(tables[0].all("tr")) - 1 if tables else 0


def taps() -> list[Score]:
    return [
        *make_scores(methods=("probe", "knn"), n_test=40),
        *make_scores(methods=("probe", "probe-sgd"), n_test=40, tap="layer3", views=2),
        *make_scores(methods=("finetune",), n_test=40),
    ]


@pytest.mark.parametrize(
    ("make", "rows"),
    slow_after(
        3,
        [
            (list, 0),
            (lambda: [make_score(n_test=40, path=(), class_names=TWO)], 1),
            (lambda: make_scores([f"net{i}" for i in range(12)], ("probe", "knn"), n_test=40), 24),
            (taps, 5),
            (
                lambda: make_scores(
                    methods=("probe", "finetune"), n_test=90, class_names=[f"class {i}" for i in range(45)]
                ),
                2,
            ),
            (lambda: [make_score("scratch", seed=0, n_test=30), make_score("knn", n_test=30)], 2),
        ],
    ),
    ids=["none", "one", "many nets", "taps", "many classes", "no probe"],
)
def test_any_table_makes_a_page(tmp_path: Path, make: Callable[[], list[Score]], rows: int) -> None:
    path = written(tmp_path, make(), [("probe of x", "probeline probe")])
    assert rows_of(path) == rows
    root = tree(path)
    ids = [one.facts["id"] for one in root.all("*") if "id" in one.facts]
    assert len(ids) == len(set(ids))
    assert "probeline probe" in root.text
    assert path.stat().st_size < 5_000_000
    if not rows:
        assert "Nothing has been scored yet" in root.text


def test_names_are_shown_as_they_are(tmp_path: Path) -> None:
    names = (HOSTILE, 'a" onload="x', "{{ 7 * 7 }}", "日本\x07")
    scores = make_scores((f"timm:{HOSTILE}",), ("probe", "knn", "finetune"), n_test=40, class_names=names)
    scores = [replace(score, dataset=f"folder:{HOSTILE}") for score in scores]
    path = written(tmp_path, scores, [(HOSTILE, f"probeline probe --data '{HOSTILE}'")])
    html = path.read_text(encoding="utf-8")
    root = parsed(html)
    assert len(root.all("script")) == 1
    assert HOSTILE not in html
    assert not [one for one in root.all("*") if "onload" in one.facts]
    assert "{{ 7 * 7 }}" in root.text
    heads = [one.text for one in root.all("th", scope="row")]
    assert HOSTILE in heads
    assert names[1] in heads


def test_confusions_are_counted() -> None:
    score = make_score(n_test=60, class_names=TWO)
    root = parsed(page_of([score]))
    (table,) = [one for one in root.all("table") if "matrix" in one.classes and "true / predicted" in one.text]
    cells = [re.match(r"[\d,]*", one.text)[0] for one in table.all("td")]  # type: ignore[index]
    pairs = list(zip(score.labels, score.predictions, strict=True))
    assert cells == [str(pairs.count((true, predicted)) or "") for true in range(2) for predicted in range(2)]


def test_disagreement_is_counted() -> None:
    a, b = make_score("probe", n_test=80, class_names=TWO), make_score("knn", accuracy=0.6, n_test=80, class_names=TWO)
    found = compare_predictions(a, b)
    right_a, right_b = (np.array(score.predictions) == np.array(score.labels) for score in (a, b))
    assert found.both == (right_a & right_b).sum()
    assert found.one == (right_a & ~right_b).sum()
    assert found.other == (~right_a & right_b).sum()
    assert found.neither == (~right_a & ~right_b).sum()
    assert sum(found.net.values()) == found.one - found.other == round(80 * (a.top1 - b.top1))
    assert count_unanimous([a, b]) == (found.both, found.neither)
    assert count_unanimous([a]) == (found.both + found.one, found.other + found.neither)


def test_rows_of_other_test_images_are_not_compared() -> None:
    scores = [make_score("probe", n_test=40), make_score("knn", n_test=40, draw=1)]
    sections = [one.facts.get("id") for one in parsed(page_of(scores)).all("section")]
    assert "disagreement" not in sections


def test_pictures_keep_their_bytes_where_there_is_room(page: Path) -> None:
    (image,) = section(tree(page), "pictures").all("img")
    kind, data = image.facts["src"].split(",", 1)
    assert kind == "data:image/png;base64"
    assert base64.b64decode(data) == (page.parent / PICTURE_FOLDER / "filters-mobilenet_v2.png").read_bytes()


def test_pictures_are_made_smaller_where_there_is_none(tmp_path: Path) -> None:
    noise = (picture(tmp_path, 400), (tmp_path / PICTURE_FOLDER / "filters-mobilenet_v2.png").read_bytes())[1]
    assert len(noise) > 400_000  # noise has no redundancy: three bytes a pixel
    kind, data, size = fit_picture(noise, 30_000)
    assert (kind, size) == ("webp", (400, 400))
    assert len(data) <= 30_000
    assert fit_picture(noise, 30_000)[1] == data
    assert fit_picture(noise, len(noise)) == ("png", noise, (400, 400))


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_can_be_read(theme: dict[str, str]) -> None:
    for ground in ("page", "ground"):
        for letters in ("ink", "muted", "accent"):
            assert contrast(theme[letters], theme[ground]) >= LETTER
    for one in METHODS:
        assert contrast(readable(one.colour, theme["ground"], MARK), theme["ground"]) >= MARK
        assert contrast(readable(one.colour, theme["ground"], LETTER), theme["ground"]) >= LETTER


def test_contrast_is_that_of_the_standard() -> None:
    # Black on white is 21 by definition; #767676 is the lightest grey with 4.5 on white.
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.005)
    assert contrast("#777777", "#ffffff") < 4.5


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_colours_of_methods_stay_distinct(theme: dict[str, str]) -> None:
    # One that is just noticed is 2.3 away (Sharma 2003); marks of a few pixels want several times that.
    names = [one.name for one in METHODS if one.name != "last-K"]
    colours = [method_info(name).colour for name in (*names, "last-1", "last-2", "last-3")]
    found = [cielab(readable(colour, theme["ground"], MARK)) for colour in colours]
    assert min(float(np.linalg.norm(a - b)) for a, b in combinations(found, 2)) > 7 * 2.3


def test_shades_can_be_read(page: Path) -> None:
    style = re.search(r"<style>(.*?)</style>", page.read_text(encoding="utf-8"), re.DOTALL)[1]  # type: ignore[index]
    for block in re.findall(r"\{([^{}]*--h1:[^{}]*)\}", style):
        facts = dict(part.split(":", 1) for part in block.split(";") if ":" in part)
        for level in range(1, LEVELS + 1):
            assert contrast(facts[f"--h{level}"], facts[f"--k{level}"]) >= LETTER


def test_every_class_of_colour_has_a_rule(page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    used = {name for one in parsed(html).all("*") for name in one.classes if re.fullmatch("[fst]-[0-9a-z]+", name)}
    assert f"f-{class_of_colour(METHODS[0].colour)}" in used
    for name in used:
        assert f".{name}{{" in html or f".{name}," in html, name


def test_templates_hold_no_number() -> None:
    folder = Path(render.__file__).parent / "templates"
    files = sorted(folder.rglob("*.html"))
    assert len(files) > 10
    for file in files:
        text = re.sub(r"<[^>]*>", " ", file.read_text(encoding="utf-8"))  # what is shown, with its expressions
        assert not re.search(r"\{\{[^}]*[-+*/%]\s*\d[^}]*\}\}", text), file
        assert not re.search(r"\d", re.sub(r"\{[{%].*?[%}]\}", "", text)), file


# Pictures side by side


def test_a_gallery_shows_errors_next_to_their_nearest_images(page: Path) -> None:
    found = section(tree(page), "galleries")
    (tile,) = [one for one in found.all("li") if one.all("img")]
    images = tile.all("img")
    assert [one.facts["alt"] for one in images] == [
        "Test image test/00003, dog, predicted bird, cat",
        "Near: train image train/00007",
    ]
    assert all(one.facts["src"].startswith("data:image/webp;base64,") for one in images)
    texts = [one.text for one in tile.all("p")]
    assert texts[:3] == [
        "dog, misclassified by 3 of 3 rows",
        "predicted: cat (2), bird (1)",
        "probe: cat 87.5\u00a0%, dog 6.2\u00a0%",
    ]
    assert texts[3:] == ["bird: knn", "cat: finetune; probe"]
    assert "cat 0.75" in tile.text


def test_no_chance_is_shown_that_is_not_known() -> None:
    image = replace(make_gallery().images[0], chance=None, true_chance=None)
    shown = make_gallery(images=(image,), thumbnails={name: thumbnail() for name in ("test:3", "train:7")})
    found = section(parsed(page_of(make_scores(n_test=60), galleries=[shown])), "galleries")
    assert "misclassified by 3 of 3 rows" in found.text
    assert "%" not in "".join(one.text for one in found.all("li"))


def test_a_page_holds_the_galleries_and_maps_of_three_nets(tmp_path: Path) -> None:
    small = {name: thumbnail() for name in ("test:3", "train:7")}
    nets = [f"net{i}" for i in range(5)]
    galleries = [make_gallery(backbone=net, thumbnails=small) for net in nets]
    maps = [make_map(backbone=net) for net in nets]
    root = tree(written(tmp_path, [make_score(n_test=60)], galleries=galleries, maps=maps))
    assert len(section(root, "galleries").all("h3")) == 3
    assert "More are in the records: gallery-net3.json, gallery-net4.json." in section(root, "galleries").text
    assert len(section(root, "maps").all("figure")) == 3
    assert "More are in the records: map-net3.json, map-net4.json." in section(root, "maps").text


def test_galleries_without_room_are_left_to_the_records() -> None:
    def page(*sizes: int) -> str:
        """Return the page of two galleries, each with a thumbnail that is so many bytes larger than the other ones."""
        small = thumbnail()
        galleries = [
            make_gallery(
                backbone=f"net{i}",
                thumbnails={"test:3": replace(small, webp=small.webp + "A" * size), "train:7": small},
            )
            for i, size in enumerate(sizes)
        ]
        return page_of([make_score(n_test=60)], galleries=galleries)

    room = render.MAX_BYTES - len(page(0, 0).encode())
    for sizes, shown in (((0, room), 2), ((0, room + 1), 1), ((render.MAX_BYTES, 0), 0)):
        html = page(*sizes)
        assert len(html.encode()) <= render.MAX_BYTES
        found = section(parsed(html), "galleries")
        assert len(found.all("h3")) == shown
        left = ", ".join(f"gallery-net{i}.json" for i in range(shown, 2))
        assert (f"More are in the records: {left}." in found.text) == bool(left)


def test_findings_of_the_doctor_are_shown_and_tabled(page: Path) -> None:
    found = section(tree(page), "doctor")
    titles = [one.text for one in found.all("h3")]
    assert titles == ["Accuracy without leaked images", "Duplicates", "Suspect labels", "Outliers"]
    alts = [one.facts["alt"] for one in found.all("img")]
    assert alts == [
        "train image train/00007, ant",
        "test image test/00003, ant",
        "train image train/00009, ant",
        "test image test/00005, bee",
        "val image train/00011, c*t",
        "test image test/00002, bee",
    ]
    texts = [one.text for one in found.all("p")]
    assert {"ant ≠ bee", "near, score 0.864", "c*t; rather bee?", "val, score 0.898", "test, distance 0.930"} <= set(
        texts
    )
    assert "3 of 120 test images (2.5 %) are in train or val too" in found.text


def test_findings_without_a_thumbnail_stand_in_the_table_alone() -> None:
    doctor = replace(make_doctor(n_test=60), thumbnails={})
    found = section(parsed(page_of(make_scores(n_test=60), findings=doctor)), "doctor")
    assert not found.all("img")
    assert "train/00007" in found.text
