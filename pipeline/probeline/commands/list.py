"""List: the names of data sets, backbones or recipes."""

from __future__ import annotations

from collections.abc import Mapping

from probeline.errors import UnknownName

KINDS = ("datasets", "backbones", "recipes")


def names_of(kind: str) -> Mapping[str, str]:
    """Return the names of one kind, each with a line that describes it."""
    if kind == "datasets":
        from probeline.data.registry import names as dataset_names

        return {name: name for name in dataset_names()}
    if kind == "backbones":
        from probeline.backbones.registry import names as backbone_names

        return {name: name for name in backbone_names()}
    if kind == "recipes":
        from probeline import recipes

        longest = max(map(len, recipes.names()))
        return {name: f"{name:{longest}}  {recipes.read(name).title}" for name in recipes.names()}
    raise UnknownName("list", kind, KINDS)
