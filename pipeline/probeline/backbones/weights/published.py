"""Weights that others publish: held against the digest that comes with them, and recorded at their first use.

The Hugging Face hub names the files of its cache by their sha256, torchvision and timm put the first digits of it into
the names of theirs. Where that is not the whole sha256, the one of the first use is recorded for this user, and a file
of the same name with another one is reported.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from probeline.backbones.weights.download import check_file_hash
from probeline.environment import user_folder
from probeline.errors import BadWeights
from probeline.files.fingerprint import anybody_may_replace, file_sha256
from probeline.files.memo import Memo
from probeline.files.reading import WEIGHTS, open_file
from probeline.identity import is_digest

RECORD = "weights.json"
"""The file below the user's folder that has the digests of first uses."""

_WEIGHTS = (".safetensors", ".bin", ".pth", ".pt", ".npz", ".th")


def check_published(*files: Path, sha256: str | None = None) -> tuple[str, ...]:
    """Return what to warn of about files that a publisher's host or its cache gave.

    Parameters
    ----------
    *files : Path
        Weights, and the settings that come with them.
    sha256 : str or None
        The whole digest that the publisher states for the file, if he does.

    Raises
    ------
    BadWeights
        A file is not the one that its name, the hub or the publisher says.
    """
    lines = []
    for file in files:
        stated = sha256 or _name_in_hub(file)
        # What a link leads to is to be deleted if it is corrupt: the hub's library would link it again.
        content = file.resolve()
        if len(stated) == _GIT_LENGTH:
            _check_git_name(content, stated)
        else:
            check_file_hash(content if stated else file, stated or None)
        if file.suffix in _WEIGHTS:
            if not is_digest(stated):
                lines += _compare_with_first_use(file)
            if anybody_may_replace(file):
                digest = file_sha256(file, WEIGHTS)
                lines.append(f"{file} can be changed by every user of this machine; its sha256 now: {digest}")
    return tuple(lines)


_GIT_LENGTH = 40
"""Digits by which the hub names files that are not large, as git does."""

_BLOB = re.compile(r"(?:.*/)?blobs/([0-9a-f]{40}|[0-9a-f]{64})")


def _name_in_hub(file: Path) -> str:
    """Return the digest by which the hub's cache names the file that a link there leads to; empty if it is no link."""
    match = _BLOB.fullmatch(os.readlink(file)) if file.is_symlink() else None  # noqa: PTH115 - text, not resolved
    return match.group(1) if match else ""


def _check_git_name(file: Path, expected: str) -> None:
    with open_file(file, WEIGHTS) as stream:
        total = hashlib.sha1(b"blob %d\0" % os.fstat(stream.fileno()).st_size, usedforsecurity=False)
        while block := stream.read(1 << 20):
            total.update(block)
    if total.hexdigest() != expected:
        raise BadWeights(
            "a file of the hub's cache is corrupt",
            where=file,
            expected=f"git's digest {expected}",
            got=total.hexdigest(),
            remedy="delete it and run again to download it again",
        )


def _compare_with_first_use(file: Path) -> list[str]:
    """Record the sha256 of a file of this name, or return a line if another one was recorded."""
    record = Memo(user_folder() / RECORD)
    name, now = f"weights:{_published_name(file)}", file_sha256(file, WEIGHTS)
    before = record.get(name, [], str)
    if before == now:
        return []
    record.put(name, [], now)
    record.save()
    if before is None or not is_digest(before):
        return []
    return [
        f"{file} is another file than the one of this name that was used before: its sha256 was {before} and is {now}; "
        "its features get a key of their own"
    ]


def _published_name(file: Path) -> str:
    """Return the name of a file among those that are published: with its repository, if it is one of the hub."""
    repository = next((part for part in file.parts if part.startswith("models--")), "")
    return f"{repository}/{file.name}" if repository else file.name
