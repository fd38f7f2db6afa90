"""Which backbones there are, told without importing torch."""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib.util
from pathlib import Path

from probeline.errors import MissingExtra, UnknownName
from probeline.names import TIMM


def package_folder(name: str) -> Path:
    """Return where an installed package lies, without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise MissingExtra(f"{name} is not installed", remedy=f"pip install {name}")
    return Path(spec.origin).parent


def _is_registration(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "register_model"


@functools.cache
def torchvision_names() -> tuple[str, ...]:
    """Return the names of torchvision's classification nets, read from its sources."""
    sources = (package_folder("torchvision") / "models").glob("*.py")
    statements = (node for file in sources for node in ast.parse(file.read_text(encoding="utf-8")).body)
    functions = (node for node in statements if isinstance(node, ast.FunctionDef))
    return tuple(sorted(node.name for node in functions if any(map(_is_registration, node.decorator_list))))


def check_name(name: str) -> None:
    """Refuse a backbone that does not exist; timm's own names are left to timm.

    Raises
    ------
    UnknownName
        Suggests the nearest, or timm's of that name.
    """
    if name.startswith(TIMM) or name in torchvision_names():
        return
    remedy = f"did you mean {TIMM}{name}?" if _is_in_timm(name) else "see probeline list backbones"
    raise UnknownName("backbone", name, (*torchvision_names(), "timm:NAME (any net of timm)"), remedy=remedy)


def _is_in_timm(name: str) -> bool:
    """Return whether timm has a net of this name, read from its sources; False if it is not installed."""
    with contextlib.suppress(MissingExtra):
        definition = f"def {name.partition('.')[0]}("
        sources = (package_folder("timm") / "models").glob("*.py")
        return any(definition in file.read_text(encoding="utf-8") for file in sources)
    return False
