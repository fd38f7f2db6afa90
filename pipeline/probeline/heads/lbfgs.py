"""L-BFGS for a smooth convex function whose values are noisier than its gradients.

Why not a library's: close to the minimum, where the decrease drowns in the rounding of the value, the line searches of
scipy and torch fail while gradients are still right; scipy's bookkeeping for bounds takes 25 ms a step on 10^4
variables, more than a pass over the rows of a small task; and this one stays on the device.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

_MEMORY = 10
"""Steps whose change of gradient is remembered."""

_TRIALS = 20
"""Places that a line search tries."""

_PATIENCE = 10
"""Steps without a visible decrease of the value or the gradient after which rounding has taken over."""

Evaluate = Callable[[Tensor], tuple[float, Tensor, bool]]
Pair = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class _Place:
    at: Tensor
    value: float
    gradient: Tensor
    good: bool


def minimise(evaluate: Evaluate, start: Tensor, *, noise: float, max_steps: int) -> tuple[Tensor, int]:
    """Descend from `start` to a good place, or for `max_steps`, or to where rounding hides the way.

    Nocedal's two-loop recursion (Nocedal and Wright 2006, "Numerical Optimization", algorithm 7.4) with the approximate
    Wolfe conditions of Hager and Zhang (2005, "A new conjugate gradient method with guaranteed descent and an efficient
    line search", SIAM J. Optim. 16, 170-192), which ask for slopes more than for values.

    Parameters
    ----------
    evaluate : callable
        Returns value and gradient at a place, and whether it is good enough. The curvature should be near 1: the first
        trial is one gradient long.
    start : float64 tensor
    noise : float
        Rounding of a value, as a part of it.
    max_steps : int

    Returns
    -------
    place : float64 tensor
    steps : int
    """
    here = _Place(start, *evaluate(start))
    pairs: deque[Pair] = deque(maxlen=_MEMORY)
    lowest, smallest = here.value, _dot(here.gradient, here.gradient)
    steps = idle = 0
    while steps < max_steps and idle < _PATIENCE and not here.good:
        there = _search(evaluate, here, _direction(here.gradient, pairs), noise)
        if there is None:
            if not pairs:
                break
            pairs.clear()
            continue
        change, bend = there.at - here.at, there.gradient - here.gradient
        if _dot(change, bend) > 0:
            pairs.append((change, bend))
        here = there
        steps += 1
        norm = _dot(here.gradient, here.gradient)
        idle = 0 if here.value < lowest - noise * abs(lowest) or norm < 0.8 * smallest else idle + 1
        lowest, smallest = min(lowest, here.value), min(smallest, norm)
    return here.at, steps


def _dot(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum())


def _direction(gradient: Tensor, pairs: deque[Pair]) -> Tensor:
    """Return the quasi-Newton step; minus the gradient where nothing is remembered."""
    direction = -gradient
    weights = []
    for change, bend in reversed(pairs):
        weights.append(_dot(change, direction) / _dot(change, bend))
        direction = direction - weights[-1] * bend
    if pairs:
        change, bend = pairs[-1]
        direction = direction * (_dot(change, bend) / _dot(bend, bend))
    for (change, bend), weight in zip(pairs, reversed(weights), strict=True):
        direction = direction + (weight - _dot(bend, direction) / _dot(change, bend)) * change
    return direction


def _search(evaluate: Evaluate, here: _Place, direction: Tensor, noise: float) -> _Place | None:
    """Return a place along `direction` where the slope has flattened and the value has not risen, or None."""
    slope = _dot(here.gradient, direction)
    near, near_slope = 0.0, slope
    far, far_slope = math.inf, math.inf
    length = 1.0
    for _ in range(_TRIALS if slope < 0 else 0):
        at = here.at + length * direction
        there = _Place(at, *evaluate(at))
        slope_there = _dot(there.gradient, direction)
        if not (there.value <= here.value + noise * abs(here.value) and slope_there <= -0.8 * slope):
            far, far_slope = length, slope_there  # also where either is no number
        elif slope_there < 0.9 * slope and not there.good:
            near, near_slope = length, slope_there
        else:
            return there
        if math.isinf(far):
            length *= 4
        elif far_slope > 0:  # a secant, kept away from the ends
            share = near_slope / (near_slope - far_slope)
            length = near + (far - near) * min(max(share, 0.1), 0.9)
        else:
            length = (near + far) / 2
    return None
