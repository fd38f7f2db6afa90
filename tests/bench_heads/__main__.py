"""Heads beside what people would use instead, each in a process of its own: seconds, objective, and peak memory.

    python tests/bench_heads [--only one,path,labels,sgd,curve,wide,streamed,classes,sizes,floor] [--out FILE] [options]

The features are those of the train part of a data set in the cache: ``probeline extract`` comes before. Contenders of
one measurement run one after the other, ours first and last, on the same threads. Reading of arrays, imports and a
first small fit are not timed.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from probeline.environment import environment
from probeline.options.settings import Settings
from probeline.session import Session

sys.path.insert(0, str(Path(__file__).parent))

import contenders


def ask(contender: str, folder: Path, **options: Any) -> dict[str, Any]:
    """Run one contender in a fresh process and return what it found."""
    command = [sys.executable, contenders.__file__, contender, str(folder), json.dumps(options)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    told = ", ".join(f"{name} {value:.6g}" for name, value in found.items() if isinstance(value, float | int))
    asked = ", ".join(f"{name} {value}" for name, value in options.items() if not isinstance(value, list))
    print(f"  {contender} {asked}: {told}", flush=True)
    return found


def mean(*runs: dict[str, Any], of: str = "seconds") -> float:
    return sum(run[of] for run in runs) / len(runs)


def compare(folder: Path, l2: float, most: float = math.inf) -> dict[str, Any]:
    """One head; scikit-learn with the first tolerance, in float64 if need be, that comes as low as ours.

    Smaller tolerances are not tried once one took over `most` times our processor time: the ratio is at least that.
    """
    first = ask("head", folder, l2=l2)
    allowed = first["objective"] * (1 + 1e-6) + 1e-8
    references = []
    for double, tolerance in product((False, True), (1e-4, 1e-5, 1e-6)):
        references.append(ask("reference", folder, l2=l2, tolerance=tolerance, double=double))
        reached = references[-1]["objective"] <= allowed
        if reached or references[-1]["cpu_seconds"] > most * first["cpu_seconds"]:
            break
    last = ask("head", folder, l2=l2)
    return {
        "ours": [first, last],
        "scikit-learn": references,
        "equal objective": reached,
        "ratio": references[-1]["seconds"] / mean(first, last),
        "ratio of cpu seconds": references[-1]["cpu_seconds"] / mean(first, last, of="cpu_seconds"),
        "ratio of cpu seconds to its first tolerance": references[0]["cpu_seconds"]
        / mean(first, last, of="cpu_seconds"),
    }


def one(folder: Path) -> dict[str, Any]:
    """One head at l2 1e-3, on the cached features."""
    return compare(folder, 1e-3)


def classes(folder: Path) -> dict[str, Any]:
    """Single heads of many classes on synthetic features, at weak l2."""
    found = {}
    for rows, columns, number in ((20_000, 256, 100), (20_000, 256, 1000), (1200, 1280, 400)):
        with tempfile.TemporaryDirectory() as place:
            ask("synthesise_classes", Path(place), rows=rows, columns=columns, classes=number)
            for l2 in (1e-4,) if rows > 1200 else (1e-2, 1e-4):
                found[f"{rows} x {columns} x {number}, l2 {l2:g}"] = compare(Path(place), l2)
    return found


def sizes(folder: Path) -> dict[str, Any]:
    """Single heads on 512 synthetic columns, 200 to 50,000 rows and 2 to 1,000 classes; given up at four times ours."""
    found = {}
    for rows, number in product((200, 1000, 5000, 50_000), (2, 10, 100, 1000)):
        if 2 * number <= rows:
            with tempfile.TemporaryDirectory() as place:
                ask("synthesise_classes", Path(place), rows=rows, columns=512, classes=number)
                for l2 in (1e-2, 1e-4):
                    found[f"{rows} x 512 x {number}, l2 {l2:g}"] = compare(Path(place), l2, most=4)
    return found


def labels(folder: Path) -> dict[str, Any]:
    """Each class as a label of the first 2,000 images, five values of l2: together, label by label, scikit-learn."""
    options = {"rows": 2000, "l2s": [1e-4, 1e-3, 1e-2, 1e-1, 1.0]}
    first = ask("labels", folder, **options)
    alone = ask("labels_alone", folder, **options)
    reference = ask("labels_reference", folder, **options, targets=first["objectives"])
    last = ask("labels", folder, **options)
    ours = mean(first, last, of="cpu_seconds")
    return {
        "ours": [first, last],
        "label by label": alone,
        "scikit-learn": reference,
        "ratio of cpu seconds to label by label": alone["cpu_seconds"] / ours,
        "ratio of cpu seconds to scikit-learn": reference["cpu_seconds"] / ours,
    }


def path(folder: Path) -> dict[str, Any]:
    """45 values; scikit-learn from warm starts, given up at 21 times our seconds."""
    first = ask("path", folder)
    single = ask("head", folder, l2=1e-3)
    reference = ask("reference_path", folder, targets=first["objectives"], most=21 * first["seconds"])
    last = ask("path", folder)
    ours = mean(first, last)
    return {
        "ours": [first, last],
        "scikit-learn": reference,
        "fits of scikit-learn": len(reference["fits"]),
        "ratio": reference["seconds"] / ours,
        "in single heads": ours / single["seconds"],
    }


def sgd(folder: Path) -> dict[str, Any]:
    """52 heads, 2 epochs of Adam; the loop is torch's own layer, loss and optimizer, and does 4 of them."""
    first = ask("sgd", folder, epochs=2)
    loop = ask("sgd_loop", folder, epochs=2, heads=4)
    last = ask("sgd", folder, epochs=2)
    return {
        "ours": [first, last],
        "loop": loop,
        "ratio": loop["seconds"] * first["heads"] / loop["heads"] / mean(first, last),
    }


