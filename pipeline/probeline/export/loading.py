"""Loading a predictor: from an artifact's folder, of which every file is checked against its sha256, or a stock net."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from probeline.errors import BadArtifact, BadOption, MissingExtra, ProbelineError
from probeline.export.format import HEAD, ROW_NAMES, ROWS, WEIGHTS, Artifact, Net, read_files, read_record

if TYPE_CHECKING:
    from probeline.export.predictor import Predictor
    from probeline.session import Session


def load(folder: str | os.PathLike[str], device: str = "auto") -> Predictor:
    """Return the predictor in a folder that ``probeline export`` wrote.

    Parameters
    ----------
    folder : path
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Raises
    ------
    MissingData
        No artifact is there.
    BadArtifact
        It is corrupt, of another format version, or its files do not belong together.
    MissingExtra
        torch, or timm for one of its nets, is not installed.
    ProbelineError
    """
    place = Path(folder)
    artifact = read_record(place)
    if importlib.util.find_spec("torch") is None:
        raise MissingExtra("torch is not installed, which runs a predictor", remedy="pip install torch torchvision")
    names = (WEIGHTS, HEAD, *((ROWS, ROW_NAMES) if artifact.neighbours else ()))
    return assemble(artifact, read_files(place, artifact, names), device, where=place)


def assemble(artifact: Artifact, contents: Mapping[str, bytes], device: str, *, where: Path) -> Predictor:
    """Return the predictor that files are of.

    Parameters
    ----------
    artifact : Artifact
    contents : mapping of str to bytes
        Of the files of net and head, and of the train rows where the record tells of any.
    device : str
    where : Path
        What an error names.

    Raises
    ------
    BadArtifact
    ProbelineError
    """
    from safetensors.torch import load as tensors_of

    from probeline.backbones.device import choose
    from probeline.export.head_modules import head_of
    from probeline.export.nets import frozen_net
    from probeline.export.predictor import Predictor
    from probeline.export.train_rows import rows_of

    chosen = choose(device)
    try:
        head = head_of(tensors_of(contents[HEAD]), artifact)
        net = frozen_net(artifact, tensors_of(contents[WEIGHTS]), head, chosen, where=where / WEIGHTS)
        rows = None
        if artifact.neighbours:
            sample_ids = tuple(map(str, json.loads(contents[ROW_NAMES])))
            rows = rows_of(tensors_of(contents[ROWS]), sample_ids, artifact.neighbours, artifact.net.features)
            if rows.labels.min() < 0 or rows.labels.max() >= len(artifact.classes):
                raise ValueError(f"train rows of classes 0 to {rows.labels.max()}")
        predictor = Predictor(artifact, net, None if artifact.net.own_head else head, rows)
        _check(predictor)
    except ProbelineError:
        raise
    except Exception as error:
        # safetensors has errors of its own, and torch raises whatever a module makes of a path or a shape.
        raise BadArtifact(
            "the files of an artifact do not belong together",
            where=where,
            got=f"{type(error).__name__} {error}",
            remedy="export it again",
        ) from error
    return predictor


def load_stock(session: Session) -> Predictor:
    """Return the run's stock net as a predictor: its own head names ImageNet's classes.

    Raises
    ------
    BadOption
        More nets than one, or weights without ImageNet's classes.
    ProbelineError
    """
    settings = session.settings
    if len(settings.nets.backbones) > 1:
        names = " ".join(settings.nets.backbones)
        raise BadOption("--imagenet uses one net", where="--backbone", got=names, remedy="name one of them")

    from probeline.backbones.build import categories, options_of
    from probeline.backbones.device import choose
    from probeline.backbones.frozen import Frozen
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
    artifact = Artifact(classes, 1.0, backbone.preprocess, net, activation=None, measured={}, request="")
    head = loaded.net.get_submodule(tap.head)
    return Predictor(
        artifact, Frozen(loaded, choose(settings.compute.device), settings.nets.precision, head=head), None, None
    )


def _check(predictor: Predictor) -> None:
    """Run one blank crop, so that files which agree with their record alone are refused before any image is asked."""
    import numpy as np

    side, classes = predictor.artifact.preprocess.crop, len(predictor.artifact.classes)
    outputs = predictor.outputs(np.zeros((1, side, side, 3), np.uint8))
    outputs.check()
    found = predictor.answers(outputs, nearest=1)
    if found.logits.shape != (1, classes):
        raise ValueError(f"{found.logits.shape[1]} logits for {classes} classes")
