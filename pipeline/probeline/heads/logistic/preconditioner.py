"""An approximate inverse of the Hessian of l2-regularised logistic regressions, for conjugate gradients.

At first it is the one of even curvature: c * X^T X / N + l2 for each class, with c the mean p (1 - p). Boehning (1992,
"Multinomial logistic regression algorithm", Ann. Inst. Statist. Math. 44, 197-200) bounds the Hessian so with c = 1/2.
In the eigenbasis of X^T X / N it is diagonal for every l2 at once.

At a weaker l2 uncertain rows have more curvature than others. Then each class has a matrix of its own: the sum of
p (1 - p) x x^T / N, bias included, over a sample of the rows, drawn in proportion to their p (1 - p). How many rows it
takes depends on the effective dimension, the sum of v / (v + l2) over the eigenvalues v of the curvature: for a strong
l2 some thousands serve as well as all, however many there are. Moving all classes by the same amount leaves the loss as
it is, so that part is projected out; without that these matrices are no better than the even one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from probeline.heads.logistic.centres import ClassCurvature
from probeline.heads.logistic.cross_entropy import Rows, variances
from probeline.heads.logistic.memory import FEW, MATRICES, MEMORY, has_matrices
from probeline.heads.logistic.point import Point

STRONG = 0.1
"""Least l2, in mean eigenvalues of the features' covariance, for which even curvature serves."""

SAMPLED = 8
"""Rows in the sample of a class's matrix per effective dimension; with half as many a path took 235 products instead of
218."""

_FLATTEST = 1e-6
"""Least mean p (1 - p): that of a class that is certain everywhere."""

_RENEWED = 4
"""Products with the Hessian after which the centres of many classes are measured again."""

_ROUNDING = 1e-6
"""Relative ridge of each column of a class's matrix, for the rounding of its float32 products."""

_MOST_BYTES = MATRICES
"""Memory that the classes' matrices and their inverses may take."""

LEAST = 20
"""Least price of matrices in products with the Hessian: with few columns the calls dominate."""

SPREAD = 10.0
"""Largest factor between the l2 of heads that share an inverse."""

_NEAR = 4.0
"""Largest factor between an l2 and that of the inverse used for it."""

_STEADY = 1e4
"""Largest sum of a matrix's curvatures, relative to l2, up to which it is factorised in float32."""

NARROW = 33
"""A product with few columns takes 1 + NARROW / (columns + 1) times as long for its operations."""

_WIDE = 16384
"""Rows per block from which uncertain rows are gathered."""

_PANELS = 4
"""Panels of a symmetric product, which leave out most of what lies above the diagonal."""


