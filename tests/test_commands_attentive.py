"""The attentive probe from the command line to the report: fitted on cached tokens beside heads on vectors."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import probeline
from probeline.commands import baselines, compare, export, plan, probe
from probeline.errors import BadOption
from probeline.evaluate.by_crew import pieces_by_tap
from probeline.evaluate.heads.attentive import PROBE_ATTENTIVE
from probeline.evaluate.heads.exact import PROBE
from probeline.evaluate.score import score_head
from probeline.evaluate.tokens import CachedTokens, cached_rows, taps_read
from probeline.heads.minibatch.attentive import AttentiveSettings, attentive_decision, fit_attentive
from probeline.heads.minibatch.tokens import ArrayTokens, LabelledTokens
from probeline.options.checks import check_settings
from probeline.results.score import SCORES
from probeline.session import Session
from small_runs import Listening, configuration, extracted, unreadable, watch_images

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread", "small_shards", "undrawn")]

VIT, BLOCK = "timm:test_vit", "blocks.2"
TOKENS = f"{BLOCK}:tokens"
TAPS = (TOKENS, f"{BLOCK}:mean", f"{BLOCK}:cls")
GRID = ("lr=1e-3,1e-2", "queries=4", "epochs=3", "batch_size=16")
BASE: dict[str, Any] = {"backbones": (VIT,), "taps": TAPS, "attentive": GRID, "sgd": ("lr=1e-3", "epochs=1")}


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    extracted(tmp_path / "cache", **BASE)
    return tmp_path / "cache"


def opened(cache: Path, **options: Any) -> Session:
    session = Session(dataclasses.replace(configuration(cache, **{**BASE, **options}), console=Listening()))
    check_settings(session.settings)
    return watch_images(session, unreadable)


def tokens_of(session: Session) -> CachedTokens:
    found = cached_rows(session, *session.taps(VIT)[0][0])
    assert isinstance(found, CachedTokens)
    return found


def saved(session: Session, method: str = "probe-attentive") -> list[Any]:
    return [score for score in SCORES.load(session.reports)[0] if score.method == method]


def test_tokens_have_an_attentive_row_beside_the_probes_of_mean_and_cls(cache: Path) -> None:
    session = opened(cache, seeds=2)
    found = probe.run(session)
    rows = {(row["tap"], row["method"], row["seed"]) for row in found}
    vectors = {(tap, method, None) for tap in TAPS[1:] for method in ("probe", "probe-refit")}
    vectors |= {(tap, "probe-sgd", seed) for tap in TAPS[1:] for seed in (0, 1)}
    assert rows == vectors | {(TOKENS, "probe-attentive", seed) for seed in (0, 1)}
    first, second = sorted(saved(session), key=lambda score: score.seed or 0)
    assert first.options == second.options
    assert first.options["queries"] == [4]
    assert set(first.chosen) == {"lr"}
    assert len(first.path) == 2
    assert len(first.history) == 3
    assert {"train_loss", "val_loss", "val_top1"} <= set(first.history[0])
    assert first.chosen_by.startswith("5-fold")
    # Queries, values, norm, and a linear layer of 10 classes.
    assert first.trainable == 4 * 64 + 64 * 64 + 2 * 64 + 10 * 64 + 10
    assert first.total > first.trainable
    before = saved(session)
    again = opened(cache, seeds=2)
    probe.run(again)
    assert any("probe-attentive: digits" in line and "already scored, skipped" in line for line in said(again))
    assert saved(again) == before

    left = baselines.run(opened(cache))
    assert {row["tap"] for row in left} == set(TAPS[1:])
    report = compare.run(opened(cache, seeds=2))
    text = Path(report["report"] if "report" in report else report["markdown"]).read_text(encoding="utf-8")
    assert "attentive probe" in text
    assert f"at {TOKENS}" in text or TOKENS in text


def said(session: Session) -> list[str]:
    console = session.console
    assert isinstance(console, Listening)
    return console.said


def test_the_same_scores_again_from_nothing(cache: Path) -> None:
    session = opened(cache, taps=(TOKENS,))
    probe.run(session)
    (first,) = saved(session)
    SCORES.path_of(session.reports, first).unlink()
    probe.run(opened(cache, taps=(TOKENS,)))
    (second,) = saved(session)
    assert (second.predictions, second.path, second.nll) == (first.predictions, first.path, first.nll)


def test_streamed_shards_give_what_an_array_in_memory_gives(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = opened(cache)
    fold = tokens_of(session).load_selection_folds()[0]
    rows = np.asarray(probeline.open_features(tokens_of(session).entries()[0].folder))
    part = session.dataset.parts["all"]
    train = np.sort(np.concatenate([session.splits.train.rows]))
    whole = ArrayTokens(rows[train], tuple(fold.X.pieces))
    assert np.array_equal(fold.X.read(np.arange(len(train))), whole.array)
    assert np.array_equal(fold.y, part.labels[train])
    settings = [AttentiveSettings(lr=1e-2, queries=4)]

    def fitted(X: Any) -> Any:
        return fit_attentive(LabelledTokens(X, fold.y), 10, settings, scaler=fold.scaler, epochs=2, batch_size=7)[0]

    # A window of less than two shards, and a reader that keeps it and one more shard of 16 rows.
    row_bytes = whole.array[0].nbytes
    monkeypatch.setattr("probeline.heads.minibatch.tokens.WINDOW_BYTES", 20 * row_bytes)
    streamed = tokens_of(session)
    own = streamed.load_selection_folds()[0]
    found, expected = fitted(own.X), fitted(whole)
    for name in ("query", "value", "weight", "bias"):
        assert np.array_equal(getattr(found, name), getattr(expected, name))
    kept = [features._shards._snapshot[1] for features in streamed._entries.values()]
    assert max(sum(block.nbytes for block in blocks.values()) for blocks in kept) <= 36 * row_bytes < rows.nbytes
    test = streamed.load_test(own)
    logits = attentive_decision([found], test)[0]
    held = ArrayTokens(rows[session.splits.test.rows])
    assert np.array_equal(logits, attentive_decision([expected], held)[0])


def test_views_are_read_after_the_images_as_they_are(tmp_path: Path) -> None:
    options = {**BASE, "views": 2, "taps": (TOKENS,)}
    extracted(tmp_path / "cache", **options)
    session = Session(configuration(tmp_path / "cache", **options))
    cached = tokens_of(session)
    fold = cached.load_selection_folds()[0]
    train = session.splits.train.rows
    assert fold.X.shape[0] == 3 * len(train)
    entries = [session.entry(cached.backbone, "all", view) for view in session.views("all")]
    stored = [np.asarray(probeline.open_features(entry.folder))[train] for entry in entries]
    order = np.random.default_rng(0).permutation(3 * len(train))
    assert np.array_equal(fold.X.read(order), np.concatenate(stored)[order])
    assert fold.X_heldout.shape[0] == len(session.splits.val)
    score = score_head(cached, PROBE_ATTENTIVE, 0)
    assert (score.views, score.tap) == (2, TOKENS)


def test_a_damaged_shard_stops_the_fit(cache: Path) -> None:
    session = opened(cache, taps=(TOKENS,))
    path = session.entry(session.every_tap(VIT)[0], "all").shard_path(1)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(probeline.errors.BadCache, match="a shard is corrupt"):
        probe.run(session)


def test_attentive_and_tokens_want_each_other(cache: Path) -> None:
    with pytest.raises(BadOption, match=r"--attentive without tokens \(expected --tap MODULE:tokens"):
        opened(cache, taps=("penultimate",))
    with pytest.raises(BadOption, match=r"tokens and no vectors: blocks\.2:tokens.*--attentive"):
        probe.run(opened(cache, attentive=()))
    assert not saved(opened(cache), "probe"), "nothing is fitted before it is refused"
    with pytest.raises(BadOption, match="tokens and no vectors"):
        baselines.run(opened(cache, taps=(TOKENS,)))
    with pytest.raises(BadOption, match="bad --attentive queries"):
        opened(cache, attentive=("queries=0",))
    with pytest.raises(BadOption, match=r"bad --attentive.*5 heads do not divide the 64 channels"):
        probe.run(opened(cache, taps=(TOKENS,), attentive=("heads=5", *GRID)))
    session = opened(cache)
    vectors, tokens = (cached_rows(session, *session.taps(VIT)[0][place]) for place in (1, 0))
    with pytest.raises(BadOption, match=r"probe-attentive reads tokens: --tap blocks\.2:mean"):
        score_head(vectors, PROBE_ATTENTIVE, 0)
    with pytest.raises(BadOption, match="tokens and no vectors"):
        score_head(tokens, PROBE)


def test_an_attentive_row_is_not_exported(cache: Path) -> None:
    probe.run(opened(cache, taps=(TOKENS,)))
    with pytest.raises(BadOption, match=r"probe-attentive cannot be exported: blocks\.2:tokens.*--method"):
        export.run(opened(cache, taps=(TOKENS,), method="probe-attentive"))
    assert not list(cache.parent.rglob("artifact.json"))


def test_a_dry_run_and_the_report_name_the_row_that_is_missing(cache: Path) -> None:
    planned = plan.run(opened(cache), ("extract", "probe", "baselines"))
    of_tokens = [row["title"] for row in planned["rows"] if TOKENS in row["title"]]
    assert of_tokens == [f"attentive probe of {VIT} at {TOKENS}, seed 0"]
    probe.run(opened(cache))
    again = plan.run(opened(cache), ("probe",))
    assert all(row["scored"] for row in again["rows"])
    session = opened(cache, attentive=("lr=1e-1", *GRID[1:]))
    assert not all(row["scored"] for row in plan.run(session, ("probe",))["rows"]), "another grid"


def test_from_python(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(40) % 2
    features = probeline.extract(
        pixels, VIT, labels=labels, weights="none", tap=TOKENS, image_size=32, cache=tmp_path / "cache"
    )
    assert (features.shape, features.ndim, features.dtype) == ((40, 5, 64), 3, np.float16)
    assert "float16 [40, 5, 64]" in repr(features)
    with pytest.raises(BadOption, match="tokens and no vectors"):
        features.numpy()
    with pytest.raises(BadOption, match="tokens and no vectors"):
        features.save(tmp_path / "features.parquet")
    with pytest.raises(BadOption, match="tokens and no vectors"):
        probeline.probe(features, reports=tmp_path)
    grid = {"lr": [1e-3], "queries": 4, "epochs": 2}
    result = probeline.probe(features, method="probe-attentive", attentive=grid, reports=tmp_path)
    assert result.method == "probe-attentive"
    with pytest.raises(BadOption, match="cannot be exported"):
        _ = result.head


def test_a_crew_gets_commands_that_are_valid_one_by_one(cache: Path) -> None:
    session = opened(cache)
    pieces = pieces_by_tap(session, lambda _: False)
    assert [piece.changes["taps"] for piece in pieces] == [(tap,) for tap in TAPS]
    for piece in pieces:
        check_settings(session.settings.changed(**piece.changes))
    assert ["attentive" in piece.changes for piece in pieces] == [False, True, True]
    assert taps_read(session.settings, "baselines") == TAPS[1:]
    assert taps_read(session.settings, "probe") == TAPS
