"""Nets of torch.hub: an entry of the hubconf.py of a repository of GitHub, or of a local folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probeline.backbones.source import Built, no_categories, no_names, no_options, only_default, refuse_options
from probeline.errors import BadOption, MissingData
from probeline.files.reading import is_file, is_folder
from probeline.images import Preprocess

if TYPE_CHECKING:
    from torch import nn

SPEC = "hub:OWNER/REPO:ENTRY"
OWN_PREPROCESS = True
names, weights, options = no_names, only_default, no_options

_REPOSITORY = re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+(:[A-Za-z0-9_./-]+)?")

_FILE = "hubconf.py"


def knows(name: str) -> bool:
    """Return whether a name begins with a folder that has entries."""
    return _is_folder(name.rpartition(":")[0])


def check(name: str) -> None:
    """Refuse a name that is no repository and entry, and a folder without entries."""
    repository, _, entry = name.rpartition(":")
    if _is_folder(repository):
        return
    if repository and is_folder(Path(repository).expanduser()):
        raise MissingData("no entries of torch.hub in the folder", where=repository, expected=_FILE)
    if not _REPOSITORY.fullmatch(repository) or repository.startswith((".", "~")) or not entry.isidentifier():
        expected = "hub:OWNER/REPO:ENTRY, hub:OWNER/REPO:REF:ENTRY or hub:FOLDER:ENTRY"
        raise BadOption("bad --backbone", where=f"hub:{name}", expected=expected)


def create(name: str, options: Mapping[str, Any], *, init: bool = False) -> nn.Module:
    """Return the entry's net; with `init` it must depend on torch's random state."""
    from probeline.backbones.user_code.hub_entry import load_entry
    from probeline.backbones.user_code.stated import net_of

    refuse_options(options)
    what, (repository, _, entry_name) = f"hub:{name}", name.rpartition(":")
    entry, module = load_entry(repository, entry_name, is_folder=_is_folder(repository))
    return net_of(entry, module, what, init=init)


def pretrained(name: str, weights: str) -> Built:
    """Return the net as the entry returns it, with the weights that the entry fetches."""
    from probeline.backbones.user_code.stated import trained_net_of

    return trained_net_of(lambda: create(name, {}), weights, f"hub:{name}")


def preprocess(net: nn.Module) -> Preprocess:
    """Return the preprocessing that the entry, its net or its hubconf.py states."""
    from probeline.backbones.user_code.stated import preprocess_of

    return preprocess_of(net)


def notes(net: nn.Module) -> tuple[str, ...]:
    """Return the assumption about the preprocessing, if none is stated."""
    from probeline.backbones.user_code.stated import notes_of

    return notes_of(net)


def categories(name: str, weights: str) -> tuple[str, ...]:
    """Refuse, as a net does not know them."""
    raise no_categories(f"hub:{name}", weights)


def _is_folder(repository: str) -> bool:
    return bool(repository) and is_file(Path(repository).expanduser() / _FILE)
