"""torchvision's classification nets, with the weights of its enums."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from probeline.backbones.source import CLASSIC, Built
from probeline.backbones.weights.wheel import other_weights
from probeline.environment import package_folder
from probeline.errors import BadWeights, UnknownName
from probeline.files.reading import TEXT, read_text
from probeline.images import Preprocess

if TYPE_CHECKING:
    from torch import Tensor, nn

SPEC = "NAME"

_TRANSFORM_INPUT = ("googlenet", "inception_v3")
"""Nets that undo torchvision's normalisation, and have auxiliary heads."""

_REGISTERED = re.compile(r"^@register_model\(.*\)\n(?:[@ )].*\n)*def (\w+)", re.MULTILINE)
"""A function that torchvision registers as a classification net, perhaps with more decorators."""


@functools.cache
def names() -> tuple[str, ...]:
    """Return the names of the classification nets, read from torchvision's sources."""
    sources = (package_folder("torchvision") / "models").glob("*.py")
    return tuple(sorted(name for file in sources for name in _REGISTERED.findall(read_text(file, TEXT))))


def knows(name: str) -> bool:
    """Return whether there is a net of this name."""
    return name in names()


def weights(name: str) -> tuple[str, ...]:
    """Return the names of a net's weights, ``DEFAULT`` among them."""
    return tuple(_enum(name).__members__)


def create(name: str, options: Mapping[str, Any], *, init: bool = False) -> nn.Module:
    """Return a net without pretrained weights."""
    from probeline.backbones import torchvision_import as vision

    if name.startswith("maxvit") and "image_size" in options:
        options = {"input_size": (options["image_size"],) * 2}
    if name in _TRANSFORM_INPUT:
        options = {"init_weights": init, "aux_logits": True, **options}
    return cast("nn.Module", vision.models().get_model(name, weights=None, **options))


def adapt(net: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict's tensors with today's names, and a table of positions of the net's image size."""
    from probeline.backbones import torchvision_import as vision

    state = rename_old_densenet(state)
    table = "encoder.pos_embedding"
    transformers = vision.models().vision_transformer
    if not isinstance(net, transformers.VisionTransformer) or table not in state:
        return state
    if (state[table].shape[1] - 1) ** 0.5 % 1:
        return state  # of no square image with a class token
    return dict(transformers.interpolate_embeddings(net.image_size, net.patch_size, state))


def pretrained(name: str, weights: str) -> Built:
    """Return a net with weights of its enum, which are downloaded if they are missing."""
    import torch

    from probeline.backbones.weights.download import check_download_is_allowed, download
    from probeline.backbones.weights.published import check_published
    from probeline.backbones.weights.state_dict import load_state, read_state

    chosen = _published(name, weights)
    path = Path(torch.hub.get_dir()) / "checkpoints" / chosen.url.rsplit("/", 1)[-1]
    if not path.exists():
        check_download_is_allowed(name)
        download(chosen.url, path)
    warnings = check_published(path)
    net = create(name, options(name, weights))
    load_state(net, rename_old_densenet(read_state(path)), where=path)
    preset = chosen.transforms()
    preprocess = Preprocess(
        resize=preset.resize_size[0],
        crop=preset.crop_size[0],
        interpolation=cast(Literal["bilinear", "bicubic"], preset.interpolation.value),
        mean=tuple(preset.mean),
        std=tuple(preset.std),
    )
    return Built(net, chosen.name, preprocess, (path,), warnings=warnings)


def preprocess(_: nn.Module) -> Preprocess:
    """Return the classic preprocessing, as a net does not know that of its weights."""
    return CLASSIC


def options(name: str, weights: str) -> dict[str, Any]:
    """Return the image size of a transformer, and an option of two old nets."""
    if name.startswith("vit_"):
        return {"image_size": _published(name, weights).meta["min_size"][0]}
    return {"transform_input": True} if name in _TRANSFORM_INPUT else {}


def categories(name: str, weights: str) -> tuple[str, ...]:
    """Return ImageNet's class names, as recorded with the weights."""
    return tuple(_published(name, weights).meta["categories"])


def _enum(name: str) -> Any:
    from probeline.backbones import torchvision_import as vision

    return vision.models().get_model_weights(name)


def _published(name: str, weights: str) -> Any:
    enum = _enum(name)
    if weights not in enum.__members__:
        raise UnknownName(f"weights of {name}", weights, [*enum.__members__, *other_weights(name)])
    return enum[weights]


_OLD_DENSENET = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..+)$")


def rename_old_densenet(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # torchvision's DenseNet files were written when module names could still hold a dot: norm.1 is norm1 today.
    renamed: dict[str, Tensor] = {}
    for name, tensor in state.items():
        new_name = _OLD_DENSENET.sub(r"\1\2", name)
        if renamed.setdefault(new_name, tensor) is not tensor:
            raise BadWeights("two tensors are one of the net", where=new_name, got=f"{name} and {new_name}")
    return renamed
