"""A data set that `probeline manifest` listed and hashed: nothing is listed again, and a random sample is hashed."""

from __future__ import annotations

import os
import random
from functools import partial
from pathlib import Path

from probeline.data.assemble import RawPart, assemble
from probeline.data.manifests import ListedImages, read_manifest
from probeline.data.remembered import SAMPLE
from probeline.data.source import LoadRequest
from probeline.errors import BadData
from probeline.files.reading import IMAGE, read_bytes
from probeline.identity import digest_bytes
from probeline.images import ImageFiles, Images
from probeline.types import DataSet, IntArray

SPEC = "manifest:FILE"


def load(file: str, request: LoadRequest) -> DataSet:
    """Return the data set of a manifest, with the name, the ids and so the keys of the one that it was written of.

    Its images may have another folder here, which ``--images`` names.

    Raises
    ------
    MissingData
        No such file.
    BadData
        The file is none, or one of a random sample of its images is missing or another one now.
    """
    path = Path(os.path.expanduser(file))  # noqa: PTH111 - expanduser of Path raises for an unknown user
    manifest = read_manifest(path, request.images)
    raw = {
        name: RawPart(listed.sample_ids, listed.labels, partial(_load_files, listed, path))
        for name, listed in manifest.parts.items()
    }
    record = manifest.record
    return assemble(
        record.name, raw, record.class_names, request, flips=record.flips, skipped=record.skipped, notes=record.notes
    )


def _load_files(listed: ListedImages, manifest: Path, rows: IntArray) -> tuple[Images, tuple[str, ...]]:
    paths, content = listed.paths.take(rows.tolist()), tuple(listed.content[row] for row in rows.tolist())
    # The sample cannot be known beforehand, so that no image that changed is safe from it.
    for row in random.SystemRandom().sample(range(len(paths)), min(SAMPLE, len(paths))):
        try:
            is_right = digest_bytes(read_bytes(paths[row], IMAGE)) == content[row]
            got = "other bytes than the manifest says"
        except OSError as error:
            is_right, got = False, error.strerror or type(error).__name__
        if not is_right:
            raise BadData(
                "an image is not the one of the manifest",
                where=paths[row],
                got=got,
                remedy=f"write {manifest} again, or name the folder of its images by --images",
            )
    return ImageFiles(paths, content), content
