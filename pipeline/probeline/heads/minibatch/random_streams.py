"""What the seed of a head decides, each from a stream of its own: first weights, the order of rows, dropout."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

WEIGHTS, ORDER, DROPOUT = range(3)
"""The streams of a seed."""


def stream(seed: int, purpose: int) -> torch.Generator:
    """Return a generator for one purpose of a seed, which must not be negative.

    The streams do not touch, so that heads of one seed see the rows in one order whatever else they draw.
    """
    state = np.random.SeedSequence((seed, purpose)).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0]))


def linear(columns: int, outputs: int, generator: torch.Generator) -> Tensor:
    """Return weights and, last, bias as ``nn.Linear`` starts from, float32 [outputs, columns + 1].

    They are uniform within 1 / sqrt(columns).
    """
    bound = 1 / math.sqrt(columns)
    return torch.empty(outputs, columns + 1).uniform_(-bound, bound, generator=generator)
