"""Similar: the nearest cached images to rows and to new images, as lines, as JSON and as one sheet of pictures."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.spatial.distance import cdist

from probeline.analysis.similar import index
from probeline.cli import program as cli
from probeline.commands import extract, similar
from probeline.errors import BadData, BadOption, MissingData, MissingExtra, UnknownName
from probeline.report.figures.pictures import SIMILAR
from probeline.session import Session
from small_runs import Listening, configuration, extracted, make_photos

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A folder of 40 photos of two classes, extracted: the options of its run."""
    root = tmp_path_factory.mktemp("similar")
    options = {"dataset": f"folder:{make_photos(root / 'toy', n=20)}", "limit": None, "reports": root / "reports"}
    extracted(root / "cache", **options)
    return {"cache": root / "cache", **options}


def ask(run: dict[str, Any], *words: str, **options: Any) -> tuple[list[dict[str, Any]], list[str]]:
    console = Listening()
    session = Session(configuration(**{**run, **options}, words=words, console=console))
    return similar.run(session), console.said


def cached(run: dict[str, Any]) -> np.ndarray:
    session = Session(configuration(**run))
    return session.features(session.backbone("squeezenet1_1")[0], "all").features.astype(np.float64)


def root_of(run: dict[str, Any]) -> Path:
    return Path(run["dataset"].removeprefix("folder:"))


def test_a_rows_nearest_are_those_of_all_distances_without_itself(run: dict[str, Any]) -> None:
    told, said = ask(run, "7", "all:30", count=5)
    X = cached(run)
    for row, one in zip((7, 30), told, strict=True):
        distances = cdist(X[[row]], X, "cosine")[0]
        distances[row] = np.inf
        assert [image["row"] for image in one["similar"]] == np.argsort(distances)[:5].tolist()
        assert [image["distance"] for image in one["similar"]] == pytest.approx(np.sort(distances)[:5], abs=1e-12)
        assert [image["rank"] for image in one["similar"]] == [1, 2, 3, 4, 5]
        assert one["query"] == f"all:{row}"
        assert one["images"] == 40
    assert said[0] == "similar to all:7:"
    splits = Session(configuration(**run)).splits
    roles = {row: split.role for split in (splits.train, splits.val, splits.test) for row in split.rows.tolist()}
    for image in told[0]["similar"]:
        assert image["role"] == roles[image["row"]]
        assert image["class"] == ("ants" if image["row"] < 20 else "bees")
        assert image["sample_id"] == f"{image['class']}/{sorted(map(str, range(20)))[image['row'] % 20]}.jpg"


def test_a_new_image_goes_through_the_preprocessing_of_the_cache(run: dict[str, Any], tmp_path: Path) -> None:
    source = root_of(run) / "bees" / "3.jpg"
    copy = tmp_path / "elsewhere.bin"  # an image by its bytes, whatever its name
    copy.write_bytes(source.read_bytes())
    ((one,), _) = ask(run, str(copy), count=3)
    assert one["similar"][0]["sample_id"] == "bees/3.jpg"
    assert one["similar"][0]["distance"] < 1e-10
    assert one["query"] == str(copy)
    # What is nearest then is what is nearest to that row.
    row = one["similar"][0]["row"]
    ((by_row,), _) = ask(run, str(row), count=2)
    assert [image["row"] for image in one["similar"][1:]] == [image["row"] for image in by_row["similar"]]


def test_other_pixels_have_another_distance(run: dict[str, Any], tmp_path: Path) -> None:
    pixels = np.random.default_rng(5).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "noise.png")
    ((one,), _) = ask(run, str(tmp_path / "noise.png"), count=40)
    distances = [image["distance"] for image in one["similar"]]
    assert distances == sorted(distances)
    assert distances[0] > 1e-6


