"""What every verb begins with: the data set, its splits, the backbones and where their features are."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from probeline.backbones.resolve import Loaded, load, resolve, resolve_taps
from probeline.cache.entry import Entry, locate_entry
from probeline.cache.reading import missing_shards, read_features
from probeline.console import Console
from probeline.data import registry
from probeline.data.annotations import groups, labels
from probeline.data.sampling.splits import describe_copies, split
from probeline.data.source import LoadRequest, Subset
from probeline.errors import BadData, MissingData
from probeline.memo import Memo
from probeline.names import PENULTIMATE, BackboneSpec, split_tap
from probeline.options.command_line import command_line
from probeline.options.settings import Settings, Step
from probeline.types import Backbone, DataSet, FeatureSet, IntArray, Splits, View, splits_digest


@dataclass(frozen=True)
class Session:
    """One run's data set, splits, backbones and paths; each is made when it is first asked for, and then kept.

    Backbones are asked for as the command line has them, ``NAME[@WEIGHTS]``.

    Attributes
    ----------
    settings : Settings
    remember : bool
        Whether the memo of file hashes may be believed; if not, all files are hashed anew and nothing is downloaded.
    steps : tuple of Step
        All steps of the recipe, if there is one.
    """

    settings: Settings
    remember: bool = True
    steps: tuple[Step, ...] = ()

    @property
    def console(self) -> Console:
        """Where the run says what it does."""
        return self.settings.console

    @functools.cached_property
    def memo(self) -> Memo:
        """What was read of files before."""
        path = self.settings.folders.cache / ".memo.json" if self.remember else None
        return Memo(path, read_only=self.settings.run.dry_run)

    @functools.cached_property
    def dataset(self) -> DataSet:
        """The data set of the run.

        Raises
        ------
        ProbelineError
            As :func:`probeline.data.registry.load`, and what is wrong with files of labels and groups.
        """
        options, console = self.settings.data, self.console
        subset, download = Subset(options.limit, options.data_seed), self.remember and not self.settings.run.dry_run
        dataset = registry.load(options.dataset, LoadRequest(options.data, subset, self.memo, console, download))
        self.memo.save()
        whole = options.limit is None
        if options.labels is not None:
            dataset = labels.relabel(dataset, options.labels, whole=whole)
        if options.groups is not None:
            dataset = groups.group(dataset, options.groups, whole=whole)
        if self.remember:  # verify loads both ways, and says this once
            for join in dataset.joins:
                console.say(f"{join.kind}: {join.summary}")
            if leak := groups.describe_leaks(dataset):
                console.say(leak)
            if dataset.skipped:
                console.say(registry.count_skipped(dataset.skipped))
            for skipped in dataset.skipped:
                console.detail(f"skipped {skipped.path}: {skipped.reason}")
        return dataset

    @functools.cached_property
    def splits(self) -> Splits:
        """Who is fitted on, who chooses, who is reported.

        Raises
        ------
        BadData
            Too few images for that.
        """
        splits = split(self.dataset, data_seed=self.settings.data.data_seed)
        if not len(splits.test):
            raise BadData(
                "no image is left to test on",
                where=self.dataset.name,
                expected=f"three {'groups' if self.dataset.groups else 'images'} or more of a class",
                remedy="add images, or raise --limit",
            )
        if self.remember and (message := describe_copies(self.dataset, splits)):
            self.console.say(message)
        return splits

    @functools.cached_property
    def splits_sha256(self) -> str:
        """sha256 over the rows of every role, with their labels."""
        return splits_digest(self.dataset, self.splits)

    @property
    def reports(self) -> Path:
        """The folder of this data set's report; relabelled or grouped, it has one of its own."""
        return self.settings.folders.reports / self.dataset.title

    def parts(self) -> tuple[str, ...]:
        """Return the parts that any role reads."""
        splits = self.splits
        return tuple(dict.fromkeys(role.part for role in (splits.train, splits.val, splits.test)))

    def is_remembered(self, name: str) -> bool:
        """Return whether something was found true before."""
        return self.memo.get(name, []) is True

    def remember_that(self, name: str) -> None:
        """Remember that something was found true; losing it costs only the time to find it again."""
        self.memo.put(name, [], True)
        self.memo.save()

    def spec(self, backbone: str) -> BackboneSpec:
        """Return the name and the weights that ``NAME[@WEIGHTS]`` asks for."""
        return BackboneSpec.parse(backbone, self.settings.nets.weights)

    def asked_as(self, name: str, weights: str) -> str:
        """Return the ``NAME[@WEIGHTS]`` of the settings that these resolved weights are of.

        Parameters
        ----------
        name, weights : str
            As a :class:`Backbone` or a score has them.
        """
        nets, teacher = self.settings.nets.backbones, self.settings.training.teacher
        same = [text for text in (*nets, *filter(None, [teacher])) if self.spec(text).name == name]
        if len(same) > 1:
            same = [text for text in same if self.backbone(text)[0].weights == weights] or same
        return same[0] if same else name

    def backbone(self, backbone: str) -> tuple[Backbone, Loaded | None]:
        """Return a backbone's record at its penultimate tap, and the net too if it had to be built to know it."""
        spec = self.spec(backbone)
        resolved = resolve(spec.name, spec.weights, self.settings.nets.image_size, self.memo)
        self.memo.save()
        return resolved

    def taps(self, backbone: str) -> tuple[tuple[tuple[Backbone, ...], ...], Loaded | None]:
        """Return where a backbone is read, and the net too if it had to be built to know it.

        Returns
        -------
        tuple of tuples of Backbone
            For each tap that was asked for one record; several if they are to stand side by side.
        Loaded or None
        """
        spec = self.spec(backbone)
        wanted = [split_tap(tap) for tap in self.settings.reading.taps]
        terms = tuple(dict.fromkeys(term for taps in wanted for term in taps))
        resolved, loaded = resolve_taps(spec.name, spec.weights, self.settings.nets.image_size, terms, self.memo)
        self.memo.save()
        records: list[tuple[Backbone, ...]] = []
        for taps in wanted:
            together = tuple(dict.fromkeys(record for term in taps for record in resolved[term]))
            records += [together] if len(taps) > 1 else [(record,) for record in together]
        return tuple(dict.fromkeys(records)), loaded

    def every_tap(self, backbone: str) -> tuple[Backbone, ...]:
        """Return the records of all taps at which a backbone is read, each once."""
        return tuple(dict.fromkeys(tap for together in self.taps(backbone)[0] for tap in together))

    def net(self, backbone: str, taps: Sequence[str] = (PENULTIMATE,)) -> Loaded:
        """Build a backbone's net anew."""
        spec = self.spec(backbone)
        return load(spec.name, spec.weights, self.settings.nets.image_size, taps)[0]

    def net_of(self, backbone: Backbone, taps: Sequence[str] = (PENULTIMATE,)) -> Loaded:
        """Build the net of a record anew."""
        return self.net(self.asked_as(backbone.name, backbone.weights), taps)

    def views(self, part: str) -> tuple[View | None, ...]:
        """Return how the images of a part are seen: as they are, and augmented if train rows come from it."""
        if part != self.splits.train.part:
            return (None,)
        numbers = range(1, self.settings.reading.views + 1)
        return (None, *(View(number, self.dataset.flips) for number in numbers))

    def entry(self, backbone: Backbone, part: str, view: View | None = None) -> Entry:
        """Return where the features of a part are, or will be."""
        cache, precision = self.settings.folders.cache, self.settings.nets.precision
        return locate_entry(cache, self.dataset.parts[part], backbone, precision, view)

    def entries(self, backbone: Backbone) -> tuple[Entry, ...]:
        """Return where the features of every part that any role reads are, those of its views after it."""
        return tuple(self.entry(backbone, part, view) for part in self.parts() for view in self.views(part))

    @functools.cached_property
    def _features(self) -> dict[Path, FeatureSet]:
        return {}

    def features(self, backbone: Backbone, part: str, view: View | None = None) -> FeatureSet:
        """Return the features of a part, read and proven once.

        Raises
        ------
        MissingData
            Not all extracted; names the command that does it.
        BadCache
        """
        entry = self.entry(backbone, part, view)
        if entry.folder not in self._features:
            if missing := missing_shards(entry):
                raise MissingData(
                    f"features are not extracted yet ({len(missing)} of {len(entry.shards)} shards are missing)",
                    where=entry.folder,
                    remedy=f"run: {command_line(self.settings, 'extract')}",
                )
            self._features[entry.folder] = read_features(entry)
        return self._features[entry.folder]

    def under(self, settings: Settings) -> Session:
        """Return the session of other settings on the same data set, which is not loaded again."""
        return self._copy(settings, without=("_features",))

    def without_views(self) -> Session:
        """Return the same session without augmented views of the train images."""
        return self.under(self.settings.changed(views=0)) if self.settings.reading.views else self

    def reading(self, backbone: str, tap: str, views: int) -> Session:
        """Return the same session with one net that is read at one tap, and its train images in so many views."""
        settings = self.settings.changed(backbones=(backbone,), taps=(tap,), views=views)
        # Features of an inner tap are large, and of use to this reader alone.
        return self._copy(settings, without=() if tap == PENULTIMATE else ("_features",))

    def fitted_on(self, rows: IntArray) -> Session:
        """Return the same session with these few train rows alone, int64 [n]; val alone chooses."""
        splits = replace(self.splits, train=replace(self.splits.train, rows=rows), folds=())
        return self._copy(self.settings, without=("splits_sha256",), splits=splits)

    def _copy(self, settings: Settings, *, without: tuple[str, ...] = (), **known: Any) -> Session:
        """Return a session of other settings that keeps what this one has loaded."""
        copied = replace(self, settings=settings)
        names = ("memo", "dataset", "splits", "splits_sha256", "_features")
        self._features  # noqa: B018 - shared from here on
        kept = {name: self.__dict__[name] for name in names if name in self.__dict__ and name not in without}
        copied.__dict__.update({**kept, **known})
        return copied
