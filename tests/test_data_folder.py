"""Image folders: which files, in which order, under which labels, and what is refused."""

from __future__ import annotations

import errno
import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from probeline.console import Silence
from probeline.data import registry as datasets
from probeline.data import unreadable
from probeline.data.folders import walk
from probeline.data.folders.layout import PARTS
from probeline.data.registry import count_skipped
from probeline.data.source import LoadRequest, Subset
from probeline.data.sources import folder
from probeline.errors import BadData, MissingData
from probeline.files.memo import Memo
from probeline.files.memory import Lease, read_leased
from probeline.files.reading import FileKind, read_bytes
from probeline.identity import digest_bytes
from probeline.images import ImageFiles
from probeline.types import DROPPED, DataSet, Skipped


def make(root: Path, *names: str, size: int = 4) -> Path:
    """Make files below a folder; each is an image of its own colour: a GIF or, whatever its name, a PNG."""
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = "GIF" if name.lower().endswith(".gif") else "PNG"
        Image.new("RGB", (size, size), (number % 256, number // 256, len(name))).save(path, kind)
    return root


def load(root: Path, tmp_path: Path, *, limit: int | None = None, data_seed: int = 0) -> DataSet:
    memo = Memo(tmp_path / "memo.json")
    request = LoadRequest(Path("nowhere"), Subset(limit, data_seed), memo, Silence(), download=False)
    dataset = datasets.load(f"folder:{root}", request)
    memo.save()
    return dataset


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "flowers"


def test_plain_class_folders_are_one_part(root: Path, tmp_path: Path) -> None:
    make(root, "tulip/b.jpg", "rose/2.png", "rose/10.png", "rose/a/deep/er.bmp", "rose.b/x.webp")
    dataset = load(root, tmp_path)
    part = dataset.parts["all"]
    assert dataset.name == part.dataset == "folder--flowers"
    assert (dataset.train, dataset.test, dataset.val, dataset.flips) == ("all", "all", None, True)
    assert dataset.class_names == part.class_names == ("rose", "rose.b", "tulip")
    assert part.sample_ids == ("rose/10.png", "rose/2.png", "rose/a/deep/er.bmp", "rose.b/x.webp", "tulip/b.jpg")
    assert part.labels.tolist() == [0, 0, 0, 1, 2]
    images = dataset.images["all"]
    assert isinstance(images, ImageFiles)
    assert tuple(images.paths) == tuple(root / name for name in part.sample_ids)
    assert part.content == tuple(digest_bytes(path.read_bytes()) for path in images.paths)
    assert dataset.skipped == ()


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
def test_train_and_val_make_val_the_test(root: Path, tmp_path: Path, val: str) -> None:
    make(root, "train/a/1.jpg", "train/b/1.jpg", f"{val}/a/1.jpg")
    dataset = load(root, tmp_path)
    assert list(dataset.parts) == ["train", "val"]
    assert (dataset.train, dataset.test, dataset.val) == ("train", "val", None)
    assert dataset.parts["val"].sample_ids == (f"{val}/a/1.jpg",)


def test_train_and_test(root: Path, tmp_path: Path) -> None:
    make(root, "train/a/1.jpg", "train/b/1.jpg", "test/b/1.jpg")
    dataset = load(root, tmp_path)
    assert (list(dataset.parts), dataset.test, dataset.val) == (["train", "test"], "test", None)
    assert dataset.parts["test"].labels.tolist() == [1]


def test_train_val_and_test(root: Path, tmp_path: Path) -> None:
    make(root, "train/a/1.jpg", "train/b/1.jpg", "test/b/1.jpg", "validation/a/1.jpg", "extra/1.jpg", "notes.txt")
    dataset = load(root, tmp_path)
    assert (list(dataset.parts), dataset.test, dataset.val) == (["train", "val", "test"], "test", "val")
    assert {skipped.path for skipped in dataset.skipped} == {"extra", "notes.txt"}


def test_class_ids_are_those_of_train(root: Path, tmp_path: Path) -> None:
    make(root, "train/a/1.jpg", "train/b/1.jpg", "train/c/1.jpg", "test/c/1.jpg")
    dataset = load(root, tmp_path)
    assert dataset.parts["test"].labels.tolist() == [2]
    assert dataset.parts["test"].class_names == ("a", "b", "c")


@pytest.mark.parametrize("part", ["val", "test"])
def test_a_class_that_train_lacks_is_named(root: Path, tmp_path: Path, part: str) -> None:
    make(root, "train/a/1.jpg", "train/b/1.jpg", f"{part}/a/1.jpg", f"{part}/zebra/1.jpg")
    with pytest.raises(BadData, match=f"class 'zebra' of {part} is not in train"):
        load(root, tmp_path)


@pytest.mark.parametrize("names", [("b.jpg", "a.png"), ("only/b.jpg", "only/deep/a.png"), ("b.jpg", "only/a.png")])
def test_fewer_than_two_folders_are_no_classes(root: Path, tmp_path: Path, names: tuple[str, ...]) -> None:
    make(root, *names)
    (root / "notes.txt").touch()
    dataset = load(root, tmp_path)
    part = dataset.parts["all"]
    assert part.sample_ids == tuple(sorted(names))
    assert part.labels.tolist() == [DROPPED, DROPPED]
    assert dataset.class_names == part.class_names == ()
    assert not dataset.has_labels
    assert [file.path for file in dataset.skipped] == ["notes.txt"]
    assert len(load(root, tmp_path, limit=1).parts["all"]) == 1


def test_parts_without_classes(root: Path, tmp_path: Path) -> None:
    make(root, "train/1.jpg", "train/2.jpg", "test/3.jpg")
    dataset = load(root, tmp_path)
    assert {name: part.sample_ids for name, part in dataset.parts.items()} == {
        "train": ("train/1.jpg", "train/2.jpg"),
        "test": ("test/3.jpg",),
    }
    assert not dataset.has_labels


@pytest.mark.parametrize("below", ["test", "test/test", "Test/unknown"])
def test_a_test_part_without_classes_is_left_out_and_predict_is_named(root: Path, tmp_path: Path, below: str) -> None:
    train = ("train/a/1.jpg", "train/b/1.jpg")
    make(root, *train, f"{below}/x.jpg", f"{below}/y.jpg")
    dataset = load(root, tmp_path)
    assert (list(dataset.parts), dataset.train, dataset.test, dataset.val) == (["train"], "train", "train", None)
    assert dataset.notes == (
        "test: its 2 images have no labels and are left out; a fifth of train tests. To classify them after export: "
        f"probeline predict {root / below.split('/')[0]} --artifact FOLDER",
    )
    make(root, *train, "val/a/1.jpg", "val/b/1.jpg")
    dataset = load(root, tmp_path)
    assert (list(dataset.parts), dataset.test, dataset.val) == (["train", "val"], "val", None)
    assert "are left out; val tests" in dataset.notes[0]


def test_a_test_folder_in_other_capitals_is_a_misspelt_class(root: Path, tmp_path: Path) -> None:
    make(root, "train/ants/1.jpg", "train/bees/1.jpg", "test/Ants/x.jpg")
    with pytest.raises(BadData, match="class 'Ants' of test is not in train"):
        load(root, tmp_path)


def test_a_class_without_images_to_fit_on_is_named(root: Path, tmp_path: Path) -> None:
    make(root, "a/1.jpg", "b/1.jpg", "c/1.gif")
    with pytest.raises(BadData, match="class 'c' has no images"):
        load(root, tmp_path)


def test_a_class_without_images_to_test_on_is_not_refused(root: Path, tmp_path: Path) -> None:
    make(root, "train/a/1.jpg", "train/b/1.jpg", "test/a/1.jpg", "test/b/1.gif")
    assert load(root, tmp_path).parts["test"].labels.tolist() == [0]


def test_a_part_without_images_is_refused(root: Path, tmp_path: Path) -> None:
    make(root, "train/a/1.jpg", "train/b/1.jpg", "test/a/1.gif")
    with pytest.raises(BadData, match="no images in test"):
        load(root, tmp_path)


@pytest.mark.parametrize("names", [["train/a/1.jpg", "train/b/1.jpg"], ["val/a/1.jpg", "test/a/1.jpg"]])
def test_half_a_layout_is_refused(root: Path, tmp_path: Path, names: list[str]) -> None:
    make(root, *names)
    with pytest.raises(BadData, match="expected train with val, test or both"):
        load(root, tmp_path)


def test_classes_may_be_called_like_parts(root: Path, tmp_path: Path) -> None:
    make(root, "valid/1.jpg", "invalid/1.jpg")
    assert load(root, tmp_path).class_names == ("invalid", "valid")


@pytest.mark.parametrize("names", ["Training Test", "training validation", "Training Testing", "TRAIN testing"])
def test_other_names_of_parts_are_recognised(root: Path, tmp_path: Path, names: str) -> None:
    train, test = names.split()
    make(root, *(f"{part}/{kind}/{n}.jpg" for part in (train, test) for kind in ("ants", "bees") for n in (1, 2)))
    dataset = load(root, tmp_path)
    assert dataset.class_names == ("ants", "bees")
    assert (dataset.train, dataset.parts["train"].sample_ids[0]) == ("train", f"{train}/ants/1.jpg")
    assert dataset.parts[dataset.test].sample_ids[0] == f"{test}/ants/1.jpg"


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train_images", "test_images"),
        ("images_train", "images_val"),
        ("asl_alphabet_train/asl_alphabet_train", "asl_alphabet_test/asl_alphabet_test"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("Train-set", "Test-set"),
        ("trainset", "valset"),
        ("TrainData", "TestData"),
        ("train2017", "val2017"),
        ("train/images", "dev/images"),
        ("train/Training", "testing"),
    ],
)
def test_names_of_parts_among_other_words_are_recognised_and_said(
    train: str, test: str, root: Path, tmp_path: Path
) -> None:
    make(root, *(f"{part}/{kind}/{n}.jpg" for part in (train, test) for kind in ("ants", "bees") for n in (1, 2)))
    dataset = load(root, tmp_path)
    assert dataset.class_names == ("ants", "bees")
    assert dataset.parts["train"].sample_ids[0] == f"{train}/ants/1.jpg"
    assert dataset.parts[dataset.test].sample_ids[0] == f"{test}/ants/1.jpg"
    assert f"folder: {train} is train" in dataset.notes


def test_a_folder_beside_recognised_parts_is_skipped_by_name(root: Path, tmp_path: Path) -> None:
    """Layouts of Fruits-360 and of the Intel scenes."""
    make(root, "Training/a/1.jpg", "Training/b/1.jpg", "Test/a/1.jpg", "test-multiple_fruit/x.jpg", "papers/p.jpg")
    dataset = load(root, tmp_path)
    assert (dataset.class_names, dataset.notes) == (("a", "b"), ())
    assert {skipped.path for skipped in dataset.skipped} == {"test-multiple_fruit", "papers"}
    other = make(tmp_path / "scenes", "seg_train/seg_train/a/1.jpg", "seg_train/seg_train/b/1.jpg", "seg_pred/x/1.jpg")
    make(other, "seg_test/seg_test/b/1.jpg")
    assert load(other, tmp_path).class_names == ("a", "b")
    assert [skipped.path for skipped in load(other, tmp_path).skipped] == ["seg_pred"]


@pytest.mark.parametrize(
    ("names", "classes"),
    [
        (["airplane/1.jpg", "car/1.jpg", "train/1.jpg"], ["airplane", "car", "train"]),
        (["apple/1.jpg", "pear/1.jpg", "test/1.jpg"], ["apple", "pear", "test"]),
        (["bus/1.jpg", "train/1.jpg", "train/steam/2.jpg"], ["bus", "train"]),
        (["train_station/1.jpg", "valley/1.jpg", "test_tube/1.jpg"], ["test_tube", "train_station", "valley"]),
        (["train_station/hall/1.jpg", "test_tube/glass/1.jpg", "sea/1.jpg"], ["sea", "test_tube", "train_station"]),
    ],
)
def test_a_class_may_be_called_like_a_part(names: list[str], classes: list[str], root: Path, tmp_path: Path) -> None:
    dataset = load(make(root, *names), tmp_path)
    assert list(dataset.class_names) == classes
    said = [f"folder: {name} holds images, not class folders: it is a class" for name in classes if name in PARTS]
    assert list(dataset.notes) == said


def test_a_single_folder_of_folders_is_pointed_out(root: Path, tmp_path: Path) -> None:
    dataset = load(make(root, "archive/cats/1.jpg", "archive/dogs/1.jpg"), tmp_path)
    assert not dataset.has_labels
    (note,) = dataset.notes
    assert note.endswith(f"if its folders are the classes: folder:{root / 'archive'}")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["trainA/1.jpg", "trainB/1.jpg", "testA/1.jpg", "testB/1.jpg"], "two folders for t"),
        (["train_1/a/1.jpg", "train_2/a/1.jpg", "test/a/1.jpg"], "two folders for train"),
        (["test/a/1.jpg", "test/b/1.jpg", "learn/c/1.jpg", "learn/d/1.jpg"], "may be a part or a class"),
        (["ants/train/1.jpg", "ants/test/1.jpg", "bees/train/1.jpg"], "put the parts above the classes: train/bees"),
        (
            ["learn/cover.jpg", "learn/a/1.jpg", "learn/b/1.jpg", "exam/cover.jpg", "exam/a/1.jpg", "exam/b/1.jpg"],
            "look",
        ),
    ],
)
def test_a_doubtful_layout_is_refused(names: list[str], message: str, root: Path, tmp_path: Path) -> None:
    with pytest.raises((BadData, MissingData), match=message):
        load(make(root, *names), tmp_path)


