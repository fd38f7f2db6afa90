"""The pictures stage: what it draws, what it keeps, and which pictures compare shows."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from threadpoolctl import threadpool_limits
from torch import nn

from made_scores import judged, make_score
from probeline.backbones.first_conv import first_layer
from probeline.backbones.frozen import Normalize
from probeline.backbones.source import CLASSIC
from probeline.backbones.weights.wheel import WHEELS
from probeline.cli import program as cli
from probeline.cli.parser import build_parser
from probeline.commands import baselines, compare, pictures
from probeline.data.pixels.decode import resize_crop
from probeline.data.pixels.loading import open_image
from probeline.data.pixels.tiles import tile
from probeline.errors import BadOption, UnknownName
from probeline.identity import HEADS_VERSION, digest_bytes, unseal
from probeline.images import Preprocess
from probeline.report.figures import pictures as figures
from probeline.report.figures.sheet import Sheet
from probeline.results.illustrations.picture import MAX_ERRORS, PICTURES, Misclassification, Picture
from probeline.results.ranking import best_by_validation
from probeline.results.score import SCORES, Score
from probeline.session import Session
from small_runs import Listening, configuration, extracted, make_photos
from variants import slow_after

NET = "squeezenet1_1"
KINDS = ("anatomy", "filters", "histogram", "input", "mistakes")
FILES = [f"{kind}-{NET}.{suffix}" for kind in KINDS for suffix in ("json", "png")]

pytestmark = pytest.mark.usefixtures("one_thread")


def options(root: Path) -> dict[str, Any]:
    return {"dataset": f"folder:{root / 'photos'}", "limit": None}


def inputs_of(root: Path, **changes: Any) -> tuple[Session, Listening]:
    console = Listening()
    return Session(configuration(root / "cache", console=console, **{**options(root), **changes})), console


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of photos with embeddings, scores and pictures; leave it as it is."""
    root = tmp_path_factory.mktemp("pictures")
    for photo in make_photos(root / "photos", n=15).rglob("*.jpg"):
        os.utime(
            photo, (1_000_000_000, 1_000_000_000)
        )  # the hash of a file that has just been written is not remembered
    with threadpool_limits(1):
        extracted(root / "cache", **options(root))
        baselines.run(inputs_of(root)[0])
        pictures.run(inputs_of(root)[0])
    return root


@pytest.fixture
def world(finished: Path, tmp_path: Path) -> Path:
    """A copy of it to change; the photos are where they were."""
    shutil.copytree(finished / "reports", tmp_path / "reports")
    shutil.copytree(finished / "cache", tmp_path / "cache")
    (tmp_path / "photos").symlink_to(finished / "photos")
    return tmp_path


def scores_of(session: Session) -> list[Score]:
    return SCORES.load(session.reports)[0]


def picture(session: Session, kind: Any) -> Picture:
    found = PICTURES.find(session.reports, kind, NET)
    assert isinstance(found, Picture)
    return found


def state(folder: Path) -> dict[str, tuple[int, int]]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): (path.stat().st_mtime_ns, path.stat().st_ino) for path in files}


# What is written


def test_pictures_are_written_each_with_a_sealed_record(finished: Path) -> None:
    session, _ = inputs_of(finished)
    assert sorted(path.name for path in (session.reports / "pictures").iterdir()) == FILES
    found, ignored = PICTURES.load(session.reports)
    assert [one.kind for one in found] == ["anatomy", "filters", "input", "histogram", "mistakes"]
    assert ignored == []
    for one in found:
        png = ((session.reports / "pictures") / one.png).read_bytes()
        assert png.startswith(b"\x89PNG")
        assert one.sha256 == digest_bytes(png)
        record = unseal(((session.reports / "pictures") / one.png).with_suffix(".json").read_bytes())
        assert record is not None
        assert record["picture"]["caption"] == one.caption
    _, filters, given, _, mistakes = found
    assert (filters.backbone, filters.weights) == (NET, "none")
    assert "all 64 kernels of features.0, 3 x 3 pixels" in filters.caption
    assert filters.title == f"First-layer filters of {NET}: 64 of 64"
    part = session.dataset.parts["all"]
    row = int(session.splits.train.rows[0])
    assert given.caption.startswith(
        f"all:{row}, {part.sample_ids[row]}, of class ants. Left: original, 50 x 40 pixels."
    )
    assert "within" in given.caption
    assert mistakes.of["wrong"] == len(mistakes.of["images"])


