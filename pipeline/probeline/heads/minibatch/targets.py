"""What heads and nets minimise on several labels and on numbers, of which some may be unknown.

Unknown targets, NaN, do not count: the sum over a minibatch is divided by its rows and by the known targets of
a train row on average. So an epoch's mean is the mean over all known targets; if all are known it is the plain mean.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from probeline.types import FloatArray

Kind = Literal["labels", "numbers"]

OnVal = Callable[[FloatArray], float | None]
"""Returns the metric that selects for outputs float32 [n, T] of validation rows; None if it is not defined."""


def label_losses(output: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
    """Return the binary cross-entropy of each logit, [n, T]; the share `smoothing` of a target is spread over both."""
    soft = targets * (1 - smoothing) + smoothing / 2
    return functional.binary_cross_entropy_with_logits(output, soft, reduction="none")


def squared_errors(output: Tensor, targets: Tensor) -> Tensor:
    """Return the squared error of each number, [n, T]."""
    return functional.mse_loss(output, targets, reduction="none")


def sum_over_known(losses: Callable[[Tensor, Tensor], Tensor], output: Tensor, targets: Tensor) -> Tensor:
    """Return the sum of the losses of known targets, for outputs and targets float32 [n, T]."""
    known = ~targets.isnan()
    each = losses(output, torch.where(known, targets, 0.0))
    return torch.where(known, each, 0.0).sum()


@dataclass(frozen=True, eq=False)
class TargetObjective:
    """The mean loss of the known targets: the labels' binary cross-entropy, or the squared error of numbers.

    Attributes
    ----------
    kind : Kind
    known : float
        Known targets of a train row on average, above 0.
    smoothing : float
        Of labels while they are fitted, in [0, 1).
    on_val : callable, optional
        Measures each epoch on validation.
    """

    counts: ClassVar[str | None] = None

    kind: Kind
    known: float
    smoothing: float = 0.0
    on_val: OnVal | None = None

    def loss(self, output: Tensor, truth: Tensor, weights: Tensor | None) -> Tensor:  # noqa: ARG002
        """Return the mean loss of a minibatch; rows have no weights."""
        return self._sum(output, truth, self.smoothing) / (len(truth) * self.known)

    def count_right(self, output: Tensor, truth: Tensor) -> Tensor:  # noqa: ARG002
        """Return 0, as nothing is counted."""
        return torch.zeros((), device=output.device)

    def measure(self, output: Tensor, truth: Tensor) -> dict[str, float]:
        """Return val_loss, the mean over known targets, and the metric val_score if it is defined."""
        loss = float(self._sum(output, truth, 0.0)) / max(int((~truth.isnan()).sum()), 1)
        score = None if self.on_val is None or not np.isfinite(loss) else self.on_val(output.cpu().numpy())
        return {"val_loss": loss} if score is None else {"val_loss": loss, "val_score": score}

    def _sum(self, output: Tensor, truth: Tensor, smoothing: float) -> Tensor:
        if self.kind == "labels":
            return sum_over_known(lambda logits, own: label_losses(logits, own, smoothing), output, truth)
        return sum_over_known(squared_errors, output, truth)