@pytest.mark.parametrize(
    "names",
    [
        ["learn/ants/1.jpg", "learn/bees/1.jpg", "exam/ants/1.jpg", "exam/bees/1.jpg"],
        ["fold1/ants/1.jpg", "fold2/bees/1.jpg", "fold3/bees/1.jpg"],
        ["learn/cover.jpg", "learn/ants/1.jpg", "exam/ants/1.jpg"],
    ],
)
def test_parts_under_other_names_are_never_read_as_classes(root: Path, tmp_path: Path, names: list[str]) -> None:
    make(root, *names)
    with pytest.raises(BadData, match=r"look like parts.*called train, val and test.*and .*/(ants|bees)"):
        load(root, tmp_path)


def test_classes_with_images_may_hold_folders_of_the_same_name(root: Path, tmp_path: Path) -> None:
    make(root, "ants/1.jpg", "ants/more/2.jpg", "bees/1.jpg", "bees/more/2.jpg")
    assert load(root, tmp_path).class_names == ("ants", "bees")


def test_two_folders_for_one_part_are_refused(root: Path, tmp_path: Path) -> None:
    make(root, "train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg", "valid/a/1.jpg")
    with pytest.raises(BadData, match=r"two folders for val.*val and valid"):
        load(root, tmp_path)


