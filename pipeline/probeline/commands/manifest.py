"""Manifest: list and hash the images of a data set once, and write what was found as one file for many processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from probeline.data.manifests import write_manifest
from probeline.data.registry import place_of
from probeline.format import megabytes
from probeline.session import Session
from probeline.text import shell_word


def run(session: Session) -> dict[str, Any]:
    """Write the manifest of the data set, without images that cannot be read, and return where it is."""
    dataset, say = session.dataset, session.console.result
    path = session.settings.export.out or Path(f"{dataset.name}.manifest")
    sha256 = write_manifest(dataset, place_of(session.settings.data.dataset), path)
    images = sum(map(len, dataset.parts.values()))
    say(f"{path}  {images:,} images, {megabytes(path.stat().st_size)}  sha256 {sha256}")
    say(f"use it with: --dataset {shell_word(f'manifest:{path}')}")
    return {"file": str(path), "images": images, "sha256": sha256}
