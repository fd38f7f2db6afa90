"""Extraction with one net and one preprocessing: hymenoptera at 224 pixels, tf_efficientnet_lite0 from a package.

Each contender is a process of its own that reads the same files, and returns features for the comparison with those of
a plain loop. Only Probeline writes them to disk, hashes files and rows, and can go on after a kill.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bench_peers.process import Clock
from probeline.environment import declare_missing_operators

NET, BATCH = "tf_efficientnet_lite0", 32


def probeline(folder: Path, data: str, state: str, workers: int) -> dict[str, Any]:
    """Into an empty cache: every file and row hashed, features written and read back."""
    declare_missing_operators()
    import timm  # noqa: F401 - what the others import before their clock starts

    import probeline

    clock = Clock()
    features = probeline.extract(f"folder:{data}", f"timm:{NET}", weights="wheel", cache=state)
    rows = features.numpy()
    return _answer(folder, clock, dict(zip(features.sample_ids.tolist(), rows, strict=True)))


def plain_loop(folder: Path, data: str, state: str, workers: int) -> dict[str, Any]:
    """A DataLoader over an ImageFolder, as in tutorials."""
    declare_missing_operators()
    import torch
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder

    clock = Clock()
    net, transform = _load(folder)
    dataset = ImageFolder(data, transform)
    with torch.inference_mode():
        batches = (net(images).numpy() for images, _ in DataLoader(dataset, BATCH, num_workers=workers))
        rows = np.concatenate(list(batches))
    return _answer(folder, clock, _named(data, (path for path, _ in dataset.samples), rows))


def timm(folder: Path, data: str, state: str, workers: int) -> dict[str, Any]:
    """timm's own data set and loader, as its script for bulk inference uses them on a CPU."""
    declare_missing_operators()
    import torch
    from timm.data import create_dataset, create_loader, resolve_data_config

    clock = Clock()
    net, _ = _load(folder)
    config = resolve_data_config({}, model=net)
    dataset = create_dataset("", root=data)
    loader = create_loader(
        dataset,
        batch_size=BATCH,
        use_prefetcher=False,
        num_workers=workers,
        device=torch.device("cpu"),
        **{name: config[name] for name in ("input_size", "interpolation", "mean", "std", "crop_pct", "crop_mode")},
    )
    with torch.inference_mode():
        rows = np.concatenate([net(images).numpy() for images, _ in loader])
    names = dataset.filenames(absolute=True)
    return _answer(folder, clock, _named(data, names, rows))


def lightly(folder: Path, data: str, state: str, workers: int) -> dict[str, Any]:
    """lightly's `SelfSupervisedEmbedding.embed` over a `LightlyDataset`."""
    declare_missing_operators()
    from types import SimpleNamespace

    import torch
    from lightly.data import LightlyDataset
    from lightly.embedding import SelfSupervisedEmbedding
    from torch.utils.data import DataLoader

    clock = Clock()
    net, transform = _load(folder)
    model = torch.nn.Module()
    model.backbone = net
    dataset = LightlyDataset(data, transform=transform)
    loader = DataLoader(dataset, BATCH, num_workers=workers)
    encoder = SelfSupervisedEmbedding(model, None, SimpleNamespace(), loader)
    rows, _, names = encoder.embed(loader, device=torch.device("cpu"))
    return _answer(folder, clock, dict(zip(names, np.asarray(rows, np.float32), strict=True)))


def embetter(folder: Path, data: str, state: str, workers: int) -> dict[str, Any]:
    """embetter's `ImageLoader` and `TimmEncoder`, image by image; its name of the net is a folder with the weights."""
    declare_missing_operators()
    from embetter.vision import ImageLoader, TimmEncoder
    from sklearn.pipeline import make_pipeline

    clock = Clock()
    _save_local(folder)
    encoder = TimmEncoder(f"local-dir:{folder / 'timm'}")
    encoder.model.eval()  # it leaves the net in training mode, which would normalise by each image's own statistics
    paths = [str(path) for path in sorted(Path(data).rglob("*")) if path.is_file()]
    rows = make_pipeline(ImageLoader(), encoder).fit_transform(paths)
    return _answer(folder, clock, _named(data, paths, rows))


def _load(folder: Path) -> tuple[Any, Callable[..., Any]]:
    """Return the net without its classifier, and its transform as timm makes it from the package's record."""
    import timm as library

    _save_local(folder)
    net = library.create_model(f"local-dir:{folder / 'timm'}", pretrained=True, num_classes=0).eval()
    config = library.data.resolve_data_config({}, model=net)
    return net, library.data.create_transform(**config)


def _save_local(folder: Path) -> None:
    """Write the net as a folder that timm opens by ``local-dir:``, if that has not been done."""
    place = folder / "timm"
    if (place / "config.json").exists():
        return
    import timm as library
    from safetensors.torch import save_file

    from probeline.backbones.weights.state_dict import read_state
    from probeline.backbones.weights.wheel import WHEELS

    wheel = WHEELS[f"timm:{NET}"]
    path = Path(__import__(wheel.module).__file__).parent / wheel.file
    # The package's own net names its tensors differently; both list them in the order of the forward pass.
    own = library.create_model(NET, pretrained=False).state_dict()
    state = {name: value.contiguous() for name, value in zip(own, read_state(path).values(), strict=True)}
    place.mkdir(parents=True)
    save_file(state, str(place / "model.safetensors"))
    record = wheel.preprocess
    config = {
        "architecture": NET,
        "num_classes": 1000,
        "pretrained_cfg": {
            "num_classes": 1000,
            "input_size": [3, record.crop, record.crop],
            "interpolation": str(record.interpolation),
            "crop_pct": record.crop / record.resize,
            "crop_mode": "center",
            "mean": list(record.mean),
            "std": list(record.std),
            "first_conv": "conv_stem",
            "classifier": "classifier",
        },
    }
    (place / "config.json").write_text(json.dumps(config), encoding="utf-8")


def _named(data: str, paths: Iterable[str], rows: npt.NDArray[Any]) -> dict[str, Any]:
    return {Path(path).relative_to(data).as_posix(): row for path, row in zip(paths, rows, strict=True)}


def _answer(folder: Path, clock: Clock, rows: dict[str, Any]) -> dict[str, Any]:
    """Return the seconds, and how far the rows are from those of the plain loop, which runs first."""
    work = clock.lap()
    names = sorted(rows)
    features = np.stack([np.asarray(rows[name], np.float32) for name in names])
    reference = folder / "plain.npz"
    if not reference.exists():
        np.savez(reference, names=np.array(names), features=features)
    with np.load(reference) as plain:
        assert names == plain["names"].tolist(), "other images than those of the plain loop"
        others = plain["features"]
    cosines = (features * others).sum(axis=1) / np.linalg.norm(features, axis=1) / np.linalg.norm(others, axis=1)
    return {**work, "images": len(names), "least_cosine": float(cosines.min())}
