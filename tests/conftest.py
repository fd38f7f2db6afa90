"""What several test files share: real data where it is at hand, and small parts made on the spot."""

from __future__ import annotations

import gc
import os
import shutil
import signal
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_limits

from grids import short_grids, whole_grids
from probeline.backbones import torchvision_import as vision
from probeline.identity import digest
from probeline.images import Preprocess
from probeline.types import Backbone, Part
from sketches import drawn, sketched
from small_finetunes import extract_two_nets, make_world
from small_runs import small_shards

vision.models()  # before any test imports timm, which imports torchvision by itself

SHARED = Path(__file__).parents[2] / "shared"


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect garbage neither while test files are imported, a quarter of that time, nor later in what they made.

    And all that lives only after many tests: by default that takes a tenth of their time.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()
        gc.set_threshold(700, 10, 1000)


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    """Every test leaves torch's thread count as it found it."""
    before = torch.get_num_threads()
    yield
    assert torch.get_num_threads() == before


@pytest.fixture(scope="session", autouse=True)
def own_user_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing is recorded in the folder of the user who runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("user")))
        yield


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Small nets gain nothing from more, and lose much where other processes want the same cores.

    A module's shared runs have one too: sums differ in their last digits where counts of threads do.
    """
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="session", autouse=True)
def interrupts_that_arrive() -> Iterator[None]:
    """Programs that tests start and interrupt inherit that SIGINT is ignored, as a shell's background jobs have it."""
    before = signal.getsignal(signal.SIGINT)
    if before == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """Files of tests need not survive a loss of power; what would, `faults` checks without this machine's disk."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: os.fstat(descriptor) and None)
        yield


@pytest.fixture(scope="session", autouse=True)
def sketched_figures() -> Iterator[None]:
    """Figures of reports are composed but not rendered, which takes longer than all else.

    A module whose tests look at them uses `drawn_figures`. Each kind of figure is rendered in the tests of its room.
    """
    with sketched():
        yield


@pytest.fixture(scope="module")
def drawn_figures(sketched_figures: None) -> Iterator[None]:
    """Figures of reports as users get them, in all of a module."""
    with drawn():
        yield


@pytest.fixture(scope="session", autouse=True)
def few_l2() -> Iterator[None]:
    """Three values of l2 each for the exact probe and scikit-learn's solver, as the whole path takes seconds.

    A module whose tests need them all uses `every_l2`.
    """
    with short_grids():
        yield


@pytest.fixture(scope="module")
def every_l2(few_l2: None) -> Iterator[None]:
    """The l2 that users get, in all of a module."""
    with whole_grids():
        yield


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without figures, which take longer than all else, where a test looks at none."""
    monkeypatch.setattr("probeline.report.figures.draw", lambda *_: [])


@pytest.fixture(name="small_shards")
def entries_of_small_shards() -> Iterator[None]:
    """Entries whose shards hold a few rows."""
    with small_shards():
        yield


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures whose channel shows the class, and a weights file; leave it as it is."""
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="session")
def extracted(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a cache that holds the features of two nets of that world; leave it as it is."""
    with threadpool_limits(1):
        return extract_two_nets(world, tmp_path_factory.mktemp("features"))


@pytest.fixture(scope="module")
def place(extracted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A module's own copy of that folder, for its trainings."""
    return shutil.copytree(extracted, tmp_path_factory.mktemp("own") / "place")


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of real data and weights, with TORCH_HOME leading to its weights."""
    if not SHARED.is_dir():
        pytest.skip(f"no real data and weights in {SHARED}")
    monkeypatch.setenv("TORCH_HOME", str(SHARED / "torch_home"))
    return SHARED


@pytest.fixture
def preprocess() -> Preprocess:
    """A small preprocessing record."""
    return Preprocess(resize=36, crop=32, interpolation="bilinear", mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))


@pytest.fixture
def backbone(preprocess: Preprocess) -> Backbone:
    """A backbone's record with D = 5."""
    return Backbone("tiny", "none", "0" * 64, "penultimate", "none", 5, 100, 10, preprocess)


def make_part(n: int, *, classes: int = 3, name: str = "train") -> Part:
    """Return a part of `n` rows whose contents are made up."""
    ids = tuple(f"{name}/{row:05d}" for row in range(n))
    labels = np.arange(n, dtype=np.int64) % classes
    return Part("toy", name, ids, tuple(map(digest, ids)), labels, tuple(f"class {k}" for k in range(classes)))


Install = Callable[[str, str, str, str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install a package of one module, with entry points of one group, for the length of a test."""

    def install(package: str, group: str, points: str, code: str) -> None:
        folder = tmp_path / "site"
        facts = folder / f"{package}-1.0.dist-info"
        facts.mkdir(parents=True)
        (folder / f"{package}.py").write_text(code, encoding="utf-8")
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n", encoding="utf-8")
        (facts / "entry_points.txt").write_text(f"[{group}]\n{points}\n", encoding="utf-8")
        monkeypatch.syspath_prepend(folder)

    return install
