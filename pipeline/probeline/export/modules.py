"""An artifact's torch modules: its frozen net and its head, and the tensors that are written of the net."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from probeline.backbones.build import bare_net
from probeline.backbones.frozen import Frozen
from probeline.backbones.inner_taps import InnerTap
from probeline.backbones.penultimate import Tap, set_head, tensors_behind_output
from probeline.backbones.resolve import Loaded
from probeline.backbones.weights.outline import bytes_of_pass, outline_of
from probeline.backbones.weights.state_dict import check_state, load_state, tensors_sha256
from probeline.errors import BadWeights, OutOfMemory
from probeline.export.artifact.ranges import ACTIVATIONS
from probeline.export.artifact.record import Artifact, Inner, Net
from probeline.files.reading import memory_bytes
from probeline.finetuning.head import TwoHeads, take_out_unused
from probeline.format import megabytes
from probeline.heads.neighbours import SMOOTHING
from probeline.names import PENULTIMATE
from probeline.types import Backbone

_AGAIN = "export it again"

_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {name: getattr(functional, name) for name in ACTIVATIONS}


def describe_net(
    loaded: Loaded, name: str, weights: str, *, taps: Sequence[str], own_head: bool, precision: str
) -> Net:
    """Return the record of a net."""
    tap = loaded.tap
    read = {inner: loaded.inner[inner] for inner in taps if inner != PENULTIMATE}
    return Net(
        name=name,
        weights=weights,
        weights_sha256=loaded.backbone.weights_sha256,
        options=dict(loaded.options),
        head=tap.head,
        pooling=tap.pooling,
        dim=tap.dim,
        taps=tuple(taps),
        inner={name: Inner(inner.module, inner.reading, inner.prefix, inner.dim) for name, inner in read.items()},
        own_head=own_head,
        precision=precision,
    )


def net_tensors(net: nn.Module, tap: Tap) -> dict[str, Tensor]:
    """Return copies of a net's tensors without those of its head and of what nothing depends on; changes the net."""
    _strip(net, tap)
    return {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in net.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }


def _strip(net: nn.Module, tap: Tap) -> None:
    set_head(net, tap, nn.Identity())
    take_out_unused(net, tap)


def frozen_net(
    artifact: Artifact, tensors: Mapping[str, Tensor], head: nn.Module, device: torch.device, *, where: Path
) -> tuple[Frozen, int]:
    """Return the net of an artifact, ready to run as extraction runs it, and about how many bytes an image takes.

    It returns features [N, D], or for a net with its own head logits [N, K] followed by features. Its tensors are
    those that the record's `weights_sha256` is of.

    Raises
    ------
    BadWeights
        The tensors are of another net, of other weights, or not finite.
    OutOfMemory
        An image of this size does not fit into the memory of this machine.
    ProbelineError
    """
    record, size = artifact.net, artifact.preprocess.crop
    tap = Tap(record.head, record.pooling, record.dim, tuple(tensors))
    # Names of tensors are found in autograd's graph, also for a caller that switched gradients off.
    with torch.inference_mode(False), torch.enable_grad():
        outline = outline_of(record.name, record.options)
        image_bytes = bytes_of_pass(outline, size)
        _check_memory(image_bytes, size, where)
        if outline is not None:
            with torch.device("meta"):
                _strip(outline, tap)
            check_state(outline, tensors, where=where)
        net = bare_net(record.name, record.options)
        _strip(net, tap)
        load_state(net, tensors, where=where)
        _check_tensors(net, tap, artifact, where)
    inner = {name: InnerTap(**vars(facts), tensors=()) for name, facts in record.inner.items()}
    backbone = Backbone(
        name=record.name,
        weights=record.weights,
        weights_sha256=record.weights_sha256,
        tap=PENULTIMATE,
        pooling=record.pooling,
        dim=record.dim,
        parameters=sum(parameter.numel() for parameter in net.parameters()),
        head_parameters=0,
        preprocess=artifact.preprocess,
    )
    last = TwoHeads(head, nn.Identity()) if record.own_head else nn.Identity()
    return Frozen(Loaded(net, tap, backbone, inner), device, record.precision, record.taps, head=last), image_bytes


