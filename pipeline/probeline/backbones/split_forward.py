"""A net in two halves: what lies below a stage, run once, and the stage with all above it, run again and again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from probeline.backbones.stages import Stage


class _Reached(Exception):
    """The pass has come to the stage, and the rest is not needed."""

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.values = values


@contextmanager
def _before(net: nn.Module, stage: Stage, hook: Any) -> Iterator[None]:
    handle = net.get_submodule(stage.module).register_forward_pre_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def run_below(net: nn.Module, stage: Stage, images: Tensor) -> Tensor:
    """Return what a stage gets from the modules below it, [N, ...]."""

    def stop(_: nn.Module, arguments: tuple[Any, ...]) -> None:
        raise _Reached(arguments[0].clone())

    with _before(net, stage, stop):
        try:
            net(images)
        except _Reached as reached:
            return reached.values
    raise RuntimeError(f"the pass never came to {stage.module}")


def run_above(net: nn.Module, stage: Stage, values: Tensor, image_size: int) -> Tensor:
    """Return the net's output for what :func:`run_below` gave.

    One blank image goes through the lower modules, and the stage is handed `values` in its place: so whatever the net
    does outside of its modules is done as ever.
    """

    def swap(_: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        # A net may work in place on what it is given.
        layout = torch.channels_last if values.ndim == 4 else torch.contiguous_format
        return (values.clone(memory_format=layout), *arguments[1:])

    blank = torch.zeros(1, 3, image_size, image_size, device=values.device)
    with _before(net, stage, swap):
        output: Tensor = net(blank)
    return output


def shape_below(net: nn.Module, stage: Stage, image_size: int) -> tuple[int, ...]:
    """Return the shape of what a stage gets from below of one image."""
    blank = torch.zeros(1, 3, image_size, image_size, device=next(net.parameters()).device)
    training = net.training
    net.eval()
    with torch.no_grad():
        shape = tuple(run_below(net, stage, blank).shape[1:])
    net.train(training)
    return shape


def can_be_parted(net: nn.Module, stage: Stage, image_size: int) -> bool:
    """Say whether both halves together give what the net gives, on random images in eval mode."""
    device = next(net.parameters()).device
    images = torch.randn(3, 3, image_size, image_size, generator=torch.Generator().manual_seed(0)).to(device)
    training = net.training
    net.eval()
    try:
        with torch.no_grad():
            whole = net(images)
            parted = run_above(net, stage, run_below(net, stage, images), image_size)
    except RuntimeError:  # a step between the modules counts the images that the pass began with
        return False
    finally:
        net.train(training)
    return parted.shape == whole.shape and bool((parted - whole).abs().max() <= 1e-5 * whole.abs().max())
