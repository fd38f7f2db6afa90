"""Features: write the cached features of a run, with what is known of each row, as a file for other programs."""

from __future__ import annotations

from typing import Any

from probeline.disk import check_no_links
from probeline.evaluate.features import requested_features
from probeline.export.feature_files import write_features
from probeline.export.feature_table import tabulate_features
from probeline.format import plural
from probeline.session import Session


def run(session: Session) -> dict[str, Any]:
    """Write the features of every backbone at every tap as one table, extracting missing ones, and return where."""
    path = session.settings.export.out or session.reports / "features.parquet"
    if session.settings.export.out is None:
        check_no_links(path, session.settings.folders.reports)
    features = list(requested_features(session))
    for own in features:
        own.prepare("features")
    table = tabulate_features(session, features)
    files = write_features(table, path)
    rows = len(next(iter(table.columns.values())))
    named = ", ".join(f"{name} [{rows:,}, {values.shape[1]}]" for name, values in table.embeddings.items())
    session.console.result(f"features: {plural(rows, 'row')}, {named}: written to {', '.join(map(str, files))}")
    return {"files": [str(file) for file in files], "rows": rows, "columns": [*table.columns, *table.embeddings]}
