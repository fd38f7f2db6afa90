"""From a folder of photos to the accuracy of a linear classifier: hymenoptera, MobileNetV2 with ImageNet weights.

Each function is a contender in a process of its own. `state` is the folder of its cache, empty for a cold run; scores
are written elsewhere, so that a warm run fits its head anew.
"""

from __future__ import annotations

import operator
import sys
from pathlib import Path
from typing import Any

from bench_peers.process import Clock, run_process
from probeline.environment import declare_missing_operators

NET, WEIGHTS = "mobilenet_v2", "IMAGENET1K_V1"


def probeline(folder: Path, data: str, state: str, reports: str) -> dict[str, Any]:
    """In one process, from Python: extract, then the exact probe, 45 values of l2 selected on validation rows."""
    clock = Clock()
    import probeline

    declare_missing_operators()
    import torchvision  # noqa: F401 - what the other contender imports as well

    imports = clock.lap()
    features = probeline.extract("hymenoptera", NET, weights=WEIGHTS, cache=state)
    extraction = clock.lap()
    result = probeline.probe(features, reports=reports)
    fit = clock.lap()
    score = result.scores[0]
    return {
        **_flat("imports", imports),
        **_flat("extraction", extraction),
        **_flat("fit", fit),
        "seconds": extraction["seconds"] + fit["seconds"],
        "cpu_seconds": extraction["cpu_seconds"] + fit["cpu_seconds"],
        "top1": sum(map(operator.eq, score.predictions, score.labels)) / len(score.labels),
        "test_images": len(score.predictions),
    }


def probeline_commands(folder: Path, data: str, state: str, reports: str) -> dict[str, Any]:
    """The two commands that a user types, a process each."""
    found: dict[str, Any] = {}
    common = ["--dataset", "hymenoptera", "--backbone", f"{NET}@{WEIGHTS}", "--data", data, "--cache", state]
    for verb, own in (("extract", []), ("probe", ["--reports", reports])):
        run = run_process([sys.executable, "-m", "probeline", verb, *common, *own])
        if run["status"]:
            raise RuntimeError(run["output"])
        found |= {f"{verb}_{name}": run[name] for name in ("seconds", "cpu_seconds")}
    return {
        **found,
        "seconds": found["extract_seconds"] + found["probe_seconds"],
        "cpu_seconds": found["extract_cpu_seconds"] + found["probe_cpu_seconds"],
    }


def visbench(folder: Path, data: str, state: str, reports: str) -> dict[str, Any]:
    """VisBench's door for a net of one's own, and its classification probe as it is set by default."""
    clock = Clock()
    declare_missing_operators()
    import visbench
    from torchvision.models import MobileNet_V2_Weights, mobilenet_v2
    from visbench.backbones.custom import CustomBackbone
    from visbench.cache import FeatureCache
    from visbench.data import ImageFolderDataset

    imports = clock.lap()
    weights = MobileNet_V2_Weights[WEIGHTS]
    backbone = CustomBackbone(
        mobilenet_v2(weights=weights).features, preprocess=weights.transforms(), name=NET, device="cpu"
    )
    train, test = (ImageFolderDataset(Path(data) / "hymenoptera_data" / part, part) for part in ("train", "val"))
    result = visbench.run(
        backbone,
        "classification",
        test,
        train_dataset=train,
        cache=FeatureCache(Path(state)),
        results=Path(reports) / "visbench.jsonl",
        device="cpu",
    )
    work = clock.lap()
    return {
        **_flat("imports", imports),
        **work,
        "top1": result.metrics["top1"],
        "train_loss": result.probe.train_loss,
        "test_images": len(test),
    }


def agreement(folder: Path, data: str, ours: str, theirs: str) -> dict[str, Any]:
    """Return how far the features of the two caches are from each other, image by image."""
    import numpy as np

    declare_missing_operators()
    from torchvision.models import MobileNet_V2_Weights, mobilenet_v2
    from visbench.backbones.custom import CustomBackbone
    from visbench.cache import FeatureCache
    from visbench.data import ImageFolderDataset

    import probeline

    features = probeline.extract("hymenoptera", NET, weights=WEIGHTS, cache=ours)
    own = {
        f"{part}/{name}": row
        for part, name, row in zip(features.parts, features.sample_ids, features.numpy(), strict=True)
    }
    weights = MobileNet_V2_Weights[WEIGHTS]
    backbone = CustomBackbone(
        mobilenet_v2(weights=weights).features, preprocess=weights.transforms(), name=NET, device="cpu"
    )
    cosines, differences, missing = [], [], 0
    for part in ("train", "val"):
        dataset = ImageFolderDataset(Path(data) / "hymenoptera_data" / part, part)
        rows = (
            FeatureCache(Path(theirs))
            .extract_dataset(backbone, dataset, pooling="mean", keep="pooled")["pooled"]
            .numpy()
        )
        for path, row in zip(dataset.paths, rows, strict=True):
            mine = _row_of(own, path)
            if mine is None:
                missing += 1
                continue
            cosines.append(float(mine @ row / np.linalg.norm(mine) / np.linalg.norm(row)))
            differences.append(float(np.abs(mine - row).max() / np.abs(row).max()))
    return {"images": len(cosines), "missing": missing, "least_cosine": min(cosines), "difference": max(differences)}


def _row_of(rows: dict[str, Any], path: Path) -> Any:
    names = [name for name in rows if name.endswith(("/".join(path.parts[-3:]), path.name))]
    return rows[names[0]] if len(names) == 1 else None


def _flat(name: str, lap: dict[str, float]) -> dict[str, float]:
    return {f"{name}_seconds": lap["seconds"], f"{name}_cpu_seconds": lap["cpu_seconds"]}
