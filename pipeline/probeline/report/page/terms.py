"""What the words of a page mean: those that it uses, each in a sentence."""

from __future__ import annotations

from collections.abc import Callable

from probeline.report.methods import method
from probeline.report.page.content import Content, View

Used = Callable[[Content], bool]


def _by(*names: str) -> Used:
    """Return whether a page has a row of one of these methods."""
    return lambda content: any(row.method in names for row in content.rows)


def _always(content: Content) -> bool:
    return bool(content.rows)


def _trained(content: Content) -> bool:
    return any(method(row.method).trains for row in content.rows)


TERMS: tuple[tuple[str, str, Used], ...] = (
    (
        "train, val, test",
        "Images that are fitted on, that settings are chosen on, and that are read once, when every choice stands.",
        _always,
    ),
    (
        "linear probe (exact)",
        "One linear layer on the features of a net that stays as it is, at the minimum of its loss: multinomial "
        "logistic regression with an l2 penalty that val chooses.",
        _by("probe"),
    ),
    ("refit", "The same l2, fitted once more on train and val together.", _by("probe-refit")),
    (
        "minibatch",
        "The linear layer as most tutorials train it: by steps on small batches, for a number of epochs.",
        _by("probe-sgd"),
    ),
    ("MLP head", "Two layers with a non-linearity between them, on the same features.", _by("probe-mlp")),
    (
        "nearest centroid, k-NN",
        "The class whose mean feature, or the classes whose train images, are nearest.",
        _by("centroid", "knn"),
    ),
    (
        "views",
        "Augmented copies of each train image whose features are fitted on beside its own.",
        lambda content: any(row.views for row in content.rows),
    ),
    (
        "tap",
        "The module of a net whose output is taken as features; the penultimate one is what its own head is given.",
        _always,
    ),
    (
        "stage",
        "Of a net, the layers that work at one resolution; the last is the one below the head.",
        lambda content: any(
            row.method.startswith(("last-", "freeze-")) or row.method == "gradual" for row in content.rows
        ),
    ),
    (
        "LP-FT",
        "Linear probing, then fine-tuning: the whole net is trained on from the probe's solution (Kumar et al., 2022).",
        _by("lp-ft"),
    ),
    ("full fine-tune", "The whole net is trained from its pretrained weights, under a new head.", _by("finetune")),
    ("from scratch", "The same net from random weights: what pretraining is worth.", _by("scratch")),
    (
        "cold and warm seconds",
        "From pictures to predictions, extraction included; and with the features in the cache.",
        _always,
    ),
    (
        "95 % interval",
        "Of 100 such intervals, each of as many test images drawn anew, 95 would hold the accuracy on all such images.",
        _always,
    ),
    (
        "adjusted p",
        "How often luck alone would set two equal rows so far apart on these test images, raised for the number of "
        "comparisons (McNemar's exact test, Holm's adjustment).",
        lambda content: len(content.rows) > 1,
    ),
    (
        "real, not told apart",
        "Real: adjusted p below 0.05, and an interval of the difference that leaves out 0. Otherwise these test images "
        "cannot tell: that is no proof of equality.",
        lambda content: len(content.rows) > 1,
    ),
    ("headroom", "Fine-tune minus linear probe of the same net.", _trained),
    ("macro", "The mean of the classes' accuracies: rare classes count as much as frequent ones.", _always),
    (
        "temperature",
        "What logits are divided by before they become probabilities, fitted on val: it changes no prediction.",
        _always,
    ),
    ("ECE", "Expected calibration error: how far confidence is from accuracy, on average.", _always),
    (
        "optimism",
        "By how much the best candidate on test beats the one that val chose: what choosing on test would pretend.",
        lambda content: any(row.optimism is not None for row in content.rows),
    ),
)
"""A term, what it means, and which pages use it."""


def view(content: Content) -> View | None:
    """Return the terms of a page; None where it has no row."""
    told = [(term, meaning) for term, meaning, used in TERMS if used(content)]
    return {"terms": told} if told else None
