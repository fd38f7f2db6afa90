"""Each part in a process of its own, with a budget of time: what fails or takes too long leaves the others alone."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

from bench_gpu.plan import Plan, Row

Part = Callable[[Plan], Iterator[Row]]

SOFT = 0.85
"""Share of its budget after which a part begins no further measurement; at the end of the budget it is killed."""


@dataclass
class Result:
    """What a part gave.

    Attributes
    ----------
    ended : str
        ``complete``, ``out of time``, or the error that ended it.
    """

    budget: float
    seconds: float = 0.0
    ended: str = ""
    rows: list[Row] = field(default_factory=list)


def run_parts(
    parts: Mapping[str, tuple[float, Part]], plan: Plan, seconds: float, tell: Callable[[str, Row], object]
) -> Iterator[tuple[str, Result]]:
    """Run parts, each with its weight's share of the time that is left, and yield the result of each.

    The parent process must not use the device, or the children could not.
    """
    ends = time.monotonic() + seconds
    left = sum(weight for weight, _ in parts.values())
    for name, (weight, part) in parts.items():
        budget = max(0.0, ends - time.monotonic()) * weight / left
        left -= weight
        yield name, _run(name, part, plan, budget, tell)


def _run(name: str, part: Part, plan: Plan, budget: float, tell: Callable[[str, Row], object]) -> Result:
    result = Result(budget)
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    started = time.monotonic()
    child = context.Process(target=_work, args=(part, plan, SOFT * budget, sender), daemon=False)
    child.start()
    sender.close()
    try:
        while not result.ended:
            if not receiver.poll(max(0.0, started + budget - time.monotonic())):
                result.ended = "out of time"
                break
            kind, value = receiver.recv()
            if kind == "row":
                result.rows.append(value)
                tell(name, value)
            else:
                result.ended = value
    except EOFError:
        child.join(10)
        result.ended = f"the process ended with code {child.exitcode}"
    finally:
        child.join(0 if result.ended == "out of time" else 10)
        if child.is_alive():
            child.kill()
            child.join()
    result.seconds = time.monotonic() - started
    return result


def _work(part: Part, plan: Plan, soft: float, sender: Connection) -> None:
    """Send each row of a part, and how it ended."""
    started = time.monotonic()
    ended: Any = "complete"
    try:
        for row in part(plan):
            sender.send(("row", row))
            if time.monotonic() - started > soft:
                ended = "out of time"
                break
    except Exception as error:  # whatever a library raises: it is the part's end, not the command's
        ended = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"[:300]
    sender.send(("end", ended))
