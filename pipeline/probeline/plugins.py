"""What can be added by name, by this package or another one, and is loaded on demand."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar, cast

from probeline.errors import BadOption, MissingExtra

Plugin = TypeVar("Plugin")


@dataclass(frozen=True)
class Plugins(Generic[Plugin]):
    """The implementations of one Protocol: the files of a package here, and the entry points of other packages.

    A file is called as its plugin, and is the plugin: its functions and constants are what the Protocol asks for. An
    entry point leads to such a module, or to an object with the same members.
    """

    kind: str
    """What they are called in errors."""
    package: str
    """The package whose files they are."""
    group: str
    """The group of the entry points. One with the name of a file of `package` is not used."""
    needs: tuple[str, ...]
    """The members that each must have."""

    def own(self) -> tuple[str, ...]:
        """Return the names of this package's own, sorted."""
        folder = importlib.import_module(self.package)
        return tuple(sorted(module.name for module in pkgutil.iter_modules(folder.__path__)))

    def added(self) -> tuple[str, ...]:
        """Return the names that other packages add, sorted."""
        return tuple(sorted(entry_points(group=self.group).names - set(self.own())))

    def has(self, name: str) -> bool:
        """Return whether a plugin has this name."""
        return name in self.own() or name in self.added()

    def load(self, name: str) -> Plugin:
        """Return one of those that :meth:`has` knows.

        Raises
        ------
        MissingExtra
            Another package's cannot be imported, or lacks something.
        BadOption
            Two packages give one of this name.
        """
        if name in self.own():
            return cast(Plugin, importlib.import_module(f"{self.package}.{name}"))
        point, *others = entry_points(group=self.group, name=name)
        if others:
            got = " and ".join(map(_origin, (point, *others)))
            raise BadOption(f"two packages give the {self.kind} {name!r}", got=got, remedy="uninstall one of them")
        try:
            plugin = point.load()
        except Exception as error:  # whatever the import of a stranger's code may raise
            raise self._unusable(point, f"{type(error).__name__}: {error}") from error
        missing = [need for need in self.needs if not hasattr(plugin, need)]
        if missing:
            raise self._unusable(point, f"one without {', '.join(missing)}")
        return cast(Plugin, plugin)

    def _unusable(self, point: EntryPoint, got: str) -> MissingExtra:
        return MissingExtra(
            f"the {self.kind} {point.name!r} cannot be loaded",
            where=_origin(point),
            got=got,
            remedy="mend that package",
        )


def _origin(point: EntryPoint) -> str:
    return f"{point.value} of {point.dist.name if point.dist else 'an unknown package'}"
