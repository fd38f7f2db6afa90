"""``random:WIDTH``: random convolutions, whose features any trained network should beat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from probeline.backbones.source import Built, no_categories
from probeline.errors import UnknownName
from probeline.images import Preprocess

if TYPE_CHECKING:
    from torch import nn

SPEC = "random:WIDTH"

PREPROCESS = Preprocess(resize=32, crop=32, interpolation="bilinear", mean=(0.5,) * 3, std=(0.25,) * 3)


def names() -> tuple[str, ...]:
    """Return nothing: any width will do, so that lists show `SPEC`."""
    return ()


def knows(name: str) -> bool:
    """Return whether a name is a width."""
    return name.isdecimal() and 1 <= int(name) <= 4096


def weights(_: str) -> tuple[str, ...]:
    """Return ``DEFAULT`` alone."""
    return ("DEFAULT",)


def create(name: str, _: Mapping[str, Any], *, init: bool = False) -> nn.Module:  # noqa: ARG001
    """Return two convolutions and a mean over positions, which have no head: their output is the embedding."""
    from torch import nn

    if not knows(name):
        raise UnknownName("width of random", name, ["16", "64", "256"])
    width = int(name)
    layers = [nn.Conv2d(3, width, 5, stride=2), nn.ReLU(), nn.Conv2d(width, width, 3, stride=2), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def pretrained(name: str, weights: str) -> Built:
    """Return the net with the same random weights each time."""
    import torch

    if weights != "DEFAULT":
        raise UnknownName(f"weights of random:{name}", weights, ["DEFAULT"])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Built(create(name, {}), "DEFAULT", PREPROCESS, ())


def preprocess(_: nn.Module) -> Preprocess:
    """Return the preprocessing of a net with weights from a file."""
    return PREPROCESS


def options(_name: str, _weights: str) -> dict[str, Any]:
    """Return nothing, as the name includes everything."""
    return {}


def categories(name: str, weights: str) -> tuple[str, ...]:
    """Refuse, as there is no head."""
    raise no_categories(f"random:{name}", weights)
