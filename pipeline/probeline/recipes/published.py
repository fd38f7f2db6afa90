"""A number that a recipe's source published. In a file of its own: recipes are listed without importing numpy."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A number that somebody else reports.

    Attributes
    ----------
    backbone, method : str
        The method as scores name it.
    top1 : float
        In [0, 1].
    portion : float or None
        Percent of the train images that were fitted on; None for all.
    trainable : int or None
        Parameters that were trained.
    note : str
    """

    backbone: str
    method: str
    top1: float
    portion: float | None = None
    trainable: int | None = None
    note: str = ""
