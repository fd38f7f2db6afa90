"""What a run was asked to do: every group of options, and the words after the verb."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from probeline.console import Console, Silence
from probeline.options.groups import (
    BackboneOptions,
    ComputeOptions,
    CurveOptions,
    DataOptions,
    ExportOptions,
    FolderOptions,
    HeadOptions,
    MaintenanceOptions,
    PictureOptions,
    PredictOptions,
    RunOptions,
    SeedOptions,
    TapOptions,
    TrainOptions,
)
from probeline.options.table import Option, options_in


@dataclass(frozen=True)
class Settings:
    """The options of one run, group by group; names of options are unique among all groups.

    Attributes
    ----------
    words : tuple of str
        What follows the verb: images, rows, or what to do with the cache.
    console : Console
    """

    data: DataOptions = field(default_factory=DataOptions)
    nets: BackboneOptions = field(default_factory=BackboneOptions)
    reading: TapOptions = field(default_factory=TapOptions)
    compute: ComputeOptions = field(default_factory=ComputeOptions)
    seeding: SeedOptions = field(default_factory=SeedOptions)
    heads: HeadOptions = field(default_factory=HeadOptions)
    training: TrainOptions = field(default_factory=TrainOptions)
    curve: CurveOptions = field(default_factory=CurveOptions)
    pictures: PictureOptions = field(default_factory=PictureOptions)
    export: ExportOptions = field(default_factory=ExportOptions)
    predict: PredictOptions = field(default_factory=PredictOptions)
    folders: FolderOptions = field(default_factory=FolderOptions)
    maintenance: MaintenanceOptions = field(default_factory=MaintenanceOptions)
    run: RunOptions = field(default_factory=RunOptions)
    words: tuple[str, ...] = ()
    console: Console = field(default_factory=Silence, compare=False)

    @classmethod
    def of(cls, *, words: tuple[str, ...] = (), console: Console | None = None, **values: Any) -> Settings:
        """Return the settings with some options by name, whatever their group, and all others as they are by default.

        Raises
        ------
        TypeError
            A name that no group has.
        """
        return cls(words=words, console=console or Silence()).changed(**values)

    def changed(self, **values: Any) -> Settings:
        """Return the settings with other values of some options, given by name.

        Raises
        ------
        TypeError
            A name that no group has.
        """
        by_group: dict[str, dict[str, Any]] = {}
        for name, value in values.items():
            if name not in GROUP_OF:
                raise TypeError(f"no option is called {name}")
            by_group.setdefault(GROUP_OF[name], {})[name] = value
        groups = {group: replace(getattr(self, group), **some) for group, some in by_group.items()}
        return replace(self, **groups)

    def value(self, name: str) -> Any:
        """Return the value of an option by name, whatever its group."""
        return getattr(getattr(self, GROUP_OF[name]), name)


def _groups() -> Iterator[tuple[str, type]]:
    for one in fields(Settings):
        if one.name not in ("words", "console"):
            yield one.name, one.default_factory  # type: ignore[misc]


GROUPS: Mapping[str, type] = dict(_groups())
"""The class of each group, by the name that it has in `Settings`."""

OPTIONS: Mapping[str, Option] = {one.name: one for group in GROUPS.values() for one in options_in(group)}
"""Every option by name."""

GROUP_OF: Mapping[str, str] = {one.name: name for name, group in GROUPS.items() for one in options_in(group)}
"""The group of each option."""

Step = tuple[Settings, tuple[str, ...]]
"""Part of a run: settings, and the verbs that are run with them, in their order."""
