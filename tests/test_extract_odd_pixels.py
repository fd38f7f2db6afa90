"""Images that lose what they show when they are decoded: warned of with the option that mends it, which is keyed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

import probeline
from probeline.cache.reading import shard_record
from probeline.cache.reuse import facts_of_rows
from probeline.cli.program import run_steps
from probeline.commands import extract
from probeline.export.format import read_record
from probeline.images import Decoding, Preprocess
from probeline.options.command_line import command_line
from probeline.session import Session
from small_runs import Listening, configuration, unreadable, watch_images

pytestmark = pytest.mark.usefixtures("one_thread")


class Warned(Listening):
    """A console that keeps warnings alone."""

    def __init__(self) -> None:
        super().__init__()
        self.warned: list[str] = []

    def warn(self, line: str) -> None:
        self.warned.append(line)


def run(place: Path, dataset: Path, *verbs: str, **options: Any) -> tuple[dict[str, Any], list[str]]:
    console = Warned()
    values = {"dataset": f"folder:{dataset}", "limit": None, "console": console, "sgd": ("epochs=1", "lr=1e-3")}
    settings = configuration(place / "cache", **{**values, **options})
    return run_steps(settings, [(settings, verbs)]), console.warned


def make_icons(root: Path, ground: tuple[int, int, int, int]) -> Path:
    """Make black crosses and rings on a ground."""
    rng = np.random.default_rng(0)
    for name in ("cross", "ring"):
        (root / name).mkdir(parents=True)
        for number in range(12):
            image = Image.new("RGBA", (48, 48), ground)
            draw, ink = ImageDraw.Draw(image), (0, 0, 0, 255)
            x, y, r = rng.integers((16, 16, 8), (32, 32, 15)).tolist()
            if name == "ring":
                draw.ellipse((x - r, y - r, x + r, y + r), outline=ink, width=3)
            else:
                draw.line((x - r, y - r, x + r, y + r), fill=ink, width=3)
                draw.line((x + r, y - r, x - r, y + r), fill=ink, width=3)
            image.save(root / name / f"{number}.png")
    return root


def make_grey(root: Path, depth: int) -> Path:
    """Make noise of two textures as grey of a bit depth, in 16 bits."""
    rng = np.random.default_rng(0)
    for name, size in (("coarse", 5), ("fine", 40)):
        (root / name).mkdir(parents=True)
        for number in range(12):
            noise = Image.fromarray(rng.integers(0, 256, (size, size), dtype=np.uint8)).resize((40, 40))
            pixels = np.asarray(noise).astype(np.uint16)
            pixels[0, 0] = 255
            image = Image.fromarray(pixels.astype(np.uint8) if depth == 8 else pixels << (depth - 8))
            image.save(root / name / f"{number}.png")
    return root


def features(place: Path, dataset: Path, **options: Any) -> np.ndarray[Any, Any]:
    session = Session(configuration(place / "cache", dataset=f"folder:{dataset}", limit=None, **options))
    ((backbone,),), _ = session.taps("squeezenet1_1")
    return session.features(backbone, "all").features


def test_the_defaults_enter_no_key() -> None:
    record = Preprocess(36, 32, "bilinear", (0.5,) * 3, (0.2,) * 3)
    assert record.identity().keys() == {"resize", "crop", "interpolation", "mean", "std", "antialias", "decode"}
    other = Preprocess(36, 32, "bilinear", (0.5,) * 3, (0.2,) * 3, decoding=Decoding("white", "12"))
    assert other.identity() == {**record.identity(), "background": "white", "grey_range": "12"}
    assert other.at(64).decoding == Decoding("white", "12")


def test_black_on_transparent_is_warned_of_and_seen_on_white(tmp_path: Path) -> None:
    icons, flat = make_icons(tmp_path / "icons", (0, 0, 0, 0)), make_icons(tmp_path / "flat", (255,) * 4)
    expected = (
        "24 of 24 images of all are of one colour everywhere once decoded; 24 of them have transparent pixels, which "
        "are put on black: try --alpha white"
    )
    assert run(tmp_path, icons, "extract", "probe")[1] == [expected]
    assert run(tmp_path, icons, "probe")[1] == [expected], "of cached features too"
    Image.new("RGBA", (48, 48), (9, 9, 9, 255)).save(icons / "ring" / "one more.png")
    (line,) = run(tmp_path, icons, "extract")[1]
    assert line.startswith("25 of 25 images of all are of one colour everywhere once decoded; 24 of"), (
        "of copied rows too"
    )
    (icons / "ring" / "one more.png").unlink()
    assert run(tmp_path, flat, "extract")[1] == []
    results, warned = run(tmp_path, icons, "extract", alpha="white")
    assert (warned, results["extract"][0]["extracted_shards"]) == ([], 1)
    assert np.array_equal(features(tmp_path, icons, alpha="white"), features(tmp_path, flat))
    assert not np.array_equal(features(tmp_path, icons), features(tmp_path, flat))


@pytest.mark.parametrize("depth", [10, 12])
def test_grey_that_uses_a_fraction_of_its_range_is_warned_of_and_scaled(depth: int, tmp_path: Path) -> None:
    deep, eight = make_grey(tmp_path / "deep", depth), make_grey(tmp_path / "eight", 8)
    (line,) = run(tmp_path, deep, "extract")[1]
    assert line.startswith(f"24 of 24 images of all are 16-bit grey with values up to {255 << (depth - 8):,} of 65,535")
    assert f"use --grey-range {depth}, or --grey-range auto" in line
    assert run(tmp_path, eight, "extract")[1] == []
    for grey_range in (str(depth), "auto"):
        assert run(tmp_path, deep, "extract", grey_range=grey_range)[1] == []
        assert np.array_equal(features(tmp_path, deep, grey_range=grey_range), features(tmp_path, eight))
    (line,) = run(tmp_path, deep, "extract", grey_range="8")[1]
    assert "what is above 255 is white by --grey-range 8" in line


def test_grey_of_full_range_and_few_odd_images_are_nothing_to_say(tmp_path: Path) -> None:
    deep = make_grey(tmp_path / "deep", 16)
    for name in ("coarse", "fine"):
        Image.new("RGB", (40, 40)).save(deep / name / "black.png")
    assert run(tmp_path, deep, "extract")[1] == []
    session = Session(configuration(tmp_path / "cache", dataset=f"folder:{deep}", limit=None))
    ((backbone,),), _ = session.taps("squeezenet1_1")
    facts = facts_of_rows(shard_record(session.entry(backbone, "all"), 0).provenance)
    assert [row for row, fact in facts.items() if "one_colour" in fact] == [12, 25]
    assert len([fact for fact in facts.values() if fact.get("grey_max") == 255 << 8]) == 24


def test_masks_are_warned_of(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        (tmp_path / "masks" / name).mkdir(parents=True)
        for number in range(6):
            image = Image.fromarray(rng.integers(0, 3, (40, 40), dtype=np.uint8))
            image.save(tmp_path / "masks" / name / f"{number}.png")
    (line,) = run(tmp_path, tmp_path / "masks", "extract")[1]
    assert line.startswith("12 of 12 images of all span fewer than 16 of 256 levels once decoded: if they are masks")


@pytest.mark.usefixtures("undrawn")
def test_rows_of_each_decoding_are_told_apart_and_exported_as_trained(tmp_path: Path) -> None:
    icons = make_icons(tmp_path / "icons", (0, 0, 0, 0))
    run(tmp_path, icons, "probe")
    results, _ = run(tmp_path, icons, "probe", "compare", alpha="white")
    text = Path(results["compare"]["report"]).read_text(encoding="utf-8")
    assert "background white" in text
    page = Path(results["compare"]["page"]).read_text(encoding="utf-8")
    assert "--alpha white" in page, "in the command of its row"
    out = tmp_path / "out"
    run(tmp_path, icons, "export", alpha="white", method="probe", out=out)
    assert read_record(out).preprocess.decoding == Decoding("white")
    black = probeline.load(out, device="cpu")
    flat = make_icons(tmp_path / "flat", (255,) * 4)
    paths = sorted(icons.rglob("*.png"))
    same = [flat / path.relative_to(icons) for path in paths]
    assert np.array_equal(black.predict(paths).logits, black.predict(same).logits)
    with Image.open(paths[0]) as image:
        assert np.array_equal(black.predict(image).logits, black.predict(paths[0]).logits)


def test_a_warm_run_looks_at_no_image_and_training_sees_the_same_pixels(tmp_path: Path) -> None:
    icons, flat = make_icons(tmp_path / "icons", (0, 0, 0, 0)), make_icons(tmp_path / "flat", (255,) * 4)
    options = {"strategies": ("full",), "epochs": 1, "batch_size": 8}
    (white,) = run(tmp_path, icons, "finetune", alpha="white", **options)[0]["finetune"]
    (plain,) = run(tmp_path, flat, "finetune", **options)[0]["finetune"]
    assert white["top1"] == plain["top1"]
    run(tmp_path, icons, "extract", alpha="white")
    session = Session(configuration(tmp_path / "cache", dataset=f"folder:{icons}", limit=None, alpha="white"))
    extract.run(watch_images(session, unreadable))
    assert "--alpha white" in command_line(session.settings, "probe")