def test_missing_and_empty_folders(root: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingData, match="flowers"):
        load(root, tmp_path)
    root.write_text("a file")
    with pytest.raises(MissingData):
        load(root, tmp_path)
    root.unlink()
    root.mkdir()
    with pytest.raises(MissingData, match="no images in this folder"):
        load(root, tmp_path)
    make(root, "train/a/1.jpg", "train/b/1.jpg", "val/1.jpg")
    with pytest.raises(MissingData, match="no class folders for val"):
        load(root, tmp_path)
    (root / "test").mkdir()
    make(root, "val/a/1.jpg")
    with pytest.raises(MissingData, match=r"no images in this folder: .*test"):
        load(root, tmp_path)


def test_extensions_in_any_case_count(root: Path, tmp_path: Path) -> None:
    kinds = ["jpg", "jpeg", "png", "bmp", "webp", "tif", "tiff", "ppm", "pgm"]
    make(root, *(f"a/{k}.{k}" for k in kinds), *(f"b/{k}.{k.upper()}" for k in kinds), "b/two.tar.Jpg")
    assert np.bincount(load(root, tmp_path).parts["all"].labels).tolist() == [9, 10]


def test_all_other_files_are_listed_but_hidden_ones(root: Path, tmp_path: Path) -> None:
    make(root, "a/1.jpg", "b/1.jpg", "a/anim.GIF", "b/deep/notes.txt", "stray.jpg")
    (root / "b" / "none").write_text("no image")
    make(root, "a/.DS_Store", "a/._1.jpg", ".hidden/1.jpg", "b/.thumbs/1.jpg")
    (root / "b" / "gone.jpg").symlink_to(root / "nothing.jpg")
    os.mkfifo(root / "b" / "pipe.png")
    dataset = load(root, tmp_path)
    assert dataset.class_names == ("a", "b")
    assert len(dataset.parts["all"]) == 2
    assert set(dataset.skipped) == {
        Skipped("a/anim.GIF", "not a photo (.gif)"),
        Skipped("b/deep/notes.txt", "not a photo (.txt)"),
        Skipped("b/none", "not a photo (no extension)"),
        Skipped("b/gone.jpg", "not a file, or a link to none"),
        Skipped("b/pipe.png", "not a file, or a link to none"),
        Skipped("stray.jpg", "outside the class folders"),
    }


