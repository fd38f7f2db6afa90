"""The records that pass between the rooms: small, frozen, with arrays and facts, without torch and without files.

Lengths in the docstrings: N rows of a part, n rows of a split, D feature size, K classes, H x W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from probeline.disk import path_name
from probeline.identity import digest, digest_bytes, digest_lines
from probeline.images import NO_IMAGES, Decoding, Images, Preprocess, UnreadableImage
from probeline.names import PENULTIMATE, Role

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float32]
DoubleArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
HashArray = npt.NDArray[np.uint64]
AnyFloatArray = npt.NDArray[np.floating[Any]]
AnyArray = npt.NDArray[Any]

DROPPED = -1
"""The label of an image that is in no split; it stays in its part, so that the cached features stay valid."""


def samples_digest(sample_ids: Sequence[str], content: Sequence[str]) -> str:
    """Return the sha256 over ordered sample ids with their content hashes."""
    return digest_lines(f"{name}\0{sha256}" for name, sha256 in zip(sample_ids, content, strict=True))


@dataclass(frozen=True)
class Part:
    """One part of a data set as it ships, such as ``train`` of ``cifar10``: extraction runs over it, in this order."""

    dataset: str
    name: str
    sample_ids: tuple[str, ...]
    """[N] A stable name for each row: for folders the POSIX path below the root."""
    content: tuple[str, ...]
    """[N] sha256 of each sample's source (the encoded file, or its raw pixels), hexadecimal."""
    labels: IntArray
    """int64 [N]: class of each row, or `DROPPED`. Labels never enter a key."""
    class_names: tuple[str, ...]
    """Empty if no image has a label."""

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
class Embedding:
    """Features of a data set's rows that were computed elsewhere."""

    by_part: Mapping[str, FloatArray]
    """float32 [N, D], finite, for each part in its row order."""
    sha256: str
    """Over the rows of all parts."""

    @property
    def dim(self) -> int:
        """D."""
        return int(next(iter(self.by_part.values())).shape[1])

    @classmethod
    def of(cls, by_part: Mapping[str, FloatArray]) -> Embedding:
        """Return the embedding with its digest."""
        rows = {part: [list(array.shape), digest_bytes(array.tobytes())] for part, array in by_part.items()}
        return cls(by_part, digest(rows))


CANNOT_BE_READ = "a folder or link that cannot be read"
"""Why something is skipped that the system refuses to look into: images may be missing, so ``--strict`` stops."""


@dataclass(frozen=True)
class Skipped:
    """A file or folder in a data set's folder that is not used, and why."""

    path: str
    reason: str
    detail: str = ""
    """More about it, to be read after the reason."""
    is_folder: bool = False
    """Whether it is, or may be, a folder: nobody knows how many images are below it."""


@dataclass(frozen=True)
class Join:
    """A file of labels or groups that the user joined to a data set by sample id."""

    kind: Literal["labels", "groups"]
    sha256: str
    """Over the values by sample id, whatever the order of the lines."""
    summary: str
    """One line about it, for reports."""


@dataclass(frozen=True)
class Targets:
    """What is predicted of each image, where that is not one class: several labels, or numbers."""

    task: Literal["multi-label", "regression"]
    names: tuple[str, ...]
    """[T]"""
    by_part: Mapping[str, DoubleArray]
    """For each part float64 [N, T]: 1 for an image that has the label and 0 for one that has not, or the number; NaN
    where it is unknown. A row without any known value is in no split."""

    def __post_init__(self) -> None:
        for name, values in self.by_part.items():
            if values.dtype != np.float64 or values.ndim != 2 or values.shape[1] != len(self.names):
                raise ValueError(f"targets of {name} must be float64 [N, {len(self.names)}], not {values.dtype}")


@dataclass(frozen=True)
class DataSet:
    """A data set: its parts, their pixels, and what augmentation may do to them."""

    name: str
    """As in paths: ``cifar10``, ``folder--flowers``, ``cifar10-limit500``."""
    parts: Mapping[str, Part]
    images: Mapping[str, Images]
    """The pixels of each part, in the part's row order."""
    class_names: tuple[str, ...]
    train: str
    """The part that train and val rows come from."""
    test: str
    """The part that test rows come from; may be the same as `train`."""
    flips: bool = True
    """Whether a mirrored image still belongs to its class (not so for digits)."""
    skipped: tuple[Skipped, ...] = ()
    val: str | None = None
    """The part that ships as val, if there is one as well as test."""
    groups: Mapping[str, IntArray] = field(default_factory=dict)
    """For each part int64 [N], the group of each row: no split separates rows of a group. Empty if there are none."""
    joins: tuple[Join, ...] = ()
    notes: tuple[str, ...] = ()
    """One line each about what was assumed of the data, and what of it is not used."""
    unreadable: tuple[UnreadableImage, ...] = ()
    """Images that are left out because they cannot be decoded; not those that the user dropped."""
    embeddings: Mapping[str, Embedding] = field(default_factory=dict)
    """By name, if the data set consists of features from elsewhere; it has no `images` then."""
    targets: Targets | None = None
    """Several labels or numbers of each image; there are no classes then, and a part's labels are 0 or `DROPPED`."""

    @property
    def has_labels(self) -> bool:
        """Whether the images have classes or targets; without, features can be extracted, and nothing can be fitted."""
        return bool(self.class_names) or self.targets is not None

    @property
    def title(self) -> str:
        """The name with the joins: relabelled data has a report of its own, and shares the cached features."""
        return self.name + "".join(f"--{join.kind}-{join.sha256[:8]}" for join in self.joins)


