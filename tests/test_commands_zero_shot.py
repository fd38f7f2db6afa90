"""Zero-shot rows and the probes that start there, from the command line to the report."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.special import log_softmax

import probeline
from made_nets import save_open_clip
from probeline.backbones import torchvision_import as vision
from probeline.backbones.libraries import open_clip_texts
from probeline.commands import compare, export, plan, probe
from probeline.errors import BadOption, UnknownName
from probeline.evaluate.by_crew import pieces_by_tap
from probeline.evaluate.features import CachedFeatures
from probeline.evaluate.heads.method import Candidates, FitSettings, Fold
from probeline.evaluate.heads.zero_shot import PROBE_FROM_ZERO_SHOT, ZERO_SHOT
from probeline.evaluate.score import score_head
from probeline.heads.linear import decision
from probeline.heads.logistic.path import fit_path
from probeline.heads.temperature import fit_temperature
from probeline.metrics.scores import nll
from probeline.options.checks import check_settings
from probeline.options.prompts import TEMPLATES
from probeline.options.settings import Settings
from probeline.results.score import SCORES, Score
from probeline.results.texts import TEXTS, TextFeatures
from probeline.session import Session
from small_runs import Listening, make_coloured

pytest.importorskip("open_clip")
pytestmark = pytest.mark.usefixtures("one_thread", "undrawn")

FEW = ("lr=1e-3", "epochs=1")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a net, and pictures of three classes, one of which has a name of two words."""
    root = tmp_path_factory.mktemp("zero_shot")
    save_open_clip(root / "clip", tokens=49408, context=20)
    make_coloured(root / "pictures", n=14)
    (root / "pictures" / "red").rename(root / "pictures" / "bright_red")
    return root


def settings(world: Path, root: Path, **options: Any) -> Settings:
    base: dict[str, Any] = {
        "dataset": f"folder:{world / 'pictures'}",
        "backbones": (f"openclip:{world / 'clip'}",),
        "taps": ("projection",),
        "cache": world / "cache",
        "reports": root / "reports",
        "workers": 1,
        "sgd": FEW,
        "zero_shot": True,
        "device": "cpu",
    }
    own = Settings.of(**{**base, **options})
    check_settings(own)
    return own


def opened(world: Path, root: Path, **options: Any) -> Session:
    return Session(dataclasses.replace(settings(world, root, **options), console=Listening()))


def said(session: Session) -> list[str]:
    assert isinstance(session.console, Listening)
    return session.console.said


def saved(session: Session, method: str = "zero-shot") -> list[Score]:
    return [score for score in SCORES.load(session.reports)[0] if score.method == method]


def features_of(session: Session) -> CachedFeatures:
    return CachedFeatures(session, *session.taps(session.settings.nets.backbones[0])[0][0])


def whole_net_logits(world: Path, session: Session, templates: tuple[str, ...], texts: list[str]) -> np.ndarray:
    """Return scale * cosine float32 [n_test, K] of the whole net on the test pictures, picture by picture."""
    package = vision.open_clip()
    net, transform = package.create_model_from_pretrained(f"local-dir:{world / 'clip'}")
    net.eval()
    tokens = package.get_tokenizer(f"local-dir:{world / 'clip'}")
    test = session.splits.test
    ids = [session.dataset.parts[test.part].sample_ids[row] for row in test.rows.tolist()]
    with torch.no_grad():
        classes = package.build_zero_shot_classifier(net, tokens, texts, templates)
        rows = [
            net.encode_image(transform(Image.open(world / "pictures" / name).convert("RGB"))[None], normalize=True)
            for name in ids
        ]
        logits: np.ndarray = (net.logit_scale.exp() * torch.cat(rows) @ classes).numpy()
    return logits


