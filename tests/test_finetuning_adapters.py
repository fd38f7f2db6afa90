"""Adapters of low rank: which layers get them, what they change, and that a merge changes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from made_nets import SIZE as SMALL
from made_nets import TOWER, save_transformers
from probeline.backbones import torchvision_import as vision
from probeline.backbones.forward_pass import random_images
from probeline.backbones.penultimate import find_tap
from probeline.backbones.resolve import load
from probeline.backbones.stages import find_stages
from probeline.errors import BadOption, MissingExtra
from probeline.finetuning.head import fresh_head
from probeline.finetuning.training.adapters import Adapted, AdapterOptions, adapt, merge
from probeline.results.score_words import adapters_in_words
from small_trainings import (
    BATCHES_AN_EPOCH,
    CLASSES,
    SIZE,
    TRAINING,
    Interrupted,
    Steps,
    Tiny,
    attention_net,
    fit,
    lines,
    make_trainer,
    moved,
    seeded,
    small_vit,
    state,
)
from variants import slow_after

LORA = AdapterOptions(rank=4, alpha=8.0, dropout=0.0, targets="auto")
ALWAYS = replace(TRAINING, freeze_batchnorm=True)
"""As the stage trains below adapters."""

UNIT = 2.0**-24
"""The largest relative error of rounding to float32."""


class Odd(nn.Module):
    """Layers that peft's would not do the same as: dilated, reflecting, standardised, hooked, or grouped or shared."""

    class Standardised(nn.Conv2d):
        def forward(self, images: Tensor) -> Tensor:
            return self._conv_forward(images, self.weight - self.weight.mean((1, 2, 3), keepdim=True), self.bias)

    class Normalised(nn.Linear):
        def forward(self, features: Tensor) -> Tensor:
            return nn.functional.linear(features, nn.functional.normalize(self.weight), self.bias)

    def __init__(self) -> None:
        super().__init__()
        self.plain = nn.Conv2d(3, 8, 3, padding=1)
        self.dilated = nn.Conv2d(8, 8, 3, padding=2, dilation=2)
        self.reflecting = nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect")
        self.standardised = self.Standardised(8, 8, 3, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.once = nn.Linear(8, 8)
        self.twice = nn.Linear(8, 8)
        self.twice.weight = self.once.weight
        self.hooked = nn.Linear(8, 8)
        self.hooked.register_forward_hook(lambda _, __, output: output.tanh())
        self.normalised = self.Normalised(8, 8)
        self.fc = nn.Linear(8, 7)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.dilated(self.plain(images).relu())
        maps = self.depthwise(self.standardised(self.reflecting(maps).relu()).relu())
        logits: Tensor = self.fc(self.hooked(self.normalised(self.twice(self.once(maps.mean((2, 3))).relu()))))
        return logits


class Grouped(nn.Module):
    """A net of grouped convolutions alone."""

    def __init__(self) -> None:
        super().__init__()
        self.low = nn.Conv2d(3, 6, 3, stride=2, groups=3)
        self.top = nn.Conv2d(6, 6, 3, stride=2, groups=6)
        self.fc = nn.Linear(6, 7)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.top(self.low(images).relu()).relu().mean((2, 3)))
        return logits


def swin() -> nn.Module:
    net: nn.Module = vision.models().SwinTransformer(
        patch_size=[2, 2], embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=[2, 2], num_classes=7
    )
    return net


def mobilenet() -> nn.Module:
    net: nn.Module = vision.models().mobilenet_v2(num_classes=7)
    return net


def resnet() -> nn.Module:
    net: nn.Module = vision.models().resnet18(num_classes=7)
    return net


NETS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "vit": (small_vit, SIZE),
    "attention": (attention_net, SIZE),
    "swin": (swin, SIZE),
    "mobilenet": (mobilenet, 32),
    "resnet": (resnet, 32),
    "steps": (Steps, SIZE),
    "odd": (Odd, SIZE),
}


def adapted(make: Callable[[], nn.Module], size: int = SIZE, **options: Any) -> tuple[nn.Module, Adapted]:
    """Return a net with a new head and adapters, whose statistics of norms are those of some images."""
    net = seeded(make)
    net.train()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        net(random_images(8, size))
    tap = find_tap(net, size, "a net")
    stages = find_stages(net, tap, size)
    fresh_head(net, tap, CLASSES, 0)
    return net, adapt(net, tap, stages, size, replace(LORA, **options), seed=0)


