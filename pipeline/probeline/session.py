"""What every stage begins with: the data set, who plays which role, the backbones and where their embeddings are."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from probeline import disk
from probeline.backbones.resolve import Loaded, load, resolve, resolve_taps
from probeline.cache import entry as store
from probeline.data.annotations import groups, labels
from probeline.data.annotations.exact_copies import copies
from probeline.data.sampling.splits import split
from probeline.data.sources import registry as datasets
from probeline.environment import environment
from probeline.errors import BadData, MissingData
from probeline.heads.temperature import fit_temperature
from probeline.identity import digest
from probeline.memo import Memo
from probeline.metrics.intervals import wilson
from probeline.metrics.scores import brier, chances, ece, macro, nll, reliability, top1, top_k
from probeline.names import PENULTIMATE, split_tap
from probeline.options.config import Config, Work, command_line
from probeline.results.picture import PICTURE_FOLDER
from probeline.results.score import SCORES, Score
from probeline.results.store import SkippedFile
from probeline.types import Backbone, DataSet, FeatureSet, FloatArray, IntArray, Splits, View, splits_digest

Found = TypeVar("Found")

_FEW_CLASSES = 5
"""Up to so many, top-5 is 1."""


@dataclass(frozen=True)
class Asked:
    """One score as it is asked for.

    Attributes
    ----------
    method : str
    seed : int or None
        None where nothing is random.
    options : mapping
        All else that is asked of the method, and the version of its code.
    key : str
        sha256 over all of that, and over what it is asked of.
    """

    method: str
    seed: int | None
    options: Mapping[str, Any]
    key: str


class Inputs:
    """The inputs of a run, each made when it is first asked for and then kept for the stages that follow.

    Parameters
    ----------
    config : Config
    remember : bool
        Whether what was found of files before may be believed; where not, all is found anew and nothing downloaded.
    asked : sequence of Work
        All that the steps of a recipe ask for, where there is one.
    """

    def __init__(self, config: Config, *, remember: bool = True, asked: Sequence[Work] = ()) -> None:
        self.config = config
        self.asked = tuple(asked)
        self._memo = Memo(config.cache / ".memo.json" if remember else None)
        self._download = remember
        self._features: dict[Path, FeatureSet] = {}

    @functools.cached_property
    def dataset(self) -> DataSet:
        """The data set of the run.

        Raises
        ------
        ProbelineError
            As :func:`probeline.data.sources.registry.load`, and what is wrong with files of labels and groups.
        """
        config = self.config
        dataset = datasets.load(
            config.dataset,
            config.data,
            self._memo,
            limit=config.limit,
            data_seed=config.data_seed,
            console=config.console,
            download=self._download,
        )
        self._memo.save()
        whole = config.limit is None
        if config.labels is not None:
            dataset = labels.relabel(dataset, config.labels, whole=whole)
        if config.groups is not None:
            dataset = groups.group(dataset, config.groups, whole=whole)
        for join in dataset.joins if self._download else ():
            config.console.say(f"{join.kind}: {join.told}")
        if self._download and (leak := groups.leaks(dataset)):
            config.console.say(leak)
        for skipped in dataset.skipped if self._download else ():  # verify loads both ways, and tells once
            config.console.say(f"skipped {skipped.path}: {skipped.reason}")
        return dataset

    @functools.cached_property
    def splits(self) -> Splits:
        """Who is fitted on, who chooses, who is reported.

        Raises
        ------
        BadData
            Too few images for that.
        """
        splits = split(self.dataset, data_seed=self.config.data_seed)
        if not len(splits.test):
            raise BadData(
                "no image is left to test on",
                where=self.dataset.name,
                expected=f"three {'groups' if self.dataset.groups else 'images'} or more of a class",
                remedy="add images, or raise --limit",
            )
        if self._download and (told := copies(self.dataset, splits)):
            self.config.console.say(told)
        return splits

    @functools.cached_property
    def splits_sha256(self) -> str:
        """sha256 over the rows of every role, with their labels."""
        return splits_digest(self.dataset, self.splits)

    @property
    def reports(self) -> Path:
        """The folder of this data set's report; relabelled or grouped, it has one of its own."""
        return self.config.reports / self.dataset.title

    @property
    def scores(self) -> Path:
        """The folder of this data set's score records."""
        return self.reports / "scores"

    @property
    def curves(self) -> Path:
        """The folder of this data set's learning curves."""
        return self.reports / "curves"

    @property
    def range_tests(self) -> Path:
        """The folder of this data set's learning-rate range tests."""
        return self.reports / "lr"

    @property
    def pictures(self) -> Path:
        """The folder of this data set's pictures."""
        return self.reports / PICTURE_FOLDER

    def remembered(self, name: str) -> bool:
        """Say whether something was found true before."""
        return self._memo.get(name, []) is True

    def remember(self, name: str) -> None:
        """Remember that something was found true; losing it costs only the time to find it again."""
        self._memo.put(name, [], True)
        self._memo.save()

    def forget(self) -> None:
        """Drop all that is remembered of files; what this object holds already stays."""
        self._memo.drop()

    def backbone(self, name: str, weights: str | None = None) -> tuple[Backbone, Loaded | None]:
        """Return a backbone's record at its penultimate tap, and the net too where it had to be built to know it."""
        weights = self.config.weights if weights is None else weights
        resolved = resolve(name, weights, self.config.image_size, self._memo)
        self._memo.save()
        return resolved

    def taps(self, name: str) -> tuple[tuple[tuple[Backbone, ...], ...], Loaded | None]:
        """Return what heads are given of a backbone, and the net too where it had to be built to know it.

        Returns
        -------
        tuple of tuples of Backbone
            For each tap that was asked for, one record; several where they are to stand side by side.
        Loaded or None
        """
        asked = [split_tap(tap) for tap in self.config.taps]
        every = tuple(dict.fromkeys(term for each in asked for term in each))
        meant, loaded = resolve_taps(name, self.config.weights, self.config.image_size, every, self._memo)
        self._memo.save()
        found: list[tuple[Backbone, ...]] = []
        for each in asked:
            records = tuple(dict.fromkeys(record for term in each for record in meant[term]))
            found += [records] if len(each) > 1 else [(record,) for record in records]
        return tuple(dict.fromkeys(found)), loaded

    def every_tap(self, name: str) -> tuple[Backbone, ...]:
        """Return the records of all taps that are read of a backbone, each once."""
        return tuple(dict.fromkeys(tap for together in self.taps(name)[0] for tap in together))

    def under(self, config: Config) -> Inputs:
        """Return the inputs of another configuration on the same data set, which is not loaded again."""
        other = copy.copy(self)
        other.config = config
        other._features = {}
        return other

    def reading(self, backbone: str, tap: str, views: int) -> Inputs:
        """Return the same inputs, but that one net is read at one tap, and its train images in so many views."""
        other = copy.copy(self)
        other.config = replace(self.config, backbones=(backbone,), taps=(tap,), views=views)
        if tap != PENULTIMATE:
            other._features = {}  # large, and of use to this reader alone
        return other

    def fitted_on(self, rows: IntArray) -> Inputs:
        """Return the same inputs, but that the train rows are these few of them, int64 [n], and val alone chooses."""
        other = copy.copy(self)
        other.__dict__.pop("splits_sha256", None)
        other.__dict__["splits"] = replace(self.splits, train=replace(self.splits.train, rows=rows), folds=())
        return other

    def net(self, name: str, weights: str | None = None, taps: Sequence[str] = (PENULTIMATE,)) -> Loaded:
        """Build a backbone's net anew."""
        return load(name, self.config.weights if weights is None else weights, self.config.image_size, taps)[0]

    def views(self, part: str) -> tuple[View | None, ...]:
        """Return how the images of a part are seen: as they are, and augmented where train rows come from it."""
        if part != self.splits.train.part:
            return (None,)
        return (None, *(View(number, self.dataset.flips) for number in range(1, self.config.views + 1)))

    def entry(self, backbone: Backbone, part: str, view: View | None = None) -> store.Entry:
        """Return where the embeddings of a part are, or will be."""
        return store.locate(self.config.cache, self.dataset.parts[part], backbone, self.config.precision, view)

    def entries(self, backbone: Backbone) -> tuple[store.Entry, ...]:
        """Return where the embeddings of every part that any role reads are, those of its views after it."""
        return tuple(self.entry(backbone, part, view) for part in self.parts() for view in self.views(part))

    def features(self, backbone: Backbone, part: str, view: View | None = None) -> FeatureSet:
        """Return the embeddings of a part, read and proven once.

        Raises
        ------
        MissingData
            Not all extracted; names the command that does it.
        BadCache
        """
        entry = self.entry(backbone, part, view)
        if entry.folder not in self._features:
            if absent := store.missing(entry):
                raise MissingData(
                    f"{len(absent)} of {len(entry.shards)} shards are not extracted yet",
                    where=entry.folder,
                    remedy=f"run: {command_line(self.config, 'extract')}",
                )
            self._features[entry.folder] = store.read(entry)
        return self._features[entry.folder]

    def parts(self) -> tuple[str, ...]:
        """Return the parts that any role reads."""
        splits = self.splits
        return tuple(dict.fromkeys(role.part for role in (splits.train, splits.val, splits.test)))

    def score_key(self, method: str, **facts: Any) -> str:
        """Return the key of a score or a curve: what was asked, of which rows with which labels."""
        return digest({"method": method, "splits": self.splits_sha256, **facts})

    def ask(self, method: str, seed: int | None, options: Mapping[str, Any], **below: Any) -> Asked:
        """Return what is asked of a method: its options, and `below` what else its numbers depend on."""
        return Asked(method, seed, options, self.score_key(method, seed=seed, options=options, **below))

    def finished(self, backbone: Backbone, asked: Asked, title: str) -> Score | None:
        """Return the score that is asked for and tell the user that it is there; None where it is yet to be made.

        Raises
        ------
        CannotWrite
            It is yet to be made, and could not be kept.
        """
        found = SCORES.find(self.reports, backbone.name, backbone.weights, asked.method, asked.seed, asked.key)
        return self.there(found, self.scores, f"{title}: its score is there", title)

    def there(self, found: Found | SkippedFile | None, folder: Path, told: str, title: str) -> Found | None:
        """Return a record that was found and say what is `told` of it; None where it is yet to be made, in `folder`.

        Raises
        ------
        CannotWrite
            It is yet to be made, and could not be kept.
        """
        if isinstance(found, SkippedFile):
            self.config.console.say(f"{title}: made anew, as {found.path.name} {found.reason}")
        elif found is not None:
            self.config.console.say(told)
            return found
        disk.check_writable(folder)
        return None

    def outcome(self, score: Score) -> dict[str, Any]:
        """Return what ``--json`` tells of a score, and where the rest of it is."""
        return {
            "backbone": score.backbone,
            "weights": score.weights,
            "tap": score.tap,
            "views": score.views,
            "method": score.method,
            "seed": score.seed,
            "top1": score.top1,
            "interval": score.interval,
            "chosen": score.chosen,
            "file": str(SCORES.path_of(self.reports, score)),
        }

    def scored(self, logits: FloatArray, device: str, y_val: IntArray, val_logits: FloatArray) -> dict[str, Any]:
        """Return the fields of a score that follow from what a method said of the test images, whatever the method.

        Its temperature is fitted on val alone. Top-5 is for data sets of more than 5 classes.

        Parameters
        ----------
        logits : float32 [n_test, K]
        device : str
            That the method ran on.
        y_val : int64 [m]
        val_logits : float32 [m, K]
            Of rows that the method was chosen by, and that what said so was not fitted on.
        """
        splits, classes = self.splits, self.dataset.class_names
        truth = self.dataset.parts[splits.test.part].labels[splits.test.rows]
        predictions = logits.argmax(1)
        temperature = fit_temperature(y_val, val_logits)
        sure, raw = chances(logits, temperature), chances(logits)
        return {
            "dataset": self.dataset.title,
            "splits": self.splits_sha256,
            "n_train": len(splits.train),
            "n_val": len(splits.val),
            "n_test": len(splits.test),
            "class_names": classes,
            "labels": tuple(truth.tolist()),
            "predictions": tuple(predictions.tolist()),
            "top1": top1(truth, predictions),
            "top5": top_k(truth, logits, 5) if len(classes) > _FEW_CLASSES else None,
            "macro": macro(truth, predictions, len(classes)),
            "interval": wilson(int((truth == predictions).sum()), len(truth)),
            "temperature": temperature,
            "nll": nll(truth, logits / np.float64(temperature)),
            "brier": brier(truth, sure),
            "ece": ece(truth, sure),
            "raw_nll": nll(truth, logits),
            "raw_ece": ece(truth, raw),
            "bins": reliability(truth, sure),
            "raw_bins": reliability(truth, raw),
            "environment": environment(device),
        }