def test_the_row_is_what_a_plain_loop_gives(world: Path, tmp_path: Path) -> None:
    session = opened(world, tmp_path)
    found = probe.run(session)
    assert {row["method"] for row in found} == {
        *("probe", "probe-refit", "probe-sgd", "zero-shot", "probe-from-zero-shot")
    }
    (score,) = saved(session)
    texts = ["blue", "bright red", "green"]
    assert session.dataset.class_names == ("blue", "bright_red", "green")
    logits = whole_net_logits(world, session, TEMPLATES, texts)
    labels = np.array(score.labels)
    assert score.predictions == tuple(logits.argmax(1).tolist())
    assert score.top1 == pytest.approx((logits.argmax(1) == labels).mean())
    own = -log_softmax(logits.astype(np.float64), axis=1)[np.arange(len(labels)), labels].mean()
    assert score.raw_nll == pytest.approx(own, abs=1e-4), "with the net's own scale"
    assert score.nll == pytest.approx(nll(labels, logits / np.float64(score.temperature)), abs=1e-4)
    assert (score.n_train, score.trainable, score.chosen, score.chosen_by) == (0, 0, {}, "")
    assert score.options["templates"] == list(TEMPLATES)
    assert (score.tap, score.seed) == ("projection", None)
    (record,), skipped = TEXTS.load(session.reports)
    assert not skipped
    assert record.texts == tuple(texts)


def test_the_temperature_is_of_the_held_out_rows(world: Path, tmp_path: Path) -> None:
    session = opened(world, tmp_path)
    cached = features_of(session)
    score = score_head(cached, ZERO_SHOT)
    folds = cached.load_selection_folds()
    fitted = cached.fit_settings(score.options)
    outputs = [
        next(iter(ZERO_SHOT.logits(ZERO_SHOT.fit(f, fitted, Candidates.unordered([{}])), f.X_heldout))) for f in folds
    ]
    y = np.concatenate([fold.y_heldout for fold in folds])
    assert score.temperature == pytest.approx(fit_temperature(y, np.concatenate(outputs)), rel=1e-3)
    assert score.val_top1 == pytest.approx((np.concatenate(outputs).argmax(1) == y).mean())