SECOND = """
import sys
from probeline.cli.program import main
*words, file = sys.argv[1:]
assert main(["pictures", *words]) == 0
assert main(["compare", *words[:-4]]) == 0
assert main(["pictures", *words, "--reports", file]) == 2
heavy = {"torch", "torchvision", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
"""

AGAIN = """
import sys
from probeline.cli.program import main
assert main(["pictures", *sys.argv[1:]]) == 0
heavy = {"torch", "torchvision", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_a_second_run_imports_no_torch_and_writes_nothing(world: Path) -> None:
    """Nor does a run whose pictures cannot be written, which is reported before anything is drawn."""
    compare.run(inputs_of(world, batch_size=None, workers=None)[0])
    (world / "file").touch()
    before = state(world)
    words = f"--dataset folder:{world}/photos --backbone {NET} --weights none --image-size 32"
    folders = [f"--cache={world}/cache", f"--reports={world}/reports"]
    command = [*words.split(), *folders, "--batch-size", "6", "--workers", "2"]
    program = [sys.executable, "-c", SECOND, *command, str(world / "file")]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"cannot write: {world}/file" in done.stderr
    assert done.stdout.count("is up to date, skipped") == 5
    assert "the report is up to date" in done.stdout
    assert state(world) == before


@pytest.mark.parametrize("suffix", ["png", "json"])
@pytest.mark.parametrize("kind", slow_after(2, ["anatomy", "filters", "input", "histogram", "mistakes"]))
def test_what_is_damaged_is_made_again(kind: Any, suffix: str, world: Path) -> None:
    session, console = inputs_of(world)
    path = (session.reports / "pictures") / f"{kind}-{NET}.{suffix}"
    data = path.read_bytes()
    path.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])
    # A picture of a net that was drawn before needs neither the net nor its scores to be seen as damaged.
    _, (ignored,) = PICTURES.load(session.reports)
    assert ignored.path == path
    assert ignored.reason.startswith("is damaged")
    pictures.run(session)
    assert path.read_bytes() == data
    (told,) = [line for line in console.said if "recomputed" in line]
    assert f"recomputed, as {path.name} is damaged" in told
    assert sum("up to date" in line for line in console.said) == 4


def test_a_picture_without_its_png_is_made_again(world: Path) -> None:
    session, console = inputs_of(world)
    ((session.reports / "pictures") / f"input-{NET}.png").unlink()
    pictures.run(session)
    assert ((session.reports / "pictures") / f"input-{NET}.png").exists()
    assert any("cannot be read: No such file or directory" in line for line in console.said)


# The filters


class Backwards(nn.Module):
    """A net whose modules run in another order than they are kept in."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 2)
        self.second = nn.Conv2d(6, 4, 3)
        self.first = nn.Conv2d(3, 6, 5)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        values: torch.Tensor = self.head(self.second(self.first(images)).mean((2, 3)))
        return values


def test_the_first_layer_is_the_one_that_runs_first() -> None:
    net = Backwards().eval()
    layer = first_layer(net, 16)
    assert layer is not None
    assert layer.module == "first"
    assert layer.kernels.shape == (6, 3, 5, 5)
    assert (layer.kernels == net.first.weight.detach().numpy()).all()
    assert not any(module._forward_pre_hooks for module in net.modules())


@pytest.mark.parametrize(
    "net",
    [
        nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(12, 4, 3)),
        nn.Sequential(nn.Flatten(), nn.Linear(768, 2)),
        nn.Sequential(nn.Conv2d(3, 3, 3, groups=3), nn.Conv2d(3, 4, 3)),
        nn.Sequential(nn.Identity()),
    ],
    ids=["gathered pixels", "flattened patches", "a channel alone", "nothing to show"],
)
def test_a_first_layer_of_other_channels_has_no_filters(net: nn.Module) -> None:
    assert first_layer(net.eval(), 16) is None


