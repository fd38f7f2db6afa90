"""The schedules are torch's own, told in closed form."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

from probeline.heads.minibatch.training import SCHEDULES, Schedule, factors

THEIRS: dict[str, Any] = {
    "constant": lambda optimizer, steps: lr_scheduler.ConstantLR(optimizer, factor=1.0),
    "cosine": lambda optimizer, steps: lr_scheduler.CosineAnnealingLR(optimizer, steps),
    "step": lambda optimizer, steps: lr_scheduler.StepLR(optimizer, math.ceil(steps / 3)),
    "one-cycle": lambda optimizer, steps: lr_scheduler.OneCycleLR(optimizer, 0.5, steps, cycle_momentum=False),
}


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 10, 31])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_schedule_is_torchs(schedule: Schedule, steps: int) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.5)
    theirs = THEIRS[schedule](optimizer, steps)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(rates) < steps:
            theirs.step()
    # Theirs goes by products of ratios, a few roundings of float64 a step.
    np.testing.assert_allclose(0.5 * factors(schedule, steps), rates, rtol=1e-11)


def test_what_is_no_schedule_is_refused() -> None:
    with pytest.raises(ValueError, match="0 steps"):
        factors("cosine", 0)
    with pytest.raises(ValueError, match="unknown schedule 'linear', there are constant, cosine, step, one-cycle"):
        factors("linear", 3)  # type: ignore[arg-type]
