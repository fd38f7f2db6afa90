"""From the names a user gives to a Backbone record: built once, then remembered, so that a warm run needs no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probeline.backbones.names import check_name
from probeline.environment import installed
from probeline.identity import FEATURES_VERSION, PREPROCESS_VERSION, digest
from probeline.memo import Memo
from probeline.records import Backbone, Preprocess

if TYPE_CHECKING:
    from torch import nn

    from probeline.backbones.tap import Tap


@dataclass(frozen=True)
class Loaded:
    """A net in memory beside its record.

    Attributes
    ----------
    net : nn.Module
        Eval mode, float32, on the CPU, its own head in place.
    tap : Tap
    backbone : Backbone
    """

    net: nn.Module
    tap: Tap
    backbone: Backbone


def load(name: str, weights: str, image_size: int | None) -> tuple[Loaded, tuple[Path, ...]]:
    """Build the net, prove its tap and hash its tensors; also return the files the weights came from.

    Raises
    ------
    ProbelineError
        As :func:`probeline.backbones.zoo.build` and :func:`probeline.backbones.tap.find_tap`.
    """
    from probeline.backbones.tap import find_tap
    from probeline.backbones.weights import tensors_sha256
    from probeline.backbones.zoo import build

    built = build(name, weights)
    preprocess = built.preprocess if image_size is None else built.preprocess.at(image_size)
    tap = find_tap(built.net, preprocess.crop, name)
    parameters = dict(built.net.named_parameters())
    head_parameters = sum(p.numel() for path, p in parameters.items() if path.startswith(tap.head + "."))
    backbone = Backbone(
        name=name,
        weights=built.weights,
        weights_sha256=tensors_sha256(built.net, tap.tensors),
        tap="penultimate",
        pooling=tap.pooling,
        dim=tap.dim,
        parameters=sum(parameters[path].numel() for path in tap.tensors if path in parameters) + head_parameters,
        head_parameters=head_parameters,
        preprocess=preprocess,
    )
    return Loaded(built.net, tap, backbone), built.files


def _from_json(record: dict[str, Any]) -> Backbone:
    preprocess = dict(record["preprocess"])
    preprocess["mean"], preprocess["std"] = tuple(preprocess["mean"]), tuple(preprocess["std"])
    return Backbone(**{**record, "preprocess": Preprocess(**preprocess)})


def resolve(name: str, weights: str, image_size: int | None, memo: Memo) -> tuple[Backbone, Loaded | None]:
    """Return the backbone's record, and the net where it had to be built for it.

    The record is remembered under the request, the libraries' versions and the state of the weights file; where
    any of them changed, the net is built anew. Weights whose file is unknown (timm's hub) are never remembered.

    Raises
    ------
    ProbelineError
        As :func:`load`.
    """
    check_name(name)
    request = {
        "name": name,
        "weights": weights,
        "image_size": image_size,
        "versions": [installed(package) for package in ("torch", "torchvision", "timm")],
        "code": [FEATURES_VERSION, PREPROCESS_VERSION],
    }
    label = "backbone:" + digest(request)
    where = memo.get(label + ":files", [])
    if isinstance(where, list):
        record = memo.get(label, [Path(path) for path in where])
        if record is not None:
            return _from_json(record), None
    loaded, files = load(name, weights, image_size)
    if files or weights == "none":
        memo.put(label + ":files", [], [str(path) for path in files])
        memo.put(label, list(files), asdict(loaded.backbone))
    return loaded.backbone, loaded
