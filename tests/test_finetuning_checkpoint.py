"""Checkpoints: whole or not there, never another run's, and the next step the same as without them."""

from __future__ import annotations

import os
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from flips import flipped
from probeline.errors import BadCache, CannotWrite
from probeline.finetuning import checkpoint
from probeline.finetuning import checkpoint_files as sealed

TENSORS = {
    "map": torch.arange(24.0).reshape(1, 2, 3, 4).contiguous(memory_format=torch.channels_last),
    "half": torch.tensor([0.1, -2.5]).to(torch.bfloat16),
    "count": torch.tensor(7),
}
EPOCH = {"epoch": 1, "parts": 1, "val_loss": 0.1 + 0.2, "val_top1": 0.5, "seconds": 0.1}
FACTS = {"key": "a" * 64, "history": [EPOCH]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run"


def found(folder: Path, key: str = "a" * 64) -> tuple[dict[str, Tensor], dict[str, object]] | None:
    return checkpoint.read(folder, "last", key)


def test_read_gives_back_what_was_written(folder: Path) -> None:
    checkpoint.write(folder, "last", TENSORS, FACTS)
    whole = found(folder)
    assert whole is not None
    tensors, facts = whole
    assert tensors.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor)
    assert facts.items() >= FACTS.items()
    assert sorted(path.name for path in folder.iterdir()) == ["last.json", "last.safetensors"]


def test_a_later_checkpoint_takes_the_place_of_the_earlier(folder: Path) -> None:
    checkpoint.write(folder, "last", TENSORS, FACTS)
    checkpoint.write(folder, "last", {"count": torch.tensor(8)}, {"key": "a" * 64, "history": []})
    whole = found(folder)
    assert whole is not None
    assert whole[0] == {"count": torch.tensor(8)}
    assert whole[1]["history"] == []


def test_where_nothing_was_written_there_is_none(folder: Path) -> None:
    assert found(folder) is None


def test_another_runs_checkpoint_is_none(folder: Path) -> None:
    checkpoint.write(folder, "last", TENSORS, FACTS)
    assert found(folder, "b" * 64) is None


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_half_a_pair_is_none(folder: Path, suffix: str) -> None:
    checkpoint.write(folder, "last", TENSORS, FACTS)
    (folder / f"last{suffix}").unlink()
    assert found(folder) is None


class Killed(BaseException):
    """The process is gone."""


def write_until(folder: Path, calls: int, monkeypatch: pytest.MonkeyPatch, number: int) -> bool:
    """Write a checkpoint that holds `number`, killed after so many changes of the disk; say whether it was done."""
    take_name, changes = os.replace, 0

    def counted(source: Path, target: Path) -> None:
        nonlocal changes
        if changes == calls:
            raise Killed
        changes += 1
        take_name(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", counted)
        try:
            checkpoint.write(folder, "last", {"count": torch.tensor(number)}, {**FACTS, "number": number})
        except Killed:
            return False
    return True


def test_whenever_it_is_killed_there_is_a_whole_checkpoint(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Two crashes in a row, each after any number of the four changes, and then one that comes through.
    for first, second in product(range(4), repeat=2):
        for path in (*folder.glob("*"),):
            path.unlink()
        assert write_until(folder, 4, monkeypatch, 1)
        assert not write_until(folder, first, monkeypatch, 2)
        assert not write_until(folder, second, monkeypatch, 3)
        whole = found(folder)
        assert whole is not None, (first, second)
        number = whole[1]["number"]
        assert int(whole[0]["count"]) == number
        assert number in (1, 2, 3)
        assert write_until(folder, 4, monkeypatch, 4)
        whole = found(folder)
        assert whole is not None
        assert int(whole[0]["count"]) == 4
        assert sorted(path.name for path in folder.iterdir()) == ["last.json", "last.safetensors"]


def test_what_a_kill_left_is_one_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "data" / "net-finetune" / "seed0-0123456789ab"
    for calls in (2, 3):
        assert not write_until(folder, calls, monkeypatch, calls)
        assert sealed.checkpoints(tmp_path) == [(folder, "last")]
        assert sealed.read(folder, "last") is not None
    checkpoint.remove(folder, "last")
    assert not list(folder.iterdir())


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_any_changed_byte_is_none(folder: Path, suffix: str) -> None:
    checkpoint.write(folder, "last", TENSORS, FACTS)
    path = folder / f"last{suffix}"
    whole = path.read_bytes()
    for place in range(len(whole)):
        with flipped(path, place, 1):
            assert found(folder) is None, place
    assert path.read_bytes() == whole
    for cut in (0, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        assert found(folder) is None, cut
    path.write_bytes(whole)
    assert found(folder) is not None


def test_what_cannot_be_read_is_told_and_not_taken_for_missing(folder: Path) -> None:
    (folder / "last.json").mkdir(parents=True)
    with pytest.raises(BadCache, match=r"cannot read a checkpoint: .*run"):
        found(folder)


def test_remove(folder: Path) -> None:
    checkpoint.write(folder, "last", TENSORS, FACTS)
    checkpoint.write(folder, "best", TENSORS, FACTS)
    checkpoint.remove(folder, "last")
    assert sorted(path.name for path in folder.iterdir()) == ["best.json", "best.safetensors"]
    checkpoint.remove(folder, "last")
    (folder / "last.json").mkdir()
    with pytest.raises(CannotWrite, match="cannot remove a checkpoint"):
        checkpoint.remove(folder, "last")


def net_and_optimizer() -> tuple[nn.Module, torch.optim.Optimizer]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 2, 3), nn.Flatten())
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return net, torch.optim.AdamW(net.parameters(), lr=0.1)


def step(net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    images = torch.linspace(-1, 1, 2 * 3 * 8 * 8).reshape(2, 3, 8, 8)
    optimizer.zero_grad()
    net(images).square().sum().backward()
    optimizer.step()


def test_the_next_step_is_the_same_from_a_checkpoint(folder: Path) -> None:
    net, optimizer = net_and_optimizer()
    step(net, optimizer)
    checkpoint.write(folder, "last", checkpoint.training_tensors(net, optimizer), FACTS)
    step(net, optimizer)

    other, its_optimizer = net_and_optimizer()
    whole = found(folder)
    assert whole is not None
    checkpoint.restore(other, its_optimizer, whole[0])
    for parameter, state in its_optimizer.state.items():
        # Another layout would give the same step more slowly, and with vectors rounded in other places.
        assert state["exp_avg"].stride() == parameter.stride()
    step(other, its_optimizer)
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name]), name
    for mine, its in zip(net.parameters(), other.parameters(), strict=True):
        for name, value in optimizer.state[mine].items():
            assert torch.equal(value, its_optimizer.state[its][name]), name


def test_tied_weights_can_be_saved(folder: Path) -> None:
    one, other = nn.Linear(3, 3), nn.Linear(3, 3)
    other.weight = one.weight
    net = nn.Sequential(one, other)
    checkpoint.write(folder, "last", net.state_dict(), FACTS)
    whole = found(folder)
    assert whole is not None
    assert torch.equal(whole[0]["0.weight"], one.weight)
    assert torch.equal(whole[0]["1.weight"], one.weight)