def with_updates(net: nn.Module) -> nn.Module:
    """Give the adapters updates, which are zero at first."""
    numbers = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if "lora_B" in name:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=numbers))
    return net.eval()


def output_of(net: nn.Module, size: int, dtype: torch.dtype = torch.float32) -> Tensor:
    with torch.no_grad():
        output: Tensor = net.eval()(random_images(6, size).to(dtype))
    return output


# Which layers


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("vit", "adapters of rank 4 on 8 linear layers, "),
        ("attention", "adapters of rank 4 on 4 linear layers and 4 parametrized weights, "),
        ("swin", "adapters of rank 4 on 5 linear layers and 4 parametrized weights, "),
        ("resnet", "adapters of rank 4 on 20 convolutions, "),
        ("mobilenet", "adapters of rank 4 on 35 convolutions, "),
        ("odd", "adapters of rank 4 on 1 convolution and 5 parametrized weights, "),
    ],
)
def test_what_is_adapted_is_said(name: str, words: str) -> None:
    facts = adapted(*NETS[name])[1].facts
    said = adapters_in_words([facts])
    assert said.startswith(words)
    left = {
        "mobilenet": "; left as they are: 17 grouped convolutions",
        "odd": "; left as they are: 1 grouped convolution and 2 weights shared by several modules",
    }
    assert said.endswith(f" {facts.parameters:,} parameters" + left.get(name, ""))


def test_attention_and_mlps_of_a_transformer_are_adapted() -> None:
    _, found = adapted(small_vit)
    paths = {name.partition(".lora_")[0] for stage in found.stages for name in stage.parameters}
    assert paths == {f"blocks.{i}.{layer}" for i in (0, 1) for layer in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")}
    _, found = adapted(attention_net)
    names = {
        name.rpartition(".lora_")[0].removeprefix("encoder.layers.") for s in found.stages for name in s.parameters
    }
    own = ("self_attention.parametrizations.in_proj_weight.0", "self_attention.out_proj.parametrizations.weight.0")
    assert names == {f"encoder_layer_{i}.{layer}" for i in (0, 1) for layer in (*own, "mlp.0", "mlp.3")}


def test_layers_of_transformers_are_found(tmp_path: Path) -> None:
    """Four of attention and two of the MLP, whatever they are called."""
    save_transformers(tmp_path, "Dinov2Model", {"model_type": "dinov2", **TOWER})
    loaded = load(f"hf:{tmp_path}", "DEFAULT", SMALL)[0]
    stages = find_stages(loaded.net, loaded.tap, SMALL)
    facts = adapt(loaded.net, loaded.tap, stages, SMALL, LORA, seed=0).facts
    assert (facts.linear, facts.convolutions, facts.parametrized) == (2 * 6, 0, 0)


@pytest.mark.parametrize(
    ("targets", "paths"),
    [
        ("qkv", {"blocks.0.attn.qkv", "blocks.1.attn.qkv"}),
        ("fc1+blocks.1.attn", {"blocks.0.mlp.fc1", "blocks.1.mlp.fc1", "blocks.1.attn.qkv", "blocks.1.attn.proj"}),
        ("blocks.0.mlp", {"blocks.0.mlp.fc1", "blocks.0.mlp.fc2"}),
        ("patch_embed", {"patch_embed.proj"}),
    ],
)
def test_targets_are_names_of_modules(targets: str, paths: set[str]) -> None:
    _, found = adapted(small_vit, targets=targets)
    assert {name.partition(".lora_")[0] for stage in found.stages for name in stage.parameters} == paths


def test_all_takes_the_convolution_of_a_transformer_too() -> None:
    facts = adapted(small_vit, targets="all")[1].facts
    assert (facts.linear, facts.convolutions) == (8, 1)


def test_a_name_that_no_layer_has_is_refused() -> None:
    with pytest.raises(BadOption) as caught:
        adapted(small_vit, targets="qkv+fc3")
    assert str(caught.value) == (
        "no layer that can be adapted has this name, or is in a module of this name: --train lora_targets (expected "
        "auto, all, or the path or a part of the path of proj, qkv, fc1 and fc2, got fc3)"
    )


@pytest.mark.parametrize(("make", "targets"), [(Grouped, "auto"), (Grouped, "top"), (Odd, "depthwise+once")])
def test_a_net_with_nothing_to_adapt_is_refused(make: Callable[[], nn.Module], targets: str) -> None:
    left = {"auto": "2 grouped convolutions", "top": "1 grouped convolution"}
    with pytest.raises(BadOption, match=r"^--strategy lora finds no linear layer .* use --strategy bitfit") as caught:
        adapted(make, targets=targets)
    assert left.get(targets, "1 grouped convolution and 1 weight shared by several modules") in str(caught.value)


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *_: None)
    with pytest.raises(MissingExtra, match=r"^peft is not installed; pip install 'probeline\[peft\]'$"):
        adapted(Steps)