def curve(folder: Path) -> dict[str, Any]:
    """7 fractions, 5 draws, 45 values of l2; the loop fits the heads of one draw of 1 to 10 % alone."""
    whole = ask("curve", folder, shares=[0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0], draws=5)
    small = ask("curve", folder, shares=[0.01, 0.02, 0.05, 0.1], draws=1)
    loop = ask("curve_loop", folder, shares=[0.01, 0.02, 0.05, 0.1], draws=1)
    return {"ours": whole, "ours, 1 to 10 %": small, "loop": loop, "ratio": loop["seconds"] / small["seconds"]}


def streamed(folder: Path) -> dict[str, Any]:
    """400,000 x 2,048 random features in ten classes, read from a file for each pass."""
    with tempfile.TemporaryDirectory() as place:
        ask("synthesise", Path(place), rows=400_000, columns=2048)
        return {"ours": ask("streamed", Path(place), l2=1e-2)}


def wide(folder: Path) -> dict[str, Any]:
    """The path on 50,000 x 4,096 random features in ten classes, for its peak memory."""
    with tempfile.TemporaryDirectory() as place:
        ask("synthesise", Path(place), rows=50_000, columns=4096)
        return {"ours": ask("wide", Path(place))}


def floor(folder: Path) -> dict[str, Any]:
    """What the products with X of one head and of the path cost at this machine's best rate, and the Gram matrix.

    Products that lead to a value on the way, and those of the looks between the steps, are left out, so it is low.
    """
    rate = ask("rate", folder)
    found: dict[str, Any] = {"rate": rate}
    for name, run in (("one head", ask("head", folder, l2=1e-3)), ("path", ask("path", folder))):
        operations = rate["gram"] + run["products"] * rate["product"]
        least = operations / rate["operations_per_second"]
        found[name] = {"seconds": run["seconds"], "floor": least, "ratio": run["seconds"] / least}
    return found


MEASURED: dict[str, Callable[[Path], dict[str, Any]]] = {
    each.__name__: each for each in (one, path, labels, sgd, curve, wide, streamed, classes, sizes, floor)
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(MEASURED))
    parser.add_argument("--out", type=Path, default=Path("reports/bench-heads.json"))
    parser.add_argument("--dataset", default="cifar10")
    parser.add_argument("--backbone", default="mobilenet_v2")
    parser.add_argument("--weights", default="IMAGENET1K_V1")
    parser.add_argument("--data", type=Path, default=Settings().data.data)
    parser.add_argument("--cache", type=Path, default=Path("cache"))
    options = parser.parse_args()
    settings = Settings.of(
        dataset=options.dataset,
        backbones=(options.backbone,),
        weights=options.weights,
        data=options.data,
        cache=options.cache,
    )
    session = Session(settings)
    part = session.dataset.parts[session.dataset.train]
    features = session.features(session.backbone(options.backbone)[0], session.dataset.train)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        np.save(folder / "X.npy", contenders.standardised(features.features))
        np.save(folder / "y.npy", part.labels)
        for name in options.only.split(","):
            print(f"{name}: {MEASURED[name].__doc__}", flush=True)
            found[name] = MEASURED[name](folder)
            print(f"  {', '.join(f'{k} {v:.3g}' for k, v in found[name].items() if isinstance(v, float))}", flush=True)
    shape = [*features.features.shape, len(part.class_names)]
    facts = {"features": f"{options.dataset} x {options.backbone}", "shape": shape, "environment": environment("CPU")}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({**facts, **found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
