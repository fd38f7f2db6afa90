"""Image towers of open_clip, by architecture and tag, from a weights file, or from a local folder."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probeline.backbones.source import Built, no_categories, no_names, no_options
from probeline.environment import package_folder
from probeline.errors import MissingData, MissingExtra, UnknownName
from probeline.files.reading import WEIGHTS, check_folder, is_file, is_folder
from probeline.images import Preprocess
from probeline.types import FloatArray

if TYPE_CHECKING:
    from torch import Tensor, nn

SPEC = "openclip:ARCH@TAG"
OWN_PREPROCESS = True
names, options = no_names, no_options

_CONFIG = "open_clip_config.json"


def _architectures() -> list[str]:
    """Return open_clip's architectures without importing it; none if it is not installed.

    A program that has imported it may have added some.
    """
    if (imported := sys.modules.get("open_clip")) is not None:
        return [str(name) for name in imported.list_models()]
    try:
        return sorted(file.stem for file in (package_folder("open_clip") / "model_configs").glob("*.json"))
    except MissingExtra:
        return []


def knows(name: str) -> bool:
    """Return whether there is an architecture of this name, or a folder with a model."""
    return name in _architectures() or _is_model_folder(name)


def check(name: str) -> None:
    """Refuse what is neither an architecture of open_clip nor a folder with a model."""
    if _is_model_folder(name):
        check_folder(Path(name).expanduser(), WEIGHTS)
    elif is_folder(Path(name).expanduser()):
        raise MissingData("no model of open_clip in the folder", where=name, expected=_CONFIG)
    known = _architectures()
    if known and not knows(name):  # what needs the net says that open_clip is missing
        raise UnknownName("architecture of open_clip", name, known, remedy="see open_clip.list_models()")


def weights(name: str) -> tuple[str, ...]:
    """Return the tags of an architecture."""
    from probeline.backbones.libraries.open_clip import tags_of

    return ("DEFAULT", *tags_of(_source(name)))


def create(name: str, options: Mapping[str, Any], *, init: bool = False) -> nn.Module:  # noqa: ARG001
    """Return the image tower with random weights, for images of ``image_size`` pixels if that is an option."""
    from probeline.backbones.libraries.open_clip import random_tower

    return random_tower(_source(name), f"openclip:{name}", options.get("image_size"))


def adapt(net: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict's tensors for the net's image size."""
    from probeline.backbones.libraries.open_clip import fit_positions

    return fit_positions(net, state)


def pretrained(name: str, weights: str) -> Built:
    """Return the image tower with the weights of a tag, which open_clip downloads if they are missing."""
    from probeline.backbones.libraries.open_clip import load_tower

    return load_tower(_source(name), weights, f"openclip:{name}")


def from_file(name: str, path: Path) -> Built:
    """Return the image tower with the weights of a file of open_clip's, which has both towers."""
    from probeline.backbones.libraries.open_clip import load_tower

    return load_tower(_source(name), str(path), f"openclip:{name}")


def embed_texts(
    name: str, weights: str, texts: Sequence[str], templates: Sequence[str], *, device: str
) -> tuple[FloatArray, float]:
    """Return the text tower's features of the classes, float32 [K, E], and what their cosines are multiplied by."""
    from probeline.backbones.libraries.open_clip_texts import embed_texts

    return embed_texts(_source(name), weights, f"openclip:{name}", texts, templates, device=device)


def preprocess(net: nn.Module) -> Preprocess:
    """Return the preprocessing of open_clip's configuration."""
    from probeline.backbones.libraries.open_clip import preprocess_of

    return preprocess_of(net)


def notes(net: nn.Module) -> tuple[str, ...]:
    """Return where the embedding is read."""
    from probeline.backbones.libraries.open_clip import notes_of

    return notes_of(net)


def categories(name: str, weights: str) -> tuple[str, ...]:
    """Refuse, as these nets have no classes."""
    raise no_categories(f"openclip:{name}", weights)


def _is_model_folder(name: str) -> bool:
    return is_file(Path(name).expanduser() / _CONFIG)


def _source(name: str) -> str:
    """Return what open_clip builds: an architecture, or a folder."""
    return f"local-dir:{Path(name).expanduser()}" if _is_model_folder(name) else name
