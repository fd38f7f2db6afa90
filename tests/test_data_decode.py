"""The decode policy, and resizing that equals torchvision's on every Pillow."""

from __future__ import annotations

import io
import resource
import struct
import warnings
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
from PIL import ExifTags, Image, ImageFile

from probeline.backbones import torchvision_import as vision
from probeline.data.pixels import decode as policy
from probeline.data.pixels.decode import decode, random_region, random_resized_crop, resize_crop
from probeline.errors import BadData, BadImage
from probeline.images import Decoding, PixelArray, Preprocess

SIZES = [
    (1, 1),
    (1, 2),
    (3, 1),
    (7, 5),
    (32, 32),
    (1, 90),
    (90, 1),
    (500, 375),
    (333, 500),
    (255, 257),
    (640, 40),
    (290, 594),
]
"""Width and height: tiny, square, long, upscaled, and one (the last) where Pillow 13 resizes columns first."""


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def smooth(width: int = 96, height: int = 64) -> Image.Image:
    """Return a picture with a different colour in each corner, which survives lossy formats."""
    y, x = np.mgrid[0:height, 0:width].astype(float)
    channels = [255 * x / (width - 1), 255 * y / (height - 1), 255 - 255 * x / (width - 1)]
    return Image.fromarray(np.stack(channels, axis=2).round().astype(np.uint8))


def saved(image: Image.Image, path: Path, **options: Any) -> Path:
    image.save(path, **options)
    return path


def pixels(path: Path) -> PixelArray:
    image = decode(path)
    assert image.mode == "RGB"
    return np.asarray(image)


def test_exact_formats_give_the_very_pixels(tmp_path: Path) -> None:
    image = noise(13, 9)
    for name in ("a.png", "a.bmp", "a.tif", "a.tiff", "a.ppm", "a.webp"):
        path = saved(image, tmp_path / name, **({"lossless": True} if name.endswith("webp") else {}))
        assert np.array_equal(pixels(path), np.asarray(image)), name


def test_a_format_is_recognised_by_content(tmp_path: Path) -> None:
    path = tmp_path / "really a png.jpg"
    saved(noise(5, 4), path, format="PNG")
    assert np.array_equal(pixels(path), np.asarray(noise(5, 4)))
    saved(noise(5, 4), path, format="GIF")
    with pytest.raises(BadData, match="really a png"):
        decode(path)


def test_grey_palette_and_bilevel_become_rgb(tmp_path: Path) -> None:
    grey = noise(6, 5).convert("L")
    expected = np.repeat(np.asarray(grey)[..., None], 3, axis=2)
    for name in ("grey.png", "grey.pgm"):
        assert np.array_equal(pixels(saved(grey, tmp_path / name)), expected)
    palette = noise(6, 5).quantize(8)
    assert np.array_equal(pixels(saved(palette, tmp_path / "p.png")), np.asarray(palette.convert("RGB")))
    bilevel = grey.convert("1")
    assert np.array_equal(pixels(saved(bilevel, tmp_path / "1.png")), np.asarray(bilevel.convert("RGB")))


STORED_AS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""How a picture is stored under each EXIF orientation but 1."""


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.webp"])
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int, name: str) -> None:
    turn = STORED_AS.get(orientation)
    image = smooth()
    stored = image if turn is None else image.transpose(turn)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    found = pixels(saved(stored, tmp_path / name, exif=exif))
    assert found.shape == (64, 96, 3)
    # Lossy formats differ by a few levels; a wrong turn or mirror differs by more than a hundred in a corner.
    assert np.abs(found.astype(int) - np.asarray(image)).max() < 40


def test_orientation_follows_the_standard(tmp_path: Path) -> None:
    """EXIF 2.3: 6 means that the stored rows are the picture's right side from top to bottom."""
    stored = Image.fromarray(np.array([[[255, 0, 0], [0, 255, 0]]], np.uint8))
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    found = pixels(saved(stored, tmp_path / "a.png", exif=exif))
    assert found.tolist() == [[[255, 0, 0]], [[0, 255, 0]]]


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0II*\0"])
def test_broken_metadata_are_no_orientation(tmp_path: Path, exif: bytes) -> None:
    path = saved(smooth(), tmp_path / "a.jpg", exif=exif)
    assert pixels(path).shape == (64, 96, 3)


