"""A data set of hostile names through the command line: what each verb shows and writes neither acts nor hides."""

from __future__ import annotations

import csv
import io
import json
import shutil
import unicodedata
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from probeline.backbones import torchvision_import as vision
from probeline.cli import program as cli
from probeline.identity import seal
from probeline.text import printable

pytestmark = pytest.mark.usefixtures("one_thread", "undrawn")

CLASSES = ("=1+1", "b\u202ex", "c\nforged: line", "\x1b]0;title\x07", "日本\u200b")
FILES = ("=cmd|.png", "a\x07b.png", "l\u2028s.png", "'=q.png", "-1.png", "t\tt.png", "é.png", "7.png", "8.png")
FOLDER, WEIGHTS = "d\x1b[31mR\u202eED", "w\x1b[1m\u2066.pth"


@dataclass(frozen=True)
class Shown:
    """What a command printed."""

    code: int
    out: str
    err: str


Run = Callable[..., Shown]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set and a weights file of hostile names."""
    place = tmp_path_factory.mktemp("hostile")
    rng = np.random.default_rng(0)
    for channel, name in enumerate(CLASSES):
        (place / FOLDER / name).mkdir(parents=True)
        for file in FILES:
            pixels = rng.integers(0, 90, (24, 24, 3), dtype=np.uint8)
            pixels[..., channel % 3] += 40 * channel
            Image.fromarray(pixels).save(place / FOLDER / name / file)
    (place / FOLDER / CLASSES[0] / "no\x1b.png").write_bytes(b"no image")
    torch.save(vision.models().squeezenet1_1(weights=None).state_dict(), place / WEIGHTS)
    return place


@pytest.fixture
def run(hostile: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """A function that runs a command in that folder, and checks what it prints."""
    monkeypatch.chdir(hostile)

    def run(*words: str, data: bool = True) -> Shown:
        given = [f"--dataset=folder:{FOLDER}", "--cache=c", "--reports=r"] if data else []
        net = ["--backbone=squeezenet1_1", f"--weights={WEIGHTS}", "--image-size=32"] if data else []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of scikit-learn, about few rows
            code = cli.main([*words, *given, *net])
        shown = Shown(code, *capsys.readouterr())
        assert not acting(shown.out), words
        assert not acting(shown.err), words
        assert not [line for line in (shown.out + shown.err).splitlines() if line.startswith("forged")]
        return shown

    return run


def acting(text: str) -> list[str]:
    """Return the characters of some lines that act or cannot be seen, apart from their ends."""
    kinds = ("Cc", "Cf", "Cs", "Zl", "Zp")
    return [ascii(letter) for letter in text if letter != "\n" and unicodedata.category(letter) in kinds]


def rows(path: Path) -> list[list[str]]:
    """Return the rows of a CSV file none of whose cells acts, hides or is a formula."""
    text = path.read_text(encoding="utf-8")
    assert not acting(text)
    found = list(csv.reader(io.StringIO(text), strict=True))
    cells = [cell for row in found for cell in row if cell.startswith(("=", "+", "-", "@"))]
    assert all(float(cell) for cell in cells)
    return found


def test_what_verbs_print_and_write(hostile: Path, run: Run) -> None:
    for verb in ("extract", "probe", "doctor", "compare", "explain", "verify"):
        assert run(verb).code == 0, verb
    assert r"b\u202ex" in run("show", "all:0", "all:9", "all:20").out
    assert r"\x1b[31mR\u202eED" in run("cache", "ls", "--cache=c", data=False).out
    run("cache", "gc", "--cache=c", data=False)
    folder = next((hostile / "r").iterdir())
    for name in ("report.md", "index.html", "report.json"):
        text = (folder / name).read_text(encoding="utf-8")
        assert not acting(text)
        assert "u202e" in text
    assert len(rows(folder / "report.csv")) > 1
    assert rows(folder / "unreadable.csv")[1][:1] == [r"'=1+1/no\x1b.png"]


def test_columns_that_were_written_are_read_again(hostile: Path, run: Run) -> None:
    assert run("features", "--out=f.npy").code == 0
    header, *body = rows(hostile / "f.csv")
    assert {row[header.index("label")] for row in body} == {"'=1+1", *map(printable, CLASSES[1:])}
    assert run("compare", "--add=f.csv").code == 0, "predictions of hostile classes, joined by hostile sample ids"
    # The classes of the file are what it shows; each image is found.
    assert run("probe", "--labels=f.csv").code == 0


def test_predictions_and_the_card(hostile: Path, run: Run) -> None:
    shutil.copytree(hostile / FOLDER, hostile / "e\u2067", ignore=lambda _, names: set(names) & set(CLASSES[2:4]))
    data = ("--dataset=folder:e\u2067", "--backbone=squeezenet1_1", "--weights=none", "--image-size=32", "--cache=c")
    assert run("probe", *data, "--reports=r", data=False).code == 0
    assert run("export", *data, "--reports=r", "--method=probe", "--out=a", data=False).code == 0
    card = (hostile / "a" / "README.md").read_text(encoding="utf-8")
    assert not acting(card)
    assert r"b\\u202ex" in card
    images = sorted(str(path) for path in Path(FOLDER).rglob("*.png") if "no" not in path.name)
    assert len(run("predict", *images, "--artifact=a", data=False).out.splitlines()) == len(images) + 1
    table = run("predict", *images, "--artifact=a", "--format=csv", data=False).out
    assert [row[0] for row in csv.reader(io.StringIO(table))][1:] == list(map(printable, images))
    lines = run("predict", *images, "--artifact=a", "--format=jsonl", data=False).out.splitlines()
    assert [json.loads(line)["image"] for line in lines] == images, "JSON has the names themselves"
    assert {json.loads(line)["class"] for line in lines} <= set(CLASSES)
    found = run("predict", "no\x1bfile.png", "--artifact=a", data=False)
    assert found.err.startswith(r"probeline: image cannot be read: no\x1bfile.png")


def test_records_and_tensors_of_others(hostile: Path, run: Run) -> None:
    (hostile / "forged").mkdir()
    (hostile / "forged" / "artifact.json").write_bytes(seal({"format": "\x1b]0;title\x07\u202e"}))
    assert r"\x1b]0;title\x07\u202e" in run("predict", "x.png", "--artifact=forged", data=False).err
    state = vision.models().squeezenet1_1(weights=None).state_dict()
    torch.save({**state, "\x1b[31m\u202e": torch.zeros(1)}, hostile / "more.pth")
    data = (f"--dataset=folder:{FOLDER}", "--backbone=squeezenet1_1", "--cache=c", "--reports=r")
    assert r"\x1b[31m\u202e" in run("extract", *data, "--weights=more.pth", data=False).out


@pytest.mark.parametrize("text", ["x" * 5000, "a/" * 2500, "a\0b"], ids=["long", "deep", "NUL"])
def test_names_that_no_file_can_have_are_one_short_line(text: str, run: Run) -> None:
    few = ("--limit=20", "--weights=none", "--cache=c", "--reports=r")
    for words in (
        ("extract", f"--dataset=folder:{text}", "--backbone=squeezenet1_1", *few),
        ("extract", f"--dataset=table:{text}.csv", "--backbone=squeezenet1_1", *few),
        ("extract", f"--dataset={text}", "--backbone=squeezenet1_1", *few),
        ("extract", "--dataset=digits", f"--backbone={text}", *few),
        ("extract", "--dataset=digits", f"--backbone=python:{text}.py:f", *few),
        ("extract", "--dataset=digits", "--backbone=squeezenet1_1", f"--weights={text}.pth"),
        ("extract", "--dataset=digits", "--backbone=squeezenet1_1", "--limit=40", f"--cache={text}", "--weights=none"),
        ("probe", "--dataset=digits", "--backbone=squeezenet1_1", f"--labels={text}", *few),
        ("predict", "x.png", f"--artifact={text}"),
        ("predict", text, "--imagenet", "--backbone=squeezenet1_1"),
        ("extract", f"--recipe={text}.toml"),
        ("cache", "rm", text),
        ("cache", "import", text),
        (text,),
    ):
        shown = run(*words, data=False)
        assert (shown.code, shown.out) == (2, ""), words
        (line,) = shown.err.splitlines()
        assert line.startswith("probeline: ")
        assert len(line) < 1600, "what is wrong, at most 1,000 characters of the name, and what to do"
