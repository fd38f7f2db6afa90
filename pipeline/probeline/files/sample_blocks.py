"""Sample ids and content digests of rows as blocks of bytes, as cache/README.md specifies them, and other texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from probeline.files.decode import BadRecord

ROWS_PER_BLOCK = 1 << 16
"""A block of names of files takes about 4 MB."""

_DIGEST_BYTES = 32
_END = np.dtype("<u4")


@dataclass(frozen=True)
class SampleBlock:
    """The decoded ids and digests of n rows.

    Attributes
    ----------
    digests : bytes [32 n]
    ends : uint32 [n]
        Where each id ends in `text`.
    text : bytes
        The ids in UTF-8, one after the other.
    """

    digests: bytes
    ends: npt.NDArray[np.uint32]
    text: bytes

    def sample_ids(self, start: int, stop: int) -> tuple[str, ...]:
        """Return the ids of some rows of the block."""
        first = int(self.ends[start - 1]) if start else 0
        ends = self.ends[start:stop].tolist()
        piece = self.text[first : ends[-1] if ends else first]
        bounds = [(begin - first, end - first) for begin, end in zip([first, *ends], ends, strict=False)]
        if piece.isascii():
            whole = piece.decode("ascii")
            return tuple([whole[begin:end] for begin, end in bounds])
        return tuple([piece[begin:end].decode("utf-8") for begin, end in bounds])

    def content(self, start: int, stop: int) -> tuple[str, ...]:
        """Return the digests of some rows of the block, 64 hexadecimal digits each."""
        digits = self.digests[start * _DIGEST_BYTES : stop * _DIGEST_BYTES].hex()
        return tuple([digits[at : at + 64] for at in range(0, len(digits), 64)])


def encode_block(sample_ids: Sequence[str], content: Sequence[str]) -> bytes:
    """Return the bytes of a block; ValueError for digests that are not 64 hexadecimal digits, or ids beyond 4 GiB."""
    digits = "".join(content)
    digests = bytes.fromhex(digits)
    if digests.hex() != digits or any(len(digest) != 64 for digest in content):
        raise ValueError("content of samples: expected 64 hexadecimal digits each")
    return digests + encode_texts(sample_ids)


def encode_texts(texts: Sequence[str]) -> bytes:
    """Return where each text ends, and the texts in UTF-8; ValueError for more than 4 GiB of them."""
    encoded = [text.encode("utf-8") for text in texts]
    ends = np.cumsum(list(map(len, encoded)), dtype=np.int64)
    if len(ends) and ends[-1] > np.iinfo(_END).max:
        raise ValueError("texts of more than 4 GiB in one block")
    return ends.astype(_END).tobytes() + b"".join(encoded)


def decode_block(data: bytes, rows: int) -> SampleBlock:
    """Return the block of so many rows that bytes hold; BadRecord for bytes that are none."""
    digests, rest = data[: rows * _DIGEST_BYTES], data[rows * _DIGEST_BYTES :]
    ends = np.frombuffer(rest, _END, rows) if len(rest) >= rows * _END.itemsize else np.empty(0, _END)
    text = rest[rows * _END.itemsize :]
    if len(ends) != rows or ends[-1] != len(text) or (ends[1:] < ends[:-1]).any():
        raise BadRecord(f"bytes that do not hold {rows:,} samples")
    block = SampleBlock(digests, ends, text)
    try:
        block.sample_ids(0, rows)
    except UnicodeDecodeError as error:
        raise BadRecord("texts that are not UTF-8") from error
    return block


def decode_texts(data: bytes, count: int) -> tuple[str, ...]:
    """Return the texts that `encode_texts` wrote; BadRecord for other bytes."""
    return decode_block(bytes(count * _DIGEST_BYTES) + data, count).sample_ids(0, count)