def test_folders_of_systems_are_no_classes_and_hold_no_images(root: Path, tmp_path: Path) -> None:
    systems = ("@eaDir", "#recycle", "@Recycle", "$RECYCLE.BIN", "System Volume Information", "__MACOSX", "lost+found")
    make(root, "a/1.jpg", "b/1.jpg", *(f"{system}/x/1.jpg" for system in systems))
    make(root, *(f"a/{system}/1.jpg/THUMB_M.jpg" for system in systems), ".ipynb_checkpoints/1.jpg")
    dataset = load(root, tmp_path)
    assert dataset.class_names == ("a", "b")
    assert dataset.parts["all"].sample_ids == ("a/1.jpg", "b/1.jpg")
    expected = {name for system in systems for name in (system, f"a/{system}")}
    assert {skipped.path for skipped in dataset.skipped} == expected
    assert {skipped.reason for skipped in dataset.skipped} == {"a folder of the system"}
    make(root, "train/a/1.jpg", "train/b/1.jpg", "test/a/1.jpg", "test/@eaDir/1.jpg")
    assert load(root, tmp_path).parts["test"].sample_ids == ("test/a/1.jpg",)


def test_an_image_is_recognised_by_its_bytes_under_any_name(root: Path, tmp_path: Path) -> None:
    make(root, "a/none", "a/1.JPG.download", "a/2.gif.png", "b/3.jfif", "b/4.aspx", "b/5")
    for path, kind in (("b/3.jfif", "JPEG"), ("b/4.aspx", "WEBP"), ("b/5", "TIFF")):
        Image.new("RGB", (4, 4)).save(root / path, kind)
    Image.new("RGB", (4, 4)).save(root / "a/raw.iiq", "TIFF")
    make(root, "b/6.jpg_original", "b/7.png~", "b/8.THM", "b/9.txt")
    for name, data in {
        "page.html": b"<html>",
        "clip.m4v": b"\0\0\0\x18ftypmp42",
        "x.heic": b"\0\0\0\x18ftypheic",
        "x.svg": b"<svg>",
        "empty": b"",
        "BMW": b"BM is a brand of cars, and no bitmap",
        "P5": b"P5 sample",
    }.items():
        (root / "b" / name).write_bytes(data)
    dataset = load(root, tmp_path)
    images = ("a/1.JPG.download", "a/2.gif.png", "a/none", "b/3.jfif", "b/4.aspx", "b/5")
    assert dataset.parts["all"].sample_ids == images
    assert len(dataset.skipped) == 12
    assert Skipped("b/6.jpg_original", "a backup copy") in dataset.skipped


