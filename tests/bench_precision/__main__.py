"""How far features and probes are from those of fp32 in the other precisions, and where bf16 loses its digits.

    python tests/bench_precision [--data FOLDER] [--device D] [--precisions P ...] [--backbones NAME[@WEIGHTS] ...]

Hymenoptera at 224 pixels. Cosines and differences are between each image's row and its row in fp32; a difference is
relative to the row's largest value. The parts of a net are rounded one at a time in a net that is fp32 otherwise.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor, nn

from probeline.backbones.frozen import Frozen
from probeline.cli.program import run_steps
from probeline.console import Silence
from probeline.data.pixels.loading import read_batch
from probeline.data.pixels.views import view_by
from probeline.environment import environment
from probeline.options.settings import Settings
from probeline.session import Session
from probeline.types import AnyArray

NETS = ("mobilenet_v2@IMAGENET1K_V1", "timm:tf_efficientnet_lite0@wheel", "squeezenet1_1")
SIZE, SEED, EVERY, BATCH = 224, 0, 5, 16
"""Side of the input, seed of the probe, one of so many images for the parts of a net, and images per pass there."""


def compare(rows: AnyArray, exact: AnyArray) -> dict[str, float]:
    """Return how far rows [N, D] are from the exact ones."""
    rows, exact = rows.astype(np.float64), exact.astype(np.float64)
    cosines = (rows * exact).sum(1) / np.linalg.norm(rows, axis=1) / np.linalg.norm(exact, axis=1)
    differences = np.abs(rows - exact).max(1) / np.abs(exact).max(1)
    return {
        "cosine_min": float(cosines.min()),
        "cosine_mean": float(cosines.mean()),
        "difference_max": float(differences.max()),
        "difference_mean": float(differences.mean()),
    }


def by_precision(name: str, precisions: list[str], options: dict[str, Any]) -> dict[str, Any]:
    """Return how far features and test accuracy of each precision are from those of fp32."""
    found: dict[str, Any] = {}
    exact: AnyArray | None = None
    for precision in ("fp32", *precisions):
        settings = settings_of(name, precision=precision, seed=SEED, **options)
        score = run_steps(settings, [(settings, ("probe",))])["probe"][0]
        session = Session(settings)
        backbone = session.backbone(name)[0]
        values = np.concatenate([session.features(backbone, part).features for part in session.parts()])
        exact = values if exact is None else exact
        facts = {name: score[name] for name in ("top1", "interval", "chosen")}
        found[precision] = {**compare(values, exact), "images": len(values), **facts}
        print(f"{name} {precision}: {found[precision]}", flush=True)
    return found


def settings_of(name: str, **options: Any) -> Settings:
    """Return the settings of a backbone on hymenoptera."""
    return Settings.of(dataset="hymenoptera", backbones=(name,), image_size=SIZE, console=Silence(), **options)


def round_parameters(kind: Callable[[nn.Module, str], bool]) -> Callable[[nn.Module], None]:
    """Return a change of a net: the parameters and statistics of a kind become what bf16 has of them."""

    def change(net: nn.Module) -> None:
        for module in net.modules():
            own = [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]
            for name, values in own:
                if values.is_floating_point() and kind(module, name):
                    values.data = values.data.bfloat16().float()

    return change


def round_outputs(net: nn.Module) -> None:
    """Round what every module without parts gives to bf16."""
    for module in net.modules():
        if not list(module.children()):
            module.register_forward_hook(lambda _, __, output: output.bfloat16().float())


def is_depthwise(module: nn.Module) -> bool:
    """Return whether a module is a convolution of one channel each."""
    return isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1


CHANGES: dict[str, Callable[[nn.Module], None]] = {
    "outputs of all modules": round_outputs,
    "all parameters": round_parameters(lambda *_: True),
    "weights of depthwise convolutions": round_parameters(lambda m, name: is_depthwise(m) and name == "weight"),
    "weights of other layers": round_parameters(lambda m, name: not is_depthwise(m) and name == "weight"),
    "biases": round_parameters(lambda _, name: name == "bias"),
}
"""What is rounded in a net that is fp32 otherwise."""


def keep(kind: Callable[[nn.Module], bool], net: nn.Module, exact: nn.Module) -> None:
    """Compute the modules of a kind in fp32 in a net in bf16, by the parameters of an exact one."""
    for (_, module), (_, original) in zip(net.named_modules(), exact.named_modules(), strict=True):
        if kind(module):
            module.load_state_dict(original.state_dict(), assign=True)
            module.register_forward_pre_hook(lambda _, arguments: (arguments[0].float(),))
            module.register_forward_hook(lambda _, __, output: output.bfloat16())


def keep_pooling(net: nn.Module, _: nn.Module) -> None:
    """Let what follows the last convolution of a net in bf16 compute in fp32; its norms are folded."""
    last = [module for module in net.modules() if isinstance(module, nn.Conv2d)][-1]
    last.register_forward_hook(lambda _, __, output: output.float())


def is_norm(module: nn.Module) -> bool:
    """Return whether a module is a norm with statistics."""
    return isinstance(module, nn.BatchNorm2d)


KEPT: dict[str, tuple[Callable[[nn.Module, nn.Module], None], bool]] = {
    "nothing": (lambda *_: None, True),
    "pooling": (keep_pooling, True),
    "depthwise convolutions": (partial(keep, is_depthwise), True),
    "nothing, BatchNorms not folded": (lambda *_: None, False),
    "BatchNorms, not folded": (partial(keep, is_norm), False),
}
"""What stays fp32 in a net that is bf16 otherwise, and whether its BatchNorms are folded."""


def by_part(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return how far features are from those of fp32 if one part of the net is in bf16, and if all but one is."""
    session = Session(settings_of(name, **options))
    backbone = session.backbone(name)[0]
    part = session.dataset.train
    images = session.dataset.images[part]
    content = session.dataset.parts[part].content
    rows = np.arange(0, len(content), EVERY)
    pixels = read_batch(images, rows, view_by(backbone.preprocess, None, content), backbone.preprocess)
    assert isinstance(pixels, np.ndarray)

    def net(precision: str, *, is_folded: bool = True) -> Frozen:
        with nullcontext() if is_folded else patch("probeline.backbones.frozen.fold_batchnorm", lambda *_: 0):
            return Frozen(session.net_of(backbone), torch.device("cpu"), precision)

    def embed(frozen: Frozen) -> AnyArray:
        blocks: list[Tensor] = [
            frozen.embed(torch.from_numpy(pixels[start : start + BATCH])) for start in range(0, len(pixels), BATCH)
        ]
        embedded: AnyArray = torch.cat(blocks).numpy()
        return embedded

    exact = embed(net("fp32"))
    found: dict[str, Any] = {"images": len(rows), "rounded": {}, "kept": {}}
    for what, change in CHANGES.items():
        frozen = net("fp32")
        change(frozen.net)
        found["rounded"][what] = compare(embed(frozen), exact)
        print(f"{name}, rounded: {what}: {found['rounded'][what]}", flush=True)
    for what, (keep_exact, is_folded) in KEPT.items():
        frozen = net("bf16", is_folded=is_folded)
        keep_exact(frozen.net, net("fp32", is_folded=is_folded).net)
        found["kept"][what] = compare(embed(frozen), exact)
        print(f"{name}, kept in fp32: {what}: {found['kept'][what]}", flush=True)
    return found


def main() -> None:
    """Measure, print each line and write all of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Settings().data.data)
    parser.add_argument("--cache", type=Path, default=Path("cache"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precisions", nargs="+", default=["fp16", "bf16"], help="tf32 is fp32 on a CPU")
    parser.add_argument("--backbones", nargs="+", default=NETS)
    parser.add_argument("--weights", help="a file, for a backbone without @WEIGHTS")
    parser.add_argument("--out", type=Path, default=Path("reports/bench-precision.json"))
    options = parser.parse_args()
    where = {"data": options.data, "cache": options.cache}
    found: dict[str, Any] = {"size": SIZE, "seed": SEED, "nets": {}}
    for name in options.backbones:
        own = {**where, **({} if "@" in name or options.weights is None else {"weights": options.weights})}
        reports = options.out.parent
        table = by_precision(name, options.precisions, {**own, "device": options.device, "reports": reports})
        found["nets"][name] = {"precisions": table, "parts": by_part(name, own)}
    found["environment"] = environment("CPU" if options.device == "cpu" else torch.cuda.get_device_name(options.device))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(found, indent=1, allow_nan=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