class Preconditioner:
    """Approximate inverses for the solvers of one path.

    New matrices are computed once the products with the Hessian since the last ones cost as much as they do, so that
    the total is at most twice that of the better choice.
    """

    def __init__(
        self,
        rows: Rows,
        spectrum: tuple[Tensor, Tensor, Tensor | None] | None = None,
        *,
        memory: int = MEMORY,
        is_even: bool = False,
    ) -> None:
        """Take the rows, and mean, eigenvalues and eigenvectors if they are known; None for the axes themselves.

        Logits take at most `memory` bytes. If not even one head's fit, classes have no matrices of their own; nor have
        they with `is_even`, and then the labels of `rows` are not read.
        """
        self._memory = memory
        self._rows = rows
        count, columns = len(rows), rows.columns
        self._mean, values, self._basis = spectrum or _spectrum(rows)
        self._narrow = None if self._basis is None else self._basis.float()
        self._even = torch.cat([values, values.new_ones(1)])  # centring decouples the bias, which is not penalised
        self.scale = float(values.sum()) / columns
        self._matrices: Tensor | None = None
        self._inverses: Tensor | None = None
        self._inverted_at = 0.0
        self._since = 0
        self._evenly = True
        self._steepness = math.nan
        self._is_even = is_even
        self._fits = not is_even and has_matrices(count, columns, rows.logits, memory, _MOST_BYTES)
        self._classes: ClassCurvature | None = None
        self._measured = 0  # products when the classes' centres were measured
        self._price(min(count / 4, SAMPLED * columns))

    def _price(self, weighed: float) -> None:
        """Set the cost of matrices of so many rows, in products with the Hessian."""
        # In operations of a wide product per class. The factors were measured on 500 to 1,300 columns, 1 to 300
        # classes; rows must be gathered.
        columns = self._rows.columns
        product = 4 * len(self._rows) * columns * (1 + NARROW / (self._rows.logits + 1))
        work = matrix_work(weighed, columns)
        # Centres need two to three times the products that matrices do, even curvature many times as many.
        saved = 1 if self._rows.logits <= FEW else 3
        self._cost = max(LEAST, math.ceil(saved * work / product)) if self._fits else math.inf

    def turned(self) -> Turned:
        """Return the rows in the eigenbasis, where the inverse of even curvature takes no products with matrices."""
        if self._basis is None or self._narrow is None:
            raise ValueError("these rows are turned already")
        narrow = self._narrow
        X = torch.cat([block.float() @ narrow for _, block in self._rows.pieces()])
        rows = replace(self._rows, blocks=lambda: iter((X,)))
        spectrum = self._mean @ self._basis, self._even[:-1], None
        return Turned(rows, Preconditioner(rows, spectrum, memory=self._memory, is_even=self._is_even), self._basis)

    def spend(self, products: int, *_: Tensor) -> None:
        """Count products with the Hessian, which all heads share."""
        self._since += products

    def is_due(self, l2: Tensor, *_: Tensor) -> bool:
        """Return whether new matrices would pay for heads at these l2 [H]."""
        return self._since >= self._cost and _share_inverse(l2)

    def improve(self, l2: Tensor, point: Point | Tensor, *_: Tensor) -> None:
        """Compute new matrices or centres if they are due, at the point of the weakest l2 [H].

        For matrices, probabilities float32 [H, K, N] will do.
        """
        weakest = int(l2.argmin())
        if self.is_due(l2):
            probabilities = point[weakest] if isinstance(point, Tensor) else point.probabilities(weakest)
            self._compute_matrices(probabilities, float(l2[weakest]))
            self._classes = None
            self._inverted_at = 0.0
            self._since = 0
        elif not isinstance(point, Tensor) and self._wants_centres(l2):
            self._classes = ClassCurvature(point.rows, point.pieces(weakest), self._even[:-1], self._narrow)
            self._steepness = float(point.steepness[weakest])
            self._inverted_at = 0.0
            self._measured = self._since
        self.aim(l2)

    def _wants_centres(self, l2: Tensor) -> bool:
        """Return whether the centres of many classes are to be measured again; matrices are better."""
        if self._rows.logits <= FEW or self._matrices is not None or not _share_inverse(l2):
            return False
        return self._since - self._measured >= _RENEWED

    def aim(self, l2: Tensor) -> None:
        """Choose the inverse that :meth:`solve` applies for heads at these l2 [H] or some of them."""
        self._evenly = (self._matrices is None and self._classes is None) or not _share_inverse(l2)
        if not self._evenly:
            self._invert(float(l2.log().mean().exp()))

    def solve(self, residual: Tensor, l2: Tensor, steepness: Tensor, *_: Tensor) -> Tensor:
        """Return the approximate inverse of the Hessian at `l2` [H] times a residual, float64 [H, K, D + 1].

        The residual sums to 0 over more than one class, up to rounding. `steepness` [H] is the mean p (1 - p), for even
        curvature; the classes' own matrices are inverted at the l2 of :meth:`aim`.
        """
        if not self._evenly and self._classes is not None:
            return _centred(self._classes.solve(_centred(residual).float()).to(residual.dtype))
        if self._evenly or self._inverses is None:
            return self._solve_evenly(residual, l2, steepness.clamp_min(_FLATTEST))
        moved = torch.bmm(self._inverses, _centred(residual).float().permute(1, 2, 0))
        return _centred(moved.permute(2, 0, 1).double())

    def faded(self, steepness: Tensor, *_: Tensor) -> Tensor:
        """Return the factor, at least 1, by which curvature has fallen to `steepness` [H] since the inversion."""
        return torch.ones_like(steepness) if self._evenly else (self._steepness / steepness).clamp_min(1)

    def _compute_matrices(self, probabilities: Tensor, l2: float) -> None:
        """Compute each class's matrix, float32 [K, D + 1, D + 1], for this l2 and the weaker ones that follow."""
        rows = self._rows
        spread = variances(rows, probabilities)
        self._steepness = float(spread.mean())
        weight = torch.stack([self.sample(of_class, l2 / SPREAD) for of_class in spread])
        self._price(float((weight > 0).sum()) / len(spread))
        if self._matrices is None:
            self._matrices = spread.new_empty(len(spread), rows.columns + 1, rows.columns + 1)
        self._matrices.zero_()
        add_curvature(self._matrices, rows, weight.div_(len(rows)))

    def sample(self, spread: Tensor, l2: float) -> Tensor:
        """Return p (1 - p) [N] of a sample of the rows, raised to stand for all, and 0 for the others."""
        values = self._even[:-1] * spread.mean(dtype=torch.float64)
        return sample_rows(spread, SAMPLED * float((values / (values + l2)).sum() + 1))

    def _invert(self, l2: float) -> None:
        """Invert each class's matrix + l2."""
        if max(l2, self._inverted_at) <= _NEAR * min(l2, self._inverted_at):
            return
        if self._classes is not None:
            self._classes.aim(l2)
            self._inverted_at = l2
        if self._matrices is None:
            return
        inverses = torch.empty_like(self._matrices) if self._inverses is None else self._inverses
        for matrix, inverse in zip(self._matrices, inverses, strict=True):
            inverse.copy_(invert(matrix, l2))
        self._inverses = inverses
        self._inverted_at = l2

    def _solve_evenly(self, residual: Tensor, l2: Tensor, steepness: Tensor) -> Tensor:
        by_bias = residual[..., -1:]
        mean = self._mean.to(residual.dtype)
        along = (residual[..., :-1] - by_bias * mean).float()
        if self._narrow is not None:
            along = along @ self._narrow
        scale = (steepness[:, None] * self._even).to(residual.dtype)
        share = (along / (scale[:, None, :-1] + l2.to(residual.dtype)[:, None, None])).float()
        weight = (share if self._narrow is None else share @ self._narrow.T).to(residual.dtype)
        bias = by_bias / scale[:, None, -1:] - (weight @ mean)[..., None]
        return torch.cat([weight, bias], dim=2)