def test_a_listing_opens_no_file_that_is_called_like_an_image_or_an_annotation(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(root, "a/1.jpg", "b/2.PNG", "b/2.txt", "b/3.xml", "a/looked-at.download")
    opened: list[str] = []
    open_file = os.open

    def watched(path: Path, *rest: int) -> int:
        opened.append(Path(path).name)
        return open_file(path, *rest)

    monkeypatch.setattr(os, "open", watched)
    folder.scan(root)
    assert opened == ["looked-at.download"]


def test_links_are_followed_and_loops_are_not(root: Path, tmp_path: Path) -> None:
    elsewhere = make(tmp_path / "elsewhere", "x/1.jpg", "y.jpg")
    make(root, "a/1.jpg")
    (root / "b").symlink_to(elsewhere / "x")
    (root / "a" / "file.jpg").symlink_to(elsewhere / "y.jpg")
    (root / "a" / "loop").symlink_to(root)
    (root / "a" / "self").symlink_to(root / "a")
    (root / "a" / "twice").symlink_to(elsewhere / "x")
    dataset = load(root, tmp_path)
    assert dataset.parts["all"].sample_ids == (
        "a/1.jpg",
        "a/file.jpg",
        "a/twice/1.jpg",
        "b/1.jpg",
    )
    assert {skipped.path for skipped in dataset.skipped} == {"a/self", "a/loop"}
    assert {skipped.reason for skipped in dataset.skipped} == {"a link back to a folder around it"}


def test_a_link_to_itself_and_folders_without_end_are_skipped(root: Path, tmp_path: Path) -> None:
    make(root, "a/1.jpg", "b/1.jpg", "a/" + "n/" * 120 + "1.jpg")
    (root / "a" / "x").symlink_to("x")
    dataset = load(root, tmp_path)
    assert dataset.parts["all"].sample_ids == ("a/1.jpg", "b/1.jpg")
    reasons = {skipped.reason for skipped in dataset.skipped}
    assert reasons == {"a link to itself, or through too many links", "more than 100 folders deep"}


def test_a_fan_of_links_is_listed_once_and_named(root: Path, tmp_path: Path) -> None:
    make(root, "a/1.jpg", "b/1.jpg")
    fan = make(tmp_path / "fan", *(f"{n:02}/in-{n:02}.jpg" for n in range(30)))
    for number in range(29):
        for name in "xy":
            (fan / f"{number:02}" / name).symlink_to(fan / f"{number + 1:02}")
    (root / "a" / "fan").symlink_to(fan / "00")
    dataset = load(root, tmp_path)
    names = [name.rpartition("/")[2] for name in dataset.parts["all"].sample_ids]
    assert sorted(names) == ["1.jpg", "1.jpg", *(f"in-{n:02}.jpg" for n in range(30))]
    passed = dataset.skipped[0]
    assert (passed.path, passed.reason, passed.detail) == (
        "a/fan/y",
        "a folder that is listed already",
        ": a/fan/x",
    )
    assert len(dataset.skipped) == 29
    assert "29 a folder that is listed already (a/fan/y; a/fan/x/y; and 27 more)" in count_skipped(dataset.skipped)


def test_a_folder_is_listed_by_the_path_with_the_fewest_links(root: Path, tmp_path: Path) -> None:
    make(root, "a/z/1.jpg", "a/2.jpg", "b/1.jpg")
    (root / "a" / "first").symlink_to("z")
    dataset = load(root, tmp_path)
    assert dataset.parts["all"].sample_ids == ("a/2.jpg", "a/z/1.jpg", "b/1.jpg")
    assert [(file.path, file.detail) for file in dataset.skipped] == [("a/first", ": a/z")]


@pytest.mark.parametrize("target", [".", "/", "loop", "/proc"])
def test_links_among_the_classes_that_lead_nowhere_new_are_no_classes(target: str, root: Path, tmp_path: Path) -> None:
    make(root, "a/1.jpg", "b/1.jpg")
    (root / "loop").symlink_to(target)
    dataset = load(root, tmp_path)
    assert dataset.class_names == ("a", "b")
    assert [file.path for file in dataset.skipped] == ["loop"]


def test_a_link_above_what_a_link_leads_to_is_a_link_back(root: Path, tmp_path: Path) -> None:
    pool = make(tmp_path / "pool", "x/1.jpg", "other/2.jpg")
    make(root, "a/1.jpg")
    (root / "b").symlink_to(pool / "x")
    (pool / "x" / "up").symlink_to(pool)
    (pool / "x" / "home").symlink_to(root)
    dataset = load(root, tmp_path)
    assert dataset.parts["all"].sample_ids == ("a/1.jpg", "b/1.jpg")
    assert {(file.path, file.reason) for file in dataset.skipped} == {
        ("b/up", "a link back to a folder around it"),
        ("b/home", "a link back to a folder around it"),
    }


def test_one_folder_under_several_classes_or_parts_is_said(root: Path, tmp_path: Path) -> None:
    make(root, "a/1.jpg", "a/deep/2.jpg")
    (root / "b").symlink_to("a")
    dataset = load(root, tmp_path)
    assert dataset.parts["all"].sample_ids == ("a/1.jpg", "a/deep/2.jpg", "b/1.jpg", "b/deep/2.jpg")
    assert dataset.notes == ("folder: 2 images are listed again, through links: b is a",)
    split = tmp_path / "split"
    for part in ("train", "test"):
        (split / part).mkdir(parents=True)
        for kind in "ab":
            (split / part / kind).symlink_to(root / "a")
    assert load(split, tmp_path).notes == (
        "folder: 6 images are listed again, through links: train/b is train/a; test/a is train/a; test/b is train/a",
    )


def test_what_links_may_list_again_is_bounded(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(root, "a/1.jpg", "a/2.jpg")
    for name in "bcd":
        (root / name).symlink_to("a")
    monkeypatch.setattr(walk, "MOST_REPEATED", 5)
    with pytest.raises(BadData, match=r"many classes or parts.*at most 5 .*3 folders, such as d, which is a"):
        load(root, tmp_path)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE, errno.ENOENT])
