"""Tables of images: columns, paths and splits as people write them, and every mistake in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from made_sources import load, make_pictures
from probeline.data.annotations.labels import relabel
from probeline.errors import BadData, BadOption, MissingData, UnknownName
from probeline.identity import digest_bytes
from probeline.options.checks import check_settings
from probeline.options.settings import Settings
from probeline.session import Session
from probeline.types import DROPPED, DataSet
from small_runs import Listening, extracted

NAMES = ("a/1.png", "a/2.jpg", "b/3.png", "4.png")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_pictures(tmp_path / "pictures", *NAMES)


def table(root: Path, content: str | bytes, name: str = "table.csv") -> str:
    path = root / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return f"table:{path}"


def classes(dataset: DataSet, part: str = "all") -> dict[str, str | None]:
    rows = dataset.parts[part]
    names = [None if label == DROPPED else rows.class_names[label] for label in rows.labels]
    return dict(zip(rows.sample_ids, names, strict=True))


def test_paths_and_labels_relative_to_the_table(root: Path) -> None:
    dataset = load(table(root, "file_name,label\nb/3.png,ü\n4.png,x\na/1.png,x\na/2.jpg,ü\n"))
    assert (dataset.name, dataset.train, dataset.test) == ("table--table", "all", "all")
    assert classes(dataset) == {"4.png": "x", "a/1.png": "x", "a/2.jpg": "ü", "b/3.png": "ü"}
    assert dataset.class_names == ("x", "ü")
    assert dataset.parts["all"].content[0] == digest_bytes((root / "4.png").read_bytes())
    assert dataset.notes == (), "nothing is guessed"


def test_the_order_of_the_lines_changes_no_key(root: Path) -> None:
    lines = [f"{name},{number % 2}" for number, name in enumerate(NAMES)]
    one = load(table(root, "\n".join(["path,class", *lines])))
    other = load(table(root, "\n".join(["path,class", *reversed(lines)]), "other.csv"))
    assert one.parts["all"].samples_sha256 == other.parts["all"].samples_sha256
    assert (one.parts["all"].labels == other.parts["all"].labels).all()


@pytest.mark.parametrize(
    "content",
    [
        "\ufeffPath;Class\r\na\\1.png;x\r\nb\\3.png;y\r\n",
        "path\tclass\na/1.png\tx\nb/3.png\ty\n".encode("utf-16"),
        'idx,"image path","Target"\n0,"a/1.png","x"\n\n1,"./b//3.png"," y "\n',
        "{root}/a/1.png,x\n{root}/b/3.png,y\n",
    ],
)
def test_dialects(root: Path, content: str | bytes) -> None:
    if isinstance(content, str) and "{root}" in content:
        content = "filename,category\n" + content.replace("{root}", str(root))
    assert classes(load(table(root, content))) == {"a/1.png": "x", "b/3.png": "y"}


def test_names_are_found_as_our_tables_write_them(root: Path) -> None:
    Image.new("RGB", (9, 9)).save(root / "=a\x1b\u202e.png")
    dataset = load(table(root, "file_name,label\n'=a\\x1b\\u202e.png,'=x\na/1.png,می\u200cخواهم\n"))
    assert classes(dataset) == {"=a\x1b\u202e.png": "=x", "a/1.png": "می\u200cخواهم"}


@pytest.mark.parametrize(
    ("names", "how"),
    [
        (["a/1", "b/3"], "without their extensions"),
        (["1", "3"], "by their file names without extensions, whatever the folder"),
        (["old/place/1.png", "old/place/3.png"], "by their file names, whatever the folder"),
    ],
)
def test_ids_without_extension_or_folder(root: Path, names: list[str], how: str) -> None:
    dataset = load(table(root, f"id,label\n{names[0]},x\n{names[1]},y\n"))
    assert classes(dataset) == {"a/1.png": "x", "b/3.png": "y"}
    assert dataset.notes[0].startswith(f"table: images from column 'id', {how};")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.txt", "a/1.png 0\nb/3.png 1\n"),
        ("t.csv", "0,a/1.png\r\n1,b/3.png"),
        ("t.tsv", "b/3.png\t1\na/1.png\t0\n"),
    ],
)
def test_lists_without_a_header(root: Path, name: str, content: str) -> None:
    dataset = load(table(root, content, name))
    assert classes(dataset) == {"a/1.png": "0", "b/3.png": "1"}
    assert dataset.notes[0].startswith("table: without a header; images from column 'file_name'; labels from column")
    wide = table(root, "a/1.png,x,7\nb/3.png,x,8\n", "wide.csv")
    assert classes(load(wide, columns={"label": "3"})) == {"a/1.png": "7", "b/3.png": "8"}
    assert "takes one of: 2, 3)" in load(wide).notes[0]


def test_images_elsewhere_and_named_columns(root: Path, tmp_path: Path) -> None:
    spec = table(tmp_path, "who,path,label,kind\nx,1.png,0,7\ny,2.jpg,0,10\n")
    dataset = load(spec, images=root / "a", columns={"label": "kind"})
    assert classes(dataset) == {"1.png": "7", "2.jpg": "10"}
    assert dataset.class_names == ("7", "10"), "numbers in their order"
    assert "labels from column 'kind'; not used: label (--columns chooses)" in dataset.notes[0]
    assert not load(spec, images=root / "a", columns={"label": ""}).has_labels
    with pytest.raises(BadData, match=r"the table has no column 'sort'.*expected one of: who, path, label, kind"):
        load(spec, images=root / "a", columns={"label": "sort"})


@pytest.mark.parametrize(
    ("values", "parts", "test"),
    [
        ("Train TRAINING val test", {"train": 2, "val": 1, "test": 1}, "test"),
        ("train train dev valid", {"train": 2, "val": 2}, "val"),
        ("train train train testing", {"train": 3, "test": 1}, "test"),
        ("train train train train", {"train": 4}, "train"),
    ],
)
def test_splits_in_their_spellings(root: Path, values: str, parts: dict[str, int], test: str) -> None:
    lines = [f"{n},{k % 2},{s}" for k, (n, s) in enumerate(zip(NAMES, values.split(), strict=True))]
    dataset = load(table(root, "\n".join(["file,label,subset", *lines])))
    assert {name: len(part) for name, part in dataset.parts.items()} == parts
    assert (dataset.train, dataset.test) == ("train", test)


def test_a_column_of_another_meaning_is_no_split(root: Path) -> None:
    dataset = load(table(root, "image_id,target,dataset\n1,x,rome\n3,y,oslo\n"))
    assert (list(dataset.parts), dataset.class_names) == (["all"], ("x", "y"))
    assert "not used: dataset" in dataset.notes[0]


def test_names_that_several_images_have(root: Path) -> None:
    make_pictures(root, "b/1.png")
    with pytest.raises(MissingData, match=r"1 of 2 images of the table do not exist, or their names are not unique: 1"):
        load(table(root, "id,label\n1,x\n3,y\n"))


def test_rows_without_a_label_stay_and_are_counted(root: Path) -> None:
    lines = "".join(f"{name},{label}\n" for name, label in zip(NAMES, ("1.0", "", "2.0", "1.0"), strict=True))
    dataset = load(table(root, f"file_name,label\n{lines}"))
    assert classes(dataset) == {"4.png": "1", "a/1.png": "1", "a/2.jpg": None, "b/3.png": "2"}
    assert dataset.notes == ("table: 1 row without a label, in no split",)
    assert len(load(table(root, f"file_name,label\n{lines}"), limit=3).parts["all"]) == 3


def test_without_labels_the_keys_are_the_same(root: Path) -> None:
    bare = load(table(root, "image\n" + "\n".join(NAMES)))
    labelled = load(table(root, "image,y\n" + "\n".join(f"{n},{k % 2}" for k, n in enumerate(NAMES))))
    assert (bare.has_labels, bare.class_names) == (False, ())
    assert bare.parts["all"].samples_sha256 == labelled.parts["all"].samples_sha256
    (root / "l.csv").write_text("id,label\n" + "\n".join(f"{n},{k % 2}" for k, n in enumerate(NAMES)))
    assert classes(relabel(bare, root / "l.csv", whole=True)) == classes(labelled)


def test_an_unlabelled_test_part_is_left_out(root: Path) -> None:
    rows = "a/1.png,x,train\na/2.jpg,y,train\nb/3.png,,test\n4.png,,test\n"
    dataset = load(table(root, "path,label,split\n" + rows))
    assert (list(dataset.parts), dataset.test) == (["train"], "train")
    assert dataset.notes[1].startswith("test: its 2 images have no labels and are left out; a fifth of train tests.")


def test_groups_are_those_of_a_groups_file(root: Path) -> None:
    dataset = load(table(root, "path,label,patient\na/1.png,x,p\na/2.jpg,y,p\nb/3.png,x,\n4.png,y,q\n"))
    numbers = dict(zip(dataset.parts["all"].sample_ids, dataset.groups["all"].tolist(), strict=True))
    assert numbers["a/1.png"] == numbers["a/2.jpg"]
    assert len(set(numbers.values())) == 3
    assert dataset.title.startswith("table--table--groups-")
    assert dataset.joins[0].summary.startswith("column patient: 2 groups")


def test_repeated_rows_count_once_and_contradictions_are_refused(root: Path) -> None:
    dataset = load(table(root, "path,label\na/1.png,x\nb/3.png,y\n./a/1.png,x\n"))
    assert len(dataset.parts["all"]) == 2
    assert dataset.notes[1:] == ("table: 1 repeated row left out",)
    with pytest.raises(BadData, match=r"1 rows that contradict.*4 \(expected as in line 2: a/1.png, x, got .*, y\)"):
        load(table(root, "path,label\na/1.png,x\nb/3.png,y\na/1.png,y\n"))


def test_all_missing_images_are_listed(root: Path) -> None:
    console = Listening()
    with pytest.raises(MissingData, match=r"2 of 3 images of the table do not exist: .*got 'c/1.png', ''\).*--images"):
        load(table(root, "path,label\na/1.png,x\nc/1.png,y\n,y\n"), console=console)
    assert console.said == ["missing: c/1.png (line 3)", "missing: an empty name (line 4)"]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("", "no column of images.*got an empty file"),
        (
            "when,label\n",
            r"no column of images: .*got when, label\); name it: --columns file_name=",
        ),
        ("path,label\n", "has no rows"),
        ("path,path\na/1.png,x\n", "two columns 'path'"),
        ("path,label\na/1.png,x\nb/3.png,x\n", r"too few classes: .*got x"),
        (
            "path,split\na/1.png,0\nb/3.png,1\n4.png,1\n",
            r"'split' has other .*got 1 \(2\), 0 \(1\)\).*split= to",
        ),
        ("path,fold\na/1.png,0\nb/3.png,train\n", r"'fold' has other values .*got 0 \(1\)\)"),
        ("path,y\na/1.png,0.25\nb/3.png,-1.5\n", r"labels of the table are numbers that are not whole: .*got 0.25"),
        ("path,split\na/1.png,test\n", "no row of train.*got test"),
        ("path,label\na/1.png,x\x1b\n", "label that cannot be printed: .*line 2"),
        ("path,label\na/1.png\n", "line of another length"),
        ("path,label\na/1.png,Cat\nb/3.png,cat\na/2.jpg,dog\n", None),
    ],
)
def test_mistakes_are_one_line(root: Path, content: str, line: str | None) -> None:
    if line is None:
        assert load(table(root, content)).notes[1:] == ("table: classes that differ in capitals alone: Cat and cat",)
        return
    with pytest.raises(BadData, match=line):
        load(table(root, content))


def test_a_table_or_a_folder_that_is_missing(root: Path) -> None:
    with pytest.raises(MissingData, match=r"no table: .*none.csv"):
        load(f"table:{root}/none.csv")
    with pytest.raises(MissingData, match="no such folder of images: nowhere"):
        load(table(root, "path\n4.png\n"), images=Path("nowhere"))


def test_parquet_is_read_as_csv_is(root: Path) -> None:
    pandas = pytest.importorskip("pandas")
    labels = pandas.Series([1, None, 3, 1], dtype="float")
    pandas.DataFrame({"path": NAMES, "label": labels, "vector": [[1.0]] * 4}).to_parquet(root / "t.parquet")
    assert classes(load(f"table:{root}/t.parquet")) == {"4.png": "1", "a/1.png": "1", "a/2.jpg": None, "b/3.png": "3"}
    (root / "bad.parquet").write_text("path,label\n")
    with pytest.raises(BadData, match="the table is not valid Parquet"):
        load(f"table:{root}/bad.parquet")


def test_options_of_tables_are_refused_elsewhere() -> None:
    with pytest.raises(BadOption, match=r"nothing that is run uses --images \(expected it with --dataset table:FILE"):
        check_settings(Settings.of(dataset="digits", images=Path("x")))
    with pytest.raises(BadOption, match=r"nothing that is run uses --columns.*got digits"):
        check_settings(Settings.of(dataset="digits", columns=("label=x",)))
    check_settings(Settings.of(dataset="digits", columns=("label=x",), labels=Path("x.csv")))
    with pytest.raises(UnknownName, match=r"unknown name in --columns 'labl'.*did you mean label\?"):
        check_settings(Settings.of(dataset="table:x.csv", columns=("labl=x",)))
    with pytest.raises(BadOption, match=r"expected NAME=COLUMN, such as label=class, got img"):
        check_settings(Settings.of(dataset="table:x.csv", columns=("img",)))
    with pytest.raises(BadOption, match="got label twice"):
        check_settings(Settings.of(dataset="table:x.csv", columns=("label=x", "label=y")))


def test_a_table_is_extracted_from(tmp_path: Path) -> None:
    root = make_pictures(tmp_path / "pictures", *(f"{number}.png" for number in range(20)))
    spec = table(root, "id,label\n" + "".join(f"{number},{number % 2}\n" for number in range(20)))
    session = extracted(tmp_path / "cache", dataset=spec, limit=None)
    ((backbone,),), _ = session.taps("squeezenet1_1")
    assert session.features(backbone, "all").features.shape == (20, 512)
    splits = Session(session.settings).splits
    assert np.bincount(session.dataset.parts["all"].labels[splits.test.rows]).tolist() == [2, 2]
