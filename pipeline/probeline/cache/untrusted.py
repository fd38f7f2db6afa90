"""Reading a foreign HDF5 file in a process that may die: what it finds is handed over as plain bytes."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import sys
from pathlib import Path

import numpy as np

from probeline.cache import hdf5
from probeline.types import FloatArray

REFUSED = 7
"""Exit code of a reader that said why."""

_CPU_SECONDS = 100
_SPARE_BYTES = 2 << 30
"""Memory for the interpreter and its libraries, beside a few times the file."""


def main() -> None:
    """Read the file ``sys.argv[1]`` and write its manifest and features below the folder ``sys.argv[2]``."""
    path, folder = Path(sys.argv[1]), Path(sys.argv[2])
    size = path.stat().st_size
    # A sparse file may be larger than all memory there is.
    memory = min(_SPARE_BYTES + 4 * size, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for limit, most in (
        (resource.RLIMIT_CPU, _CPU_SECONDS),
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, 2 * size + 4096),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(limit)[1]
        with contextlib.suppress(ValueError, OSError):  # macOS has limits that it does not let anybody set
            resource.setrlimit(limit, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
    try:
        manifest, features = hdf5.decode_export(path.read_bytes())
        (folder / "manifest").write_bytes(manifest)
        (folder / "features").write_bytes(features.tobytes())
        (folder / "shape").write_text(json.dumps(features.shape), encoding="utf-8")
    except (ValueError, OSError, MemoryError) as error:
        sys.stderr.write(str(error) or type(error).__name__)
        sys.exit(REFUSED)


def collect(folder: Path) -> tuple[bytes, FloatArray]:
    """Return manifest and features float32 [N, D] that a reader left in a folder."""
    rows, columns = json.loads((folder / "shape").read_text(encoding="utf-8"))
    features = np.frombuffer((folder / "features").read_bytes(), "<f4").reshape(rows, columns)
    return (folder / "manifest").read_bytes(), features
