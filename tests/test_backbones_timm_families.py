"""One small net of every family of timm's, with random weights: as a classifier and without a head."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from torch import nn

from probeline.backbones import torchvision_import as vision
from probeline.backbones.penultimate import find_tap, set_head
from probeline.backbones.stages import find_stages
from probeline.finetuning.head import fresh_head
from probeline.names import ADDED_HEAD, OUTPUT

pytestmark = pytest.mark.usefixtures("one_thread")

FAMILIES = {
    "beit": "beit_base_patch16_224",
    "byoanet": "halonet_h1",
    "byobnet": "test_byobnet",
    "cait": "cait_xxs24_224",
    "coat": "coat_tiny",
    "convit": "convit_tiny",
    "convmixer": "convmixer_768_32",
    "convnext": "test_convnext",
    "cpubone": "cpubone_nano",
    "crossvit": "crossvit_tiny_240",
    "csatv2": "csatv2",
    "cspnet": "cs3darknet_focus_s",
    "cspnext": "cspnext_tiny",
    "davit": "davit_tiny",
    "deepseek_vit": "deepseek_vit_412m",
    "deit": "deit_tiny_patch16_224",
    "densenet": "densenet121",
    "dla": "dla46x_c",
    "dpn": "dpn48b",
    "edgenext": "edgenext_xx_small",
    "efficientformer": "efficientformer_l1",
    "efficientformer_v2": "efficientformerv2_s0",
    "efficientnet": "test_efficientnet",
    "efficientvim": "efficientvim_m1",
    "efficientvit_mit": "efficientvit_b0",
    "efficientvit_msra": "efficientvit_m0",
    "eva": "eva02_tiny_patch14_336",
    "fasternet": "fasternet_t0",
    "fastvit": "fastvit_t8",
    "focalnet": "focalnet_tiny_srf",
    "gcvit": "gcvit_xxtiny",
    "gemma4_vit": "gemma4_vit_167m",
    "ghostnet": "ghostnet_050",
    "hardcorenas": "hardcorenas_b",
    "hgnet": "hgnetv2_b0",
    "hiera": "hiera_tiny_224",
    "hieradet_sam2": "hieradet_small",
    "hrnet": "hrnet_w18_small",
    "iformer": "iformer_t",
    "inception_next": "inception_next_atto",
    "inception_resnet_v2": "inception_resnet_v2",
    "inception_v3": "inception_v3",
    "inception_v4": "inception_v4",
    "lcnetv2": "lcnetv2_small",
    "levit": "levit_128s",
    "lowformer": "lowformer_b0",
    "mambaout": "test_mambaout",
    "maxxvit": "test_coatnet",
    "metaformer": "poolformerv2_s12",
    "mlp_mixer": "gmlp_ti16_224",
    "mobilenetv3": "mobilenetv3_small_050",
    "mobilenetv5": "mobilenetv5_base",
    "mobilevit": "mobilevit_xxs",
    "mvitv2": "mvitv2_tiny",
    "naflexvit": "naflexvit_base_patch16_parfac_gap",
    "nasnet": "nasnetalarge",
    "nest": "nest_tiny",
    "nextvit": "nextvit_small",
    "nfnet": "test_nfnet",
    "pit": "pit_ti_224",
    "pnasnet": "pnasnet5large",
    "pvt_v2": "pvt_v2_b0",
    "qwen3_vit": "qwen3_vit_88m",
    "rdnet": "rdnet_tiny",
    "regnet": "regnetx_002",
    "repghost": "repghostnet_050",
    "repvit": "repvit_m1",
    "res2net": "res2next50",
    "resnest": "resnest14d",
    "resnet": "test_resnet",
    "resnetv2": "resnetv2_18",
    "rexnet": "rexnet_100",
    "selecsls": "selecsls42",
    "senet": "legacy_seresnet18",
    "sequencer": "sequencer2d_s",
    "shvit": "shvit_s1",
    "sknet": "skresnet18",
    "starnet": "starnet_s050",
    "swiftformer": "swiftformer_xs",
    "swin_transformer": "swin_tiny_patch4_window7_224",
    "swin_transformer_v2": "swinv2_tiny_window8_256",
    "swin_transformer_v2_cr": "swinv2_cr_tiny_224",
    "tiny_vit": "tiny_vit_5m_224",
    "tnt": "tnt_s_legacy_patch16_224",
    "tresnet": "tresnet_m",
    "twins": "twins_svt_small",
    "vgg": "vgg11",
    "visformer": "visformer_tiny",
    "vision_transformer": "test_vit",
    "vision_transformer_hybrid": "vit_tiny_r_s16_p8_224",
    "vision_transformer_relpos": "test_vit_relpos",
    "vision_transformer_sam": "samvit_base_patch16_224",
    "vitamin": "vitamin_small_224",
    "volo": "volo_d1_224",
    "vovnet": "ese_vovnet19b_slim_dw",
    "xception": "legacy_xception",
    "xception_aligned": "xception41p",
    "xcit": "xcit_nano_12_p8_224",
}
"""The family's member with the fewest parameters."""

