"""The records that a board shows: those of all reports in a folder that were made under the same conditions."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from probeline.errors import BadOption, UnknownName
from probeline.evaluate.current_scores import newest_runs, of_present_version
from probeline.format import listing, plural
from probeline.names import TOP1, Method
from probeline.options.settings import Settings, Step
from probeline.report.board.entries import BoardData, Entry, Net, net_titles
from probeline.report.model.rows import blocks
from probeline.report.records.row_commands import is_as_requested
from probeline.results.latency import LATENCIES, Latency
from probeline.results.owner import ORIGINS, Origin
from probeline.results.quality.features import QUALITIES, FeatureQuality
from probeline.results.score import SCORES, Score
from probeline.text import shell_word

SCORES_FOLDER = "scores"
"""What tells the folder of a data set's report from others."""

_VARIANT = re.compile(r"(-limit\d+(-dataseed\d+)?)?(--labels-[0-9a-f]{8})?(--groups-[0-9a-f]{8})?")
"""What follows the name of a data set of which a part is used, or with other labels or groups."""

_CONFLICT = re.compile(r"-[0-9a-f]{8}")


@dataclass(frozen=True)
class BoardRecords:
    """The rows of a board, and what is left out of it."""

    entries: tuple[Entry, ...] = ()
    latencies: tuple[Latency, ...] = ()
    origins: tuple[tuple[BoardData, Origin], ...] = ()
    """Where the images of a data set are from, as far as it is known."""
    qualities: tuple[tuple[BoardData, FeatureQuality], ...] = ()
    """Of the features of the very rows that are shown."""
    left_out: tuple[str, ...] = ()
    """Records that are left out, one line for each reason."""
    overlapping: tuple[tuple[str, ...], ...] = ()
    """Names of data sets that share images and were all asked for."""


@dataclass
class _Reasons:
    """Counts why records are left out."""

    lines: list[str] = field(default_factory=list)

    def keep(self, name: str, scores: Iterable[Score], reason_for: Callable[[Score], str | None]) -> list[Score]:
        """Return the scores that have no reason to be left out."""
        reasons = [(score, reason_for(score)) for score in scores]
        for reason, count in Counter(reason for _, reason in reasons if reason is not None).items():
            self.lines.append(f"{name}: {plural(count, 'score')} {reason}")
        return [score for score, reason in reasons if reason is None]


def load_records(settings: Settings, steps: Sequence[Step] = ()) -> BoardRecords:
    """Return the records of the reports in a folder that a board of these settings shows; no data set is loaded.

    The settings say the folder, of which reports (by the words after the verb), and the conditions: precision, image
    size, taps, views, the metric that selects, and one method or all. With the steps of a recipe only its data sets and
    nets are shown.

    Raises
    ------
    UnknownName
        There is no report of that name.
    BadOption
        Words and a recipe.
    """
    reasons = _Reasons()
    names = _report_names(settings, steps)
    if not steps and not settings.words:
        reasons.lines += [f"{name}: its scores are of several labels or of numbers" for name in _others(settings)]
    loaded = [found for name in names if (found := _load_one(settings, steps, name, reasons)) is not None]
    shown, overlapping = _without_overlaps(loaded, reasons) if not settings.words else (loaded, _overlapping(loaded))
    entries = _of_one_size([entry for one in shown for entry in one.entries], reasons)
    return BoardRecords(
        entries=tuple(entries),
        latencies=tuple(latency for one in shown for latency in one.latencies),
        qualities=tuple((one.data, quality) for one in shown for quality in one.qualities),
        origins=tuple((one.data, one.origin) for one in shown if one.origin is not None),
        left_out=tuple(reasons.lines),
        overlapping=tuple(overlapping),
    )


@dataclass(frozen=True)
class _Loaded:
    """What one report has for a board."""

    data: BoardData
    entries: tuple[Entry, ...]
    latencies: tuple[Latency, ...]
    qualities: tuple[FeatureQuality, ...]
    origin: Origin | None

    @property
    def nets(self) -> int:
        return len({entry.net for entry in self.entries})


