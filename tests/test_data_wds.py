"""Webdataset tars: keys, labels and parts by their names, images read by offset, each tar indexed once."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from made_sources import load, picture
from probeline.commands import verify
from probeline.data.pixels.loading import open_image
from probeline.data.sources.wds import find_tars
from probeline.errors import BadData, MissingData
from probeline.identity import digest_bytes
from probeline.images import ImageItems
from probeline.session import Session
from probeline.types import DROPPED, DataSet, Skipped
from small_runs import Listening, configuration, extracted


def encoded(row: int) -> bytes:
    buffer = io.BytesIO()
    picture(row).save(buffer, "PNG")
    return buffer.getvalue()


def make_tar(path: Path, members: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def samples(start: int, n: int, **more: bytes) -> dict[str, bytes]:
    rows = range(start, start + n)
    return {
        name: content
        for row in rows
        for name, content in ((f"{row:04d}.png", encoded(row)), (f"{row:04d}.cls", b"%d\n" % (row % 2)))
    } | more


def reds(dataset: DataSet, part: str = "all") -> list[int]:
    images = dataset.images[part]
    return [open_image(images, row).getpixel((0, 0))[0] for row in range(len(dataset.parts[part]))]  # type: ignore[index]


def test_a_range_of_tars(tmp_path: Path) -> None:
    for number in range(3):
        make_tar(tmp_path / f"birds-{number:03d}.tar", samples(4 * number, 4))
    dataset = load(f"wds:{tmp_path}/birds-{{000..002}}.tar")
    part, images = dataset.parts["all"], dataset.images["all"]
    assert (dataset.name, dataset.class_names, dataset.test) == ("wds--birds", ("0", "1"), "all")
    assert part.sample_ids[:5] == tuple(f"birds-00{r // 4}/{r:04d}" for r in range(5))
    assert part.labels.tolist() == [0, 1] * 6
    assert part.content[5] == digest_bytes(encoded(5))
    assert isinstance(images, ImageItems)
    assert images.names[5] == f"{tmp_path}/birds-001.tar: 0005.png"
    assert reds(dataset) == list(range(12))
    assert len(reds(load(f"wds:{tmp_path}/*.tar", limit=5))) == 5
    assert load(f"wds:{tmp_path}").parts["all"].content == part.content


def test_parts_by_the_names_of_the_tars(tmp_path: Path) -> None:
    make_tar(tmp_path / "train" / "0.tar", samples(0, 8))
    make_tar(tmp_path / "validation" / "0.tar", samples(8, 4))
    dataset = load(f"wds:{tmp_path}/{{train,validation}}/*.tar")
    assert {name: reds(dataset, name) for name in dataset.parts} == {"train": list(range(8)), "val": [8, 9, 10, 11]}
    assert dataset.name == f"wds--{tmp_path.name}"
    make_tar(tmp_path / "flat" / "birds-train-0.tar", samples(0, 8))
    make_tar(tmp_path / "flat" / "birds-test-0.tar", {"a.png": encoded(1), "b/c.PNG": encoded(2)})
    dataset = load(f"wds:{tmp_path}/flat/birds-train-0.tar::{tmp_path}/flat/birds-test-*.tar")
    assert list(dataset.parts) == ["train"]
    assert "test: its 2 images have no labels and are left out" in dataset.notes[0]
    make_tar(tmp_path / "flat" / "birds-0.tar", samples(0, 8))
    with pytest.raises(BadData, match=r"tar belongs to no part: birds-0.tar"):
        load(f"wds:{tmp_path}/flat")


def test_labels_and_groups_of_json(tmp_path: Path) -> None:
    def member(row: int, **facts: Any) -> dict[str, bytes]:
        return {f"./x/{row}.png": encoded(row), f"./x/{row}.json": json.dumps(facts).encode()}

    made = member(0, label="b", site="s") | member(1, label="a", site="s") | member(2) | member(3, label=None)
    make_tar(tmp_path / "j.tar", made | {"x/4.png": encoded(4), "x/5.txt": b"caption", "x/0.npy": b"?"})
    dataset = load(f"wds:{tmp_path}/j.tar", columns={"group": "site"})
    assert dataset.class_names == ("a", "b")
    assert dataset.parts["all"].labels.tolist() == [1, 0, DROPPED, DROPPED, DROPPED]
    assert dataset.parts["all"].sample_ids[0] == "j/x/0"
    assert dataset.groups["all"][0] == dataset.groups["all"][1]
    assert load(f"wds:{tmp_path}/j.tar", columns={"label": ""}).class_names == ()


def test_masks_are_not_the_image_and_cls_wins_over_json(tmp_path: Path) -> None:
    members = {"0.mask.png": encoded(9), "0.png": encoded(0), "0.depth.png": encoded(8), "0.cls": b"a"}
    members |= {
        "1.png": encoded(1),
        "1.seg.png": encoded(9),
        "1.json": b'{"label": "c"}',
        "1.cls.txt": b"\xef\xbb\xbfb",
    }
    dataset = load(f"wds:{make_tar(tmp_path / 'a.tar', members)}")
    assert reds(dataset) == [0, 1]
    assert dataset.class_names == ("a", "b")
    members = {"1.cls": b"b", "1.json": b'{"label": "c"}', "1.png": b"", "0.png": b"", "0.cls": b"a"}
    assert load(f"wds:{make_tar(tmp_path / 'b.tar', members)}").class_names == ("a", "b")


def test_a_tar_is_indexed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.utime(make_tar(tmp_path / "a.tar", samples(0, 6)), (1, 1))
    first = load(f"wds:{tmp_path}/a.tar", memo=tmp_path / "memo.json")
    with monkeypatch.context() as patch:
        patch.setattr(tarfile, "open", None)
        again = load(f"wds:{tmp_path}/a.tar", memo=tmp_path / "memo.json")
    assert again.parts["all"].samples_sha256 == first.parts["all"].samples_sha256
    assert reds(again) == list(range(6))
    memo = (tmp_path / "memo.json").read_text()
    for damage in ('"offset":-', '"of":'):
        (tmp_path / "memo.json").write_text(memo.replace('"offset":', damage))
        assert reds(load(f"wds:{tmp_path}/a.tar", memo=tmp_path / "memo.json")) == list(range(6))


def test_an_image_that_changed_in_place_is_refused(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "a.tar", samples(0, 2))
    dataset = load(f"wds:{path}")
    path.write_bytes(path.read_bytes().replace(encoded(1), encoded(7)))
    with pytest.raises(BadData, match=r"other content than when the data set was listed: .*a.tar: 0001.png"):
        open_image(dataset.images["all"], 1)


@pytest.mark.parametrize(
    ("members", "line"),
    [
        (
            {"0.png": b"", "0.jpg": b"", "0.cls": b"1"},
            r"sample has two images: .*a.tar: 0 \(expected one, got png and jpg",
        ),
        ({"0\x1b.png": b""}, "name cannot be printed"),
        ({"0.png": b"", "0.json": b"{"}, r"member cannot be read: .*0.json"),
        ({"0.cls": b"1"}, "no sample has an image"),
        ({"0.png": b"", "0.cls": b"1", "1.png": b"", "1.cls": b"1"}, "too few classes"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, members: dict[str, bytes], line: str) -> None:
    make_tar(tmp_path / "a.tar", members)
    with pytest.raises(BadData, match=line):
        load(f"wds:{tmp_path}/a.tar")


def test_a_member_that_unpacks_to_more_than_an_image_has_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    member = tarfile.TarInfo("0.png")
    member.size = 60 << 30  # and no content: nothing of it is allocated
    path.write_bytes(member.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    with pytest.raises(BadData, match=r"member is too large: .*0.png .*got 64,424,509,440"):
        load(f"wds:{path}")
    member.size, member.type = 512, tarfile.GNUTYPE_SPARSE
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    header[483:495] = b"%011o\0" % (60 << 30)  # the size of the sparse file, of which the tar has a part
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + 8 * ord(" ") + sum(header[156:512]))
    path.write_bytes(bytes(header) + bytes(1536))
    with pytest.raises(BadData, match=r"member is sparse: .*0.png .*got 64,424,509,440"):
        load(f"wds:{path}")


def test_tars_that_are_missing_cut_or_compressed(tmp_path: Path) -> None:
    path = make_tar(tmp_path / "a-0.tar", samples(0, 4))
    with pytest.raises(MissingData, match=r"no such tar: .*a-1.tar"):
        find_tars(f"{tmp_path}/a-{{0..1}}.tar", [])
    with pytest.raises(MissingData, match=r"no such tar: .*none"):
        find_tars(f"{tmp_path}/none*.tar", [])
    with pytest.raises(BadData, match="bad range of tars"):
        find_tars(f"{tmp_path}/a-{{5..1}}.tar", [])
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(encoded(2)) + 20])
    with pytest.raises(BadData, match=r"tar is cut short|no complete tar"):
        load(f"wds:{path}")
    path.write_bytes(b"\x1f\x8b\x08\x00")
    with pytest.raises(BadData, match="compressed, so its images cannot be read by offset"):
        load(f"wds:{path}")
    path.write_bytes(b"no tar" * 200)
    with pytest.raises(BadData, match="file is no complete tar"):
        load(f"wds:{path}")


def test_tars_are_extracted_from(tmp_path: Path) -> None:
    make_tar(tmp_path / "a.tar", samples(0, 20))
    session = extracted(tmp_path / "cache", dataset=f"wds:{tmp_path}/a.tar", limit=None)
    ((backbone,),), _ = session.taps("squeezenet1_1")
    assert session.features(backbone, "all").features.shape == (20, 512)


def test_verify_decodes_images_of_tars_that_were_left_out(tmp_path: Path) -> None:
    tar = make_tar(tmp_path / "a.tar", samples(0, 20) | {"0003.png": encoded(3)[:60]})
    options = {"dataset": f"wds:{tar}", "limit": None}
    extracted(tmp_path / "cache", **options)
    console = Listening()
    verify.run(Session(configuration(tmp_path / "cache", console=console, **options)))
    assert "no problem found" in console.said[-1]


def test_a_recursive_pattern_ends_whatever_links_there_are(tmp_path: Path) -> None:
    fan = tmp_path / "set" / "fan"
    for number in range(30):
        (fan / f"{number}").mkdir(parents=True)
        make_tar(fan / f"{number}" / f"a-{number:02}.tar", {f"{number}.png": encoded(number)})
    for number in range(29):
        for name in "xy":
            (fan / f"{number}" / name).symlink_to(fan / f"{number + 1}")
    (tmp_path / "set" / "loop").symlink_to(".")
    skipped: list[Skipped] = []
    tars = find_tars(f"{tmp_path}/**/fan/**/a-*.tar", skipped)
    assert sorted(path.name for path in tars) == [f"a-{number:02}.tar" for number in range(30)]
    assert {link.reason for link in skipped} == {"a folder that is listed already", "a link back to a folder around it"}
    assert load(f"wds:{tmp_path}/set/**/*.tar").skipped


@pytest.mark.parametrize("pattern", ["::{}", "{}::", " ::{}"])
def test_an_empty_name_is_not_the_current_folder(pattern: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_tar(tmp_path / "a.tar", {"0.png": encoded(0)})
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MissingData, match="no tar is named"):
        load(f"wds:{pattern.format('a.tar')}")
