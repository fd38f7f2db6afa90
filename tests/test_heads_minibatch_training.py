"""What a seed decides."""

from __future__ import annotations

import math

import torch
from torch import nn

from probeline.heads.minibatch import training


def test_streams_of_a_seed_differ_and_repeat() -> None:
    drawn = [
        torch.rand(4, generator=training.stream(seed, purpose))
        for seed in (0, 1)
        for purpose in (training.ORDER, training.DROPOUT)
    ]
    assert len({tuple(values.tolist()) for values in drawn}) == 4
    assert torch.equal(drawn[0], torch.rand(4, generator=training.stream(0, training.ORDER)))


def test_a_layer_starts_where_torchs_does() -> None:
    ours = training.linear(400, 50, training.stream(0, training.WEIGHTS))
    theirs = nn.Linear(400, 50, device="meta").to_empty(device="cpu")
    state = torch.get_rng_state()
    with torch.random.fork_rng():
        theirs.reset_parameters()
    assert torch.equal(torch.get_rng_state(), state)
    assert ours.shape == (50, 401)
    # Uniform within 1 / 20: the largest of 20,000 draws lies within 1 part in 1,000 of it (all below: e^-20), and their
    # standard deviation, 1 / 20 / sqrt(3), is met within 1 part in 50 (its own deviation is 1 in 300).
    for weight in (ours, theirs.weight.detach()):
        assert 0.999 / 20 < weight.abs().max() <= 1 / 20
        assert math.isclose(weight.std(), 1 / 20 / math.sqrt(3), rel_tol=0.02)