# What they change


@pytest.mark.parametrize("name", NETS)
def test_adapters_change_no_output_at_first(name: str) -> None:
    make, size = NETS[name]
    net = seeded(make)
    tap = find_tap(net, size, "a net")
    fresh_head(net, tap, CLASSES, 0)
    before, generator = output_of(net, size), torch.get_rng_state()
    adapt(net, tap, (), size, LORA, seed=0)
    assert torch.equal(output_of(net, size), before)
    assert torch.equal(torch.get_rng_state(), generator)


def test_adapters_depend_on_the_seed() -> None:
    drawn = []
    for number, seed in enumerate((0, 0, 1)):
        torch.manual_seed(number)
        net = seeded(attention_net)
        adapt(net, find_tap(net, SIZE, "a net"), (), SIZE, LORA, seed)
        drawn.append({name: p.detach().clone() for name, p in net.named_parameters() if "lora_A" in name})
    assert len(drawn[0]) == 8
    assert moved(drawn[0], drawn[1]) == set()
    assert moved(drawn[0], drawn[2]) == set(drawn[0])
    for name, first in drawn[0].items():  # as torch begins a linear layer: uniform within 1 / sqrt(inputs)
        limit = 1 / math.sqrt(first.shape[1])
        assert 0.8 * limit < float(first.abs().max()) <= limit, name


@pytest.mark.parametrize("make", slow_after(3, [small_vit, attention_net, swin, Steps, Tiny, Odd]))
def test_training_moves_adapters_and_head_alone(make: Callable[[], nn.Module], tmp_path: Path) -> None:
    training = replace(ALWAYS, epochs=10, lr=0.03, body=1.0)
    trainer = make_trainer(training, make=make, strategy="lora", adapters=replace(LORA, targets="all"))
    before = state(trainer.net)
    fitted = fit(trainer, tmp_path)
    head = trainer.setup.tap.head
    expected = {name for name in before if "lora_" in name or name.startswith(f"{head}.")}
    assert moved(before, trainer.net.state_dict()) == expected
    assert fitted.history[-1]["train_loss"] < 0.9 * fitted.history[0]["train_loss"]


@pytest.mark.parametrize("name", NETS)
def test_counts_are_those_of_the_formula(name: str) -> None:
    make, size = NETS[name]
    plain = seeded(make)
    tap = find_tap(plain, size, "a net")
    fresh_head(plain, tap, CLASSES, 0)
    body = sum(p.numel() for name, p in plain.named_parameters() if name in tap.tensors)
    head = sum(p.numel() for p in plain.get_submodule(tap.head).parameters())
    trainer = make_trainer(ALWAYS, make=make, size=size, strategy="lora", adapters=LORA)
    facts = adapted(make, size)[1].facts
    matrices = {
        # [out, in] of qkv, proj, fc1 and fc2 in two blocks of width 16; MLPs four times as wide, or twice.
        "vit": 2 * [(48, 16), (16, 16), (64, 16), (16, 64)],
        "attention": 2 * [(48, 16), (16, 16), (32, 16), (16, 32)],
        "swin": [(24, 8), (8, 8), (32, 8), (8, 32), (16, 32), (48, 16), (16, 16), (64, 16), (16, 64)],
        "steps": [(8, 27), (8, 72), (12, 72), (12, 108), (16, 108), (16, 144)],
        "odd": [(8, 27), *3 * [(8, 72)], *2 * [(8, 8)]],
    }
    if name in matrices:
        assert facts.parameters == sum(LORA.rank * (rows + columns) for rows, columns in matrices[name])
    assert trainer.trainable == facts.parameters + head
    assert trainer.total == body + head


