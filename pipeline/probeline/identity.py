"""Canonical JSON, its sha256, and the version of everything that is hashed: what makes two runs the same.

Standard library only: whether a result is up to date is decided without importing torch.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterable
from typing import Any

FEATURES_VERSION = 1
"""Bump when the same net, weights, pixels and options would give other feature values than before."""

PREPROCESS_VERSION = 1
"""Bump when decoding, resizing, cropping or normalising gives other pixel values for an equal record."""

RECORD_VERSION = 2
"""Bump when equal names and weights would give another record of a backbone than the remembered one."""

VIEWS_VERSION = 1
"""Bump when an augmented view of an equal record would cut out another region, or mirror other images."""

CORRUPTIONS_VERSION = 1
"""Bump when a corruption of an equal image would have other pixels."""

SPLITS_VERSION = 2
"""Bump when an equal part and data seed would give other row sets."""

HEADS_VERSION = 3
"""Bump when a solver or its selection would choose or fit another head from equal features."""

TRAIN_VERSION = 2
"""Bump when the fine-tune trainer would take other steps from an equal configuration."""

FORMAT_VERSION = 2
"""Bump when the record of a cache entry changes its layout (cache/README.md holds the format)."""

TOKENS_FORMAT_VERSION = 3
"""The same of entries whose rows are tokens: programs that know vectors alone leave them to a newer version."""

SHARD_FORMAT_VERSION = 1
"""Bump when shards or their records change their layout."""

EXPORT_FORMAT_VERSION = 1
"""Bump when the manifest of an exported entry changes its layout."""

SCORE_VERSION = 4
"""Bump when the fields of a score record change their meaning."""

TARGET_SCORE_VERSION = 1
"""Bump when the fields of a score of labels or numbers change their meaning."""

CURVE_VERSION = 1
"""Bump when the fields of a learning curve's record change their meaning."""

RANGE_VERSION = 1
"""Bump when the fields of a range test's record change their meaning."""

PICTURE_VERSION = 2
"""Bump when a picture of the same things would look or read differently, or its record's fields change."""

GALLERY_VERSION = 2
"""Bump when a gallery of equal scores would show or say something else, or its record's fields change."""

MAP_VERSION = 2
"""Bump when a map of equal embeddings would show or say something else, or its record's fields change."""

LATENCY_VERSION = 1
"""Bump when forward passes are timed differently, or the fields of their record change their meaning."""

DOCTOR_VERSION = 2
"""Bump when the doctor would have other findings in equal data, or the fields of its record change their meaning."""

QUALITY_VERSION = 1
"""Bump when equal features would have other measures of quality, or fields of their records change their meaning."""

ARTIFACT_VERSION = 1
"""Bump when the files of an exported predictor change their layout or the fields of its record their meaning."""

ROBUSTNESS_VERSION = 1
"""Bump when a record of robustness changes its fields or what they mean."""

TEXTS_VERSION = 1
"""Bump when equal texts would have other features, or the fields of their record change their meaning."""

REPORT_VERSION = 22
"""Bump when equal scores would draw another report."""

BOARD_VERSION = 2
"""Bump when equal scores would draw another board."""


def canonical(value: Any) -> bytes:
    """Return the one JSON text of `value`: sorted keys, no white space, ASCII, no NaN or infinity.

    Floats keep Python's shortest form that reads back equal, so 1.0 and 1 differ, as they should.

    Raises
    ------
    ValueError, TypeError
        For a value that has no such text.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode("ascii")


def digest(value: Any) -> str:
    """Return the sha256 of the canonical JSON of `value` as 64 hexadecimal digits."""
    return hashlib.sha256(canonical(value)).hexdigest()


_DIGEST = re.compile("[0-9a-f]{64}")


def is_digest(text: str) -> bool:
    """Return whether a text is a sha256 as it is written here: 64 hexadecimal digits in lower case."""
    return _DIGEST.fullmatch(text) is not None


def digest_bytes(data: bytes | bytearray | memoryview) -> str:
    """Return the sha256 of `data` as 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def digest_pixels(height: int, width: int, pixels: bytes | bytearray | memoryview) -> str:
    """Return the sha256 of a decoded image: its size as text, then its RGB bytes row by row."""
    total = hashlib.sha256(b"RGB %dx%d:" % (height, width))
    total.update(pixels)
    return total.hexdigest()


def digest_lines(lines: Iterable[str]) -> str:
    """Return the sha256 of an ordered list of strings, each hashed with its length, as hexadecimal digits."""
    total = hashlib.sha256()
    encoded = (line.encode("utf-8") for line in lines)
    framed = (b"%d:%b" % (len(data), data) for data in encoded)
    while some := b"".join(itertools.islice(framed, 1024)):
        total.update(some)
    return total.hexdigest()


_SEAL = b',"sha256":"'
_SEAL_LENGTH = len(_SEAL) + 64 + len(b'"}\n')


def seal(record: dict[str, Any]) -> bytes:
    """Return `record` as a line of canonical JSON whose last member is the sha256 of all before it.

    The hash is that of the canonical JSON of `record` without that member; the text stays valid JSON.
    """
    if not record or "sha256" in record:
        raise ValueError("a sealed record has at least one field, and no field called sha256")
    body = canonical(record)
    return body[:-1] + _SEAL + digest_bytes(body).encode("ascii") + b'"}\n'


def unseal(data: bytes) -> dict[str, Any] | None:
    """Return the record that :func:`seal` wrote; None if any byte of `data` differs from it."""
    cut = len(data) - _SEAL_LENGTH
    if cut < 1:
        return None
    body = data[:cut] + b"}"
    if data[cut:] != _SEAL + digest_bytes(body).encode("ascii") + b'"}\n':
        return None
    try:
        record = json.loads(body)
    except (ValueError, RecursionError):  # a valid seal does not prove valid JSON
        return None
    return record if isinstance(record, dict) else None