def test_a_folder_that_cannot_be_read_is_warned_of_and_strict_stops(
    number: int, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(root, "a/1.jpg", "a/shut/2.jpg", "b/1.jpg")
    scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("shut"):
            raise OSError(number, os.strerror(number))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    dataset = load(root, tmp_path)
    assert dataset.parts["all"].sample_ids == ("a/1.jpg", "b/1.jpg")
    shut = f"a/shut ({os.strerror(number)})"
    assert unreadable.report(dataset, None) == (
        f"1 folder or link cannot be read, images in there are left out: {shut}; --strict stops instead"
    )
    with pytest.raises(BadData, match=r"1 folder or link cannot be read: folder--flowers .*a/shut \("):
        unreadable.refuse(dataset)


def test_an_image_whose_path_is_too_long_is_skipped(root: Path, tmp_path: Path) -> None:
    make(root, "a/1.jpg", "b/1.jpg")
    here, length = os.open(root / "a", os.O_RDONLY), len(str(root / "a"))
    while (
        length + 251 < 4096
    ):  # Linux takes paths below 4,096 bytes: the last folder's is, those of what it holds are not
        os.mkdir("n" * 250, dir_fd=here)
        here, outer, length = os.open("n" * 250, os.O_RDONLY, dir_fd=here), here, length + 251
        os.close(outer)
    os.close(os.open("m" * 251 + ".jpg", os.O_CREAT, dir_fd=here))
    os.mkdir("o" * 255, dir_fd=here)
    os.close(here)
    dataset = load(root, tmp_path)
    assert dataset.parts["all"].sample_ids == ("a/1.jpg", "b/1.jpg")
    assert [file.reason for file in dataset.skipped] == ["a path that is too long"] * 2
    assert len(count_skipped(dataset.skipped)) < 300


@pytest.mark.parametrize("name", ["pipe.jpg", "pipe"])
def test_a_pipe_is_skipped_without_being_opened(name: str, root: Path, tmp_path: Path) -> None:
    make(root, "a/1.jpg", "b/1.jpg")
    os.mkfifo(root / "b" / name)  # opening it would wait for a writer
    assert load(root, tmp_path).skipped == (Skipped(f"b/{name}", "not a file, or a link to none"),)


def test_wrappers_without_end_are_not_followed_for_ever(root: Path, tmp_path: Path) -> None:
    make(root, "train/a/1.jpg", "train/b/1.jpg", "test/a/1.jpg", "test/b/1.jpg")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "train").symlink_to(root / "own" / "train")
    (root / "own").mkdir()
    (root / "own" / "train").symlink_to(elsewhere)
    (root / "own" / "test").symlink_to(root / "test")
    with pytest.raises(MissingData, match="no images in this folder"):
        load(root / "own", tmp_path)


