"""CIFAR-10's Python batches, read without running any code that the pickle names.

The published files are protocol 2 pickles of Python 2: a dict with byte keys, a list of labels, and one NumPy
array. The globals that they name are replaced by stand-ins, which only store their arguments.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from probeline.files.reading import ARRAYS, open_file
from probeline.images import PixelArray


def read_pickle(path: Path) -> tuple[PixelArray, PixelArray]:
    """Return the labels uint8 [n] and pixels uint8 [n, m] of a batch file.

    Raises
    ------
    ValueError
        The pickle is damaged, names other globals, or has other content.
    """
    with open_file(path, ARRAYS) as file:
        try:
            batch = _Reader(file, encoding="bytes").load()
            return np.array(batch[b"labels"], np.uint8), batch[b"data"].pixels()
        except Exception as error:  # a damaged pickle raises almost anything
            raise ValueError(str(error) or type(error).__name__) from error


class _StandIn:
    """Stores what an object of the pickle would be built from."""

    def __init__(self, *arguments: object) -> None:
        self.arguments = arguments
        self.state: Any = None

    def __setstate__(self, state: object) -> None:
        self.state = state

    def pixels(self) -> PixelArray:
        """Return the array of a NumPy array's state; only uint8 in C order is accepted."""
        _, shape, kind, fortran, content = self.state
        if not isinstance(kind, _Type) or kind.arguments[0] not in (b"u1", "u1") or fortran:
            raise ValueError("the array is not uint8 in rows")
        return np.frombuffer(content, np.uint8).reshape(shape)


class _Type(_StandIn):
    pass


def _encode(text: str, encoding: str) -> bytes:
    """Return the bytes that Python 3 writes into a protocol 2 pickle as a call of ``_codecs.encode``."""
    if encoding not in ("latin1", b"latin1"):
        raise ValueError(f"text is encoded as {encoding!r}")
    return text.encode("latin-1")


class _Reader(pickle._Unpickler):
    # Python's own in Python: that in C sets aside memory for as many objects as the file says it has.
    _ALLOWED: ClassVar[dict[tuple[str, str], Callable[..., object]]] = {
        ("numpy.core.multiarray", "_reconstruct"): _StandIn,
        ("numpy._core.multiarray", "_reconstruct"): _StandIn,
        ("numpy", "ndarray"): _StandIn,
        ("numpy", "dtype"): _Type,
        ("_codecs", "encode"): _encode,
    }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._ALLOWED[module, name]
        except KeyError:
            raise ValueError(f"the pickle names {module}.{name}") from None
