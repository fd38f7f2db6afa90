"""An artifact's net: its tensors as they are written, and the frozen net that they are read back into."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from probeline.backbones.build import bare_net
from probeline.backbones.frozen import Frozen
from probeline.backbones.inner_taps import InnerTap
from probeline.backbones.penultimate import Tap, set_head
from probeline.backbones.resolve import Loaded
from probeline.backbones.weights.state_dict import load_state
from probeline.export.format import Artifact
from probeline.finetune.head import TwoHeads, take_out_unused
from probeline.names import PENULTIMATE
from probeline.types import Backbone


def net_tensors(net: nn.Module, tap: Tap) -> dict[str, Tensor]:
    """Return copies of a net's tensors without those of its head and of what nothing depends on; changes the net."""
    set_head(net, tap, nn.Identity())
    take_out_unused(net, tap)
    return {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in net.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }


def frozen_net(
    artifact: Artifact, tensors: Mapping[str, Tensor], head: nn.Module, device: torch.device, *, where: Path
) -> Frozen:
    """Return the net of an artifact, ready to run as extraction runs it.

    It gives features [N, D]; with a head of its own, which then stands in its place, logits [N, K] and behind them
    features.

    Raises
    ------
    BadWeights
        The tensors are of another net.
    ProbelineError
    """
    net, record = bare_net(artifact.net.name, artifact.net.options), artifact.net
    tap = Tap(record.head, record.pooling, record.dim, tuple(tensors))
    set_head(net, tap, nn.Identity())
    take_out_unused(net, tap)
    load_state(net, tensors, where=where)
    inner = {name: InnerTap(**facts, tensors=()) for name, facts in record.inner.items()}
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
    place = TwoHeads(head, nn.Identity()) if record.own_head else nn.Identity()
    return Frozen(Loaded(net, tap, backbone, inner), device, record.precision, record.taps, head=place)
