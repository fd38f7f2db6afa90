"""The layout of an image folder: which first-level folders are parts of the data set, and which are classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path

from probeline.data.folders.contents import why_no_image
from probeline.data.folders.entries import Kind, classify, entries, subfolders
from probeline.data.folders.walk import MOST_DEEP, Identity, identify
from probeline.data.part_names import exact_part, likely_part
from probeline.errors import BadData
from probeline.format import few
from probeline.types import Skipped

PARTS = ("train", "val", "test")
"""The parts of a data set, in their order."""

_WRAPPERS = frozenset(("images", "image", "imgs", "img", "pictures", "photos", "data", "classes"))
"""Names of a single folder between a part and its classes."""


@dataclass(frozen=True)
class Layout:
    """Which folders are the classes of which part, before any image is listed."""

    classes: Mapping[str, Mapping[str, Path]]
    """The class folders of each part by class name; the part is ``all`` if the classes are at the first level."""
    folders: Mapping[str, Path]
    """The folder of each part that the class folders are in."""
    skipped: tuple[Skipped, ...]
    notes: tuple[str, ...]
    """One line each about what was assumed."""


@dataclass(frozen=True)
class _Folder:
    """A first-level folder, and what is directly in it."""

    name: str
    path: Path
    known: dict[Identity, tuple[str, ...]] = field(default_factory=dict)
    """The folders in those folders that were listed before: several names may link to one."""

    @cached_property
    def folders(self) -> tuple[str, ...]:
        identity = identify(self.path)
        if identity not in self.known:
            found = entries(self.path)
            self.known[identity] = tuple(name for name, entry in found if classify(name, entry) is Kind.FOLDER)
        return self.known[identity]

    @cached_property
    def images(self) -> int:
        files = (item for item in entries(self.path) if classify(*item) is Kind.FILE)
        return sum(why_no_image(entry.path, name) is None for name, entry in files)

    @property
    def holds_images(self) -> bool:
        """Whether it is like a class folder: images, and no more folders than them."""
        return self.images > 0 and self.images >= len(self.folders)


def find_layout(root: Path) -> Layout:
    """Return the layout of a folder.

    Folders that are called like parts, and hold class folders, are parts. A folder that is called like a part and holds
    images is a class among others, if no other folder is called like another part.

    Raises
    ------
    BadData
        Two folders for one part, a train folder without another part, folders of which one may be a part or a class,
        or first-level folders that hold the same folders and so look like parts under other names.
    """
    skipped: list[Skipped] = []
    known: dict[Identity, tuple[str, ...]] = {}
    top = {name: _Folder(name, path, known) for name, path in subfolders(root, "", skipped).items()}
    by_part = _parts(root, top)
    if not by_part:
        _refuse_parts_as_classes(root, top)
        named = [name for name in top if exact_part(name)]
        notes = [f"folder: {name} holds images, not class folders: it is a class" for name in named]
        classes = {name: folder.path for name, folder in top.items()}
        return Layout({"all": classes}, {"all": root}, tuple(skipped), tuple(notes))
    if "train" not in by_part or len(by_part) < 2:
        raise BadData(
            "folder lacks parts",
            where=root,
            expected="train with val, test or both",
            got=few(list(top), 24, between=", "),
            remedy="add the missing part, or name the folder of one part after folder:",
        )
    used = {folder.name for folder in by_part.values()}
    skipped += [Skipped(name, "not one of train, val and test") for name in top if name not in used]
    folders = {part: _unwrapped(by_part[part].path, part, skipped) for part in PARTS if part in by_part}
    notes = [
        f"folder: {folder.relative_to(root).as_posix()} is {part}"
        for part, folder in folders.items()
        if folder.relative_to(root).as_posix().lower() not in (part, "training", "testing", "validation", "valid")
    ]
    classes_of = {part: subfolders(path, path.relative_to(root).as_posix(), skipped) for part, path in folders.items()}
    return Layout(classes_of, folders, tuple(skipped), tuple(notes))


def _parts(root: Path, top: Mapping[str, _Folder]) -> dict[str, _Folder]:
    """Return the folder of each part; none if the first-level folders are classes."""
    exact = _by_part(root, [folder for folder in top.values() if exact_part(folder.name)])
    if "train" in exact and not exact["train"].holds_images:
        return exact | _likely(root, top, exact)
    if "train" in exact and len(exact) > 1:
        return exact  # flat, or classes of these names: nobody can say
    if "train" not in exact and exact and not all(folder.holds_images for folder in exact.values()):
        likely = _likely(root, top, exact)
        if "train" in likely or len(exact) == len(top):
            return exact | likely
        nested = [folder.name for folder in exact.values() if folder.folders and not folder.images]
        if nested:
            raise BadData(
                "a folder may be a part or a class",
                where=root,
                expected="train with val, test or both; or a class folder with images in it",
                got=f"{nested[0]} with folders in it, and no train",
                remedy="call the other part train, or rename the class",
            )
    if "train" not in exact and exact and len(exact) == len(top):
        return exact
    return {} if exact else _likely(root, top, {})


def _likely(root: Path, top: Mapping[str, _Folder], exact: Mapping[str, _Folder]) -> dict[str, _Folder]:
    """Return the folders whose names contain those of parts, for parts that have no folder of their own name.

    They are parts if two of all parts hold a folder of the same name, or if there are no other folders.
    """
    named = [folder for folder in top.values() if not exact_part(folder.name) and likely_part(folder.name)]
    parts = {part for folder in named if (part := likely_part(folder.name))} - exact.keys()
    together = {*exact, *parts}
    if "train" not in together or len(together) < 2:
        return {}
    chosen = [folder for folder in named if likely_part(folder.name) in parts]
    inside = Counter(chain.from_iterable(_names_below(folder) for folder in (*exact.values(), *chosen)))
    shares = any(n > 1 for n in inside.values())
    named_like_parts = {folder.name for folder in (*exact.values(), *chosen)}
    others = [folder for folder in top.values() if folder.name not in named_like_parts]
    if not shares and any(folder.images or folder.folders for folder in others):
        return {}
    return _by_part(root, chosen)


def _names_below(folder: _Folder) -> set[str]:
    """Return the names of the class folders that a part would have."""
    part = likely_part(folder.name) or ""
    return set(map(str.casefold, _Folder(folder.name, _unwrapped(folder.path, part, [])).folders))


def _by_part(root: Path, folders: list[_Folder]) -> dict[str, _Folder]:
    by_part: dict[str, _Folder] = {}
    for folder in folders:
        part = likely_part(folder.name) or ""
        if part in by_part:
            raise BadData(
                f"two folders for {part}",
                where=root,
                got=f"{by_part[part].name} and {folder.name}",
                remedy="leave one, or put the images of both into it",
            )
        by_part[part] = folder
    return by_part


def _unwrapped(folder: Path, part: str, skipped: list[Skipped]) -> Path:
    """Return the folder with the class folders of a part: below repeated names, such as ``train/train/CLASS``."""
    around = {identify(folder)}
    while True:
        files: list[Skipped] = []
        inner = subfolders(folder, folder.name, files)
        if len(inner) != 1:
            return folder
        ((name, path),) = inner.items()
        is_wrapper = name.lower() == folder.name.lower() or likely_part(name) == part or name.lower() in _WRAPPERS
        content = _Folder(name, path)
        is_new = identify(path) not in around and len(around) < MOST_DEEP  # links may lead back to a folder around it
        if not is_wrapper or not is_new or not content.folders or content.holds_images:
            return folder
        skipped += files
        around.add(identify(path))
        folder = path


def _refuse_parts_as_classes(root: Path, top: Mapping[str, _Folder]) -> None:
    """Raise BadData if two first-level folders contain a folder of the same name: they look like parts, not classes.

    Two folders that both contain at least as many images as folders are classes.
    """
    holders: dict[str, list[_Folder]] = {}  # by name, capitals or not
    for folder in top.values():
        for below in folder.folders:
            for other in holders.setdefault(below.casefold(), []):
                if (other.holds_images and folder.holds_images) or identify(other.path) == identify(folder.path):
                    continue
                inside = all(exact_part(name) for name in (*other.folders, *folder.folders))
                raise BadData(
                    "folders look like parts of a data set, not like classes",
                    where=root,
                    expected="one folder per class, or parts that are called train, val and test",
                    got=f"{other.name}/{below} and {folder.name}/{below}",
                    remedy=f"put the parts above the classes: {below}/{folder.name}"
                    if inside
                    else "rename the parts, or rename one of the folders that both hold",
                )
            holders[below.casefold()].append(folder)
