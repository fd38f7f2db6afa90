"""Several processes share the shards by a rule alone: all are done, whoever dies, and few are done twice."""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass

import pytest

from probeline.errors import BadOption
from probeline.options.share import Share, share_of_environment, torchrun_share


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_every_process_would_do_all_shards_its_own_first(count: int) -> None:
    shards = list(range(3, 120))
    for index in range(count):
        order = Share(index, count).order(shards)
        assert sorted(order) == shards
        own = [number for number in shards if number % count == index]
        assert order[: len(own)] == own


def test_those_that_are_left_divide_the_shards_of_one_that_is_gone() -> None:
    """Of what the last of five leaves, each of four takes about a quarter first, and no shard is two processes'."""
    gone = [number for number in range(2000) if number % 5 == 4]
    firsts = []
    for index in range(4):
        order = [number for number in Share(index, 5).order(range(2000)) if number % 5 == 4]
        ranks = [Share(index, 5)._turn(number)[0] for number in order]
        assert ranks == sorted(ranks)
        firsts.append({number for number, rank in zip(order, ranks, strict=True) if rank == 0})
    assert set().union(*firsts) == set(gone)
    assert sum(map(len, firsts)) == len(gone)
    # 400 shards in four parts: the standard deviation of each is sqrt(400 * 1/4 * 3/4) = 8.7, and this is five of them.
    assert all(abs(len(first) - 100) < 44 for first in firsts)


@dataclass
class Worker:
    order: list[int]
    speed: float
    """Shards a second."""
    dies: float
    """At which time; infinite for one that lives."""


def passes(workers: list[Worker], shards: int, chance: random.Random) -> int:
    """Return how many shards workers compute, some twice, until all are done."""
    done: set[int] = set()
    events: list[tuple[float, int, int | None]] = [(chance.random(), number, None) for number in range(len(workers))]
    heapq.heapify(events)
    count = 0
    while events:
        now, number, finished = heapq.heappop(events)
        worker = workers[number]
        if now > worker.dies:
            continue
        if finished is not None:
            done.add(finished)
        while worker.order and worker.order[0] in done:
            worker.order.pop(0)
        if worker.order:
            count += 1
            heapq.heappush(events, (now + chance.uniform(0.8, 1.2) / worker.speed, number, worker.order.pop(0)))
    assert len(done) == shards
    return count


@pytest.mark.parametrize("seed", range(40))
def test_few_shards_are_computed_twice_whoever_is_slow_or_dies(seed: int) -> None:
    chance = random.Random(seed)
    count, shards = chance.choice([4, 8]), chance.choice([5, 40, 400])
    workers = [
        Worker(
            Share(index, count).order(range(shards)),
            chance.choice([1, 1, 1, chance.uniform(0.05, 3)]),
            chance.uniform(0, 2 * shards / count) if index and chance.random() < 0.3 else float("inf"),
        )
        for index in range(count)
    ]
    assert passes(workers, shards, chance) <= shards + count**2


@pytest.mark.parametrize("text", ["0/8", "9/8", "8", "a/b", "1/0", "-1/8", "1/8/2", " 1/8", "", "1.5/2"])
def test_bad_shares_are_refused(text: str) -> None:
    with pytest.raises(BadOption, match=r"bad --share .*expected I/N"):
        Share.parse(text)


def test_a_share_reads_as_it_is_written() -> None:
    assert Share.parse("3/8") == Share(2, 8)
    assert str(Share.parse("3/8")) == "3/8"


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, None),
        ({"RANK": "2", "WORLD_SIZE": "4"}, (Share(2, 4), "torchrun")),
        ({"RANK": "0", "WORLD_SIZE": "1"}, None),
        ({"RANK": "4", "WORLD_SIZE": "4"}, None),
        ({"RANK": "x", "WORLD_SIZE": "4"}, None),
        ({"SLURM_PROCID": "3", "SLURM_NTASKS": "8"}, (Share(3, 8), "SLURM")),
        ({"SLURM_NTASKS": "8"}, (Share(0, 8), "SLURM")),
        (
            {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_COUNT": "4"}
            | {"SLURM_ARRAY_TASK_STEP": "2"},
            (Share(3, 4), "SLURM"),
        ),
        (
            {"SLURM_ARRAY_TASK_ID": "2", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_COUNT": "3"}
            | {"SLURM_PROCID": "1", "SLURM_NTASKS": "2"},
            (Share(3, 6), "SLURM"),
        ),
        ({"JOB_COMPLETION_INDEX": "0", "JOB_COMPLETIONS": "5"}, (Share(0, 5), "Kubernetes")),
        ({"JOB_COMPLETION_INDEX": "0"}, None),
        ({"SKYPILOT_NODE_RANK": "1", "SKYPILOT_NUM_NODES": "2"}, (Share(1, 2), "SkyPilot")),
        # torchrun's own processes within a task of SLURM.
        ({"RANK": "5", "WORLD_SIZE": "8", "SLURM_PROCID": "1", "SLURM_NTASKS": "2"}, (Share(5, 8), "torchrun")),
    ],
)
def test_launchers_say_which_process_this_is(environ: dict[str, str], expected: tuple[Share, str] | None) -> None:
    assert share_of_environment(environ) == expected


def test_torchrun_alone_numbers_the_processes_of_a_training() -> None:
    assert torchrun_share({"RANK": "1", "WORLD_SIZE": "2", "SLURM_PROCID": "3", "SLURM_NTASKS": "8"}) == Share(1, 2)
    assert torchrun_share({"RANK": "0", "WORLD_SIZE": "1"}) is None
    assert torchrun_share({"SLURM_PROCID": "1", "SLURM_NTASKS": "2"}) is None
    assert torchrun_share({}) is None
