"""Memory that threads share: never more than the budget and one claim, no thread waits for ever."""

from __future__ import annotations

import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from probeline.files.memory import DECODING, Budget, Lease, check_fits, read_leased


@pytest.fixture
def budget() -> Budget:
    budget = Budget()
    budget.limit(1e-6)  # 1,000 bytes
    return budget


def test_what_fits_does_not_wait(budget: Budget) -> None:
    with Lease(budget) as first, Lease(budget) as second:
        first.claim(600)
        second.claim(400)
        assert budget.held == 1000
        first.claim(100)
        assert budget.held == 500
    assert budget.held == 0


def test_a_claim_waits_for_others_and_goes_on_when_they_end(budget: Budget) -> None:
    order: list[str] = []

    def late() -> None:
        with Lease(budget) as lease:
            lease.claim(700)
            order.append("late")

    with Lease(budget) as first:
        first.claim(400)
        thread = threading.Thread(target=late)
        thread.start()
        time.sleep(0.05)
        order.append("first")
    thread.join(10)
    assert order == ["first", "late"]


def test_more_than_the_budget_is_let_in_alone(budget: Budget) -> None:
    with Lease(budget) as lease:
        lease.claim(5000)
        assert budget.held == 5000


def test_an_error_gives_everything_back(budget: Budget) -> None:
    def fail() -> None:
        with Lease(budget) as lease:
            lease.claim(900)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert budget.held == 0


def test_more_than_the_machine_has_is_refused(budget: Budget) -> None:
    with Lease(budget) as lease, pytest.raises(MemoryError, match="this machine has"):
        lease.claim(budget.machine + 1)
    with pytest.raises(MemoryError, match="this machine has"):
        check_fits(DECODING.machine + 1)


def test_threads_that_claim_twice_never_wait_for_each_other(budget: Budget) -> None:
    """As readers do: the file's bytes first, then the image's, more than the budget at times."""
    most, mutex = [0], threading.Lock()

    def work(seed: int) -> int:
        chance = random.Random(seed)
        with Lease(budget) as lease:
            for claim in sorted(chance.randrange(1, 1500) for _ in range(3)):
                lease.claim(claim)
                with mutex:
                    most[0] = max(most[0], budget.held)
                if chance.random() < 0.1:
                    time.sleep(0.0005)
        return seed

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(work, range(2000), timeout=60)) == list(range(2000))
    assert budget.held == 0
    # One thread at a time may have more than the budget has left, by one claim of less than 1,500.
    assert most[0] < 1000 + 1500


def test_claims_are_met_in_their_order(budget: Budget) -> None:
    """A large claim is not passed over for ever by small ones that would fit."""
    done: list[str] = []

    def claim(name: str, count: int) -> None:
        with Lease(budget) as lease:
            lease.claim(count)
            done.append(name)

    with Lease(budget) as first:
        first.claim(500)
        threads = []
        for name, count in (("large", 900), ("small", 200)):
            threads.append(threading.Thread(target=claim, args=(name, count)))
            threads[-1].start()
            time.sleep(0.05)
        assert done == []
    for thread in threads:
        thread.join(10)
    assert done == ["large", "small"]


def test_a_forked_child_starts_with_nothing_held() -> None:
    with Lease(DECODING) as lease:
        lease.claim(10)
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.write(writer, str(DECODING.held).encode())
            os._exit(0)
        os.waitpid(child, 0)
        assert os.read(reader, 10) == b"0"
        for pipe in (reader, writer):
            os.close(pipe)


def test_a_file_is_read_within_a_lease(tmp_path: Path, budget: Budget) -> None:
    (tmp_path / "a.jpg").write_bytes(b"x" * 300)
    with Lease(budget) as lease:
        assert read_leased(tmp_path / "a.jpg", lease) == b"x" * 300
        assert budget.held == 300


def test_the_default_is_a_quarter_of_the_memory() -> None:
    budget = Budget()
    assert budget.most == budget.machine // 4
    budget.limit(2.5)
    assert budget.most == 2_500_000_000
    budget.limit(None)
    assert budget.most == budget.machine // 4
