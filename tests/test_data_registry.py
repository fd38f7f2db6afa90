"""The data sets by name: digits, the ants and bees, and what a wrong name gets."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from conftest import Install
from probeline.console import Silence
from probeline.data import registry as datasets
from probeline.data.pixels.decode import decode
from probeline.data.registry import SOURCES
from probeline.data.sampling.splits import split
from probeline.data.source import LoadRequest, Subset
from probeline.data.sources import cifar10, hymenoptera
from probeline.errors import BadData, BadOption, MissingData, MissingExtra, UnknownName
from probeline.files.memo import Memo
from probeline.identity import digest_bytes
from probeline.images import ImageArray, ImageFiles
from probeline.options.settings import Settings
from probeline.session import Session
from probeline.types import DataSet, Skipped
from small_runs import extracted, make_photos


def load(name: str, data: Path, *, limit: int | None = None, data_seed: int = 0) -> DataSet:
    memo = Memo(Path("nowhere") / "memo")
    return datasets.load(name, LoadRequest(data, Subset(limit, data_seed), memo, Silence(), download=False))


def test_a_path_gets_the_hint_of_its_source(tmp_path: Path) -> None:
    for name, source in (("t.csv", "table"), ("a.npz", "arrays"), ("s.tar", "wds")):
        (tmp_path / name).touch()
        with pytest.raises(UnknownName, match=rf"a file of this kind is {source}:{tmp_path / name}$"):
            load(str(tmp_path / name), Path("data"))
    with pytest.raises(UnknownName, match=rf"a folder of images is folder:{tmp_path}$"):
        load(str(tmp_path), Path("data"))
    with pytest.raises(UnknownName, match=r"did you mean cifar10\?$"):
        load("cifar-10", Path("data"))


@pytest.mark.parametrize("name", ["mnist", "", "folder", "folder:", "Digits", "digits:", "digits:x"])
def test_unknown_names_list_the_valid_ones(name: str) -> None:
    with pytest.raises(UnknownName, match=r"one of: cifar10, digits, hymenoptera, .*folder:PATH, .*table:FILE"):
        load(name, Path("data"))


@pytest.mark.parametrize("name", ["cifar10", "hymenoptera"])
def test_missing_data_name_the_folder_and_the_download(name: str, tmp_path: Path) -> None:
    with pytest.raises(MissingData, match=f"{tmp_path}.*fetch https://.* by hand"):
        load(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_published_checksums() -> None:
    """Pinned, so that a slip of the keyboard shows."""
    assert (cifar10.BINARY.size, cifar10.BINARY.sha256[:8], cifar10.BINARY.name) == (
        170_052_171,
        "c4a38c50",
        "cifar-10-binary.tar.gz",
    )
    assert (cifar10.PYTHON.size, cifar10.PYTHON.sha256[:8]) == (170_498_071, "6d958be0")
    assert (hymenoptera.ARCHIVE.size, hymenoptera.ARCHIVE.sha256[:8]) == (47_286_322, "fbc41b31")
    assert {len(a.sha256) for a in (cifar10.BINARY, cifar10.PYTHON, hymenoptera.ARCHIVE)} == {64}


def test_digits() -> None:
    dataset = load("digits", Path("nowhere"))
    part, images = dataset.parts["all"], dataset.images["all"]
    assert (dataset.name, dataset.train, dataset.test, dataset.flips) == ("digits", "all", "all", False)
    assert isinstance(images, ImageArray)
    assert images.pixels.shape == (1797, 8, 8, 3)
    assert images.pixels.dtype == np.uint8
    assert (images.pixels == images.pixels[..., :1]).all()
    assert set(np.unique(images.pixels)) == {round(value * 255 / 16) for value in range(17)}
    assert part.class_names == tuple("0123456789")
    assert part.labels[:10].tolist() == list(range(10))
    assert part.sample_ids[:2] == ("all/00000", "all/00001")
    grey = np.ascontiguousarray(images.pixels[7, :, :, 0])
    assert part.content[7] == digest_bytes(b"8x8:" + grey.tobytes())


def test_digits_never_change() -> None:
    """The data set's identity: where this fails, every cached embedding of it is lost."""
    assert load("digits", Path("nowhere")).parts["all"].samples_sha256[:16] == "d517d04056f7fac0"