@pytest.mark.slow
def test_a_net_without_filters_is_named_and_not_built_again(finished: Path, tmp_path: Path) -> None:
    net = "timm:tresnet_m"  # its first convolution is of pixels regrouped into 48 channels
    words = f"--dataset folder:{finished}/photos --backbone {net} --weights none --image-size 64"
    command = [*words.split(), f"--cache={tmp_path}/cache", f"--reports={tmp_path}/reports"]
    console = Listening()
    changes = {"backbones": (net,), "image_size": 64, "batch_size": None, "workers": None, "console": console}
    session = Session(configuration(tmp_path / "cache", **options(finished), **changes))
    assert [one["kind"] for one in pictures.run(session)] == ["anatomy", "input", "histogram"]
    line = f"pictures: {net}: no filters to show, as its first layer is no convolution of red, green and blue"
    assert line in console.said
    done = subprocess.run([sys.executable, "-c", AGAIN, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert line in done.stdout


def rendered(draw: Callable[..., Sheet], *content: Any) -> bytes:
    return figures.rendered(lambda: draw(*content))


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_at_most_64_patch_kernels_are_shown(finished: Path, tmp_path: Path) -> None:
    net = "timm:vit_tiny_patch16_224"
    session, _ = inputs_of(finished, backbones=(net,), image_size=224, reports=tmp_path / "reports")
    pictures.run(session)
    found = PICTURES.find(session.reports, "filters", net)
    assert isinstance(found, Picture)
    assert found.title.endswith(": 64 of 192")
    assert "the first 64 of 192 kernels of patch_embed.proj, 16 x 16 pixels" in found.caption
    kernels = session.net(net).net.get_submodule("patch_embed.proj").weight.detach().numpy()
    png = session.reports / "pictures" / found.png
    assert png.read_bytes() == rendered(figures.filters, found.title, kernels[:64])


def test_each_kernel_is_scaled_to_its_own_range() -> None:
    kernels = np.random.default_rng(0).normal(size=(5, 3, 4, 6)).astype(np.float32)
    kernels *= 10.0 ** np.arange(-2, 3, dtype=np.float32)[:, None, None, None]
    kernels[4] = 7
    colours = figures.own_range(kernels)
    assert colours.shape == (5, 4, 6, 3)
    assert colours.dtype == np.uint8
    for kernel, colour in zip(kernels[:4], colours[:4], strict=True):
        low, high = kernel.min(), kernel.max()
        wanted = 255 * (kernel.astype(np.float64) - low) / (high - low)
        # Half a level of rounding, and float32's own.
        assert np.abs(wanted.transpose(1, 2, 0) - colour).max() <= 0.5 + 1e-4
        assert (colour.min(), colour.max()) == (0, 255)
    assert (colours[4] == 128).all()


# The input


@pytest.mark.parametrize(
    "preprocess",
    [
        CLASSIC,
        WHEELS["timm:tf_efficientnet_lite0"].preprocess,
        Preprocess(resize=36, crop=32, interpolation="bicubic", mean=(0.0, 0.5, 1.0), std=(1.0, 0.01, 3.0)),
    ],
    ids=["classic", "lite0", "odd"],
)
def test_denormalised_is_the_resized_crop_within_rounding(preprocess: Preprocess) -> None:
    small = replace(preprocess, resize=18, crop=16)
    every = np.arange(256, dtype=np.uint8).reshape(16, 16)
    pixels = np.stack([every, every[::-1], every.T], axis=2)
    normalize = Normalize(small, torch.device("cpu"))
    values = normalize(torch.from_numpy(pixels.copy())[None])
    back = normalize.undo(values)[0].numpy()
    # Multiplied, added, subtracted, divided: four roundings of at most 2**-24 of the largest value on the way, in the
    # unit of the normalised values, of which a grey level is 1 / (255 std).
    mean, std = np.array(small.mean), np.array(small.std)
    largest = (1 + mean) / std
    assert (np.abs(back - pixels).max((0, 1)) <= 4 * 2.0**-24 * largest * 255 * std).all()
    assert (np.rint(back) == pixels).all()


def test_the_panels_are_the_image_what_the_net_gets_and_the_crop_again(finished: Path) -> None:
    session, _ = inputs_of(finished)
    row = int(session.splits.train.rows[0])
    image = open_image(session.dataset.images["all"], row)
    preprocess = session.backbone(NET)[0].preprocess
    crop = resize_crop(image, preprocess)
    values = (crop.astype(np.float32) / 255 - np.asarray(preprocess.mean, np.float32)) / np.asarray(
        preprocess.std, np.float32
    )
    low, high = values.min(), values.max()
    given = 255 * (values - low) / (high - low)
    detail = f"{low:.2f} is black, {high:.2f} full colour".replace("-", "−")
    found = picture(session, "input")
    assert f"the values from {low:.2f} to {high:.2f}".replace("-", "−") in found.caption
    panels = [
        figures.Panel("original", "50 x 40 pixels", np.array(image)),
        figures.Panel("as the net gets it", detail, np.rint(given).astype(np.uint8)),
        figures.Panel("denormalised", "32 x 32 pixels, 0 to 255", crop),
    ]
    shown, wanted = (
        np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), np.int64)
        for png in (
            (session.reports / "pictures" / found.png).read_bytes(),
            rendered(figures.net_input, found.title, panels),
        )
    )
    # Float32's own rounding may move a grey level to the next.
    assert shown.shape == wanted.shape
    assert np.abs(shown - wanted).max() <= 1


