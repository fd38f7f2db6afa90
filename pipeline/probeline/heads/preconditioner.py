"""An approximate inverse of the Hessian of a l2-regularised logistic regression, for conjugate gradients.

At first it is the one of even curvature: c * X^T X / N + l2 for each class, with c the mean p (1 - p). Boehning (1992,
"Multinomial logistic regression algorithm", Ann. Inst. Statist. Math. 44, 197-200) bounds the Hessian so with c = 1/2.
In the eigenbasis of X^T X / N it is diagonal for every l2 at once.

A weak l2 leaves the curvature to the few rows that are still in doubt. Then each class has a matrix of its own, of its
doubtful rows: the sum of p (1 - p) x x^T / N, bias and all, with the rows beyond `_ROWS` a column taken as even. The
Hessian does not see what moves all classes alike, and neither do the gradient and a start at 0, so that is projected
out; without that these matrices are no better than the even one. On 45,000 rows of 1,280 columns and ten classes, a
step to a hundredth of the gradient takes 8 to 15 products with the Hessian, where even curvature takes 23 to 99.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from probeline.heads.cross_entropy import Rows

_ROWS = 8
"""Rows for each column that a class's matrix is made of."""

_FLATTEST = 1e-6
"""Least mean p (1 - p): of a class that is certain everywhere."""

_ROUNDING = 1e-6
"""Ridge in units of a class's matrix, whose products are float32."""

_MOST_BYTES = 3 << 29
"""Memory that the classes' matrices and their inverses may take."""

_LEAST = 5
"""Least price of inverses in products with the Hessian: where columns are few, the price is that of the calls."""

_GRAM_BLOCK = 4096