def _report_names(settings: Settings, steps: Sequence[Step]) -> list[str]:
    folder = settings.folders.reports
    known = sorted(path.parent.name for path in folder.glob(f"*/{SCORES_FOLDER}"))
    if settings.words and steps:
        raise BadOption("a recipe says which data sets", got=" ".join(settings.words), expected="no names after board")
    for word in settings.words:
        if word not in known:
            raise UnknownName(f"report with scores in {folder}", word, known)
    return list(dict.fromkeys(settings.words)) or known


def _others(settings: Settings) -> list[str]:
    """Return the names of reports that have scores of several labels or of numbers alone."""
    folder = settings.folders.reports
    targets = {path.parent.name for path in folder.glob("*/targets")}
    return sorted(targets - {path.parent.name for path in folder.glob(f"*/{SCORES_FOLDER}")})


def _load_one(settings: Settings, steps: Sequence[Step], name: str, reasons: _Reasons) -> _Loaded | None:
    """Return what one report has; None without any score that is shown."""
    folder = settings.folders.reports / name
    origins, _ = ORIGINS.load(folder)
    requested = {
        origin.splits for origin in origins for step, _ in steps if Origin.of(origin.splits, step.data) == origin
    }
    if steps and not requested:
        return None
    saved, skipped = SCORES.load(folder)
    reasons.lines += [f"{name}: {file.path.relative_to(folder)} {file.reason}" for file in skipped]
    scores = [score for score in saved if _is_of(name, score.dataset)]
    if len(scores) < len(saved):
        reasons.lines.append(f"{name}: {plural(len(saved) - len(scores), 'score')} of another data set")
    current = {score.key for score in of_present_version(scores)}
    scores = reasons.keep(name, scores, lambda score: _why_not(score, settings, steps, is_current=score.key in current))
    scores = _of_one_division(name, folder, scores, requested, reasons)
    if not scores:
        return None
    data = BoardData.of(name, scores, has_page=(folder / "index.html").is_file())
    entries = [
        Entry(data, Net.of(own[0]), row, own)
        for block in blocks(newest_runs(folder, scores))
        for row, own in zip(block.rows, block.scores, strict=True)
    ]
    latencies = [one for one in LATENCIES.load(folder)[0] if one.precision == settings.nets.precision]
    qualities = [one for one in QUALITIES.load(folder)[0] if one.rows == data.splits]
    origin = next((origin for origin in origins if origin.splits == data.splits), None)
    return _Loaded(data, tuple(entries), tuple(latencies), tuple(qualities), origin)


def _is_of(name: str, dataset: str) -> bool:
    """Return whether a report's folder is one of a data set: called like it, or as another of the same name is."""
    return name == dataset or (name.startswith(dataset) and _CONFLICT.fullmatch(name[len(dataset) :]) is not None)


def _why_not(score: Score, settings: Settings, steps: Sequence[Step], *, is_current: bool) -> str | None:
    """Return why a score is not shown; None if it is."""
    metric, method = score.options.get("select_by", TOP1), settings.export.method
    if not is_current:
        return "of an earlier version of their method"
    if score.method in (Method.SCRATCH, Method.ADDED):
        return "without pretrained weights"
    if steps and not any(_is_requested(step, score) for step, _ in steps):
        return "of other backbones or conditions than the recipe's"
    if score.precision != settings.nets.precision:
        return f"in {score.precision}, shown with --precision {shell_word(score.precision)}"
    if settings.nets.image_size not in (None, score.image_size):
        return f"at {score.image_size} px, shown with --image-size {score.image_size}"
    if score.tap not in settings.reading.taps:
        return f"at the tap {score.tap}, shown with --tap {shell_word(score.tap)}"
    if score.views != settings.reading.views:
        return f"with {plural(score.views, 'view')}, shown with --views {score.views}"
    if metric != settings.fitting.metric:
        return f"selected by {metric}, shown with --metric {shell_word(metric)}"
    return None if method in (None, score.method) else f"of another method than {method}"


