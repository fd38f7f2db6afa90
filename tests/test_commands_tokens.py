"""Tokens from a net into the cache: what a hook sees, to the rounding of float16; a budget; and who refuses them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from probeline.backbones.build import random_net
from probeline.backbones.inner_taps import InnerTap
from probeline.backbones.resolve import load
from probeline.cache.features import open_features
from probeline.cache.reading import read_features, read_rows, shard_record
from probeline.cache.writing import write_shard
from probeline.commands import cache as cache_verb
from probeline.commands import explain, extract, plan, show, verify
from probeline.errors import BadOption, Mismatch, UnknownName
from probeline.extraction.engine import Engine
from probeline.session import Session
from probeline.types import Backbone
from small_runs import Listening, configuration, extracted, unreadable, watch_images

pytestmark = pytest.mark.usefixtures("one_thread", "small_shards", "undrawn")

VIT = """
from torch import nn
from torchvision.models.vision_transformer import VisionTransformer


def vit():
    net = VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=4
    )
    for constant in (net.class_token, net.heads.head.weight):
        nn.init.normal_(constant)
    return net


vit.preprocess = {"resize": 32, "crop": 32, "interpolation": "bilinear", "mean": [0.5] * 3, "std": [0.25] * 3}
"""

TIMM, SQUEEZE = "timm:test_vit", "squeezenet1_1"


def as_tokens(output: Tensor) -> Tensor:
    return output


def positions(output: Tensor) -> Tensor:
    return output.flatten(2).transpose(1, 2)


def hooked(net: nn.Module, module: str, images: Tensor) -> Tensor:
    """Return the output of a module of the stock net."""
    seen: list[Tensor] = []
    handle = net.get_submodule(module).register_forward_hook(lambda _, __, output: seen.append(output.clone()))
    with torch.no_grad():
        net.eval()(images)
    handle.remove()
    return seen[0]


def inputs(session: Session, tap: Backbone) -> Tensor:
    """Return the input of the net for the first 8 images."""
    engine = Engine(session, tap)
    pixels = engine.pixels("all", np.arange(8))
    assert isinstance(pixels, np.ndarray)
    return engine.frozen.prepare(torch.from_numpy(pixels))


@pytest.mark.parametrize(
    ("backbone", "module", "shape", "read"),
    [
        (TIMM, "blocks.2", (5, 64), as_tokens),
        (SQUEEZE, "features.3", (49, 128), positions),
        ("VIT", "encoder.layers.encoder_layer_1", (17, 16), as_tokens),
    ],
    ids=["timm", "map", "torchvision"],
)
def test_tokens_in_the_cache_are_what_a_hook_sees(
    backbone: str, module: str, shape: tuple[int, int], read: Callable[[Tensor], Tensor], tmp_path: Path
) -> None:
    if backbone == "VIT":
        (tmp_path / "net.py").write_text(VIT, encoding="utf-8")
        backbone = f"python:{tmp_path / 'net.py'}:vit"
    session = extracted(tmp_path / "cache", backbones=(backbone,), taps=(f"{module}:tokens", "penultimate"))
    tap = session.every_tap(backbone)[0]
    assert (tap.tap, tap.pooling, tap.tokens, tap.dim) == (f"{module}:tokens", "tokens", shape[0], shape[0] * shape[1])
    features = open_features(session.entry(tap, "all").folder)
    assert (features.shape, features.dtype) == ((60, *shape), np.float16)
    expected = read(hooked(random_net(backbone, 0), module, inputs(session, tap))).numpy()
    found = features[:8]
    # Half of the last of 11 digits of float16, and a few roundings of float32 below the smallest normal number.
    assert np.all(np.abs(found - expected) <= 2**-11 * np.abs(expected) + 1e-6 * np.abs(expected).max())
    assert np.abs(expected - expected.mean(1, keepdims=True)).max() > 0.1 * np.abs(expected).max(), "tokens that differ"


TOKENS = "features.3:tokens"
"""49 tokens of 128 channels: 12,544 bytes a row."""


def tokens_of(session: Session) -> Any:
    return session.entry(session.every_tap(SQUEEZE)[0], "all")


def test_a_map_in_the_channels_last_form_has_its_positions_in_rows(tmp_path: Path) -> None:
    loaded, _ = load("swin_t", "none", 32, ("features.1:tokens", "features.1"))
    (tokens,), (pooled,) = (loaded.taps[name] for name in ("features.1:tokens", "features.1"))
    assert (tokens.tokens, tokens.dim, pooled.dim) == (64, 64 * 96, 96)
    assert tokens.weights_sha256 == pooled.weights_sha256, "they depend on the same tensors"
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    output = hooked(random_net("swin_t", 0), "features.1", images)
    assert torch.equal(loaded.inner["features.1:tokens"].read(output).view(2, 64, 96), output.flatten(1, 2))


@pytest.mark.parametrize(
    ("tap", "words"),
    [
        ("features.3:tokens+penultimate", "tokens cannot be joined with other features"),
        ("penultimate:tokens", "unknown tap"),
        ("features.3:token", "bad --tap"),
    ],
)
def test_taps_that_have_no_tokens_are_refused(tap: str, words: str, tmp_path: Path) -> None:
    with pytest.raises((BadOption, UnknownName), match=words):
        extract.run(Session(configuration(tmp_path / "cache", taps=(tap,))))


def test_a_vector_is_no_sequence_of_tokens() -> None:
    with pytest.raises(BadOption, match=r"expected classifier\.0 alone, got no tokens but \[2, 1024\]"):
        load("mobilenet_v3_small", "none", 32, ("classifier.0:tokens",))


def test_tokens_and_vectors_of_other_shards_are_filled_in_two_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("probeline.cache.entry.SHARD_BYTES", 8 * 12_544)
    read: list[int] = []
    taps = (TOKENS, "features.3")
    session = extracted(tmp_path / "cache", taps=taps, watch=read.append)
    tokens, pooled = (session.entry(tap, "all") for tap in session.every_tap(SQUEEZE))
    assert [len(rows) for rows in tokens.shards] == [8] * 7 + [4]
    assert [len(rows) for rows in pooled.shards] == [16] * 3 + [12]
    assert sorted(read) == sorted([*range(60)] * 2)
    mean = np.asarray(open_features(tokens.folder)).astype(np.float32).mean(1)
    found = read_features(pooled).features
    assert np.abs(mean - found).max() < 2**-10 * np.abs(found).max() + 1e-6
    extracted(tmp_path / "cache", taps=taps, watch=unreadable)
    # Resumed: only the shard that is missing, and to the same bytes.
    before = tokens.shard_path(3).read_bytes()
    for path in (tokens.shard_path(3), tokens.record_path(3)):
        path.unlink()
    read.clear()
    extracted(tmp_path / "cache", taps=taps, watch=read.append)
    assert sorted(read) == list(range(24, 32))
    assert tokens.shard_path(3).read_bytes() == before


def test_tokens_of_equal_shards_share_the_pass_of_vectors(tmp_path: Path) -> None:
    read: list[int] = []
    session = extracted(tmp_path / "cache", taps=(TOKENS, "penultimate"), watch=read.append)
    assert sorted(read) == list(range(60))
    assert shard_record(tokens_of(session), 0).provenance["taps"] == [TOKENS, "penultimate"]


@pytest.mark.parametrize(("budget", "is_refused"), [(752_640e-9, False), (752_639e-9, True)])
def test_the_size_is_said_before_extraction_and_refused_beyond_the_budget(
    budget: float, is_refused: bool, tmp_path: Path
) -> None:
    console = Listening()
    read: list[int] = []
    settings = dataclasses.replace(
        configuration(tmp_path / "cache", taps=(TOKENS, "penultimate"), tokens_gb=budget), console=console
    )
    session = watch_images(Session(settings), read.append)
    if is_refused:
        words = r"tokens beyond the budget: squeezenet1_1 .*--tokens-gb\), got 0\.000753 GB: .*--limit.*--image-size"
        for run in (extract.run, lambda session: plan.run(session, ("extract",))):
            with pytest.raises(BadOption, match=words) as caught:
                run(session)
            assert "\n" not in str(caught.value)
        assert read == []
        assert not list(tmp_path.rglob("*.h5"))
        return
    extract.run(session)
    said = "60 images of 49 tokens x 128 values in float16 at features.3:tokens: 0.000753 GB"
    assert console.said.index(f"extract: squeezenet1_1: {said}") == 0
    # What is in the cache needs no budget any more.
    extract.run(Session(settings.changed(tokens_gb=0.0)))


def test_vectors_have_no_budget(tmp_path: Path) -> None:
    extracted(tmp_path / "cache", taps=("features.3",), tokens_gb=0.0)


def test_values_beyond_float16_stop_the_extraction_with_a_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = InnerTap.read
    monkeypatch.setattr(InnerTap, "read", lambda tap, output: read(tap, output) * 1e7)
    with pytest.raises(BadOption, match=r"float16 cannot hold.*values of a shard are beyond.*:mean or :cls") as caught:
        extracted(tmp_path / "cache", taps=(TOKENS,))
    assert re.search(r"got [\d,]+ of 100,352 values", str(caught.value))
    assert not list(tmp_path.rglob("shard-*.json"))


def test_the_verbs_of_the_cache_know_tokens(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    session = extracted(cache, taps=(TOKENS,))
    entry = tokens_of(session)
    console = Listening()
    console.result = console.said.append  # type: ignore[method-assign]

    def under(**options: Any) -> Session:
        return Session(dataclasses.replace(configuration(cache, taps=(TOKENS,), **options), console=console))

    assert verify.run(under(canary=3))["entries"][0]["proven_shards"] == 4
    assert any("3 rows were run again" in line for line in console.said)
    listed = dataclasses.replace(under().settings, words=("ls",))
    cache_verb.run(Session(listed))
    assert any("60 x 49 x 128 float16  4 of 4 shards" in line for line in console.said)
    explain.run(under())
    shown = show.run(Session(dataclasses.replace(under().settings, words=("0",))))
    assert shown
    entry.shard_path(1).write_bytes(b"damaged")
    repaired = verify.run(under(repair=True, canary=0))
    assert repaired["entries"][0]["proven_shards"] == 4
    # A canary that finds other tokens than those of the net.
    values = read_rows(entry, np.arange(16))
    for path in (entry.shard_path(0), entry.record_path(0)):
        path.unlink()
    write_shard(entry, 0, (values.astype(np.float32) * 1.01).astype(np.float16), {"seconds": 0.0})
    with pytest.raises(Mismatch):
        verify.run(under(canary=60))


def test_whoever_wants_vectors_is_told_to_read_others(tmp_path: Path) -> None:
    from probeline.commands import baselines, curve, features, probe

    session = extracted(tmp_path / "cache", taps=(TOKENS,))
    for run in (probe.run, baselines.run, curve.run, features.run):
        with pytest.raises(BadOption, match=r"tokens and no vectors: features\.3:tokens.*--attentive"):
            run(session)


def test_more_values_than_a_row_holds_are_refused_before_extraction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("probeline.extraction.token_budget.MOST_DIM", 49 * 128 - 1)
    with pytest.raises(BadOption, match=r"expected at most 6,271 values per image, got 6,272\); use a smaller --image"):
        extracted(tmp_path / "cache", taps=(TOKENS,), watch=unreadable)