QUICK = {
    "byobnet",
    "convnext",
    "efficientnet",
    "mambaout",
    "maxxvit",
    "nfnet",
    "resnet",
    "starnet",
    "vision_transformer",
    "vovnet",
}
"""What takes a tenth of a second."""

SHALLOW = {"beit", "deepseek_vit", "gemma4_vit", "mobilenetv5", "naflexvit", "qwen3_vit", "vision_transformer_sam"}
"""Transformers of which no member is small: built with two blocks."""

WITHOUT_CLASSIFIER = {"deepseek_vit", "gemma4_vit", "qwen3_vit"}
"""Image towers of language models."""

SEVERAL_HEADS = {
    "crossvit",
    "efficientformer",
    "efficientformer_v2",
    "efficientvim",
    "levit",
    "repvit",
    "swiftformer",
    "volo",
}
"""Classifiers whose logits are a mean of several heads'."""


def sizes(own: int) -> list[tuple[int, dict[str, Any]]]:
    return [(64, {}), (64, {"img_size": 64}), (126, {}), (128, {}), (own, {})]


def make(family: str, classes: int) -> tuple[nn.Module, int]:
    """Return a net of the family and the smallest of some image sizes that it takes."""
    timm = vision.timm()
    name = FAMILIES[family]
    depth = {"depth": 2} if family in SHALLOW - {"mobilenetv5"} else {}
    own = timm.get_pretrained_cfg(name).input_size[1]
    for size, options in sizes(own):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            try:
                net = timm.create_model(name, num_classes=classes, **options, **depth).eval()
                with torch.no_grad():
                    net(torch.zeros(1, 3, size, size))
            except (RuntimeError, AssertionError, ValueError, TypeError):
                continue
        return net, size
    raise AssertionError(f"{name} takes no image")


def test_every_family_has_a_member_here() -> None:
    assert set(vision.timm().list_modules()) == FAMILIES.keys()


@pytest.mark.parametrize(
    "family", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES]
)
def test_a_classifier_and_its_net_without_head_have_one_embedding(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("timm"), "disabled", True)
    headless, size = make(family, 0)
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(3))
    if family not in WITHOUT_CLASSIFIER:
        classifier, _ = make(family, 10)
        headless.load_state_dict(classifier.state_dict(), strict=False)
        tap = find_tap(classifier, size, family)
        assert (tap.head == ADDED_HEAD) == (family in SEVERAL_HEADS)
        set_head(classifier, tap, nn.Identity())
        with torch.no_grad():
            embedding, expected = classifier(images), headless(images)
        # A last BatchNorm that timm counts as head divides by sqrt(1 + 1e-5) here.
        torch.testing.assert_close(embedding, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    tap = find_tap(headless, size, family)
    assert (tap.head, tap.pooling) == (ADDED_HEAD, OUTPUT)
    with torch.no_grad():
        assert headless(images).shape == (2, tap.dim)
    stages = find_stages(headless, tap, size)
    assert stages
    assert not {name for stage in stages for name in stage.parameters} - set(tap.tensors)
    fresh_head(headless, tap, 3, seed=0)
    with torch.no_grad():
        assert headless(images).shape == (2, 3)
