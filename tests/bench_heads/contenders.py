"""What is measured: each function gets arrays, does its work once, and says what came of it."""

from __future__ import annotations

import json
import resource
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from probeline.heads.select import L2_GRID
from probeline.heads.standardize import apply, fit_scaler

FloatArray = npt.NDArray[np.float32]
IntArray = npt.NDArray[np.int64]

BATCH = 256
RATES = tuple(10.0 ** (-4 + number / 6) for number in range(13))
DECAYS = (0.0, 1e-5, 1e-4, 1e-3)


def standardised(X: FloatArray) -> FloatArray:
    return apply(fit_scaler(X), X)


def arrays(folder: Path) -> tuple[FloatArray, IntArray]:
    return np.load(folder / "X.npy"), np.load(folder / "y.npy")


def classes_of(y: IntArray) -> int:
    return int(y.max()) + 1


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    found = work()
    return found, time.perf_counter() - started


def priced(work: Callable[[], Any]) -> tuple[Any, dict[str, float]]:
    """Return what :func:`timed` does, with the processor's seconds, which other work on the machine changes less."""
    before = time.process_time()
    found, seconds = timed(work)
    return found, {"seconds": seconds, "cpu_seconds": time.process_time() - before}


def warm_up(X: FloatArray, y: IntArray) -> None:
    from probeline.heads.logistic.path import fit_path

    fit_path(X[:2000], y[:2000], classes_of(y), [1e-2])


def head(folder: Path, l2: float) -> dict[str, Any]:
    from probeline.heads.logistic.path import fit_path

    X, y = arrays(folder)
    warm_up(X, y)
    (found,), price = priced(lambda: fit_path(X, y, classes_of(y), [l2]))
    facts = found.certificate
    return {
        **price,
        "objective": facts.objective,
        "gradient_norm": facts.gradient_norm,
        "products": facts.iterations,
        "converged": facts.converged,
    }


def path(folder: Path) -> dict[str, Any]:
    from probeline.heads.logistic.path import fit_path

    X, y = arrays(folder)
    warm_up(X, y)
    found, seconds = timed(lambda: fit_path(X, y, classes_of(y), L2_GRID))
    return {
        "seconds": seconds,
        "objectives": [each.certificate.objective for each in found],
        "products": sum(each.certificate.iterations for each in found),
        "unconverged": sum(not each.certificate.converged for each in found),
    }


def label_arrays(folder: Path, rows: int) -> tuple[FloatArray, FloatArray]:
    """Return the first rows, and each class as a label of its own."""
    X, y = arrays(folder)
    return X[:rows], (y[:rows, None] == np.arange(classes_of(y))).astype(np.float32)


def labels(folder: Path, rows: int, l2s: list[float]) -> dict[str, Any]:
    from probeline.heads.logistic.labels import fit_label_path

    X, Y = label_arrays(folder, rows)
    fit_label_path(X[:200], Y[:200], [1e-2])
    found, price = priced(lambda: fit_label_path(X, Y, l2s))
    objectives = [each.certificate.objective for each in found]
    return {**price, "objectives": objectives, "converged": all(each.certificate.converged for each in found)}


def labels_alone(folder: Path, rows: int, l2s: list[float]) -> dict[str, Any]:
    from probeline.heads.logistic.path import fit_path

    X, Y = label_arrays(folder, rows)
    fit_path(X[:200], Y[:200, 0].astype(np.int64), 2, [1e-2])
    found, price = priced(lambda: [fit_path(X, y.astype(np.int64), 2, l2s) for y in Y.T])
    return {
        **price,
        "objectives": [sum(each.certificate.objective for each in own) for own in zip(*found, strict=True)],
    }


def labels_reference(folder: Path, rows: int, l2s: list[float], targets: list[float]) -> dict[str, Any]:
    """scikit-learn from the stronger l2 on, each value with the first tolerance that comes as low as the targets."""
    from probeline.heads.logistic.reference import fit_reference

    X, Y = label_arrays(folder, rows)
    fit_reference(X[:200], Y[:200, 0].astype(np.int64), 1e-2)
    heads: list[Any] = [None] * Y.shape[1]
    found: dict[float, dict[str, Any]] = {}
    for l2, target in sorted(zip(l2s, targets, strict=True), reverse=True):
        for tolerance in (1e-4, 1e-5, 1e-6):
            own, price = priced(
                lambda l2=l2, tolerance=tolerance, heads=heads: [
                    fit_reference(X, y.astype(np.int64), l2, tolerance=tolerance, max_iterations=10_000, start=start)
                    for y, start in zip(Y.T, heads, strict=True)
                ]
            )
            objective = sum(each.certificate.objective for each in own)
            found[l2] = {**price, "tolerance": tolerance, "objective": objective}
            if objective <= target * (1 + 1e-6) + 1e-8:
                break
        heads = own
    return {
        "seconds": sum(each["seconds"] for each in found.values()),
        "cpu_seconds": sum(each["cpu_seconds"] for each in found.values()),
        "tolerances": [found[l2]["tolerance"] for l2 in l2s],
        "objectives": [found[l2]["objective"] for l2 in l2s],
    }


