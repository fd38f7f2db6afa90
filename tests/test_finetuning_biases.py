"""BitFit: biases and head are trained, and nothing else moves, the statistics of norms neither."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from probeline.backbones import torchvision_import as vision
from probeline.backbones.penultimate import find_tap
from probeline.backbones.stages import find_stages
from probeline.errors import BadOption
from probeline.finetuning.training.unfreezing import only_biases
from small_trainings import (
    BATCHES_AN_EPOCH,
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

FROZEN = replace(TRAINING, freeze_batchnorm=True)


class Unbiased(nn.Module):
    """A net whose only vectors are BatchNorm's, and whose tables are called biases."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.position_bias = nn.Parameter(torch.full((1, 8, 1, 1), 0.5))
        self.wide = nn.Conv2d(8, 8, 3, stride=2, bias=False)
        self.fc = nn.Linear(8, 7)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.norm(self.conv(images)) + self.position_bias
        logits: Tensor = self.fc(self.wide(maps.relu()).relu().mean((2, 3)))
        return logits


@pytest.mark.parametrize(
    ("make", "training", "biases"),
    [
        (Tiny, TRAINING, {"conv.bias", "norm.bias", "narrow.bias"}),
        (Tiny, FROZEN, {"conv.bias"}),
        (Unbiased, TRAINING, {"norm.bias"}),
        (
            small_vit,
            TRAINING,
            {
                "patch_embed.proj.bias",
                "norm.bias",
                *(
                    f"blocks.{block}.{layer}.bias"
                    for block in (0, 1)
                    for layer in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
                ),
            },
        ),
        (
            attention_net,
            TRAINING,
            {
                "conv_proj.bias",
                "encoder.ln.bias",
                *(
                    f"encoder.layers.encoder_layer_{block}.{bias}"
                    for block in (0, 1)
                    for bias in (
                        *("ln_1.bias", "self_attention.in_proj_bias", "self_attention.out_proj.bias"),
                        *("ln_2.bias", "mlp.0.bias", "mlp.3.bias"),
                    )
                ),
            },
        ),
    ],
    ids=["norms", "frozen norms", "no others", "vit", "attention"],
)
def test_biases_and_head_move_and_nothing_else(
    make: Callable[[], nn.Module], training: Any, biases: set[str], tmp_path: Path
) -> None:
    trainer = make_trainer(replace(training, body=1.0), make=make, strategy="bitfit")
    before = state(trainer.net)
    fitted = fit(trainer, tmp_path)
    head = {name for name in before if name.startswith(f"{trainer.setup.tap.head}.")}
    changed = moved(before, trainer.net.state_dict())
    # BatchNorm takes the bias of a convolution before it away again, so that only roundings move it: not if it is in
    # eval mode, as here.
    assert changed == biases | head
    assert fitted.trainable == sum(before[name].numel() for name in changed)
    assert fitted.history[-1]["train_loss"] < fitted.history[0]["train_loss"]


@pytest.mark.parametrize(("width", "depth"), [(16, 2), (24, 3)])
def test_a_transformer_has_eleven_widths_of_biases_per_block(width: int, depth: int) -> None:
    """Per block qkv 3, proj 1, fc1 4, fc2 1 and two norms; below and above them the patches' and the last norm's."""

    def vit() -> nn.Module:
        net: nn.Module = vision.timm().create_model(
            "vit_tiny_patch16_224", img_size=SIZE, patch_size=8, embed_dim=width, depth=depth, num_heads=2
        )
        return net

    trainer = make_trainer(make=vit, strategy="bitfit")
    assert trainer.trainable == (11 * depth + 2) * width + 3 * width + 3
    full = make_trainer(make=vit)
    assert trainer.total == full.total == full.trainable


def test_a_resnet_has_the_shifts_of_its_norms() -> None:
    trainer = make_trainer(make=lambda: vision.models().resnet18(num_classes=7), size=32, strategy="bitfit")
    # A shift for each channel of the norms: the stem, then four stages of four, three with a shortcut's.
    assert trainer.trainable == 64 + 4 * (64 + 128 + 256 + 512) + 128 + 256 + 512 + 512 * 3 + 3


def refusal(make: Callable[[], nn.Module], *, without_batchnorm: bool = False) -> str:
    net = seeded(make)
    stages = find_stages(net, find_tap(net, SIZE, "a net"), SIZE)
    with pytest.raises(BadOption) as caught:
        only_biases(net, stages, without_batchnorm=without_batchnorm)
    return str(caught.value)


def test_a_net_without_biases_is_refused() -> None:
    bare = "no --strategy bitfit: this net has no bias below its head"
    remedy = "; use --strategy last-1 or lora"
    kept = " (got BatchNorm's alone, which --freeze-batchnorm keeps)"
    assert refusal(Unbiased, without_batchnorm=True) == bare + kept + remedy

    def headed() -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 7))

    assert refusal(headed) == refusal(headed, without_batchnorm=True) == bare + remedy


def test_rates_fall_from_stage_to_stage() -> None:
    training = replace(TRAINING, lr=0.1, body=0.5, decay=0.1)
    trainer = make_trainer(training, make=Steps, strategy="bitfit")
    groups = trainer.stepper.optimizer.param_groups
    assert [group["peak"] for group in groups] == pytest.approx([0.1, 0.1, 0.05, 0.005, 0.0005])
    assert [group["weight_decay"] for group in groups] == [0.01, 0.0, 0.0, 0.0, 0.0], "biases have none"


@pytest.mark.parametrize("make", [Tiny, small_vit])
def test_an_interrupted_training_takes_the_same_steps(make: Callable[[], nn.Module], tmp_path: Path) -> None:
    whole = make_trainer(make=make, strategy="bitfit")
    expected = fit(whole, tmp_path / "whole")
    cut = Interrupted(2 * BATCHES_AN_EPOCH + 1)
    with pytest.raises(KeyboardInterrupt):
        fit(make_trainer(make=make, strategy="bitfit", feed=cut), tmp_path / "cut", feed=cut)
    resumed = make_trainer(make=make, strategy="bitfit")
    found = fit(resumed, tmp_path / "cut")
    assert found.resumed_from == 2
    assert lines(found.history) == lines(expected.history)
    assert moved(state(whole.net), resumed.net.state_dict()) == set()