def test_another_image_may_be_asked_for(world: Path) -> None:
    session, _ = inputs_of(world, words=("all:17",))
    first = picture(session, "input")
    pictures.run(session)
    assert picture(session, "input").of["row"] == 17
    pictures.run(inputs_of(world)[0])
    assert picture(session, "input") == first


@pytest.mark.parametrize(
    ("words", "error", "line"),
    [
        (("1", "2"), BadOption, "too many images (expected one [PART:]ROW or none, got 1 2)"),
        (("all:x",), BadOption, "no row: 'all:x' (expected [PART:]ROW, the row a number from 0)"),
        (("30",), BadOption, "no such row: 30 (expected 0 to 29: all of folder--photos has 30 rows)"),
        (("dev:3",), UnknownName, "unknown part 'dev' (expected one of: all)"),
    ],
)
def test_images_that_are_not_there(words: tuple[str, ...], error: type[Exception], line: str, finished: Path) -> None:
    with pytest.raises(error) as caught:
        pictures.run(inputs_of(finished, words=words)[0])
    assert str(caught.value) == line


def test_the_command_line_takes_an_image_or_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert build_parser().parse_args(["pictures", "train:3"]).words == ["train:3"]
    assert build_parser().parse_args(["pictures"]).words == []
    assert cli.main(["show"]) == 2
    assert "the following arguments are required" in capsys.readouterr().err


# The mistakes


def test_val_chooses_whose_mistakes_are_shown_not_test() -> None:
    good = make_score("knn", accuracy=0.95, val_top1=0.7, n_test=40)
    seeds = [
        make_score("probe-sgd", accuracy=0.6, seed=seed, val_top1=val, n_test=40) for seed, val in ((0, 0.9), (1, 0.7))
    ]
    preferred = make_score("ridge", accuracy=0.5, val_top1=0.82, n_test=40)
    scores = [good, *seeds, preferred]
    assert best_by_validation(scores) == (preferred,)
    assert best_by_validation([good, *seeds]) == tuple(seeds), "of several seeds the mean counts"
    # Where val is undecided the order of the methods decides, whatever test says.
    tied = [replace(good, val_top1=0.82), preferred]
    assert best_by_validation(tied) == best_by_validation(tied[::-1]) == (preferred,)
    assert best_by_validation([]) is None


