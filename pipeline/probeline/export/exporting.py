"""Exporting a score: build its predictor, compare it with the score, and write it with train rows, graphs and card.

Net and head are refitted from cached features, or read from the checkpoint of a training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn

from probeline.backbones.resolve import Loaded
from probeline.backbones.weights.state_dict import tensors_sha256
from probeline.data.pixels.functions import refuse_function
from probeline.data.sampling.stratified import apportion, draw, shuffled
from probeline.errors import BadCache, MissingData
from probeline.evaluate.features import CachedFeatures
from probeline.evaluate.heads.method import ExportedHead
from probeline.evaluate.score import refit, require_exportable
from probeline.export.artifact.record import Artifact, Measured, TrainRowFacts
from probeline.export.card import card
from probeline.export.format import CARD, HEAD, ROW_NAMES, ROWS, WEIGHTS, check_exportable, write_artifact
from probeline.export.graph import check_parity, graphs, run_graph
from probeline.export.loading import assemble
from probeline.export.modules import describe_net, net_tensors
from probeline.export.proof import ImageReader, Proof, decided_images
from probeline.export.train_rows import QUANTILE, row_tensors, rows_of, threshold
from probeline.extraction.fill import fill_missing
from probeline.finetuning import checkpoint
from probeline.finetuning.head import TwoHeads, fresh_head
from probeline.finetuning.requests import candidate_folder, checkpoint_folder
from probeline.finetuning.training.adapters import AdapterOptions, adapt, merge
from probeline.finetuning.training_run import checkpoint_key
from probeline.format import megabytes, plural
from probeline.identity import canonical
from probeline.names import LORA_OPTIONS, Method
from probeline.results.methods import method_info
from probeline.results.score import Score
from probeline.session import Session
from probeline.types import Backbone, FloatArray, Split

_PURPOSE = 5000
"""Of the random order that chooses train rows; see `shuffled`."""

Files = dict[str, bytes]


def export_score(session: Session, score: Score, folder: Path, request: str, graph_files: Sequence[str]) -> Artifact:
    """Write the predictor of a score, and return its record; features that are missing are extracted first.

    `request` is the digest of what is exported and how; `graph_files` are ``model.pt2`` and ``model.onnx``, or fewer.

    Raises
    ------
    Mismatch
        The predictor does not predict what the score says: nothing is written.
    BadOption
        The head cannot be exported, such as centroids of fewer classes than there are, or the net as a graph.
    MissingData, BadCache
        The features or the checkpoint of this very score are missing.
    ProbelineError
    """
    require_exportable(score)
    draft, contents, features = _draft(session, score, request)
    predictor = assemble(draft, contents, session.settings.compute.device, where=folder)
    reader = ImageReader(session, predictor, features)
    proof = reader.prove(score)
    artifact = replace(draft, measured=replace(Measured.of(score), proof=proof.summary))
    files = dict(contents)
    rows = _choose_train_rows(session, score)
    if len(rows) > 1:
        artifact, row_files = _add_train_rows(session, artifact, reader, rows, proof.features)
        files |= row_files
    if graph_files:
        artifact, written = _add_graphs(artifact, contents, graph_files, proof, folder)
        files |= written
    files[CARD] = card(artifact).encode()
    complete = write_artifact(folder, artifact, files)
    session.console.say(f"export: {proof.summary}")
    size = megabytes(sum(map(len, files.values())))
    session.console.result(f"export: {plural(len(files) + 1, 'file')}, {size}, in {folder}")
    return complete


def _draft(session: Session, score: Score, request: str) -> tuple[Artifact, Files, CachedFeatures | None]:
    """Return the artifact before its proof, the files of net and head, and the cached features that its head reads."""
    text = session.asked_as(score.backbone, score.weights)
    trains = method_info(score.method).trains
    features, activation = None, None
    if trains:
        loaded, head = _load_trained(session, score, text)
        taps: Sequence[Backbone] = [loaded.backbone]
    else:
        taps = next(taps for taps in session.taps(text)[0] if "+".join(tap.tap for tap in taps) == score.tap)
        fill_missing(session, text, "export")
        features = CachedFeatures(session, *taps)
        exported = _refit_head(features, score)
        activation = exported.activation
        loaded = session.net_of(taps[0], [tap.tap for tap in taps])
        head = {name: torch.from_numpy(np.array(array, order="C")) for name, array in exported.tensors.items()}
    net = describe_net(
        loaded,
        score.backbone,
        score.weights,
        taps=[tap.tap for tap in taps],
        own_head=trains,
        precision=score.precision,
    )
    preprocess = loaded.backbone.preprocess
    refuse_function(preprocess, "export")
    measured = Measured.of(score)
    artifact = Artifact(score.class_names, score.temperature, preprocess, net, activation, measured, request)
    check_exportable(artifact)
    return artifact, {WEIGHTS: save(net_tensors(loaded.net, loaded.tap)), HEAD: save(head)}, features


def _refit_head(features: CachedFeatures, score: Score) -> ExportedHead:
    title = features.title(score.method, score.seed)
    options = {name: value for name, value in score.options.items() if name not in ("version", "weights")}
    if features.request(score.method, score.seed, **options).key != score.key:
        what, remedy = "the cached features are not those of the score", "run its stage again, then export"
        raise MissingData(what, where=title, remedy=remedy)
    features.check_canary()
    features.session.console.say(f"export: {title}: fitting the head again")
    return refit(features, score)


def _load_trained(session: Session, score: Score, text: str) -> tuple[Loaded, dict[str, Tensor]]:
    """Return the trained net of a score, and the tensors of its last layer."""
    pretrained = session.backbone(text)[0]
    loaded = session.random_net_of(pretrained) if score.method == Method.SCRATCH else session.net(text)
    # From scratch it was trained on the very pixels that the pretrained net sees.
    backbone = replace(loaded.backbone, preprocess=pretrained.preprocess)
    folder = checkpoint_folder(session, backbone, score.method, score.seed or 0, score.key)
    folder = candidate_folder(folder, score.chosen)
    state = checkpoint.read(folder, "best", checkpoint_key(score.key, score.certificate.get("cut")))
    values = {**score.options, **score.chosen}
    dropout = values.get("dropout")
    dropout = float(dropout) if isinstance(dropout, int | float) else 0.0
    second = len((score.certificate.get("second") or {}).get("classes", ()))
    fresh_head(loaded.net, loaded.tap, len(score.class_names), 0, dropout, second)
    if score.method == Method.LORA:
        adapt(loaded.net, loaded.tap, (), backbone.preprocess.crop, _adapter_options(values, folder), 0)
    if state is None or not checkpoint.is_of_net(loaded.net, state[0]):
        raise BadCache(
            "the checkpoint of this training is corrupt or missing",
            where=folder,
            expected="best.safetensors and its record",
            remedy=f"remove the score of {score.method}, seed {score.seed}, and run finetune again",
        )
    loaded.net.load_state_dict(state[0])
    if score.method == Method.LORA:
        merge(loaded.net)
    layer = loaded.net.get_submodule(loaded.tap.head)
    if isinstance(layer, nn.Sequential):  # dropout, then the layer
        layer = layer[1]
    if isinstance(layer, TwoHeads):
        layer = layer.main
    backbone = replace(backbone, weights_sha256=tensors_sha256(loaded.net, loaded.tap.tensors))
    tensors = {name: tensor.detach().cpu().clone() for name, tensor in layer.state_dict().items()}
    return replace(loaded, backbone=backbone), tensors


def _adapter_options(values: Mapping[str, Any], where: Path) -> AdapterOptions:
    """Return the options of a score's adapters; BadCache if it does not have one value of each."""
    if any(isinstance(values.get(name), list | tuple | None) for name in LORA_OPTIONS):
        raise BadCache("the score of lora lacks an option of its adapters", where=where, remedy="run finetune again")
    return AdapterOptions.of(values)