def test_alpha_is_composited_on_black(tmp_path: Path) -> None:
    rgba = np.random.default_rng(1).integers(0, 256, (8, 9, 4), np.uint8)
    colour, alpha = rgba[..., :3].astype(int), rgba[..., 3:].astype(int)
    expected = (2 * colour * alpha + 255) // 510  # colour * alpha / 255, rounded
    for name in ("a.png", "a.tif"):
        found = pixels(saved(Image.fromarray(rgba), tmp_path / name)).astype(int)
        assert np.array_equal(found, expected), name
    grey = Image.merge("LA", (Image.fromarray(rgba[..., 0]), Image.fromarray(rgba[..., 3])))
    assert np.array_equal(pixels(saved(grey, tmp_path / "la.png")), np.repeat(expected[..., :1], 3, axis=2))


def test_transparent_colours_become_black(tmp_path: Path) -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.putpixel((1, 0), 1)
    assert pixels(saved(palette, tmp_path / "p.png", transparency=0)).tolist() == [[[0, 0, 0], [200, 100, 50]]]
    half = saved(palette, tmp_path / "half.png", transparency=bytes([0, 255]))
    assert pixels(half).tolist() == [[[0, 0, 0], [200, 100, 50]]]
    key = Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8))
    assert pixels(saved(key, tmp_path / "key.png", transparency=(1, 2, 3))).tolist() == [[[0, 0, 0], [4, 5, 6]]]


def test_sixteen_bits_keep_the_high_byte(tmp_path: Path) -> None:
    values = np.array([[0, 255, 256, 32768, 65535]], np.uint16)
    expected = [[[v, v, v] for v in (0, 0, 1, 128, 255)]]
    for name in ("a.png", "a.tif"):
        assert pixels(saved(Image.fromarray(values), tmp_path / name)).tolist() == expected, name
    (tmp_path / "a.pgm").write_bytes(b"P5 5 1 65535\n" + values.astype(">u2").tobytes())
    assert pixels(tmp_path / "a.pgm").tolist() == expected


