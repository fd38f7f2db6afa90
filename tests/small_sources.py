"""A source of backbones so small that a test can train and export them, as another package would add it."""

from __future__ import annotations

GROUP, PREFIX = "probeline.backbones", "toy"
HEADLESS = "toy:headless"
WIDTH, BLOCKS, SIZE, PATCH = 32, 3, 32, 8

SOURCE = f'''
"""Two nets of timm's with random weights: a ViT without a head, and a CNN without one."""

import torch

from probeline.backbones import torchvision_import as vision
from probeline.backbones.source import CLASSIC, Built, no_categories
from probeline.backbones.sources.timm import adapt

SPEC = "toy:NAME"


def names():
    return ("cnn", "headless")


def knows(name):
    return name in names()


def weights(name):
    return ("DEFAULT",)


def create(name, options, *, init=False):
    if name == "cnn":
        return vision.timm().create_model("test_resnet", num_classes=0)
    return vision.timm().create_model(
        "vit_tiny_patch16_224",
        img_size=options.get("image_size", {SIZE}),
        patch_size={PATCH},
        depth={BLOCKS},
        embed_dim={WIDTH},
        num_heads=2,
        num_classes=0,
    )


def pretrained(name, weights):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return Built(create(name, {{}}), "DEFAULT", CLASSIC.at({SIZE}), ())


def preprocess(net):
    return CLASSIC.at({SIZE})


def options(name, weights):
    return {{}}


def categories(name, weights):
    raise no_categories(f"toy:{{name}}", weights)
'''
