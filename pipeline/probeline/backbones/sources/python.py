"""Nets of the user's own code: a function without arguments that returns one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probeline.backbones.source import Built, no_categories, no_names, no_options, only_default, refuse_options
from probeline.errors import BadOption, MissingData
from probeline.files.reading import is_file, why_unreachable
from probeline.images import Preprocess

if TYPE_CHECKING:
    from torch import nn

SPEC = "python:FILE.py:FUNCTION"
OWN_PREPROCESS = True
names, weights, options = no_names, only_default, no_options


def knows(name: str) -> bool:
    """Return whether a name begins with a file that exists."""
    file, _, function = name.rpartition(":")
    return bool(function) and file.endswith(".py") and is_file(Path(file).expanduser())


def check(name: str) -> None:
    """Refuse a name that is no module and function, and a file that does not exist."""
    module, _, function = name.rpartition(":")
    if not module or not function.isidentifier():
        expected = "python:FILE.py:FUNCTION or python:MODULE:FUNCTION"
        raise BadOption("bad --backbone", where=f"python:{name}", expected=expected)
    if module.endswith(".py") and not is_file(Path(module).expanduser()):
        remedy, got = "check the path of --backbone python:FILE.py:FUNCTION", why_unreachable(Path(module).expanduser())
        raise MissingData("no such file", where=module, got=got, remedy=remedy)


def create(name: str, options: Mapping[str, Any], *, init: bool = False) -> nn.Module:
    """Return the function's net; with `init` it must depend on torch's random state."""
    from probeline.backbones.user_code.calling import load_factory
    from probeline.backbones.user_code.stated import net_of

    refuse_options(options)
    what, (module, _, function) = f"python:{name}", name.rpartition(":")
    factory, loaded = load_factory(module, function)
    return net_of(factory, loaded, what, init=init)


def pretrained(name: str, weights: str) -> Built:
    """Return the net as the function returns it, with the tensors that it has there."""
    from probeline.backbones.user_code.stated import trained_net_of

    return trained_net_of(lambda: create(name, {}), weights, f"python:{name}")


def preprocess(net: nn.Module) -> Preprocess:
    """Return the preprocessing that the function, its net or its module states."""
    from probeline.backbones.user_code.stated import preprocess_of

    return preprocess_of(net)


def notes(net: nn.Module) -> tuple[str, ...]:
    """Return the assumption about the preprocessing, if none is stated."""
    from probeline.backbones.user_code.stated import notes_of

    return notes_of(net)


def categories(name: str, weights: str) -> tuple[str, ...]:
    """Refuse, as a net does not know them."""
    raise no_categories(f"python:{name}", weights)
