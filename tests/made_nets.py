"""Tiny nets as users bring them: saved by transformers or open_clip, or as functions of a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from probeline.backbones import torchvision_import as vision

SIZE = 28

STATED = 'dict(resize=32, crop=28, interpolation="bicubic", mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))'
"""The preprocessing of all of them, as a user's code states it."""

SMALL_NET = f"""
import torch
from torch import nn


def small():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)
    )


preprocess = {STATED}
"""
"""A file with a function that returns a net with a head."""


def write_code(folder: Path, code: str = SMALL_NET, name: str = "net.py") -> Path:
    """Write a user's file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(code, encoding="utf-8")
    return folder / name


def small_net() -> nn.Module:
    """Return a net with a head, as an object of a Python program."""
    torch.manual_seed(1)
    stem = nn.Conv2d(3, 8, 3, stride=2)
    return nn.Sequential(stem, nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))


TOWER: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": SIZE,
    "patch_size": 14,
}


def save_transformers(folder: Path, model: str, config: dict[str, Any], processor: Any = None) -> nn.Module:
    """Save a model of transformers with random weights and its processor, and return the model.

    The weights are larger than at initialisation, so that errors of the forward pass are seen.
    """
    package = vision.transformers()
    torch.manual_seed(2)
    net: nn.Module = getattr(package, model)(package.AutoConfig.for_model(**config)).eval()
    with torch.no_grad():
        for name, tensor in net.named_parameters():
            if tensor.ndim > 1 or "lambda" in name:
                tensor.normal_(std=0.2)
    quiet = package.utils.logging
    quiet.disable_progress_bar()
    net.save_pretrained(folder)  # type: ignore[operator]
    (processor or bit_processor()).save_pretrained(folder)
    quiet.enable_progress_bar()
    return net


def bit_processor() -> Any:
    """Return the processor of `STATED`, of DINOv2's kind."""
    return vision.transformers().BitImageProcessor(
        size={"shortest_edge": 32},
        crop_size={"height": SIZE, "width": SIZE},
        resample=3,
        image_mean=[0.5, 0.4, 0.3],
        image_std=[0.2, 0.25, 0.3],
    )


def dinov2_for_timm(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of transformers' DINOv2 by timm's names."""
    renamed = {
        "cls_token": state["embeddings.cls_token"],
        "pos_embed": state["embeddings.position_embeddings"],
        "norm.weight": state["layernorm.weight"],
        "norm.bias": state["layernorm.bias"],
    }
    for kind in ("weight", "bias"):
        renamed[f"patch_embed.proj.{kind}"] = state[f"embeddings.patch_embeddings.projection.{kind}"]
    for number in range(TOWER["num_hidden_layers"]):
        old, new = f"encoder.layer.{number}", f"blocks.{number}"
        for kind in ("weight", "bias"):
            parts = [state[f"{old}.attention.{part}_proj.{kind}"] for part in "qkv"]
            renamed[f"{new}.attn.qkv.{kind}"] = torch.cat(parts)
            renamed[f"{new}.attn.proj.{kind}"] = state[f"{old}.attention.o_proj.{kind}"]
            for layer in ("norm1", "norm2", "mlp.fc1", "mlp.fc2"):
                renamed[f"{new}.{layer}.{kind}"] = state[f"{old}.{layer}.{kind}"]
        for scale in ("1", "2"):
            renamed[f"{new}.ls{scale}.gamma"] = state[f"{old}.layer_scale{scale}.lambda1"]
    return renamed


TIMM_DINOV2 = f"""
import timm


def dinov2():
    return timm.create_model(
        "vit_small_patch14_dinov2", depth=2, embed_dim=32, num_heads=2, img_size={SIZE}, init_values=1.0
    )


dinov2.preprocess = {STATED}
"""
"""DINOv2 of two blocks, by timm."""


def save_open_clip(folder: Path, *, tokens: int = 50, context: int = 8, seed: int = 3, **text: object) -> Path:
    """Save a model of open_clip with random weights, images squeezed to squares; return the weights file.

    Its text tower knows some `tokens`, 49,408 of open_clip's own tokenizer, and reads up to `context` of them; `text`
    are other settings of it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = {"context_length": context, "vocab_size": tokens, "width": 16, "heads": 2, "layers": 1, **text}
    tower = {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8}
    config = {
        "model_cfg": {"embed_dim": 16, "vision_cfg": tower, "text_cfg": text},
        "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "squash"},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")
    torch.manual_seed(seed)
    net = vision.open_clip().create_model(f"local-dir:{folder}", load_weights=False)
    torch.save(net.state_dict(), folder / "open_clip_pytorch_model.bin")
    return folder / "open_clip_pytorch_model.bin"
