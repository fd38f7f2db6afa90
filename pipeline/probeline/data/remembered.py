"""Digests of images that the memo remembers, and the random sample of them that is read again in every process."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from probeline.data.source import LoadRequest
from probeline.identity import is_digest

SAMPLE = 64
"""Images of a part that are read again: all of a small one. If a share p of a large part's digests is wrong, that is
found with a chance of 1 - (1 - p)^64: 96 % for one image in twenty."""


@dataclass(frozen=True)
class Digests:
    """The content digests of images, as the memo holds them."""

    sha256: tuple[str, ...]

    def __post_init__(self) -> None:
        if not all(map(is_digest, self.sha256)):
            raise ValueError("sha256: expected 64 hexadecimal digits each")


def is_sample_right(request: LoadRequest, remembered: Mapping[int, str], compute: Callable[[int], str]) -> bool:
    """Return whether the remembered digests of a random sample of rows are those of the images; if not, drop the memo.

    `compute` returns the digest of a row's image; OSError means that it cannot be read.
    """
    # The sample cannot be known beforehand, so that no wrong digest is safe from it.
    rows = random.SystemRandom().sample(sorted(remembered), min(SAMPLE, len(remembered)))
    try:
        if all(compute(row) == remembered[row] for row in rows):
            return True
    except OSError:
        pass
    request.memo.drop()
    request.console.warn("the memo of hashes was wrong about an image: it is dropped, and all images are hashed again")
    return False