@dataclass(frozen=True)
class Split:
    """The rows of one part that have one role."""

    part: str
    rows: IntArray
    """int64 [n], ascending row numbers of that part."""
    role: Role

    def __len__(self) -> int:
        return int(self.rows.shape[0])


@dataclass(frozen=True)
class Splits:
    """The train, val and test rows of one data set. With folds, `val` is the first one and `train` the rest."""

    train: Split
    val: Split
    test: Split
    folds: tuple[IntArray, ...]
    """The rows of the train part that each fold holds out if train and val have under 1,000 rows; otherwise empty."""
    data_seed: int

    @property
    def chosen_by(self) -> str:
        """The rows that hyper-parameters are chosen on, as reports name them: ``val (n=5000)``, ``5-fold (n=244)``."""
        if self.folds:
            return f"{len(self.folds)}-fold (n={len(self.train) + len(self.val)})"
        return f"val (n={len(self.val)})"


@dataclass(frozen=True)
class Backbone:
    """A frozen net without its tensors: all that a key or a report needs to know of it."""

    name: str
    """torchvision's name, or with the prefix of another source: ``timm:NAME``."""
    weights: str
    """The resolved name of the weights: ``IMAGENET1K_V1``, ``none``, ``wheel`` or a file's name."""
    weights_sha256: str
    """Over the tensors in use in eval mode, by name, without the head's."""
    tap: str
    """The layer whose output is read: ``penultimate``, ``layer3``, ``blocks.11:cls``."""
    pooling: str
    """How that becomes a row: ``none``, ``avg`` of a map, ``cls`` or ``mean`` of tokens; ``output`` of a net without a
    head; ``tokens`` if all of them are kept."""
    dim: int
    """Values per row: D, or T x D of T tokens."""
    parameters: int
    """Trainable parameters of the net with its own head; at another tap than the penultimate one, of the layers that
    the features depend on."""
    head_parameters: int
    """How many of them are the head's."""
    preprocess: Preprocess
    notes: tuple[str, ...] = ()
    """What a user should know of the weights, such as a head that their file does not have."""
    tokens: int = 0
    """T of rows that are tokens [T, D]; 0 of vectors."""

    @classmethod
    def of_embedding(cls, name: str, embedding: Embedding) -> Backbone:
        """Return the record of the unknown net that computed an embedding, as if that were its penultimate tap."""
        return cls(
            name=name,
            weights="given",
            weights_sha256=embedding.sha256,
            tap=PENULTIMATE,
            pooling="given",
            dim=embedding.dim,
            parameters=0,
            head_parameters=0,
            preprocess=NO_IMAGES,
        )

    @property
    def row_shape(self) -> tuple[int, ...]:
        """D, or T and D of tokens."""
        return (self.tokens, self.dim // self.tokens) if self.tokens else (self.dim,)

    @property
    def slug(self) -> str:
        """The name as in paths."""
        return path_name(self.name)

    def decoding(self, decoding: Decoding) -> Backbone:
        """Return the record for images that are decoded in this way."""
        return replace(self, preprocess=replace(self.preprocess, decoding=decoding))


@dataclass(frozen=True)
class FeatureSet:
    """The features of a part, verified against their records."""

    features: FloatArray
    """float32 [N, D]."""
    sample_ids: Sequence[str]
    key: str
    seconds: float
    """Time of extraction, summed over the shards."""
    provenance: tuple[Mapping[str, Any], ...]
    """One per shard."""


def splits_digest(dataset: DataSet, splits: Splits) -> str:
    """Return a sha256 over the rows of every role and fold, with their labels."""

    targets = dataset.targets

    def rows(part: str, numbers: IntArray) -> str:
        whole = dataset.parts[part]
        labels = whole.labels if targets is None else [row.tolist() for row in targets.by_part[part]]
        return digest_lines(f"{whole.sample_ids[i]}\0{whole.content[i]}\0{labels[i]}" for i in numbers)

    return digest(
        {
            **({} if targets is None else {"task": targets.task, "targets": list(targets.names)}),
            "roles": {split.role: rows(split.part, split.rows) for split in (splits.train, splits.val, splits.test)},
            "folds": [rows(splits.train.part, fold) for fold in splits.folds],
            "classes": len(dataset.class_names),
        }
    )
