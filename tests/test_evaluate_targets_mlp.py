"""The MLP head of several labels and of numbers: torch's own steps, scikit-learn's metrics, seeds, what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, log_loss, r2_score
from torch import Tensor, nn
from torch.nn import functional

import probeline
from probeline.errors import BadOption, Diverged
from probeline.evaluate.targets.folds import TargetFold
from probeline.evaluate.targets.method import TargetFit
from probeline.evaluate.targets.mlp import ScaledMlp, TargetMlp
from probeline.heads.minibatch import training
from probeline.heads.minibatch.mlp import MlpHead, MlpSettings, fit_mlp_targets
from probeline.heads.standardize import Scaler
from probeline.options.groups.fitting import HeadOptions
from probeline.results.methods import method_info
from probeline.types import DoubleArray, FloatArray
from variants import slow_after

pytestmark = pytest.mark.usefixtures("one_thread")

Task = Literal["multi-label", "regression"]
TASKS: list[Task] = ["multi-label", "regression"]
N, BATCH, EPOCHS, WIDTH = 110, 50, 3, 8
WORDS = (f"epochs={EPOCHS}", f"batch_size={BATCH}", f"width={WIDTH}", "dropout=0.0", "lr=0.02")


def made(task: Task, n: int = N, *, holes: bool = True) -> tuple[FloatArray, DoubleArray]:
    """Return features [n, 6] and three targets of them that no linear head can learn; a fifth is unknown if asked."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 6)).astype(np.float32)
    bent = np.stack([X[:, 0] * X[:, 1], X[:, 2] ** 2 - 1, X[:, 3] * X[:, 4]], axis=1).astype(np.float64)
    Y = (bent > 0).astype(np.float64) if task == "multi-label" else 1000 + [3, 40, 500] * bent
    if holes:
        Y[rng.random(Y.shape) < 0.2] = np.nan
    return X, Y


def fold(task: Task) -> TargetFold:
    """Return rows whose features are taken for standardised, one of them far outside."""
    X, Y = made(task)
    X[0, 0] = 100.0
    still = Scaler(np.zeros(6, np.float32), np.ones(6, np.float32))
    return TargetFold(X[:80], Y[:80], X[80:], Y[80:], still)


def fitted(task: Task, words: tuple[str, ...] = WORDS, seed: int = 5) -> tuple[TargetMlp, ScaledMlp]:
    method = TargetMlp(task)
    fit = TargetFit(method.options(HeadOptions(mlp=words)), seed)
    (head,) = method.fit(fold(task), fit, method.candidates(fit, 80))
    return method, head


def torchs(
    task: Task, seed: int, smoothing: float = 0.0
) -> tuple[nn.Sequential, list[float], DoubleArray, DoubleArray]:
    """Return the same net by torch's own layers and loops, each epoch's loss, and mean and std of numbers."""
    own = fold(task)
    X, Y = torch.from_numpy(own.X), own.Y
    mean, std = np.zeros(3), np.ones(3)
    if task == "regression":
        X, mean, std = X.clamp(-10, 10), np.nanmean(Y, axis=0), np.nanstd(Y, axis=0)
    targets = torch.from_numpy(((Y - mean) / std).astype(np.float32))
    net = nn.Sequential(nn.Linear(6, WIDTH), nn.GELU(), nn.Linear(WIDTH, 3))
    start = training.stream(seed, training.WEIGHTS)
    first, second = training.linear(6, WIDTH, start), training.linear(WIDTH, 3, start)
    weights = {"0.weight": first[:, :-1], "0.bias": first[:, -1], "2.weight": second[:, :-1], "2.bias": second[:, -1]}
    net.load_state_dict(weights)
    decaying, others = [net[0].weight, net[2].weight], [net[0].bias, net[2].bias]
    groups = [{"params": decaying}, {"params": others, "weight_decay": 0}]
    optimizer = torch.optim.AdamW(groups, lr=0.02, weight_decay=0.01)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * 2)
    order, known, losses = training.stream(seed, training.ORDER), int((~targets.isnan()).sum()), []
    for _ in range(EPOCHS):
        total = 0.0
        for rows in torch.split(torch.randperm(80, generator=order), BATCH):
            summed = summed_loss(task, net(X[rows]), targets[rows], smoothing)
            loss = summed / len(rows) / (known / 80)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            falling.step()
            total += float(summed.detach())
        losses.append(total / known)
    return net, losses, mean, std


