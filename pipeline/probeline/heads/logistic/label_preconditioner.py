"""An approximate inverse of the Hessians of several labels: of even curvature, and matrices for labels that need them.

Even curvature serves all labels at once, and costs nothing on rows in their eigenbasis. At a weak l2 the few images in
doubt about a rare label have nearly all of its curvature, and then even curvature takes hundreds of products. A label
gets a matrix once the products since its last one cost ten times as much; a product of one label costs the less, the
more of them share it, and to apply the matrix's inverse costs more than a product.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from probeline.heads.logistic.cross_entropy import Rows
from probeline.heads.logistic.label_losses import LabelPoint
from probeline.heads.logistic.memory import MATRICES
from probeline.heads.logistic.preconditioner import (
    LEAST,
    NARROW,
    Preconditioner,
    add_curvature,
    invert,
    matrix_work,
)

_SAVED = 10
"""Products that a matrix must save to pay, relative to its cost: its inverse takes longer to apply than a product."""


class LabelPreconditioner:
    """Approximate inverses for the solver of one path; head h of a batch is of label h modulo their number."""

    def __init__(self, even: Preconditioner, rows: Rows, labels: int) -> None:
        """Take even curvature on some rows, and these rows."""
        self._even, self._rows, self._labels = even, rows, labels
        self._inverses: dict[int, Tensor] = {}
        self._since = torch.zeros(labels, dtype=torch.int64, device=rows.y.device)
        self._l2 = torch.full((labels,), math.nan, dtype=torch.float64, device=rows.y.device)
        self._steepness = torch.full_like(self._l2, math.nan)
        self._weighed = len(rows) / 4
        self._most = MATRICES // (4 * (rows.columns + 1) ** 2)

    def _of(self, heads: Tensor) -> Tensor:
        return heads % self._labels

    def _cost(self, heads: int) -> int:
        """Return what a matrix costs in products of a label that it shares with so many heads."""
        product = 4 * len(self._rows) * self._rows.columns * (1 + NARROW / (heads + 1))
        return max(LEAST, math.ceil(_SAVED * matrix_work(self._weighed, self._rows.columns) / product))

    def _due(self, heads: Tensor) -> Tensor:
        """Return the labels of these heads for which a matrix would pay."""
        labels = torch.unique(self._of(heads))
        due: Tensor = labels[self._since[labels] >= self._cost(len(heads))]
        free = self._most - len(self._inverses)
        return due if len(due) <= free else due[[int(label) in self._inverses for label in due]]

    def spend(self, products: int, heads: Tensor) -> None:
        """Count products with the Hessian of each head."""
        self._since += products * torch.bincount(self._of(heads), minlength=self._labels)

    def is_due(self, _: Tensor, heads: Tensor) -> bool:
        """Return whether a new matrix would pay for a label of these heads."""
        return len(self._due(heads)) > 0

    def improve(self, l2: Tensor, point: LabelPoint, heads: Tensor) -> None:
        """Compute the matrices that are due, at the point of the weakest of a label's l2 [h]."""
        for label in self._due(heads).tolist():
            own = torch.nonzero(self._of(heads) == label)[:, 0]
            weakest = own[l2[own].argmin()]
            curvature = point.curvature[weakest]
            self._l2[label] = l2[own].log().mean().exp()
            weight = self._even.sample(curvature, float(self._l2[label]))
            self._weighed = float((weight > 0).sum())
            size = self._rows.columns + 1
            matrix = curvature.new_zeros(size, size)
            add_curvature(matrix[None], self._rows, weight[None] / len(self._rows))
            self._steepness[label] = point.steepness[weakest]
            self._since[label] = 0
            self._inverses[label] = invert(matrix, float(self._l2[label]))

    def aim(self, *_: Tensor) -> None:
        """Do nothing: a matrix is inverted once."""

    def solve(self, residual: Tensor, l2: Tensor, steepness: Tensor, heads: Tensor) -> Tensor:
        """Return the approximate inverse of the Hessian at `l2` [h] times a residual, float64 [h, 1, D + 1]."""
        solved = self._even.solve(residual, l2, steepness, heads)
        if self._inverses:
            labels = self._of(heads)
            for label in torch.unique(labels).tolist():
                if label in self._inverses:
                    own = torch.nonzero(labels == label)[:, 0]
                    solved[own, 0] = (residual[own, 0].float() @ self._inverses[label]).double()
        return solved

    def faded(self, steepness: Tensor, l2: Tensor, heads: Tensor) -> Tensor:
        """Return the factor, at least 1, by which curvature or l2 have fallen since a label's inversion, [h]."""
        labels = self._of(heads)
        fallen = torch.maximum(self._steepness[labels] / steepness, self._l2[labels] / l2)
        return torch.where(fallen.isnan(), 1.0, fallen.clamp_min(1))
