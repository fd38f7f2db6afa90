"""The record of an artifact, ``artifact.json``, as typed values: what its file holds, and to and from JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal

from probeline.files.decode import BadRecord, IfKnown, decode, encode
from probeline.identity import PREPROCESS_VERSION
from probeline.images import Decoding, Preprocess
from probeline.names import TapReading
from probeline.results.score import Score

Bins = tuple[tuple[int, float, float], ...]
"""A reliability diagram as in a score: images, mean confidence and accuracy per bin."""


@dataclass(frozen=True)
class Inner:
    """A tap inside of the net: the fields of :class:`probeline.backbones.inner_taps.InnerTap` but its tensors."""

    module: str
    reading: TapReading
    prefix: int
    dim: int


@dataclass(frozen=True)
class Net:
    """Which net gives the embedding, and where it is read.

    A trained net has the `weights` that its training began with, and the `weights_sha256` of its trained tensors. It is
    built with `options`. `head` is the path of the module that is its head; `own_head` says whether that gives the
    logits, as after training. `pooling` and `dim` are of the penultimate tap; `inner` has each other tap of `taps`.
    `precision` is that of the measured numbers.
    """

    name: str
    weights: str
    weights_sha256: str
    options: Mapping[str, Any]
    head: str
    pooling: str
    dim: int
    taps: tuple[str, ...]
    inner: Mapping[str, Inner]
    own_head: bool
    precision: str

    @property
    def features(self) -> int:
        """Columns of the features of all taps."""
        return sum(self.inner[tap].dim if tap in self.inner else self.dim for tap in self.taps)


@dataclass(frozen=True)
class TrainRowFacts:
    """Facts about the stored train rows: how many, and from what distance on an image is unlike them.

    `threshold` is the `quantile` of the rows' cosine distances to their own `k`-th neighbour; `test_share` is the share
    of test images that are farther from theirs.
    """

    rows: int
    k: int
    quantile: float
    threshold: float
    distance: Literal["cosine"]
    test_share: float


Pixels = tuple[Literal["N"], int, int, Literal[3]]
"""The shape of a graph's input: [N, S, S, 3] for any N."""

Classes = tuple[Literal["N"], int]
"""The shape of a graph's output: [N, K] for any N."""


@dataclass(frozen=True)
class GraphInput:
    """The inputs of a graph, by name."""

    pixels: Pixels


@dataclass(frozen=True)
class GraphOutputs:
    """The outputs of a graph, by name."""

    logits: Classes
    probabilities: Classes


@dataclass(frozen=True)
class GraphFacts:
    """Facts about a graph's file: inputs, outputs and versions, and its largest difference from the pipeline's logits
    on so many `images`."""

    input: GraphInput
    outputs: GraphOutputs
    torch: str
    images: int = 0
    difference: float = 0.0
    opset: Annotated[int | None, IfKnown()] = None
    """Of ONNX."""


@dataclass(frozen=True)
class Measured:
    """What was measured of the exported row: the fields of its :class:`probeline.results.score.Score` by their names,
    without those of single images, epochs and candidates, and what the export compared."""

    dataset: str
    backbone: str
    weights: str
    method: str
    key: str
    splits: str
    options: Mapping[str, Any]
    image_size: int
    precision: str
    tap: str
    views: int
    seed: int | None
    n_train: int
    n_val: int
    n_test: int
    top1: float
    macro: float
    interval: tuple[float, float]
    val_top1: float
    top5: float | None
    temperature: float
    nll: float
    brier: float
    ece: float
    raw_nll: float
    raw_ece: float
    bins: Bins
    raw_bins: Bins
    chosen: Mapping[str, Any]
    chosen_by: str
    trainable: int
    total: int
    warm_seconds: float
    cold_seconds: float
    converged: bool
    optimism: float | None
    certificate: Mapping[str, Any]
    environment: Mapping[str, Any]
    auroc: Annotated[float | None, IfKnown()] = None
    val_score: Annotated[float | None, IfKnown()] = None
    waited: Annotated[float | None, IfKnown()] = None
    proof: str = ""
    """How the predictor's answers compared with the score's."""

    @classmethod
    def of(cls, score: Score) -> Measured:
        """Return what an artifact tells of a score."""
        return cls(**{one.name: getattr(score, one.name) for one in fields(cls) if one.name != "proof"})


@dataclass(frozen=True)
class Artifact:
    """A predictor's record.

    Attributes
    ----------
    temperature : float
        The softmax of the logits divided by it gives probabilities.
    activation : str or None
        Of a hidden layer in the head.
    measured : Measured or None
        The score of the row; None for a stock net.
    request : str
        sha256 over what was exported and how: equal ones give equal files. ``asked`` in the file.
    neighbours : TrainRowFacts or None
        None without train rows.
    graphs : mapping of str to GraphFacts
        By the name of the file.
    files : mapping of str to str
        sha256 of each file.
    """

    classes: tuple[str, ...]
    temperature: float
    preprocess: Preprocess
    net: Net
    activation: str | None
    measured: Measured | None
    request: str
    neighbours: TrainRowFacts | None = None
    graphs: Mapping[str, GraphFacts] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def row(self) -> Measured:
        """What was measured of an exported row; a stock net is a ValueError."""
        if self.measured is None:
            raise ValueError("nothing was measured")
        return self.measured


@dataclass(frozen=True)
class _Preprocessing:
    """A `Preprocess` in a record: what :meth:`Preprocess.identity` writes."""

    resize: int
    crop: int
    interpolation: Literal["bilinear", "bicubic"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    antialias: Literal[True]
    decode: int
    resize_mode: Literal["square"] | None = None
    background: Literal["white"] | None = None
    grey_range: Literal["auto", "8", "10", "12", "14", "16"] | None = None

    def __post_init__(self) -> None:
        if self.decode != PREPROCESS_VERSION:
            raise ValueError(f"images decoded by version {self.decode}, here it is {PREPROCESS_VERSION}")

    def preprocess(self) -> Preprocess:
        """Return what this is the record of."""
        return Preprocess(
            resize=self.resize,
            crop=self.crop,
            interpolation=self.interpolation,
            mean=self.mean,
            std=self.std,
            resize_mode=self.resize_mode or "shorter",
            decoding=Decoding(self.background or "black", self.grey_range or "full"),
        )


def to_values(artifact: Artifact) -> dict[str, Any]:
    """Return the JSON values of an artifact's record, without format, version and seal."""
    values = {**encode(artifact), "preprocess": artifact.preprocess.identity(), "asked": artifact.request}
    del values["request"]
    values["neighbours"] = values["neighbours"] or {}
    return values


def from_values(values: Mapping[str, Any]) -> Artifact:
    """Return the artifact's record that :func:`to_values` is of; every type is checked, ranges are not.

    Raises
    ------
    BadRecord
    """
    own = dict(values)
    try:
        preprocess = decode(_Preprocessing, own.get("preprocess")).preprocess()
    except BadRecord as error:
        raise BadRecord(f"preprocess: {error}") from error
    for name in ("measured", "neighbours"):
        if own.get(name) is None:
            raise BadRecord(f"{name}: expected an object, got {own.get(name, 'nothing')}")
    if "request" in own:
        raise BadRecord("the record: unknown request")
    if "asked" in own:
        own["request"] = own.pop("asked")
    # An empty object stands for no train rows.
    neighbours = own["neighbours"] if own["neighbours"] != {} else None
    return decode(Artifact, {**own, "preprocess": encode(preprocess), "neighbours": neighbours})
