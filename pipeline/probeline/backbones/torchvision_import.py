"""Imports torchvision and what is built on it, also if its compiled operators do not match the installed torch."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType
from typing import cast

from probeline.environment import declare_missing_operators
from probeline.errors import MissingExtra


def models() -> ModuleType:
    """Return ``torchvision.models``."""
    declare_missing_operators()
    import torchvision.models

    return cast(ModuleType, torchvision.models)


def timm() -> ModuleType:
    """Return ``timm``."""
    return _package("timm", "timm")


def transformers() -> ModuleType:
    """Return ``transformers``, whose image processors use torchvision."""
    return _package("transformers", "hf")


def open_clip() -> ModuleType:
    """Return ``open_clip``."""
    return _package("open_clip", "openclip")


def peft() -> ModuleType:
    """Return ``peft``, which imports transformers."""
    return _package("peft", "peft")


def _package(name: str, extra: str) -> ModuleType:
    """Return a package that imports torchvision, or raise `MissingExtra` with the extra that installs it."""
    if importlib.util.find_spec(name) is None:
        raise MissingExtra(f"{name} is not installed", remedy=f"pip install 'probeline[{extra}]'")
    declare_missing_operators()
    return importlib.import_module(name)
