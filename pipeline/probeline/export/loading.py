"""Loading a predictor: from an artifact's folder, of which every file is checked against its sha256, or a stock net."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from probeline.errors import BadArtifact, BadOption, MissingExtra, ProbelineError
from probeline.export.artifact.graph_files import check_onnx_file, check_pt2
from probeline.export.artifact.record import Artifact
from probeline.export.format import (
    HEAD,
    ONNX,
    PT2,
    ROW_NAMES,
    ROWS,
    WEIGHTS,
    check_files,
    read_files,
    read_record,
)
from probeline.files.paths import path_of
from probeline.names import PENULTIMATE

if TYPE_CHECKING:
    from probeline.export.predictor import Predictor
    from probeline.session import Session


def load(folder: str | os.PathLike[str], device: str = "auto", *, sha256: str | None = None) -> Predictor:
    """Return the predictor in a folder that ``probeline export`` wrote.

    Every file but the card is checked against the sha256 in the record, ``artifact.json``. No code of the folder runs.

    Parameters
    ----------
    folder : path
    device : str
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    sha256 : str, optional
        That of ``artifact.json``, as ``probeline export`` printed it: another record is refused. Without it nothing
        tells who made the folder, as anybody can seal a record.

    Raises
    ------
    MissingData
        The folder has no artifact.
    BadArtifact
        It is corrupt, of another format version, or its files do not belong together.
    MissingExtra
        torch, or timm for one of its nets, is not installed.
    ProbelineError
    """
    folder = path_of(folder)
    artifact = read_record(folder, sha256)
    if importlib.util.find_spec("torch") is None:
        raise MissingExtra("torch is not installed, which runs a predictor", remedy="pip install torch torchvision")
    names = (WEIGHTS, HEAD, *((ROWS, ROW_NAMES) if artifact.neighbours else ()))
    _check_graphs(folder, artifact)
    return assemble(artifact, read_files(folder, artifact, names), device, where=folder)


def _check_graphs(folder: Path, artifact: Artifact) -> None:
    """Check the graphs that are still in the folder, though other programs run them."""
    for name in artifact.graphs:
        path = folder / name
        if not os.path.lexists(path):
            continue
        try:
            if name == ONNX:
                check_onnx_file(read_files(folder, artifact, [name])[name])
            elif name == PT2:
                check_files(folder, artifact, [name])
                check_pt2(path)
        except ValueError as error:
            if isinstance(error, BadArtifact):
                raise
            raise BadArtifact("a graph of an artifact is not safe to run", where=path, got=error) from error


def assemble(artifact: Artifact, contents: Mapping[str, bytes], device: str, *, where: Path) -> Predictor:
    """Return the predictor of an artifact and the contents of its files; errors name `where`.

    Raises
    ------
    BadArtifact
        The files do not belong together.
    ProbelineError
    """
    from safetensors.torch import load as tensors_of

    from probeline.backbones.device import choose
    from probeline.export.modules import frozen_net, head_of
    from probeline.export.predictor import Predictor
    from probeline.export.train_rows import rows_of

    chosen = choose(device)
    try:
        head = head_of(tensors_of(contents[HEAD]), artifact)
        rows = None
        if artifact.neighbours:
            sample_ids = _sample_ids(contents[ROW_NAMES])
            rows = rows_of(tensors_of(contents[ROWS]), sample_ids, artifact.neighbours, artifact.net.features)
            if rows.labels.min() < 0 or rows.labels.max() >= len(artifact.classes):
                raise ValueError(f"train rows of classes {rows.labels.min()} to {rows.labels.max()}")
        net, image_bytes = frozen_net(artifact, tensors_of(contents[WEIGHTS]), head, chosen, where=where / WEIGHTS)
        predictor = Predictor(artifact, net, None if artifact.net.own_head else head, rows, image_bytes)
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


def _sample_ids(data: bytes) -> tuple[str, ...]:
    sample_ids = json.loads(data)
    if not isinstance(sample_ids, list) or not all(isinstance(sample_id, str) for sample_id in sample_ids):
        raise ValueError("sample ids are an array of strings")
    return tuple(sample_ids)


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

    from probeline.backbones.build import categories
    from probeline.backbones.device import choose
    from probeline.backbones.frozen import Frozen
    from probeline.backbones.weights.outline import bytes_of_pass, outline_of
    from probeline.export.modules import describe_net
    from probeline.export.predictor import Predictor

    (text,) = settings.nets.backbones
    name, weights = session.spec(text).name, session.spec(text).weights
    classes = categories(name, weights)
    loaded = session.net(text)
    backbone, precision = loaded.backbone, settings.nets.precision
    net = describe_net(loaded, name, backbone.weights, taps=(PENULTIMATE,), own_head=True, precision=precision)
    artifact = Artifact(classes, 1.0, backbone.preprocess, net, activation=None, measured=None, request="")
    head = loaded.net.get_submodule(loaded.tap.head)
    image_bytes = bytes_of_pass(outline_of(name, loaded.options), backbone.preprocess.crop)
    frozen = Frozen(loaded, choose(settings.compute.device), precision, head=head)
    return Predictor(artifact, frozen, None, None, image_bytes)


def _check(predictor: Predictor) -> None:
    """Run one blank crop, so that files that do not fit each other are refused before the first image."""
    import numpy as np

    side, classes = predictor.artifact.preprocess.crop, len(predictor.artifact.classes)
    outputs = predictor.outputs(np.zeros((1, side, side, 3), np.uint8))
    outputs.check()
    logits = predictor.answers(outputs, nearest=1).logits
    if logits.shape != (1, classes):
        raise ValueError(f"{logits.shape[1]} logits for {classes} classes")
