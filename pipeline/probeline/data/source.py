"""What a source of data sets is: the seam at which others are added."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from probeline.console import Console
from probeline.data.sampling.stratified import sample
from probeline.data.verdicts import Verdicts
from probeline.errors import BadOption
from probeline.files.memo import Memo
from probeline.names import AUTO
from probeline.options.checks import parse_columns
from probeline.options.groups.data import DataOptions
from probeline.types import DROPPED, DataSet, IntArray

_PURPOSE = 1


@dataclass(frozen=True)
class Subset:
    """``--limit N``: a seeded, stratified subset of each part, which is a smaller data set of its own.

    Attributes
    ----------
    limit : int or None
        The most images of each part; None for all.
    seed : int
        The data seed.
    """

    limit: int | None = None
    seed: int = 0

    def name(self, dataset: str) -> str:
        """Return the name of the subset of a data set, as in paths."""
        if self.limit is None:
            return dataset
        return f"{dataset}-limit{self.limit}" + (f"-dataseed{self.seed}" if self.seed else "")

    def rows(self, labels: IntArray, classes: int) -> IntArray:
        """Return the rows of one part that remain, ascending: int64 [min(N, limit)] of labels int64 [N].

        Each class of the part keeps at least one row; rows without a label count as a class.

        Raises
        ------
        BadOption
            A limit below the number of classes of the data set, or a negative seed.
        """
        if self.limit is None:
            return np.arange(len(labels))
        if self.limit < classes:
            raise BadOption("bad --limit", expected=f"{classes} or more, one image of each class", got=self.limit)
        shift = 1 if (labels == DROPPED).any() else 0
        return sample(labels + shift, self.limit, self.seed, _PURPOSE)


@dataclass(frozen=True)
class LoadRequest:
    """How to load a data set.

    Attributes
    ----------
    data : Path
        The parent folder of downloaded data sets.
    subset : Subset
        Which rows of each part to load: ``subset.rows(labels, classes=K)``, and the data set's name:
        ``subset.name(name)``.
    memo : Memo
        Remembers the hashes of image files.
    console : Console
    download : bool
        Whether missing files may be downloaded.
    images : Path or None
        ``--images``: the folder of the images of a table; None for the table's own.
    columns : mapping of str to str
        ``--columns``: the column for a name such as ``label``; an empty one means that there is none.
    verdicts : Verdicts
        Which contents cannot be decoded: a source that has the bytes of an image at hand lets it look at them.
    task : str
        What labels are, one of :data:`probeline.names.TASKS`.
    separator : str or None
        What separates several labels of one image; None to recognise it.
    """

    data: Path
    subset: Subset
    memo: Memo
    console: Console
    download: bool = True
    images: Path | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    verdicts: Verdicts = field(default_factory=lambda: Verdicts(None))
    task: str = AUTO
    separator: str | None = None

    @classmethod
    def of(
        cls, options: DataOptions, memo: Memo, console: Console, verdicts: Verdicts, *, download: bool
    ) -> LoadRequest:
        """Return the request of a run's options."""
        return cls(
            data=options.data,
            subset=Subset(options.limit, options.data_seed),
            memo=memo,
            console=console,
            download=download,
            images=options.images,
            columns=parse_columns(options.columns),
            verdicts=verdicts,
            task=options.task,
            separator=options.separator,
        )


class Source(Protocol):
    """Loads data sets by ``NAME`` or ``NAME:ARGUMENT``; a module can be one."""

    SPEC: str
    """The form of its specs: ``digits`` alone, or ``folder:PATH`` if it takes an argument."""

    def load(self, argument: str, request: LoadRequest, /) -> DataSet:
        """Return the data set: sample ids, content digests and labels of each part, and where its pixels are.

        Parameters
        ----------
        argument : str
            The text after the colon; empty if `SPEC` has none.
        request : LoadRequest

        Raises
        ------
        ProbelineError
            Any, with the next step in its message.
        """
