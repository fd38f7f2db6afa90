"""The data sets by name: digits, the ants and bees, and what a wrong name gets."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from probeline.console import Silence
from probeline.data.pixels.decode import decode
from probeline.data.sampling.splits import split
from probeline.data.sources import cifar10, hymenoptera
from probeline.data.sources import registry as datasets
from probeline.errors import BadData, BadOption, MissingData, UnknownName
from probeline.identity import digest_bytes
from probeline.memo import Memo
from probeline.types import DataSet, ImageArray, ImageFiles, Skipped


def load(name: str, data: Path, *, limit: int | None = None, data_seed: int = 0) -> DataSet:
    memo = Memo(Path("nowhere") / "memo")
    return datasets.load(name, data, memo, limit=limit, data_seed=data_seed, console=Silence(), download=False)


@pytest.mark.parametrize("name", ["mnist", "", "folder", "folder:", "Digits", "digits:", "digits:x"])
def test_unknown_names_list_the_valid_ones(name: str) -> None:
    with pytest.raises(UnknownName, match="one of: digits, cifar10, hymenoptera, folder:PATH"):
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


def test_a_folder_that_only_looks_like_the_ants_and_bees_is_refused(tmp_path: Path) -> None:
    for part in ("train", "val"):
        for kind in ("ants", "bees", "wasps"):
            (tmp_path / "hymenoptera_data" / part / kind).mkdir(parents=True)
            Image.new("RGB", (2, 2)).save(tmp_path / "hymenoptera_data" / part / kind / "1.png")
    with pytest.raises(BadData, match=r"'ants': 123.*'ants': 1.*folder:"):
        load("hymenoptera", tmp_path)


def test_nothing_here_imports_torch() -> None:
    rooms = ["sources.registry", "sources.folder", "pixels.decode", "pixels.loading", "sampling.splits"]
    program = (
        "import sys\n"
        + "".join(f"import probeline.data.{room}\n" for room in rooms)
        + "heavy = {'torch', 'sklearn', 'scipy', 'matplotlib', 'h5py'} & set(sys.modules)\n"
        + "sys.exit(str(heavy) if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_home_of_nobody_is_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match="nosuchuser"):
        load("folder:~nosuchuser/pictures", tmp_path)
