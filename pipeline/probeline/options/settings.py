"""The settings of one run: its options in their groups, and the words after the verb.

The options are declared in :mod:`probeline.options.groups`. A verb takes groups, or single options of them, that
:mod:`verbs` lists.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from probeline.console import Console, Silence
from probeline.options.groups.data import BackboneOptions, DataOptions, TapOptions
from probeline.options.groups.fitting import CurveOptions, FitOptions, HeadOptions, TrainOptions
from probeline.options.groups.results import (
    CompareOptions,
    ExportOptions,
    PictureOptions,
    PredictOptions,
    RobustnessOptions,
    SimilarOptions,
)
from probeline.options.groups.running import (
    ComputeOptions,
    FolderOptions,
    MaintenanceOptions,
    RunOptions,
    ShareOptions,
)
from probeline.options.table import Option, options_in


@dataclass(frozen=True)
class Settings:
    """The options of one run by group, whose names are unique among all groups, and the words after the verb."""

    data: DataOptions = field(default_factory=DataOptions)
    nets: BackboneOptions = field(default_factory=BackboneOptions)
    reading: TapOptions = field(default_factory=TapOptions)
    compute: ComputeOptions = field(default_factory=ComputeOptions)
    sharing: ShareOptions = field(default_factory=ShareOptions)
    fitting: FitOptions = field(default_factory=FitOptions)
    heads: HeadOptions = field(default_factory=HeadOptions)
    training: TrainOptions = field(default_factory=TrainOptions)
    curve: CurveOptions = field(default_factory=CurveOptions)
    pictures: PictureOptions = field(default_factory=PictureOptions)
    export: ExportOptions = field(default_factory=ExportOptions)
    compare: CompareOptions = field(default_factory=CompareOptions)
    robustness: RobustnessOptions = field(default_factory=RobustnessOptions)
    predict: PredictOptions = field(default_factory=PredictOptions)
    similar: SimilarOptions = field(default_factory=SimilarOptions)
    folders: FolderOptions = field(default_factory=FolderOptions)
    maintenance: MaintenanceOptions = field(default_factory=MaintenanceOptions)
    run: RunOptions = field(default_factory=RunOptions)
    words: tuple[str, ...] = ()
    console: Console = field(default_factory=Silence, compare=False)

    @classmethod
    def of(cls, *, words: tuple[str, ...] = (), console: Console | None = None, **values: Any) -> Settings:
        """Return the settings with some options by name, whatever their group, and all others at their defaults."""
        return cls(words=words, console=console or Silence()).changed(**values)

    def changed(self, **values: Any) -> Settings:
        """Return the settings with other values of some options by name; TypeError for an unknown one."""
        by_group: dict[str, dict[str, Any]] = {}
        for name, value in values.items():
            if name not in GROUP_OF:
                raise TypeError(f"no option is called {name}")
            by_group.setdefault(GROUP_OF[name], {})[name] = value
        groups = {group: replace(getattr(self, group), **changes) for group, changes in by_group.items()}
        return replace(self, **groups)

    def value(self, name: str) -> Any:
        """Return the value of an option by name, whatever its group."""
        return getattr(getattr(self, GROUP_OF[name]), name)


GROUPS: Mapping[str, type] = {
    group.name: group.default_factory  # type: ignore[misc]
    for group in fields(Settings)
    if group.name not in ("words", "console")
}
"""The class of each group, by the name that it has in `Settings`."""

OPTIONS: Mapping[str, Option] = {option.name: option for group in GROUPS.values() for option in options_in(group)}
"""Every option by name."""

GROUP_OF: Mapping[str, str] = {option.name: name for name, group in GROUPS.items() for option in options_in(group)}
"""The group of each option."""

Step = tuple[Settings, tuple[str, ...]]
"""Part of a run: settings, and the verbs to run with them, in their order."""
