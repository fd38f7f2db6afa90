"""What a picture may cost: made-up ones are refused from their headers, and everything real passes."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from probeline.console import Silence
from probeline.data import registry, unreadable
from probeline.data.pixels import bounds, decode
from probeline.data.pixels.decode import decode_bytes
from probeline.data.pixels.inspection import _inspect_bytes
from probeline.data.source import LoadRequest, Subset
from probeline.data.verdicts import Verdicts
from probeline.errors import BadData, BadImage
from probeline.files.memo import Memo
from probeline.files.memory import Budget, Lease
from probeline.images import Decoding


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def progressive(scans: int) -> bytes:
    data = saved(Image.new("RGB", (32, 32), (9, 99, 200)), "JPEG", progressive=True)
    own = data.count(b"\xff\xda")
    return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * (scans - own) + data[-2:]


def test_a_hundred_scans_are_decoded_and_one_more_is_not() -> None:
    assert decode_bytes(progressive(bounds.MOST_SCANS), "it").image.size == (32, 32)
    with pytest.raises(BadImage, match="more than 100 scans"):
        decode_bytes(progressive(bounds.MOST_SCANS + 1), "it")


def test_scans_after_the_end_of_the_image_do_not_count() -> None:
    """As in photos with a second one, or a video, behind them."""
    data = progressive(10) + progressive(80) + b"\xff\xda" * 500
    assert decode_bytes(data, "it").image.size == (32, 32)


def test_a_restart_is_no_scan() -> None:
    image = Image.effect_noise((256, 256), 90).convert("RGB")
    data = saved(image, "JPEG", progressive=True, restart_marker_blocks=1)
    assert data.count(b"\xff\xd0") > 2 * bounds.MOST_SCANS
    assert decode_bytes(data, "it").image.size == (256, 256)


@pytest.mark.parametrize("header", [b"P6\n#a photo\n100 300\n255\n", b"P6 100 300 255 "])
def test_pixels_of_spaces_are_not_the_header_of_a_pnm(header: bytes) -> None:
    data = header + b" " * 90_000
    assert len(data) > bounds.MOST_HEADER
    assert decode_bytes(data, "it").image.getpixel((50, 50)) == (32, 32, 32)


def test_a_pnm_may_have_comments() -> None:
    data = b"P2\n" + b"# one\n" * 500 + b"20 10\n255\n" + b"7 # each\n" * 200
    assert decode_bytes(data, "it").image.getpixel((5, 5)) == (7, 7, 7)


def test_tags_of_a_photo_pass_in_both_orders() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.ImageDescription] = "a" * 3000
    for form in ("JPEG", "PNG", "WEBP", "TIFF"):
        assert decode_bytes(saved(Image.new("RGB", (7, 5)), form, exif=exif), "it").image.size == (5, 7)
    big = b"MM\0*" + struct.pack(">L", 8) + struct.pack(">H", 2)
    big += struct.pack(">HHLHH", 322, 3, 1, 256, 0) + struct.pack(">HHLHH", 323, 3, 1, 512, 0)
    assert [value for *_, value in bounds._tags(big)] == [256, 512]


def test_exif_that_unfolds_turns_nothing() -> None:
    """In a PNG it is found when the pixels are decoded already; metadata that cannot be read are no orientation."""
    count, size = 5000, 120_000
    tags = b"".join(struct.pack("<HHLL", 1000 + i, 7, size - 1000, 100) for i in range(count))
    turn = struct.pack("<HHLHH", 274, 3, 1, 6, 0)
    exif = b"II*\0" + struct.pack("<LH", 8, count + 1) + (turn + tags).ljust(size, b"\0")
    data = saved(Image.new("RGB", (7, 5)), "PNG")
    chunk = struct.pack(">L", len(exif)) + b"eXIf" + exif + struct.pack(">L", zlib.crc32(b"eXIf" + exif))
    assert decode_bytes(data[:33] + chunk + data[33:], "it").image.size == (7, 5)


def test_a_refusal_is_about_the_bytes_and_a_lack_of_memory_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    budget = Budget()
    monkeypatch.setattr("probeline.files.memory.DECODING", budget)
    monkeypatch.setitem(budget.__dict__, "machine", 1000)
    with (
        pytest.raises(BadData, match=r"it takes .* bytes of memory, and this machine has 1,000") as caught,
        Lease(budget) as lease,
    ):
        decode_bytes(saved(Image.new("RGB", (70, 50)), "PNG"), "it", Decoding(), lease)
    assert not isinstance(caught.value, BadImage)


def test_large_images_are_converted_strip_by_strip(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (60, 37, 4), np.uint8))
    palette = Image.fromarray(rng.integers(0, 256, (60, 37, 3), np.uint8)).quantize(16)
    files = [
        saved(image, "PNG"),
        saved(image.convert("LA"), "PNG"),
        saved(palette, "PNG", transparency=bytes(range(0, 256, 16))),
        saved(palette.convert("RGB"), "PNG", transparency=palette.convert("RGB").getpixel((3, 3))),
        saved(image, "WEBP", lossless=True),
        saved(Image.fromarray(rng.integers(0, 65_536, (60, 37), np.uint16)), "PNG"),
        saved(Image.fromarray(rng.integers(0, 65_536, (60, 37), np.uint16)), "TIFF"),
        saved(Image.fromarray(rng.integers(0, 65_536, (60, 37), np.int32)), "TIFF"),
    ]
    for data in files:
        for decoding in (Decoding(), Decoding("white", "auto")):
            whole = decode_bytes(data, "it", decoding)
            with monkeypatch.context() as patch:
                patch.setattr(decode, "_STRIP", 37 * 7)
                strips = decode_bytes(data, "it", decoding)
            assert np.array_equal(whole.image, strips.image)
            assert (whole.is_transparent, whole.grey_max) == (strips.is_transparent, strips.grey_max)


@pytest.mark.parametrize("form", ["TIFF", "PNG", "WEBP"])
def test_several_frames_are_noticed_without_reading_them(form: str) -> None:
    frames = [Image.new("RGB", (9, 9), (90 * i, 200 - 90 * i, 0)) for i in range(3)]
    assert "frames" in _inspect_bytes(saved(frames[0], form, save_all=True, append_images=frames[1:]), "")
    assert "frames" not in _inspect_bytes(saved(frames[0], form), "")


def test_a_picture_that_is_refused_is_left_out_with_a_count(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(3):
            (tmp_path / name / f"{i}.jpg").write_bytes(saved(Image.new("RGB", (8, 8), (i, 0, 0)), "JPEG"))
    (tmp_path / "a" / "slow.jpg").write_bytes(progressive(3000))
    verdicts = Verdicts(None)
    request = LoadRequest(tmp_path, Subset(), Memo(None), Silence(), verdicts=verdicts)
    dataset = registry.load(f"folder:{tmp_path}", request)
    with pytest.raises(BadData, match="more than 100 scans"):
        unreadable.check_all(dataset, verdicts, 2)
    left = unreadable.leave_out(dataset, verdicts)
    assert [image.sample_id for image in left.unreadable] == ["a/slow.jpg"]
    assert "1 of 7 images cannot be read" in unreadable.report(left, None)
