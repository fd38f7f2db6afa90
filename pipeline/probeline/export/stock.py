"""A stock net as a predictor: its own head names ImageNet's classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probeline.errors import BadOption
from probeline.session import Inputs

if TYPE_CHECKING:
    from probeline.export.predictor import Predictor


def stock(inputs: Inputs) -> Predictor:
    """Return the predictor that the run's net is as it comes.

    Raises
    ------
    BadOption
        More nets than one, or weights without ImageNet's classes.
    ProbelineError
    """
    config = inputs.config
    if len(config.backbones) > 1:
        named = " ".join(config.backbones)
        raise BadOption("--imagenet answers by one net", where="--backbone", got=named, remedy="name one of them")

    from probeline.backbones.device import choose
    from probeline.backbones.frozen import Frozen
    from probeline.backbones.zoo import categories, options_of
    from probeline.export.format import Artifact, Net
    from probeline.export.predictor import Predictor
    from probeline.names import PENULTIMATE

    (name,) = config.backbones
    classes = categories(name, config.weights)
    loaded = inputs.net(name)
    backbone, tap = loaded.backbone, loaded.tap
    net = Net(
        name=name,
        weights=backbone.weights,
        weights_sha256=backbone.weights_sha256,
        options=options_of(name, config.weights),
        head=tap.head,
        pooling=tap.pooling,
        dim=tap.dim,
        taps=(PENULTIMATE,),
        inner={},
        own_head=True,
        precision=config.precision,
    )
    artifact = Artifact(classes, 1.0, backbone.preprocess, net, activation=None, measured={}, asked="")
    head = loaded.net.get_submodule(tap.head)
    return Predictor(artifact, Frozen(loaded, choose(config.device), config.precision, head=head), None, None)
