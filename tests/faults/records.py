"""Records with a valid seal and values of anybody's: each is skipped by name, refused in a line, or used as it says."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import lzma
import random
import re
import shutil
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from faults import producer
from faults.children import sweep
from faults.figures import Figures, summed
from faults.mutations import mutated, sealed
from probeline.cache import exchange, reading
from probeline.cache.check import check_entry, set_aside_bad_files
from probeline.cache.entry import Entry
from probeline.cache.features import open_features
from probeline.cache.format import hdf5
from probeline.cache.lookup import key_differences, nearest_entry
from probeline.cache.prune import list_entries
from probeline.cache.reuse import facts_of_rows, find_known_rows
from probeline.commands import compare
from probeline.console import Silence
from probeline.data.verdicts import Verdicts
from probeline.environment import environment, origins
from probeline.errors import BadCache, OtherFormat, ProbelineError
from probeline.extraction.odd_pixels import describe_odd_pixels
from probeline.files.decode import decode
from probeline.finetuning import checkpoint_files
from probeline.identity import EXPORT_FORMAT_VERSION, digest, seal, unseal
from probeline.images import Decoding
from probeline.options.settings import Settings
from probeline.recipes import read as read_recipe
from probeline.report import figures
from probeline.report.folder import ReportFolder
from probeline.results.curve import CURVES
from probeline.results.findings import FINDINGS
from probeline.results.illustrations.embedding_map import MAPS, map_of
from probeline.results.illustrations.gallery import GALLERIES, GalleryRow, gallery_of
from probeline.results.illustrations.picture import PICTURES, errors_of
from probeline.results.latency import LATENCIES
from probeline.results.owner import FILE as OWNER
from probeline.results.owner import claim_folder
from probeline.results.range_test import RANGE_TESTS
from probeline.results.ranking import best_probe, rank_by_validation
from probeline.results.score import SCORES
from probeline.results.store import RecordKind
from probeline.session import Session

EARLIER = Path(__file__).parents[1] / "made_by_0_1_0"
"""Files of an earlier version: a report with records of every kind."""

KEPT = ("probe-seedless-1a09", "probe-sgd-seed0-4622", "gradual-seed0", "distill-head-seed0", "multi-task-head-seed0")
"""Scores whose kinds of members differ; more of them only take longer to draw."""

OTHERS: tuple[RecordKind[Any, ...], ...] = (CURVES, RANGE_TESTS, LATENCIES, PICTURES, GALLERIES, MAPS, FINDINGS)
SHEETS = (
    *("accuracy", "cost", "ladder", "by_class", "confusions", "calibration", "reliability", "path", "training"),
    *("learning", "range_tests", "embedding_map"),
)
DRAWN = 1
"""Figures of a report, chosen by chance: all of them take ten seconds."""

LIMIT = 300.0
"""Seconds after which a trial counts as hung: drawing takes some, longer while the machine is busy."""

_NO_NUMBER = re.compile(r"(?<![\w-])(?<!got )(nan|NaN|inf|-inf|Infinity|None(?! of ))(?![\w-])")
_REPORT = ("index.html", "report.md", "report.csv", "report.json")


class Said(Silence):
    """A console that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    def warn(self, line: str) -> None:
        self.say(line)


# Records of a report


@dataclass(frozen=True)
class Reported:
    """A report's folder, and its session."""

    session: Session
    said: Said

    @property
    def folder(self) -> Path:
        return self.session.reports

    def files(self, *kinds: RecordKind[Any, ...]) -> list[tuple[RecordKind[Any, ...], Path]]:
        """Return the files of some kinds, each with its kind."""
        patterns = [(kind, pattern) for kind in kinds for pattern in kind.patterns]
        return [(kind, path) for kind, pattern in patterns for path in sorted(self.folder.glob(pattern))]