@dataclass(frozen=True)
class Turned:
    """Rows in the eigenbasis of their covariance, float64 [D, D], with the preconditioner of these rows."""

    rows: Rows
    preconditioner: Preconditioner
    basis: Tensor

    def into(self, coefficients: Tensor) -> Tensor:
        """Return coefficients [H, K, D + 1], in their type, for the turned rows."""
        return self._times(coefficients, self.basis)

    def back(self, coefficients: Tensor) -> Tensor:
        """Return coefficients for the rows themselves."""
        return self._times(coefficients, self.basis.T)

    def _times(self, coefficients: Tensor, basis: Tensor) -> Tensor:
        return torch.cat([coefficients[..., :-1] @ basis.to(coefficients.dtype), coefficients[..., -1:]], dim=2)


def _share_inverse(l2: Tensor) -> bool:
    """Return whether one inverse serves all these l2."""
    return float(l2.max()) <= SPREAD * float(l2.min())


def matrix_work(weighed: float, columns: int) -> float:
    """Return the operations of a matrix of so many rows, and of its inversion."""
    return 1.75 * weighed * columns**2 + 2 * columns**3


def add_curvature(matrices: Tensor, rows: Rows, weight: Tensor) -> None:
    """Add weight [K, N] times x x^T of the rows to matrices [K, D + 1, D + 1]; rows of weight 0 are not read."""
    for piece, block in rows.pieces(_WIDE):
        wide = torch.cat([block.float(), block.new_ones(len(block), 1, dtype=torch.float32)], dim=1)
        for matrix, by in zip(matrices, weight[:, piece], strict=True):
            chosen = by > 0
            part = wide[chosen]
            _add_symmetric(matrix, part * by[chosen, None], part)
    for matrix in matrices:
        matrix.copy_(matrix.tril() + matrix.tril(-1).T)