def _is_requested(settings: Settings, score: Score) -> bool:
    return any(spec.name == score.backbone for spec in settings.nets.specs) and is_as_requested(settings, score)


def _of_one_division(
    name: str, folder: Path, scores: Sequence[Score], requested: set[str], reasons: _Reasons
) -> list[Score]:
    """Return the scores of one division of the images: the requested one, or that of the most nets, then the newest.

    Two divisions of one data set are no two data sets, and accuracies on other images are not comparable.
    """
    divisions: dict[tuple[str, tuple[str, ...]], list[Score]] = defaultdict(list)
    for score in scores:
        divisions[score.splits, score.class_names].append(score)
    if not divisions:
        return []

    def merit(division: tuple[str, tuple[str, ...]]) -> tuple[bool, int, int]:
        own = divisions[division]
        newest = max(SCORES.path_of(folder, score).stat().st_mtime_ns for score in own)
        return division[0] in requested, len({Net.of(score) for score in own}), newest

    shown = max(divisions, key=merit)
    labels = Counter(score.labels for score in divisions[shown]).most_common(1)[0][0]
    others = "of other splits or labels; those of the most backbones, then the newest, are shown"
    kept = reasons.keep(name, scores, lambda score: None if (score.splits, score.class_names) == shown else others)
    return reasons.keep(name, kept, lambda score: None if score.labels == labels else "with other test labels")


def _base(name: str) -> str:
    """Return the name of a data set of which a report shows a part, or with other labels."""
    for i in range(1, len(name)):
        if _VARIANT.fullmatch(name, i):
            return name[:i]
    return name


def _overlapping(loaded: Sequence[_Loaded]) -> list[tuple[str, ...]]:
    """Return the names of reports on the same images, for each data set that has several."""
    groups: dict[str, list[str]] = defaultdict(list)
    for one in loaded:
        groups[_base(one.data.name)].append(one.data.name)
    return [tuple(names) for names in groups.values() if len(names) > 1]


def _without_overlaps(loaded: Sequence[_Loaded], reasons: _Reasons) -> tuple[list[_Loaded], list[tuple[str, ...]]]:
    """Return one report of each data set: the one with the most nets, then with the most test images."""
    best: dict[str, _Loaded] = {}
    for one in sorted(loaded, key=lambda one: (-one.nets, -one.data.n_test, one.data.name)):
        kept = best.setdefault(_base(one.data.name), one)
        if kept is not one:
            name = one.data.name
            reasons.lines.append(
                f"{name}: it shares images with {kept.data.name}; probeline board {shell_word(name)} ... shows it"
            )
    names = {one.data.name for one in best.values()}
    return [one for one in loaded if one.data.name in names], []


def _of_one_size(entries: Sequence[Entry], reasons: _Reasons) -> list[Entry]:
    """Return the entries of each net at one image size: that of the most data sets, then the largest."""
    sizes: dict[tuple[str, str], dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    for entry in entries:
        sizes[entry.net.backbone, entry.net.weights][entry.net.image_size].add(entry.data.name)
    shown = {net: max(own, key=lambda size: (len(own[size]), size)) for net, own in sizes.items()}
    kept = [entry for entry in entries if shown[entry.net.backbone, entry.net.weights] == entry.net.image_size]
    titles = net_titles({entry.net for entry in entries})
    others: dict[Net, set[str]] = defaultdict(set)
    for entry in entries:
        if shown[entry.net.backbone, entry.net.weights] != entry.net.image_size:
            others[entry.net].add(entry.data.name)
    for net, names in sorted(others.items()):
        where = f"{titles[net]} on {listing(sorted(names))}"
        reasons.lines.append(f"{where}: shown at another size; --image-size {net.image_size} shows this one")
    return kept