@contextlib.contextmanager
def reported() -> Iterator[Reported]:
    """Yield a report with a few records of every kind, whose gallery, map and pictures are of its scores."""
    with producer.workplace() as place:
        shutil.copytree(EARLIER / "pictures", place / "pictures")
        name = "folder--pictures"
        shutil.copytree(EARLIER / "reports" / name, place / "reports" / name)
        said = Said()
        options = {"dataset": f"folder:{place / 'pictures'}", "backbones": ("timm:test_efficientnet",)}
        folders = {"cache": place / "cache", "reports": place / "reports"}
        packed = EARLIER / "net.safetensors.xz"
        (place / "net.safetensors").write_bytes(lzma.decompress(packed.read_bytes()))
        weights = {"weights": str(place / "net.safetensors"), "image_size": 32}
        session = Session(Settings.of(**options, **folders, **weights, console=said))
        for _, path in Reported(session, said).files(SCORES):
            if not path.name.startswith(KEPT):
                path.unlink()
        (session.reports / "report.json.xz").unlink(missing_ok=True)
        _belong_together(session)
        yield Reported(session, said)


def _belong_together(session: Session) -> None:
    """Make gallery, map and errors those of the scores that are left."""
    scores = SCORES.load(session.reports)[0]
    ranked, probe = rank_by_validation(scores), best_probe(scores)
    assert probe is not None
    rows = tuple(GalleryRow(row[0].key, row[0].method, row[0].method) for row in ranked)
    for gallery in GALLERIES.load(session.reports)[0]:
        images = []
        for image in gallery.images:
            predicted = (image.predicted * len(rows))[: len(rows)]
            wrong = sum(name != image.true for name in predicted)
            images.append(dataclasses.replace(image, predicted=predicted, wrong=wrong))
        made = {"of": gallery_of(ranked, probe), "rows": rows, "probe": [row.key for row in rows].index(probe.key)}
        GALLERIES.save(session.reports, dataclasses.replace(gallery, **made, images=tuple(images)))
    for shown in MAPS.load(session.reports)[0]:
        MAPS.save(session.reports, dataclasses.replace(shown, of=map_of(ranked[0][0], probe)))
    for picture in PICTURES.load(session.reports)[0]:
        if picture.kind == "mistakes":
            of = errors_of(ranked[0], session.dataset, session.splits)
            PICTURES.save(session.reports, dataclasses.replace(picture, of=of))


def run_scores(count: int, seed: int) -> Figures:
    """Mutate `count` scores, two at a time, and compare what is left of them."""
    return _run_reports("Forged scores, two of a report at a time", (SCORES,), 2, count, seed)


def run_reports(count: int, seed: int) -> Figures:
    """Mutate `count` records of all other kinds, one of each at a time, and compare."""
    return _run_reports(
        "Forged curves, range tests, latencies, pictures, galleries, maps, findings", OTHERS, 7, count, seed
    )


