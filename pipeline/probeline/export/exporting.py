"""Exporting a score: build the predictor, compare it with the score, and write it with train rows, graphs and card."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from probeline.data.sampling.stratified import apportion, draw, shuffled
from probeline.export.build import ArtifactDraft, build_draft, read_taps
from probeline.export.card import card
from probeline.export.format import CARD, ROW_NAMES, ROWS, Artifact, write_artifact
from probeline.export.graph import check_parity, graphs, run_graph
from probeline.export.loading import assemble
from probeline.export.proof import ImageReader, Proof, decided_images
from probeline.export.train_rows import QUANTILE, row_tensors, rows_of, threshold
from probeline.extract.fill import fill_missing
from probeline.format import megabytes, plural
from probeline.identity import canonical
from probeline.names import Method
from probeline.results.score import Score
from probeline.session import Session
from probeline.types import FloatArray, Split

_PURPOSE = 5000
"""Of the random order that chooses train rows; see `shuffled`."""

Files = dict[str, bytes]


def export_score(session: Session, score: Score, folder: Path, request: str, graph_files: Sequence[str]) -> Artifact:
    """Write the predictor of a score, and return its record; features that are missing are extracted first.

    Parameters
    ----------
    session : Session
    score : Score
    folder : Path
    request : str
        The digest of what is exported and how.
    graph_files : sequence of {"model.pt2", "model.onnx"}

    Raises
    ------
    Mismatch
        The predictor does not predict what the score says: nothing is written.
    ProbelineError
    """
    taps = read_taps(session, score)
    if taps is not None:
        fill_missing(session, session.asked_as(score.backbone, score.weights), "export")
    draft = build_draft(session, score, taps, request)
    predictor = assemble(draft.artifact, draft.contents, session.settings.compute.device, where=folder)
    reader = ImageReader(session, draft, predictor)
    proof = reader.prove(score)
    contents = dict(draft.contents)
    artifact = replace(draft.artifact, measured={**draft.artifact.measured, "proof": proof.summary})
    rows = _choose_train_rows(session, score)
    if len(rows) > 1:
        artifact, files = _add_train_rows(session, artifact, reader, rows, proof.features)
        contents |= files
    if graph_files:
        artifact, files = _add_graphs(artifact, draft, graph_files, proof, folder)
        contents |= files
    contents[CARD] = card(artifact).encode()
    complete = write_artifact(folder, artifact, contents)
    size = sum(map(len, contents.values()))
    session.console.say(f"export: {proof.summary}")
    session.console.result(f"export: {plural(len(contents) + 1, 'file')}, {megabytes(size)}, in {folder}")
    return complete


def _choose_train_rows(session: Session, score: Score) -> list[tuple[str, int]]:
    """Return part and row of the train images that go with the artifact: stratified, at most so many as asked for."""
    splits = session.splits
    fitted = [splits.train, splits.val] if score.method == Method.PROBE_REFIT else [splits.train]
    candidates = [(split.part, int(row)) for split in fitted for row in split.rows]
    labels = np.array([session.dataset.parts[part].labels[row] for part, row in candidates])
    counts = np.bincount(labels, minlength=len(score.class_names))
    wanted = min(session.settings.export.train_rows, len(candidates))
    seats = apportion(counts, wanted, least=np.minimum(counts, 1 if wanted >= len(counts) else 0), most=counts)
    return [candidates[i] for i in draw(labels, seats, shuffled(len(candidates), 0, _PURPOSE))]


def _add_train_rows(
    session: Session, artifact: Artifact, reader: ImageReader, rows: Sequence[tuple[str, int]], test: FloatArray
) -> tuple[Artifact, Files]:
    """Return an artifact with train rows, and their files.

    Parameters
    ----------
    session, artifact, reader
    rows : sequence of (str, int)
    test : float32 [n_test, D]
        Features of the test images.
    """
    parts = session.dataset.parts
    by_part = {
        part: np.array([row for name, row in rows if name == part]) for part in dict.fromkeys(p for p, _ in rows)
    }
    features = [reader.read(Split(part, numbers, "train"))[0] for part, numbers in by_part.items()]
    labels = np.concatenate([parts[part].labels[numbers] for part, numbers in by_part.items()]).astype(np.int64)
    sample_ids = tuple(parts[part].sample_ids[row] for part, numbers in by_part.items() for row in numbers)
    tensors = row_tensors(np.concatenate(features), labels)
    k, limit = threshold(tensors)
    facts = {"rows": len(rows), "k": k, "quantile": QUANTILE, "threshold": limit, "distance": "cosine"}
    train_rows = rows_of(tensors, sample_ids, facts, artifact.net.features)
    _, _, kth = train_rows.search(torch.from_numpy(np.array(test)), 0)
    facts["test_share"] = float((kth > limit).mean())
    return replace(artifact, neighbours=facts), {ROWS: save(tensors), ROW_NAMES: canonical(list(sample_ids))}


def _add_graphs(
    artifact: Artifact, draft: ArtifactDraft, names: Sequence[str], proof: Proof, folder: Path
) -> tuple[Artifact, Files]:
    """Return an artifact with graphs, and their files; each must give the logits of the proof."""
    exact = replace(draft.artifact, net=replace(draft.artifact.net, precision="fp32"))
    predictor = assemble(exact, draft.contents, "cpu", where=folder)
    outputs, logits = predictor.outputs(proof.pixels), proof.logits
    if draft.artifact.net.precision != "fp32":  # graphs compute in float32, whatever the row was measured with
        logits = outputs.logits.numpy()
    decided = decided_images(predictor.head, outputs.features.numpy())
    facts, contents = {}, {}
    for name, (data, shapes) in graphs(predictor, names).items():
        worst = check_parity(name, run_graph(name, data, proof.pixels)[0][decided], logits[decided])
        facts[name] = {**shapes, "images": int(decided.sum()), "difference": worst}
        contents[name] = data
    return replace(artifact, graphs=facts), contents
