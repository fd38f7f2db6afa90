"""Stages of every classification net: found by watching, held against what a person would call them."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import nn

from probeline.backbones.build import random_net
from probeline.backbones.penultimate import Tap, find_tap
from probeline.backbones.stages import Stage, can_be_split, find_stages, run_above, run_below
from small_runs import smallest_size, torchvision_nets

# The first module of each stage, by hand, for one net of each family: at each halving of the map, each block of a
# plain transformer, and the layers between the maps and the head where there are two of them or more.
STARTS = {
    "alexnet": ["features.0", "features.6", "classifier.1"],
    "convnext_tiny": ["features.0", "features.2", "features.4", "features.6"],
    "densenet121": ["features.conv0", "features.transition1", "features.transition2", "features.transition3"],
    "efficientnet_b0": ["features.0", "features.2", "features.3", "features.4", "features.6"],
    "efficientnet_v2_s": ["features.0", "features.2", "features.3", "features.4", "features.6"],
    "googlenet": ["conv1", "inception3a", "inception4a", "inception5a"],
    "inception_v3": ["Conv2d_1a_3x3", "Mixed_5b", "Mixed_6a", "Mixed_7a"],
    "maxvit_t": ["stem", "blocks.0", "blocks.1", "blocks.2", "blocks.3"],
    "mnasnet1_0": ["layers.0", "layers.8", "layers.9", "layers.10", "layers.12"],
    "mobilenet_v2": ["features.0", "features.2", "features.4", "features.7", "features.14"],
    "mobilenet_v3_large": ["features.0", "features.2", "features.4", "features.7", "features.13"],
    "regnet_x_400mf": ["stem", "trunk_output.block2", "trunk_output.block3", "trunk_output.block4"],
    "resnet18": ["conv1", "layer2", "layer3", "layer4"],
    "resnet50": ["conv1", "layer2", "layer3", "layer4"],
    "resnext50_32x4d": ["conv1", "layer2", "layer3", "layer4"],
    "shufflenet_v2_x1_0": ["conv1", "stage3", "stage4"],
    "squeezenet1_1": ["features.0", "features.6", "features.9"],
    "swin_t": ["features.0", "features.2", "features.4", "features.6"],
    "swin_v2_t": ["features.0", "features.2", "features.4", "features.6"],
    "vgg16": ["features.0", "features.5", "features.10", "features.17", "features.24", "classifier.0"],
    "vit_b_16": ["conv_proj", *(f"encoder.layers.encoder_layer_{i}" for i in range(1, 12))],
    "wide_resnet50_2": ["conv1", "layer2", "layer3", "layer4"],
}


class Parted(NamedTuple):
    """A net in its stages."""

    net: nn.Module
    stages: tuple[Stage, ...]
    tap: Tap
    size: int


def parted(name: str) -> Parted:
    net, size = random_net(name, 0), smallest_size(name)
    tap = find_tap(net, size, name)
    return Parted(net, find_stages(net, tap, size), tap, size)


@pytest.fixture(scope="module")
def resnet18() -> Parted:
    return parted("resnet18")


QUICK = {"alexnet", "densenet121", "googlenet", "mobilenet_v2", "resnet18", "squeezenet1_1", "swin_t"}
"""The nets that differ most; the rest is slow."""


@pytest.mark.parametrize("name", torchvision_nets(QUICK, STARTS))
def test_every_net_has_stages_that_part_it(name: str) -> None:
    net, stages, tap, size = parted(name)
    assert len(stages) >= 3
    starts = [stage.module for stage in stages]
    assert starts == STARTS.get(name, starts)
    # Each parameter below the head is of one stage.
    every = [parameter for stage in stages for parameter in stage.parameters]
    assert sorted(every) == sorted(set(tap.tensors) & {name for name, _ in net.named_parameters()})
    # A transformer has dozens of stages, all alike.
    for stage in stages[1:] if len(stages) < 8 else (stages[1], stages[len(stages) // 2], stages[-1]):
        assert can_be_split(net, stage, size), stage.module


def test_the_last_stage_of_a_resnet_has_the_published_number_of_parameters(resnet18: Parted) -> None:
    sizes = dict(resnet18.net.named_parameters())
    counts = [sum(sizes[name].numel() for name in stage.parameters) for stage in resnet18.stages]
    assert counts == [9_536 + 147_968, 525_568, 2_099_712, 8_393_728]


def test_modules_of_a_stage_are_those_that_run_in_it(resnet18: Parted) -> None:
    stages = resnet18.stages
    assert {"conv1", "bn1", "relu", "maxpool", "layer1", "layer1.1.bn2"} <= set(stages[0].modules)
    assert {"layer3", "layer3.0.downsample.1"} <= set(stages[2].modules)
    assert {"layer4", "avgpool"} <= set(stages[3].modules)
    every = [path for stage in stages for path in stage.modules]
    assert len(every) == len(set(every))
    assert not {"", "fc"} & set(every)


def test_looking_leaves_the_net_as_it_was() -> None:
    net = random_net("resnet18", 0)
    net.conv1.requires_grad_(False)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    tap = find_tap(net, 64, "resnet18")
    state = torch.random.get_rng_state()
    find_stages(net, tap, 64)
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())


def test_training_above_equals_training_the_whole_with_what_is_below_frozen() -> None:
    net, stages, _, size = parted("mobilenet_v2")
    stage = stages[-1]
    images = torch.randn(4, 3, size, size)
    net.eval()
    gradients = []
    for in_parts in (False, True):
        net.zero_grad()
        for name, parameter in net.named_parameters():
            parameter.requires_grad_(name in stage.parameters)
        output = run_above(net, stage, run_below(net, stage, images), size) if in_parts else net(images)
        output.square().sum().backward()
        gradients.append({name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys() == set(stage.parameters)
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient)
