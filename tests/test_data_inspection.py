"""Inspection of each image: what decoding it needed, for planted files, and its pixels at a small size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from probeline.data.pixels.inspection import HELP, SIDE, inspect_images
from probeline.data.pixels.loading import decode_item
from probeline.errors import BadData
from probeline.identity import digest_bytes
from probeline.images import ImageArray, ImageFiles, ImageItems, Preprocess


def photo(width: int = 60, height: int = 50, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def turned(orientation: int) -> Any:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif


def seen(path: Path, preprocess: Preprocess) -> tuple[str, ...]:
    return looked([path], preprocess)[0]


def looked(paths: list[Path], preprocess: Preprocess) -> tuple[tuple[str, ...], ...]:
    files = ImageFiles(tuple(paths), tuple(digest_bytes(path.read_bytes()) for path in paths))
    return inspect_images(files, np.arange(len(paths)), preprocess, 2).helped


def planted(folder: Path) -> dict[str, Path]:
    """Make a file for each kind of help, and plain ones that need none."""
    files: dict[str, Path] = {}

    def save(kind: str, image: Image.Image, suffix: str = ".png", **options: Any) -> None:
        files[kind] = folder / f"{kind}{suffix}"
        image.save(files[kind], **options)

    save("plain", photo(), ".jpg")
    save("plain grey", photo().convert("L"))
    save("plain upright", photo(), ".jpg", exif=turned(1))
    save("extension", photo(), ".jpg", format="PNG")
    save("cut", photo(), ".jpg")
    whole = files["cut"].read_bytes()
    files["cut"].write_bytes(whole[: len(whole) // 2].ljust(len(whole), b"\0"))
    save("space", photo().convert("CMYK"), ".jpg")
    save("palette", photo().convert("P"))
    save("deep", Image.fromarray(np.arange(3000, dtype=np.uint16).reshape(50, 60)))
    save("deep tiff", Image.fromarray(np.arange(3000, dtype=np.uint16).reshape(50, 60)), ".tif")
    save("alpha", photo().convert("RGBA"))
    save("frames", photo(), ".webp", save_all=True, append_images=[photo(seed=1)])
    save("turned", photo(), ".jpg", exif=turned(6))
    save("small", photo(31, 31))
    save("cropped", photo(100, 50))
    save("constant", Image.new("RGB", (60, 50), (10, 20, 30)), ".bmp")
    return files


def test_every_correction_of_decoding_is_reported_and_no_other(tmp_path: Path, preprocess: Preprocess) -> None:
    files = planted(tmp_path)
    found = dict(zip(files, looked(list(files.values()), preprocess), strict=True))
    assert found == {name: () if name.startswith("plain") else (name.split()[0],) for name in files}
    assert {kind.split()[0] for kind in files} - {"plain"} == set(HELP)


def test_encoded_items_are_inspected_as_files_are(tmp_path: Path, preprocess: Preprocess) -> None:
    paths = list(planted(tmp_path).values())
    content = tuple(digest_bytes(path.read_bytes()) for path in paths)

    def items(names: list[str]) -> ImageItems:
        return ImageItems(lambda row: paths[row].read_bytes(), content, names)

    rows = np.arange(len(paths))
    helped = inspect_images(items([f"a.tar: {path.name}" for path in paths]), rows, preprocess, 2).helped
    assert helped == looked(paths, preprocess)
    unnamed = inspect_images(items(["row"] * len(paths)), rows, preprocess, 2).helped
    assert unnamed == tuple(tuple(kind for kind in kinds if kind != "extension") for kinds in helped)
    decoded = ImageItems(lambda row: photo(), (decode_item(photo(), "")[1],), ["row 0"])
    assert inspect_images(decoded, np.array([0]), preprocess, 1).helped == ((),)


def test_what_the_crop_leaves_out_is_the_share_of_the_resized_image(tmp_path: Path, preprocess: Preprocess) -> None:
    # The crop of 32 from 36 keeps 0.79 of a square, and half where the longer side is 1.58 times the shorter.
    for width, kinds in ((155, ()), (161, ("cropped",))):
        path = tmp_path / f"{width}.png"
        photo(width, 100).save(path)
        assert seen(path, preprocess) == kinds


def test_small_pixels_are_the_whole_image_squeezed(preprocess: Preprocess) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (70, 20, 40, 3), np.uint8)
    counts: list[int] = []
    found = inspect_images(ImageArray(pixels), np.array([3, 69, 0]), preprocess, 1, counts.append)
    assert found.thumbnails.shape == (3, SIDE, SIDE, 3)
    for slot, row in zip(found.thumbnails, (3, 69, 0), strict=True):
        expected = Image.fromarray(pixels[row]).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(slot, np.asarray(expected))
    assert sum(counts) == 3
    exact = np.random.default_rng(1).integers(0, 256, (130, SIDE, SIDE, 3), np.uint8)
    inspected = inspect_images(ImageArray(exact), np.arange(130), preprocess, 2)
    np.testing.assert_array_equal(inspected.thumbnails, exact)
    assert len(inspected.helped) == 130
    assert set(inspected.helped) == {()}


def test_an_image_whose_one_pixel_differs_is_not_constant(tmp_path: Path, preprocess: Preprocess) -> None:
    pixels = np.full((500, 600, 3), 7, np.uint8)
    pixels[3, 3] = 8
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert seen(tmp_path / "a.png", preprocess) == ()


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, preprocess: Preprocess) -> None:
    path = tmp_path / "broken.jpg"
    photo().save(path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(BadData, match=r"image cannot be read: .*broken\.jpg .*; remove or replace the file"):
        seen(path, preprocess)
