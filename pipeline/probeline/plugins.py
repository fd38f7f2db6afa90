"""What can be added by name, of this package or of another one, loaded when it is asked for."""

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

    A file is called as its plugin, and is the plugin: its functions and constants are what the Protocol asks for.
    An entry point leads to such a file, or to an object that has the same.

    Attributes
    ----------
    kind : str
        What they are, in an error's words.
    package : str
        The package whose files they are.
    group : str
        The group of the entry points. One that is called as a file of `package` is not used.
    needs : tuple of str
        What each must have by name.
    """

    kind: str
    package: str
    group: str
    needs: tuple[str, ...]

    def own(self) -> tuple[str, ...]:
        """Return the names of this package's own, sorted."""
        folder = importlib.import_module(self.package)
        return tuple(sorted(module.name for module in pkgutil.iter_modules(folder.__path__)))

    def added(self) -> tuple[str, ...]:
        """Return the names that other packages add, sorted."""
        return tuple(sorted({point.name for point in self._points()} - set(self.own())))

    def has(self, name: str) -> bool:
        """Return whether there is one of this name."""
        return name in self.own() or any(point.name == name for point in self._points())

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
        points = [point for point in self._points() if point.name == name]
        if len(points) > 1:
            got = " and ".join(map(_origin, points))
            raise BadOption(f"two packages give the {self.kind} {name!r}", got=got, remedy="uninstall one of them")
        try:
            plugin = points[0].load()
        except Exception as error:  # whatever the import of a stranger's code may raise
            raise self._unusable(points[0], f"{type(error).__name__}: {error}") from error
        missing = [need for need in self.needs if not hasattr(plugin, need)]
        if missing:
            raise self._unusable(points[0], f"one without {', '.join(missing)}")
        return cast(Plugin, plugin)

    def _points(self) -> tuple[EntryPoint, ...]:
        return tuple(entry_points(group=self.group))

    def _unusable(self, point: EntryPoint, got: str) -> MissingExtra:
        return MissingExtra(
            f"the {self.kind} {point.name!r} cannot be loaded",
            where=_origin(point),
            got=got,
            remedy="mend that package",
        )


def _origin(point: EntryPoint) -> str:
    return f"{point.value} of {point.dist.name if point.dist else 'an unknown package'}"
