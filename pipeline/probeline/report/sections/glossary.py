"""The terms that a page uses, each in a sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from probeline.names import PENULTIMATE, Method
from probeline.report.model.content import ReportContent
from probeline.report.model.differences import LEVEL
from probeline.report.model.row import Row, uneven
from probeline.report.sections.section import REPRODUCIBILITY, Section, View
from probeline.results.methods import method_info

IsUsed = Callable[[ReportContent], bool]


class Glossary(Section):
    name, title, group = "terms", "Glossary", REPRODUCIBILITY

    def view(self, content: ReportContent) -> View | None:
        terms = [term for term in TERMS if term.is_used(content)]
        return View("terms.html", {"terms": terms}) if terms else None


def _if_any(is_meant: Callable[[Row], bool]) -> IsUsed:
    return lambda content: any(map(is_meant, content.rows))


def _has_method(name: str) -> IsUsed:
    return _if_any(lambda row: row.method == name)


def _has_several_rows(content: ReportContent) -> bool:
    return len(content.rows) > 1


def _has_qualities(content: ReportContent) -> bool:
    return bool(content.qualities)


def _has_retrieval(content: ReportContent) -> bool:
    return any(quality.retrieval is not None for quality in content.qualities)


def _has_labelled_qualities(content: ReportContent) -> bool:
    return any(quality.transfer is not None for quality in content.qualities)


def _has_findings(content: ReportContent) -> bool:
    return content.findings is not None


_has_rows = _if_any(lambda _: True)
_trains_stages = _if_any(lambda row: row.method.startswith(("last-", "freeze-")) or row.method == Method.GRADUAL)


class Term(NamedTuple):
    """A term, what it means, and whether a page uses it: by default one with rows."""

    name: str
    meaning: str
    is_used: IsUsed = _has_rows


TERMS = (
    Term("row", "A line of the table: one method on the features of a net, or one training of it, all seeds."),
    Term("train", "Images that heads and nets are fitted on."),
    Term("val", "Validation images, on which settings are selected; with few images, folds of train and val."),
    Term("test", "Images that are used once, after selection."),
    Term("top-1", "The share of images whose likeliest class is the true one."),
    Term(
        "linear probe (exact)",
        "A linear layer on the features of a frozen net, at the minimum of its loss: logistic regression with a "
        "penalty, l2, whose strength is selected on validation.",
        _has_method(Method.PROBE),
    ),
    Term("refit", "A probe with the selected l2, fitted on train and val together.", _has_method(Method.PROBE_REFIT)),
    Term(
        "minibatch", "A linear layer trained by steps on small batches, epoch by epoch.", _has_method(Method.PROBE_SGD)
    ),
    Term(
        "attentive probe",
        "Learned queries pool all tokens of a layer, or all positions of a map, by attention; a linear layer "
        "classifies what they pooled. The other heads get one vector per image.",
        _has_method(Method.PROBE_ATTENTIVE),
    ),
    Term(
        "zero-shot",
        "The class whose name, in sentences, the net's text tower puts nearest to the image by cosine (Radford et al., "
        "2021); no train image is used. Its numbers at temperature 1 are at the net's own scale of cosines, all others "
        "at a temperature fitted on val.",
        _has_method(Method.ZERO_SHOT),
    ),
    Term(
        "probe from zero-shot",
        "The exact probe of what is added to the zero-shot logits: with a strong l2 that is a bias alone, with a weak "
        "one it is as free as the linear probe.",
        _has_method(Method.PROBE_FROM_ZERO_SHOT),
    ),
    Term(
        "ordinal probe",
        "One direction of the features, cut by thresholds between each class and the next, for classes that have an "
        "order: proportional-odds regression (McCullagh, 1980).",
        _has_method(Method.ORDINAL),
    ),
    Term("MLP head", "Two layers with a non-linearity between them, on the features.", _has_method(Method.PROBE_MLP)),
    Term(
        "nearest centroid", "The class whose train images have the nearest mean feature.", _has_method(Method.CENTROID)
    ),
    Term(
        "shrunken centroid",
        "The nearest centroid, after each class's mean has moved towards the mean of all images by a threshold: "
        "columns in which a class does not stand out are dropped (Tibshirani et al., 2002).",
        _has_method(Method.CENTROID_SHRUNKEN),
    ),
    Term("k-NN", "A vote of the k nearest train images.", _has_method(Method.KNN)),
    Term(
        "k-NN (weighted)",
        "A vote of the k nearest train images on features that are not standardised, each with the weight "
        "exp(cosine / 0.07), as DINO is evaluated (Caron et al., 2021).",
        _has_method(Method.KNN_WEIGHTED),
    ),
    Term("views", "Augmented copies of train images, fitted on too.", _if_any(lambda row: bool(row.views))),
    Term(
        "tap",
        "The module of a net whose output is used as features; the penultimate tap is the input of its own head.",
        _if_any(lambda row: row.tap != PENULTIMATE),
    ),
    Term(
        "stage", "The layers of a net that work at one resolution; the last is the one below the head.", _trains_stages
    ),
    Term(
        "LP-FT",
        "Linear probing, then fine-tuning: the whole net is trained from the probe's solution (Kumar et al., 2022).",
        _has_method(Method.LP_FT),
    ),
    Term(
        "WiSE-FT",
        "A point on the line from the weights that LP-FT begins with (alpha 0) to those that it ends with (alpha 1), "
        "selected on validation (Wortsman et al., 2022).",
        _has_method(Method.WISE_FT),
    ),
    Term(
        "BitFit",
        "Only the biases of the pretrained net, those of its norms too, and a new head are trained (Ben Zaken et al., "
        "2022).",
        _has_method(Method.BITFIT),
    ),
    Term(
        "LoRA",
        "The pretrained weights stay as they are; trained are a new head and adapters, whose product of two small "
        "matrices is added to a weight (Hu et al., 2022).",
        _has_method(Method.LORA),
    ),
    Term("full fine-tune", "The whole pretrained net is trained with a new head.", _has_method(Method.FINETUNE)),
    Term("from scratch", "The same net, trained from random weights.", _has_method(Method.SCRATCH)),
    Term(
        "seed",
        "It sets the order, initialisation and augmentation of a training.",
        _if_any(lambda row: method_info(row.method).seeded),
    ),
    Term("cold time", "Seconds from images to predictions, with feature extraction."),
    Term("warm time", "Seconds with cached features: the cost of one more head."),
    Term(
        "95 % interval",
        "Of 100 such intervals, each for other test images, about 95 contain the accuracy on all such images.",
    ),
    Term(
        "adjusted p",
        "How likely so large a difference would be on these test images if two rows were equally good, adjusted for "
        "the number of comparisons (McNemar's exact test, Holm's method).",
        _has_several_rows,
    ),
    Term(
        "significant",
        f"An adjusted p below {LEVEL}, an interval of the difference without 0, and first seeds with the same sign.",
        _has_several_rows,
    ),
    Term(
        "no significant difference",
        "Not shown by these test images, which is no proof of equality.",
        _has_several_rows,
    ),
    Term("headroom", "Fine-tune minus probe of the same net.", _if_any(lambda row: row.headroom is not None)),
    Term(
        "macro",
        "The mean accuracy of the classes, rare or frequent, which is also called balanced accuracy.",
        lambda content: uneven(content.rows),
    ),
    Term("F1", "The harmonic mean of a class's precision and sensitivity; macro F1 is its mean over the classes."),
    Term(
        "sensitivity, specificity",
        "Of two classes, the share of the positive one's images that is predicted positive, and of the other's that is "
        "predicted negative.",
        _if_any(lambda row: row.two_classes is not None),
    ),
    Term(
        "operating point",
        "The probability from which on an image is called the positive class: the one that costs least on validation.",
        lambda content: content.costs is not None,
    ),
    Term(
        "AUROC",
        "Area under the ROC curve: how often an image of a class has a higher probability of it than another class's.",
        _if_any(lambda row: row.auroc is not None),
    ),
    Term("precision", "The share of the images predicted as a class that are of it."),
    Term("ECE", "Expected calibration error: the mean gap between confidence and accuracy."),
    Term("temperature", "A divisor of logits, fitted on val; it changes no prediction."),
    Term(
        "optimism",
        "How much selecting on the test set would have inflated accuracy: best candidate minus the selected one.",
        _if_any(lambda row: row.optimism is not None),
    ),
    Term("draw", "One random subset of the train images.", lambda content: bool(content.curves)),
    Term(
        "near duplicate",
        "One of two images of one shot, by their features and pixels; leaked, if one is in test and the other is not.",
        _has_findings,
    ),
    Term("suspect label", "A label that out-of-fold probe and neighbours contradict.", _has_findings),
    Term(
        "effective rank, RankMe",
        "How many equally strong directions would have the entropy of the features' singular values.",
        _has_qualities,
    ),
    Term(
        "intrinsic dimension",
        "How many coordinates describe the features locally, however many columns they have.",
        _has_qualities,
    ),
    Term(
        "H-score, LogME",
        "Predictors of how well a linear layer will do on the features, without fitting one; higher is better.",
        _has_labelled_qualities,
    ),
    Term("Recall@k", "The share of queries of which one of the k nearest images has the class.", _has_retrieval),
    Term(
        "mAP",
        "Mean average precision: how far images of a query's class are ranked before all others, 1 at best.",
        _has_retrieval,
    ),
    Term(
        "NMI, ARI",
        "Normalised mutual information and adjusted Rand index: how far clusters and classes agree, 1 at best.",
        _has_labelled_qualities,
    ),
    Term(
        "CKA",
        "Centred kernel alignment: how alike two sets of features of the same images are, 1 if equal up to rotation.",
        lambda content: content.alignment is not None,
    ),
)
