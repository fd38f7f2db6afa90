"""What the text tower of a net gives for the classes of a data set: the layer of zero-shot classification."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from probeline.disk import path_name
from probeline.files.limits import Length, Name, Positive, Seconds, Sha256, Within
from probeline.files.packed import PackedFloats
from probeline.identity import TEXTS_VERSION
from probeline.results.members import Environment
from probeline.results.store import RecordKind

_ROUNDING = 1e-4
"""Of a squared length in float32."""


@dataclass(frozen=True)
class TextFeatures:
    """Features of the classes' prompts by one text tower, of unit length.

    Attributes
    ----------
    key : str
        sha256 over the files of the net's weights, the templates and the texts.
    templates : tuple of str
        With ``{}`` where the text is.
    texts : tuple of str
        [K] What the classes are called.
    dim : int
        E.
    features : tuple of float
        [K * E] The classes' rows, one after the other: each the mean over the templates, at unit length.
    scale : float
        What cosines with images are multiplied by: the net's own.
    seconds : float
        To load the net and embed the prompts.
    """

    dataset: Name
    backbone: Name
    weights: Name
    key: Sha256
    templates: Annotated[tuple[Name, ...], Length(1, 10_000)]
    texts: Annotated[tuple[str, ...], Length(1, 1 << 20)]
    dim: Positive
    features: Annotated[tuple[float, ...], PackedFloats()]
    scale: Annotated[float, Within(1e-6, 1e6)]
    seconds: Seconds
    environment: Environment

    def __post_init__(self) -> None:
        count, dim = len(self.texts), self.dim
        if len(self.features) != count * dim:
            raise ValueError(f"{len(self.features):,} features of {count:,} texts with {dim:,} each")
        for row in range(count):
            squared = math.fsum(value * value for value in self.features[row * dim : (row + 1) * dim])
            if not abs(squared - 1) < _ROUNDING:
                raise ValueError(f"features of text {row} have the squared length {squared:.6g}, not 1")


def _file_name(backbone: str, weights: str, key: str) -> str:
    net = f"{path_name(backbone, portable=True)}-{path_name(weights, portable=True)[:80]}"
    return f"texts/{net}-{key[:12]}.json"


TEXTS = RecordKind("texts", TEXTS_VERSION, TextFeatures, _file_name, ("texts/*.json",))