def test_a_limit_of_digits() -> None:
    whole, small = load("digits", Path("nowhere")), load("digits", Path("nowhere"), limit=25, data_seed=2)
    assert small.name == small.parts["all"].dataset == "digits-limit25-dataseed2"
    rows = [int(sample_id.split("/")[1]) for sample_id in small.parts["all"].sample_ids]
    assert len(rows) == 25
    assert small.parts["all"].content == tuple(whole.parts["all"].content[row] for row in rows)
    assert sorted(set(small.parts["all"].labels.tolist())) == list(range(10))
    splits = split(small, data_seed=0)
    assert len(splits.train) + len(splits.val) + len(splits.test) == 25
    with pytest.raises(BadOption, match="expected 10 or more"):
        load("digits", Path("nowhere"), limit=9)


def test_the_ants_and_bees(shared: Path) -> None:
    dataset = load("hymenoptera", shared / "data")
    assert (dataset.name, dataset.train, dataset.test, dataset.val, dataset.flips) == (
        "hymenoptera",
        "train",
        "val",
        None,
        True,
    )
    assert dataset.class_names == ("ants", "bees")
    assert {name: np.bincount(part.labels).tolist() for name, part in dataset.parts.items()} == {
        "train": [123, 121],
        "val": [70, 83],
    }
    assert dataset.skipped == (Skipped("train/ants/imageNotFound.gif", "not a photo (.gif)"),)
    images = dataset.images["train"]
    assert isinstance(images, ImageFiles)
    assert [path.name for path in images.paths if path.suffix == ".jpeg"]
    assert [path.name for path in images.paths if " " in path.name]
    splits = split(dataset, data_seed=0)
    assert splits.chosen_by == "5-fold (n=244)"
    assert len(splits.test) == 153


def test_every_photo_of_the_ants_and_bees_can_be_read(shared: Path) -> None:
    dataset = load("hymenoptera", shared / "data", limit=40)
    for images in dataset.images.values():
        assert isinstance(images, ImageFiles)
        assert all(decode(path).mode == "RGB" for path in images.paths)


def test_the_ants_and_bees_as_a_folder_are_the_same_samples(shared: Path) -> None:
    named = load("hymenoptera", shared / "data")
    folder = load(f"folder:{shared / 'data' / 'hymenoptera_data'}", Path("nowhere"))
    assert folder.name == "folder--hymenoptera_data"
    for part in ("train", "val"):
        assert folder.parts[part].samples_sha256 == named.parts[part].samples_sha256


def test_a_folder_that_only_resembles_the_ants_and_bees_is_refused(tmp_path: Path) -> None:
    for part in ("train", "val"):
        for kind in ("ants", "bees", "wasps"):
            (tmp_path / "hymenoptera_data" / part / kind).mkdir(parents=True)
            Image.new("RGB", (2, 2)).save(tmp_path / "hymenoptera_data" / part / kind / "1.png")
    with pytest.raises(BadData, match=r"'ants': 123.*'ants': 1.*folder:"):
        load("hymenoptera", tmp_path)


