"""Imports torchvision and timm, also if torchvision's compiled operators do not match the installed torch."""

from __future__ import annotations

import importlib.util
from types import ModuleType
from typing import cast

from probeline.errors import MissingExtra
from probeline.torchvision_operators import declare_missing_operators


def models() -> ModuleType:
    """Return ``torchvision.models``."""
    declare_missing_operators()
    import torchvision.models

    return cast(ModuleType, torchvision.models)


def timm() -> ModuleType:
    """Return ``timm``."""
    if importlib.util.find_spec("timm") is None:
        raise MissingExtra("timm is not installed", remedy="pip install 'probeline[timm]'")
    declare_missing_operators()
    import timm as package

    return package
