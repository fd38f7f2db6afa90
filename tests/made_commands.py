"""Commands that several test files run."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run_make(*words: str) -> str:
    """Return what make prints in the repository's root, whatever the make around this one was given."""
    environment = {"PATH": os.environ["PATH"]}
    run = subprocess.run(["make", *words], cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    return run.stdout