def test_nothing_here_imports_torch() -> None:
    rooms = ["registry", "sources.folder", "pixels.decode", "pixels.loading", "sampling.splits"]
    program = (
        "import sys\n"
        + "".join(f"import probeline.data.{room}\n" for room in rooms)
        + "probeline.data.registry.names()\n"
        + "import probeline.data.objects.spec\n"
        + "heavy = {'torch', 'sklearn', 'scipy', 'matplotlib', 'h5py', 'pandas', 'pyarrow', 'datasets'}\n"
        + "heavy &= set(sys.modules)\n"
        + "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_home_of_nobody_is_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match="nosuchuser"):
        load("folder:~nosuchuser/pictures", tmp_path)


# What is skipped


class RecordingConsole(Silence):
    """A console that records its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.details: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    def detail(self, line: str) -> None:
        self.details.append(line)


def test_skipped_files_are_counted_by_kind_and_named_in_detail(tmp_path: Path) -> None:
    root = make_photos(tmp_path / "flowers", n=12)
    for number in range(3):
        (root / "ants" / f"{number}.txt").touch()
    (root / "notes.md").touch()
    console = RecordingConsole()
    settings = Settings.of(dataset=f"folder:{root}", cache=tmp_path / "cache", console=console)
    assert len(Session(settings).dataset.skipped) == 4
    assert console.lines == ["skipped 4 files: 3 not a photo (.txt), 1 outside the class folders (-v names them)"]
    assert console.details[0] == "skipped notes.md: outside the class folders"
    assert console.details[1:] == [f"skipped ants/{number}.txt: not a photo (.txt)" for number in range(3)]
    assert datasets.count_skipped([Skipped("a", "empty")]) == "skipped 1 file: 1 empty (-v names them)"


# Sources that other packages add

GROUP = "probeline.data"

TOY = """
import numpy as np
from probeline.identity import digest_bytes
from probeline.images import ImageArray
from probeline.types import DataSet, Part

SPEC = "toy:N"


def load(argument, request):
    pixels = np.random.default_rng(0).integers(0, 256, (int(argument), 16, 16, 3), dtype=np.uint8)
    labels = np.arange(len(pixels)) % 2
    rows = request.subset.rows(labels, classes=2)
    name = request.subset.name("toy")
    part = Part(
        dataset=name,
        name="all",
        sample_ids=tuple(f"all/{row}" for row in rows),
        content=tuple(digest_bytes(pixels[row].tobytes()) for row in rows),
        labels=labels[rows],
        class_names=("even", "odd"),
    )
    images = {"all": ImageArray(pixels[rows])}
    return DataSet(name, {"all": part}, images, part.class_names, train="all", test="all")
"""


def test_a_source_of_another_package_is_extracted_from(install: Install, tmp_path: Path) -> None:
    install("toy_source", GROUP, "toy = toy_source", TOY)
    assert datasets.names()[:3] == ("cifar10", "digits", "hymenoptera")
    assert datasets.names()[-1] == "toy:N"
    session = extracted(tmp_path / "cache", dataset="toy:40", limit=None)
    assert len(session.dataset.parts["all"]) == 40
    ((backbone,),), _ = session.taps("squeezenet1_1")
    assert session.features(backbone, "all").features.shape == (40, 512)
    assert load("toy:40", Path("nowhere"), limit=10).name == "toy-limit10"
    with pytest.raises(UnknownName, match=r"unknown data set 'toy'.*one of: .*toy:N"):
        load("toy", Path("nowhere"))


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("SPEC = 'broken'", "one without load"),
    ],
)
def test_a_source_that_does_not_load_is_named(code: str, reason: str, install: Install) -> None:
    install(f"broken_{len(code)}", GROUP, f"broken = broken_{len(code)}", code)
    with pytest.raises(MissingExtra, match=rf"'broken' cannot be loaded: broken_{len(code)} of .*got {reason}"):
        load("broken", Path("nowhere"))
    assert "broken" in datasets.names(), "it is listed all the same"
    assert len(load("digits", Path("nowhere")).parts) == 1, "and no other is held up"


def test_a_name_that_two_packages_give_is_refused(install: Install) -> None:
    install("first_toy", GROUP, "twice = first_toy", TOY)
    install("second_toy", GROUP, "twice = second_toy", TOY)
    with pytest.raises(BadOption, match=r"two packages give the data source 'twice' \(got .*first_toy.*\)"):
        load("twice:4", Path("nowhere"))


def test_every_source_is_what_the_seam_asks_for() -> None:
    for name in SOURCES.own():
        source = SOURCES.load(name)
        assert source.SPEC.partition(":")[0] == name
        assert len(inspect.signature(source.load).parameters) == 2
