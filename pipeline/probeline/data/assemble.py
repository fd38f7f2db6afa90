"""From listed images to a data set: the subset, the roles of its parts, and a test part without labels."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from probeline.data.source import LoadRequest
from probeline.errors import BadData
from probeline.files.paths import Paths
from probeline.images import ImageArray, ImageFiles, ImageItems, Images
from probeline.text import shell_word
from probeline.types import DROPPED, DataSet, IntArray, Part, Skipped

_ORDER = ("train", "val", "test")


@dataclass(frozen=True)
class RawPart:
    """The images of one part before any is read."""

    sample_ids: Sequence[str]
    labels: IntArray
    """int64 [N]: number of the class, or `DROPPED`."""
    load: Callable[[IntArray], tuple[Images, tuple[str, ...]]]
    """Returns the images of some rows, ascending, and the sha256 of each one's content."""
    path: str = ""
    """The file or folder of the images as ``predict`` takes it; empty if there is none."""


def assemble(
    name: str,
    raw: Mapping[str, RawPart],
    class_names: Sequence[str],
    request: LoadRequest,
    *,
    flips: bool = True,
    skipped: Sequence[Skipped] = (),
    notes: Sequence[str] = (),
) -> DataSet:
    """Return the data set of parts: ``all``, or ``train`` with ``val``, ``test`` or both.

    Val is the test part if there is no other. Images outside the request's subset are not read. A test part without
    labels is left out with a note if other parts have labels.

    Raises
    ------
    BadData
        Parts without train.
    BadOption
        A limit below the number of classes.
    """
    if len(raw) > 1 and "train" not in raw:
        raise BadData("the data set lacks train images", where=name, expected="train", got=", ".join(raw))
    names = [part for part in _ORDER if part in raw] if len(raw) > 1 or "train" in raw else ["all"]
    by_name = dict(raw) if names != ["all"] else {"all": next(iter(raw.values()))}
    remarks = list(notes)
    if len(names) > 1 and (by_name["train"].labels != DROPPED).any():
        test = by_name.get("test")
        if test is not None and not (test.labels != DROPPED).any():
            names.remove("test")
            remarks.append(_passed_over(len(test.labels), test.path, names))
    subset = request.subset
    parts, images = {}, {}
    for part in names:
        listed = by_name[part]
        rows = subset.rows(listed.labels, classes=len(class_names))
        images[part], content = listed.load(rows)
        parts[part] = Part(
            dataset=subset.name(name),
            name=part,
            sample_ids=tuple(listed.sample_ids[row] for row in rows.tolist()),
            content=content,
            labels=listed.labels[rows],
            class_names=tuple(class_names),
        )
    return DataSet(
        name=subset.name(name),
        parts=parts,
        images=images,
        class_names=tuple(class_names),
        train=names[0],
        test=names[-1],
        flips=flips,
        skipped=tuple(skipped),
        val="val" if len(names) == 3 else None,
        notes=tuple(remarks),
    )


def pass_over_unlabelled_test(dataset: DataSet) -> DataSet:
    """Return the data set without its test part, and with a note of that, if no image of that part has a label."""
    part = dataset.parts.get("test")
    if not dataset.has_labels or part is None or dataset.test == dataset.train or (part.labels != DROPPED).any():
        return dataset
    names = [name for name in dataset.parts if name != "test"]
    return replace(
        dataset,
        parts={name: dataset.parts[name] for name in names},
        images={name: dataset.images[name] for name in names},
        test=names[-1],
        val=None,
        notes=(*dataset.notes, _passed_over(len(part), _folder_alone(dataset, "test"), names)),
    )


def _folder_alone(dataset: DataSet, part: str) -> str:
    """Return the folder of a part's files if no other part has files below it; else nothing."""
    files = {name: images.paths for name, images in dataset.images.items() if isinstance(images, ImageFiles)}
    if part not in files:
        return ""
    folder = Path(os.path.commonpath({path.parent for path in files.pop(part)}))
    is_shared = any(path.is_relative_to(folder) for paths in files.values() for path in paths)
    return "" if is_shared else str(folder)


def _passed_over(n: int, path: str, others: Sequence[str]) -> str:
    tests = "val tests" if "val" in others else "a fifth of train tests"
    command = f"probeline predict {shell_word(path) if path else 'IMAGE...'} --artifact FOLDER"
    return f"test: its {n:,} images have no labels and are left out; {tests}. To classify them after export: {command}"


def select_rows(images: Images, rows: IntArray) -> Images:
    """Return the images of some rows of a part."""
    numbers = rows.tolist()
    if isinstance(images, ImageArray):
        return images if len(numbers) == len(images.pixels) else ImageArray(images.pixels[rows])
    content = tuple(images.content[row] for row in numbers)
    if isinstance(images, ImageFiles):
        return replace(images, paths=Paths.of(images.paths).take(numbers), content=content)
    read = images.read
    names = [images.names[row] for row in numbers]
    return ImageItems(lambda row: read(numbers[row]), content, names, images.decoding)


def repeat_over_parts(ids: Iterable[Sequence[str]]) -> bool:
    """Return whether a sample id of one part, in which it is unique, is one of another part as well."""
    return any(n > 1 for n in Counter(chain.from_iterable(ids)).values())
