"""The Protocol of backbone sources, by which others are added; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from probeline.errors import BadOption
from probeline.images import Preprocess
from probeline.types import FloatArray

if TYPE_CHECKING:
    from torch import nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CLASSIC = Preprocess(resize=256, crop=224, interpolation="bilinear", mean=IMAGENET_MEAN, std=IMAGENET_STD)
"""Of torchvision's nets with weights from a file, and of every net with random ones."""


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
        Those that the weights were read from; empty for random weights and unknown files.
    options : mapping
        What :meth:`BackboneSource.create` built this net with; a source leaves it empty.
    notes : tuple of str
        What a user should know of the weights, such as a head that a file does not have.
    warnings : tuple of str
        What is wrong with where the weights came from; no part of the net's record.
    """

    net: nn.Module
    weights: str
    preprocess: Preprocess
    files: tuple[Path, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class BackboneSource(Protocol):
    """Builds nets by name, with their weights and preprocessing; a module can be one.

    All names are without the source's prefix. Importing a source, `names` and `knows` must not import torch.

    A source may also have a function ``adapt(net, state)``, which returns the tensors of a state dict as a net of its
    own names and shapes them: by other names, or with a table of positions interpolated to the net's image size.
    """

    SPEC: str
    """The pattern of its names in lists: ``timm:NAME``."""

    def names(self) -> tuple[str, ...]:
        """Return the names to list, sorted; none if there are too many, and `SPEC` is listed instead."""

    def knows(self, name: str, /) -> bool:
        """Return whether there is probably a net of this name."""

    def weights(self, name: str, /) -> tuple[str, ...]:
        """Return the names of the weights that it can fetch for a net."""

    def create(self, name: str, options: Mapping[str, Any], /, *, init: bool = False) -> nn.Module:
        """Return a net on the CPU without pretrained weights.

        Parameters
        ----------
        name : str
        options : mapping
            Those of :meth:`options`; none for the defaults. ``image_size``, in pixels, is asked for if the net does not
            take that size as it is; a net that has no such option is built as ever, or a TypeError.
        init : bool
            Whether the authors' random initialisation is needed; if not, all tensors are overwritten.

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
        """Return the preprocessing of a net with weights from a file."""

    def options(self, name: str, weights: str, /) -> dict[str, Any]:
        """Return the options, as JSON values, that :meth:`create` needs for a net with these weights."""

    def categories(self, name: str, weights: str, /) -> tuple[str, ...]:
        """Return the class names of a net's own head.

        Raises
        ------
        BadOption
            If the source does not know; see :func:`no_categories`.
        """


@runtime_checkable
class ChecksNames(Protocol):
    """A source that can refuse a wrong name before anything is loaded; optional, for sources of this package."""

    def check(self, name: str, /) -> None:
        """Refuse a name that is certainly wrong, fast and without importing torch.

        Raises
        ------
        ProbelineError
        """


@runtime_checkable
class HasNotes(Protocol):
    """A source whose nets have something to say to their user, such as an assumption about them; optional."""

    def notes(self, net: nn.Module, /) -> tuple[str, ...]:
        """Return what a user should know of a net of this source, each as a line."""


@runtime_checkable
class StatesPreprocess(Protocol):
    """A source whose nets have a preprocessing of their own, also with random weights; optional."""

    OWN_PREPROCESS: bool


@runtime_checkable
class ReadsFiles(Protocol):
    """A source with files of its own kind, which it reads itself; optional."""

    def from_file(self, name: str, path: Path, /) -> Built:
        """Return a net with the weights of a file.

        Raises
        ------
        BadWeights, MissingData
        """


@runtime_checkable
class EmbedsTexts(Protocol):
    """A source whose nets have a text tower too, and a tap :data:`probeline.names.JOINT`; optional."""

    def embed_texts(
        self, name: str, weights: str, texts: Sequence[str], templates: Sequence[str], /, *, device: str
    ) -> tuple[FloatArray, float]:
        """Return what zero-shot classification needs of the texts that classes are called by.

        Parameters
        ----------
        name, weights : str
            As for :meth:`BackboneSource.pretrained`, or the path of a file.
        texts : sequence of str
            [K]
        templates : sequence of str
            With ``{}`` where the text is.
        device : str
            Where the text tower runs.

        Returns
        -------
        features : float32 [K, E]
            For each class the mean over the templates of features of unit length, at unit length again.
        scale : float
            What the net multiplies cosines with images by.

        Raises
        ------
        ProbelineError
        """


def no_names() -> tuple[str, ...]:
    """Return nothing: the `names` of a source that has too many to list."""
    return ()


def only_default(_name: str) -> tuple[str, ...]:
    """Return ``DEFAULT`` alone: the `weights` of a source whose nets come with theirs."""
    return ("DEFAULT",)


def no_options(_name: str, _weights: str) -> dict[str, Any]:
    """Return nothing: the `options` of a source whose names say everything."""
    return {}


def refuse_options(options: Mapping[str, Any]) -> None:
    """Raise TypeError for any option, as a function without such a parameter would."""
    for option in options:
        raise TypeError(f"unexpected keyword argument {option!r}")


def no_categories(name: str, weights: str) -> BadOption:
    """Return the error for weights without recorded class names."""
    return BadOption(
        "these weights have no ImageNet categories",
        where=f"{name} with --weights {weights}",
        expected="a net of torchvision with weights of its own, DEFAULT or IMAGENET1K_V1 and the like",
    )
