"""What a source of data sets is: the seam at which others are added."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from probeline.console import Console
from probeline.data.sampling.subset import Subset
from probeline.memo import Memo
from probeline.types import DataSet


@dataclass(frozen=True)
class LoadRequest:
    """How a data set is to be loaded.

    Attributes
    ----------
    data : Path
        The parent folder of downloaded data sets.
    subset : Subset
        Which rows of each part are wanted: ``subset.rows(labels, classes=K)``, and ``subset.name(name)`` is what the
        data set is then called.
    memo : Memo
        Remembers the hashes of image files.
    console : Console
    download : bool
        Whether what is missing may be downloaded.
    """

    data: Path
    subset: Subset
    memo: Memo
    console: Console
    download: bool = True


class Source(Protocol):
    """What gives data sets by ``NAME`` or ``NAME:ARGUMENT``; a module can be one."""

    SPEC: str
    """How it is asked for: ``digits`` alone, or ``folder:PATH`` if it takes an argument."""

    def load(self, argument: str, request: LoadRequest, /) -> DataSet:
        """Return the data set: sample ids, content digests and labels of each part, and where its pixels are.

        Parameters
        ----------
        argument : str
            What follows the colon; empty if `SPEC` has none.
        request : LoadRequest

        Raises
        ------
        ProbelineError
            Any, in words that name the next step.
        """