def _run_reports(name: str, kinds: tuple[RecordKind[Any, ...], ...], together: int, count: int, seed: int) -> Figures:
    complaints: list[str] = []
    read = compared = 0
    with reported() as report:
        originals = {path: path.read_bytes() for _, path in report.files(SCORES, *OTHERS)}
        trials = [(number, random.Random(f"{seed} {number}")) for number in range(-(-count // together))]

        def attempt(trial: tuple[int, random.Random]) -> str:
            number, chance = trial
            some = min(together, count - number * together)
            try:
                return _attempt_report(report, kinds, some, chance)
            finally:
                for path in {path for _, path in report.files(SCORES, *OTHERS)} - originals.keys():
                    path.unlink()
                for path, data in originals.items():
                    if not path.exists() or path.read_bytes() != data:
                        path.write_bytes(data)

        for trial, line in zip(trials, sweep(trials, attempt, limit=LIMIT), strict=True):
            some = min(together, count - trial[0] * together)
            if match := re.fullmatch(r"(\d+) read(, compared)?", line):
                read, compared = read + int(match[1]), compared + bool(match[2])
                complaints += [""] * some
            else:
                complaints += [line] + [""] * (some - 1)
    note = (
        f"{read:,} are records still, in {compared:,} reports that were rendered with {DRAWN} figures each; "
        f"{count - read:,} skipped by name; no number on a page is none"
    )
    return summed(name, complaints, note)


def _attempt_report(report: Reported, kinds: tuple[RecordKind[Any, ...], ...], some: int, chance: random.Random) -> str:
    files = report.files(*kinds)
    if len(kinds) > 1:
        by_kind = {kind.name: [pair for pair in files if pair[0] is kind] for kind in kinds}
        chosen = [chance.choice(pairs) for pairs in list(by_kind.values())[:some]]
    else:
        chosen = chance.sample(files, some)
    done: list[str] = []
    written: list[tuple[RecordKind[Any, ...], Path]] = []
    for kind, path in chosen:
        content = unseal(path.read_bytes())
        assert content is not None
        whole = chance.random() < 0.05
        values, what = mutated(content if whole else content[kind.name], chance)
        forged = values if whole else {**content, kind.name: values}
        done.append(f"{path.name}: {what}")
        with contextlib.suppress(Exception):  # where a reader would look for it
            own = kind.path_of(report.folder, decode(kind.record_class, forged[kind.name]))
            if own != path and own.parent.is_relative_to(report.folder):
                own.parent.mkdir(parents=True, exist_ok=True)
                path.unlink()
                path = own
        path.write_bytes(sealed(forged, chance))
        written.append((kind, path))
    try:
        return _read_all(report, written, chance)
    except Exception as error:
        kinds_named = f"{type(error).__name__}: {error!s:.200}"
        return f"{'; '.join(done)}: {kinds_named} {_place_of(error)}"


def _place_of(error: BaseException) -> str:
    trace = error.__traceback__
    places = []
    while trace is not None:
        places.append(f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}")
        trace = trace.tb_next
    return " < ".join(places[:-6:-1])


def _read_all(report: Reported, written: list[tuple[RecordKind[Any, ...], Path]], chance: random.Random) -> str:
    used = 0
    for kind in dict.fromkeys(kind for kind, _ in written):
        records, skipped = kind.load(report.folder)
        own = [path for other, path in written if other is kind]
        named = [file.path.with_suffix(".json") for file in skipped]
        if any("\n" in file.reason or not file.reason.isprintable() for file in skipped):
            return f"a reason that is no line of text: {skipped}"
        paths = {kind.path_of(report.folder, record) for record in records}
        if lost := [path for path in own if path not in named and path not in paths]:
            return f"neither used nor named: {lost}"
        used += sum(path in paths for path in own)
    if not used:
        return "0 read"
    before = len(report.said.lines)
    for name in _REPORT:
        (report.folder / name).unlink(missing_ok=True)
    shutil.rmtree(report.folder / "figures", ignore_errors=True)
    shown = chance.sample(SHEETS, DRAWN)
    with contextlib.ExitStack() as patched, warnings.catch_warnings():
        warnings.simplefilter("error")  # of a number that is none
        for name in SHEETS:
            if name not in shown:
                patched.enter_context(mock.patch.object(figures, name, return_value=None))
        try:
            compare.run(report.session)
        except ProbelineError as error:
            return f"the report is refused: {error}"
    said = "\n".join(line for line in report.said.lines[before:] if "left out" not in line)
    texts = {name: (report.folder / name).read_text(encoding="utf-8") for name in _REPORT}
    for name, text in {"the terminal": said, **texts}.items():
        if match := _NO_NUMBER.search(text):
            return f"a number that is none in {name}: {text[max(0, match.start() - 80) : match.end() + 20]!r}"
    return f"{used} read, compared"


# Records of a cache


def run_cache(count: int, seed: int) -> Figures:
    """Mutate `count` records of entries, shards and exported files; audit, repair and extract again."""
    trials = [(number, random.Random(f"{seed} {number}")) for number in range(count)]
    with producer.workplace() as place:
        entry = producer.make_entry(place / "cache", 2)
        producer.extract(entry)
        files = producer.files(entry)
        _add_origins(entry, files)

        def attempt(trial: tuple[int, random.Random]) -> str:
            number, chance = trial
            try:
                if number % 3 == 2:
                    return _attempt_import(place, entry, chance)
                return _attempt_entry(entry, files, "entry.json" if number % 3 else "shard-00001.json", chance)
            except Exception as error:
                return f"{type(error).__name__}: {error!s:.200} {_place_of(error)}"
            finally:
                shutil.rmtree(entry.folder, ignore_errors=True)
                entry.folder.mkdir(parents=True)
                for name, data in files.items():
                    (entry.folder / name).write_bytes(data)

        results = sweep(trials, attempt, limit=60)
    complaints = ["" if line in ("used", "refused") else line for line in results]
    note = (
        f"entry.json, a shard's record, the manifest of an exported file: {results.count('used'):,} used as they say, "
        f"{results.count('refused'):,} refused in a line that names the file; after a repair the next run leaves the "
        "bytes of an undisturbed one"
    )
    return summed("Forged records of a cache, and manifests", complaints, note)


def _add_origins(entry: Entry, files: dict[str, bytes]) -> None:
    """Give a shard's record the members that copying and odd images give it."""
    record = unseal(files["shard-00001.json"])
    assert record is not None
    here = dict(environment())
    more = {"origins": [here, {**here, "driver": None, "imported": True}], "copied_rows": 2, "copied_from": ["0" * 64]}
    record["provenance"] |= {**more, "taps": ["penultimate"], "row_facts": {"0": {"one_colour": True, "grey_max": 9}}}
    files["shard-00001.json"] = seal(record)
    (entry.folder / "shard-00001.json").write_bytes(files["shard-00001.json"])


def _attempt_entry(entry: Entry, files: dict[str, bytes], name: str, chance: random.Random) -> str:
    content = unseal(files[name])
    values, what = mutated(content, chance)
    path = entry.folder / name
    path.write_bytes(sealed(values, chance))
    complaints = []
    for title, read in _readers(entry):
        try:
            read()
        except ProbelineError as error:
            if "\n" in str(error):
                complaints.append(f"{title}: more than a line")
        except Exception as error:
            complaints.append(f"{title}: {type(error).__name__}: {error!s:.100} {_place_of(error)}")
    if complaints:
        return f"{what}: {complaints[0]}"
    for expected in (entry, None):
        checked = check_entry(entry.folder, expected)
        named = name if expected else str(entry.folder)  # without knowing better, a record of other shards is believed
        if any(named not in problem.message for problem in checked.problems):
            return f"{what}: an audit names {checked.problems}"
    checked = check_entry(entry.folder, entry)
    try:
        reading.verify_entry(entry)
        if checked.problems:
            return f"{what}: verified, where an audit finds {checked.problems}"
        return "used"
    except ProbelineError as error:
        if name not in str(error):
            return f"{what}: another file is named: {error}"
        if isinstance(error, OtherFormat):  # nothing that a repair may change
            return "refused"
    if checked.entry is None:  # of another format, which no repair may touch
        return "refused"
    if not checked.problems:
        return f"{what}: refused, where an audit finds nothing"
    set_aside_bad_files(checked)
    expected_files = {**files, **({} if name == "entry.json" else {name: producer.clean(2)[name]})}
    complaint = producer.resumed(entry, expected_files)
    return f"{what}: {complaint}" if complaint else "refused"


def _readers(entry: Entry) -> list[tuple[str, Callable[[], object]]]:
    """Return all that reads the records of an entry, by name."""
    cache = entry.folder.parents[2]
    other = dataclasses.replace(entry, folder=entry.folder.with_name("all-" + "0" * 12), part="other")

    def compare_keys() -> None:
        cached = list(reading.open_entries([entry.folder], lambda line: None))
        nearest = nearest_entry(other, cached)
        if nearest is not None:
            assert all(map(str.isprintable, key_differences(other, nearest)))
            _ = nearest.title, nearest.view, nearest.shards, nearest.images

    def conditions() -> None:
        for number in range(len(entry.shards)):
            record = reading.shard_record(entry, number)
            assert all(isinstance(origin, dict) for origin in origins(record.provenance))
            facts_of_rows(record.provenance)

    def reuse() -> None:
        known = find_known_rows(other, [0, 1], cache, say=lambda line: None)
        rows = other.shards[0]
        features = np.zeros((len(rows), entry.dim), np.float32)
        facts = known.copy_into(features, rows, {**environment(), "seconds": 0.0})
        seal(facts)

    return [
        ("features", lambda: reading.read_features(entry)),
        ("rows", lambda: open_features(entry.folder).numpy()),
        ("provenance", lambda: open_features(entry.folder).provenance),
        ("missing", lambda: reading.missing_shards(entry)),
        ("explain", compare_keys),
        ("canary", conditions),
        ("odd images", lambda: describe_odd_pixels(entry, Decoding())),
        ("reuse", reuse),
        ("list", lambda: [one.line(cache) for one in list_entries(cache)]),
    ]


def _attempt_import(place: Path, entry: Entry, chance: random.Random) -> str:
    """Import a file whose manifest was mutated: refused before anything is written, or as sound as any entry."""
    stored = reading.read_features(entry)
    hashes = [hashlib.sha256(stored.features[r.start : r.stop].tobytes()).hexdigest() for r in entry.shards]
    shards = [{"features_sha256": one, "provenance": how} for one, how in zip(hashes, stored.provenance, strict=True)]
    values, what = mutated({"format": EXPORT_FORMAT_VERSION, "entry": entry.listed_record(), "shards": shards}, chance)
    data = hdf5.encode_export(entry.tap, stored.features, entry.sample_ids, entry.content, sealed(values, chance))
    file, cache = place / "sent.h5", place / "imported"
    file.write_bytes(data)
    shutil.rmtree(cache, ignore_errors=True)
    with mock.patch.object(exchange, "ROWS_PER_SHARD", producer.ROWS):
        try:
            sent, _ = exchange.import_entry(file, cache, hashlib.sha256(data).hexdigest())
        except BadCache as error:
            if cache.exists():
                return f"{what}: refused, and something was written: {error}"
            return "refused" if str(file) in str(error) or "names no folder" in str(error) else f"unnamed: {error}"
    for title, read in _readers(sent):
        try:
            read()
        except Exception as error:
            return f"{what}: imported, then {title}: {type(error).__name__}: {error!s:.100} {_place_of(error)}"
    return f"{what}: imported with {problems}" if (problems := check_entry(sent.folder).problems) else "used"


# Other files


def run_files(count: int, seed: int) -> Figures:
    """Mutate `count` notes of owners, verdicts on images, records of checkpoints and of reports, and recipes."""
    trials = [(number, random.Random(f"{seed} {number}")) for number in range(count)]
    with producer.workplace() as place:

        def attempt(trial: tuple[int, random.Random]) -> str:
            number, chance = trial
            name, values, read = _FILES[number % len(_FILES)]
            forged, what = mutated(values, chance)
            try:
                read(place, forged, chance)
            except ProbelineError as error:
                return "used" if "\n" not in str(error) else f"{name}: {what}: more than a line"
            except Exception as error:
                return f"{name}: {what}: {type(error).__name__}: {error!s:.200} {_place_of(error)}"
            return "used"

        results = sweep(trials, attempt, limit=30)
    complaints = ["" if line == "used" else line for line in results]
    names = ", ".join(name for name, _, _ in _FILES)
    return summed(
        "Forged notes, lists and recipes", complaints, f"{names}: used, taken for missing, or refused in a line"
    )


def _read_owner(place: Path, values: Any, chance: random.Random) -> None:
    folder = place / "report"
    folder.mkdir(exist_ok=True)
    (folder / OWNER).write_bytes(sealed(values, chance))
    assert claim_folder(folder, place, read_only=True).parent == place


def _read_verdicts(place: Path, values: Any, chance: random.Random) -> None:
    path = place / "verdicts"
    fresh = Verdicts(None)
    if isinstance(values, dict) and values.get("decoder") == "now":
        values = {**values, "decoder": fresh._decoder}
    path.write_bytes(sealed(values, chance))
    verdicts = Verdicts(path)
    assert all(re.fullmatch("[0-9a-f]{64}", content) for content in verdicts.known())
    assert all(isinstance(verdicts.reason(content), str) for content in verdicts.known())
    verdicts.add("1" * 64, "a reason")
    verdicts.save()


def _read_checkpoint(place: Path, values: Any, chance: random.Random) -> None:
    (place / "last.safetensors").write_bytes(b"tensors")
    (place / "last.json").write_bytes(sealed(values, chance))
    if (found := checkpoint_files.read(place, "last")) is not None:
        history = found[1].get("history", [])
        assert [epoch["epoch"] for epoch in history] == list(range(1, len(history) + 1))
        assert all(isinstance(epoch["val_top1"] - epoch["val_loss"], float) for epoch in history)


def _read_report(place: Path, values: Any, chance: random.Random) -> None:
    with contextlib.suppress(ValueError, TypeError):  # a number that has no digest makes a report that is corrupt
        values = {**values, "sha256": digest(values)}
    (place / "report.json").write_bytes(chance.choice([json.dumps(values).encode(), sealed({"x": values}, chance)]))
    folder = ReportFolder(place)
    for name, sha256 in folder.previous().files.items():
        assert (place / name).resolve().is_relative_to(place.resolve())
        folder.has(name, sha256)
    folder.remove_stale(())


def _read_recipe(place: Path, values: Any, chance: random.Random) -> None:
    path = place / "own.toml"
    path.write_text(_toml(values), encoding="utf-8", errors="surrogatepass")
    recipe = read_recipe(str(path))
    assert all(0 <= one.top1 <= 1 for one in recipe.published)


def _toml(values: Any) -> str:
    """Return values as a TOML text, as far as TOML has them."""
    if not isinstance(values, dict):
        return f"x = {_toml_value(values)}\n"
    return "".join(f"{_toml_value(str(name))} = {_toml_value(value)}\n" for name, value in values.items())


def _toml_value(value: Any) -> str:
    match value:
        case dict():
            return (
                "{" + ", ".join(f"{_toml_value(str(key))} = {_toml_value(item)}" for key, item in value.items()) + "}"
            )
        case list():
            return "[" + ", ".join(map(_toml_value, value)) + "]"
        case None:
            return "1979-05-27"
        case _:
            return json.dumps(value).replace("NaN", "nan").replace("Infinity", "inf")


_EPOCH = {"epoch": 1, "parts": 1, "val_loss": 0.5, "val_top1": 0.5, "seconds": 0.5, "train_loss": 1.0, "stages": 2}
_FILES: tuple[tuple[str, Any, Callable[[Path, Any, random.Random], None]], ...] = (
    ("the note of an owner", {"place": "/nowhere", "real": "/nowhere"}, _read_owner),
    (
        "unreadable images",
        {
            "format": "probeline unreadable images",
            "decoder": "now",
            "unreadable": {"0" * 64: "broken", "a" * 64: "cut"},
        },
        _read_verdicts,
    ),
    (
        "a checkpoint's record",
        {
            "key": "a" * 64,
            "tensors_sha256": hashlib.sha256(b"tensors").hexdigest(),
            "history": [_EPOCH, {**_EPOCH, "epoch": 2}],
            "scaler": {"scale": 1.0},
        },
        _read_checkpoint,
    ),
    (
        "report.json",
        {"key": "k", "version": 1, "files": {"report.md": "0" * 64, "figures/cost.png": "a" * 64}, "verdict": ["x"]},
        _read_report,
    ),
    (
        "a recipe",
        {
            "title": "t",
            "source": "s",
            "options": {"dataset": "digits", "backbones": ["alexnet"], "epochs": 3, "lr": 0.1, "fractions": [5.0, 100]},
            "steps": [{"verbs": ["probe"], "views": 2}],
            "published": [{"backbone": "alexnet", "method": "probe", "top1": 0.5, "portion": 10, "trainable": 5}],
            "differences": ["other images"],
        },
        _read_recipe,
    ),
)
