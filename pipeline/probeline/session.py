"""The session of one run: its data set, splits and backbones, and the places of their features."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from probeline.backbones.resolve import Loaded, load, resolve, resolve_taps
from probeline.cache.entry import Entry, locate_entry
from probeline.cache.prune import remove_abandoned
from probeline.cache.reading import read_features
from probeline.console import Console
from probeline.data import registry, unreadable
from probeline.data.annotations import groups
from probeline.data.annotations.targets import check_task
from probeline.data.sampling.splits import HeldOut, describe_copies, split
from probeline.data.source import LoadRequest
from probeline.data.verdicts import Verdicts
from probeline.errors import BadData, BadOption, FoundUnreadable, UnknownName
from probeline.files.memo import Memo
from probeline.images import Corruption, Decoding, Sight, View
from probeline.names import PENULTIMATE, BackboneSpec, split_tap
from probeline.options.command_line import command_line
from probeline.options.settings import OPTIONS, Settings, Step
from probeline.results.owner import claim_folder
from probeline.types import Backbone, DataSet, FeatureSet, IntArray, Splits, splits_digest

Result = TypeVar("Result")


@dataclass(frozen=True)
class Session:
    """One run's data set, splits, backbones and paths; each is loaded at its first use, and then kept.

    A backbone's text is ``NAME[@WEIGHTS]``, as on the command line. `remember` is whether the memo of file hashes is
    used: if not, all files are hashed anew and nothing is downloaded. `steps` are all those of the recipe. `data` is a
    data set in memory, in place of the one that the settings name; `held_out` are its test and val rows, if they are
    not those of the rules. With `corruptions` its images are seen under each of these alone.
    """

    settings: Settings
    remember: bool = True
    steps: tuple[Step, ...] = ()
    data: DataSet | None = None
    held_out: HeldOut = field(default_factory=HeldOut)
    corruptions: tuple[Corruption, ...] = ()

    def __getstate__(self) -> dict[str, Any]:
        """Return what a pickle holds: the options and the records of the data set; the rest is loaded at need."""
        return {**{own.name: getattr(self, own.name) for own in fields(self)}, "dataset": self.dataset}

    @property
    def console(self) -> Console:
        """The console of the run."""
        return self.settings.console

    @functools.cached_property
    def memo(self) -> Memo:
        """The remembered hashes of files."""
        path = self.settings.folders.cache / ".memo.json" if self.remember else None
        return Memo(path, read_only=self.settings.run.dry_run, warn=self.warn_once)

    @functools.cached_property
    def verdicts(self) -> Verdicts:
        """Which images cannot be decoded; without the memo, those that cannot are decoded again to be sure."""
        stored = Verdicts(self.settings.folders.cache / ".unreadable.json", read_only=self.settings.run.dry_run)
        return stored if self.remember else Verdicts(None, suspects=stored.known())

    @property
    def decoding(self) -> Decoding:
        """How image files are decoded."""
        return Decoding(self.settings.nets.alpha, self.settings.nets.grey_range)

    @functools.cached_property
    def dataset(self) -> DataSet:
        """The data set of the run, with its own labels and groups, and without images that cannot be read."""
        if self.data is not None:
            return self.data
        options, console = self.settings.data, self.console
        download = self.remember and not self.settings.run.dry_run
        request = LoadRequest.of(options, self.memo, console, self.verdicts, download=download)
        dataset = unreadable.leave_out(registry.load(options.dataset, request), self.verdicts)
        dataset = unreadable.decoded_as(dataset, self.decoding)
        self.memo.save()
        self.verdicts.save()
        whole = options.limit is None
        if options.labels is not None:
            from probeline.data.annotations.labels import join_labels

            dataset = join_labels(dataset, options.labels, request, whole=whole)
        check_task(dataset, options.task)
        if options.groups is not None:
            dataset = groups.group(dataset, options.groups, whole=whole, columns=request.columns)
        if options.strict:
            unreadable.refuse(dataset)
        if self.remember:  # verify loads it both ways, and prints this once
            for note in dataset.notes:
                self.note_once(note)
            for join in dataset.joins:
                console.say(f"{join.kind}: {join.summary}")
            if leak := groups.describe_leaks(dataset):
                self.note_once(leak)
            if dataset.skipped:
                self.note_once(registry.count_skipped(dataset.skipped))
            for skipped in dataset.skipped:
                console.detail(f"skipped {skipped.path}: {skipped.reason}{skipped.detail}")
            claim = bool(dataset.unreadable)
            written = None if self.settings.run.dry_run else self._report_folder(dataset, claim=claim)
            if message := unreadable.report(dataset, written):
                self.warn_once(message)
        return dataset

    @functools.cached_property
    def splits(self) -> Splits:
        """The train, val and test rows."""
        if not self.dataset.has_labels:
            raise BadData(
                "the images have no labels",
                where=self.dataset.name,
                remedy="give them by --labels FILE.csv with columns sample_id,label, in Python by labels=; "
                "extract alone works without",
            )
        splits = split(self.dataset, data_seed=self.settings.data.data_seed, held_out=self.held_out)
        if not len(splits.test):
            raise BadData(
                "no image is left to test on",
                where=self.dataset.name,
                expected=f"three {'groups' if self.dataset.groups else 'images'} or more of a class",
                remedy="add images" if self.settings.data.limit is None else "raise --limit",
            )
        if self.remember and (message := describe_copies(self.dataset, splits)):
            self.note_once(message)
        return splits

    @functools.cached_property
    def splits_sha256(self) -> str:
        """sha256 over the rows of every role, with their labels."""
        return splits_digest(self.dataset, self.splits)

    @functools.cached_property
    def reports(self) -> Path:
        """The folder of the report; a relabelled or grouped data set has one of its own.

        So has one of two data sets of the same name that are in different places.
        """
        own, name = self._report_folder(self.dataset, claim=True), self.dataset.title
        if own.name != name and self.remember:
            self._show_once(f"reports: {name} is another data set's; those of this one are in {own}", self.console.say)
        return own

    def _report_folder(self, dataset: DataSet, *, claim: bool) -> Path:
        folder, place = self.settings.folders.reports / dataset.title, registry.place_of(self.settings.data.dataset)
        read_only = not claim or self.settings.run.dry_run or not self.remember
        return folder if place is None else claim_folder(folder, place, read_only=read_only)

    def parts(self) -> tuple[str, ...]:
        """Return the parts that train, val and test rows come from; all parts of a data set without labels."""
        if not self.dataset.has_labels:
            return tuple(self.dataset.parts)
        splits = self.splits
        return tuple(dict.fromkeys(role.part for role in (splits.train, splits.val, splits.test)))

    @property
    def has_images(self) -> bool:
        """Whether the data set has images, and not embeddings from elsewhere."""
        if self.data is not None:
            return not self.data.embeddings
        return not registry.gives_embeddings(self.settings.data.dataset)

    def with_embeddings(self, settings: Settings) -> Settings:
        """Return settings whose backbones are the names of the data set's embeddings, all of them by default.

        Settings of a data set of images are returned as they are.

        Raises
        ------
        UnknownName
            No such embedding.
        BadOption
            An option that only images have a use for.
        """
        if self.has_images:
            return settings
        known = tuple(self.dataset.embeddings)
        named = settings.nets.backbones
        for name in named if named != Settings().nets.backbones else ():
            if name not in known:
                raise UnknownName(f"embedding of {self.dataset.name}", name, known)
        for option in ("weights", "image_size", "taps", "views", "precision"):
            if settings.value(option) != OPTIONS[option].default:
                raise BadOption(f"{OPTIONS[option].flag} needs images", got=f"the embeddings of {self.dataset.name}")
        return settings.changed(backbones=known if named == Settings().nets.backbones else named)

    def is_remembered(self, name: str) -> bool:
        """Return whether this name was remembered by an earlier run."""
        return self.memo.get(name, [], bool) is True

    def remember_that(self, name: str) -> None:
        """Remember a name; losing it costs only the time to check again."""
        self.memo.put(name, [], True)
        self.memo.save()

    def spec(self, backbone: str) -> BackboneSpec:
        """Return the name and the weights of a backbone's text."""
        return BackboneSpec.parse(backbone, self.settings.nets.weights)

    def asked_as(self, name: str, weights: str) -> str:
        """Return the backbone's text in the settings for the name and the weights of a record."""
        nets, teacher = self.settings.nets.backbones, self.settings.training.teacher
        same = [text for text in (*nets, *filter(None, [teacher])) if self.spec(text).name == name]
        if len(same) > 1:
            same = [text for text in same if self.backbone(text)[0].weights == weights] or same
        return same[0] if same else name

    def backbone(self, backbone: str) -> tuple[Backbone, Loaded | None]:
        """Return a backbone's record at its penultimate tap, and the net too if it had to be built."""
        if not self.has_images:
            return Backbone.of_embedding(backbone, self.dataset.embeddings[backbone]), None
        spec = self.spec(backbone)
        record, loaded = resolve(spec.name, spec.weights, self.settings.nets.image_size, self.memo)
        self.memo.save()
        self._show_notes(loaded, record)
        return record.decoding(self.decoding), loaded and loaded.decoding(self.decoding)

    def taps(self, backbone: str) -> tuple[tuple[tuple[Backbone, ...], ...], Loaded | None]:
        """Return the records of each requested tap, several if concatenated, and the net too if it had to be built."""
        if not self.has_images:
            return ((self.backbone(backbone)[0],),), None
        spec = self.spec(backbone)
        requested = [split_tap(tap) for tap in self.settings.reading.taps]
        terms = tuple(dict.fromkeys(term for taps in requested for term in taps))
        resolved, loaded = resolve_taps(spec.name, spec.weights, self.settings.nets.image_size, terms, self.memo)
        self.memo.save()
        self._show_notes(loaded, *(record for own in resolved.values() for record in own))
        records: list[tuple[Backbone, ...]] = []
        for taps in requested:
            named = (record for term in taps for record in resolved[term])
            together = tuple(dict.fromkeys(record.decoding(self.decoding) for record in named))
            records += [together] if len(taps) > 1 else [(record,) for record in together]
        return tuple(dict.fromkeys(records)), loaded and loaded.decoding(self.decoding)

    def every_tap(self, backbone: str) -> tuple[Backbone, ...]:
        """Return the records of all requested taps, each once."""
        return tuple(dict.fromkeys(tap for together in self.taps(backbone)[0] for tap in together))

    def net(self, backbone: str, taps: Sequence[str] = (PENULTIMATE,)) -> Loaded:
        """Build a backbone's net anew."""
        self.require_images(f"the net of {backbone}")
        spec = self.spec(backbone)
        loaded = load(spec.name, spec.weights, self.settings.nets.image_size, taps)[0]
        self._show_notes(loaded, loaded.backbone)
        return loaded.decoding(self.decoding)

    @functools.cached_property
    def checked(self) -> set[str]:
        """Keys of the cached features that the canary has run again in this session."""
        return set()

    def _show_notes(self, loaded: Loaded | None, *records: Backbone) -> None:
        """Show what a user should know of a net and its weights."""
        for warning in loaded.warnings if loaded else ():
            self.warn_once(warning)
        for line in (f"{record.name}: {note}" for record in records for note in record.notes):
            self.note_once(line)

    def net_of(self, backbone: Backbone, taps: Sequence[str] = (PENULTIMATE,)) -> Loaded:
        """Build the net of a record anew."""
        return self.net(self.asked_as(backbone.name, backbone.weights), taps)

    def require_images(self, what: str) -> None:
        """Raise BadOption if the data set has embeddings from elsewhere instead of images."""
        if not self.has_images:
            raise BadOption(f"{what} needs images", got=f"the embeddings of {self.dataset.name}")

    def random_net_of(self, backbone: Backbone) -> Loaded:
        """Build the net of a record with random weights, for images of the record's size."""
        return load(backbone.name, "none", backbone.preprocess.crop)[0].decoding(self.decoding)

    def views(self, part: str) -> tuple[Sight | None, ...]:
        """Return the views of a part: None for its images as they are, the augmented ones of a part with train rows."""
        if self.corruptions or part != self.dataset.train:
            return self.corruptions or (None,)
        return (None, *(View(number, self.dataset.flips) for number in range(1, self.settings.reading.views + 1)))

    def entry(self, backbone: Backbone, part: str, view: Sight | None = None) -> Entry:
        """Return the cache entry of a part, extracted or not."""
        cache, precision = self.settings.folders.cache, self.settings.nets.precision
        return locate_entry(cache, self.dataset.parts[part], backbone, precision, view)

    def entries(self, backbone: Backbone) -> tuple[Entry, ...]:
        """Return the cache entries of all parts, each followed by its views."""
        return tuple(self.entry(backbone, part, view) for part in self.parts() for view in self.views(part))

    @functools.cached_property
    def _features(self) -> dict[Path, FeatureSet]:
        return {}

    def features(self, backbone: Backbone, part: str, view: Sight | None = None) -> FeatureSet:
        """Return the features of a part, read and verified once."""
        if not self.has_images:
            rows = self.dataset.embeddings[backbone.name].by_part[part]
            return FeatureSet(rows, self.dataset.parts[part].sample_ids, self.entry(backbone, part).key, 0.0, ())
        entry = self.entry(backbone, part, view)
        if entry.folder not in self._features:
            self._features[entry.folder] = read_features(entry, f"run: {command_line(self.settings, 'extract')}")
        return self._features[entry.folder]

    @functools.cached_property
    def _shown(self) -> set[str]:
        return set()

    def note_once(self, line: str) -> None:
        """Show one line about the data or a net, unless this run has shown it."""
        self._show_once(line, self.console.note)

    def warn_once(self, line: str) -> None:
        """Show one line of what is wrong with the data, unless this run has shown it."""
        self._show_once(line, self.console.warn)

    def _show_once(self, line: str, show: Callable[[str], None]) -> None:
        if line not in self._shown:
            self._shown.add(line)
            show(line)

    @functools.cached_property
    def abandoned(self) -> list[Path]:
        """The folders of entries that had unreadable images, and of the rows that were rescued from them."""
        return []

    def reloaded(self) -> Session:
        """Return a session that loads its data set again, without the images that turned out to be unreadable."""
        session = Session(self.settings, self.remember, self.steps)
        self.verdicts.refresh()
        session.__dict__.update(verdicts=self.verdicts, abandoned=self.abandoned, _shown=self._shown)
        return session

    def under(self, settings: Settings, *, keep_features: bool = False) -> Session:
        """Return the session of other settings on the same data set, which is not loaded again."""
        return self._copy(settings, without=() if keep_features else ("_features",))

    def without_views(self) -> Session:
        """Return the same session without augmented views of the train images."""
        return self.under(self.settings.changed(views=0)) if self.settings.reading.views else self

    def reading(self, backbone: str, tap: str, views: int) -> Session:
        """Return the same session with one net, one tap, and this number of views of the train images."""
        settings = self.settings.changed(backbones=(backbone,), taps=(tap,), views=views)
        # Features of an inner tap are large, and used by this reader alone.
        return self._copy(settings, without=() if tap == PENULTIMATE else ("_features",))

    def fitted_on(self, rows: IntArray) -> Session:
        """Return the same session with these train rows int64 [n] alone, without folds: selection is on val."""
        splits = replace(self.splits, train=replace(self.splits.train, rows=rows), folds=())
        return self._copy(self.settings, without=("splits_sha256",), splits=splits)

    def on(self, data: DataSet, held_out: HeldOut, data_seed: int) -> Session:
        """Return the session of a variant of its data set, with other labels, groups, test and val rows or their seed.

        The parts and their rows must be the same, so that the features are.
        """
        variant = replace(self, settings=self.settings.changed(data_seed=data_seed), data=data, held_out=held_out)
        variant.__dict__.update(memo=self.memo, _features=self._features)
        return variant

    def _copy(self, settings: Settings, *, without: tuple[str, ...] = (), **known: Any) -> Session:
        """Return a session of other settings that keeps what this one has loaded."""
        copied = replace(self, settings=settings)
        shared = ("_features", "_shown", "checked", "abandoned")
        for name in shared:
            getattr(self, name)  # made here, and shared from here on
        names = ("memo", "verdicts", "dataset", "splits", "splits_sha256", *shared)
        kept = {name: self.__dict__[name] for name in names if name in self.__dict__ and name not in without}
        copied.__dict__.update({**kept, **known})
        return copied


def leaving_out_unreadable(session: Session, work: Callable[[Session], Result]) -> Result:
    """Return what `work` returns, which is begun again without the images that turn out to be unreadable meanwhile.

    Each time there are more verdicts, so that this ends; what is finished is found in the cache, and entries that can
    never be completed are removed at the end.
    """
    while True:
        try:
            result = work(session)
            remove_abandoned(session.abandoned, session.settings.folders.cache)
            session.abandoned.clear()
            return result
        except FoundUnreadable:
            if session.data is not None:  # its rows are those of its features, all of which were read
                raise
            if not session.settings.data.strict:
                session.console.warn("some images turned out to be unreadable: loading the data set again without them")
            session = session.reloaded()
