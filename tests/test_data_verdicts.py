"""Which images cannot be decoded, and what is remembered of that."""

from __future__ import annotations

import io
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from probeline.data import verdicts as module
from probeline.data.verdicts import Verdicts, looks_broken
from probeline.identity import digest_bytes, seal, unseal


def encoded(kind: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)).save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
def test_a_file_without_its_end_looks_broken(kind: str) -> None:
    whole = encoded(kind)
    assert not looks_broken(whole)
    for share in (0.0, 0.05, 0.3, 0.9):
        assert looks_broken(whole[: int(share * len(whole))])
    assert looks_broken(encoded("GIF"))


def test_only_what_cannot_be_decoded_is_a_verdict(tmp_path: Path) -> None:
    verdicts = Verdicts(tmp_path / "v.json")
    sound = encoded("JPEG") + b"a camera's own data: \xff\xda"
    assert looks_broken(sound)
    for data in (sound, encoded("JPEG")[:300], b"", encoded("GIF"), b"<html>"):
        verdicts.look_at(data, digest_bytes(data))
    assert verdicts.reason(digest_bytes(sound)) is None
    assert verdicts.reason(digest_bytes(b"")) == "an empty file"
    assert (verdicts.reason(digest_bytes(encoded("GIF"))) or "").startswith("a GIF, none of JPEG")
    assert len(verdicts.known()) == 4


def test_verdicts_are_kept_with_those_of_other_processes(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "v.json"
    one, other = Verdicts(path), Verdicts(path)
    one.add("a" * 64, "cut")
    one.save()
    other.add("b" * 64, "cut")
    other.save()
    assert Verdicts(path).known() == {"a" * 64, "b" * 64}
    one.refresh()
    assert one.known() == {"a" * 64, "b" * 64}
    one.forget(["a" * 64])
    assert Verdicts(path).known() == {"b" * 64}


def test_verdicts_of_another_decoder_and_damaged_ones_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "v.json"
    verdicts = Verdicts(path)
    verdicts.add("a" * 64, "cut")
    verdicts.save()
    data = path.read_bytes()
    path.write_bytes(data.replace(b"cut", b"cat"))
    assert not Verdicts(path).known()
    path.write_bytes(data)
    monkeypatch.setattr(module, "PREPROCESS_VERSION", 99)
    assert not Verdicts(path).known()


@pytest.mark.parametrize("unreadable", [{"a" * 64: 3}, {"x": "cut"}, ["a" * 64], None, {"a" * 64: "y" * 70_000}])
def test_a_sealed_list_of_anything_else_is_none(unreadable: object, tmp_path: Path) -> None:
    path = tmp_path / "v.json"
    verdicts = Verdicts(path)
    verdicts.add("b" * 64, "cut")
    verdicts.save()
    record = unseal(path.read_bytes())
    assert record is not None
    path.write_bytes(seal({**record, "unreadable": unreadable}))
    assert not Verdicts(path).known()
    verdicts = Verdicts(path)
    verdicts.add("c" * 64, "cut")
    verdicts.save()
    assert Verdicts(path).known() == {"c" * 64}


def test_a_dry_run_and_a_missing_path_write_nothing(tmp_path: Path) -> None:
    for verdicts in (Verdicts(tmp_path / "v.json", read_only=True), Verdicts(None)):
        verdicts.add("a" * 64, "cut")
        verdicts.save()
        assert verdicts.known() == {"a" * 64}
    assert not list(tmp_path.iterdir())


def test_suspects_are_decoded_though_they_look_whole(tmp_path: Path) -> None:
    whole = bytearray(encoded("PNG"))
    whole[len(whole) // 2] ^= 0xFF
    data = bytes(whole)
    plain, suspicious = Verdicts(None), Verdicts(None, suspects=[digest_bytes(data)])
    for verdicts in (plain, suspicious):
        threads = [threading.Thread(target=verdicts.look_at, args=(data, digest_bytes(data))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert (len(plain.known()), len(suspicious.known())) == (0, 1)
