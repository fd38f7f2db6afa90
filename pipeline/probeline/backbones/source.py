"""What a source of nets is: the seam at which others are added. Importing it imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from probeline.errors import BadOption
from probeline.types import Preprocess

if TYPE_CHECKING:
    from torch import nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CLASSIC = Preprocess(resize=256, crop=224, interpolation="bilinear", mean=IMAGENET_MEAN, std=IMAGENET_STD)
"""What torchvision's nets get with weights of a file, and every net with random ones."""


@dataclass(frozen=True)
class Built:
    """A net with its weights in place, as its authors ship it.

    Attributes
    ----------
    net : nn.Module
        float32, on the CPU.
    weights : str
        The weights' resolved name.
    preprocess : Preprocess
    files : tuple of Path
        What the weights were read from; empty for random ones, and if the files are unknown.
    """

    net: nn.Module
    weights: str
    preprocess: Preprocess
    files: tuple[Path, ...]


class BackboneSource(Protocol):
    """What builds nets by name, with their weights and their preprocessing; a module can be one.

    All names here are without the source's prefix. Importing a source, `names` and `knows` must not import torch.
    """

    SPEC: str
    """How its nets are asked for, as lists show it: ``timm:NAME``."""

    def names(self) -> tuple[str, ...]:
        """Return the names that lists show, sorted; none if they are too many, and `SPEC` stands for them."""

    def knows(self, name: str, /) -> bool:
        """Return whether there is most likely a net of this name."""

    def weights(self, name: str, /) -> tuple[str, ...]:
        """Return the names of the weights that it can fetch for a net."""

    def create(self, name: str, options: Mapping[str, Any], /, *, init: bool = False) -> nn.Module:
        """Return a net on the CPU without pretrained weights.

        Parameters
        ----------
        name : str
        options : mapping
            What :meth:`options` gave; none for the net as it comes.
        init : bool
            Whether its tensors must hold the authors' random initialisation; if not, they are overwritten.

        Raises
        ------
        UnknownName, MissingExtra
        """

    def pretrained(self, name: str, weights: str, /) -> Built:
        """Return a net with weights that it fetches if they are missing.

        Raises
        ------
        UnknownName
            No such net, or weights that :meth:`weights` does not name.
        ProbelineError
        """

    def preprocess(self, net: nn.Module, /) -> Preprocess:
        """Return what a net of this source expects with weights of a file."""

    def options(self, name: str, weights: str, /) -> dict[str, Any]:
        """Return the options, as JSON values, that a net with these weights is created with beside its name."""

    def categories(self, name: str, weights: str, /) -> tuple[str, ...]:
        """Return what the outputs of a net's own head are called.

        Raises
        ------
        BadOption
            If the source does not know; see :func:`no_categories`.
        """


def no_categories(name: str, weights: str) -> BadOption:
    """Return the error for weights of which nobody recorded the categories."""
    return BadOption(
        "these weights have no ImageNet categories",
        where=f"{name} with --weights {weights}",
        expected="a net of torchvision with weights of its own, DEFAULT or IMAGENET1K_V1 and the like",
    )
