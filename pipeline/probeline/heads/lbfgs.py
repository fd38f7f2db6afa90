"""L-BFGS for a smooth convex function whose values are noisier than its gradients.

Why not a library's: close to the minimum, where the decrease drowns in the rounding of the value, the line searches of
scipy and torch fail while gradients are still right; scipy's bookkeeping for bounds takes 25 ms a step on 10^4
variables, more than a pass over the rows of a small task; and this one stays on the device.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

from torch import Tensor

_MEMORY = 10
"""Steps whose change of gradient is remembered."""

_TRIALS = 20
"""Places that a line search tries."""

_PATIENCE = 10
"""Steps without a visible decrease of the value or the gradient after which rounding has taken over."""

Evaluate = Callable[[Tensor], tuple[float, Tensor]]
Place = tuple[Tensor, float, Tensor]
Pair = tuple[Tensor, Tensor]


def minimise(
    evaluate: Evaluate, start: Tensor, *, done: Callable[[], bool], noise: float, max_steps: int
) -> tuple[Tensor, int]:
    """Descend from `start` until `done`, or `max_steps`, or where rounding hides the way.

    Nocedal's two-loop recursion (Nocedal and Wright 2006, "Numerical Optimization", algorithm 7.4) with the approximate
    Wolfe conditions of Hager and Zhang (2005, "A new conjugate gradient method with guaranteed descent and an efficient
    line search", SIAM J. Optim. 16, 170-192), which ask for slopes more than for values.

    Parameters
    ----------
    evaluate : callable
        Returns value and gradient at a place. The curvature is at most 1 in every direction, so that a step of one
        gradient is sure to descend.
    start : float64 tensor
    done : callable
        Whether the place evaluated last is good enough; asked after each step.
    noise : float
        Rounding of a value, as a part of it.
    max_steps : int

    Returns
    -------
    place : float64 tensor
    steps : int
    """
    value, gradient = evaluate(start)
    here: Place = (start, value, gradient)
    pairs: deque[Pair] = deque(maxlen=_MEMORY)
    lowest, smallest = value, _dot(gradient, gradient)
    steps = idle = 0
    while steps < max_steps and idle < _PATIENCE and not done():
        there = _step(evaluate, here, _direction(here[2], pairs), noise)
        if there is None:
            if not pairs:
                break
            pairs.clear()
            continue
        change, bend = there[0] - here[0], there[2] - here[2]
        if _dot(change, bend) > 0:
            pairs.append((change, bend))
        here = there
        steps += 1
        norm = _dot(here[2], here[2])
        idle = 0 if here[1] < lowest * (1 - noise) or norm < 0.8 * smallest else idle + 1
        lowest, smallest = min(lowest, here[1]), min(smallest, norm)
    return here[0], steps


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


def _step(evaluate: Evaluate, here: Place, direction: Tensor, noise: float) -> Place | None:
    """Return a place along `direction` where the slope has flattened and the value has not risen, or None."""
    place, value, gradient = here
    slope = _dot(gradient, direction)
    near, near_slope = 0.0, slope
    far, far_slope = math.inf, math.inf
    length = 1.0
    for _ in range(_TRIALS if slope < 0 else 0):
        there = place + length * direction
        value_there, gradient_there = evaluate(there)
        slope_there = _dot(gradient_there, direction)
        if value_there > value * (1 + noise) or slope_there > -0.8 * slope:
            far, far_slope = length, slope_there
        elif slope_there < 0.9 * slope:
            near, near_slope = length, slope_there
        else:
            return there, value_there, gradient_there
        if math.isinf(far):
            length *= 4
        elif far_slope > 0:  # a secant, kept away from the ends
            share = near_slope / (near_slope - far_slope)
            length = near + (far - near) * min(max(share, 0.1), 0.9)
        else:
            length = (near + far) / 2
    return None
