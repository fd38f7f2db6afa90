"""What flows between the rooms: small frozen records of arrays and facts, free of torch and of files.

Lengths in the docstrings: N rows of a part, n rows of a split, D feature size, K classes, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from probeline.identity import PREPROCESS_VERSION, VIEWS_VERSION, digest, digest_lines

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]
PixelArray = npt.NDArray[np.uint8]

Role = Literal["train", "val", "test"]

DROPPED = -1
"""The label of an image that stays in its part, so that its embedding stays valid, and plays no role."""


def samples_digest(sample_ids: Sequence[str], content: Sequence[str]) -> str:
    """Return the sha256 over ordered sample ids with their content hashes."""
    return digest_lines(f"{name}\0{sha256}" for name, sha256 in zip(sample_ids, content, strict=True))


@dataclass(frozen=True)
class Part:
    """One part of a data set as it ships: what extraction runs over, in this order.

    Attributes
    ----------
    dataset, name : str
        Data set and part, for example ``cifar10`` and ``train``.
    sample_ids : tuple of str [N]
        What names each row for ever: for folders the POSIX path below the root.
    content : tuple of str [N]
        sha256 of each sample's source (the encoded file, or its raw pixels), hexadecimal.
    labels : int64 [N]
        Class of each row, or `DROPPED`. A join, not identity: labels never enter a key.
    class_names : tuple of str [K]
    """

    dataset: str
    name: str
    sample_ids: tuple[str, ...]
    content: tuple[str, ...]
    labels: IntArray
    class_names: tuple[str, ...]

    def __post_init__(self) -> None:
        n = len(self.sample_ids)
        if len(self.content) != n or self.labels.shape != (n,) or self.labels.dtype != np.int64:
            raise ValueError(f"part {self.dataset}/{self.name}: ids, contents and int64 labels differ in length")
        if len(set(self.sample_ids)) != n:
            raise ValueError(f"part {self.dataset}/{self.name}: sample ids repeat")

    def __len__(self) -> int:
        return len(self.sample_ids)

    @cached_property
    def samples_sha256(self) -> str:
        """sha256 over the ordered sample ids with their content hashes."""
        return samples_digest(self.sample_ids, self.content)


@dataclass(frozen=True)
class ImageArray:
    """Images of one fixed small size, resident: uint8 [N, H, W, 3], RGB."""

    pixels: PixelArray


@dataclass(frozen=True)
class ImageFiles:
    """Images of varying size, one file a row, and the sha256 that each had when it was listed."""

    paths: tuple[Path, ...]
    content: tuple[str, ...]


@dataclass(frozen=True)
class Skipped:
    """A file of a data set's folder that is no photo, and why it was left out."""

    path: str
    reason: str


@dataclass(frozen=True)
class Join:
    """A file of the user's own that was joined to a data set by sample id.

    Attributes
    ----------
    kind : {"labels", "groups"}
    sha256 : str
        Over what it says of each image: the same for another order of its lines.
    told : str
        What a report says of it.
    """

    kind: Literal["labels", "groups"]
    sha256: str
    told: str


@dataclass(frozen=True)
class DataSet:
    """A data set: its parts, where their pixels are, and what augmentation may do to them.

    Attributes
    ----------
    name : str
        As it stands in paths: ``cifar10``, ``folder--flowers``, ``cifar10-limit500``.
    parts : mapping of str to Part
    images : mapping of str to ImageArray or ImageFiles
        The pixels of each part, in the part's row order.
    class_names : tuple of str [K]
    train, test : str
        The part that train and val rows come from, and the part that test rows come from (may be the same).
    flips : bool
        Whether a mirrored image still belongs to its class (not so for digits).
    skipped : tuple of Skipped
    """

    name: str
    parts: Mapping[str, Part]
    images: Mapping[str, ImageArray | ImageFiles]
    class_names: tuple[str, ...]
    train: str
    test: str
    flips: bool = True
    skipped: tuple[Skipped, ...] = ()
    val: str | None = None
    """A part that ships as val, where there is one beside test."""
    groups: Mapping[str, IntArray] = field(default_factory=dict)
    """Which rows no split may part: a number for each row of each part, int64 [N]; empty where nothing is said."""
    joins: tuple[Join, ...] = ()
    """The files that labels and groups came from, where they are not the data set's own."""

    @property
    def title(self) -> str:
        """The name with the joins: what keeps the reports of relabelled data apart, while they share embeddings."""
        return self.name + "".join(f"--{join.kind}-{join.sha256[:8]}" for join in self.joins)


@dataclass(frozen=True)
class Split:
    """A set of rows of one part that play one role.

    Attributes
    ----------
    part : str
        Name of the part.
    rows : int64 [n]
        Ascending row numbers of that part.
    role : {"train", "val", "test"}
    """

    part: str
    rows: IntArray
    role: Role

    def __len__(self) -> int:
        return int(self.rows.shape[0])