class Preconditioner:
    """Approximate inverses for the solvers of one path.

    A better inverse is made once the products with the Hessian that went before cost as much as it does: whoever waits
    so never pays more than twice what the better choice would have been.

    Parameters
    ----------
    rows : Rows
        X float32.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        count, columns = rows.X.shape
        self._mean, values, basis = _spectrum(rows.X)
        self._basis = basis.float()
        self._even = torch.cat([values, values.new_ones(1)])  # centring decouples the bias, which no l2 holds
        self._weighed = min(count, _ROWS * columns)
        self._matrices: Tensor | None = None
        self._inverses: Tensor | None = None
        self._inverted_at = math.nan
        self._since_matrices = self._since_inverses = 0
        # In operations of a wide product. The two other factors were measured, on 500 to 1,300 columns and 1 to 300
        # classes: an inverse takes five times as long for its operations, a product with few columns 33 / (K + 1) more.
        product = 4 * count * columns * (1 + 33 / (rows.logits + 1))
        inverse = 5 * columns**3
        fits = 2 * 4 * rows.logits * (columns + 1) ** 2 <= _MOST_BYTES
        self._inverses_cost = max(_LEAST, math.ceil(inverse / product))
        matrices = 2 * self._weighed * columns**2
        self._matrices_cost = max(4 * _LEAST, math.ceil((matrices + inverse) / product)) if fits else math.inf

    def patience(self, l2: float) -> int | float:
        """Return how many products with the Hessian come before :meth:`improve` pays at this l2."""
        wait = self._matrices_cost - self._since_matrices
        if self._matrices is not None and self._inverted_at != l2:
            wait = min(wait, self._inverses_cost - self._since_inverses)
        return wait

    def spend(self, products: int) -> None:
        """Count products with the Hessian."""
        self._since_matrices += products
        self._since_inverses += products

    def improve(self, l2: float, chances: Tensor) -> None:
        """Make new inverses for this l2, with new matrices of the rows in doubt where those are due.

        Parameters
        ----------
        l2 : float
        chances : float32 [N, K]
            Probabilities where the solver stands.
        """
        if self._since_matrices >= self._matrices_cost:
            self._matrices = self._weigh(chances)
            self._since_matrices = 0
        if self._matrices is not None:
            self._inverses = self._invert(self._matrices, l2)
            self._inverted_at = l2
        self._since_inverses = 0

    def solve(self, residual: Tensor, l2: float, steepness: float) -> Tensor:
        """Return about the inverse of the Hessian at `l2` times a residual, float64 [K, D + 1].

        Parameters
        ----------
        residual : float64 [K, D + 1]
            Its sum over the classes is 0, up to rounding, where there is more than one logit.
        l2 : float
        steepness : float
            Mean p (1 - p) where the solver stands; classes with matrices of their own do not need it.
        """
        if self._inverses is None:
            return self._solve_evenly(residual, l2, max(steepness, _FLATTEST))
        moved = torch.bmm(self._inverses, _apart(residual).float()[:, :, None])[:, :, 0]
        return _apart(moved.double())

    def _weigh(self, chances: Tensor) -> Tensor:
        """Return each class's matrix, float32 [K, D + 1, D + 1]."""
        X, count = self._rows.X, len(self._rows.X)
        size = X.shape[1] + 1
        matrices = X.new_empty(self._rows.logits, size, size) if self._matrices is None else self._matrices
        even = self._even_matrix()
        for matrix, likely in zip(matrices, chances.T, strict=True):
            doubt = likely * (1 - likely)
            weight, chosen = doubt.topk(self._weighed)
            rest = max(float(doubt.sum() - weight.sum()) / count, _FLATTEST)
            part = torch.cat([X[chosen], X.new_ones(self._weighed, 1)], dim=1) * weight.sqrt()[:, None]
            torch.addmm(even, part.T, part, beta=rest, alpha=1 / count, out=matrix)
        return matrices

    def _invert(self, matrices: Tensor, l2: float) -> Tensor:
        """Return the inverse of each class's matrix + l2, float32 [K, D + 1, D + 1]."""
        inverses = torch.empty_like(matrices) if self._inverses is None else self._inverses
        for matrix, inverse in zip(matrices, inverses, strict=True):
            ridged = matrix.double()
            ridge = ridged.diagonal()
            ridge += _ROUNDING * torch.linalg.matrix_norm(ridged)
            ridge[:-1] += l2
            inverse.copy_(torch.cholesky_inverse(torch.linalg.cholesky(ridged)))
        return inverses

    def _even_matrix(self) -> Tensor:
        """Return the mean of x x^T, float32 [D + 1, D + 1], x with a one for the bias."""
        size = len(self._mean) + 1
        gram = self._basis.new_ones(size, size)
        gram[:-1, :-1] = (self._basis * self._even[:-1].float()) @ self._basis.T + torch.outer(self._mean, self._mean)
        gram[:-1, -1] = gram[-1, :-1] = self._mean
        return gram

    def _solve_evenly(self, residual: Tensor, l2: float, steepness: float) -> Tensor:
        scale = steepness * self._even
        scale[:-1] += l2
        by_bias = residual[:, -1:]
        along = (residual[:, :-1] - by_bias * self._mean).float() @ self._basis
        weight = ((along / scale[:-1]).float() @ self._basis.T).double()
        return torch.cat([weight, by_bias / scale[-1] - (weight @ self._mean)[:, None]], dim=1)


def _apart(coefficients: Tensor) -> Tensor:
    """Return what does not move all classes alike."""
    return coefficients - coefficients.mean(dim=0) if len(coefficients) > 1 else coefficients


def _spectrum(X: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mean [D] of X, and eigenvalues [R] and eigenvectors [D, R] of its covariance, float64.

    R = min(N, D): they span the rows, and so every solution.
    """
    count, columns = X.shape
    mean = X.mean(dim=0, dtype=torch.float64)
    if columns <= count:
        gram = torch.zeros(columns, columns, dtype=torch.float64, device=X.device)
        for block in torch.split(X, _GRAM_BLOCK):
            gram += block.T @ block
        values, basis = torch.linalg.eigh(gram / count - torch.outer(mean, mean))
    else:
        span, triangle = torch.linalg.qr((X - mean).T)
        values, vectors = torch.linalg.eigh(triangle @ triangle.T / count)
        basis = span @ vectors
    return mean, values.clamp_min(0), basis