def _choose_train_rows(session: Session, score: Score) -> list[tuple[str, int]]:
    """Return part and row of the train images in the artifact: stratified, at most ``--train-rows``."""
    splits = session.splits
    fitted = [splits.train, splits.val] if score.method == Method.PROBE_REFIT else [splits.train]
    candidates = [(split.part, int(row)) for split in fitted for row in split.rows]
    labels = np.array([session.dataset.parts[part].labels[row] for part, row in candidates])
    counts = np.bincount(labels, minlength=len(score.class_names))
    size = min(session.settings.export.train_rows, len(candidates))
    seats = apportion(counts, size, least=np.minimum(counts, 1 if size >= len(counts) else 0), most=counts)
    return [candidates[i] for i in draw(labels, seats, shuffled(len(candidates), 0, _PURPOSE))]


def _add_train_rows(
    session: Session, artifact: Artifact, reader: ImageReader, rows: Sequence[tuple[str, int]], test: FloatArray
) -> tuple[Artifact, Files]:
    """Return an artifact with train rows, and their files; `test` are the features of test images float32 [n, D]."""
    parts = session.dataset.parts
    by_part = {
        part: np.array([row for name, row in rows if name == part]) for part in dict.fromkeys(p for p, _ in rows)
    }
    features = [reader.read(Split(part, numbers, "train"))[0] for part, numbers in by_part.items()]
    labels = np.concatenate([parts[part].labels[numbers] for part, numbers in by_part.items()]).astype(np.int64)
    sample_ids = tuple(parts[part].sample_ids[row] for part, numbers in by_part.items() for row in numbers)
    tensors = row_tensors(np.concatenate(features), labels)
    k, limit = threshold(tensors)
    facts = TrainRowFacts(len(rows), k, QUANTILE, limit, "cosine", test_share=0.0)
    train_rows = rows_of(tensors, sample_ids, facts, artifact.net.features)
    _, _, kth = train_rows.search(torch.from_numpy(np.array(test)), 0)
    facts = replace(facts, test_share=float((kth > limit).mean()))
    return replace(artifact, neighbours=facts), {ROWS: save(tensors), ROW_NAMES: canonical(list(sample_ids))}


def _add_graphs(
    artifact: Artifact, contents: Files, names: Sequence[str], proof: Proof, folder: Path
) -> tuple[Artifact, Files]:
    """Return an artifact with graphs, and their files; each must give the logits of the proof."""
    exact = replace(artifact, net=replace(artifact.net, precision="fp32"), neighbours=None)
    predictor = assemble(exact, contents, "cpu", where=folder)
    outputs, logits = predictor.outputs(proof.pixels), proof.logits
    if artifact.net.precision != "fp32":  # graphs compute in float32, whatever the row was measured with
        logits = outputs.logits.numpy()
    decided = decided_images(predictor.head, outputs.features.numpy())
    facts, files = {}, {}
    for name, (data, graph_facts) in graphs(predictor, names).items():
        worst = check_parity(name, run_graph(name, data, proof.pixels)[0][decided], logits[decided])
        facts[name] = replace(graph_facts, images=int(decided.sum()), difference=worst)
        files[name] = data
    return replace(artifact, graphs=facts), files
