"""Several taps in one pass, several views of one part: each an entry of its own, and heads that take them."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from probeline.cache.locks import ShardLocks
from probeline.cache.reading import missing_shards, read_rows, shard_record
from probeline.cache.writing import write_entry, write_shard
from probeline.cli import program as cli
from probeline.commands import compare, curve, explain, extract, show, verify
from probeline.evaluate.features import CachedFeatures
from probeline.evaluate.heads.exact import RIDGE
from probeline.evaluate.heads.neighbours import CENTROID
from probeline.evaluate.score import score_head
from probeline.files.decode import decode, encode
from probeline.heads.standardize import apply
from probeline.identity import seal, unseal
from probeline.results.score import Score
from probeline.session import Session
from probeline.types import Split
from small_runs import Listening, configuration, extracted, make_photos, shards, unreadable

pytestmark = pytest.mark.usefixtures("one_thread", "small_shards", "undrawn")

INNER, LAST = "features.3", "penultimate"
BOTH: dict[str, Any] = {"taps": (INNER, LAST)}


def test_one_pass_fills_the_entries_of_all_taps(tmp_path: Path) -> None:
    read: list[int] = []
    extracted(tmp_path / "together", watch=read.append, **BOTH)
    assert sorted(read) == list(range(60))
    for tap in BOTH["taps"]:
        extracted(tmp_path / "alone", taps=(tap,))
    # A net without BatchNorm, so nothing is folded: the same operations whatever is read.
    assert shards(tmp_path / "together") == shards(tmp_path / "alone")
    folders = {path.parent.parent.name for path in tmp_path.rglob("entry.json")}
    assert folders == {f"squeezenet1_1-{INNER}", f"squeezenet1_1-{LAST}"}


def test_only_what_is_missing_is_written(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    session = extracted(cache, **BOTH)
    whole = shards(cache)
    inner, last = (session.entry(tap, "all") for tap in session.every_tap("squeezenet1_1"))
    for entry, number in ((inner, 1), (inner, 2), (last, 2)):
        for path in (entry.shard_path(number), entry.shard_path(number).with_suffix(".json")):
            path.unlink()
    kept = {path: path.stat().st_mtime_ns for path in cache.rglob("shard-*")}
    read: list[int] = []
    extracted(cache, watch=read.append, **BOTH)
    assert sorted(read) == list(range(16, 48)), "shards 1 and 2, each once"
    told = [shard_record(inner, number).provenance["taps"] for number in range(4)]
    assert told == [[INNER, LAST], [INNER], [INNER, LAST], [INNER, LAST]]
    assert shards(cache) == whole
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_a_shard_that_another_has_in_hand_is_left_to_it_alone(tmp_path: Path) -> None:
    extracted(tmp_path / "alone", **BOTH)
    session = Session(configuration(tmp_path / "cache", **BOTH))
    inner, last = (session.entry(tap, "all") for tap in session.every_tap("squeezenet1_1"))
    write_entry(inner)
    with ShardLocks(inner, [0]) as other:
        assert other.lock(0)
        work = threading.Thread(target=extract.run, args=(session,))
        work.start()
        deadline = time.monotonic() + 60
        while missing_shards(last) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not missing_shards(last)
        assert missing_shards(inner)[0] == 0
        reference = Session(configuration(tmp_path / "alone", **BOTH))
        features = read_rows(reference.entry(reference.every_tap("squeezenet1_1")[0], "all"), np.arange(16))
        write_shard(inner, 0, features, {"seconds": 0.0})
        other.release(0)
        work.join(60)
    assert shards(tmp_path / "cache") == shards(tmp_path / "alone")


def task(session: Session, place: int = 0) -> CachedFeatures:
    return CachedFeatures(session, *session.taps("squeezenet1_1")[0][place])


def test_heads_take_each_tap_or_several_side_by_side(tmp_path: Path) -> None:
    taps = (INNER, LAST, f"{INNER}+{LAST}")
    session = extracted(tmp_path / "cache", taps=taps)
    inner, last, both = (task(session, place) for place in range(3))
    assert [one.tap for one in (inner, last, both)] == list(taps)
    joined = np.concatenate([inner.load_refit_fold().X, last.load_refit_fold().X], axis=1)
    assert np.array_equal(both.load_refit_fold().X, joined)
    keys = [one.request("probe").key for one in (inner, last, both)]
    assert len(set(keys)) == 3
    plain = Session(configuration(tmp_path / "cache"))
    assert keys[1] == CachedFeatures(plain, plain.backbone("squeezenet1_1")[0]).request("probe").key, (
        "as it was before there were taps"
    )
    assert inner.frozen_parameters < last.frozen_parameters == both.frozen_parameters

    found = [score_head(one, CENTROID) for one in (inner, both)]
    assert [(score.tap, score.views) for score in found] == [(INNER, 0), (f"{INNER}+{LAST}", 0)]
    assert decode(Score, encode(found[0])) == found[0]
    old = {name: value for name, value in encode(found[0]).items() if name not in ("tap", "views")}
    assert decode(Score, old).tap == LAST


def test_views_are_entries_of_the_train_part_alone(tmp_path: Path) -> None:
    make_photos(tmp_path / "photos" / "train")
    make_photos(tmp_path / "photos" / "test", seed=1)
    options: dict[str, Any] = {"dataset": f"folder:{tmp_path / 'photos'}", "limit": None}
    plain = shards(extracted(tmp_path / "plain", **options).settings.folders.cache)
    session = extracted(tmp_path / "cache", views=2, **options)
    seen = shards(tmp_path / "cache")
    assert plain.items() <= seen.items(), "what is not augmented is what it was, key and all"
    parts = sorted(path.parent.name[:-13] for path in (tmp_path / "cache").rglob("entry.json"))
    assert parts == ["test", "train", "train@view1", "train@view2"]
    (backbone,) = session.every_tap("squeezenet1_1")
    rows = [session.features(backbone, "train", view).features for view in session.views("train")]
    assert len({block.tobytes() for block in rows}) == 3


def test_neither_batches_nor_company_change_a_view(tmp_path: Path) -> None:
    read: list[int] = []
    once = extracted(tmp_path / "once", watch=read.append, views=1)
    assert len(read) == 120
    extracted(tmp_path / "alone", views=1, batch_size=1, workers=1)
    (backbone,) = once.every_tap("squeezenet1_1")
    view = once.views("all")[1]
    entry = once.entry(backbone, "all", view)
    rows = once.features(backbone, "all", view).features
    other = Session(configuration(tmp_path / "alone", views=1)).features(backbone, "all", view).features
    # Batches of 6 and 1 may sum in another order: float32 through 18 convolutions, relative to the largest value.
    assert np.abs(rows - other).max() <= 1e-5 * np.abs(rows).max()

    # A smaller data set's images are among these: its views are copied, not run.
    smaller = extracted(tmp_path / "once", watch=unreadable, views=1, limit=30)
    small = smaller.entry(backbone, "all", view)
    copied = smaller.features(backbone, "all", view).features
    places = [entry.content.index(content) for content in small.content]
    assert np.array_equal(copied, rows[places])


def test_heads_are_fitted_on_views_and_held_out_rows_come_plain(tmp_path: Path) -> None:
    session = extracted(tmp_path / "cache", views=2)
    plain = CachedFeatures(Session(configuration(tmp_path / "cache")), *session.every_tap("squeezenet1_1"))
    seen = task(session)
    splits = session.splits
    fitted = seen.load_test_fold()
    n = len(splits.train)
    assert len(fitted.X) == 3 * n
    assert np.array_equal(fitted.y, np.tile(fitted.y[:n], 3))
    assert np.array_equal(fitted.X[:n], apply(fitted.scaler, plain.load_raw(splits.train)))
    assert not np.array_equal(fitted.X[n : 2 * n], fitted.X[:n])
    assert np.array_equal(fitted.X_heldout, apply(fitted.scaler, plain.load_raw(splits.test)))
    # Folds: of an image that is held out no view is fitted on.
    every = np.sort(np.concatenate(splits.folds))
    for fold, held, without in zip(
        splits.folds, seen.load_selection_folds(), plain.load_selection_folds(), strict=True
    ):
        assert len(held.y_heldout) == len(fold) == len(without.y_heldout)
        rows = plain.load_raw(Split(splits.train.part, fold, "val"))
        assert np.array_equal(held.X_heldout, apply(held.scaler, rows))
        assert len(held.y) == 3 * (len(every) - len(fold))
    assert seen.request("probe").key != plain.request("probe").key
    score = score_head(seen, CENTROID)
    assert (score.views, score.n_train) == (2, n)


def test_the_verbs_cope_with_taps_and_views(tmp_path: Path) -> None:
    console = Listening()
    options: dict[str, Any] = {"taps": (f"{INNER}+{LAST}",), "views": 1, "console": console}
    cache = tmp_path / "cache"
    session = extracted(cache, **options)
    told = explain.run(Session(configuration(cache, **options)))
    assert [(one["tap"], one["part"], one["missing_shards"]) for one in told] == [
        (tap, part, 0) for tap in (INNER, LAST) for part in ("all", "all@view1")
    ]
    (row,) = show.run(Session(configuration(cache, words=("17",), **options)))
    assert [(one["tap"], one["view"]) for one in row["embeddings"]] == [
        (tap, view) for tap in (INNER, LAST) for view in (None, 1)
    ]
    found = verify.run(Session(configuration(cache, canary=2, **options)))
    assert [entry["joined"] for entry in found["entries"]] == [True] * 4
    asked = explain.run(Session(configuration(cache, **{**options, "taps": ("features.4",), "views": 0})))
    assert asked[0]["differences"].keys() == {"tap", "weights_sha256"}

    for taps in ((INNER,), (LAST,)):
        extracted(cache, taps=taps)
        score_head(task(Session(configuration(cache, taps=taps))), CENTROID)
    score_head(task(session), CENTROID)
    console.said.clear()
    compare.run(Session(configuration(cache, **options)))
    table = "\n".join(console.said)
    assert [line for line in table.splitlines() if line.startswith("squeezenet1_1")] == [
        "squeezenet1_1, untrained",
        f"squeezenet1_1, untrained, at {INNER}",
        f"squeezenet1_1, untrained, at {INNER}+{LAST}, 1 view",
    ]
    # What is not run is told of the tap and views that were asked for, training without them.
    assert f"k-NN of squeezenet1_1 at {INNER}+{LAST}: probeline baselines" in table
    assert "nearest centroid of" not in table
    (tuned,) = [line for line in table.splitlines() if line.startswith("Not run: full fine-tune")]
    assert "--tap" not in tuned
    assert "--views" not in tuned
    assert "several options" not in table


def test_heads_and_curves_have_all_they_read_meet_one_canary(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    console = Listening()
    options: dict[str, Any] = {"taps": (f"{INNER}+{LAST}",), "views": 1, "canary": 2, "console": console}
    extracted(cache, **options)
    for path in cache.rglob("shard-*.json"):  # as if another machine had written it
        record = unseal(path.read_bytes())
        assert record is not None
        record["provenance"]["machine"] = "elsewhere"
        path.write_bytes(seal(record))

    def met() -> list[str]:
        told = [line.split(":")[1].strip() for line in console.said if line.startswith("canary:")]
        console.said.clear()
        return told

    curve.run(Session(configuration(cache, fractions=(100.0,), shots=(0,), **options)))
    assert met() == [f"digits-limit60/all x squeezenet1_1 at {INNER}", "digits-limit60/all x squeezenet1_1"]
    # What passed is remembered: of what heads read, the views alone are left to be held.
    session = Session(configuration(cache, **options))
    score_head(task(session), CENTROID)
    assert met() == [f"digits-limit60/all@view1 x squeezenet1_1 at {INNER}", "digits-limit60/all@view1 x squeezenet1_1"]
    score_head(task(session), RIDGE)
    assert met() == []


def test_a_tap_that_is_none_is_told_before_any_image_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["extract", "--dataset", f"folder:{tmp_path / 'nowhere'}", "--cache", str(tmp_path / "cache")]
    net = ["--backbone", "squeezenet1_1", "--weights", "none", "--image-size", "32"]
    for tap, words in (("features.99", "unknown tap of squeezenet1_1"), ("a/b", "bad --tap")):
        assert cli.main([*base, *net, "--tap", tap]) == 2
        said = capsys.readouterr().err
        assert words in said
        assert said.count("\n") == 1