def _check_memory(image_bytes: int, size: int, where: Path) -> None:
    memory = memory_bytes()
    if 2 * image_bytes > memory:
        raise OutOfMemory(
            f"the images of this artifact, of {size} pixels, are too large for this machine",
            where=where.parent,
            expected=f"a pass of one image within {megabytes(memory // 2)}, half of the memory",
            got=f"about {megabytes(image_bytes)}",
        )


def _check_tensors(net: nn.Module, tap: Tap, artifact: Artifact, where: Path) -> None:
    """Refuse tensors that are not finite, or not those that `weights_sha256` is of.

    A net may compute some tensors when it is built, such as tables of sines, which another machine rounds otherwise and
    another version of its library lacks. If it has such, another digest proves nothing: then only the sha256 of the
    file does.
    """
    names = tensors_behind_output(net, tap, artifact.preprocess.crop)
    parameters, stored = dict(net.named_parameters(remove_duplicate=False)), set(tap.tensors)
    tensors = {**parameters, **dict(net.named_buffers(remove_duplicate=False))}
    for name in names:
        values = tensors[name]
        if not values.isfinite().all() if name in parameters else values.isnan().any():
            raise BadWeights("a tensor has values that are not finite", where=where, got=name, remedy=_AGAIN)
    found, expected = tensors_sha256(net, names), artifact.net.weights_sha256
    if found != expected and stored.issuperset(names):
        raise BadWeights(
            "these are not the weights that the record names",
            where=where,
            expected=f"weights_sha256 {expected[:12]}...",
            got=f"{found[:12]}...",
            remedy="use the versions of torch and timm that the card names, or export it again",
        )


class Head(nn.Module):
    """Standardise, then one linear layer, or two with an activation, ``gelu`` or ``relu``, between them.

    The tensors, all float32, are ``mean`` and ``std`` [D], ``weight`` [K, D or W] and ``bias`` [K]; with a hidden layer
    of W units also ``hidden_weight`` [W, D] and ``hidden_bias`` [W].
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

    The tensors are ``mean`` and ``std`` float32 [D]; ``rows`` float32 [n, D], standardised and of unit length;
    ``labels`` int64 [n]; ``k`` int64 [1].
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
        weights[0] += 2 * SMOOTHING  # ties in votes go to the class of the nearest neighbour
        self.register_buffer("weights", weights)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits float32 [N, K] for features float32 [N, D]; NaN where features are not finite."""
        cosines, norm = self._cosines(features)
        labels = self.labels[cosines.topk(self._k, dim=1).indices]
        none = cosines.new_zeros((cosines.shape[0], self._classes))
        votes = none.scatter_add(1, labels, self.weights.expand(cosines.shape[0], self._k))
        # The last term is 0, or NaN for features that are not finite: they would be classified by the first rows.
        return ((votes + SMOOTHING) / self._k).log() + (norm - norm)

    def undecided(self, features: Tensor, slack: float) -> Tensor:
        """Return for which features float32 [N, D] rounding decides which neighbours vote: bool [N].

        Rows of several classes differ in cosine from the first neighbour, or from the last that votes, by less than
        `slack`.
        """
        cosines, _ = self._cosines(features)
        ends = cosines.topk(self._k, dim=1).values
        mixed = self._are_mixed((cosines - ends[:, :1]).abs() < slack)
        if self._k < len(self.rows):
            mixed = mixed | self._are_mixed((cosines - ends[:, -1:]).abs() < slack)
        return mixed

    def _cosines(self, features: Tensor) -> tuple[Tensor, Tensor]:
        values = (features - self.mean) / self.std
        norm = torch.linalg.vector_norm(values, dim=1, keepdim=True)
        return (values / norm.clamp(min=1e-12)) @ self.rows.T, norm

    def _are_mixed(self, selected: Tensor) -> Tensor:
        """Return which lines of bool [N, n] select rows of several classes: bool [N]."""
        labels = self.labels.int()
        low = torch.where(selected, labels, self._classes).amin(1)
        return low < torch.where(selected, labels, -1).amax(1)


