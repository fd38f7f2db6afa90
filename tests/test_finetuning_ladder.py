"""What the trainer does with stages, schedules, parts of batches and an early end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from probeline.backbones.build import random_net
from probeline.backbones.penultimate import find_tap
from probeline.errors import OutOfMemory
from probeline.finetuning.head import fresh_head, probe_head
from probeline.finetuning.training.steps import rates
from probeline.images import PixelArray
from probeline.types import IntArray
from small_trainings import FEED, TRAINING, Steps, fit, lines, make_trainer, moved, state


def plain() -> nn.Module:
    return Steps(norms=False)


def parts(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


@pytest.mark.parametrize(
    ("strategy", "trained"),
    [
        ("head", {"fc"}),
        ("last-1", {"top", "fc"}),
        ("last-2", {"mid", "top", "fc"}),
        ("freeze-early", {"mid", "top", "fc"}),
        ("freeze-middle", {"low", "top", "fc"}),
        ("full", {"low", "mid", "top", "fc"}),
    ],
)
def test_what_a_strategy_does_not_train_stays_bit_for_bit(strategy: str, trained: set[str], tmp_path: Path) -> None:
    trainer = make_trainer(make=Steps, strategy=strategy)
    before = state(trainer.net)
    fitted = fit(trainer, tmp_path)
    assert parts(moved(before, trainer.net.state_dict())) == trained, "statistics of norms among them"
    sizes = {name: p.numel() for name, p in trainer.net.named_parameters()}
    assert fitted.trainable == sum(size for name, size in sizes.items() if name.partition(".")[0] in trained)


def test_gradual_unfreezing_begins_at_its_epochs(tmp_path: Path) -> None:
    trainer = make_trainer(make=Steps, strategy="gradual", unfreeze=(1, 2, 3))
    states = [state(trainer.net)]

    def val_feed(batches: Sequence[IntArray], epoch: int | None) -> Iterator[PixelArray]:
        states.append(state(trainer.net))
        yield from FEED(batches, epoch)

    trained = fit(trainer, tmp_path, feed=val_feed)
    assert [parts(moved(before, after)) for before, after in pairwise(states)] == [
        {"fc"},
        {"top", "fc"},
        {"mid", "top", "fc"},
        {"low", "mid", "top", "fc"},
    ]
    assert [epoch["stages"] for epoch in trained.history] == [0, 1, 2, 3]


def test_rates_of_stages_fall_by_their_decay(tmp_path: Path) -> None:
    trainer = make_trainer(replace(TRAINING, schedule="constant", decay=0.5, body=0.2), make=Steps)
    peaks: list[list[float]] = []
    hook = register_optimizer_step_pre_hook(
        lambda optimizer, *_: peaks.append(list(dict.fromkeys(group["lr"] for group in optimizer.param_groups)))
    )
    try:
        fit(trainer, tmp_path)
    finally:
        hook.remove()
    lr = TRAINING.lr
    assert peaks[0] == pytest.approx([lr, 0.2 * lr, 0.1 * lr, 0.05 * lr])


def test_a_warm_up_climbs_on_a_line() -> None:
    training = replace(TRAINING, epochs=3, schedule="constant", warmup=1.5)
    assert rates(training, 4) == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, *[1] * 7])


def test_patience_ends_a_training_that_does_not_get_better(tmp_path: Path) -> None:
    # With no norms and no rate to speak of, every epoch is as good as the first.
    training = replace(TRAINING, epochs=9, lr=1e-30, weight_decay=0.0, patience=3)
    trained = fit(make_trainer(training, make=plain), tmp_path)
    assert (len(trained.history), trained.best_epoch) == (4, 1)
    again = fit(make_trainer(training, make=plain), tmp_path)
    assert lines(again.history) == lines(trained.history)
    assert again.resumed_from == 4


def test_parts_of_a_batch_add_up_to_it(tmp_path: Path) -> None:
    runs = []
    for accumulate in (1, 4):
        trainer = make_trainer(replace(TRAINING, accumulate=accumulate, clip=0.5, label_smoothing=0.1), make=plain)
        fit(trainer, tmp_path / str(accumulate))
        runs.append(state(trainer.net))
    for name, tensor in runs[0].items():
        # Rounding of float32 sums in another order, 16 Adam steps on: far below the 0.3 that a weight moves.
        torch.testing.assert_close(runs[1][name], tensor, rtol=1e-3, atol=1e-4)


def test_a_batch_that_memory_does_not_hold_goes_in_parts(tmp_path: Path) -> None:
    asked = make_trainer(replace(TRAINING, accumulate=2), make=Steps)
    expected = fit(asked, tmp_path / "asked")

    def refuse(_: nn.Module, inputs: tuple[Tensor]) -> None:
        if len(inputs[0]) > 4 and torch.is_grad_enabled():
            raise torch.OutOfMemoryError("out of memory")

    trainer = make_trainer(TRAINING, make=Steps)
    trainer.net.register_forward_pre_hook(refuse)
    found = fit(trainer, tmp_path / "scarce")
    assert [epoch["parts"] for epoch in found.history] == [2, 2, 2, 2]
    assert lines(found.history) == lines(expected.history)
    assert moved(state(asked.net), trainer.net.state_dict()) == set()
    resumed = make_trainer(TRAINING, make=Steps)
    assert lines(fit(resumed, tmp_path / "scarce").history) == lines(expected.history)


def test_memory_for_not_even_two_images_is_told(tmp_path: Path) -> None:
    trainer = make_trainer(TRAINING, make=Steps)

    def refuse(*_: object) -> None:
        raise torch.OutOfMemoryError("out of memory")

    trainer.net.register_forward_pre_hook(refuse)
    with pytest.raises(OutOfMemory, match="a batch of 2 images does not fit"):
        fit(trainer, tmp_path)


def test_a_dropout_before_the_head_is_there_while_it_trains(tmp_path: Path) -> None:
    trainer = make_trainer(replace(TRAINING, dropout=0.5), make=plain)
    assert isinstance(trainer.net.fc, nn.Sequential)
    logits = [trainer.predict(np.arange(4), FEED) for _ in range(2)]
    assert torch.equal(*logits)
    fit(trainer, tmp_path)


@pytest.mark.parametrize("name", ["efficientnet_b0", "googlenet", "squeezenet1_1"])
def test_a_dropout_takes_the_place_of_the_nets_own(name: str) -> None:
    shares = []
    for share in (0.0, 0.4):
        net = random_net(name, 0)
        fresh_head(net, find_tap(net, 64, name), 3, 0, share)
        shares.append(sorted(m.p for m in net.modules() if isinstance(m, nn.Dropout) and m.p))
    assert shares == [[0.5] if name == "squeezenet1_1" else [0.2], [0.4]]


@pytest.mark.parametrize("name", ["mobilenet_v2", "squeezenet1_1"])
@pytest.mark.parametrize("outputs", [1, 3])
def test_a_head_begins_where_the_probe_ends(name: str, outputs: int) -> None:
    net = random_net(name, 0)
    tap = find_tap(net, 64, name)
    embeddings: list[Tensor] = []
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((outputs, tap.dim)).astype(np.float32)
    bias = rng.standard_normal(outputs).astype(np.float32)
    fresh_head(net, tap, max(2, outputs), 0, dropout=0.2)
    probe_head(net, tap, weight, bias)
    head = net.get_submodule(tap.head)
    head.register_forward_pre_hook(lambda _, given: embeddings.append(given[0]))
    net.eval()
    with torch.no_grad():
        net(torch.randn(2, 3, 64, 64))
        given = embeddings[0]
        logits = head(given)
    features = given.mean((2, 3)) if given.ndim == 4 else given
    logits = logits.mean((2, 3)) if logits.ndim == 4 else logits
    expected = features @ torch.from_numpy(weight).T + torch.from_numpy(bias)
    if outputs == 1:
        expected = torch.cat([torch.zeros_like(expected), expected], dim=1)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
