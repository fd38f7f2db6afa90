"""The records of images: where their pixels are, how they are decoded and how they become a net's input."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from probeline.errors import BadData, BadOption
from probeline.identity import CORRUPTIONS_VERSION, PREPROCESS_VERSION, VIEWS_VERSION

if TYPE_CHECKING:
    from PIL.Image import Image

PixelArray = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Decoding:
    """What a user may change in how files are decoded; the rest of the policy is fixed.

    Attributes
    ----------
    background : str
        ``black`` or ``white``: what transparent pixels are composited on.
    grey_range : str
        How 16-bit grey becomes 8 bits: ``full`` keeps the high byte of 16; a bit depth (`probeline.names.GREY_BITS`)
        keeps the highest 8 of so many, and larger values are white; ``auto`` takes for each image the least of these
        depths that holds its largest value.
    """

    background: str = "black"
    grey_range: str = "full"

    def options(self) -> dict[str, str]:
        """Return what differs from the defaults, by name: what enters keys and records."""
        defaults = Decoding()
        return {name: value for name, value in vars(self).items() if value != getattr(defaults, name)}

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Decoding:
        """Return the decoding of a record that has its options among others."""
        return cls(**{name: options[name] for name in vars(cls()) if name in options})


@dataclass(frozen=True)
class ImageArray:
    """Images of one fixed small size, in memory: uint8 [N, H, W, 3], RGB."""

    pixels: PixelArray


@dataclass(frozen=True)
class ImageFiles:
    """Images of varying size: one file per row, and the sha256 that each had when it was listed."""

    paths: Sequence[Path]
    content: tuple[str, ...]
    decoding: Decoding = Decoding()


@dataclass(frozen=True)
class UnreadableImage:
    """An image that cannot be decoded and is left out of its part; `content` is the sha256 of its bytes."""

    part: str
    sample_id: str
    reason: str
    content: str


@dataclass(frozen=True)
class ImageItems:
    """Images that are read by row from elsewhere: an archive, a table of encoded images, a Python object."""

    read: Callable[[int], bytes | Image]
    """Returns an encoded image, or an opened one; called by several threads at once."""
    content: tuple[str, ...]
    """[N] sha256 of the encoded bytes, or of the pixels as :func:`probeline.data.pixels.loading.decode_item` has it."""
    names: Sequence[str]
    """[N] What messages call each image."""
    decoding: Decoding = Decoding()

    def __getstate__(self) -> dict[str, Any]:
        """Return what a pickle holds: all but the way to the pixels, which belongs to this process."""
        return {**vars(self), "read": _read_elsewhere}


def _read_elsewhere(_: int) -> bytes:
    raise BadData(
        "the images are not in this process",
        got="a pickle, which holds what is known of them and no pixels",
        remedy="call probeline.extract here: it finds their features in the cache",
    )


Images = ImageArray | ImageFiles | ImageItems
"""The pixels of one part."""


@dataclass(frozen=True)
class Preprocess:
    """How a decoded image becomes a net's input; lengths are in pixels."""

    resize: int
    """Length of the image's shorter side after resizing, or of both sides."""
    crop: int
    """Side of the centre crop."""
    interpolation: Literal["bilinear", "bicubic"]
    mean: tuple[float, float, float]
    """For pixels in [0, 1]: ``(pixel / 255 - mean) / std``."""
    std: tuple[float, float, float]
    antialias: bool = True
    resize_mode: Literal["shorter", "square"] = "shorter"
    """``shorter`` keeps the image's ratio; ``square`` resizes both sides to `resize`, whatever their ratio."""
    decoding: Decoding = Decoding()
    function: str = ""
    """The name of a function of a Python program that makes the net's input itself, instead of all of the above."""

    def resized(self, width: int, height: int) -> tuple[int, int]:
        """Return the width and height after resizing of an image in pixels, those of the longer side rounded down."""
        if self.resize_mode == "square":
            return self.resize, self.resize
        short = min(width, height)
        return int(self.resize * width / short), int(self.resize * height / short)

    def at(self, image_size: int) -> Preprocess:
        """Return the record for another crop, with the resize scaled in proportion.

        Raises
        ------
        BadOption
            A function makes the input: it has one size.
        """
        if self.function and image_size != self.crop:
            expected = f"{self.crop} pixels, as {self.function} gives"
            raise BadOption("a preprocessing function has one size", expected=expected, got=image_size)
        return replace(self, resize=round(image_size * self.resize / self.crop), crop=image_size)

    def record(self) -> dict[str, Any]:
        """Return the fields as JSON values; one that came later is left out at its default, so that old keys stay."""
        fields = {**asdict(self), "mean": list(self.mean), "std": list(self.std)}
        if self.resize_mode == "shorter":
            del fields["resize_mode"]
        if not self.function:
            del fields["function"]
        del fields["decoding"]
        return {**fields, **self.decoding.options()}

    @classmethod
    def from_record(cls, fields: Mapping[str, Any]) -> Preprocess:
        """Return what :meth:`record` is of."""
        own = {**fields, "mean": tuple(fields["mean"]), "std": tuple(fields["std"])}
        decoding = Decoding(**{name: own.pop(name) for name in vars(Decoding()) if name in own})
        return cls(**own, decoding=decoding)

    def identity(self) -> dict[str, Any]:
        """Return what enters the key."""
        return {**self.record(), "decode": PREPROCESS_VERSION}