@pytest.mark.parametrize(
    ("make", "path", "names"),
    [
        (small_vit, "blocks.0.attn.proj", ("base_layer.weight", "lora_A.default.weight", "lora_B.default.weight")),
        (
            attention_net,
            "encoder.layers.encoder_layer_0.self_attention.out_proj",
            [f"parametrizations.weight.{name}" for name in ("original", "0.lora_A.weight", "0.lora_B.weight")],
        ),
    ],
)
def test_the_whole_rank_reaches_any_weight(make: Callable[[], nn.Module], path: str, names: list[str]) -> None:
    net, _ = adapted(make, rank=16, targets=path)
    goal = torch.randn(16, 16, generator=torch.Generator().manual_seed(2))
    base, first, second = (net.get_parameter(f"{path}.{name}") for name in names)
    before = base.clone()
    with torch.no_grad():
        first.copy_(torch.eye(16))
        second.copy_((goal - before) * 16 / LORA.alpha)
    merge(net)
    # The difference, its product with 16 / alpha and back, and the sum round once each, whose terms are below 2 * most.
    most = float(torch.maximum(goal.abs(), before.abs()).max())
    torch.testing.assert_close(net.get_parameter(f"{path}.weight"), goal, rtol=0, atol=4 * 2 * most * UNIT)


def test_dropout_is_of_the_input_of_an_adapter_while_it_trains() -> None:
    net, _ = adapted(small_vit, dropout=0.5)
    with_updates(net)
    assert torch.equal(output_of(net, SIZE), output_of(net, SIZE))
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        net.train()
        first, second = (net(random_images(6, SIZE)) for _ in range(2))
    assert not torch.equal(first, second), "the net itself has no dropout"


def test_dropout_is_refused_for_weights_without_an_input_of_their_own() -> None:
    with pytest.raises(BadOption, match=r"^no dropout before weights .*lora_targets, got self_attention and out_proj"):
        adapted(attention_net, dropout=0.1)
    adapted(attention_net, dropout=0.1, targets="mlp")


# The trainer


@pytest.mark.parametrize("make", [small_vit, attention_net, Tiny])
@pytest.mark.parametrize("after", slow_after(1, [BATCHES_AN_EPOCH + 2, 3 * BATCHES_AN_EPOCH]))
def test_an_interrupted_training_takes_the_same_steps(
    make: Callable[[], nn.Module], after: int, tmp_path: Path
) -> None:
    def trainer(**changes: Any) -> Any:
        return make_trainer(ALWAYS, make=make, strategy="lora", adapters=LORA, **changes)

    whole = trainer()
    expected = fit(whole, tmp_path / "whole")
    cut = Interrupted(after)
    with pytest.raises(KeyboardInterrupt):
        fit(trainer(feed=cut), tmp_path / "cut", feed=cut)
    resumed = trainer()
    found = fit(resumed, tmp_path / "cut")
    assert found.resumed_from == after // BATCHES_AN_EPOCH
    assert lines(found.history) == lines(expected.history)
    assert moved(state(whole.net), resumed.net.state_dict()) == set()


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("make", [small_vit, attention_net, Odd])
def test_mixed_precision_keeps_float32_weights(make: Callable[[], nn.Module], precision: str, tmp_path: Path) -> None:
    training = replace(ALWAYS, precision=precision, epochs=2)
    trainer = make_trainer(training, make=make, strategy="lora", adapters=LORA)
    before = state(trainer.net)
    fitted = fit(trainer, tmp_path)
    assert all(math.isfinite(epoch["train_loss"]) for epoch in fitted.history)
    assert {p.dtype for p in trainer.net.parameters()} == {torch.float32}
    assert all("lora_" in name or name.startswith(trainer.setup.tap.head) for name in moved(before, state(trainer.net)))


def test_a_parametrized_weight_is_computed_in_float32() -> None:
    attention = with_updates(adapted(attention_net)[0]).get_submodule("encoder.layers.encoder_layer_0.self_attention")
    exact = attention.in_proj_weight
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(attention.in_proj_weight, exact)


