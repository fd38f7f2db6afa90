"""The head of an artifact: a map from features to logits, or the last layer of a trained net."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from probeline.artifact.format import Artifact

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": functional.gelu, "relu": functional.relu}


class Head(nn.Module):
    """Standardise, then one linear layer, or two with an activation between them.

    Parameters
    ----------
    tensors : mapping of str to float32 Tensor
        ``mean`` and ``std`` [D], ``weight`` [K, D or W], ``bias`` [K]; with a hidden layer of W units
        ``hidden_weight`` [W, D] and ``hidden_bias`` [W].
    activation : {"gelu", "relu"}, optional
        Of the hidden layer.
    """

    mean: Tensor
    std: Tensor
    weight: Tensor
    bias: Tensor
    hidden_weight: Tensor
    hidden_bias: Tensor

    def __init__(self, tensors: Mapping[str, Tensor], activation: str | None = None) -> None:
        super().__init__()
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)
        self._activation = None if activation is None else _ACTIVATIONS[activation]

    def forward(self, features: Tensor) -> Tensor:
        """Return logits float32 [N, K] for features float32 [N, D]."""
        values = (features - self.mean) / self.std
        if self._activation is not None:
            values = self._activation(functional.linear(values, self.hidden_weight, self.hidden_bias))
        return functional.linear(values, self.weight, self.bias)


def head_of(tensors: Mapping[str, Tensor], artifact: Artifact) -> nn.Module:
    """Return the head that an artifact's tensors make: a `Head`, or a layer for the place of a net's own.

    Raises
    ------
    ValueError
        The tensors are of another head.
    """
    classes, dim = len(artifact.classes), artifact.net.features
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if any(tensor.dtype != torch.float32 or not tensor.isfinite().all() for tensor in tensors.values()):
        raise ValueError("a head is made of finite float32 numbers")
    if artifact.net.own_head:
        mapped = artifact.net.pooling == "avg"
        if shapes != {"weight": (classes, dim, 1, 1) if mapped else (classes, dim), "bias": (classes,)}:
            raise ValueError(f"a last layer of {classes} outputs and {dim} inputs, not {shapes}")
        layer = nn.Conv2d(dim, classes, 1) if mapped else nn.Linear(dim, classes)
        layer.load_state_dict(dict(tensors))
        return layer
    hidden = shapes.get("hidden_weight", (dim,))[0]
    expected: dict[str, tuple[int, ...]] = {"mean": (dim,), "std": (dim,), "weight": (classes, hidden)}
    expected["bias"] = (classes,)
    if artifact.activation is not None:
        expected |= {"hidden_weight": (hidden, dim), "hidden_bias": (hidden,)}
    if shapes != expected or artifact.activation not in (None, *_ACTIVATIONS) or (tensors["std"] <= 0).any():
        raise ValueError(f"a head of {classes} outputs and {dim} inputs, not {shapes}")
    return Head(tensors, artifact.activation)
