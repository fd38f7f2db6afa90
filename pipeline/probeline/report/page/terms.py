"""What the words of a page mean: those that it uses, each in a sentence."""

from __future__ import annotations

from collections.abc import Callable

from probeline.names import PENULTIMATE, Method
from probeline.report.model.differences import LEVEL
from probeline.report.page.content import Content, View
from probeline.report.sections.tables import uneven
from probeline.results.methods import method_info

Used = Callable[[Content], bool]


def _by(*names: str) -> Used:
    """Return whether a page has a row of one of these methods."""
    return lambda content: any(row.method in names for row in content.rows)


def _always(content: Content) -> bool:
    return bool(content.rows)


def _several(content: Content) -> bool:
    return len(content.rows) > 1


def _seeded(content: Content) -> bool:
    return any(method_info(row.method).seeded for row in content.rows)


def _examined(content: Content) -> bool:
    return content.beside.doctor is not None


TERMS: tuple[tuple[str, str, Used], ...] = (
    (
        "row",
        "One line of the table: a method on the features of a net, or a training of it, with all its seeds.",
        _always,
    ),
    ("train", "Images that heads and nets are fitted on.", _always),
    (
        "val",
        "Images on which settings are chosen; where they are few, folds of train and val take turns.",
        _always,
    ),
    ("test", "Images that are read once, when every choice stands.", _always),
    ("top-1", "The share of images whose likeliest class is the true one.", _always),
    (
        "linear probe (exact)",
        "One linear layer on the features of a net that stays as it is, at the minimum of its loss: logistic "
        "regression with a penalty, l2, whose strength val chooses.",
        _by("probe"),
    ),
    ("refit", "The same l2, fitted once more on train and val together.", _by("probe-refit")),
    (
        "minibatch",
        "The linear layer as most tutorials train it: by steps on small batches, for a number of epochs.",
        _by("probe-sgd"),
    ),
    ("MLP head", "Two layers with a non-linearity between them, on the same features.", _by("probe-mlp")),
    ("nearest centroid", "The class whose train images have the nearest mean feature.", _by("centroid")),
    ("k-NN", "A vote of the k nearest train images.", _by("knn")),
    (
        "views",
        "Augmented copies of each train image whose features are fitted on beside its own.",
        lambda content: any(row.views for row in content.rows),
    ),
    (
        "tap",
        "The module of a net whose output is taken as features; the penultimate one is what its own head is given.",
        lambda content: any(row.tap != PENULTIMATE for row in content.rows),
    ),
    (
        "stage",
        "Of a net, the layers that work at one resolution; the last is the one below the head.",
        lambda content: any(
            row.method.startswith(("last-", "freeze-")) or row.method == Method.GRADUAL for row in content.rows
        ),
    ),
    (
        "LP-FT",
        "Linear probing, then fine-tuning: the whole net is trained on from the probe's solution (Kumar et al., 2022).",
        _by("lp-ft"),
    ),
    ("full fine-tune", "The whole net is trained from its pretrained weights, under a new head.", _by("finetune")),
    ("from scratch", "The same net from random weights: what pretraining is worth.", _by("scratch")),
    ("seed", "What a training's random order, start and augmentation come from.", _seeded),
    ("cold seconds", "All that it takes from pictures to predictions, the extraction of features included.", _always),
    ("warm seconds", "The same with the features in the cache: what one more head costs.", _always),
    (
        "95 % interval",
        "Of 100 such intervals, each of as many test images drawn anew, 95 would hold the accuracy on all such images.",
        _always,
    ),
    (
        "adjusted p",
        "How often luck alone would set two equal rows so far apart on these test images, raised for the number of "
        "comparisons (McNemar's exact test, Holm's adjustment).",
        _several,
    ),
    (
        "real",
        f"An adjusted p below {LEVEL}, an interval of the difference without 0, and first seeds that say the same.",
        _several,
    ),
    ("not told apart", "Not real by these test images, which is no proof of equality.", _several),
    (
        "headroom",
        "Fine-tune minus linear probe of the same net.",
        lambda content: any(row.headroom for row in content.rows),
    ),
    (
        "macro",
        "The mean of the classes' accuracies: rare classes count as much as frequent ones.",
        lambda content: uneven(content.rows),
    ),
    ("ECE", "Expected calibration error: how far confidence is from accuracy, on average.", _always),
    (
        "temperature",
        "What logits are divided by before they become probabilities, fitted on val: it changes no prediction.",
        _always,
    ),
    (
        "optimism",
        "By how much the best candidate on test beats the one that val chose: what choosing on test would pretend.",
        lambda content: any(row.optimism is not None for row in content.rows),
    ),
    (
        "draw",
        "One choice of train images of a given number, for a learning curve.",
        lambda content: bool(content.beside.curves),
    ),
    (
        "near duplicate",
        "One of two images that are nearly the same, to the net and pixel by pixel; leaked, where one is in test and "
        "the other is not.",
        _examined,
    ),
    (
        "doubted label",
        "One that a probe which did not see the image, and the image's neighbours, speak against.",
        _examined,
    ),
)
"""A term, what it means, and which pages use it."""


def view(content: Content) -> View | None:
    """Return the terms of a page; None where it has no row."""
    told = [(term, meaning) for term, meaning, used in TERMS if used(content)]
    return {"terms": told} if told else None
