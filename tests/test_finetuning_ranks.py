"""Several processes train what one does: weights, history and outputs, what is resumed, and what goes wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from probeline.errors import BadOption, RankLost
from probeline.finetuning import checkpoint, ranks
from probeline.finetuning.ranks import ALONE, Ranks, device_of_rank, joined, threads_of_rank
from probeline.finetuning.training.joint_step import sum_bits
from probeline.options.share import Share
from small_ranks import EPOCHS_BEFORE, EQUAL, FAILING, ROUNDED, SGD, TWO, interrupt, result, start
from small_trainings import KEY, make_trainer

UNIT = 2.0**-24
"""The largest relative error of rounding to float32."""
STATISTICS = 200 * UNIT
"""How far running statistics may differ, as a share of the largest of their layer.

In one process a part's update rounds three times, in two the term of the part and the sum are rounded once each: 5
units per update. An average with momentum 0.1 keeps them 1 / 0.1 = 10 updates long, so 50 units; a cumulative one of 32
updates at most 5 x 32 / 2 = 80. Twice that, as a part's statistics may be larger than the average.
"""


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, one_thread: None) -> Path:
    """What two processes have made of every training, and of one that was interrupted in one process."""
    folder = tmp_path_factory.mktemp("ranks")
    interrupt(ALONE, folder / "interrupted alone")
    processes = start([str(Path(__file__).with_name("small_ranks.py")), str(folder)], folder=folder)
    said = [process.communicate(timeout=240) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    assert said == [("", "")] * 2
    return folder


def load(place: Path, name: str, rank: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(place / f"{name}, rank {rank}.pt")
    return found


def assert_equal(found: dict[str, Any], alone: dict[str, Any]) -> None:
    """Weights and what is measured in training are the same to the last bit, running statistics but for rounding."""
    assert found["state"].keys() == alone["state"].keys()
    for name, tensor in alone["state"].items():
        if "running" in name:
            bound = STATISTICS * float(tensor.abs().max())
            torch.testing.assert_close(found["state"][name], tensor, rtol=0, atol=bound)
        else:
            assert torch.equal(found["state"][name], tensor), name
    exact, rounded = ("lr", "stages", "parts", "train_loss", "train_top1", "val_top1"), "val_loss"
    assert [[line[name] for name in exact] for line in found["history"]] == [
        [line[name] for name in exact] for line in alone["history"]
    ]
    # Val images meet the running statistics, which two layers with scales near 1 pass on.
    assert [line[rounded] for line in found["history"]] == pytest.approx(
        [line[rounded] for line in alone["history"]], abs=10 * STATISTICS
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", EQUAL)
def test_two_processes_take_the_steps_of_two_parts_in_one(place: Path, tmp_path: Path, name: str) -> None:
    assert_equal(load(place, name), EQUAL[name](ALONE, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*EQUAL, *ROUNDED])
def test_all_processes_have_the_same_net_history_and_output(place: Path, name: str) -> None:
    first, second = (load(place, name, rank) for rank in range(2))
    assert first["history"] == second["history"]
    assert torch.equal(first["output"], second["output"])
    assert all(torch.equal(tensor, second["state"][key]) for key, tensor in first["state"].items())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["parts of a batch and a remainder", "norms", "gradual"])
def test_outputs_that_are_divided_are_those_of_one_process(place: Path, name: str) -> None:
    from small_ranks import Norms
    from small_trainings import FEED, VAL, Steps, Tiny

    nets = {"parts of a batch and a remainder": Tiny, "norms": Norms, "gradual": Steps}
    found = load(place, name)
    trainer = make_trainer(TWO, make=nets[name])
    trainer.net.load_state_dict(found["state"])
    assert torch.equal(trainer.predict(VAL, FEED), found["output"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ROUNDED)
def test_more_parts_than_processes_differ_by_rounding(place: Path, tmp_path: Path, name: str) -> None:
    """The bound: four times what comes of it if every weight is one unit larger in the beginning."""
    found, alone = load(place, name), ROUNDED[name](ALONE, tmp_path / "alone")
    moved = make_trainer(SGD.__class__(**{**vars(SGD), "accumulate": 4}))
    with torch.no_grad():
        for parameter in moved.net.parameters():
            parameter.copy_(torch.nextafter(parameter, torch.full_like(parameter, torch.inf)))
    shifted = result(moved, tmp_path / "moved")

    def distance(other: dict[str, Any]) -> float:
        return max(float((other["state"][key] - tensor).abs().max()) for key, tensor in alone["state"].items())

    assert [line["parts"] for line in found["history"]] == [4] * 4
    assert 0 < distance(shifted) < 1e-3
    assert distance(found) <= 4 * distance(shifted)


def test_dropout_differs_from_part_to_part_and_from_batch_to_batch(tmp_path: Path) -> None:
    trainer = make_trainer(TWO)
    kept: list[bytes] = []
    trainer.net.get_submodule("dropout").register_forward_hook(
        lambda module, _, output: kept.append((output != 0).numpy().tobytes()) if module.training else None
    )
    result(trainer, tmp_path)
    assert len(kept) == len(set(kept)) == 4 * 4 * 2


@pytest.mark.slow
def test_the_first_process_alone_writes(place: Path) -> None:
    for name in [*EQUAL, *ROUNDED]:
        files = sorted(path.name for path in (place / "rank 0" / name).iterdir())
        assert files == ["best.json", "best.safetensors", "last.json", "last.safetensors"]
    assert not (place / "rank 1").exists()


# Resuming


@pytest.mark.slow
def test_what_two_processes_have_begun_one_ends(place: Path, tmp_path: Path) -> None:
    resumed = result(make_trainer(TWO), place / "rank 0" / "interrupted")
    assert resumed["resumed_from"] == EPOCHS_BEFORE
    assert_equal(resumed, result(make_trainer(TWO), tmp_path))


@pytest.mark.slow
def test_what_one_process_has_begun_two_end(place: Path, tmp_path: Path) -> None:
    resumed = load(place, "resumed")
    assert resumed["resumed_from"] == EPOCHS_BEFORE
    assert_equal(resumed, result(make_trainer(TWO), tmp_path))
    assert checkpoint.read(place / "interrupted alone", "last", KEY) is not None


# What goes wrong


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("diverged", "Diverged", "the training loss is"),
        ("other weights", "Mismatch", "the processes have different nets after epoch 1"),
        ("a buffer of its own", "BadOption", "(got passes)"),
        ("other key", "BadOption", "a run: the processes are about different trainings"),
    ],
)
def test_an_error_is_one_of_all_processes(place: Path, name: str, error: str, words: str) -> None:
    for rank in range(2):
        found = load(place, name, rank)
        assert found["error"] == error
        assert words in found["message"]


def test_one_process_may_change_buffers_of_its_own(tmp_path: Path) -> None:
    assert FAILING["a buffer of its own"](ALONE, tmp_path) == {}


def test_a_launcher_that_does_not_say_where_the_first_process_is() -> None:
    with pytest.raises(BadOption, match="MASTER_ADDR and MASTER_PORT not; start several processes by torchrun"):
        joined(Share(1, 2), torch.device("cpu"), {}).__enter__()


def test_a_connection_that_fails_is_no_defect() -> None:
    with pytest.raises(RankLost, match="the connection to another process"), ranks._connected():
        raise RuntimeError("Connection closed by peer\nat line 5")


# Shares, devices and threads


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shares_in_their_order_are_all_items(count: int) -> None:
    for items in range(12):
        shares = [Ranks(index, count).own(range(items)) for index in range(count)]
        assert [item for share in shares for item in share] == list(range(items))
        sizes = [len(share) for share in shares]
        assert sizes == sorted(sizes, reverse=True)
        assert max(sizes) - min(sizes) <= 1


def test_a_process_alone_asks_nobody() -> None:
    assert ALONE.share is None
    assert ALONE.is_first
    assert ALONE.broadcast([1]) == [1]
    assert ALONE.any(True)
    assert not ALONE.any(False)
    assert ALONE.agree(torch.zeros(1))
    assert Ranks(1, 3).share == Share(1, 3)


def test_each_process_has_the_gpu_of_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("probeline.backbones.device.choose", torch.device)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device_of_rank("cpu", {"LOCAL_RANK": "1"}) == torch.device("cpu")
    assert [str(device_of_rank("cuda", {"LOCAL_RANK": text})) for text in ("", "0", "1")] == [
        "cuda:0",
        "cuda:0",
        "cuda:1",
    ]
    with pytest.raises(BadOption, match=r"fewer GPUs than processes .*expected at most 2.*--nproc-per-node 2"):
        device_of_rank("cuda", {"LOCAL_RANK": "2"})
    for name in ("cuda:1", "mps"):
        with pytest.raises(BadOption, match=f"cannot share the device {name}; use --device cuda"):
            device_of_rank(name, {})


def test_the_threads_of_a_machine_are_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("probeline.backbones.device.cores", lambda: 16)
    cpu, cuda = torch.device("cpu"), torch.device("cuda", 1)
    assert threads_of_rank(cuda, None, {"LOCAL_WORLD_SIZE": "4"}) == 4
    assert threads_of_rank(cuda, None, {"LOCAL_WORLD_SIZE": "64"}) == 1
    assert threads_of_rank(cuda, 3, {"LOCAL_WORLD_SIZE": "4"}) == 3
    assert threads_of_rank(cpu, None, {"LOCAL_WORLD_SIZE": "4"}) is None


def test_every_bit_counts() -> None:
    tensors = [torch.ones(2, 3, 4, 4).contiguous(memory_format=torch.channels_last), torch.tensor(5), torch.ones(2) > 0]
    before = sum_bits(tensors)
    tensors[0][1, 2, 3, 3] = float(np.nextafter(np.float32(1), np.float32(2)))
    assert (sum_bits(tensors) - before).tolist() == [1, 0, 0]
