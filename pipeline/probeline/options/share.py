"""Which of several processes this is, and in which order it takes shards, so that they need no locks and no clock."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from probeline.errors import BadOption


@dataclass(frozen=True)
class Share:
    """Process `index` of `count`, counted from 0."""

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index + 1}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> Share:
        """Return the share that ``I/N`` means, counted from 1 as people do."""
        match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
        if not match or not 1 <= int(match[1]) <= int(match[2]):
            raise BadOption("bad --share", expected="I/N, from 1/N to N/N, such as 3/8", got=repr(text))
        return cls(int(match[1]) - 1, int(match[2]))

    def order(self, shards: Iterable[int]) -> list[int]:
        """Return shards in the order in which this process takes them, each only if it is not done by then.

        Its own come first: those whose number leaves its index when divided by the count. Then those of others, in case
        they died or are slow: every process gives each shard a rank by a hash of both (rendezvous hashing), so that the
        processes that are left divide the shards of one that is gone among them. It takes those that are its own by
        rank from the end, since their owner comes from the beginning, and all others in an order of its own.
        """
        ranked = [((number - self.index) % self.count != 0, number) for number in shards]
        own = sorted(number for is_others, number in ranked if not is_others)
        return own + sorted((number for is_others, number in ranked if is_others), key=self._turn)

    def _turn(self, number: int) -> tuple[int, int, bytes]:
        others = (index for index in range(self.count) if index != number % self.count)
        mine = _weight(self.index, number)
        rank = sum(_weight(index, number) > mine for index in others)
        return rank, 0 if rank else -number, hashlib.sha256(b"turn " + mine).digest()


def _weight(index: int, number: int) -> bytes:
    return hashlib.sha256(b"%d %d" % (index, number)).digest()


def share_of_environment(environ: Mapping[str, str]) -> tuple[Share, str] | None:
    """Return the share that a launcher gave this process, and the launcher's name; None if there is none.

    Known are torchrun, SLURM (tasks of a step, arrays, and both), indexed jobs of Kubernetes whose manifest also sets
    ``JOB_COMPLETIONS``, and SkyPilot. A value that is no number, or a process alone, counts as none.
    """

    def number(name: str, default: int = -1) -> int:
        text = environ.get(name, "")
        return int(text) if re.fullmatch("[0-9]{1,6}", text) else default

    tasks, array = max(number("SLURM_NTASKS"), 1), max(number("SLURM_ARRAY_TASK_COUNT"), 1)
    step = max(number("SLURM_ARRAY_TASK_STEP"), 1)
    place = (number("SLURM_ARRAY_TASK_ID") - number("SLURM_ARRAY_TASK_MIN")) // step if array > 1 else 0
    found = {
        "torchrun": (number("RANK"), number("WORLD_SIZE")),
        "SLURM": (place * tasks + number("SLURM_PROCID", 0), array * tasks),
        "Kubernetes": (number("JOB_COMPLETION_INDEX"), number("JOB_COMPLETIONS")),
        "SkyPilot": (number("SKYPILOT_NODE_RANK"), number("SKYPILOT_NUM_NODES")),
    }
    for launcher, (index, count) in found.items():
        if count > 1 and 0 <= index < count:
            return Share(index, count), launcher
    return None


def torchrun_share(environ: Mapping[str, str]) -> Share | None:
    """Return the share of a process that torchrun, or another launcher with its variables, has started among others."""
    found = share_of_environment(environ)
    return found[0] if found and found[1] == "torchrun" else None