def seconds_of_certificate(X: npt.NDArray[Any], y: IntArray, found: Any) -> float:
    """Return what our own look at scikit-learn's head takes, which is none of its time."""
    from probeline.heads.logistic.path import certify

    return min(timed(lambda: certify(X, y, found.weight, found.bias, found.l2))[1] for _ in range(3))


def reference(folder: Path, l2: float, tolerance: float, *, double: bool = False) -> dict[str, Any]:
    from probeline.heads.logistic.reference import fit_reference

    X, y = arrays(folder)
    X = X.astype(np.float64) if double else X
    fit_reference(X[:2000], y[:2000], l2)
    found, price = priced(lambda: fit_reference(X, y, l2, tolerance=tolerance, max_iterations=10_000))
    facts, certificate = found.certificate, seconds_of_certificate(X, y, found)
    return {
        **{kind: seconds - certificate for kind, seconds in price.items()},
        "objective": facts.objective,
        "gradient_norm": facts.gradient_norm,
        "iterations": facts.iterations,
    }


def reference_path(folder: Path, targets: list[float], most: float) -> dict[str, Any]:
    """scikit-learn from strong to weak, each from where the one before ended, until it comes as low as ours.

    Where a tolerance is not enough it goes on with the next, in float32 first, as that is the faster, and in float64
    where float32 stops short. After `most` seconds the weak end is left undone: what is there by then bounds the
    ratio from below.
    """
    from probeline.heads.logistic.reference import fit_reference

    X, y = arrays(folder)
    precise = X.astype(np.float64)
    spent, head = 0.0, None
    found: list[dict[str, Any]] = []
    for l2, target in sorted(zip(L2_GRID, targets, strict=True), reverse=True):
        if spent > most:
            break
        before, iterations = spent, 0
        for data, tolerance in ((X, 1e-4), (X, 1e-5), (precise, 1e-5), (precise, 1e-6)):
            facts = {"tolerance": tolerance, "max_iterations": 1000, "start": head}
            head, seconds = timed(lambda l2=l2, data=data, facts=facts: fit_reference(data, y, l2, **facts))
            spent += seconds - seconds_of_certificate(data, y, head)
            iterations += head.certificate.iterations
            excess = (head.certificate.objective - target) / target
            if excess <= 1e-6 + 1e-8 / target or spent > most:
                break
        found.append(
            {
                "l2": l2,
                "seconds": spent - before,
                "iterations": iterations,
                "precision": str(data.dtype),
                "tolerance": tolerance,
                "excess": excess,
            }
        )
        print(f"    {found[-1]}", file=sys.stderr, flush=True)
    return {
        "seconds": spent,
        "fits": found,
        "as low as ours": sum(
            each["excess"] <= 1e-6 + 1e-8 / target for each, target in zip(found, targets[::-1], strict=False)
        ),
    }


def sgd(folder: Path, epochs: int) -> dict[str, Any]:
    from probeline.heads.minibatch.sgd import Setting, fit_sgd

    X, y = arrays(folder)
    settings = [Setting(optimizer="adam", lr=lr, weight_decay=decay, seed=0) for lr in RATES for decay in DECAYS]
    fit_sgd(X[:2000], y[:2000], classes_of(y), settings, epochs=1, batch_size=BATCH)
    found, seconds = timed(lambda: fit_sgd(X, y, classes_of(y), settings, epochs=epochs, batch_size=BATCH))
    return {"seconds": seconds, "heads": len(found), "train_loss": found[24].history[-1]["train_loss"]}


