"""The stages of timm's nets, held against timm's own table of where maps get smaller."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from probeline.backbones import torchvision_import as vision
from probeline.backbones.penultimate import Tap, find_tap
from probeline.backbones.stages import Stage, can_be_split, find_stages

QUICK = ("convnext_atto", "mobilevit_xxs", "regnetx_002", "resnet18")
"""Small nets of families that differ most: without BatchNorm, with attention, with and without bottlenecks."""

SLOW = (
    *("efficientvit_b0", "fastvit_t8", "mobilenetv4_conv_small_050", "poolformer_s12", "tiny_vit_5m_224"),
    *("edgenext_xx_small", "efficientnet_lite0", "ese_vovnet19b_dw", "ghostnet_050", "ghostnetv2_100", "hardcorenas_a"),
    *("inception_next_atto", "mobilenetv3_small_050", "repvgg_a0", "rexnet_100", "starnet_s1"),
    *("coatnet_0_224", "convnextv2_atto", "cspdarknet53", "cspresnet50", "darknet53", "davit_tiny", "densenet121"),
    *("dla34", "dpn48b", "focalnet_tiny_srf", "gcvit_xxtiny", "hiera_tiny_224", "inception_v3", "inception_v4"),
    *("maxvit_pico_rw_256", "mobileone_s0", "mobilevitv2_050", "nest_tiny", "regnety_002", "res2net50_26w_4s"),
    *("resnest14d", "resnetv2_50", "skresnet18", "swin_tiny_patch4_window7_224", "swinv2_cr_tiny_224", "tresnet_m"),
    "vovnet39a",
)
"""Not among them: xception, whose maps timm takes from inside of the block that makes them smaller."""


SMALL = {*QUICK, *SLOW[:4]}
"""Seen at 64 pixels; the rest at the size that each is made for."""


def stages_of(name: str) -> tuple[nn.Module, Tap, tuple[Stage, ...], int]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net: nn.Module = vision.timm().create_model(name, pretrained=False)
    size: int = 64 if name in SMALL else net.default_cfg["input_size"][1]  # type: ignore[union-attr, index, assignment]
    tap = find_tap(net, size, name)
    return net, tap, find_stages(net, tap, size), size


def run_order(net: nn.Module, images: torch.Tensor) -> list[str]:
    """Return the paths of the modules as they run."""
    order: list[str] = []
    handles = [
        module.register_forward_pre_hook(lambda *_, path=path: order.append(path))
        for path, module in net.named_modules()
    ]
    net(images)
    for handle in handles:
        handle.remove()
    return order


def covered(net: nn.Module, tap: Tap, stages: tuple[Stage, ...]) -> bool:
    """Say whether each parameter below the head is of one stage."""
    every = [parameter for stage in stages for parameter in stage.parameters]
    return sorted(every) == sorted(set(tap.tensors) & {name for name, _ in net.named_parameters()})


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_a_stage_begins_between_the_maps_that_timm_tabulates(name: str) -> None:
    net, tap, stages, size = stages_of(name)
    assert covered(net, tap, stages)
    for parameter in net.parameters():
        parameter.requires_grad_(True)
    order = run_order(net.eval(), torch.randn(2, 3, size, size))
    starts = [order.index(stage.module) for stage in stages]
    # What lies before the first reduction by four is a stem of one or two layers.
    maps = [(order.index(one["module"]), one["reduction"]) for one in net.feature_info if one["reduction"] >= 4]  # type: ignore[union-attr]
    assert len(maps) >= 3
    for (above, coarse), (below, fine) in pairwise(maps):
        assert fine > coarse
        assert any(above < start <= below for start in starts), (coarse, fine)
    for stage in stages[1:]:
        assert can_be_split(net, stage, size), stage.module


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "mixer_s16_224"])
def test_each_block_of_a_plain_transformer_is_a_stage(name: str) -> None:
    net, tap, stages, _ = stages_of(name)
    assert covered(net, tap, stages)
    blocks = len(net.blocks)  # type: ignore[arg-type]
    assert [stage.module for stage in stages[1:]] == [f"blocks.{number}" for number in range(1, blocks)]


@pytest.mark.parametrize("name", ["hrnet_w18_small", "selecsls42"])
def test_nets_of_several_branches_have_a_stage_all_the_same(name: str) -> None:
    net, tap, stages, _ = stages_of(name)
    assert stages
    assert covered(net, tap, stages)
