"""A stock net as a predictor: its own head names ImageNet's classes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from probeline.errors import BadOption
from probeline.session import Session

if TYPE_CHECKING:
    from probeline.export.predictor import Predictor


def stock(session: Session) -> Predictor:
    """Return the predictor that the run's net is as it comes.

    Raises
    ------
    BadOption
        More nets than one, or weights without ImageNet's classes.
    ProbelineError
    """
    settings = session.settings
    if len(settings.nets.backbones) > 1:
        named = " ".join(settings.nets.backbones)
        raise BadOption("--imagenet answers by one net", where="--backbone", got=named, remedy="name one of them")

    from probeline.backbones.build import categories, options_of
    from probeline.backbones.device import choose
    from probeline.backbones.frozen import Frozen
    from probeline.export.format import Artifact, Net
    from probeline.export.predictor import Predictor
    from probeline.names import PENULTIMATE

    (text,) = settings.nets.backbones
    name, weights = session.spec(text).name, session.spec(text).weights
    classes = categories(name, weights)
    loaded = session.net(text)
    backbone, tap = loaded.backbone, loaded.tap
    net = Net(
        name=name,
        weights=backbone.weights,
        weights_sha256=backbone.weights_sha256,
        options=options_of(name, weights),
        head=tap.head,
        pooling=tap.pooling,
        dim=tap.dim,
        taps=(PENULTIMATE,),
        inner={},
        own_head=True,
        precision=settings.nets.precision,
    )
    artifact = Artifact(classes, 1.0, backbone.preprocess, net, activation=None, measured={}, asked="")
    head = loaded.net.get_submodule(tap.head)
    return Predictor(
        artifact, Frozen(loaded, choose(settings.compute.device), settings.nets.precision, head=head), None, None
    )
