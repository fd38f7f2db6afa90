"""Nets without a head: every verb takes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import probeline
from conftest import Install
from probeline.backbones.frozen import Frozen
from probeline.backbones.resolve import load
from probeline.commands import export, extract, finetune, latency, lrfind, probe, verify
from probeline.data.pixels.decode import resize_crop
from probeline.errors import BadOption
from probeline.export.format import PT2
from probeline.export.loading import load_stock
from probeline.options.settings import Settings
from probeline.results.score import SCORES
from probeline.session import Session
from small_runs import Listening, make_coloured
from small_sources import GROUP, HEADLESS, SOURCE, WIDTH

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def source(install: Install) -> None:
    """The source of two nets without a head."""
    install("toy", GROUP, "toy = toy", SOURCE)


def settings(place: Path, **changes: Any) -> Settings:
    facts: dict[str, Any] = {
        "dataset": f"folder:{place / 'pictures'}",
        "backbones": (HEADLESS,),
        "device": "cpu",
        "workers": 1,
        "batch_size": 16,
        "epochs": 1,
        "cache": place / "cache",
        "reports": place / "reports",
    }
    return Settings.of(**{**facts, **changes})


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with pictures whose channel tells the class."""
    make_coloured(tmp_path / "pictures")
    return tmp_path


def test_the_output_of_a_net_without_head_is_its_embedding(place: Path) -> None:
    console = Listening()
    session = Session(settings(place, console=console))
    (entry,) = extract.run(session)
    assert [line for line in console.said if "has no head" in line] == [
        f"{HEADLESS}: has no head; its own output [N, {WIDTH}] is the embedding"
    ]
    assert entry["shape"] == [42, WIDTH]
    inputs = json.loads((Path(entry["folder"]) / "entry.json").read_bytes())["inputs"]
    assert (inputs["tap"], inputs["pooling"]) == ("penultimate", "output")
    backbone, _ = session.backbone(HEADLESS)
    assert backbone.head_parameters == 0
    stock = load(HEADLESS, "DEFAULT", None)[0].net
    assert backbone.parameters == sum(parameter.numel() for parameter in stock.parameters())
    frozen = Frozen(load(HEADLESS, "DEFAULT", None)[0], torch.device("cpu"), "fp32")
    pixels = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(frozen.embed(pixels), stock(frozen.prepare(pixels)))


LADDER = ("head", "last-1", "lp-ft", "full", "scratch", "distill", "gradual", "freeze-early", "freeze-middle")


@pytest.mark.slow
@pytest.mark.parametrize("net", [HEADLESS, "toy:cnn"])
def test_every_strategy_trains_a_head_on_it(net: str, place: Path) -> None:
    config = settings(place, backbones=(net,))
    extract.run(Session(config))
    finetune.run(Session(config.changed(strategies=LADDER, teacher=net, train=("augment=none",))))
    scores = {score.method: score for score in SCORES.load(Session(config).reports)[0]}
    assert set(scores) == {"finetune" if strategy == "full" else strategy for strategy in LADDER}
    (entry,) = extract.run(Session(config))
    head = 3 * (entry["shape"][1] + 1)
    assert scores["head"].trainable == head
    assert scores["finetune"].trainable == scores["finetune"].total
    assert scores["finetune"].certificate["cut"] is None
    assert scores["head"].certificate["cut"] == "added_head", "trained on cached features"


def test_a_probe_and_a_training_are_exported(place: Path) -> None:
    config = settings(place)
    extract.run(Session(config))
    probe.run(Session(config.changed(sgd=("epochs=1", "lr=1e-3"))))
    finetune.run(Session(config.changed(strategies=("full",))))
    pictures = sorted((place / "pictures").rglob("*.png"))[:5]
    for method in ("probe", "finetune"):
        out = place / method
        export.run(Session(config.changed(method=method, out=out, pt2=method == "finetune")))
        predictor = probeline.load(out, "cpu")
        logits = predictor.predict(pictures).logits
        assert logits.shape == (5, 3)
        record = predictor.artifact.net
        assert (record.head, record.pooling, record.own_head) == ("added_head", "output", method == "finetune")
    graph = torch.export.load(out / PT2).module()
    crops = [resize_crop(Image.open(path).convert("RGB"), predictor.artifact.preprocess) for path in pictures]
    with torch.no_grad():
        assert np.abs(graph(torch.from_numpy(np.stack(crops)))[0].numpy() - logits).max() <= 1e-4


@pytest.mark.slow
def test_verbs_that_take_any_net_take_it(place: Path) -> None:
    config = settings(place)
    extract.run(Session(config))
    (timed,) = latency.run(Session(config))
    assert timed
    (test,) = lrfind.run(Session(config.changed(strategies=("full",))))
    assert test
    verify.run(Session(config))
    with pytest.raises(BadOption, match="no ImageNet categories"):
        load_stock(Session(config))


DINO_TAPS = {
    "norm:cls": 1,
    "norm:mean": 1,
    "norm:cls+norm:mean": 2,
    "blocks.2:cls+blocks.2:mean": 2,
    "last-2": 4,
    "penultimate": 1,
}


def test_the_taps_of_dino_evaluations(place: Path) -> None:
    config = settings(place, taps=tuple(DINO_TAPS))
    session = Session(config)
    records, loaded = session.taps(HEADLESS)
    assert loaded is not None
    widths = {"+".join(record.tap for record in together): sum(r.dim for r in together) for together in records}
    assert widths == {
        **{tap: DINO_TAPS[tap] * WIDTH for tap in DINO_TAPS if tap != "last-2"},
        **{f"blocks.{block}:{token}": WIDTH for block in (1, 2) for token in ("cls", "mean")},
    }
    taps = ("norm:cls", "norm:mean", "penultimate")
    frozen = Frozen(load(HEADLESS, "DEFAULT", None, taps)[0], torch.device("cpu"), "fp32", taps)
    stock = load(HEADLESS, "DEFAULT", None)[0].net
    pixels = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        tokens = stock.get_submodule("").forward_features(frozen.prepare(pixels))  # type: ignore[operator]
    read = frozen.embed(pixels)
    torch.testing.assert_close(read[:, frozen.columns["norm:cls"]], tokens[:, 0])
    torch.testing.assert_close(read[:, frozen.columns["norm:mean"]], tokens[:, 1:].mean(1))
    torch.testing.assert_close(read[:, frozen.columns["penultimate"]], tokens[:, 0], msg="its pooling")