def sgd_loop(folder: Path, epochs: int, heads: int) -> dict[str, Any]:
    """A plain training loop for some of the 52 heads, evenly spaced: its own order of rows, torch's own optimizer."""
    import torch
    from torch import nn

    X, y = (torch.from_numpy(array) for array in arrays(folder))
    classes = int(y.max()) + 1

    def train(rows: int, lr: float, decay: float, epochs: int) -> float:
        layer = nn.Linear(X.shape[1], classes)
        stepper = torch.optim.Adam(layer.parameters(), lr=lr, weight_decay=decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(stepper, epochs * -(-rows // BATCH))
        total = 0.0
        for _ in range(epochs):
            total = 0.0
            for batch in torch.split(torch.randperm(rows), BATCH):
                loss = nn.functional.cross_entropy(layer(X[batch]), y[batch])
                stepper.zero_grad()
                loss.backward()
                stepper.step()
                schedule.step()
                total += loss.item() * len(batch)
        return total / rows

    every = [(lr, decay) for lr in RATES for decay in DECAYS]
    torch.manual_seed(0)
    train(2000, 1e-3, 0.0, 1)
    losses, seconds = timed(
        lambda: [train(len(X), *setting, epochs) for setting in every[:: len(every) // heads][:heads]]
    )
    return {"seconds": seconds, "heads": len(losses), "train_loss": losses[-1]}


def subsets(y: IntArray, shares: list[float], draws: int) -> list[IntArray]:
    from probeline.data.sampling.stratified import shuffled

    return [
        np.sort(shuffled(len(y), draw, 99)[: round(share * len(y))])
        for share in shares
        for draw in range(draws if share < 1 else 1)
    ]


def curve(folder: Path, shares: list[float], draws: int) -> dict[str, Any]:
    from probeline.heads.logistic.path import fit_path

    X, y = arrays(folder)
    warm_up(X, y)
    every = subsets(y, shares, draws)
    found, seconds = timed(lambda: [fit_path(X[rows], y[rows], classes_of(y), L2_GRID) for rows in every])
    heads = [each for path in found for each in path]
    return {
        "seconds": seconds,
        "heads": len(heads),
        "unconverged": sum(not each.certificate.converged for each in heads),
    }


def curve_loop(folder: Path, shares: list[float], draws: int) -> dict[str, Any]:
    from probeline.heads.logistic.path import fit_path

    X, y = arrays(folder)
    warm_up(X, y)
    every = subsets(y, shares, draws)
    _, seconds = timed(lambda: [fit_path(X[rows], y[rows], classes_of(y), [l2]) for rows in every for l2 in L2_GRID])
    return {"seconds": seconds, "heads": len(every) * len(L2_GRID)}


def synthesise(folder: Path, rows: int, columns: int) -> dict[str, Any]:
    """Write X.bin, float32, and y.npy: ten overlapping clouds with correlated columns."""
    rng = np.random.default_rng(0)
    y = rng.integers(10, size=rows)
    centres = 0.06 * rng.standard_normal((10, columns), dtype=np.float32)
    mixing = rng.standard_normal((64, columns), dtype=np.float32) / 8
    with (folder / "X.bin").open("wb") as file:
        for start in range(0, rows, 8192):
            labels = y[start : start + 8192]
            block = rng.standard_normal((len(labels), columns), dtype=np.float32)
            block += rng.standard_normal((len(labels), 64), dtype=np.float32) @ mixing + centres[labels]
            file.write(block.tobytes())
    np.save(folder / "y.npy", y)
    (folder / "columns").write_text(str(columns))
    return {"bytes": rows * columns * 4}


def synthesise_classes(folder: Path, rows: int, columns: int, classes: int) -> dict[str, Any]:
    """Write X.npy and y.npy: as many overlapping clouds in a quarter of the columns, mixed, with noise, rectified."""
    rng = np.random.default_rng(0)
    y = np.concatenate([np.arange(classes), rng.integers(classes, size=rows - classes)])
    inner = columns // 4
    mixed = rng.standard_normal((rows, inner)) + 0.35 * rng.standard_normal((classes, inner))[y]
    mixed = mixed @ rng.standard_normal((inner, columns)) / np.sqrt(inner)
    X = np.maximum(mixed + 0.3 * rng.standard_normal((rows, columns)), 0)
    np.save(folder / "X.npy", standardised(X.astype(np.float32)))
    np.save(folder / "y.npy", y)
    return {"bytes": X.size * 4}


def wide(folder: Path) -> dict[str, Any]:
    """The whole path on what :func:`synthesise` wrote, in memory."""
    from probeline.heads.logistic.path import fit_path

    y, columns = np.load(folder / "y.npy"), int((folder / "columns").read_text())
    X = np.fromfile(folder / "X.bin", np.float32).reshape(-1, columns)
    found, seconds = timed(lambda: fit_path(X, y, classes_of(y), L2_GRID))
    return {"seconds": seconds, "unconverged": sum(not each.certificate.converged for each in found)}


def streamed(folder: Path, l2: float) -> dict[str, Any]:
    from probeline.heads.logistic.streamed import fit_path_streamed

    y, columns = np.load(folder / "y.npy"), int((folder / "columns").read_text())
    passes = []

    def blocks() -> Iterator[FloatArray]:
        passes.append(1)
        with (folder / "X.bin").open("rb") as file:
            while len(block := np.fromfile(file, np.float32, 4096 * columns)):
                yield block.reshape(-1, columns)

    ((found,), _), seconds = timed(lambda: fit_path_streamed(blocks, y, classes_of(y), [l2]))
    facts = found.certificate
    return {
        "seconds": seconds,
        "objective": facts.objective,
        "converged": facts.converged,
        "passes": len(passes),
        "products": facts.iterations,
    }


def rate(folder: Path) -> dict[str, Any]:
    """Operations per second of a wide product, and those of the passes over X that a solver makes."""
    import torch

    X, y = arrays(folder)
    wide = torch.from_numpy(X[:4096])
    best = min(timed(lambda: wide.T @ wide)[1] for _ in range(5))
    count, columns = X.shape
    return {
        "operations_per_second": 2 * 4096 * columns**2 / best,
        "gram": count * columns**2,  # half of it, as it is symmetric
        "product": 4 * count * columns * classes_of(y),
    }


def main() -> None:
    name, folder, options = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])
    warnings.simplefilter("error")
    found = globals()[name](folder, **options)
    print(json.dumps({**found, "peak_bytes": peak_bytes()}))


def peak_bytes() -> float:
    """Return the most memory that this process held; on Linux without what its parent held when it began."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return float(line.split()[1]) * 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)


if __name__ == "__main__":
    main()