def test_the_folder_itself_may_be_a_link_and_keeps_its_name(root: Path, tmp_path: Path) -> None:
    make(root, "a/1.jpg", "b/1.jpg")
    (tmp_path / "current").symlink_to(root)
    assert load(tmp_path / "current", tmp_path).name == "folder--current"


def test_relative_paths_name_the_folder(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(root, "a/1.jpg", "b/1.jpg")
    monkeypatch.chdir(root)
    for path in (".", "../flowers", "../flowers/", str(root) + "//", "a/.."):
        assert load(Path(path), tmp_path).name == "folder--flowers", path
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load(Path("~/flowers"), tmp_path).name == "folder--flowers"


def test_names_are_composed_whatever_the_file_system_keeps(root: Path, tmp_path: Path) -> None:
    apart = unicodedata.normalize("NFD", "é")
    make(root, f"caf{apart}/b{apart}.jpg", "z/1.jpg")
    part = load(root, tmp_path).parts["all"]
    assert part.class_names == ("café", "z")
    assert part.sample_ids[0] == "café/bé.jpg"
    make(root, "café/x.jpg")
    with pytest.raises(BadData, match="taken twice"):
        load(root, tmp_path)


def test_names_that_are_not_unicode_are_refused_in_plain_words(root: Path, tmp_path: Path) -> None:
    make(root, "a/1.jpg", "b/1.jpg")
    try:
        (root / "a" / os.fsdecode(b"bad\xff.jpg")).touch()
    except OSError:
        pytest.skip("this file system takes no such names")
    with pytest.raises(BadData, match=r"bad\\xff\.jpg"):
        load(root, tmp_path)


def test_order_does_not_depend_on_the_file_system(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(root, *(f"{kind}/{name}.jpg" for kind in "zaB" for name in ("10", "9", "b", "A", "é")))
    expected = load(root, tmp_path)
    assert expected.class_names == ("B", "a", "z")
    assert [i.split("/")[1] for i in expected.parts["all"].sample_ids[:5]] == [
        "10.jpg",
        "9.jpg",
        "A.jpg",
        "b.jpg",
        "é.jpg",
    ]
    scandir = os.scandir

    class Backwards:
        def __init__(self, path: Path) -> None:
            with scandir(path) as entries:
                self._entries = sorted(entries, key=lambda entry: entry.name, reverse=True)

        def __enter__(self) -> list[os.DirEntry[str]]:
            return self._entries

        def __exit__(self, *error: object) -> None:
            pass

    monkeypatch.setattr(os, "scandir", Backwards)
    found = load(root, tmp_path)
    assert found.parts["all"].samples_sha256 == expected.parts["all"].samples_sha256
    assert found.class_names == expected.class_names


def test_a_second_load_reads_a_sample_of_the_images(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(root, "a/1.jpg", "b/1.jpg", "b/2.jpg")
    for path in root.rglob("*.jpg"):
        os.utime(path, (1e9, 1e9))
    expected = load(root, tmp_path).parts["all"].content
    read: list[Path] = []

    def watched(path: Path, kind: FileKind) -> bytes:
        read.append(path)
        return read_bytes(path, kind)

    def watched_too(path: Path, lease: Lease) -> bytes:
        read.append(path)
        return read_leased(path, lease)

    monkeypatch.setattr(folder, "read_bytes", watched)
    monkeypatch.setattr(folder, "read_leased", watched_too)
    monkeypatch.setattr("probeline.data.remembered.SAMPLE", 2)
    assert load(root, tmp_path).parts["all"].content == expected
    assert len(set(read)) == len(read) == 2
    make(root, "b/1.jpg", size=9)
    read.clear()
    assert load(root, tmp_path).parts["all"].content != expected
    assert sorted(read) == sorted(root.rglob("*.jpg"))


def test_a_file_that_changes_while_it_is_hashed_is_not_remembered(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(root, "a/1.jpg", "b/1.jpg")
    for path in root.rglob("*.jpg"):
        os.utime(path, (1e9, 1e9))
    changing = root / "a/1.jpg"

    def changed(path: Path, lease: Lease) -> bytes:
        data = read_leased(path, lease)
        if path == changing:
            os.utime(path, (1e9 + 5, 1e9 + 5))
        return data

    memo = Memo(tmp_path / "other.json")
    with monkeypatch.context() as patch:
        patch.setattr(folder, "read_leased", changed)
        folder.load(str(root), LoadRequest(root, Subset(), memo, Silence()))
    assert memo.digests.get(str(root / "a/1.jpg")) is None
    assert memo.digests.get(str(root / "b/1.jpg")) is not None


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_files_without_permission_are_named(root: Path, tmp_path: Path) -> None:
    make(root, "a/1.jpg", "b/1.jpg")
    (root / "a/1.jpg").chmod(0)
    with pytest.raises(BadData, match=r"a/1\.jpg.*Permission denied"):
        load(root, tmp_path)


def test_a_file_that_vanishes_is_named(root: Path, tmp_path: Path) -> None:
    make(root, "a/1.jpg", "b/1.jpg")
    listing = folder.scan(root)
    (root / "b/1.jpg").unlink()
    with pytest.raises(BadData, match=r"b/1\.jpg"):
        folder.build(listing, "x", LoadRequest(root, Subset(), Memo(tmp_path / "m"), Silence()))


def test_a_limit_reads_only_what_it_keeps(root: Path, tmp_path: Path) -> None:
    make(root, *(f"train/{kind}/{n}.jpg" for kind in "abc" for n in range(20)), *(f"test/a/{n}.jpg" for n in range(4)))
    whole = load(root, tmp_path)
    small = load(root, tmp_path, limit=6)
    assert small.name == small.parts["train"].dataset == "folder--flowers-limit6"
    assert [len(part) for part in small.parts.values()] == [6, 4]
    assert small.parts["train"].labels.tolist() == [0, 0, 1, 1, 2, 2]
    by_id = dict(zip(whole.parts["train"].sample_ids, whole.parts["train"].content, strict=True))
    images = small.images["train"]
    assert isinstance(images, ImageFiles)
    for sample_id, content, path in zip(
        small.parts["train"].sample_ids, small.parts["train"].content, images.paths, strict=True
    ):
        assert by_id[sample_id] == content
        assert path == root / sample_id
    other = load(root, tmp_path, limit=6, data_seed=1)
    assert other.name == "folder--flowers-limit6-dataseed1"
    assert other.parts["train"].sample_ids != small.parts["train"].sample_ids


def test_the_name_does_not_depend_on_the_seed_without_a_limit(root: Path, tmp_path: Path) -> None:
    make(root, "a/1.jpg", "b/1.jpg")
    assert load(root, tmp_path, data_seed=3).name == "folder--flowers"
