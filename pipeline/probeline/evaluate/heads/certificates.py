"""What proves a fit: one frozen dataclass per kind of method, written into its score as JSON."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Certificate:
    """Of a selection in a grid.

    Attributes
    ----------
    edge : bool
        Whether the selected candidate is at an edge of its grid, beyond which a better one may lie.
    """

    edge: bool


@dataclass(frozen=True)
class ExactCertificate(Certificate):
    """Of a logistic regression, computed in float64 at the stored float32 weights.

    Attributes
    ----------
    gradient_norm : float
    objective : float
        Mean cross-entropy (nats) + l2 / 2 * ||W||^2.
    iterations : int
    converged : bool
    gap : float
        How far the objective can lie above its minimum.
    """

    gradient_norm: float
    objective: float
    iterations: int
    converged: bool
    gap: float


@dataclass(frozen=True)
class MinibatchCertificate(Certificate):
    """Of a head that was trained in minibatches.

    Attributes
    ----------
    diverged : tuple of str
        The candidates whose training diverged, in words.
    """

    diverged: tuple[str, ...]
