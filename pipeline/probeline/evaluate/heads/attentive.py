"""Attentive probes: heads that read all tokens of a layer; fitted only if ``--attentive`` is given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from probeline.errors import BadOption
from probeline.evaluate.heads.method import Candidate, FoldOf
from probeline.evaluate.heads.minibatch import MinibatchMethod
from probeline.names import Method
from probeline.options.grids import ATTENTIVE
from probeline.options.groups.fitting import HeadOptions
from probeline.types import FloatArray

if TYPE_CHECKING:
    from probeline.heads.minibatch.attentive import AttentiveHead
    from probeline.heads.minibatch.tokens import TokenRows


class AttentiveProbe(MinibatchMethod["AttentiveHead", "TokenRows"]):
    """Queries that pool the tokens, and a linear layer; all candidates read each minibatch together."""

    name = Method.PROBE_ATTENTIVE
    axes = ATTENTIVE
    option_name = "attentive"
    reads_tokens = True

    def is_requested(self, options: HeadOptions) -> bool:
        return bool(options.attentive)

    def train(
        self,
        fold: FoldOf[TokenRows],
        classes: int,
        heads: Sequence[Candidate],
        training: Mapping[str, Any],
        *,
        device: str,
    ) -> list[AttentiveHead]:
        """Return the heads of all candidates; validation is followed where it fits into memory with the train rows."""
        from probeline.heads.minibatch.attentive import AttentiveSettings, fit_attentive, pooled_dim
        from probeline.heads.minibatch.tokens import WINDOW_BYTES, LabelledTokens, size_of

        settings = [AttentiveSettings(**head) for head in heads]
        for own in settings:
            try:
                pooled_dim(own, fold.X.shape[2])
            except ValueError as error:
                raise BadOption(
                    "bad --attentive", got=str(error), remedy="choose other queries, heads or dim"
                ) from error
        lengths = {name: training[name] for name in ("epochs", "batch_size")}
        # Otherwise each epoch would read the shards twice.
        fits = size_of(fold.X) + size_of(fold.X_heldout) <= WINDOW_BYTES
        validation = LabelledTokens(fold.X_heldout, fold.y_heldout) if fits else None
        train = LabelledTokens(fold.X, fold.y)
        return fit_attentive(
            train, classes, settings, scaler=fold.scaler, validation=validation, device=device, **lengths
        )

    def logits(self, heads: Sequence[AttentiveHead], X: TokenRows) -> Iterable[FloatArray]:
        from probeline.heads.minibatch.attentive import attentive_decision

        return attentive_decision(heads, X)


PROBE_ATTENTIVE = AttentiveProbe()
