"""An artifact's folder, read and written: a sealed record with the sha256 of every other file. No torch here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from probeline import disk
from probeline.errors import BadArtifact, BadOption, MissingData
from probeline.files import reading
from probeline.identity import ARTIFACT_VERSION, PREPROCESS_VERSION, digest_bytes, seal, unseal
from probeline.images import Decoding, Preprocess
from probeline.names import PRECISIONS
from probeline.options.settings import ALPHAS, GREY_RANGES

RECORD = "artifact.json"
WEIGHTS, HEAD = "weights.safetensors", "head.safetensors"
ROWS, ROW_NAMES = "neighbours.safetensors", "neighbours.json"
PT2, ONNX = "model.pt2", "model.onnx"
CARD = "README.md"
FILES = (WEIGHTS, HEAD, ROWS, ROW_NAMES, PT2, ONNX, CARD)
"""All files that an artifact can have in addition to its record."""

_FORMAT = "probeline artifact"
_AGAIN = "export it again"

_UNFINISHED = seal({"format": _FORMAT, "version": ARTIFACT_VERSION, "unfinished": True})
"""The record while the other files are written: they are the artifact's, and no artifact yet."""

_MENTIONED = f'"format":"{_FORMAT}"'.encode()
"""In every record, even in a corrupt one."""

_LARGEST = 4096
"""Pixels of a crop's side."""


@dataclass(frozen=True)
class Net:
    """Which net gives the embedding, and where it is read.

    A trained net has the `weights` that its training began with, and the `weights_sha256` of its trained tensors. It is
    built with `options`. `head` is the path of the module that is its head; `own_head` says whether that gives the
    logits, as after training. `pooling` and `dim` are of the penultimate tap; `inner` are module, reading, prefix and
    dim of each other tap. `precision` is that of the measured numbers.
    """

    name: str
    weights: str
    weights_sha256: str
    options: Mapping[str, Any]
    head: str
    pooling: str
    dim: int
    taps: tuple[str, ...]
    inner: Mapping[str, Mapping[str, Any]]
    own_head: bool
    precision: str

    @property
    def features(self) -> int:
        """Columns of the features of all taps."""
        return sum(self.inner[tap]["dim"] if tap in self.inner else self.dim for tap in self.taps)


@dataclass(frozen=True)
class Artifact:
    """A predictor's record.

    Attributes
    ----------
    temperature : float
        The softmax of the logits divided by it gives probabilities.
    activation : str or None
        Of a hidden layer in the head.
    measured : mapping
        The score of the row: data, numbers with n and interval, seed, hardware and versions.
    request : str
        sha256 over what was exported and how: equal ones give equal files. ``asked`` in the file.
    neighbours : mapping
        Number of train rows, k, quantile and threshold; empty without train rows.
    graphs : mapping of str to mapping
        Inputs, outputs and versions of each graph file.
    files : mapping of str to str
        sha256 of each file.
    """

    classes: tuple[str, ...]
    temperature: float
    preprocess: Preprocess
    net: Net
    activation: str | None
    measured: Mapping[str, Any]
    request: str
    neighbours: Mapping[str, Any] = field(default_factory=dict)
    graphs: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    def sealed(self) -> bytes:
        """Return the bytes of its file."""
        content = {**vars(self), "asked": self.request, "preprocess": self.preprocess.identity(), "net": vars(self.net)}
        del content["request"]
        return seal({**content, "format": _FORMAT, "version": ARTIFACT_VERSION})


def read_record(folder: Path) -> Artifact:
    """Return the record of an artifact's folder.

    Raises
    ------
    MissingData
        The folder has none.
    BadArtifact
        It is corrupt, of another format version, or exported for another way to decode images.
    """
    path = folder / RECORD
    try:
        data = reading.read_bytes(path, reading.RECORD)
    except FileNotFoundError as error:
        expected, remedy = f"a folder with {RECORD}", "make one with probeline export"
        raise MissingData("no artifact here", where=folder, expected=expected, remedy=remedy) from error
    except OSError as error:
        raise BadArtifact("an artifact cannot be read", where=path, got=error.strerror) from error
    content = unseal(data)
    if content is None:
        what = "an artifact's record is corrupt"
        raise BadArtifact(what, where=path, expected="the bytes that its sha256 was taken of", remedy=_AGAIN)
    if content.get("format") != _FORMAT:
        raise BadArtifact("this is no artifact", where=path, expected=_FORMAT, got=content.get("format"))
    if content.get("version") != ARTIFACT_VERSION:
        raise BadArtifact(
            "an artifact of another format version",
            where=path,
            expected=ARTIFACT_VERSION,
            got=content.get("version"),
            remedy="use the version of probeline that wrote it, or export it again",
        )
    try:
        return _parsed(content)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        what = "an artifact's record has other fields than it should"
        raise BadArtifact(what, where=path, got=f"{type(error).__name__} {error}", remedy=_AGAIN) from error


