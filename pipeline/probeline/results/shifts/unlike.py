"""How well the distance to train images tells test images from those of another data set."""

from __future__ import annotations

from dataclasses import dataclass

from probeline.disk import path_name
from probeline.files.limits import Count, Name, Pixels, Positive, Sha256, Share, check_interval
from probeline.identity import ROBUSTNESS_VERSION
from probeline.results.members import Environment
from probeline.results.store import RecordKind


@dataclass(frozen=True)
class Unlike:
    """The distances of test images and of images from elsewhere to their k-th nearest train image, compared."""

    dataset: Name
    splits: Sha256
    backbone: Name
    weights: Name
    image_size: Pixels
    precision: Name
    tap: Name
    key: Sha256
    """sha256 over the splits and the features of both data sets."""
    other: Name
    """Name of the other data set; all of its images are used."""
    k: Positive
    n_train: Positive
    n_test: Positive
    n_other: Positive
    shared: Count
    """Images of the other data set whose file or pixels this one has too, in any role."""
    auroc: Share
    """The share of pairs of a test and another image in which the other one is farther."""
    auroc_interval: tuple[Share, Share]
    """95 %, by the bootstrap over the images of both."""
    fpr95: Share
    """The share of the other images that are as near as 95 % of the test images."""
    fpr95_interval: tuple[Share, Share]
    environment: Environment

    def __post_init__(self) -> None:
        if self.shared > self.n_other:
            raise ValueError(f"{self.shared:,} of {self.n_other:,} images are shared")
        if self.k > self.n_train:
            raise ValueError(f"neighbour {self.k} of {self.n_train:,}")
        check_interval("auroc_interval", self.auroc_interval, self.auroc)
        if self.fpr95_interval[0] > self.fpr95_interval[1]:
            raise ValueError("an interval that ends before it begins")


def _file_name(backbone: str, key: str) -> str:
    return f"unlike/{path_name(backbone, portable=True)}-{key[:12]}.json"


UNLIKE = RecordKind("unlike", ROBUSTNESS_VERSION, Unlike, _file_name, ("unlike/*.json",), newest_last=True)