def png16(values: npt.NDArray[np.uint16], colour_type: int) -> bytes:
    """Return a PNG of 16-bit samples [H, W, C], which Pillow does not write in colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, _ = values.shape
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0))
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def test_sixteen_bits_are_reduced_equally_in_grey_and_colour(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 65_536, (6, 7, 4), np.uint16)
    values[..., 3] = 65_535
    path = tmp_path / "a.png"
    for colour_type, channels in ((2, 3), (6, 4)):
        path.write_bytes(png16(values[..., :channels], colour_type))
        assert np.array_equal(pixels(path), values[..., :3] >> 8)
    path.write_bytes(png16(values[..., :1], 0))
    assert np.array_equal(pixels(path), np.repeat(values[..., :1] >> 8, 3, axis=2))


@pytest.mark.parametrize("depth", [8, 10, 12, 14, 16])
def test_grey_of_a_smaller_depth_is_scaled_as_stated(tmp_path: Path, depth: int) -> None:
    eight = np.arange(256, dtype=np.uint16).reshape(16, 16)
    path = saved(Image.fromarray(eight << (depth - 8)), tmp_path / "a.png")
    expected = np.repeat(eight[..., None], 3, axis=2)
    for grey_range in (str(depth), "auto"):
        assert np.array_equal(np.asarray(decode(path, None, Decoding(grey_range=grey_range))), expected)
    if depth > 8:
        clipped = np.asarray(decode(path, None, Decoding(grey_range=str(depth - 2))))[..., 0]
        assert clipped.tolist() == np.minimum(4 * eight, 255).tolist(), "what is above is white"
    full = np.asarray(decode(path, None, Decoding()))[..., 0]
    assert np.array_equal(full, eight >> (16 - depth))


def test_transparent_pixels_are_composited_on_white_if_asked(tmp_path: Path) -> None:
    white = Decoding(background="white")
    rgba = Image.new("RGBA", (4, 3), (0, 0, 0, 0))
    rgba.putpixel((1, 1), (0, 0, 0, 255))
    images = {"a.png": rgba, "la.png": rgba.convert("LA"), "a.webp": rgba, "a.tif": rgba}
    for name, image in images.items():
        path = saved(image, tmp_path / name, **({"lossless": True} if name == "a.webp" else {}))
        assert pixels(path).max() == 0, name
        found = np.asarray(decode(path, None, white))
        assert (found == 0).sum() == 3, name
        assert (found == 255).sum() == 33, name
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.putpixel((1, 0), 1)
    path = saved(palette, tmp_path / "p.png", transparency=0)
    assert np.asarray(decode(path, None, white)).tolist() == [[[255, 255, 255], [200, 100, 50]]]
    bilevel = saved(Image.new("1", (2, 2), 1), tmp_path / "1.png")
    assert np.array_equal(pixels(bilevel), np.asarray(decode(bilevel, None, white)))


def chunk(kind: bytes, data: bytes, crc: int | None = None) -> bytes:
    check = zlib.crc32(kind + data) if crc is None else crc
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)


@pytest.mark.parametrize(
    "metadata",
    [
        chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(5_000_000))),
        chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(5_000_000))),
        chunk(b"tEXt", b"x\0" + bytes(1_000_000)) * 70,
        chunk(b"tEXt", b"x\0a", crc=5),
        chunk(b"gAMA", b""),
        chunk(b"acTL", b"a"),
    ],
)
def test_a_sound_png_is_not_refused_for_its_metadata(tmp_path: Path, metadata: bytes) -> None:
    image = smooth()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 3
    path = saved(image.transpose(Image.Transpose.ROTATE_180), tmp_path / "a.png", exif=exif)
    data = path.read_bytes()
    path.write_bytes(data[:33] + metadata + data[33:])
    assert np.array_equal(pixels(path), np.asarray(image)), "upright too"
    path.write_bytes(path.read_bytes()[:-400])
    with pytest.raises(BadImage):
        decode(path)


def test_a_sound_jpeg_is_not_refused_for_its_metadata(tmp_path: Path) -> None:
    path = saved(smooth(), tmp_path / "a.jpg")
    expected, data = pixels(path), path.read_bytes()

    def segment(marker: int, content: bytes) -> bytes:
        return b"\xff" + bytes([marker]) + struct.pack(">H", len(content) + 2) + content

    for metadata in (
        segment(0xE0, b"JFIF\0\1"),
        segment(0xE2, b"MPF\0garbage"),
        segment(0xE2, b"ICC_PROFILE\0\1\3abc"),
        segment(0xED, b"Photoshop 3.0\0008BIM\4"),
        segment(0xE1, b"Exif\0\0MM\0*\xff\xff\xff\xff"),
    ):
        path.write_bytes(data[:2] + metadata + data[2:])
        assert np.array_equal(pixels(path), expected)
    several = saved(smooth(), tmp_path / "b.jpg", format="MPO", save_all=True, append_images=[noise(9, 9)])
    assert pixels(several).shape == (64, 96, 3)


def test_an_error_of_the_machine_is_no_fault_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(smooth(), tmp_path / "a.png")
    for error in (MemoryError(), OSError(5, "Input/output error"), OSError("decoder zip not available")):

        def fail(*_: object, raised: BaseException = error) -> None:
            raise raised

        with monkeypatch.context() as patch:
            patch.setattr(Image.Image, "convert", fail)
            patch.setattr(ImageFile.ImageFile, "load", fail)
            with pytest.raises(BadData) as caught:
                decode(path)
        assert not isinstance(caught.value, BadImage)
    with pytest.raises(BadData) as caught:
        decode(path, "0" * 64)
    assert not isinstance(caught.value, BadImage)


def test_pixels_without_a_known_range_are_refused(tmp_path: Path) -> None:
    wide = saved(Image.fromarray(np.array([[0, 70_000]], np.int32)), tmp_path / "wide.tif")
    real = saved(Image.fromarray(np.array([[0.0, 1.0]], np.float32)), tmp_path / "real.tif")
    for path, reason in ((wide, "16 bits"), (real, "floating-point")):
        with pytest.raises(BadData, match=reason):
            decode(path)


@pytest.mark.parametrize("name", ["a.jpg", "a.tif"])
def test_cmyk_is_converted(tmp_path: Path, name: str) -> None:
    path = saved(smooth().convert("CMYK"), tmp_path / name, **({"quality": 95} if name == "a.jpg" else {}))
    # JPEG at quality 95 costs a few levels; a missing or inverted conversion costs a hundred.
    assert np.abs(pixels(path).astype(int) - np.asarray(smooth())).max() < 12


def test_the_first_frame_counts(tmp_path: Path) -> None:
    frames = [noise(5, 4, seed) for seed in range(3)]
    for name in ("a.tif", "a.png", "a.webp"):
        path = saved(frames[0], tmp_path / name, save_all=True, append_images=frames[1:], lossless=True)
        assert np.array_equal(pixels(path), np.asarray(frames[0])), name


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.jpg", {}), ("p.jpg", {"progressive": True}), ("a.png", {}), ("a.bmp", {}), ("a.webp", {}), ("a.tif", {})],
)
def test_truncated_files_are_refused(tmp_path: Path, name: str, options: dict[str, object]) -> None:
    path = saved(noise(40, 30), tmp_path / name, **options)
    whole = path.read_bytes()
    assert decode(path).size == (40, 30)
    for share in (0.0, 0.1, 0.5, 0.9, 0.97):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(BadData) as caught:
            decode(path)
        message = str(caught.value)
        assert str(path) in message
        assert message.endswith("; remove or replace the file")
        assert "\n" not in message


def test_a_jpeg_without_its_end_is_truncated(tmp_path: Path) -> None:
    path = saved(noise(40, 30), tmp_path / "a.jpg")
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(BadData):
        decode(path)


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("not an image")
    (tmp_path / "folder.jpg").mkdir()
    for name, reason in (
        ("text.jpg", "a text, none of JPEG, PNG, BMP, WEBP, TIFF, PPM"),
        ("folder.jpg", "a folder, not a file"),
        ("missing.jpg", "No such file or directory"),
    ):
        with pytest.raises(BadData) as caught:
            decode(tmp_path / name)
        expected = f"image cannot be read: {tmp_path / name} (got {reason}); remove or replace the file"
        assert str(caught.value) == expected


def png_header(width: int, height: int) -> bytes:
    """Return a PNG of that size which ends after its header."""
    file = io.BytesIO()
    Image.new("1", (1, 1)).save(file, "PNG")
    data = bytearray(file.getvalue())
    data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


@pytest.mark.parametrize(("width", "height"), [(13_378, 13_378), (20_000, 20_000), (2**31 - 1, 2**31 - 1)])
def test_too_many_pixels_are_refused_before_decoding(tmp_path: Path, width: int, height: int) -> None:
    """The first size is just above Pillow's warning, the others are above its error."""
    assert width * height > policy.MOST_PIXELS
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(width, height))
    with pytest.raises(BadData, match=r"bomb\.png.*pixels"):
        decode(path)


