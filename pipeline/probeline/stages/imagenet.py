"""What is in images, as a stock net's own head names it; no data set, and nothing is written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probeline.errors import BadData
from probeline.images.decode import decode, resize_crop
from probeline.metrics.scores import chances
from probeline.records import FloatArray, PixelArray
from probeline.stages.inputs import Inputs

if TYPE_CHECKING:
    import torch

    from probeline.backbones.resolve import Loaded


def named(inputs: Inputs) -> list[dict[str, Any]]:
    """Name the likeliest of ImageNet's classes for each image that was asked for, by each backbone.

    Raises
    ------
    BadOption
        Weights without ImageNet's classes.
    BadData
        Images that cannot be read, when all others have been named.
    ProbelineError
    """
    config = inputs.config

    from probeline.backbones import device as devices
    from probeline.backbones.zoo import categories

    names = {backbone: categories(backbone, config.weights) for backbone in config.backbones}
    device = devices.choose(config.device)
    told: list[dict[str, Any]] = []
    unreadable: dict[str, BadData] = {}
    for backbone, classes in names.items():
        loaded = inputs.net(backbone)
        net = loaded.net.eval().to(device=device, dtype=devices.DTYPES[config.precision])
        for word in config.words:
            try:
                pixels = resize_crop(decode(Path(word)), loaded.backbone.preprocess)
            except BadData as error:
                unreadable[word] = error
                continue
            with devices.exact_float32(config.precision):
                found = _likeliest(_logits(net, loaded, pixels, device), classes, config.top_k)
            told.append({"image": word, "backbone": backbone, "weights": loaded.backbone.weights, "classes": found})
            config.console.say(f"predict: {word} by {backbone} ({loaded.backbone.weights})")
            for one in found:
                config.console.say(f"predict:   {100 * one['probability']:5.1f} %  {one['class']}")
    if unreadable:
        _refuse(list(unreadable.values()))
    return told


def _logits(net: torch.nn.Module, loaded: Loaded, pixels: PixelArray, device: torch.device) -> FloatArray:
    """Return the logits float32 [1, K] of an image, uint8 [crop, crop, 3]."""
    import torch

    from probeline.backbones.frozen import Normalize

    images = Normalize(loaded.backbone.preprocess, device)(torch.from_numpy(pixels)[None].to(device))
    with torch.inference_mode():
        logits: FloatArray = net(images.to(next(net.parameters()).dtype)).float().cpu().numpy()
    return logits


def _likeliest(logits: FloatArray, classes: Sequence[str], most: int) -> list[dict[str, Any]]:
    shares = chances(logits)[0]
    return [
        {"class": classes[i], "index": int(i), "probability": float(shares[i])}
        for i in (-shares).argsort(kind="stable")[:most]
    ]


def _refuse(errors: Sequence[BadData]) -> None:
    if len(errors) == 1:
        raise errors[0]
    raise BadData(
        f"{len(errors)} images cannot be read",
        where="; ".join(f"{error.where} ({error.got})" for error in errors),
        remedy="remove or replace the files",
    )
