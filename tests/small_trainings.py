"""Trainings of nets so small that a test can run many of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from probeline.backbones import torchvision_import as vision
from probeline.backbones.penultimate import find_tap
from probeline.backbones.stages import find_stages
from probeline.console import Silence
from probeline.finetuning.head import fresh_head
from probeline.finetuning.ranks import ALONE, Ranks
from probeline.finetuning.training.adapters import AdapterOptions, adapt
from probeline.finetuning.training.losses import CrossEntropy, TrainingLoss
from probeline.finetuning.training.setup import Feed, TrainingOptions, TrainingSetup, ValidationSet
from probeline.finetuning.training.trainer import Trainer, TrainingResult
from probeline.finetuning.training.unfreezing import only_biases, plan_unfreezing
from probeline.images import PixelArray, Preprocess
from probeline.names import FEW_PARAMETERS
from probeline.types import AnyArray, IntArray

CPU = torch.device("cpu")
SIZE = 16
CLASSES = 3
KEY = "a" * 64
LABELS = np.arange(42, dtype=np.int64) % CLASSES
TRAIN, VAL = np.arange(30), np.arange(30, 42)
TRAINING = TrainingOptions(
    epochs=4,
    batch_size=8,
    lr=0.02,
    body=0.1,
    decay=1.0,
    optimizer="adamw",
    weight_decay=0.01,
    schedule="cosine",
    warmup=0.0,
    label_smoothing=0.0,
    clip=0.0,
    dropout=0.0,
    accumulate=1,
    patience=0,
    freeze_batchnorm=False,
    precision="fp32",
    seed=0,
)


class Tiny(nn.Module):
    """All that training could forget: BatchNorm with statistics, dropout, a bias of many axes, a head's own norm."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.position = nn.Parameter(torch.full((1, 8, 1, 1), 0.5))
        self.wide = nn.Conv2d(8, 12, 3, stride=2, padding=1, bias=False)
        self.narrow = nn.BatchNorm1d(12)
        self.dropout = nn.Dropout(0.3)
        self.fc = nn.Linear(12, 7)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.wide((self.norm(self.conv(images)) + self.position).relu()).relu()
        logits: Tensor = self.fc(self.dropout(self.narrow(maps.mean((2, 3)))))
        return logits


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return make()


def pictures(size: int = SIZE) -> PixelArray:
    """Return images whose strongest channel tells their class, under noise."""
    pixels = np.random.default_rng(0).integers(0, 120, (len(LABELS), size, size, 3), dtype=np.uint8)
    pixels[np.arange(len(LABELS)), :, :, LABELS] += 80
    return pixels


def plain_feed(pixels: PixelArray) -> Feed:
    def feed(batches: Sequence[IntArray], augmentation: int | None) -> Iterator[PixelArray]:
        for rows in batches:
            batch = pixels[rows]
            if augmentation is not None:
                for slot, row in zip(batch, rows.tolist(), strict=True):
                    slot += np.random.default_rng([augmentation, row]).integers(0, 50, slot.shape, dtype=np.uint8)
            yield batch

    return feed


FEED = plain_feed(pictures())


def preprocess(size: int = SIZE) -> Preprocess:
    return Preprocess(size, size, "bilinear", (0.4, 0.4, 0.4), (0.25, 0.25, 0.25))


def make_trainer(
    training: TrainingOptions = TRAINING,
    *,
    make: Callable[[], nn.Module] = Tiny,
    feed: Feed = FEED,
    size: int = SIZE,
    strategy: str = "full",
    unfreeze: tuple[int, ...] = (),
    adapters: AdapterOptions | None = None,
    labels: AnyArray = LABELS,
    loss: TrainingLoss | None = None,
    second: int = 0,
    ranks: Ranks = ALONE,
) -> Trainer:
    net = seeded(make)
    tap = find_tap(net, size, "a net")
    stages = find_stages(net, tap, size)
    fresh_head(net, tap, CLASSES, training.seed, training.dropout, second)
    unfreezing = plan_unfreezing(strategy, len(stages), training.epochs, unfreeze)
    own = loss or CrossEntropy(training.label_smoothing)
    if strategy == "bitfit":
        stages = only_biases(net, stages, without_batchnorm=training.freeze_batchnorm)
    if adapters is not None:
        adapted = adapt(net, tap, stages, size, adapters, training.seed)
        tap, stages = adapted.tap, adapted.stages
    setup = TrainingSetup(
        net,
        tap,
        stages,
        unfreezing,
        preprocess(size),
        feed,
        labels,
        CPU,
        training,
        own,
        ranks=ranks,
        keeps_statistics=strategy in FEW_PARAMETERS,
    )
    return Trainer(setup)


def fit(
    trainer: Trainer,
    folder: Path,
    *,
    train: IntArray = TRAIN,
    feed: Feed = FEED,
    labels: AnyArray = LABELS,
    key: str = KEY,
) -> TrainingResult:
    val = ValidationSet(VAL, feed, labels)
    return trainer.fit(train, val, key=key, folder=folder, console=Silence(), title="a run")


def state(net: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in net.state_dict().items()}


def moved(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}


def lines(history: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a history without what may differ between two equal runs."""
    return [{name: value for name, value in epoch.items() if name != "seconds"} for epoch in history]


class Steps(nn.Module):
    """Three stages, each of two layers, with norms and a dropout in the first."""

    def __init__(self, *, norms: bool = True) -> None:
        super().__init__()

        def stage(inputs: int, outputs: int, *extra: nn.Module) -> nn.Sequential:
            norm = nn.BatchNorm2d(outputs) if norms else nn.Identity()
            first = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1)
            return nn.Sequential(first, norm, nn.ReLU(), *extra, nn.Conv2d(outputs, outputs, 3, padding=1), nn.ReLU())

        self.low = stage(3, 8, *([nn.Dropout(0.5)] if norms else []))
        self.mid = stage(8, 12)
        self.top = stage(12, 16)
        self.fc = nn.Linear(16, 7)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.top(self.mid(self.low(images))).mean((2, 3)))
        return logits


def small_vit() -> nn.Module:
    """Return timm's ViT: two blocks of four linear layers each, qkv, proj, fc1 and fc2."""
    net: nn.Module = vision.timm().create_model(
        "vit_tiny_patch16_224", img_size=SIZE, patch_size=8, embed_dim=16, depth=2, num_heads=2, num_classes=7
    )
    return net


def attention_net() -> nn.Module:
    """Return torchvision's ViT, whose ``nn.MultiheadAttention`` reads its weights without calling a layer."""
    net: nn.Module = vision.models().VisionTransformer(
        image_size=SIZE, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=7
    )
    return net


class Interrupted:
    """A feed that is interrupted at its batch number `after`, counted over all epochs, train and val."""

    def __init__(self, after: int, feed: Feed = FEED) -> None:
        self.left = after
        self.feed = feed

    def __call__(self, batches: Sequence[IntArray], augmentation: int | None) -> Iterator[PixelArray]:
        for pixels in self.feed(batches, augmentation):
            if not self.left:
                raise KeyboardInterrupt
            self.left -= 1
            yield pixels


TRAIN_BATCHES = math.ceil(len(TRAIN) / 8)
BATCHES_AN_EPOCH = TRAIN_BATCHES + math.ceil(len(VAL) / 8)