def test_what_is_done_is_skipped_without_the_text_tower(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = opened(world, tmp_path)
    probe.run(session)
    assert any("zero-shot: openclip:" in line and "embedding 21 prompts of 3 classes" in line for line in said(session))

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("the text tower was loaded")

    monkeypatch.setattr(open_clip_texts, "load_towers", refuse)
    again = opened(world, tmp_path)
    probe.run(again)
    assert sum("zero-shot" in line and "already scored, skipped" in line for line in said(again)) == 2
    assert all(row["scored"] for row in plan.run(opened(world, tmp_path), ("probe",))["rows"])
    SCORES.path_of(session.reports, saved(session)[0]).unlink()
    probe.run(opened(world, tmp_path))  # the features of the prompts are kept
    other = opened(world, tmp_path, templates=("a photo of a {}.",))
    assert [row["scored"] for row in plan.run(other, ("probe",))["rows"] if "zero-shot" in row["title"]] == [False] * 2
    with pytest.raises(AssertionError, match="the text tower was loaded"):
        probe.run(other)


def test_prompts_classes_and_weights_are_in_the_key(world: Path, tmp_path: Path) -> None:
    keys: dict[str, str] = {}
    for name, options in {
        "seven": {},
        "the same seven": {"templates": TEMPLATES},
        "one": {"templates": ("a photo of a {}.",)},
        "said": {"class_texts": ("bright_red=scarlet  thing",)},
        "as it is": {"class_texts": ("bright_red=bright red",)},
    }.items():
        session = opened(world, tmp_path / "a", **options)
        keys[name] = score_head(features_of(session), ZERO_SHOT).key
    assert keys["seven"] == keys["the same seven"] == keys["as it is"]
    assert len(set(keys.values())) == 3
    assert len(saved(session)) == 3
    (own,) = (score for score in saved(session) if "class_texts" in score.options)
    assert own.options["class_texts"] == {"bright_red": "scarlet thing"}

    # Another text tower beside the same image tower, as of a net that was trained with a locked image tower.
    other = tmp_path / "other"
    save_open_clip(other, tokens=49408, context=20)
    state = torch.load(other / "open_clip_pytorch_model.bin", weights_only=True)
    state["text_projection"] += 0.05
    torch.save(state, other / "open_clip_pytorch_model.bin")
    of_other: dict[str, Any] = {"backbones": (f"openclip:{other}",), "cache": tmp_path / "cache"}
    session = opened(world, tmp_path / "b", **of_other)
    score = score_head(features_of(session), ZERO_SHOT)
    (seven,) = (score for score in saved(opened(world, tmp_path / "a")) if score.key == keys["seven"])
    assert {**score.options, "texts": ""} == {**seven.options, "texts": ""}, "the image tower is the same"
    assert score.options["texts"] != seven.options["texts"]
    state["text_projection"] += 0.05
    torch.save(state, other / "open_clip_pytorch_model.bin")
    again = score_head(features_of(opened(world, tmp_path / "b", **of_other)), ZERO_SHOT)
    assert again.key != score.key
    first, second = TEXTS.load(session.reports)[0]
    assert first.features != second.features
    assert score.key not in keys.values()


def test_a_damaged_record_of_texts_is_made_again(world: Path, tmp_path: Path) -> None:
    session = opened(world, tmp_path)
    first = score_head(features_of(session), ZERO_SHOT)
    (record,), _ = TEXTS.load(session.reports)
    path = TEXTS.path_of(session.reports, record)
    path.write_bytes(path.read_bytes().replace(b'"scale":', b'"scale": '))
    SCORES.path_of(session.reports, first).unlink()
    again = opened(world, tmp_path)
    assert score_head(features_of(again), ZERO_SHOT).predictions == first.predictions
    assert any("embedded again" in line and "is damaged" in line for line in said(again))
    with pytest.raises(ValueError, match="features of text 0 have the squared length"):
        dataclasses.replace(record, features=(2.0, *record.features[1:]))
    with pytest.raises(ValueError, match="features of 3 texts with 16 each"):
        dataclasses.replace(record, features=record.features[1:])


def fold_of(n: int, classes: int, *, seed: int = 0) -> tuple[Fold, FitSettings]:
    """Return a fold whose rows are noisy texts, and the settings that know the texts."""
    from probeline.evaluate.heads.method import make_fold

    rng = np.random.default_rng(seed)
    texts = rng.standard_normal((classes, 12))
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    y = np.concatenate([np.arange(classes), rng.integers(classes, size=2 * n - classes)])
    X = (texts[y] * rng.uniform(1, 3, (2 * n, 1)) + 0.3 * rng.standard_normal((2 * n, 12))).astype(np.float32)
    features = tuple(texts.astype(np.float32).ravel().tolist())
    names = tuple(f"class {k}" for k in range(classes))
    record = TextFeatures("d", "openclip:x", "w", "0" * 64, ("{}",), names, 12, features, 20.0, 0.0, {})
    options = {"l2": [1e-7, 1e-2, 1e6]}
    return make_fold(X[:n], y[:n], X[n:], y[n:]), FitSettings(options, classes, texts=lambda: record)


@pytest.mark.parametrize("classes", [2, 4])
def test_a_probe_from_zero_shot_lies_between_it_and_the_probe(classes: int) -> None:
    fold, own = fold_of(200, classes)
    candidates = PROBE_FROM_ZERO_SHOT.candidates(own, 200)
    heads = PROBE_FROM_ZERO_SHOT.fit(fold, own, candidates)
    weak, _, strong = (log_softmax(out, axis=1) for out in PROBE_FROM_ZERO_SHOT.logits(heads, fold.X_heldout))
    (plain,) = ZERO_SHOT.logits(ZERO_SHOT.fit(fold, own, Candidates.unordered([{}])), fold.X_heldout)
    bias = decision(heads[2].added, np.zeros((1, 12), np.float32))
    np.testing.assert_allclose(strong, log_softmax(plain + bias, axis=1), atol=1e-4)
    # The least of the loss without a penalty is one, wherever a path begins, up to what zero-shot bends.
    (probe_head,) = fit_path(fold.X, fold.y, classes, [1e-7])
    expected = decision(probe_head, fold.X_heldout)
    assert (weak.argmax(1) == expected.argmax(1)).mean() > 0.95
    assert all(map(PROBE_FROM_ZERO_SHOT.has_converged, heads))
    objectives = [head.added.certificate.objective for head in heads]
    assert objectives == sorted(objectives)


def test_a_class_without_train_rows_keeps_its_zero_shot_logit() -> None:
    fold, own = fold_of(200, 4)
    kept = fold.y != 2
    fold = dataclasses.replace(fold, X=fold.X[kept], y=fold.y[kept])
    heads = PROBE_FROM_ZERO_SHOT.fit(fold, own, PROBE_FROM_ZERO_SHOT.candidates(own, 100))
    (plain,) = ZERO_SHOT.logits(ZERO_SHOT.fit(fold, own, Candidates.unordered([{}])), fold.X_heldout)
    for out in PROBE_FROM_ZERO_SHOT.logits(heads, fold.X_heldout):
        np.testing.assert_array_equal(out[:, 2], plain[:, 2])
        np.testing.assert_allclose((out - plain)[:, [0, 1, 3]].mean(1), 0, atol=1e-3)
    one = dataclasses.replace(fold, X=fold.X[fold.y == 1], y=fold.y[fold.y == 1])
    with pytest.raises(BadOption, match="needs images of two classes"):
        PROBE_FROM_ZERO_SHOT.fit(one, own, PROBE_FROM_ZERO_SHOT.candidates(own, 9))


@pytest.mark.slow
def test_class_weights_concern_the_probe_and_not_the_names(world: Path, tmp_path: Path) -> None:
    session = opened(world, tmp_path, class_weights=("blue=5",))
    probe.run(session)
    assert "class_weights" not in saved(session)[0].options
    assert saved(session, "probe-from-zero-shot")[0].options["class_weights"] == {"blue": 5.0}


@pytest.mark.slow
def test_the_report_has_the_rows_with_their_conditions(world: Path, tmp_path: Path) -> None:
    session = opened(world, tmp_path, templates=("a photo of a {}.",), class_texts=("green=a green one",))
    probe.run(session)
    written = compare.run(opened(world, tmp_path, templates=("a photo of a {}.",), class_texts=("green=a green one",)))
    text = (session.reports / "report.md").read_text(encoding="utf-8")
    assert "zero-shot, by class names, at projection" in text
    assert "linear probe from zero-shot, at projection" in text
    assert "templates a photo of a {}." in text
    assert "a green one" in text
    assert "0 train, " in text
    lines = [
        line for line in text.splitlines() if line.startswith("- ") and "zero-shot" in line and "probeline" in line
    ]
    assert not [line for line in lines if "--zero-shot" in line], "nothing of it is left to run"
    assert written
    page = (session.reports / "index.html").read_text(encoding="utf-8")
    assert "--zero-shot --template &#39;a photo of a {}.&#39; --class-text &#39;green=a green one&#39;" in page
    other = compare.run(opened(world, tmp_path))
    assert other
    text = (session.reports / "report.md").read_text(encoding="utf-8")
    assert "zero-shot, by class names of openclip:" in text.partition("## Not run")[2]


@pytest.mark.slow
def test_other_nets_and_taps_are_passed_over_or_refused(world: Path, tmp_path: Path) -> None:
    with pytest.raises(BadOption, match=r"--zero-shot without the space .*expected --tap projection.*got --tap penult"):
        settings(world, tmp_path, taps=("penultimate",))
    with pytest.raises(BadOption, match=r"--zero-shot needs a net with a text tower .*got --backbone resnet18"):
        settings(world, tmp_path, backbones=("resnet18",))
    for option in ("templates", "class_texts"):
        with pytest.raises(BadOption, match=r"--(template|class-text) without --zero-shot"):
            settings(world, tmp_path, zero_shot=False, **{option: ("x={}",)})
    for template in ("a photo", "{} and {}", "{0}", "{x}", "a {", "{!r}", "{:>3}"):
        with pytest.raises(BadOption, match="bad --template"):
            settings(world, tmp_path, templates=(template,))
    for words in (("red",), ("red= ",), ("=x",), ("red=a", "red=b")):
        with pytest.raises(BadOption, match="bad --class-text"):
            settings(world, tmp_path, class_texts=words)
    with pytest.raises(UnknownName, match=r"class in --class-text 'gren' .*did you mean green"):
        probe.run(opened(world, tmp_path, class_texts=("gren=x",)))
    with pytest.raises(BadOption, match=r"zero-shot needs a text for each class .*blue and green are both 'blue'"):
        probe.run(opened(world, tmp_path, class_texts=("green=blue",)))
    with pytest.raises(BadOption, match=r"zero-shot needs a text for each class .*blue and green are both 'blue'"):
        probe.run(opened(world, tmp_path, class_texts=("green=Blue",)))

    random = f"openclip:{world / 'clip'}@none"
    with pytest.raises(BadOption, match=r"no net for --zero-shot \(expected an openclip net with trained weights"):
        probe.run(opened(world, tmp_path, backbones=(random,)))
    session = opened(world, tmp_path, backbones=(random, f"openclip:{world / 'clip'}@DEFAULT"))
    assert {row["weights"] for row in probe.run(session) if "zero-shot" in row["method"]} == {"DEFAULT"}
    assert any("clip (none): passed over by --zero-shot, which needs an openclip" in line for line in said(session))
    table = tmp_path / "numbers.csv"
    table.write_text("file_name,label\n" + "".join(f"blue/{n:02d}.png,{n}.5\n" for n in range(12)))
    numbers = {"dataset": f"table:{table}", "images": world / "pictures", "task": "regression"}
    with pytest.raises(BadOption, match="--zero-shot needs one class per image"):
        probe.run(opened(world, tmp_path, **numbers))
    session = opened(world, tmp_path, taps=("penultimate", "projection"))
    rows = {(row["tap"], row["method"]) for row in probe.run(session)}
    assert {tap for tap, method in rows if "zero-shot" in method} == {"projection"}
    cached = CachedFeatures(session, *session.taps(session.settings.nets.backbones[0])[0][0])
    with pytest.raises(BadOption, match="zero-shot needs a text tower"):
        score_head(cached, ZERO_SHOT)
    with pytest.raises(BadOption, match=r"zero-shot cannot be exported.*--method"):
        export.run(opened(world, tmp_path, zero_shot=False, method="zero-shot", out=tmp_path / "out"))
    pieces = pieces_by_tap(session, lambda _: False)
    assert [piece.changes.get("zero_shot", True) for piece in pieces] == [False, True]
    for piece in pieces:
        check_settings(session.settings.changed(**piece.changes))


@pytest.mark.slow
def test_names_that_say_nothing_are_noted(world: Path, tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    make_coloured(pictures, n=6)
    (pictures / "red").rename(pictures / "n02084071")
    (pictures / "blue").rename(pictures / "7")
    session = opened(world, tmp_path, dataset=f"folder:{pictures}", cache=tmp_path / "cache")
    probe.run(session)
    assert any("zero-shot: 2 classes called '7' or the like" in line for line in said(session)), said(session)


def test_from_python(world: Path, tmp_path: Path) -> None:
    with pytest.warns(probeline.DataWarning, match="before the projection"):
        features = probeline.extract(
            f"folder:{world / 'pictures'}", f"openclip:{world / 'clip'}", tap="projection", cache=tmp_path / "cache"
        )
    first = probeline.probe(features, method="zero-shot", reports=tmp_path)
    other = probeline.probe(
        features,
        method="probe-from-zero-shot",
        templates=["a photo of a {}."],
        class_texts={"green": "leaf"},
        reports=tmp_path,
    )
    assert (first.method, other.method) == ("zero-shot", "probe-from-zero-shot")
    assert first.top1 == score_head(features_of(opened(world, tmp_path / "b")), ZERO_SHOT).top1
