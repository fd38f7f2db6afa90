"""Pages of reports for tests: written from records, and read back as elements and tables."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from made_quality import make_alignment, make_quality
from made_records import make_curve, make_doctor, make_gallery, make_map
from made_scores import make_scores
from probeline.data.pixels.tiles import encode_webp
from probeline.disk import make_folder
from probeline.report import write
from probeline.report.model.content import NotRun, ReportContent
from probeline.report.model.rows import blocks
from probeline.report.page.render import render
from probeline.report.sections.registry import SECTIONS
from probeline.report.write import Report, markdown
from probeline.results.illustrations.picture import PICTURE_FOLDER, PICTURES, Picture, Thumbnail
from probeline.results.score import Score

VOID = {"meta", "link", "img", "input", "br", "hr"}


@dataclass
class Element:
    """An element of a page, with all text within it."""

    tag: str
    facts: dict[str, str]
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def all(self, tag: str, **facts: str) -> list[Element]:
        """Return the elements within of a tag, and of attributes."""
        found = []
        for child in self.children:
            if tag in ("*", child.tag) and all(child.facts.get(name) == value for name, value in facts.items()):
                found.append(child)
            found += child.all(tag, **facts)
        return found

    @property
    def classes(self) -> list[str]:
        return self.facts.get("class", "").split()


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.root = Element("", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"an attribute of {tag} stands twice: {names}"
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"{tag} ends where {self.open[-1].tag} is open"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element.text += data


def parsed(html: str) -> Element:
    """Return a page as a tree; every element ends where it should."""
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == [reader.root]
    return reader.root


def make_content(
    scores: Sequence[Score] = (), not_run: Sequence[tuple[str, str]] = (), **records: Any
) -> ReportContent:
    """Return the content of a report of scores and records."""
    return ReportContent(blocks=blocks(scores), not_run=[NotRun(*pair) for pair in not_run], **records)


def markdown_of(content: ReportContent) -> str:
    return markdown(content, SECTIONS)


def record_of(content: ReportContent) -> dict[str, Any]:
    """Return the members of report.json that sections make, as they are read back."""
    members = {name: value for section in SECTIONS for name, value in section.record(content).items()}
    record: dict[str, Any] = json.loads(json.dumps(members, allow_nan=False))
    return record


def write_report(
    folder: Path, scores: Sequence[Score] = (), not_run: Sequence[tuple[str, str]] = (), **records: Any
) -> Report:
    """Write a report with its figures."""
    conditions = {"more_conditions": {"Embeddings": ["cache/a"]}, **records}
    return write.write_report(make_content(scores, not_run, folder=folder, **conditions))


def page_of(scores: Sequence[Score] = (), not_run: Sequence[tuple[str, str]] = (), **records: Any) -> str:
    """Return the page of a report, without its figures, which take longer than all else."""
    return render(make_content(scores, not_run, **records), SECTIONS).decode()


def written(folder: Path, scores: Sequence[Score], not_run: Sequence[tuple[str, str]] = (), **records: Any) -> Path:
    """Write a report and return its page's path; no PNG file is drawn, which takes longer than all else."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("probeline.report.figures.png", lambda figure: b"none")
        return write_report(folder, scores, not_run, **records).page


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def table(text: str, number: int = 0) -> list[dict[str, str]]:
    """Return the lines of one of the tables, each with its cells by their column's head."""
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    head, rule, *body = tables[number].splitlines()
    assert {len(line) for line in (head, rule, *body)} == {len(head)}, "the columns are aligned"
    assert all(re.fullmatch(r":-+|-+:", cell) for cell in cells(rule))
    return [dict(zip(cells(head), cells(line), strict=True)) for line in body]


TWO = ("ants", "bees")
EXAMINED = ("train:7", "test:3", "train:9", "test:5", "train:11", "test:2")


def full(folder: Path) -> Path:
    """Write the page of a table that has all sections but range tests, latency and published numbers."""
    scores = make_scores(("mobilenet_v2", "resnet18"), seeds=2, n_test=120, class_names=TWO)
    return written(
        folder,
        scores,
        [("fine-tune of vgg11", "probeline finetune --backbone vgg11")],
        curves=[make_curve()],
        pictures=[picture(folder)],
        galleries=[make_gallery(thumbnails={name: thumbnail() for name in ("test:3", "train:7")})],
        maps=[make_map()],
        findings=replace(make_doctor(n_test=120), thumbnails={name: thumbnail() for name in EXAMINED}),
        qualities=[make_quality(), make_quality("resnet18")],
        alignment=make_alignment(),
        commands={scores[0].key: "probeline probe"},
    )


def thumbnail() -> Thumbnail:
    data = encode_webp(Image.new("RGB", (96, 72), (90, 120, 40)), 80)
    return Thumbnail(96, 72, base64.b64encode(data).decode("ascii"))


def picture(folder: Path, side: int = 40) -> Picture:
    pixels = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    make_folder(folder / PICTURE_FOLDER)
    path = folder / PICTURE_FOLDER / "filters-mobilenet_v2.png"
    Image.fromarray(pixels).save(path)
    data = path.read_bytes()
    found = Picture(
        "filters", "mobilenet_v2", "none", {}, "Filters", "What it is", "Many squares", hashlib.sha256(data).hexdigest()
    )
    PICTURES.save(folder, found, data)
    return found
