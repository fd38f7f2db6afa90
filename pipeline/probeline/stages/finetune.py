"""Fine-tune: train the whole net, from its pretrained weights and from scratch, on the probe's very rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from probeline.errors import Diverged
from probeline.identity import TRAIN_VERSION
from probeline.images.decode import random_resized_crop, resize_crop
from probeline.images.reading import Unreadable, ordered, read_batch
from probeline.records import Backbone, IntArray, PixelArray, Preprocess, Score
from probeline.report.files import save_score
from probeline.stages.inputs import Inputs

if TYPE_CHECKING:
    from PIL import Image

    from probeline.adapt.trainer import Feed
    from probeline.backbones.resolve import Loaded

METHODS = {"full": "finetune", "scratch": "scratch"}
"""The score's method of each strategy."""

CROP_SCALE = (0.35, 1.0)
"""Share of the image's area in a random resized crop; ImageNet's 0.08 is too hard for a few epochs."""

_WEIGHT_DECAY = 0.01
_BATCH = 32


def run(inputs: Inputs) -> list[dict[str, Any]]:
    """Train what the configuration asks for, with every seed, where there is no score of it yet; return all outcomes.

    Raises
    ------
    ProbelineError
    """
    config = inputs.config
    scores: list[Score] = []
    for name in config.backbones:
        pretrained, loaded = inputs.backbone(name)
        for strategy in config.strategies:
            # From scratch the net sees the very pixels that the pretrained one sees.
            backbone = replace(pretrained, weights="none") if strategy == "scratch" else pretrained
            for seed in range(config.seed, config.seed + config.seeds):
                scores.append(_train(inputs, backbone, loaded if strategy == "full" else None, strategy, seed))
                loaded = None
    return [inputs.outcome(score) for score in scores]


def training_facts(inputs: Inputs, strategy: str, seed: int) -> dict[str, Any]:
    """Return the options of one training run, all of which change its result."""
    config = inputs.config
    return {
        "epochs": config.epochs,
        "batch_size": config.batch_size or _BATCH,
        "lr": config.lr,
        "backbone_lr": config.lr if strategy == "scratch" else config.lr / 10,
        "weight_decay": _WEIGHT_DECAY,
        "freeze_batchnorm": config.freeze_batchnorm and strategy != "scratch",
        "precision": config.precision,
        "seed": seed,
    }


def _feed(inputs: Inputs, part: str, preprocess: Preprocess, threads: int) -> Feed:
    """Return what reads a part's pixels for the trainer: the centre as the probe sees it, or a random crop and flip."""
    images, flips = inputs.dataset.images[part], inputs.dataset.flips

    def read(rows: IntArray, augmentation: int | None) -> PixelArray:
        def view(image: Image.Image, row: int) -> PixelArray:
            if augmentation is None:
                return resize_crop(image, preprocess)
            rng = np.random.default_rng([augmentation, row])
            crop = random_resized_crop(
                image, preprocess.crop, rng, scale=CROP_SCALE, interpolation=preprocess.interpolation
            )
            return crop[:, ::-1] if flips and rng.random() < 0.5 else crop

        pixels = read_batch(images, rows, view, preprocess.crop)
        if isinstance(pixels, Unreadable):
            raise pixels.errors[0]
        return pixels

    def feed(batches: Sequence[IntArray], augmentation: int | None) -> Iterator[PixelArray]:
        for _, pixels in ordered(lambda rows: read(rows, augmentation), batches, threads):
            yield pixels

    return feed


def _train(inputs: Inputs, backbone: Backbone, loaded: Loaded | None, strategy: str, seed: int) -> Score:
    config, splits, method = inputs.config, inputs.splits, METHODS[strategy]
    facts = training_facts(inputs, strategy, seed)
    asked = inputs.ask(
        method,
        seed,
        {
            "version": TRAIN_VERSION,
            "weights": backbone.weights_sha256[:12] if strategy == "full" else "none",
            **{name: value for name, value in facts.items() if name not in ("seed", "precision")},
        },
        precision=config.precision,
        weights=backbone.weights_sha256 if strategy == "full" else "none",
        backbone=backbone.name,
        preprocess=backbone.preprocess.identity(),
        flips=inputs.dataset.flips,
        crop_scale=list(CROP_SCALE),
    )
    key = asked.key
    title = f"{inputs.dataset.name} x {backbone.name}, {method}, seed {seed}"
    if found := inputs.finished(backbone, asked, f"finetune: {title}"):
        return found

    import torch

    from probeline.adapt import checkpoint
    from probeline.adapt.trainer import Trainer, Training, fresh_head
    from probeline.backbones import device as devices
    from probeline.backbones.resolve import load
    from probeline.backbones.zoo import random_net

    device = devices.choose(config.device)
    weights = "none" if strategy == "scratch" else config.weights
    net = loaded or load(backbone.name, weights, backbone.preprocess.crop)[0]
    if strategy == "scratch":
        net.net.load_state_dict(random_net(backbone.name, seed).state_dict())
    fresh_head(net.net, net.tap, len(inputs.dataset.class_names), seed)
    threads = config.workers or torch.get_num_threads()
    feed, val_feed, test_feed = (
        _feed(inputs, split.part, backbone.preprocess, threads) for split in (splits.train, splits.val, splits.test)
    )
    training = Training(**facts)
    labels = {name: part.labels for name, part in inputs.dataset.parts.items()}
    trainer = Trainer(net.net, net.tap, backbone.preprocess, feed, labels[splits.train.part], device, training)
    checkpoints = config.cache / inputs.dataset.name / f"{backbone.slug}-{method}" / f"seed{seed}-{key[:12]}"
    with devices.exact_float32(training.precision):
        trained = trainer.fit(
            splits.train.rows,
            splits.val.rows,
            val_feed,
            labels[splits.val.part],
            key=key,
            folder=checkpoints,
            console=config.console,
            title=f"finetune {title}",
        )
        val_logits = trainer.predict(splits.val.rows, val_feed).numpy()
        logits = trainer.predict(splits.test.rows, test_feed).numpy()
    if not (np.isfinite(val_logits).all() and np.isfinite(logits).all()):
        raise Diverged(f"{title}: the trained net's output is not finite on every image", remedy="use a lower --lr")
    best = trained.history[trained.best_epoch - 1]
    score = Score(
        **inputs.scored(logits, devices.describe(device), labels[splits.val.part][splits.val.rows], val_logits),
        backbone=backbone.name,
        weights=backbone.weights,
        method=method,
        key=key,
        options=asked.options,
        image_size=backbone.preprocess.crop,
        precision=training.precision,
        seed=seed,
        val_top1=best["val_top1"],
        chosen={"epoch": trained.best_epoch},
        chosen_by=f"val (n={len(splits.val)})",
        trainable=trained.trainable,
        total=trained.total,
        warm_seconds=trained.seconds,
        cold_seconds=trained.seconds,
        converged=True,
        certificate={**facts, "backbone": "own" if strategy == "scratch" else backbone.weights_sha256},
        history=trained.history,
    )
    save_score(inputs.scores, score)
    checkpoint.remove(checkpoints, "last")
    config.console.say(f"finetune: {title}: test top-1 {score.top1:.4f} in {trained.seconds:.0f} s")
    return score
