"""A folder that lasts as long as something in this process reads it."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path


class ScratchFolder:
    """A new folder for temporary files, removed with this object or at the end of the process."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="probeline-"))
        weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)
