"""The methods a report knows: how each is called, in which order they stand, and its colour in every figure."""

from __future__ import annotations

from dataclasses import dataclass

from probeline.errors import UnknownName


@dataclass(frozen=True)
class Method:
    """One way to get from a backbone to predictions.

    Attributes
    ----------
    name : str
        As it stands in a score's `method`.
    title, short : str
        As a report calls it, and where room is scarce.
    colour : str
        Of its marks in the figures: Okabe and Ito's palette, which colour-blind readers can tell apart, with a
        grey in place of the yellow that vanishes on white, and the wine red of Paul Tol's muted palette.
    """

    name: str
    title: str
    short: str
    colour: str


METHODS = (
    Method("probe", "linear probe (exact)", "linear probe (exact)", "#0072B2"),
    Method("probe-refit", "linear probe, refit on train + val", "linear probe (refit)", "#56B4E9"),
    Method("probe-sgd", "linear head (minibatch)", "linear (minibatch)", "#009E73"),
    Method("probe-mlp", "MLP head", "MLP head", "#999933"),
    Method("logistic", "scikit-learn logistic regression", "logistic (sklearn)", "#CC79A7"),
    Method("ridge", "ridge regression", "ridge regression", "#882255"),
    Method("knn", "k-NN", "k-NN", "#E69F00"),
    Method("centroid", "nearest centroid", "nearest centroid", "#8C8C8C"),
    Method("finetune", "full fine-tune", "full fine-tune", "#D55E00"),
    Method("scratch", "from scratch", "from scratch", "#262626"),
)
"""In the order in which a report shows them."""

ORDER = {method.name: place for place, method in enumerate(METHODS)}


def method(name: str) -> Method:
    """Return the method that a score calls `name`.

    Raises
    ------
    UnknownName
        For a name that no report knows.
    """
    if name not in ORDER:
        raise UnknownName("method", name, ORDER)
    return METHODS[ORDER[name]]