def test_the_largest_size_is_not_refused_for_its_size(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    path.write_bytes(png_header(policy.MOST_PIXELS, 1))
    with pytest.raises(BadData) as caught:
        decode(path)
    assert "at most" not in str(caught.value)


def test_the_limit_holds_where_pillow_s_is_lifted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(13_378, 13_378))
    with pytest.raises(BadData, match="at most 178956970"):
        decode(path)


@pytest.mark.parametrize(("side", "refused"), [(policy.LONGEST_WEBP, False), (policy.LONGEST_WEBP + 1, True)])
def test_an_animated_webp_no_larger_than_a_frame_can_be_is_read(tmp_path: Path, side: int, refused: bool) -> None:
    """libwebp takes 40 s to fill a canvas of 8,847,383 x 17 pixels, which 600 bytes can declare."""
    file = io.BytesIO()
    Image.new("RGB", (5, 3), "red").save(file, "WEBP", save_all=True, append_images=[Image.new("RGB", (5, 3))])
    data = bytearray(file.getvalue())
    width = data.index(b"VP8X") + 12
    data[width : width + 3] = (side - 1).to_bytes(3, "little")
    path = tmp_path / "wide.webp"
    path.write_bytes(data)
    if refused:
        with pytest.raises(BadData, match=f"a WebP with a side of {side} pixels, at most {side - 1}"):
            decode(path)
    else:
        assert decode(path).size == (side, 3)