def _parsed(content: Mapping[str, Any]) -> Artifact:
    fields = {name: value for name, value in content.items() if name not in ("format", "version", "asked")}
    classes, net = tuple(fields["classes"]), fields["net"]
    if len(classes) < 2 or not all(isinstance(name, str) for name in classes):
        raise ValueError("a predictor has two classes or more")
    if type(fields["temperature"]) is not float or not 0 < fields["temperature"] < float("inf"):
        raise ValueError(f"temperature {fields['temperature']}")
    if not all(isinstance(fields[name], dict) for name in ("files", "neighbours", "graphs")):
        raise ValueError("files, neighbours and graphs are objects")
    if set(fields["files"]) - set(FILES):
        raise ValueError(f"files {sorted(fields['files'])}")
    if net["precision"] not in PRECISIONS:
        raise ValueError(f"precision {net['precision']}")
    preprocess = _preprocess(fields["preprocess"])
    if net["options"].get("image_size", preprocess.crop) != preprocess.crop:
        raise ValueError(f"a net of {net['options']} for crops of {preprocess.crop} pixels")
    return Artifact(
        **{
            **fields,
            "request": content["asked"],
            "classes": classes,
            "preprocess": preprocess,
            "net": Net(**{**net, "taps": tuple(net["taps"])}),
        }
    )


def _preprocess(record: Mapping[str, Any]) -> Preprocess:
    fields = dict(record)
    if (decode := fields.pop("decode")) != PREPROCESS_VERSION:
        raise ValueError(f"images decoded by version {decode}, here it is {PREPROCESS_VERSION}")
    if fields["interpolation"] not in ("bilinear", "bicubic") or fields["antialias"] is not True:
        raise ValueError(f"preprocessing {fields}")
    if type(fields["crop"]) is not int or type(fields["resize"]) is not int:
        raise ValueError(f"crop {fields['crop']!r} of {fields['resize']!r} pixels")
    if not 1 <= fields["crop"] <= min(fields["resize"], _LARGEST) or fields["resize"] > 4 * _LARGEST:
        raise ValueError(f"crop {fields['crop']} of {fields['resize']} pixels")
    if fields.get("resize_mode", "square") != "square":
        raise ValueError(f"resizing {fields['resize_mode']!r}")
    decoding = Decoding(fields.pop("background", "black"), fields.pop("grey_range", "full"))
    if decoding.background not in ALPHAS or decoding.grey_range not in GREY_RANGES:
        raise ValueError(f"decoding {vars(decoding)}")
    mean, std = tuple(map(float, fields["mean"])), tuple(map(float, fields["std"]))
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise ValueError(f"{len(mean)} channels with std {std}, where images have 3")
    return Preprocess(**{**fields, "mean": mean, "std": std, "decoding": decoding})


def read_files(folder: Path, artifact: Artifact, names: Iterable[str]) -> dict[str, bytes]:
    """Return the bytes of an artifact's files, each checked against its sha256.

    Raises
    ------
    BadArtifact
        A file is missing, cannot be read or is not the one that was written.
    """
    contents = {}
    for name in names:
        path = folder / name
        try:
            data = reading.read_bytes(path, reading.WEIGHTS)
        except OSError as error:
            raise BadArtifact("a file of an artifact cannot be read", where=path, got=error.strerror) from error
        expected, got = artifact.files.get(name, "none"), digest_bytes(data)
        if got != expected:
            raise BadArtifact(
                "a file of an artifact is corrupt",
                where=path,
                expected=f"sha256 {expected[:12]}...",
                got=f"{got[:12]}...",
                remedy=_AGAIN,
            )
        contents[name] = data
    return contents


def find_artifact(folder: Path, request: str) -> Artifact | None:
    """Return the artifact in a folder if it is complete and was exported from the same score in the same way."""
    try:
        artifact = read_record(folder)
        read_files(folder, artifact, artifact.files)
    except (MissingData, BadArtifact):
        return None
    return artifact if artifact.request == request else None


def holds_another(folder: Path, request: str) -> bool:
    """Return whether a folder holds an artifact that was not exported from the same score in the same way."""
    try:
        return read_record(folder).request != request
    except MissingData:
        return False
    except BadArtifact:
        return _record_bytes(folder) != _UNFINISHED


def check_folder(folder: Path) -> None:
    """Refuse a folder that has files of anything but an artifact, or that cannot be written to.

    Files that only have the names of an artifact's are not one: its record has to be there.

    Raises
    ------
    BadOption, CannotWrite
    """
    disk.check_writable(folder)
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    for name in (RECORD, *FILES):
        disk.check_no_links(folder / name, folder)
    visible = {name for name in names if not name.startswith(".")}  # macOS puts a .DS_Store into folders
    own = {RECORD, *FILES} if _MENTIONED in _record_bytes(folder) else set()
    others = sorted(name for name in visible - own if not name.endswith(disk.TEMPORARY))
    if others:
        raise BadOption(
            "the folder holds files that are not an artifact's",
            where=folder,
            got=", ".join(others[:3]) + (", ..." if len(others) > 3 else ""),
            remedy="choose another --out",
        )


def _record_bytes(folder: Path) -> bytes:
    try:
        return reading.read_bytes(folder / RECORD, reading.RECORD)
    except OSError:
        return b""


def write_artifact(folder: Path, artifact: Artifact, contents: Mapping[str, bytes]) -> Artifact:
    """Write an artifact in place of an earlier one, its record last, and return it with the sha256 of its files.

    Raises
    ------
    BadOption, CannotWrite
    """
    check_folder(folder)
    disk.make_folder(folder)
    disk.publish(folder / RECORD, _UNFINISHED, replace=True)
    for name in FILES:
        if name in contents:
            disk.publish(folder / name, contents[name], replace=True)
        else:
            disk.remove(folder / name)
    complete = replace(artifact, files={name: digest_bytes(data) for name, data in contents.items()})
    disk.publish(folder / RECORD, complete.sealed(), replace=True)
    return complete
