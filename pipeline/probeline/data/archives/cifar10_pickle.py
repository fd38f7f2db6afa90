"""CIFAR-10's Python batches without trusting pickle: no code of ours, NumPy's or anyone's is named by the file.

The published files are protocol 2 pickles of Python 2: a dict with byte keys, a list of labels, and one NumPy
array. The four globals that takes are answered with stand-ins, which only keep what they are given.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from probeline.types import PixelArray


def read_pickle(path: Path) -> tuple[PixelArray, PixelArray]:
    """Return what a batch file holds.

    Returns
    -------
    labels : uint8 [n]
    pixels : uint8 [n, m]

    Raises
    ------
    ValueError
        For a pickle that is damaged, names anything else, or holds something else.
    """
    with path.open("rb") as file:
        try:
            batch = _Reader(file, encoding="bytes").load()
            return np.array(batch[b"labels"], np.uint8), batch[b"data"].pixels()
        except FileNotFoundError:
            raise
        except Exception as error:  # a damaged pickle raises almost anything
            raise ValueError(str(error) or type(error).__name__) from error


class _Keeper:
    """Stands in for what a pickle wants to build, and keeps what it would be built of."""

    def __init__(self, *arguments: object) -> None:
        self.arguments = arguments
        self.state: Any = None

    def __setstate__(self, state: object) -> None:
        self.state = state


class _Array(_Keeper):
    def pixels(self) -> PixelArray:
        """Return the array, of which only plain uint8 in rows is expected."""
        _, shape, kind, fortran, content = self.state
        if not isinstance(kind, _Type) or kind.arguments[0] not in (b"u1", "u1") or fortran:
            raise ValueError("the array is not uint8 in rows")
        return np.frombuffer(content, np.uint8).reshape(shape)


class _Type(_Keeper):
    pass


def _bytes(text: str, encoding: str) -> bytes:
    """Do what Python 3 writes into a protocol 2 pickle in place of bytes."""
    if encoding not in ("latin1", b"latin1"):
        raise ValueError(f"text is encoded as {encoding!r}")
    return text.encode("latin-1")


class _Reader(pickle.Unpickler):
    _ALLOWED: ClassVar[dict[tuple[str, str], Callable[..., object]]] = {
        ("numpy.core.multiarray", "_reconstruct"): _Array,
        ("numpy._core.multiarray", "_reconstruct"): _Array,
        ("numpy", "ndarray"): _Keeper,
        ("numpy", "dtype"): _Type,
        ("_codecs", "encode"): _bytes,
    }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._ALLOWED[module, name]
        except KeyError:
            raise ValueError(f"the pickle names {module}.{name}") from None