NO_IMAGES = Preprocess(resize=0, crop=0, interpolation="bilinear", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
"""In the record of an embedding from elsewhere, which was not computed from images here: its sides are 0."""


@dataclass(frozen=True)
class View:
    """An augmented view of a part: one random region of each image, resized to the crop, and possibly mirrored.

    The region depends on the view's number and the image's content alone.
    """

    number: int
    """1 or more."""
    flips: bool
    """Whether every second image is mirrored."""
    scale: tuple[float, float] = (0.25, 1.0)
    """Range of the region's area, as a share of the image's."""
    ratio: tuple[float, float] = (0.75, 4 / 3)
    """Range of its width over height."""

    @property
    def suffix(self) -> str:
        """What the name of an entry's part ends in, after ``@``."""
        return f"view{self.number}"

    def identity(self) -> dict[str, Any]:
        """Return what enters the key."""
        return {**asdict(self), "scale": list(self.scale), "ratio": list(self.ratio), "views_version": VIEWS_VERSION}

    @classmethod
    def from_identity(cls, record: Mapping[str, Any]) -> View:
        """Return the view of a record that :meth:`identity` made."""
        return cls(record["number"], record["flips"], tuple(record["scale"]), tuple(record["ratio"]))


@dataclass(frozen=True)
class Corruption:
    """A corrupted copy of each image of a part: the centre crop at the net's input size, made worse.

    What is random depends on these fields and the image's content alone.
    """

    name: str
    """One of `probeline.names.CORRUPTIONS`."""
    severity: int
    """1 to 5; 0 leaves the image as it is."""
    seed: int = 0

    @property
    def suffix(self) -> str:
        """What the name of an entry's part ends in, after ``@``."""
        return f"{self.name}-{self.severity}"

    def identity(self) -> dict[str, Any]:
        """Return what enters the key."""
        fields = {"corruption": self.name, "severity": self.severity, "seed": self.seed}
        return {**fields, "corruptions_version": CORRUPTIONS_VERSION}


Sight = View | Corruption
"""How images are seen otherwise than by their centre crop."""


def sight_from_identity(record: Mapping[str, Any]) -> Sight:
    """Return the view or the corruption of a record that its ``identity`` made."""
    if "corruption" in record:
        return Corruption(record["corruption"], record["severity"], record["seed"])
    return View.from_identity(record)