def test_the_mistakes_are_the_scores_first_ones(world: Path) -> None:
    session, _ = inputs_of(world)
    found = picture(session, "mistakes").of
    (best,) = [score for score in scores_of(session) if score.key == found["score"]]
    assert best.val_top1 == max(score.val_top1 for score in scores_of(session))
    part, rows = session.dataset.parts["all"], session.splits.test.rows
    names = session.dataset.class_names
    wrong = [
        {"row": int(row), "content": part.content[row], "class": names[part.labels[row]], "predicted": names[said]}
        for row, said in zip(rows, best.predictions, strict=True)
        if said != part.labels[row]
    ]
    assert found["images"] == wrong != []
    assert best.top1 == pytest.approx(1 - len(wrong) / len(rows))


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_of_many_mistakes_the_first_are_shown(tmp_path: Path) -> None:
    session, _ = inputs_of(tmp_path, dataset="digits", limit=300)
    part, rows = session.dataset.parts["all"], session.splits.test.rows
    labels = part.labels[rows].tolist()
    facts = {"dataset": session.dataset.title, "splits": session.splits_sha256, "class_names": part.class_names}
    score = make_score("probe", NET, n_test=len(rows), weights="none", image_size=32, **facts)
    wrong = tuple((label + 1) % 10 for label in labels)
    changes: dict[str, Any] = {"options": {**score.options, "version": HEADS_VERSION}}
    SCORES.save(session.reports, replace(judged(score, labels=tuple(labels), predictions=wrong), **changes))
    pictures.run(session)
    found = picture(session, "mistakes")
    assert found.of["wrong"] == len(rows) > MAX_ERRORS
    assert [image["row"] for image in found.of["images"]] == rows[:MAX_ERRORS].tolist()
    assert found.title.startswith(f"The first {MAX_ERRORS} of {len(rows)} errors: ")
    tests = zip(rows.tolist(), labels, wrong, strict=True)
    errors = [Misclassification(*test) for test in tests][:MAX_ERRORS]
    tiles = [tile(open_image(session.dataset.images["all"], error.row), figures.TILE) for error in errors]
    png = rendered(figures.misclassified, found.title, "all", errors, tiles, part.class_names)
    assert (session.reports / "pictures" / found.png).read_bytes() == png


def test_without_scores_the_others_are_drawn(finished: Path, tmp_path: Path) -> None:
    session, console = inputs_of(finished, reports=tmp_path / "reports")
    assert [one["kind"] for one in pictures.run(session)] == ["anatomy", "filters", "input", "histogram"]
    (line,) = [line for line in console.said if "no score" in line]
    assert line.startswith(
        f"pictures: {NET}: no errors to show, as it has no score yet; run: probeline probe --dataset"
    )
    assert sorted(path.name for path in (session.reports / "pictures").iterdir()) == FILES[:8]


@pytest.mark.usefixtures("undrawn")
def test_where_all_is_right_there_is_no_picture(world: Path) -> None:
    session, console = inputs_of(world)
    for score in scores_of(session):
        SCORES.save(session.reports, judged(score, predictions=score.labels))
    assert [one["kind"] for one in pictures.run(session)] == ["anatomy", "filters", "input", "histogram"]
    assert any("predicts all test images correctly" in line for line in console.said)
    assert sorted(path.name for path in (session.reports / "pictures").iterdir()) == FILES[:8]
    report = Path(str(compare.run(session)["report"])).read_text(encoding="utf-8")
    assert "mistakes-" not in report


@pytest.mark.parametrize(
    ("size", "inner"), [((8, 8), (256, 256)), ((130, 65), (260, 130)), ((400, 300), (260, 195)), ((4000, 2), (260, 1))]
)
def test_a_tile_holds_the_whole_image(size: tuple[int, int], inner: tuple[int, int]) -> None:
    pixels = tile(Image.new("RGB", size, (10, 20, 30)), 260)
    assert pixels.shape == (260, 260, 3)
    coloured = (pixels == (10, 20, 30)).all(axis=2)
    assert (coloured.any(axis=0).sum(), coloured.any(axis=1).sum()) == inner
    assert (pixels[~coloured] == 240).all()


# What compare shows


def shown(session: Session) -> tuple[str, dict[str, Any]]:
    result = compare.run(session)
    record = json.loads(Path(str(result["json"])).read_text(encoding="utf-8"))
    return Path(str(result["report"])).read_text(encoding="utf-8"), record