def summed_loss(task: Task, output: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """Return the sum over the known targets, picked one by one rather than masked."""
    known = ~targets.isnan()
    if task == "regression":
        return functional.mse_loss(output[known], targets[known], reduction="sum")
    soft = targets[known] * (1 - smoothing) + smoothing / 2
    return nn.BCEWithLogitsLoss(reduction="sum")(output[known], soft)


@pytest.mark.parametrize("task", TASKS)
def test_steps_and_outputs_are_torchs_with_unknown_targets(task: Task) -> None:
    method, head = fitted(task)
    net, losses, mean, std = torchs(task, seed=5)
    far = fold(task).X_heldout.copy()
    far[3, 2] = -5000.0
    seen = torch.from_numpy(far.clip(-10, 10) if task == "regression" else far)
    expected = mean + std * net(seen).detach().double().numpy()
    np.testing.assert_allclose((method.outputs(head, far) - mean) / std, (expected - mean) / std, atol=2e-5, rtol=2e-5)
    np.testing.assert_allclose([entry["train_loss"] for entry in method.history(head)], losses, rtol=2e-5)
    assert method.count_parameters(head) == sum(part.numel() for part in net.parameters())


def test_labels_are_smoothed_while_they_are_fitted_alone() -> None:
    method, head = fitted("multi-label", (*WORDS, "label_smoothing=0.2"))
    net, losses, _, _ = torchs("multi-label", seed=5, smoothing=0.2)
    history = method.history(head)
    np.testing.assert_allclose([entry["train_loss"] for entry in history], losses, rtol=2e-5)
    own = fold("multi-label")
    logits = net(torch.from_numpy(own.X_heldout)).detach().double().numpy()
    known = ~np.isnan(own.Y_heldout)
    assert history[-1]["val_loss"] == pytest.approx(log_loss(own.Y_heldout[known], 1 / (1 + np.exp(-logits[known]))))


@pytest.mark.parametrize("task", TASKS)
def test_history_has_the_metric_of_the_held_out_rows(task: Task) -> None:
    method, head = fitted(task)
    own = fold(task)
    outputs = method.outputs(head, own.X_heldout)
    assert method.history(head)[-1]["val_score"] == pytest.approx(by_scikit_learn(task, own.Y_heldout, outputs))
    assert "train_top1" not in method.history(head)[-1]


def by_scikit_learn(task: Task, Y: DoubleArray, outputs: DoubleArray) -> float:
    measure = average_precision_score if task == "multi-label" else r2_score
    known = ~np.isnan(Y)
    return float(np.mean([measure(Y[rows, i], outputs[rows, i]) for i, rows in enumerate(known.T)]))


@pytest.mark.parametrize(("task", "metric"), [("multi-label", "map"), ("regression", "r2")])
@pytest.mark.parametrize("n", slow_after(1, [400, 1200]))  # with folds, and with validation rows
def test_end_to_end_against_scikit_learn(task: Task, metric: str, n: int, tmp_path: Path) -> None:
    X, Y = made(task, n)
    options: dict[str, Any] = {"test": np.arange(0, n, 4), "reports": tmp_path, "name": "made"}
    grid = {"width": 64, "dropout": 0.0, "lr": [1e-4, 2e-2], "epochs": 15, "batch_size": 64}
    result = probeline.probe_targets(X, Y, task=task, method="probe-mlp", mlp=grid, seeds=2, seed=3, **options)
    first, second = result.scores
    assert [score.seed for score in result.scores] == [3, 4]
    assert first.outputs != second.outputs
    assert first.options == second.options
    truth, outputs = (np.array(part).reshape(-1, 3) for part in (first.truth, first.outputs))
    expected = by_scikit_learn(task, truth, outputs)
    assert first.metrics[metric].value == pytest.approx(expected, abs=1e-9)
    on_val = [entry[metric] for entry in first.path]
    assert first.val_score == max(on_val) == on_val[[entry["lr"] for entry in first.path].index(first.chosen["lr"])]
    assert len(on_val) == 2
    assert len(first.history) == 15
    line = probeline.probe_targets(X, Y, task=task, **options)
    assert expected > (line.metrics[metric].value or 0) + 0.2  # no line parts them
    again = probeline.probe_targets(X, Y, task=task, method="probe-mlp", mlp=grid, seeds=2, seed=3, **options)
    assert [score.warm_seconds for score in again.scores] == [
        score.warm_seconds for score in result.scores
    ]  # of another fit they would differ
    assert len(list(tmp_path.glob("*/targets/*/probe-mlp-*.json"))) == 2


def test_a_net_of_another_width_is_another_score() -> None:
    X, Y = made("regression", holes=False)
    options: dict[str, Any] = {"task": "regression", "method": "probe-mlp", "test": np.arange(40)}
    grid = {"lr": 1e-2, "epochs": 1}
    keys = {probeline.probe_targets(X, Y, mlp={**grid, "width": w}, **options).scores[0].key for w in (4, 8)}
    assert len(keys) == 2


def test_numbers_do_not_depend_on_their_unit() -> None:
    X, Y = made("regression", 200)
    grid = {"width": 16, "lr": 1e-2, "epochs": 5}
    own, scaled = (
        probeline.probe_targets(X, numbers, task="regression", method="probe-mlp", mlp=grid, test=np.arange(40))
        for numbers in (Y, 1e6 * Y + 1e9)
    )
    np.testing.assert_allclose((scaled.predictions - 1e9) / 1e6, own.predictions, rtol=1e-4)


def test_a_target_that_no_train_row_knows_is_not_guessed() -> None:
    for task, nothing in (("multi-label", -40.0), ("regression", 0.0)):
        own = fold(task)
        own.Y[:, 1] = np.nan
        method = TargetMlp(task)
        fit = TargetFit(method.options(HeadOptions(mlp=WORDS)), 0)
        (head,) = method.fit(own, fit, method.candidates(fit, 80))
        assert (method.outputs(head, own.X_heldout)[:, 1] == nothing).all()


def test_trainings_that_diverge_are_left_out_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def diverging(X: Any, Y: Any, kind: Any, settings: MlpSettings, **options: Any) -> MlpHead:
        head = fit_mlp_targets(X, Y, kind, settings, **options)
        return replace(head, diverged=1) if settings.lr > 0.5 else head

    monkeypatch.setattr("probeline.heads.minibatch.mlp.fit_mlp_targets", diverging)
    X, Y = made("regression", 200)
    options: dict[str, Any] = {"task": "regression", "method": "probe-mlp", "test": np.arange(40)}
    grid = {"width": 8, "epochs": 1}
    (score,) = probeline.probe_targets(X, Y, mlp={**grid, "lr": [1e-3, 1e-2, 1.0, 2.0]}, **options).scores
    assert [entry["lr"] for entry in score.path] == [1e-3, 1e-2]
    assert list(score.certificate["diverged"]) == ["lr 1", "lr 2"]
    with pytest.raises(Diverged, match=r"every head's training diverged.*seed 0.*lr 1, lr 2.*mlp"):
        probeline.probe_targets(X, Y, mlp={**grid, "lr": [1.0, 2.0]}, **options)


def test_a_training_that_diverges_ends() -> None:
    X, Y = made("regression")
    narrow, far = ((Y - 1000) / 500).astype(np.float32), np.full((5, 6), 3e38, np.float32)
    settings, options = MlpSettings(1e-3, width=4), {"epochs": 3, "batch_size": 50}
    on_val = far, np.zeros((5, 3), np.float32), lambda outputs: float(outputs.sum())
    head = fit_mlp_targets(X, narrow, "numbers", settings, **options, validation=on_val)
    assert (head.diverged, head.history) == (1, ())  # what it predicts for other rows is not finite
    assert fit_mlp_targets(X, narrow, "numbers", settings, **options).diverged is None


def test_the_edge_of_the_grid_is_flagged() -> None:
    method = TargetMlp("regression")
    fit = TargetFit(method.options(HeadOptions(mlp=("lr=1e-3,1e-2,1e-1",))), 0)
    assert [method.is_at_edge(fit, own) for own in method.candidates(fit, 80).values] == [True, False, True]


def test_what_is_refused() -> None:
    X, Y = made("regression")
    with pytest.raises(BadOption, match=r"bad mlp .*label_smoothing=0\.1"):
        probeline.probe_targets(X, Y, task="regression", method="probe-mlp", mlp={"label_smoothing": 0.1})
    narrow, rows = Y.astype(np.float32), len(X)
    settings = MlpSettings(1e-3)
    for features, targets, own in (
        (X, Y, settings),
        (X, narrow[1:], settings),
        (X, np.full_like(narrow, np.inf), settings),
        (X, np.full_like(narrow, np.nan), settings),
        (X, narrow, MlpSettings(1e-3, label_smoothing=0.1)),
        (X, narrow, MlpSettings(1e-3, row_weights=np.ones(rows, np.float32))),
    ):
        with pytest.raises(ValueError, match=r"target|no training of numbers"):
            fit_mlp_targets(features, targets, "numbers", own, epochs=1, batch_size=10)


def test_the_row_says_that_it_has_seeds() -> None:
    assert method_info("probe-mlp").seeded == TargetMlp("regression").is_seeded