def invert(matrix: Tensor, l2: float) -> Tensor:
    """Return the inverse, float32 [D + 1, D + 1], of a matrix plus `l2` for each column but the bias."""
    curvature = matrix.diagonal().double()
    size = curvature.clamp_min(_FLATTEST)
    # The norm of the matrix with a diagonal of 1, by float32 sums, which are right to a thousandth.
    share = size.reciprocal().float()
    norm = (share @ (matrix.square() @ share)).sqrt().clamp_min(1)
    ridge = _ROUNDING * norm * size
    ridge[:-1] += l2
    if float(curvature[:-1].sum()) <= _STEADY * l2:
        ridged = matrix.clone()
        ridged.diagonal().add_(ridge.float())
        factor, failed = torch.linalg.cholesky_ex(ridged)
        if not int(failed):
            return torch.cholesky_inverse(factor)
    ridged = matrix.double()
    ridged.diagonal().add_(ridge)
    return torch.cholesky_inverse(torch.linalg.cholesky(ridged).float())


def sample_rows(spread: Tensor, count: float) -> Tensor:
    """Return weights [N] of about `count` rows, 0 for the others: on average their sum over any rows is `spread`'s.

    Systematic sampling with probabilities proportional to size (Madow 1949, "On the theory of systematic sampling, II",
    Ann. Math. Stat. 20, 333-354): of rows in order, a step of the sum is as much as one of them stands for. Rows of at
    least a step are all there, with their own weight.
    """
    step = spread.sum(dtype=torch.float64) / count
    passed = (spread.cumsum(0, dtype=torch.float64) / step).floor()
    chosen = passed.diff(prepend=torch.zeros_like(passed[:1])) > 0
    return torch.where(chosen, spread.clamp_min(float(step)), 0)


def _centred(coefficients: Tensor) -> Tensor:
    """Return the coefficients less their mean over the classes, if there are several."""
    return coefficients - coefficients.mean(dim=1, keepdim=True) if coefficients.shape[1] > 1 else coefficients


def _add_symmetric(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add left^T @ right, which is symmetric, to the lower triangle of `total`; the upper one becomes invalid."""
    for columns in torch.arange(total.shape[1]).chunk(_PANELS):
        first, last = int(columns[0]), int(columns[-1]) + 1
        total[first:, first:last] += left[:, first:].T @ right[:, first:last]


def _spectrum(rows: Rows) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mean [D] of X, and eigenvalues [D] and eigenvectors [D, D] of its covariance, float64."""
    count, columns = len(rows), rows.columns
    weights = rows.weights
    mean = torch.zeros(columns, dtype=torch.float64, device=rows.y.device)
    gram = torch.zeros(columns, columns, dtype=torch.float64, device=rows.y.device)
    for piece, block in rows.pieces():
        wide = block.float()
        weighted = wide if weights is None else wide * weights[piece, None]
        mean += weighted.sum(dim=0, dtype=torch.float64)
        _add_symmetric(gram, weighted, wide)
    mean /= count
    gram = gram.tril() + gram.tril(-1).T
    if not gram.isfinite().all():
        raise ValueError("features are too large for float32: their squares overflow")
    values, basis = torch.linalg.eigh(gram / count - torch.outer(mean, mean))
    return mean, values.clamp_min(0), basis