class WeightedVotes(Votes):
    """The same with weights exp(cosine / temperature), as :func:`probeline.heads.neighbours.weighted_knn`.

    There is another tensor, ``temperature`` float32 [1].
    """

    temperature: Tensor

    def __init__(self, tensors: Mapping[str, Tensor], classes: int) -> None:
        super().__init__(tensors, classes)
        self.register_buffer("temperature", tensors["temperature"])

    def forward(self, features: Tensor) -> Tensor:
        cosines, norm = self._cosines(features)
        return (self._shares(cosines) + SMOOTHING / self._k).log() + (norm - norm)

    def undecided(self, features: Tensor, slack: float) -> Tensor:
        """Return for which features float32 [N, D] rounding decides which neighbours vote or who wins: bool [N].

        Also the two largest shares of votes differ by no more than weights do if cosines differ by `slack`.
        """
        cosines, _ = self._cosines(features)
        shares = self._shares(cosines).topk(2, dim=1).values
        factor = torch.exp(2 * slack / self.temperature)
        return super().undecided(features, slack) | (shares[:, 0] <= factor * shares[:, 1])

    def _shares(self, cosines: Tensor) -> Tensor:
        """Return each class's share of the weighted votes, float32 [N, K]."""
        nearest = cosines.topk(self._k, dim=1)
        weights = ((nearest.values - nearest.values[:, :1]) / self.temperature).exp()
        none = cosines.new_zeros((cosines.shape[0], self._classes))
        votes = none.scatter_add(1, self.labels[nearest.indices], weights)
        return votes / weights.sum(1, keepdim=True)


def head_of(tensors: Mapping[str, Tensor], artifact: Artifact) -> nn.Module:
    """Return the head of an artifact's tensors: a `Head`, `Votes`, or the last layer of a net with its own head.

    Raises
    ------
    ValueError
        The tensors are of another head.
    """
    classes, dim = len(artifact.classes), artifact.net.features
    shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    integers = ("labels", "k") if "rows" in tensors else ()
    for name, tensor in tensors.items():
        if tensor.dtype != (torch.int64 if name in integers else torch.float32) or not tensor.isfinite().all():
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
        expected: dict[str, tuple[int, ...]] = {"mean": (dim,), "std": (dim,), "rows": (n, dim)}
        expected |= {"labels": (n,), "k": (1,), **({"temperature": (1,)} if "temperature" in shapes else {})}
        if not n or shapes != expected:
            raise ValueError(f"votes of rows of {dim} features, not {shapes}")
        low, high = (int(end) for end in tensors["labels"].aminmax())
        if not 0 <= low <= high < classes or not 1 <= int(tensors["k"]) <= n or (tensors["std"] <= 0).any():
            raise ValueError(f"{int(tensors['k'])} votes of {n} rows of classes {low} to {high}")
        if "temperature" not in tensors:
            return Votes(tensors, classes)
        if not float(tensors["temperature"]) > 0:
            raise ValueError(f"votes of the temperature {float(tensors['temperature'])}")
        return WeightedVotes(tensors, classes)
    hidden = shapes.get("hidden_weight", (dim,))[0]
    expected = {"mean": (dim,), "std": (dim,), "weight": (classes, hidden), "bias": (classes,)}
    if artifact.activation is not None:
        expected |= {"hidden_weight": (hidden, dim), "hidden_bias": (hidden,)}
    if shapes != expected or (tensors["std"] <= 0).any():
        raise ValueError(f"a head of {classes} outputs and {dim} inputs, not {shapes}")
    return Head(tensors, artifact.activation)