def test_nothing_cached_is_one_line_with_the_command(run: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(MissingData, match=r"not extracted yet.*run: probeline extract .*") as refusal:
        ask(run, "3", cache=tmp_path / "none")
    assert "\n" not in str(refusal.value)


def test_other_weights_are_not_found(run: dict[str, Any], tmp_path: Path) -> None:
    import torch

    from probeline.backbones.build import random_net

    torch.save(random_net("squeezenet1_1", 5).state_dict(), tmp_path / "other.pth")
    with pytest.raises(MissingData, match="not extracted yet"):
        ask(run, "3", weights=str(tmp_path / "other.pth"))


@pytest.mark.parametrize(
    ("word", "error", "message"),
    [
        ("99", BadOption, "no such row"),
        ("other:3", BadData, "image cannot be read"),
        ("nix.jpg", BadData, "No such file"),
        (".", BadOption, "not folders"),
    ],
)
def test_words_that_are_neither_row_nor_image_are_refused(
    run: dict[str, Any], word: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        ask(run, word)


def test_a_file_that_is_no_image_is_refused(run: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("no image")
    with pytest.raises(BadData, match="cannot be read"):
        ask(run, str(tmp_path / "text.jpg"))


@pytest.mark.parametrize("options", [{"backbones": ("squeezenet1_1", "resnet18")}, {"taps": ("penultimate", "layer3")}])
def test_one_backbone_and_one_tap_at_a_time(run: dict[str, Any], options: dict[str, Any]) -> None:
    with pytest.raises((BadOption, UnknownName)):
        ask(run, "3", **options)


def test_the_lines_are_a_table_csv_or_json(run: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        *("similar", "3", "4", "--dataset", run["dataset"], "--backbone", "squeezenet1_1", "--weights", "none"),
        *("--image-size", "32", "--cache", str(run["cache"]), "--reports", str(run["reports"]), "--count", "2"),
    ]
    assert cli.main([*words, "--format", "csv"]) == 0
    streams = capsys.readouterr()
    lines = list(csv.DictReader(io.StringIO(streams.out)))
    assert [(line["query"], line["rank"]) for line in lines] == [
        ("all:3", "1"),
        ("all:3", "2"),
        ("all:4", "1"),
        ("all:4", "2"),
    ]
    assert "the pictures are in" in streams.err, "nothing but CSV is on standard output"
    assert cli.main([*words, "--format", "jsonl"]) == 0
    objects = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [one["query"] for one in objects] == ["all:3", "all:4"]
    assert [str(image["row"]) for one in objects for image in one["similar"]] == [line["row"] for line in lines]
    assert cli.main([*words, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["similar"]
    assert [one["similar"] for one in told] == [one["similar"] for one in objects]
    assert cli.main(words) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0] == "similar to all:3:"
    assert table[1].split()[0] == "1"
    assert table[1].split()[-1] == told[0]["similar"][0]["sample_id"]


def test_rows_are_searched_without_torch(run: dict[str, Any]) -> None:
    program = (
        "import sys\nfrom probeline.cli.program import main\ncode = main(sys.argv[1:])\n"
        "assert 'torch' not in sys.modules\nsys.exit(code)"
    )
    words = [
        *("similar", "3", "--dataset", run["dataset"], "--backbone", "squeezenet1_1", "--weights", "none"),
        *("--image-size", "32", "--cache", str(run["cache"]), "--reports", str(run["reports"])),
    ]
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_sheet_has_each_query_and_its_images(run: dict[str, Any], tmp_path: Path) -> None:
    told, said = ask(run, "3", str(root_of(run) / "ants" / "1.jpg"), count=SIMILAR, out=tmp_path / "new" / "sheet.png")
    path = Path(told[0]["sheet"])
    assert path == tmp_path / "new" / "sheet.png"
    assert any(str(path) in line for line in said)
    with Image.open(path) as sheet:
        pixels = np.asarray(sheet.convert("RGB")).astype(int)
    # Two queries of two lines each: the coloured photos are four bands, of which the second begins to the right.
    colourful = (pixels.max(axis=2) - pixels.min(axis=2) > 40).mean(axis=1) > 0.02
    bands = int((np.diff(colourful.astype(int)) == 1).sum())
    assert bands == 4
    before = path.read_bytes()
    ask(run, "3", str(root_of(run) / "ants" / "1.jpg"), count=SIMILAR, out=path)
    assert path.read_bytes() == before


def test_by_default_the_sheet_is_below_the_report_and_has_a_name_of_its_own(run: dict[str, Any]) -> None:
    sheets = {told[0]["sheet"] for told, _ in (ask(run, "3"), ask(run, "4"), ask(run, "3"))}
    assert len(sheets) == 2
    assert {Path(sheet).parent for sheet in sheets} == {run["reports"] / "folder--toy" / "similar"}


def test_many_queries_are_drawn_as_far_as_there_is_room(run: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("probeline.report.similar_sheet._DRAWN", 12)
    told, said = ask(run, *map(str, range(9)), count=3)
    assert len(told) == 9
    assert any("of the first 3 of 9 queries" in line for line in said)


def test_a_sheet_that_is_no_png_is_refused_before_anything_is_read(run: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(BadOption, match="PNG"):
        ask(run, "3", out=tmp_path / "sheet.jpg", cache=tmp_path / "none")


def test_names_that_the_font_lacks_are_drawn_as_numbers(tmp_path: Path) -> None:
    options = {"dataset": f"folder:{make_photos(tmp_path / 'toy', ('蜂', 'ants'), n=8)}", "limit": None}
    extracted(tmp_path / "cache", **options)
    copy = tmp_path / "蜂.jpg"
    copy.write_bytes((tmp_path / "toy" / "ants" / "1.jpg").read_bytes())
    told, said = ask({"cache": tmp_path / "cache", **options}, str(copy), "3")
    assert "蜂" in {image["class"] for image in told[0]["similar"]}
    assert any("蜂" in line for line in said)


def test_images_without_labels_are_searched_too(tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "toy", ("a",), n=8)
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in sorted((photos / "a").iterdir()):
        (flat / path.name).write_bytes(path.read_bytes())
    options = {"dataset": f"folder:{flat}", "limit": None}
    session = Session(configuration(tmp_path / "cache", **options))
    extract.run(session)
    ((one,), _) = ask({"cache": tmp_path / "cache", **options}, "2", count=3)
    assert [image["class"] for image in one["similar"]] == [None] * 3
    assert [image["role"] for image in one["similar"]] == [None] * 3


def test_embeddings_from_elsewhere_have_rows_and_no_images(tmp_path: Path) -> None:
    X = np.random.default_rng(0).normal(size=(60, 6)).astype(np.float32)
    np.savez(tmp_path / "own.npz", embedding=X, label=np.array(list("ab") * 30))
    words = ["--dataset", f"features:{tmp_path / 'own.npz'}", "--reports", str(tmp_path / "reports")]
    assert cli.main(["similar", "5", *words, "--json"]) == 0
    assert cli.main(["similar", "picture.jpg", *words]) == 2


def test_without_faiss_an_approximate_search_names_the_extra(
    run: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    with pytest.raises(MissingExtra, match=r"probeline\[search\]"):
        ask(run, "3", approximate=True)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_approximate_search_finds_nearly_all_with_exact_distances() -> None:
    pytest.importorskip("faiss")
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(30, 32))
    X = (centres[rng.integers(0, 30, 4000)] + 0.4 * rng.normal(size=(4000, 32))).astype(np.float32)
    blocks = [X[:1500], X[1500:]]
    approximate = index.ApproximateIndex(blocks)
    queries = rng.choice(4000, 100, replace=False).tolist()
    exact = index_of_all(X, queries)
    hits = 0
    for row, expected in zip(queries, exact, strict=True):
        found = approximate.nearest(X[row], 10, row)
        assert row not in found.rows
        assert len(found.rows) == 10
        distances = cdist(X[[row]].astype(np.float64), X[found.rows].astype(np.float64), "cosine")[0]
        np.testing.assert_allclose(found.distances, distances, atol=1e-12)
        hits += len(set(found.rows.tolist()) & set(expected))
    # An eighth of the lists holds most neighbours of clustered rows: far above what chance gives.
    assert hits / 1000 > 0.9


def index_of_all(X: np.ndarray, queries: list[int]) -> list[list[int]]:
    distances = cdist(X[queries].astype(np.float64), X.astype(np.float64), "cosine")
    distances[np.arange(len(queries)), queries] = np.inf
    return np.argsort(distances, axis=1)[:, :10].tolist()


@pytest.mark.parametrize(
    ("task", "column", "pattern"),
    [("multi-label", "tags", r"red|big|big, red|None"), ("regression", "age", r"age -?\d.*")],
)
def test_several_labels_and_numbers_are_shown_and_measured_without_classes(
    task: str, column: str, pattern: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    X = np.random.default_rng(0).normal(size=(90, 5)).astype(np.float32)
    np.savez(tmp_path / "own.npz", X=X)
    names = ["red|big", "red", "big", "|"]
    lines = [f"all/{row:07d},{names[row % 4]},{row / 7:.3f}" for row in range(90)]
    (tmp_path / "targets.csv").write_text("\n".join(["sample_id,tags,age", *lines]) + "\n")
    words = [
        *("--dataset", f"features:{tmp_path / 'own.npz'}", "--labels", str(tmp_path / "targets.csv"), "--task", task),
        *("--columns", f"label={column}", "--reports", str(tmp_path / "reports"), "--json"),
    ]
    assert cli.main(["similar", "5", *words, "--count", "20"]) == 0
    ((told,),) = json.loads(capsys.readouterr().out).values()
    assert len(told["similar"]) == 20
    assert all(re.fullmatch(pattern, str(image["class"])) for image in told["similar"])
    assert len({image["class"] for image in told["similar"]}) > 1
    assert cli.main(["quality", *words]) == 0
    ((measured,),) = json.loads(capsys.readouterr().out).values()
    assert measured["predictors"].keys() == {"effective_rank", "rankme", "two_nn"}
    assert measured["spectrum"]["n"] < 90, "the train images alone"
