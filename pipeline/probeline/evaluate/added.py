"""Predictions of another program as a score: joined by sample id, judged on the same test rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from probeline.data.tables.columns import find_column, read_values
from probeline.data.tables.reading import Table, read_table
from probeline.errors import BadData, UnknownName
from probeline.evaluate.fit_options import metric_options
from probeline.evaluate.requests import result_key
from probeline.evaluate.task import task_of
from probeline.files.reading import ARRAYS, read_bytes
from probeline.identity import HEADS_VERSION, digest_bytes
from probeline.names import TOP1, Method
from probeline.results.score import Score
from probeline.session import Session
from probeline.text import shown_names
from probeline.types import FloatArray, IntArray, Split

_PREDICTION = ("prediction", "predicted", "pred", "predicted_label", "label")
_SAMPLE_ID = ("sample_id", "id", "file_name", "path")
_LEAST = 1e-9
"""Of a probability, so that its logarithm is finite."""


def score_predictions(session: Session, path: Path) -> Score:
    """Return the score of a file of predictions: a CSV, TSV or Parquet table with one line for each image.

    The columns are ``sample_id`` and ``prediction``, a class name; or, instead of the prediction or in addition, a
    column of probabilities for each class, called like the class. Test and validation images must be there: a row
    whose accuracy on validation is unknown could not be compared with others before the test is looked at.

    Raises
    ------
    MissingData, BadData
        Images without a line or with two, probabilities that are no numbers in [0, 1], or lines that contradict
        themselves.
    UnknownName
        A prediction that is no class.
    """
    classes = session.dataset.class_names
    shown = shown_names(classes)
    table = read_table(path, "--add file")
    table = replace(table, header=tuple(shown.get(name, name) for name in table.header))
    key = find_column(table.header, "file_name", {}, _SAMPLE_ID)
    has_probabilities = set(classes) <= set(table.header)
    prediction = find_column(table.header, "label", {}, _PREDICTION)
    if key is None or (prediction is None and not has_probabilities):
        expected = "columns sample_id and prediction, or sample_id and one for each class"
        raise BadData(
            "the --add file has other columns", where=path, expected=expected, got=", ".join(table.header)[:80]
        )
    known = [name for part in session.dataset.parts.values() for name in part.sample_ids]
    shown_ids = shown_names(known)
    ids = [shown_ids.get(name, name) for name in read_values(table, key)]
    logits = _probabilities(table, classes) if has_probabilities else _votes(table, str(prediction), classes)
    row_of = {name: row for row, name in enumerate(ids)}
    if len(row_of) < len(ids):
        raise BadData("the --add file names an image twice", where=path, got=f"{len(ids) - len(row_of):,} times")
    test = _take(session, session.splits.test, logits, row_of, path)
    held_out = _take(session, session.splits.val, logits, row_of, path)
    score = _score(session, path, held_out, test)
    return score if has_probabilities else replace(score, auroc=None, odds=None)


def _probabilities(table: Table, classes: tuple[str, ...]) -> FloatArray:
    """Return the logarithms of the columns of the classes, float32 [N, K]."""
    try:
        values = np.array([read_values(table, name) for name in classes], np.float64).T
    except ValueError as error:
        raise BadData("the --add file has probabilities that are no numbers", where=table.path, got=error) from error
    if not ((values >= 0) & (values <= 1)).all() or (np.abs(values.sum(axis=1) - 1) > 1e-2).any():
        raise BadData("the --add file has no probabilities", where=table.path, expected="0 to 1, with the sum 1")
    return np.log(np.maximum(values, _LEAST)).astype(np.float32)


def _votes(table: Table, column: str, classes: tuple[str, ...]) -> FloatArray:
    """Return 1 for the predicted class and 0 for all others, float32 [N, K]."""
    number = {name: place for place, name in enumerate(classes)}
    shown = shown_names(classes)
    names = [shown.get(name, name) for name in read_values(table, column)]
    if unknown := [name for name in names if name not in number]:
        raise UnknownName("class in the --add file", unknown[0], classes)
    return np.eye(len(classes), dtype=np.float32)[[number[name] for name in names]]


def _take(
    session: Session, split: Split, logits: FloatArray, row_of: Mapping[str, int], path: Path
) -> tuple[IntArray, FloatArray]:
    """Return the labels int64 [n] and the logits float32 [n, K] of a split's rows."""
    part = session.dataset.parts[split.part]
    ids = [part.sample_ids[row] for row in split.rows.tolist()]
    if missing := [name for name in ids if name not in row_of]:
        raise BadData(
            f"the --add file lacks {split.role} images",
            where=path,
            expected=f"a line for each of the {len(ids):,}",
            got=f"none for {len(missing):,}, such as {missing[0]!r}",
            remedy="probeline features writes which image is in which split",
        )
    return part.labels[split.rows], logits[[row_of[name] for name in ids]]


def _score(
    session: Session, path: Path, held_out: tuple[IntArray, FloatArray], test: tuple[IntArray, FloatArray]
) -> Score:
    task = task_of(session.dataset, session.settings.fitting.metric)
    on_val = task.measures(*held_out)
    sha256 = digest_bytes(read_bytes(path, ARRAYS))
    metric = metric_options(task.selection_metric)
    options = {"version": HEADS_VERSION, **metric, "file": path.name, "sha256": sha256[:12]}
    return Score(
        dataset=session.dataset.title,
        backbone=path.stem,
        weights="given",
        method=Method.ADDED.value,
        key=result_key(session, Method.ADDED.value, **{**options, "sha256": sha256}),
        splits=session.splits_sha256,
        options=options,
        image_size=0,
        precision="given",
        seed=None,
        n_train=0,
        n_val=len(held_out[0]),
        n_test=len(test[0]),
        class_names=session.dataset.class_names,
        val_top1=on_val[TOP1],
        val_score=None if task.selection_metric == TOP1 else on_val[task.selection_metric],
        chosen={},
        chosen_by="",
        trainable=0,
        total=0,
        warm_seconds=0.0,
        cold_seconds=0.0,
        converged=True,
        **task.metrics(*test, *held_out),
    )