def test_pillow_s_remarks_stay_inside(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A TIFF whose directory is cut makes Pillow warn; the image itself is sound."""
    path = saved(smooth(), tmp_path / "a.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x05\0\0")
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with Image.open(path) as image:
            image.getexif()
        assert seen, "the file is meant to make Pillow warn"
        seen.clear()
        decode(path)
        assert not seen
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode(path).size == (96, 64)
    assert capfd.readouterr() == ("", "")


def test_decoding_changes_nothing_of_pillow_s(tmp_path: Path) -> None:
    path = saved(noise(9, 9), tmp_path / "a.jpg")
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, ImageFile.MAXBLOCK)
    decode(path)
    assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, ImageFile.MAXBLOCK)


def test_threads_get_the_same_pixels(tmp_path: Path) -> None:
    paths = [saved(noise(60 + n, 50, n), tmp_path / f"{n}.jpg") for n in range(8)]
    alone = [np.asarray(decode(path)) for path in paths]
    with ThreadPoolExecutor(8) as pool:
        for number, found in enumerate(pool.map(lambda n: np.asarray(decode(paths[n % 8])), range(64))):
            assert np.array_equal(found, alone[number % 8])


# ---------------------------------------------------------------------------------------------------------------------


def geometry(width: int, height: int, preprocess: Preprocess) -> tuple[int, int, int, int]:
    """Return resized width and height and the crop's left and top, as torchvision computes them."""
    short, long = (width, height) if width <= height else (height, width)
    resized = int(preprocess.resize * long / short)
    new_width, new_height = (preprocess.resize, resized) if width <= height else (resized, preprocess.resize)
    return (
        new_width,
        new_height,
        round((new_width - preprocess.crop) / 2.0),
        round((new_height - preprocess.crop) / 2.0),
    )


def reference(image: Image.Image, preprocess: Preprocess, *, one_call: bool = False) -> PixelArray:
    """Return the crop of the image that is resized in full, rows first unless Pillow is left to choose."""
    resampling = Image.Resampling[preprocess.interpolation.upper()]
    width, height, left, top = geometry(*image.size, preprocess)
    rows_first = image if one_call else image.resize((width, image.height), resampling)
    resized = rows_first.resize((width, height), resampling)
    return np.asarray(resized.crop((left, top, left + preprocess.crop, top + preprocess.crop)))


def record(resize: int, crop: int, interpolation: Literal["bilinear", "bicubic"]) -> Preprocess:
    return Preprocess(resize, crop, interpolation, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("resize", "crop"), [(256, 224), (232, 224), (224, 224), (73, 64), (33, 32), (8, 1)])
def test_resizing_equals_the_crop_of_the_resized_image(
    resize: int, crop: int, interpolation: Literal["bilinear", "bicubic"]
) -> None:
    preprocess = record(resize, crop, interpolation)
    rng = np.random.default_rng(resize)
    sizes = SIZES + [(int(w), int(h)) for w, h in rng.integers(20, 400, (4, 2))]
    for width, height in sizes:
        image = noise(width, height, seed=width)
        found = resize_crop(image, preprocess)
        assert found.dtype == np.uint8
        assert found.flags.writeable
        assert np.array_equal(found, reference(image, preprocess)), (width, height)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_resizing_equals_one_call_where_pillow_resizes_rows_first(
    interpolation: Literal["bilinear", "bicubic"],
) -> None:
    """Pillow up to 12 always does; Pillow 13 does unless the height shrinks more than the width, as in tall images."""
    preprocess = record(64, 56, interpolation)
    for width, height in [(500, 375), (375, 375), (40, 30), (601, 100), (90, 91)]:
        image = noise(width, height)
        assert np.array_equal(resize_crop(image, preprocess), reference(image, preprocess, one_call=True))


def test_resizing_equals_torchvision() -> None:
    vision.models()
    from torchvision.transforms import CenterCrop, Compose, Resize

    preprocess = record(73, 64, "bilinear")
    theirs = Compose([Resize(73), CenterCrop(64)])
    for width, height in [(500, 375), (301, 200), (73, 73), (91, 90), (20, 10)]:
        image = noise(width, height)
        assert np.array_equal(resize_crop(image, preprocess), np.asarray(theirs(image)))


@contextmanager
def memory_limit(more: int) -> Iterator[None]:
    """Let this process map at most so many bytes more than it has."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux limits the memory of a process")
@pytest.mark.parametrize("size", [(1, 10_000), (10_000, 1), (1, 3_000_000), (40_000, 3)])
def test_long_images_take_little_memory(size: tuple[int, int]) -> None:
    """Resized in full, the third had 2 * 10^11 pixels, and the others some 10^9."""
    image = Image.new("RGB", size, (1, 2, 3))
    with memory_limit(32 * 2**20):
        found = resize_crop(image, record(256, 224, "bicubic"))
    assert found.shape == (224, 224, 3)
    assert (found == [1, 2, 3]).all()


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_long_images_are_resized_within_a_rounding(interpolation: Literal["bilinear", "bicubic"]) -> None:
    preprocess = record(64, 56, interpolation)
    for width, height in [(700, 5), (4, 900), (101, 1), (1, 150), (9_100, 90), (130, 13_200)]:
        assert max(width, height) > policy.LONGEST * min(width, height)
        image = noise(width, height)
        difference = np.abs(resize_crop(image, preprocess).astype(int) - reference(image, preprocess))
        # A float32 position of a few pixels is off by some 1e-7; that moves a value only across a rounding.
        assert difference.max() <= 1
        assert (difference > 0).mean() < 0.01


def test_a_long_image_is_cropped_at_its_centre() -> None:
    values = np.zeros((1001, 1, 3), np.uint8)
    values[500] = 200
    found = resize_crop(Image.fromarray(values), record(8, 8, "bilinear"))
    assert found[:, :, 0].mean() > 100
    values[500], values[498] = 0, 200
    assert resize_crop(Image.fromarray(values), record(8, 8, "bilinear")).max() == 0


def test_impossible_records_are_refused() -> None:
    with pytest.raises(ValueError, match="no such preprocessing"):
        resize_crop(noise(9, 9), record(8, 9, "bilinear"))
    without = Preprocess(9, 8, "bilinear", (0, 0, 0), (1, 1, 1), antialias=False)
    with pytest.raises(ValueError, match="no such preprocessing"):
        resize_crop(noise(9, 9), without)


def test_random_crops_are_seeded_and_differ() -> None:
    image = noise(80, 60)
    first, second = (random_resized_crop(image, 24, np.random.default_rng(5)) for _ in range(2))
    assert first.shape == (24, 24, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, second)
    assert not np.array_equal(first, random_resized_crop(image, 24, np.random.default_rng(6)))


def test_random_regions_have_area_and_shape_in_the_given_ranges() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        left, top, width, height = random_region(400, 300, rng, (0.2, 0.5), (3 / 4, 4 / 3))
        assert 0 <= left <= 400 - width
        assert 0 <= top <= 300 - height
        # Sides are rounded to a pixel: half a pixel of about 150 on either side.
        assert 0.2 * 0.99 < width * height / 120_000 < 0.5 * 1.01
        assert 3 / 4 * 0.99 < width / height < 4 / 3 * 1.01


def test_random_regions_reach_everywhere() -> None:
    rng = np.random.default_rng(0)
    regions = np.array([random_region(40, 30, rng, (0.08, 1.0), (3 / 4, 4 / 3)) for _ in range(3000)])
    left, top, width, height = regions.T
    assert left.min() == top.min() == 0
    assert (left + width).max() == 40
    assert (top + height).max() == 30


@pytest.mark.parametrize(
    ("size", "expected"), [((1000, 10), (493, 0, 13, 10)), ((10, 1000), (0, 493, 10, 13)), ((1, 1), (0, 0, 1, 1))]
)
def test_a_region_that_never_fits_falls_back_to_the_centre(
    size: tuple[int, int], expected: tuple[int, int, int, int]
) -> None:
    rng = np.random.default_rng(0)
    assert random_region(*size, rng, (1.0, 1.0), (3 / 4, 4 / 3)) == expected


def test_a_random_crop_equals_torchvision_s_resized_crop() -> None:
    vision.models()
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.functional import resized_crop

    image = noise(80, 60)
    seen = 0
    for seed in range(20):
        left, top, width, height = random_region(80, 60, np.random.default_rng(seed), (0.08, 1.0), (3 / 4, 4 / 3))
        if width < height:
            continue  # there Pillow 13 may resize columns first
        seen += 1
        theirs = resized_crop(image, top, left, height, width, [24, 24], InterpolationMode.BICUBIC)
        ours = random_resized_crop(image, 24, np.random.default_rng(seed), interpolation="bicubic")
        assert np.array_equal(ours, np.asarray(theirs))
    assert seen > 5
