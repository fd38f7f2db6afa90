"""Zero-shot classification by the names of the classes, and the exact probe that starts from it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from probeline.errors import BadOption
from probeline.evaluate.heads.exact import ExactCertificate
from probeline.evaluate.heads.method import (
    Candidates,
    ExportedHead,
    FitSettings,
    Fold,
    HeadMethod,
    Selection,
    expand_two_classes,
)
from probeline.heads.linear import Head, decision
from probeline.heads.select import L2_GRID
from probeline.heads.standardize import Scaler, unit_rows, unscaled
from probeline.names import Method
from probeline.options.groups.fitting import HeadOptions
from probeline.types import FloatArray, IntArray


@dataclass(frozen=True)
class TextLayer:
    """The classes' texts as a layer on images of unit length.

    Attributes
    ----------
    weight : float32 [K, E]
        The text features times the net's own scale.
    scaler : Scaler
        Takes standardised rows back.
    """

    weight: FloatArray
    scaler: Scaler

    def logits(self, X: FloatArray) -> FloatArray:
        """Return the net's own logits float32 [m, K]: scale * cosine, for standardised rows float32 [m, E]."""
        logits: FloatArray = unit_rows(unscaled(self.scaler, X)) @ self.weight.T
        return logits


@dataclass(frozen=True)
class FromTexts:
    """The sum of a text layer's logits and those of a linear head on standardised rows."""

    texts: TextLayer
    added: Head


def _text_layer(fold: Fold, settings: FitSettings) -> TextLayer:
    texts = settings.texts()
    weight = np.array(texts.features, np.float32).reshape(len(texts.texts), texts.dim) * np.float32(texts.scale)
    return TextLayer(weight, fold.scaler)


class ZeroShot(HeadMethod[TextLayer]):
    """The class whose prompts are nearest by cosine (Radford et al. 2021); no train row is used."""

    name = Method.ZERO_SHOT
    are_independent = True
    reads_texts = True
    uses_train = False

    def is_requested(self, options: HeadOptions) -> bool:
        return options.zero_shot

    def candidates(self, settings: FitSettings, rows: int) -> Candidates:
        return Candidates.unordered([{}])

    def fit(self, fold: Fold, settings: FitSettings, candidates: Candidates) -> list[TextLayer]:
        return [_text_layer(fold, settings)]

    def logits(self, heads: Sequence[TextLayer], X: FloatArray) -> Iterable[FloatArray]:
        """Return the net's own logits float32 [m, K]."""
        return [head.logits(X) for head in heads]

    def count_parameters(self, head: TextLayer) -> int:
        return 0

    def export(self, head: TextLayer, fold: Fold, settings: FitSettings) -> ExportedHead:
        raise _cannot_be_exported(self.name)


class ProbeFromZeroShot(HeadMethod[FromTexts]):
    """The exact probe of what is added to the zero-shot logits: l2 weighs its distance from them.

    The bias is not penalised, as in the probe: towards infinite l2 the zero-shot logits and a bias are left, and
    towards 0 the probe. A class without rows to fit on keeps its zero-shot logit.
    """

    name = Method.PROBE_FROM_ZERO_SHOT
    weighs_classes = True
    reads_texts = True

    def is_requested(self, options: HeadOptions) -> bool:
        return options.zero_shot

    def options(self, options: HeadOptions) -> dict[str, Any]:
        return {"l2": list(L2_GRID)}

    def candidates(self, settings: FitSettings, rows: int) -> Candidates:
        return Candidates.of("l2", settings.options["l2"])

    def fit(self, fold: Fold, settings: FitSettings, candidates: Candidates) -> list[FromTexts]:
        from probeline.heads.logistic.path import fit_path_from

        texts = _text_layer(fold, settings)
        weights = settings.row_weights(fold.y)
        own = {} if weights is None else {"weights": weights.astype(np.float32)}
        present, y = np.unique(fold.y, return_inverse=True)
        if len(present) < 2:
            raise BadOption(
                f"{self.name} needs images of two classes", expected="2 or more to fit on", got=len(present)
            )
        given = np.ascontiguousarray(texts.logits(fold.X)[:, present])
        heads = settings.device.run(fit_path_from, fold.X, y, given, candidates.strengths, **own)
        return [FromTexts(texts, _on_all_classes(head, present, settings.classes)) for head in heads]

    def logits(self, heads: Sequence[FromTexts], X: FloatArray) -> Iterable[FloatArray]:
        """Yield the sums float32 [m, K]."""
        given = heads[0].texts.logits(X)
        return (given + decision(head.added, X) for head in heads)

    def has_converged(self, head: FromTexts) -> bool:
        return head.added.certificate.converged

    def certificate(self, head: FromTexts, selection: Selection[FromTexts], settings: FitSettings) -> ExactCertificate:
        """Return whether the grid ends too early: at its strong end nothing but a bias is added to zero-shot."""
        edge = selection.is_at_edge and head.added.l2 < max(settings.options["l2"])
        return ExactCertificate(edge=edge, **vars(head.added.certificate), gap=head.added.gap)

    def count_parameters(self, head: FromTexts) -> int:
        return head.added.weight.size + head.added.bias.size

    def export(self, head: FromTexts, fold: Fold, settings: FitSettings) -> ExportedHead:
        raise _cannot_be_exported(self.name)


def _on_all_classes(head: Head, present: IntArray, classes: int) -> Head:
    """Return a head on some classes as one on all, which adds nothing to the mean of theirs and to the others."""
    if len(present) == classes:
        return head
    weight = np.zeros((classes, head.weight.shape[1]), np.float32)
    bias = np.zeros(classes, np.float32)
    own_weight, own_bias = expand_two_classes(head.weight, head.bias)
    weight[present], bias[present] = own_weight - own_weight.mean(axis=0), own_bias - own_bias.mean()
    return replace(head, weight=weight, bias=bias)


def _cannot_be_exported(name: str) -> BadOption:
    return BadOption(
        f"{name} cannot be exported",
        expected="a row whose head is made of layers on the features as they are",
        remedy="name another row by --method, such as probe",
    )


ZERO_SHOT = ZeroShot()
PROBE_FROM_ZERO_SHOT = ProbeFromZeroShot()