@pytest.mark.usefixtures("undrawn")
def test_compare_shows_what_was_drawn(world: Path) -> None:
    session, _ = inputs_of(world)
    assert len(session.splits.test)
    (world / "photos").unlink()  # only what pictures wrote is read: no image
    text, record = shown(session)
    assert "## Pictures\n\n![A table of " in text
    assert "![A grid of 64 small colour patterns" in text
    for one in record["pictures"]:
        assert f"]({one['file']})\n" in text
        assert (session.reports / one["file"]).is_file()
    assert [one["kind"] for one in record["pictures"]] == ["anatomy", "filters", "input", "histogram", "mistakes"]
    assert "all 64 kernels of features.0, 3 x 3 pixels" in text
    assert "Misclassified test images in data set order: all " in text


@pytest.mark.usefixtures("undrawn")
def test_compare_without_pictures_shows_none(world: Path) -> None:
    session, _ = inputs_of(world)
    shutil.rmtree(session.reports / "pictures")
    text, record = shown(session)
    assert "Pictures" not in text
    assert "probeline pictures" not in text
    assert record["pictures"] == []


@pytest.mark.usefixtures("undrawn")
def test_mistakes_of_another_score_are_left_out_with_the_command(world: Path) -> None:
    session, console = inputs_of(world)
    best = max(scores_of(session), key=lambda score: score.val_top1)
    for score in scores_of(session):
        if score.val_top1 == best.val_top1:
            flipped = tuple(1 - said for said in score.predictions)
            SCORES.save(session.reports, judged(score, predictions=flipped))
    text, record = shown(session)
    assert [one["kind"] for one in record["pictures"]] == ["anatomy", "filters", "input", "histogram"]
    (missing,) = [one for one in record["missing"] if "mistakes" in one["what"]]
    assert missing["what"] == f"mistakes-{NET}.png, as its score has changed"
    assert missing["command"].startswith("probeline pictures --dataset")
    assert f"mistakes-{NET}.png, as its score has changed" in text
    assert any(f"mistakes-{NET}.png, as its score has changed" in line for line in console.said)
    pictures.run(session)
    assert [one["kind"] for one in shown(session)[1]["pictures"]] == [
        "anatomy",
        "filters",
        "input",
        "histogram",
        "mistakes",
    ]


@pytest.mark.usefixtures("undrawn")
def test_pictures_of_other_weights_and_images_are_left_out(world: Path, tmp_path: Path) -> None:
    session, _ = inputs_of(world)
    for score in scores_of(session):
        SCORES.save(session.reports, replace(score, weights="mine.pth"))
    shutil.rmtree((session.reports / "scores") / f"{NET}-none")
    _, record = shown(session)
    kept = {one["kind"] for one in record["pictures"]}
    assert kept == {"mistakes"}, "a score of its key vouches for it; of other weights it has another"
    assert [one["what"] for one in record["missing"] if ".png" in one["what"]] == [
        f"{kind}-{NET}.png, as no score has its weights, none" for kind in ("anatomy", "filters", "histogram", "input")
    ]


@pytest.mark.usefixtures("undrawn")
def test_an_image_that_is_gone_is_not_shown(world: Path) -> None:
    session, _ = inputs_of(world)
    gone = picture(session, "input").of["sample_id"]
    real = (world / "photos").resolve()
    (world / "photos").unlink()
    shutil.copytree(real, world / "photos")
    (world / "photos" / gone).unlink()
    (session.reports / ".owner").unlink()  # the copy is at another place than the original, which is still there
    _, record = shown(inputs_of(world)[0])
    reasons = {one["what"] for one in record["missing"] if ".png" in one["what"]}
    assert reasons == {
        f"histogram-{NET}.png, as its image is not in the data set",
        f"input-{NET}.png, as its image is not in the data set",
        f"mistakes-{NET}.png, as its score is gone",  # of other splits
    }


@pytest.mark.usefixtures("undrawn")
def test_a_damaged_picture_is_not_shown(world: Path) -> None:
    session, _ = inputs_of(world)
    path = (session.reports / "pictures") / f"filters-{NET}.png"
    path.write_bytes(path.read_bytes()[:-1])
    _, record = shown(session)
    assert [one["kind"] for one in record["pictures"]] == ["anatomy", "input", "histogram", "mistakes"]
    (missing,) = [one for one in record["missing"] if ".png" in one["what"]]
    assert missing["what"] == f"filters-{NET}.png, which is damaged: its bytes are not those its record tells"
