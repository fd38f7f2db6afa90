"""The ordinal probe: proportional-odds regression, where the classes have an order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from probeline.errors import BadOption
from probeline.evaluate.heads.method import (
    Candidates,
    Certificate,
    ExportedHead,
    FitSettings,
    Fold,
    HeadMethod,
    Selection,
)
from probeline.heads.select import L2_GRID
from probeline.names import Method
from probeline.options.groups.fitting import HeadOptions
from probeline.types import FloatArray, IntArray

if TYPE_CHECKING:
    from probeline.heads.ordinal import OrdinalHead

ORDINAL_L2 = L2_GRID[4:41:2]
"""Half decades from 1e-5 to 1e4, 19 values."""


@dataclass(frozen=True)
class OrdinalCertificate(Certificate):
    """Of a proportional-odds regression, computed in float64 at the stored float32 weights.

    Attributes
    ----------
    objective : float
        Mean negative log-likelihood (nats) + l2 / 2 * ||w||^2.
    """

    gradient_norm: float
    objective: float
    iterations: int
    converged: bool


@dataclass(frozen=True)
class RankedHead:
    """A head on the ranks of classes, and the rank of each class, int64 [K]."""

    head: OrdinalHead
    ranks: IntArray


class OrdinalProbe(HeadMethod[RankedHead]):
    """One direction of the features with a threshold between each class and the next; fitted only with ``--ordinal``.

    The logits are the logarithms of the classes' probabilities.
    """

    name = Method.ORDINAL
    weighs_classes = True
    orders_classes = True

    def is_requested(self, options: HeadOptions) -> bool:
        return bool(options.ordinal)

    def options(self, options: HeadOptions) -> dict[str, Any]:
        return {"l2": list(ORDINAL_L2)}

    def candidates(self, settings: FitSettings, rows: int) -> Candidates:
        return Candidates.of("l2", settings.options["l2"])

    def fit(self, fold: Fold, settings: FitSettings, candidates: Candidates) -> Sequence[RankedHead]:
        from probeline.heads.ordinal import fit_ordinal_path

        ranks, weights = _ranks(settings), settings.row_weights(fold.y)
        heads = settings.device.run(
            fit_ordinal_path, fold.X, ranks[fold.y], settings.classes, candidates.strengths, weights=weights
        )
        return [RankedHead(head, ranks) for head in heads]

    def logits(self, heads: Sequence[RankedHead], X: FloatArray) -> Iterable[FloatArray]:
        from probeline.heads.ordinal import log_probabilities

        for head in heads:
            yield log_probabilities(head.head, X)[:, head.ranks]

    def has_converged(self, head: RankedHead) -> bool:
        return head.head.certificate.converged

    def certificate(
        self, head: RankedHead, selection: Selection[RankedHead], settings: FitSettings
    ) -> OrdinalCertificate:
        return OrdinalCertificate(edge=selection.is_at_edge, **vars(head.head.certificate))

    def export(self, head: RankedHead, fold: Fold, settings: FitSettings) -> ExportedHead:
        raise BadOption(
            f"{self.name} cannot be exported",
            expected="a method whose logits are linear layers",
            remedy=f"choose another row: --method {Method.PROBE}",
        )

    def count_parameters(self, head: RankedHead) -> int:
        return head.head.weight.size + head.head.thresholds.size


def _ranks(settings: FitSettings) -> IntArray:
    """Return the place of each class in its order, int64 [K]."""
    ranks = np.empty(settings.classes, np.int64)
    ranks[list(settings.order)] = np.arange(settings.classes)
    return ranks


ORDINAL = OrdinalProbe()
