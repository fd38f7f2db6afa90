"""The head that a net is given before it is trained: a new random one, or a probe's solution."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from probeline.backbones.penultimate import Tap, set_head
from probeline.types import FloatArray


class TwoHeads(nn.Module):
    """Two layers on one embedding, their outputs side by side."""

    def __init__(self, main: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.main, self.second = main, second

    def forward(self, embedding: Tensor) -> Tensor:
        """Return the main task's outputs, and behind them the second's, along the second axis."""
        return torch.cat([self.main(embedding), self.second(embedding)], 1)


def fresh_head(net: nn.Module, tap: Tap, classes: int, seed: int, dropout: float = 0.0, second: int = 0) -> None:
    """Give the net one new random head of `classes` outputs, of its old head's kind, behind a dropout if asked.

    That dropout replaces the net's own right before its head, if it has one (EfficientNet, MobileNet, VGG); without it
    the net's own stays.

    With a `second` number of outputs there is a second head; the first begins as it would alone.

    Auxiliary heads (GoogLeNet, Inception), which no embedding depends on, are taken out: they would cost time while
    the net trains, and Inception's cannot run at all below 299 pixels.
    """
    pooled = isinstance(net.get_submodule(tap.head), nn.Conv2d)

    def layer(outputs: int) -> nn.Module:
        return nn.Conv2d(tap.dim, outputs, 1) if pooled else nn.Linear(tap.dim, outputs)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = layer(classes)
        head = TwoHeads(head, layer(second)) if second else head
    set_head(net, tap, nn.Sequential(nn.Dropout(dropout), head) if dropout else head)
    own = _before_head(net, tap)
    if dropout and isinstance(own, nn.Dropout):
        own.p = 0.0
    take_out_unused(net, tap)


def _before_head(net: nn.Module, tap: Tap) -> nn.Module | None:
    """Return the module that stands before the head among the children of one parent."""
    parent, _, name = tap.head.rpartition(".")
    before = None
    for child, module in net.get_submodule(parent).named_children():
        if child == name:
            break
        before = module
    return before


def take_out_unused(net: nn.Module, tap: Tap) -> None:
    """Put nothing in the place of those children of the net that neither the embedding nor the head depends on."""
    used = {name.partition(".")[0] for name in (*tap.tensors, tap.head)}
    for name, child in list(net.named_children()):
        if name not in used and next(child.parameters(), None) is not None:
            setattr(net, name, nn.Identity())


def probe_head(net: nn.Module, tap: Tap, weight: FloatArray, bias: FloatArray) -> None:
    """Have the net's head, which has as many outputs, begin at a probe's solution.

    So training starts where the probe ends, and the features below are not torn by the gradients of a random head
    (Kumar et al. 2022, "Fine-tuning can distort pretrained features and underperform out-of-distribution", ICLR).
    Weight float32 [K, D] and bias float32 [K] are for features that are not standardised; of two classes they may have
    one row.
    """
    from probeline.evaluate.heads.method import expand_two_classes  # here, as exported predictors need none of it

    layer = next(
        module for module in net.get_submodule(tap.head).modules() if isinstance(module, nn.Linear | nn.Conv2d)
    )
    if len(layer.weight) == 2 * len(weight):
        weight, bias = expand_two_classes(weight, bias)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight).view_as(layer.weight))
        layer.bias.copy_(torch.from_numpy(bias))  # type: ignore[union-attr]
