"""The head of an artifact: layers on features, a vote of train rows, or the last layer of a trained net."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from probeline.export.format import Artifact
from probeline.heads.neighbours import SMOOTHING

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


class Votes(nn.Module):
    """Standardise, then a vote of the k nearest train rows by cosine, as :func:`probeline.heads.neighbours.knn`.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        ``mean`` and ``std`` float32 [D]; ``rows`` float32 [n, D], standardised and of unit length; ``labels`` int64
        [n]; ``k`` int64 [1].
    classes : int
        K.
    """

    mean: Tensor
    std: Tensor
    rows: Tensor
    labels: Tensor
    weights: Tensor

    def __init__(self, tensors: Mapping[str, Tensor], classes: int) -> None:
        super().__init__()
        for name in ("mean", "std", "rows", "labels"):
            self.register_buffer(name, tensors[name])
        self._k, self._classes = int(tensors["k"]), classes
        weights = torch.ones(self._k)
        weights[0] += 2 * SMOOTHING  # of classes with equally many votes the nearest neighbour's wins
        self.register_buffer("weights", weights)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits float32 [N, K] for features float32 [N, D]; NaN where features are not finite."""
        cosines, norm = self._cosines(features)
        found = self.labels[cosines.topk(self._k, dim=1).indices]
        none = cosines.new_zeros((cosines.shape[0], self._classes))
        votes = none.scatter_add(1, found, self.weights.expand(cosines.shape[0], self._k))
        # Without it, what is not finite would have the first rows for its neighbours, and a class.
        return ((votes + SMOOTHING) / self._k).log() + (norm - norm)

    def undecided(self, features: Tensor, slack: float) -> Tensor:
        """Return for which features float32 [N, D] rounding picks the votes: bool [N].

        Among the rows whose cosines differ from that of the first neighbour, or of the last that votes, by less than
        `slack` there are several classes.
        """
        cosines, _ = self._cosines(features)
        ends = cosines.topk(self._k, dim=1).values
        found = self._mixed((cosines - ends[:, :1]).abs() < slack)
        if self._k < len(self.rows):
            found = found | self._mixed((cosines - ends[:, -1:]).abs() < slack)
        return found

    def _cosines(self, features: Tensor) -> tuple[Tensor, Tensor]:
        values = (features - self.mean) / self.std
        norm = torch.linalg.vector_norm(values, dim=1, keepdim=True)
        return (values / norm.clamp(min=1e-12)) @ self.rows.T, norm

    def _mixed(self, some: Tensor) -> Tensor:
        """Return in which lines of bool [N, n] there are rows of several classes: bool [N]."""
        labels = self.labels.int()
        low = torch.where(some, labels, self._classes).amin(1)
        return low < torch.where(some, labels, -1).amax(1)


def head_of(tensors: Mapping[str, Tensor], artifact: Artifact) -> nn.Module:
    """Return the head that an artifact's tensors make: a `Head`, `Votes`, or a layer for the place of a net's own.

    Raises
    ------
    ValueError
        The tensors are of another head.
    """
    classes, dim = len(artifact.classes), artifact.net.features
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    whole = ("labels", "k") if "rows" in tensors else ()
    for name, tensor in tensors.items():
        if tensor.dtype != (torch.int64 if name in whole else torch.float32) or not tensor.isfinite().all():
            raise ValueError("a head is made of finite float32 numbers, and of int64 where it counts")
    if artifact.net.own_head:
        mapped = artifact.net.pooling == "avg"
        if shapes != {"weight": (classes, dim, 1, 1) if mapped else (classes, dim), "bias": (classes,)}:
            raise ValueError(f"a last layer of {classes} outputs and {dim} inputs, not {shapes}")
        layer = nn.Conv2d(dim, classes, 1) if mapped else nn.Linear(dim, classes)
        layer.load_state_dict(dict(tensors))
        return layer
    if "rows" in tensors:
        n = tensors["rows"].numel() // dim
        if not n or shapes != {"mean": (dim,), "std": (dim,), "rows": (n, dim), "labels": (n,), "k": (1,)}:
            raise ValueError(f"votes of rows of {dim} features, not {shapes}")
        low, high = (int(end) for end in tensors["labels"].aminmax())
        if not 0 <= low <= high < classes or not 1 <= int(tensors["k"]) <= n or (tensors["std"] <= 0).any():
            raise ValueError(f"{int(tensors['k'])} votes of {n} rows of classes {low} to {high}")
        return Votes(tensors, classes)
    hidden = shapes.get("hidden_weight", (dim,))[0]
    expected: dict[str, tuple[int, ...]] = {"mean": (dim,), "std": (dim,), "weight": (classes, hidden)}
    expected["bias"] = (classes,)
    if artifact.activation is not None:
        expected |= {"hidden_weight": (hidden, dim), "hidden_bias": (hidden,)}
    if shapes != expected or artifact.activation not in (None, *_ACTIVATIONS) or (tensors["std"] <= 0).any():
        raise ValueError(f"a head of {classes} outputs and {dim} inputs, not {shapes}")
    return Head(tensors, artifact.activation)