def test_rates_of_adapters_are_those_of_their_stages() -> None:
    trainer = make_trainer(replace(ALWAYS, lr=0.1, body=0.5, decay=0.1), make=small_vit, strategy="lora", adapters=LORA)
    names = {id(parameter): name for name, parameter in trainer.net.named_parameters()}
    peaks = {names[id(p)]: group["peak"] for group in trainer.stepper.optimizer.param_groups for p in group["params"]}
    assert peaks["head.weight"] == 0.1
    assert peaks["blocks.1.mlp.fc1.lora_A.default.weight"] == pytest.approx(0.05)
    assert peaks["blocks.0.attn.qkv.lora_B.default.weight"] == pytest.approx(0.005)
    assert {name.partition(".")[0] for name in peaks} == {"head", "blocks"}


# The merge


@pytest.mark.parametrize("name", slow_after(3, NETS))
def test_a_merged_net_is_the_plain_net_with_other_weights(name: str) -> None:
    make, size = NETS[name]
    plain = seeded(make)
    fresh_head(plain, find_tap(plain, size, "a net"), CLASSES, 0)
    net, _ = adapted(make, size)
    merge(with_updates(net))
    assert {key: tensor.shape for key, tensor in net.state_dict().items()} == {
        key: tensor.shape for key, tensor in plain.state_dict().items()
    }
    plain.load_state_dict(net.state_dict())
    assert torch.equal(output_of(plain, size), output_of(net, size))
    assert [type(module) for module in net.modules()] == [type(module) for module in plain.modules()]


@pytest.mark.parametrize("name", slow_after(3, NETS))
def test_a_merge_changes_no_output(name: str) -> None:
    """In float64 the two outputs are one function; in float32 they differ as rounding makes one net differ from it."""
    make, size = NETS[name]
    net = with_updates(adapted(make, size)[0])
    untouched = output_of(adapted(make, size)[0], size)
    single = output_of(net, size)
    exact = output_of(net.double(), size, torch.float64)
    merge(net)
    merged = output_of(net, size, torch.float64)
    largest = float(exact.abs().max())
    assert float((untouched - single).abs().max()) > 1e-3 * largest, "the updates matter"
    assert float((merged - exact).abs().max()) <= 1e-12 * largest
    again = with_updates(adapted(make, size)[0])
    merge(again)
    rounding = max(float((single - exact).abs().max()), UNIT * largest)
    assert float((output_of(again, size) - exact).abs().max()) <= 8 * rounding


@pytest.mark.parametrize(
    ("make", "path"), [(small_vit, "blocks.1.mlp.fc2"), (Steps, "mid.0"), (attention_net, "encoder.ln")]
)
def test_a_merged_layer_is_as_close_as_rounding_allows(make: Callable[[], nn.Module], path: str) -> None:
    """Both sums of n = columns + r + 3 terms or factors are off by at most g = n u / (1 - n u) of their absolute terms.

    The adapter's: the product with W, that with A and then B, the scale, and the two sums with it and the bias. The
    merged weight's: the product B A, the scale, the sum with W, and the product with the input.
    """
    net = with_updates(adapted(make, targets="all")[0])
    layer = net.get_submodule(path)
    if path == "encoder.ln":  # without an adapter nothing changes at all
        before = state(layer)
        merge(net)
        assert moved(before, layer.state_dict()) == set()
        return
    base = layer.get_base_layer()  # type: ignore[operator]
    first, second = (getattr(layer, f"lora_{which}")["default"].weight.detach().flatten(1) for which in "AB")
    columns, images = base.weight[0].numel(), torch.Generator().manual_seed(4)
    shape = (5, columns) if base.weight.ndim == 2 else (5, base.in_channels, 7, 7)
    inputs = torch.randn(shape, generator=images)
    with torch.no_grad():
        apart = layer(inputs)
        absolute = base.weight.abs() + (LORA.alpha / LORA.rank * second.abs() @ first.abs()).view_as(base.weight)
        weight = base.weight.clone()
        merge(net)
        together = base(inputs)
        base.weight.copy_(absolute)
        base.bias.abs_()
        terms = base(inputs.abs())
    n = columns + LORA.rank + 3
    bound = 2 * n * UNIT / (1 - n * UNIT) * terms
    assert not torch.equal(weight, base.weight)
    assert ((apart - together).abs() <= bound).all()
    assert not torch.equal(apart, together)
