"""Rows of other entries are reused whether or not all of them fit into memory at once."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from probeline.cache.entry import ROWS_PER_SHARD
from probeline.cache.reading import entry_folders, open_entry, read_features
from probeline.cli import main
from probeline.extraction import fill
from small_crews import COMMAND, SHARDS, make_place

NEW = 10
"""Images of the larger data set that the smaller one lacks."""


def test_more_known_rows_than_memory_holds_are_reused_in_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(make_place(tmp_path))
    images = np.load("images.npz")["x"]
    more = np.concatenate([images[::-1], np.random.default_rng(1).integers(0, 256, (NEW, 8, 8, 3), dtype=np.uint8)])
    np.savez("more.npz", x=more, y=np.arange(len(more)) % 3)
    larger = ["arrays:more.npz" if word == "arrays:images.npz" else word for word in COMMAND]
    assert main([*larger, "--cache", "alone"]) == 0
    assert main([*COMMAND, "--cache", "shared"]) == 0
    capsys.readouterr()
    two_shards = 2 * 4 * ROWS_PER_SHARD * 12
    monkeypatch.setattr(fill, "memory_bytes", lambda: fill._SHARE_OF_MEMORY * two_shards)
    assert main([*larger, "--cache", "shared"]) == 0
    said = capsys.readouterr().out
    reused = [int(count.replace(",", "")) for count in re.findall(r"([\d,]+) rows of identical images reused", said)]
    assert reused == [2 * ROWS_PER_SHARD] * 2 + [2 * ROWS_PER_SHARD - 5], "two shards at a time"
    ran = int(re.findall(r"([\d,]+) images on CPU", said)[0].replace(",", ""))
    assert len(more) == SHARDS * ROWS_PER_SHARD + NEW - 5
    assert ran == ROWS_PER_SHARD + NEW - 5, "a shard of which some rows are known is run as a whole, and the last"
    entries = [
        open_entry(folder)
        for cache in ("shared", "alone")
        for folder in entry_folders(Path(cache))
        if "more" in str(folder)
    ]
    np.testing.assert_array_equal(*(read_features(entry).features for entry in entries))
