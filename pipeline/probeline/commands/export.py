"""Export: one row of the report as a folder that classifies new images; it must predict what the report says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from probeline.disk import check_no_links, path_name
from probeline.errors import BadOption
from probeline.export.artifact.record import Artifact
from probeline.export.chosen_row import chosen_row, request_digest
from probeline.export.format import ONNX, PT2, RECORD, check_folder, find_artifact, holds_another, record_sha256
from probeline.names import PENULTIMATE
from probeline.results.score import Score
from probeline.session import Session


def run(session: Session) -> dict[str, Any]:
    """Write the row of the options as an artifact, unless it is up to date; it must predict what its score says."""
    options = session.settings.export
    if options.onnx:
        from probeline.export.graph import check_onnx

        check_onnx()
    score = chosen_row(session, "export")
    folder = options.out or session.reports / "artifacts" / _folder_name(score)
    if options.out is None:
        check_no_links(folder, session.settings.folders.reports)
    check_folder(folder)
    graphs = tuple(name for name, is_wanted in ((PT2, options.pt2), (ONNX, options.onnx)) if is_wanted)
    request = request_digest(score, options.train_rows, graphs)
    artifact = find_artifact(folder, request)
    if artifact is None:
        if holds_another(folder, request) and not _may_replace(session, folder):
            remedy = "choose another --out, or replace it with --yes"
            raise BadOption("the folder holds another artifact", where=folder, remedy=remedy)
        from probeline.export.exporting import export_score

        artifact = export_score(session, score, folder, request, graphs)
    else:
        session.console.say(f"export: up to date: {folder}")
    sha256 = record_sha256(folder)
    session.console.result(f"export: sha256 of {RECORD}: {sha256}")
    return _summary(folder, artifact, sha256)


def _may_replace(session: Session, folder: Path) -> bool:
    return session.settings.maintenance.yes or bool(session.console.confirm(f"Replace the artifact in {folder}?"))


def _folder_name(score: Score) -> str:
    at = "" if score.tap == PENULTIMATE else f"-{path_name(score.tap)}"
    seed = "" if score.seed is None else f"-seed{score.seed}"
    return f"{path_name(score.backbone)}{at}-{score.method}{seed}-{score.key[:12]}"


def _summary(folder: Path, artifact: Artifact, sha256: str) -> dict[str, Any]:
    row = artifact.row
    return {
        "artifact": str(folder),
        "sha256": sha256,
        "files": [RECORD, *sorted(artifact.files)],
        **{name: getattr(row, name) for name in ("backbone", "weights", "tap", "method", "seed", "top1", "key")},
        "interval": list(row.interval),
    }
