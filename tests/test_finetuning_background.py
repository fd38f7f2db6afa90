"""What runs in parallel with a training: batches copied one ahead, checkpoints written, memory given back.

No GPU is needed: torch's functions of one are replaced by ones that note the order in which they are called.
"""

from __future__ import annotations

import contextlib
import gc
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from probeline.errors import CannotWrite
from probeline.finetuning import checkpoint
from probeline.finetuning.training import background, steps
from probeline.finetuning.training.background import BackgroundTask, HostCopies
from probeline.finetuning.training.network import Network
from probeline.finetuning.training.steps import make_optimizer, rate_groups
from probeline.images import PixelArray
from probeline.types import IntArray
from small_trainings import (
    BATCHES_AN_EPOCH,
    FEED,
    KEY,
    TRAIN_BATCHES,
    TRAINING,
    Interrupted,
    Steps,
    Tiny,
    fit,
    lines,
    make_trainer,
    moved,
    preprocess,
    seeded,
)

CPU, CUDA = torch.device("cpu"), torch.device("cuda")

# Copies one ahead


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of a CUDA device that is not there; its tensors stay on the CPU."""
    found: list[str] = []
    move = Tensor.to

    class Stream:
        def wait_event(self, event: Event) -> None:
            found.append(f"wait for copy {event.number}")

    class Event:
        made = 0

        def __init__(self) -> None:
            self.number, Event.made = Event.made, Event.made + 1

        def record(self, stream: Stream) -> None:
            assert stream is not main
            found.append(f"copy {self.number}")

    def to(tensor: Tensor, *arguments: Any, **options: Any) -> Tensor:
        if arguments and arguments[0] == CUDA:
            found.append(f"to cuda, non-blocking {options.get('non_blocking', False)}")
            return tensor.clone()
        return move(tensor, *arguments, **options)

    main = Stream()
    Event.made = 0
    monkeypatch.setattr(torch.cuda, "Stream", lambda _: Stream())
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: contextlib.nullcontext())
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: main)
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: found.append("pin") or tensor)
    monkeypatch.setattr(Tensor, "record_stream", lambda _, stream: found.append(f"in use {stream is main}"))
    monkeypatch.setattr(Tensor, "to", to)
    return found


def network() -> Network:
    net = Network(seeded(Tiny), preprocess(), CPU, "fp32", None)
    net.device = CUDA
    return net


def test_the_next_batch_is_on_its_way_before_a_step(log: list[str]) -> None:
    def feed() -> Iterator[tuple[IntArray, IntArray]]:
        for number in range(3):
            log.append(f"read {number}")
            yield np.full(2, number), np.full(1, -number)

    seen = []
    for pixels, labels in network().ahead(feed()):
        log.append(f"step {int(pixels[0])}")
        seen.append((pixels.tolist(), labels.tolist()))
    assert seen == [([0, 0], [0]), ([1, 1], [-1]), ([2, 2], [-2])]
    order = [line for line in log if line.startswith(("read", "copy", "wait", "step"))]
    assert order == [
        *("read 0", "copy 0", "read 1", "copy 1", "wait for copy 0", "step 0"),
        *("read 2", "copy 2", "wait for copy 1", "step 1", "wait for copy 2", "step 2"),
    ]
    assert log.count("pin") == log.count("to cuda, non-blocking True") == log.count("in use True") == 6
    assert "to cuda, non-blocking False" not in log


def test_a_batch_that_has_no_room_yet_waits_on_the_host(log: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    net = network()
    monkeypatch.setattr(Tensor, "to", refuse)
    batches = [(np.arange(3),), (np.arange(2),)]
    assert [pixels.tolist() for (pixels,) in net.ahead(batches)] == [[0, 1, 2], [0, 1]]
    assert not [line for line in log if line.startswith("wait")]


def test_on_a_cpu_no_batch_is_read_ahead() -> None:
    net = Network(seeded(Tiny), preprocess(), CPU, "fp32", None)
    read: list[int] = []
    batches = ((np.full(1, number),) for number in range(3) if read.append(number) is None)
    for number, (pixels,) in enumerate(net.ahead(batches)):
        assert read == list(range(number + 1))
        assert int(pixels[0]) == number


def test_the_optimizer_is_fused_where_torch_has_it() -> None:
    setup = make_trainer().setup
    for name in ("adamw", "adam", "sgd"):
        options = replace(TRAINING, optimizer=name)
        for device, fused in ((CPU, True), (CUDA, True), (torch.device("mps"), None)):
            assert make_optimizer(rate_groups(setup), options, device).defaults["fused"] is fused


# Copies of the state


def test_copies_are_made_in_the_same_place_and_with_the_same_strides() -> None:
    tensors = {
        "map": torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        "weight": nn.Parameter(torch.randn(3)),
        "count": torch.tensor(7),
    }
    copies = HostCopies(CPU)
    first = copies.take(tensors)
    for name, tensor in tensors.items():
        assert torch.equal(first[name], tensor)
        assert first[name].stride() == tensor.stride()
        assert first[name].data_ptr() != tensor.data_ptr()
        assert not first[name].requires_grad
    tensors["count"] += 1
    second = copies.take({**tensors, "weight": torch.randn(4)})
    assert second["count"] is first["count"]
    assert int(first["count"]) == 8
    assert second["weight"].shape == (4,)
    assert first["weight"].shape == (3,)


def test_copies_from_cuda_are_page_locked_and_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[str] = []
    copy = Tensor.copy_
    monkeypatch.setattr(Tensor, "pin_memory", lambda tensor: found.append("pin") or tensor)
    monkeypatch.setattr(background, "finish", lambda device: found.append(f"finish {device}"))
    monkeypatch.setattr(
        Tensor,
        "copy_",
        lambda tensor, source, non_blocking=False: found.append(f"copy {non_blocking}") or copy(tensor, source),
    )
    copies = HostCopies(CUDA)
    tensors = {name: torch.ones(2) for name in "ab"}
    copies.take(tensors)
    assert found == ["pin", "pin", "copy True", "copy True", "finish cuda"]
    copies.take(tensors)
    assert found[5:] == ["copy True", "copy True", "finish cuda"]


# Checkpoints written meanwhile


def test_the_next_epoch_begins_while_a_checkpoint_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first checkpoint is not written before the second epoch's steps are done, and yet holds the first's state."""
    write, steps_done = checkpoint.write, threading.Event()
    written: list[tuple[str, int, dict[str, Tensor]]] = []
    main = threading.get_ident()

    def late(folder: Path, name: str, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        assert threading.get_ident() != main
        if not written:
            assert steps_done.wait(60), "the steps wait for the checkpoint"
        kept = {key: tensor.clone() for key, tensor in tensors.items()}
        written.append((name, len(facts["history"]), kept))
        write(folder, name, tensors, facts)

    passes = 0

    def feed(batches: Sequence[IntArray], epoch: int | None) -> Iterator[PixelArray]:
        nonlocal passes
        passes += epoch is not None
        yield from FEED(batches, epoch)
        if passes == 2:
            steps_done.set()

    expected = fit(make_trainer(), tmp_path / "plain")
    cut = Interrupted(BATCHES_AN_EPOCH)
    with pytest.raises(KeyboardInterrupt):
        fit(make_trainer(feed=cut), tmp_path / "one", feed=cut)
    after_one = checkpoint.read(tmp_path / "one", "last", KEY)
    assert after_one is not None

    monkeypatch.setattr(checkpoint, "write", late)
    trained = fit(make_trainer(feed=feed), tmp_path / "late")
    assert lines(trained.history) == lines(expected.history)
    assert [epochs for name, epochs, _ in written if name == "last"] == [1, 2, 3, 4]
    assert moved(after_one[0], written[0][2]) == set()
    for name, epochs, tensors in written:
        if name == "best":
            (last,) = (kept for other, number, kept in written if (other, number) == ("last", epochs))
            assert moved(checkpoint.net_tensors(last), tensors) == set()
    for name in ("last", "best"):
        plain, later = (checkpoint.read(tmp_path / place, name, KEY) for place in ("plain", "late"))
        assert plain is not None
        assert later is not None
        assert moved(plain[0], later[0]) == set()


@pytest.mark.parametrize("epoch", [1, 2, 4])
def test_an_error_of_the_writer_is_raised(epoch: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the steps of the next epoch, or at the end; what was written before stays."""
    write, begun = checkpoint.write, 0

    def refuse(folder: Path, name: str, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        if len(facts["history"]) == epoch:
            raise CannotWrite("cannot write", where=folder, got="No space left on device")
        write(folder, name, tensors, facts)

    def feed(batches: Sequence[IntArray], augmentation: int | None) -> Iterator[PixelArray]:
        nonlocal begun
        begun += augmentation is not None
        yield from FEED(batches, augmentation)

    monkeypatch.setattr(checkpoint, "write", refuse)
    with pytest.raises(CannotWrite, match="No space left on device"):
        fit(make_trainer(feed=feed), tmp_path)
    assert begun <= min(epoch + 1, 4), "no epoch is trained after one that could not be kept"
    kept = checkpoint.read(tmp_path, "last", KEY)
    assert (0 if kept is None else len(kept[1]["history"])) == epoch - 1
    monkeypatch.undo()
    assert fit(make_trainer(), tmp_path).resumed_from == epoch - 1


def test_a_training_that_ends_by_an_error_ends_its_checkpoint_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = checkpoint.write
    going_on = threading.Event()

    def slow(*arguments: Any) -> None:
        assert going_on.wait(60)
        write(*arguments)

    class Last(Interrupted):
        def __call__(self, batches: Sequence[IntArray], augmentation: int | None) -> Iterator[PixelArray]:
            if self.left < TRAIN_BATCHES:
                going_on.set()
            return super().__call__(batches, augmentation)

    monkeypatch.setattr(checkpoint, "write", slow)
    feed = Last(BATCHES_AN_EPOCH + 1)
    with pytest.raises(KeyboardInterrupt):
        fit(make_trainer(feed=feed), tmp_path, feed=feed)
    kept = checkpoint.read(tmp_path, "last", KEY)
    assert kept is not None
    assert len(kept[1]["history"]) == 1


def test_a_task_at_a_time() -> None:
    done: list[int] = []
    hold = threading.Event()

    def first() -> None:
        assert hold.wait(60)
        done.append(1)

    with BackgroundTask() as task:
        task.start(first)
        task.check()
        assert done == []
        hold.set()
        task.start(lambda: done.append(2))
    assert done == [1, 2]

    def fail() -> None:
        raise ValueError("of the task")

    def interrupted() -> None:
        with BackgroundTask() as task:
            task.start(fail)
            raise KeyboardInterrupt

    with pytest.raises(ValueError, match="of the task"), BackgroundTask() as task:
        task.start(fail)
    with pytest.raises(KeyboardInterrupt):
        interrupted()


# Memory that lacks


def test_a_failed_batch_is_gone_and_the_caches_are_empty_before_it_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither the traceback nor the gradients of what failed keep memory when the caches are emptied."""
    images: list[weakref.ref[Tensor]] = []
    alive: list[int] = []
    trainer = make_trainer(TRAINING, make=Steps)

    def scarce(_: nn.Module, inputs: tuple[Tensor]) -> None:
        if len(inputs[0]) > 4 and torch.is_grad_enabled():
            images.append(weakref.ref(inputs[0]))
            raise RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")

    def emptied(_: torch.device) -> None:
        gradients = sum(parameter.grad is not None for parameter in trainer.net.parameters())
        alive.append(gradients + sum(image() is not None for image in images))

    trainer.net.register_forward_pre_hook(scarce)
    monkeypatch.setattr(steps, "empty_cache", emptied)
    gc.disable()
    try:
        trained = fit(trainer, tmp_path)
    finally:
        gc.enable()
    assert alive == [0]
    assert len(images) == 1
    assert [epoch["parts"] for epoch in trained.history] == [2] * 4


def test_a_state_can_be_returned_to_more_than_once() -> None:
    trainer = make_trainer(replace(TRAINING, optimizer="adamw"))
    stepper = trainer.stepper
    rows = np.arange(8)

    def step() -> dict[str, Tensor]:
        pixels, labels = (torch.from_numpy(array) for array in (next(FEED([rows], None)), trainer.setup.labels[rows]))
        stepper.step(pixels, labels, rows, (0, 0, 0))
        return {
            name: tensor.clone() for name, tensor in checkpoint.training_tensors(trainer.net, stepper.optimizer).items()
        }

    stepper.set_modes(0)
    for module in trainer.net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    step()
    before = stepper.copy_state()
    once = step()
    for _ in range(2):
        stepper.restore(before)
        assert moved(once, step()) == set()
