"""An artifact's folder, read and written: a sealed record with the sha256 of every other file. No torch here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from probeline import disk
from probeline.errors import BadArtifact, BadOption, MissingData
from probeline.identity import ARTIFACT_VERSION, PREPROCESS_VERSION, digest_bytes, seal, unseal
from probeline.names import PRECISIONS
from probeline.types import Preprocess

RECORD = "artifact.json"
WEIGHTS, HEAD = "weights.safetensors", "head.safetensors"
ROWS, ROW_NAMES = "neighbours.safetensors", "neighbours.json"
PT2, ONNX = "model.pt2", "model.onnx"
CARD = "README.md"
FILES = (WEIGHTS, HEAD, ROWS, ROW_NAMES, PT2, ONNX, CARD)
"""All that an artifact can have besides its record."""

_FORMAT = "probeline artifact"
_AGAIN = "export it again"
_LARGEST = 4096
"""Pixels of a crop's side."""


@dataclass(frozen=True)
class Net:
    """Which net gives the embedding, and where it is read.

    Attributes
    ----------
    name, weights : str
        As of a `Backbone`; a trained net has the weights that its training began with.
    weights_sha256 : str
        Over the tensors that the embedding depends on, trained ones as they are.
    options : mapping
        What the net is built with beside its name.
    head : str
        Path of the module that is the net's head.
    pooling : str
        As of the penultimate tap.
    dim : int
        Of the penultimate tap.
    taps : tuple of str
        What is read, side by side in this order.
    inner : mapping of str to mapping
        Of each tap that is not the penultimate one: module, reading, prefix and dim.
    own_head : bool
        Whether the head stands inside of the net, as after training, and not on its embedding.
    precision : str
        That the numbers were measured with.
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
        """Columns of what is read."""
        return sum(self.inner[tap]["dim"] if tap in self.inner else self.dim for tap in self.taps)


@dataclass(frozen=True)
class Artifact:
    """A predictor's record.

    Attributes
    ----------
    classes : tuple of str [K]
    temperature : float
        What logits are divided by before they become probabilities.
    preprocess : Preprocess
    net : Net
    activation : str or None
        Of a head's hidden layer, where it has one.
    measured : mapping
        What was measured of the row that this is: data, numbers with n and interval, seed, hardware and versions.
    request : str
        sha256 over what was exported and how: equal ones give equal files. ``asked`` in the file.
    neighbours : mapping
        How many train rows go with it, k, quantile and threshold; empty without any.
    graphs : mapping of str to mapping
        Of each graph file: how its inputs are called and what else must be known to run it.
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
        fields = {**vars(self), "asked": self.request}
        del fields["request"]
        net = {**vars(self.net), "taps": list(self.net.taps)}
        return seal(
            {
                **fields,
                "format": _FORMAT,
                "version": ARTIFACT_VERSION,
                "classes": list(self.classes),
                "preprocess": self.preprocess.identity(),
                "net": net,
            }
        )


def read_record(folder: Path) -> Artifact:
    """Return the record of an artifact's folder.

    Raises
    ------
    MissingData
        There is none.
    BadArtifact
        It is corrupt, of another format version, or made for another way to decode images.
    """
    path = folder / RECORD
    try:
        data = disk.read(path)
    except FileNotFoundError as error:
        remedy = "make one with probeline export"
        raise MissingData(
            "no artifact here", where=folder, expected=f"a folder with {RECORD}", remedy=remedy
        ) from error
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
    mean, std = tuple(map(float, fields["mean"])), tuple(map(float, fields["std"]))
    if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
        raise ValueError(f"{len(mean)} channels with std {std}, where images have 3")
    return Preprocess(**{**fields, "mean": mean, "std": std})


def read_files(folder: Path, artifact: Artifact, names: Iterable[str]) -> dict[str, bytes]:
    """Return the bytes of some of an artifact's files, each held against its sha256.

    Raises
    ------
    BadArtifact
        A file is missing, cannot be read or is not the one that was written.
    """
    found = {}
    for name in names:
        path = folder / name
        try:
            data = disk.read(path)
        except OSError as error:
            raise BadArtifact("a file of an artifact cannot be read", where=path, got=error.strerror) from error
        if digest_bytes(data) != artifact.files.get(name):
            raise BadArtifact(
                "a file of an artifact is corrupt",
                where=path,
                expected=f"sha256 {artifact.files.get(name, 'none')[:12]}...",
                got=f"{digest_bytes(data)[:12]}...",
                remedy=_AGAIN,
            )
        found[name] = data
    return found


def find_artifact(folder: Path, request: str) -> Artifact | None:
    """Return the artifact in a folder if it is complete and was exported from the same score in the same way."""
    try:
        artifact = read_record(folder)
        read_files(folder, artifact, artifact.files)
    except (MissingData, BadArtifact):
        return None
    return artifact if artifact.request == request else None


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds anything but an artifact, or that cannot be written to; nothing is changed.

    Raises
    ------
    BadOption, CannotWrite
    """
    disk.check_writable(folder)
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    visible = {name for name in names if not name.startswith(".")}  # macOS puts a .DS_Store into folders
    others = sorted(name for name in visible - {RECORD, *FILES} if not name.endswith(disk.TEMPORARY))
    if others:
        raise BadOption(
            "the folder holds files that are not an artifact's",
            where=folder,
            got=", ".join(others[:3]) + (", ..." if len(others) > 3 else ""),
            remedy="choose another --out",
        )


def write_artifact(folder: Path, artifact: Artifact, contents: Mapping[str, bytes]) -> Artifact:
    """Write an artifact in place of an earlier one, its record last, and return it with the sha256 of its files.

    Raises
    ------
    BadOption, CannotWrite
    """
    check_folder(folder)
    disk.make_folder(folder)
    disk.remove(folder / RECORD)
    for name in FILES:
        if name in contents:
            disk.publish(folder / name, contents[name], replace=True)
        else:
            disk.remove(folder / name)
    complete = replace(artifact, files={name: digest_bytes(data) for name, data in contents.items()})
    disk.publish(folder / RECORD, complete.sealed(), replace=True)
    return complete
