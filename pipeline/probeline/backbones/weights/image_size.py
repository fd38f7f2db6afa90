"""Nets at another image size than their own, which those with tables of positions are built for.

A net that takes a size is never changed, so that its weights and keys stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from probeline.backbones.source import BackboneSource
from probeline.errors import BadOption, ProbelineError

_FAILURES = (RuntimeError, AssertionError, ValueError, TypeError, NotImplementedError)
"""What nets raise for images or options that they cannot take."""

_STEPS = (32, 16, 14, 8, 7, 4)
"""What many nets divide an image by."""

_TRIALS = 24
"""Sizes that are tried on either side of the requested one."""


def why_not(net: nn.Module, size: int) -> str | None:
    """Return why a net in eval mode cannot take an image of `size` pixels; None if it can."""
    training = net.training
    device = next((tensor.device for tensor in net.parameters()), torch.device("cpu"))
    try:
        with torch.no_grad():
            net.eval()(torch.zeros(1, 3, size, size, device=device))
    except _FAILURES as error:
        return next(iter(str(error).splitlines()), type(error).__name__)
    finally:
        net.train(training)
    return None


def options_for(
    source: BackboneSource, name: str, bare_name: str, net: nn.Module, size: int, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the options with which a net takes images of `size` pixels: `options` of `net`, with a size if necessary.

    Raises
    ------
    BadOption
        No net of this name does; it says which sizes near it fit.
    """
    reason = why_not(net, size)
    if reason is None:
        return dict(options)

    def refusal(size: int) -> str | None:
        return why_not(net, size) and _why_not_built(source, bare_name, {**options, "image_size": size}, size)

    built = _why_not_built(source, bare_name, {**options, "image_size": size}, size)
    if built is None:
        return {**options, "image_size": size}
    patch = _patch(net)
    sizes = _nearest(size, _STEPS if patch is None else (patch,), lambda other: refusal(other) is None)
    remedy = f"choose --image-size {' or '.join(map(str, sizes))}" if sizes else "choose another --image-size"
    reason = reason if "unexpected keyword argument" in built else built
    raise BadOption(f"{name} cannot take images of {size} pixels", got=reason, remedy=remedy)


def _why_not_built(source: BackboneSource, bare_name: str, options: Mapping[str, Any], size: int) -> str | None:
    """Return why no net can be built with these options for images of `size` pixels; None if one can."""
    try:
        with torch.device("meta"):  # its shapes alone
            net = source.create(bare_name, options)
    except ProbelineError:
        raise
    except Exception as error:  # whatever a net makes of an option that it does not know
        return next(iter(str(error).splitlines()), type(error).__name__)
    patch = _patch(net)
    if patch is not None and size % patch:  # the last pixels would be cut off without a word
        return f"{size} is no multiple of its patches of {patch} pixels"
    return why_not(net, size)


def _patch(net: nn.Module) -> int | None:
    """Return the side of a transformer's patches, in pixels, as timm and torchvision name it."""
    patch = getattr(getattr(net, "patch_embed", net), "patch_size", None)
    patch = patch[0] if isinstance(patch, tuple) else patch
    return patch if isinstance(patch, int) and patch > 0 else None


def _nearest(size: int, steps: Sequence[int], fits: Callable[[int], bool]) -> list[int]:
    """Return the nearest sizes below and above that fit, if there are any among a few multiples of the steps."""
    likely = sorted(
        {step * number for step in steps for number in range(1, max(2 * size, 64) // step + 1)} - {size},
        key=lambda other: abs(other - size),
    )
    sides = [other for other in likely if other < size], [other for other in likely if other > size]
    return [other for side in sides if (other := next(filter(fits, side[:_TRIALS]), None)) is not None]
