"""Pipes, sockets, devices, folders and endless files in the place of each file that the program reads.

Each is named in a line or passed over; none is waited for, and none fills the memory.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import socket
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from faults import producer
from faults.children import start, sweep
from faults.figures import Figures, summed
from probeline import cli
from probeline.backbones.build import random_net

MEMORY = 3 << 30
"""Bytes that a command may take: the net and its images take a tenth of that, an endless file any amount."""

LIMIT = 120.0
"""Seconds after which a command counts as waiting; one takes a few."""

NET = "squeezenet1_1"
PHOTOS = 24


def make_socket(path: Path) -> None:
    # By its name alone, as the address of a socket has a limit of some 100 bytes.
    with socket.socket(socket.AF_UNIX) as server, contextlib.chdir(path.parent):
        server.bind(path.name)


def make_endless(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(300 << 30)


KINDS: dict[str, Callable[[Path], object]] = {
    "a pipe": os.mkfifo,
    "a socket": make_socket,
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a folder": Path.mkdir,
    "a file of 300 GiB": make_endless,
    "a link to itself": lambda path: path.symlink_to(path.name),
}


@dataclass(frozen=True)
class Trial:
    """One file, what takes its place, and the verbs that read it."""

    file: Path
    kind: str
    verbs: tuple[str, ...]


def run(count: int | None, seed: int, kinds: Collection[str] = tuple(KINDS), limit: float = LIMIT) -> Figures:
    """Put each kind in the place of each file, or `count` seeded ones of these pairs, and run the verbs on it."""
    with producer.workplace() as place, contextlib.chdir(place):
        ended = start(lambda say: _make(place)).finish()
        if ended.complaint:
            raise RuntimeError(f"the files could not be made: {ended.complaint}")
        trials = [Trial(file, kind, verbs) for file, verbs in _files(place) for kind in kinds]
        if count is not None:
            trials = random.Random(seed).sample(trials, count)
        results = sweep(trials, lambda trial: _attempt(place, trial), limit=limit, memory=MEMORY)
    complaints = [
        "" if line == "fine" else f"{trial.kind} in place of {trial.file.name}: {line}"
        for line, trial in zip(results, trials, strict=True)
    ]
    files = len({trial.file for trial in trials})
    note = f"{', '.join(kinds)} in place of {files} files: images, labels, weights, recipe, cache, reports, artifact"
    return summed("Special files", complaints, note)


def _make(place: Path) -> None:
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    for number in range(PHOTOS):
        folder = place / "photos" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 128, (24, 24, 3), np.uint8) + np.uint8(64 * (number % 2))
        Image.fromarray(pixels).save(folder / f"{number:02d}.png")
    torch.save(random_net(NET, 0).state_dict(), place / "w.pth")
    rows = (f"{name}/{number:02d}.png,{name}\n" for number, name in zip(range(PHOTOS), "ab" * PHOTOS, strict=False))
    (place / "labels.csv").write_text("sample_id,label\n" + "".join(rows))
    (place / "own.toml").write_text("[options]\nseed = 0\n")
    for verb in ("probe", "compare", "doctor", "pictures", "export"):
        code, output = _call(place, verb)
        if code:
            raise RuntimeError(f"{verb}: {output}")


def _call(place: Path, verb: str) -> tuple[int, str]:
    """Run one verb in this process, and return its exit code and all that it printed."""
    shared = [f"--dataset=folder:{place}/photos", f"--labels={place}/labels.csv", f"--weights={place}/w.pth"]
    options = {
        "extract": ["--workers=1", f"--recipe={place}/own.toml"],
        "probe": ["--workers=1", "--sgd", "epochs=1", "lr=1e-3"],
        "features": ["--workers=1", f"--out={place}/features.npy"],
        "verify": ["--workers=1"],
        "compare": [],
        "doctor": ["--workers=1"],
        "pictures": ["--workers=1"],
        "export": ["--workers=1", "--method=probe", f"--out={place}/artifact"],
        "predict": [f"--artifact={place}/artifact", "--workers=1", *map(str, sorted(place.glob("photos/a/*")))],
    }
    arguments = [verb, *options[verb]]
    if verb != "predict":
        arguments += [*shared, f"--backbone={NET}", "--image-size=32"]
        arguments += [f"--cache={place}/cache", f"--reports={place}/reports"]
    printed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        code = cli.main(arguments)
    printed.seek(0)
    return code, printed.read()


def _files(place: Path) -> Iterator[tuple[Path, tuple[str, ...]]]:
    """Yield the files that are read, and the verbs that read them."""
    yield place / "photos/a/02.png", ("extract", "predict")
    yield place / "labels.csv", ("probe",)
    yield place / "w.pth", ("extract",)
    yield place / "own.toml", ("extract",)
    for top, verbs in (
        ("cache", ("extract", "features", "verify")),
        ("reports", ("compare",)),
        ("artifact", ("predict",)),
    ):
        for file in sorted((place / top).rglob("*")):
            if file.is_file():
                yield file, verbs


def _attempt(place: Path, trial: Trial) -> str:
    torch.set_num_threads(1)
    saved = trial.file.with_name(f".saved-{trial.file.name}")
    trial.file.rename(saved)
    try:
        KINDS[trial.kind](trial.file)
        for verb in trial.verbs:
            try:
                code, output = _call(place, verb)
            except SystemExit as error:
                code, output = int(error.code or 0), ""
            except BaseException as error:  # what a user would see as a traceback
                return f"{verb}: {error!r}"
            if code not in (0, 2, 3):
                return f"{verb}: exit code {code}: {output}"
            if code and str(trial.file.name) not in output:
                return f"{verb}: exit code {code} without its name: {output[-300:]}"
    finally:
        _remove(trial.file)
        saved.rename(trial.file)
    return "fine"


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        for inner in path.iterdir():
            inner.unlink()
        path.rmdir()
    else:
        path.unlink(missing_ok=True)
