"""A row's net and head as an artifact's files: refitted from cached features, or out of a training's checkpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from probeline.errors import BadCache, MissingData
from probeline.evaluate.features import CachedFeatures
from probeline.evaluate.score import refit
from probeline.export.format import HEAD, WEIGHTS, Artifact, Net
from probeline.finetune.requests import candidate_folder, checkpoint_folder
from probeline.identity import ARTIFACT_VERSION, digest
from probeline.names import PENULTIMATE, Method
from probeline.results.decode import encode
from probeline.results.score import Score
from probeline.session import Session
from probeline.types import Backbone

if TYPE_CHECKING:
    from torch import Tensor, nn

    from probeline.backbones.resolve import Loaded


@dataclass(frozen=True)
class ArtifactDraft:
    """An artifact whose predictions have not been compared with the report yet.

    Attributes
    ----------
    artifact : Artifact
    contents : mapping of str to bytes
        Of the files of net and head.
    features : CachedFeatures or None
        Where the head's features are cached; None for a net that was trained.
    """

    artifact: Artifact
    contents: Mapping[str, bytes]
    features: CachedFeatures | None


def request_digest(score: Score, train_rows: int, graphs: Sequence[str]) -> str:
    """Return the sha256 over what is exported and how."""
    return digest(
        {"version": ARTIFACT_VERSION, "score": encode(score), "train_rows": train_rows, "graphs": sorted(graphs)}
    )


def build_draft(session: Session, score: Score, taps: Sequence[Backbone] | None, request: str) -> ArtifactDraft:
    """Return the artifact of a score's row.

    Parameters
    ----------
    session : Session
    score : Score
    taps : sequence of Backbone or None
        Where its features were read; None for a net that was trained.
    request : str
        Of the artifact.

    Raises
    ------
    BadOption
        The centroids of fewer classes than there are.
    MissingData, BadCache
        The features or the checkpoint of this very score are missing.
    ProbelineError
    """
    return _trained(session, score, request) if taps is None else _headed(session, score, taps, request)


def _headed(session: Session, score: Score, taps: Sequence[Backbone], request: str) -> ArtifactDraft:
    import torch

    features = CachedFeatures(session, *taps)
    options = {name: value for name, value in score.options.items() if name not in ("version", "weights")}
    if features.request(score.method, score.seed, **options).key != score.key:
        raise MissingData(
            "the cached features are not those of the score",
            where=features.title(score.method, score.seed),
            remedy="run its stage again, then export",
        )
    features.check_canary()
    session.console.say(f"export: {features.title(score.method, score.seed)}: fitting the head again")
    head = refit(features, score)
    loaded = session.net_of(taps[0], [tap.tap for tap in taps])
    tensors = {name: torch.from_numpy(np.array(array, order="C")) for name, array in head.tensors.items()}
    net = _net(session, score, loaded, taps)
    artifact = _artifact(score, loaded, net, head.activation, request)
    return ArtifactDraft(artifact, _contents(loaded, tensors), features)


def _trained(session: Session, score: Score, request: str) -> ArtifactDraft:
    from probeline.backbones.weights.state_dict import tensors_sha256
    from probeline.finetune import checkpoint
    from probeline.finetune.head import fresh_head

    text = session.asked_as(score.backbone, score.weights)
    loaded = session.net(f"{score.backbone}@none" if score.method == Method.SCRATCH else text)
    # From scratch it was trained on the very pixels that the pretrained net sees.
    seen = session.backbone(text)[0].preprocess
    loaded = replace(loaded, backbone=replace(loaded.backbone, preprocess=seen))
    folder = checkpoint_folder(session, loaded.backbone, score.method, score.seed or 0, score.key)
    folder = candidate_folder(folder, score.chosen)
    state = checkpoint.read(folder, "best", digest({"run": score.key, "cut": score.certificate["cut"]}))
    if state is None:
        raise BadCache(
            "the checkpoint of this training is corrupt or missing",
            where=folder,
            expected="best.safetensors and its record",
            remedy=f"remove the score of {score.method}, seed {score.seed}, and run finetune again",
        )
    second = len(score.certificate.get("second", {}).get("classes", ()))
    fresh_head(loaded.net, loaded.tap, len(score.class_names), 0, _dropout(score), second)
    loaded.net.load_state_dict(state[0])
    layer = _main_layer(loaded.net.get_submodule(loaded.tap.head))
    sha256 = tensors_sha256(loaded.net, loaded.tap.tensors)
    net = replace(_net(session, score, loaded, [loaded.backbone]), weights_sha256=sha256, own_head=True)
    tensors = {name: tensor.detach().cpu().clone() for name, tensor in layer.state_dict().items()}
    return ArtifactDraft(_artifact(score, loaded, net, None, request), _contents(loaded, tensors), None)


def _dropout(score: Score) -> float:
    """Return the dropout before the head: of several that were tried the chosen one."""
    return float(score.chosen.get("dropout", score.options["dropout"]))


def _main_layer(head: nn.Module) -> nn.Module:
    """Return the layer of the first task: without the dropout before it, and without the layer of a second task."""
    from torch import nn

    from probeline.finetune.head import TwoHeads

    inner = head[1] if isinstance(head, nn.Sequential) else head
    return inner.main if isinstance(inner, TwoHeads) else inner


def _net(session: Session, score: Score, loaded: Loaded, taps: Sequence[Backbone]) -> Net:
    from probeline.backbones.build import options_of

    text = session.asked_as(score.backbone, score.weights)
    weights = "none" if score.method == Method.SCRATCH else session.spec(text).weights
    return Net(
        name=score.backbone,
        weights=score.weights,
        weights_sha256=loaded.backbone.weights_sha256,
        options=options_of(score.backbone, weights),
        head=loaded.tap.head,
        pooling=loaded.tap.pooling,
        dim=loaded.tap.dim,
        taps=tuple(tap.tap for tap in taps),
        inner={
            tap.tap: {name: getattr(loaded.inner[tap.tap], name) for name in ("module", "reading", "prefix", "dim")}
            for tap in taps
            if tap.tap != PENULTIMATE
        },
        own_head=False,
        precision=score.precision,
    )


def _artifact(score: Score, loaded: Loaded, net: Net, activation: str | None, request: str) -> Artifact:
    measured = asdict(score)
    for name in ("predictions", "labels", "history", "path", "class_names"):
        del measured[name]
    return Artifact(
        classes=score.class_names,
        temperature=score.temperature,
        preprocess=loaded.backbone.preprocess,
        net=net,
        activation=activation,
        measured=measured,
        request=request,
    )


def _contents(loaded: Loaded, head: Mapping[str, Tensor]) -> dict[str, bytes]:
    from safetensors.torch import save

    from probeline.export.nets import net_tensors

    return {WEIGHTS: save(net_tensors(loaded.net, loaded.tap)), HEAD: save(dict(head))}


def read_taps(session: Session, score: Score) -> Sequence[Backbone] | None:
    """Return the records of where a score's features were read; None for a net that was trained."""
    from probeline.results.methods import method_info

    if method_info(score.method).trains:
        return None
    taps_of_net: Sequence[tuple[Backbone, ...]] = session.taps(session.asked_as(score.backbone, score.weights))[0]
    return next(taps for taps in taps_of_net if "+".join(tap.tap for tap in taps) == score.tap)
