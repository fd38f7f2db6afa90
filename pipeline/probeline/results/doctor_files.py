"""What the data doctor found, and its file: one sealed JSON file for each backbone and key."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from probeline.identity import DOCTOR_VERSION
from probeline.results.score_files import slug
from probeline.results.store import Ignored, Kind, newest_last, of_key
from probeline.results.thumbnail import Thumbnail


@dataclass(frozen=True)
class Seen:
    """An image that a finding is about.

    Attributes
    ----------
    name : str
        ``part:row``, as ``probeline show`` takes it, and as its thumbnail is called.
    sample_id, role : str
    label : int
        Its class.
    """

    name: str
    sample_id: str
    role: str
    label: int


@dataclass(frozen=True)
class Twins:
    """Two images that are one.

    Attributes
    ----------
    first, second : Seen
        Train before val before test.
    kind : {"exact", "near"}
        Of equal content, or alike in features and pixels.
    features : float
        Cosine of their centred embeddings.
    pixels : float
        Correlation of their grey levels at a small size.
    mirrored : bool
        Whether that is of one with the other's mirror image.
    """

    first: Seen
    second: Seen
    kind: Literal["exact", "near"]
    features: float
    pixels: float
    mirrored: bool

    @property
    def score(self) -> float:
        """By which pairs are ranked: `features` x `pixels`, 1 for equal contents."""
        return self.features * self.pixels

    @property
    def conflict(self) -> bool:
        """Whether they bear different labels."""
        return self.first.label != self.second.label


@dataclass(frozen=True)
class Region:
    """Pairs of images of some roles; of g equal images each counts with the first, as g - 1 pairs.

    Attributes
    ----------
    exact, near : int
        Pairs.
    conflicts : int
        Those of both whose labels differ.
    """

    exact: int
    near: int
    conflicts: int


@dataclass(frozen=True)
class Duplicates:
    """Images that are there more than once.

    Attributes
    ----------
    regions : mapping of str to Region
        ``known`` within train and val, ``across`` between these and test, ``test`` within test.
    leaked_exact, leaked_near : tuple of int
        Places in the test split of images that are in train or val too: of equal content, or else nearly. No place is
        in both.
    compared : int
        Pairs of neighbours whose pixels were compared.
    pairs : tuple of Twins
        At most so many as are listed: those across first, and the most alike first.
    """

    regions: Mapping[str, Region]
    leaked_exact: tuple[int, ...]
    leaked_near: tuple[int, ...]
    compared: int
    pairs: tuple[Twins, ...]


@dataclass(frozen=True)
class Suspect:
    """An image whose label is doubted.

    Attributes
    ----------
    image : Seen
    suggested : int
        The class that the probe confidently holds for it.
    chance_label, chance_suggested : float
        What the probe gives either, calibrated, by a fit that did not see the image.
    disagreement : float
        Share of its neighbours with another label.
    score : float
        (1 - chance_label) x disagreement.
    """

    image: Seen
    suggested: int
    chance_label: float
    chance_suggested: float
    disagreement: float
    score: float


@dataclass(frozen=True)
class Labels:
    """Labels that are likely wrong.

    Attributes
    ----------
    judged, flagged : mapping of str to int
        Images of each role whose label was judged, and those that the rule flags.
    expected : float
        Flags among train and val, were every label a fair draw from the probe's chances.
    planted : int
        Images of train and val that were given a wrong label for a trial.
    planted_flagged : float
        Share of them that the rule flags.
    planted_rank : int or None
        How many of the true labels of train and val that are flagged score as high as the median planted one; None
        where half of the planted ones are not flagged.
    l2, temperature, top1 : float
        Of the probe; its top-1 on the judged images of train and val, by fits that did not see them.
    folds : int
    converged : bool
    neighbours : int
    suspects : tuple of Suspect
        At most so many as are listed, by score.
    """

    judged: Mapping[str, int]
    flagged: Mapping[str, int]
    expected: float
    planted: int
    planted_flagged: float
    planted_rank: int | None
    l2: float
    temperature: float
    top1: float
    folds: int
    converged: bool
    neighbours: int
    suspects: tuple[Suspect, ...]


@dataclass(frozen=True)
class Remote:
    """An image far from all that is fitted on.

    Attributes
    ----------
    image : Seen
    distance : float
        Mean of 1 - cosine to the nearest images of train and val.
    p : float
        Share of these, with itself, that are as far from their own.
    """

    image: Seen
    distance: float
    p: float


@dataclass(frozen=True)
class Outliers:
    """Images unlike the others.

    Attributes
    ----------
    level : float
        Share of train and val that counts as outliers.
    threshold : float
        The distance that this makes.
    flagged, images : mapping of str to int
        Of each role: those with p up to `level`, and all.
    neighbours : int
    remote : tuple of Remote
        At most so many as are listed, the furthest first.
    """

    level: float
    threshold: float
    flagged: Mapping[str, int]
    images: Mapping[str, int]
    neighbours: int
    remote: tuple[Remote, ...]


@dataclass(frozen=True)
class Spread:
    """How the images of a role are spread over the classes; see :class:`probeline.analysis.balance.Balance`."""

    counts: tuple[int, ...]
    ratio: float
    effective: float
    empty: tuple[int, ...]


@dataclass(frozen=True)
class Helped:
    """Images that needed the same help.

    Attributes
    ----------
    kind, told : str
    counts : mapping of str to int
        Images of each role.
    examples : tuple of str
        The first of them, as ``part:row``.
    """

    kind: str
    told: str
    counts: Mapping[str, int]
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Doctor:
    """What the doctor found in a data set with the embeddings of one backbone.

    Attributes
    ----------
    backbone, weights, precision : str
    image_size : int
        Pixels.
    key : str
        sha256 of `of`.
    of : mapping
        All that it was made from, as JSON values.
    class_names : tuple of str [K]
    images : mapping of str to int
        Of train, val and test.
    duplicates : Duplicates
    labels : Labels
    outliers : Outliers
    balance : mapping of str to Spread
        Of each role.
    helped : tuple of Helped
    thumbnails : mapping of str to Thumbnail
        Of the images that are ranked first, by their names.
    seconds : float
    environment : mapping
    """

    backbone: str
    weights: str
    precision: str
    image_size: int
    key: str
    of: Mapping[str, Any]
    class_names: tuple[str, ...]
    images: Mapping[str, int]
    duplicates: Duplicates
    labels: Labels
    outliers: Outliers
    balance: Mapping[str, Spread]
    helped: tuple[Helped, ...]
    thumbnails: Mapping[str, Thumbnail]
    seconds: float
    environment: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Doctor:
        """Return what a record that :meth:`to_json` made tells.

        Raises
        ------
        KeyError, TypeError
            Where the fields are not those of this version.
        """
        duplicates, labels, outliers = record["duplicates"], record["labels"], record["outliers"]
        return cls(
            **{
                **record,
                "class_names": tuple(record["class_names"]),
                "thumbnails": {name: Thumbnail(**one) for name, one in record["thumbnails"].items()},
                "duplicates": Duplicates(
                    **{
                        **duplicates,
                        "regions": {name: Region(**one) for name, one in duplicates["regions"].items()},
                        "leaked_exact": tuple(duplicates["leaked_exact"]),
                        "leaked_near": tuple(duplicates["leaked_near"]),
                        "pairs": tuple(
                            Twins(**{**one, "first": Seen(**one["first"]), "second": Seen(**one["second"])})
                            for one in duplicates["pairs"]
                        ),
                    }
                ),
                "labels": Labels(
                    **{
                        **labels,
                        "suspects": tuple(
                            Suspect(**{**one, "image": Seen(**one["image"])}) for one in labels["suspects"]
                        ),
                    }
                ),
                "outliers": Outliers(
                    **{
                        **outliers,
                        "remote": tuple(Remote(**{**one, "image": Seen(**one["image"])}) for one in outliers["remote"]),
                    }
                ),
                "balance": {
                    role: Spread(**{**one, "counts": tuple(one["counts"]), "empty": tuple(one["empty"])})
                    for role, one in record["balance"].items()
                },
                "helped": tuple(Helped(**{**one, "examples": tuple(one["examples"])}) for one in record["helped"]),
            }
        )


def doctor_path(folder: Path, backbone: str, key: str) -> Path:
    """Return where the findings of a backbone and key stand in `folder`."""
    return folder / f"doctor-{slug(backbone)}-{key[:12]}.json"


_DOCTORS = Kind(
    "doctor",
    DOCTOR_VERSION,
    Doctor.from_json,
    lambda folder, doctor: doctor_path(folder, doctor.backbone, doctor.key),
)


def save_doctor(folder: Path, doctor: Doctor) -> Path:
    """Write findings into `folder`, in place of an earlier file of the same key, and return its path.

    Raises
    ------
    CannotWrite
        Where the file system refuses.
    """
    return _DOCTORS.save(folder, doctor)


def find_doctor(folder: Path, backbone: str, key: str) -> Doctor | Ignored | None:
    """Return the findings of this key, None where there are none, or why what is there is not used."""
    path = doctor_path(folder, backbone, key)
    return of_key(_DOCTORS.find(folder, path), path, key)


def load_doctors(folder: Path) -> tuple[list[Doctor], list[Ignored]]:
    """Read all findings of `folder`, those that were written last at the end; also return what is no proven record."""
    return _DOCTORS.load(folder, newest_last(folder, "doctor-*.json"))
