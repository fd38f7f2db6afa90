"""Vision models of transformers, from the Hugging Face hub or a local folder; no code of a repository is run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probeline.backbones.source import Built, no_categories, no_names, no_options, only_default, refuse_options
from probeline.errors import BadOption, MissingData, UnknownName
from probeline.files.reading import WEIGHTS, check_folder, is_file, is_folder
from probeline.images import Preprocess

if TYPE_CHECKING:
    from torch import nn

SPEC = "hf:ORG/NAME"
OWN_PREPROCESS = True
names, weights, options = no_names, only_default, no_options

_HUB_NAME = re.compile(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+")

_CONFIG = "config.json"


def knows(name: str) -> bool:
    """Return whether a name looks like one of the hub, or is a folder with a model."""
    return _is_model_folder(name) or (bool(_HUB_NAME.fullmatch(name)) and not Path(name).exists())


def check(name: str) -> None:
    """Refuse what is neither a folder with a saved model nor a name of the hub."""
    folder = Path(name).expanduser()
    if _is_model_folder(name):
        check_folder(folder, WEIGHTS)
        return
    if is_folder(folder):
        remedy = "save a model there: model.save_pretrained(folder) and processor.save_pretrained(folder)"
        raise MissingData("no model of transformers in the folder", where=folder, expected=_CONFIG, remedy=remedy)
    if not _HUB_NAME.fullmatch(name) or name.startswith((".", "~")):
        raise BadOption("bad --backbone", where=f"hf:{name}", expected="hf:ORG/NAME or hf:FOLDER of a saved model")


def create(name: str, options: Mapping[str, Any], *, init: bool = False) -> nn.Module:  # noqa: ARG001
    """Return the model with random weights."""
    from probeline.backbones.libraries.transformers import random_encoder

    refuse_options(options)
    return random_encoder(_source(name), f"hf:{name}")


def pretrained(name: str, weights: str) -> Built:
    """Return the model, which the hub's library downloads if it is missing; `weights` may name a revision."""
    from probeline.backbones.libraries.transformers import pretrained_encoder
    from probeline.backbones.weights.published import check_published

    revision = None if weights == "DEFAULT" else weights
    if revision and _is_model_folder(name):
        raise UnknownName(f"weights of hf:{name}", weights, ["DEFAULT", "none", "PATH of a file"])
    net, files = pretrained_encoder(_source(name), revision, f"hf:{name}")
    warnings = () if _is_model_folder(name) else check_published(*files)
    return Built(net, weights, preprocess(net), files, warnings=warnings)


def from_file(name: str, path: Path) -> Built:
    """Return the model with the weights of a file, by the names that transformers or its model gives them."""
    from probeline.backbones.libraries.transformers import encoder_from_file

    net = encoder_from_file(_source(name), path, f"hf:{name}")
    return Built(net, path.name, preprocess(net), (path,))


def preprocess(net: nn.Module) -> Preprocess:
    """Return what the model's image processor does."""
    from probeline.backbones.libraries.transformers import preprocess_of

    return preprocess_of(net)


def notes(net: nn.Module) -> tuple[str, ...]:
    """Return which output of the model is the embedding."""
    from probeline.backbones.libraries.transformers import notes_of

    return notes_of(net)


def categories(name: str, weights: str) -> tuple[str, ...]:
    """Refuse, as the model is built without its head."""
    raise no_categories(f"hf:{name}", weights)


def _is_model_folder(name: str) -> bool:
    return is_file(Path(name).expanduser() / _CONFIG)


def _source(name: str) -> str:
    """Return what transformers loads: the folder, or the name on the hub."""
    return str(Path(name).expanduser()) if _is_model_folder(name) else name