@dataclass(frozen=True)
class Splits:
    """Who is fitted on, who chooses, who is reported: train, val and test rows of one data set.

    Attributes
    ----------
    train, val, test : Split
        Disjoint. With folds, `val` is the first fold and `train` the rest.
    folds : tuple of int64 arrays
        Where train + val are too few for one val set (under 1,000 rows): the rows of the train part that each
        fold holds out; empty otherwise.
    data_seed : int
    """

    train: Split
    val: Split
    test: Split
    folds: tuple[IntArray, ...]
    data_seed: int

    @property
    def chosen_by(self) -> str:
        """What chooses hyper-parameters, as it stands in a report: ``val (n=5000)`` or ``5-fold (n=244)``."""
        if self.folds:
            return f"{len(self.folds)}-fold (n={len(self.train) + len(self.val)})"
        return f"val (n={len(self.val)})"


@dataclass(frozen=True)
class Preprocess:
    """How a decoded image becomes a net's input: what the key holds of it.

    Attributes
    ----------
    resize : int
        Length of the image's shorter side after resizing, pixels.
    crop : int
        Side of the centre crop, pixels.
    interpolation : {"bilinear", "bicubic"}
    mean, std : tuple of 3 floats
        On the scale where pixels lie in [0, 1]: ``(pixel / 255 - mean) / std``.
    antialias : bool
    """

    resize: int
    crop: int
    interpolation: Literal["bilinear", "bicubic"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    antialias: bool = True

    def at(self, image_size: int) -> Preprocess:
        """Return the same record for another crop, the resize scaled along."""
        return Preprocess(
            resize=round(image_size * self.resize / self.crop),
            crop=image_size,
            interpolation=self.interpolation,
            mean=self.mean,
            std=self.std,
            antialias=self.antialias,
        )

    def identity(self) -> dict[str, Any]:
        """Return what enters the key."""
        return {**asdict(self), "mean": list(self.mean), "std": list(self.std), "decode": PREPROCESS_VERSION}


@dataclass(frozen=True)
class View:
    """An augmented view of a part: of each image one random region, resized to the crop, mirrored or not.

    What is random depends on the view's number and the image's content alone.

    Attributes
    ----------
    number : int
        1 or more.
    flips : bool
        Whether every second image is mirrored.
    scale : tuple of 2 floats
        Range of the region's area, as a share of the image's.
    ratio : tuple of 2 floats
        Range of its width over height.
    """

    number: int
    flips: bool
    scale: tuple[float, float] = (0.25, 1.0)
    ratio: tuple[float, float] = (0.75, 4 / 3)

    def identity(self) -> dict[str, Any]:
        """Return what enters the key."""
        return {**asdict(self), "scale": list(self.scale), "ratio": list(self.ratio), "views_version": VIEWS_VERSION}

    @classmethod
    def from_identity(cls, record: Mapping[str, Any]) -> View:
        """Return the view of a record that :meth:`identity` made."""
        return cls(record["number"], record["flips"], tuple(record["scale"]), tuple(record["ratio"]))


def path_name(name: str) -> str:
    """Return the name of a net or a tap as it stands in paths."""
    return name.replace("/", "--").replace(":", "--")


@dataclass(frozen=True)
class Backbone:
    """A frozen net, resolved: everything about it that a key or a report needs, without the net itself.

    Attributes
    ----------
    name : str
        torchvision's name, or ``timm:NAME``.
    weights : str
        How the weights were asked for, resolved: ``IMAGENET1K_V1``, ``none``, ``wheel`` or a file's name.
    weights_sha256 : str
        Over the tensors in use at eval, by name; the head's own are not among them.
    tap, pooling : str
        Where features are read (``penultimate``, ``layer3``, ``blocks.11:cls``), and how the output there becomes a
        vector: ``none``, ``avg`` of a map, ``cls`` or ``mean`` of tokens.
    dim : int
        D.
    parameters : int
        Trainable parameters of the stock net, its own head included; at another tap than the penultimate one those
        that the features depend on.
    head_parameters : int
        How many of them are the head's.
    preprocess : Preprocess
    """

    name: str
    weights: str
    weights_sha256: str
    tap: str
    pooling: str
    dim: int
    parameters: int
    head_parameters: int
    preprocess: Preprocess

    @property
    def slug(self) -> str:
        """The name as it stands in paths."""
        return path_name(self.name)


@dataclass(frozen=True)
class FeatureSet:
    """Embeddings of a part, proven against their records.

    Attributes
    ----------
    features : float32 [N, D]
    sample_ids : tuple of str [N]
    key : str
    seconds : float
        What extracting all the shards took, summed over their records.
    provenance : tuple of mappings
        One for each shard.
    """

    features: FloatArray
    sample_ids: tuple[str, ...]
    key: str
    seconds: float
    provenance: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Score:
    """One row of a report: one method, on one backbone, with one seed, read on test once.

    Attributes
    ----------
    dataset, backbone, weights, method : str
    key : str
        sha256 over everything that could change the row's numbers.
    splits : str
        sha256 over the rows of every role, with their labels: scores that agree in it are of the same images.
    options : mapping
        All that was asked of the method but for its seed, and the version of its code: scores that agree in it are
        the seeds of one row.
    image_size : int
    precision : str
    tap : str
        Where the features were read; ``a+b`` for two taps side by side.
    views : int
        Augmented views of each train image that were fitted on beside it.
    seed : int or None
        None where nothing is random.
    n_train, n_val, n_test : int
        Images that it was fitted on, that only chose, and that it was read on.
    class_names : tuple of str [K]
    top1, macro : float
        Test accuracy and the mean of the classes' accuracies, in [0, 1].
    top5 : float or None
        The share of test images whose class is among the five most probable; None where there are few classes.
    interval : tuple of 2 floats
        Wilson's 95 % interval of `top1` for the sampling of the test images.
    temperature : float
        What the logits are divided by, fitted on the val rows' logits alone (out of fold where folds choose; a head
        that is refit on train and val takes that of the head before).
    nll, brier, ece : float
        Of the test images with that temperature: mean negative log-likelihood (nats), Brier's score in [0, 2] and the
        expected calibration error in [0, 1].
    raw_nll, raw_ece : float
        The same at temperature 1.
    bins, raw_bins : tuple of (int, float, float) [15]
        What the calibration errors are made of, with that temperature and at 1: of each bin its test images, their
        mean largest probability and top-1 among them.
    optimism : float or None
        Test top-1 of the candidate that is best on test, minus that of the chosen one, in [0, 1]: what choosing on
        test would have pretended. Never used for any choice; None where there was nothing to choose, or where the
        others were not kept, as the epochs of training.
    val_top1 : float
        Of the chosen hyper-parameters, on the rows that chose them.
    predictions : tuple of int [n_test]
        Predicted classes, in the row order of the test split.
    labels : tuple of int [n_test]
        The true ones.
    chosen : mapping
        The hyper-parameters that were chosen, for example ``{"l2": 0.001}``.
    chosen_by : str
        By what, for example ``val (n=5000)``.
    trainable, total : int
        Parameters that were trained, and parameters of the whole predictor.
    warm_seconds : float
        Fitting every candidate, choosing and reading test with them, with the features at hand.
    cold_seconds : float
        The same with the extraction of the features it needs.
    converged : bool
        False where a fit stopped before its tolerance.
    certificate : mapping
        What proves the fit, for example gradient norm and objective.
    history : tuple of mappings
        Per epoch, where there are epochs.
    path : tuple of mappings
        Per candidate hyper-parameter: its value and val score, and of a head what test says of it, read when the
        choice stood.
    environment : mapping
        Hardware and versions.
    """

    dataset: str
    backbone: str
    weights: str
    method: str
    key: str
    splits: str
    options: Mapping[str, Any]
    image_size: int
    precision: str
    tap: str = field(default="penultimate", kw_only=True)
    views: int = field(default=0, kw_only=True)
    seed: int | None
    n_train: int
    n_val: int
    n_test: int
    class_names: tuple[str, ...]
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
    bins: tuple[tuple[int, float, float], ...]
    raw_bins: tuple[tuple[int, float, float], ...]
    predictions: tuple[int, ...]
    labels: tuple[int, ...]
    chosen: Mapping[str, Any]
    chosen_by: str
    trainable: int
    total: int
    warm_seconds: float
    cold_seconds: float
    converged: bool
    optimism: float | None = None
    certificate: Mapping[str, Any] = field(default_factory=dict)
    history: tuple[Mapping[str, Any], ...] = ()
    path: tuple[Mapping[str, Any], ...] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the score as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Score:
        """Return the score of a record that :meth:`to_json` made.

        Raises
        ------
        TypeError
            Where the fields are not those of this version.
        """
        values = dict(record)
        for name in ("class_names", "interval", "predictions", "labels", "history", "path"):
            values[name] = tuple(values.get(name, ()))
        for name in ("bins", "raw_bins"):
            values[name] = tuple(tuple(one) for one in values.get(name, ()))
        return cls(**values)


@dataclass(frozen=True)
class CurvePoint:
    """One point of a learning curve: what was fitted on some of the train rows.

    Attributes
    ----------
    kind : {"fraction", "shots"}
    amount : float
        Percent of the train rows, or images a class.
    draw : int
    n_train : int
        Images it was fitted on.
    short : int
        Of shots: classes that have fewer images than that and gave all they have.
    l2 : float or None
        Chosen on the val rows; None where a net was trained.
    edge : bool
        Whether that stands at an end of its grid.
    val_top1, test_top1 : float
        Of what was chosen, in [0, 1]; test is read of nothing else.
    converged : bool
        Whether the fits of all l2 met their tolerance; true of a training.
    epoch : int or None
        Chosen on the val rows where a net was trained.
    """

    kind: Literal["fraction", "shots"]
    amount: float
    draw: int
    n_train: int
    short: int
    l2: float | None
    edge: bool
    val_top1: float
    test_top1: float
    converged: bool
    epoch: int | None = None


@dataclass(frozen=True)
class Curve:
    """The learning curve of one backbone on one data set: of the exact probe at one tap, or of a training.

    Attributes
    ----------
    dataset, backbone, weights, precision : str
    method : str
        As scores have it.
    options : mapping
        All that was asked of the method.
    tap : str
        Where the features were read; ``a+b`` for two taps side by side.
    key : str
        sha256 over everything that could change its numbers.
    splits : str
        sha256 over the rows of every role, with their labels.
    image_size : int
        Pixels.
    class_names : tuple of str [K]
    n_train, n_val, n_test : int
        Images of the whole train set; of val, which is the same for every fraction and not scaled down with it; of
        test.
    draws, data_seed : int
    grouped : bool
        Whether fractions are of whole groups.
    points : tuple of CurvePoint
    warm_seconds, cold_seconds : float
        All the fits, or trainings; the same with what came before them and was kept, such as extraction.
    environment : mapping
        Hardware and versions.
    """

    dataset: str
    backbone: str
    weights: str
    precision: str
    tap: str = field(default="penultimate", kw_only=True)
    method: str = field(default="probe", kw_only=True)
    options: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    key: str
    splits: str
    image_size: int
    class_names: tuple[str, ...]
    n_train: int
    n_val: int
    n_test: int
    draws: int
    data_seed: int
    grouped: bool
    points: tuple[CurvePoint, ...]
    warm_seconds: float
    cold_seconds: float
    environment: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the curve as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Curve:
        """Return the curve of a record that :meth:`to_json` made.

        Raises
        ------
        KeyError, TypeError
            Where the fields are not those of this version.
        """
        points = tuple(CurvePoint(**point) for point in record["points"])
        return cls(**{**record, "class_names": tuple(record["class_names"]), "points": points})


Ended = Literal["highest rate", "loss too high", "not finite"]
"""Why a range test took no further step."""


@dataclass(frozen=True)
class RangeTest:
    """The learning-rate range test of one strategy on one backbone: a training's first steps at rising rates.

    Attributes
    ----------
    dataset, backbone, weights, method, precision : str
        As of a score of that training.
    key : str
        sha256 over everything that could change its numbers.
    splits : str
        sha256 over the rows of every role, with their labels; only train rows are read.
    options : mapping
        All that was asked of the training but its seed, and of the test.
    image_size : int
        Pixels.
    n_train : int
        Images of the whole train set; how many of them were seen the steps and the batch size tell.
    seed : int
    rates : tuple of float
        Of each step: the rate that ``--lr`` means, of which a stage of the net has its share.
    losses : tuple of float
        Of each step's batch, before the step was taken.
    ended : Ended
    seconds : float
        That the steps took.
    environment : mapping
        Hardware and versions.
    """

    dataset: str
    backbone: str
    weights: str
    method: str
    precision: str
    key: str
    splits: str
    options: Mapping[str, Any]
    image_size: int
    n_train: int
    seed: int
    rates: tuple[float, ...]
    losses: tuple[float, ...]
    ended: Ended
    seconds: float
    environment: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the test as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> RangeTest:
        """Return the test of a record that :meth:`to_json` made.

        Raises
        ------
        KeyError, TypeError
            Where the fields are not those of this version.
        """
        return cls(**{**record, "rates": tuple(record["rates"]), "losses": tuple(record["losses"])})


def splits_digest(dataset: DataSet, splits: Splits) -> str:
    """Return a sha256 over who is fitted on, who chooses and who is reported, with their labels."""

    def rows(part: str, numbers: IntArray) -> str:
        of = dataset.parts[part]
        return digest_lines(f"{of.sample_ids[i]}\0{of.content[i]}\0{of.labels[i]}" for i in numbers)

    return digest(
        {
            "roles": {split.role: rows(split.part, split.rows) for split in (splits.train, splits.val, splits.test)},
            "folds": [rows(splits.train.part, fold) for fold in splits.folds],
            "classes": len(dataset.class_names),
        }
    )
