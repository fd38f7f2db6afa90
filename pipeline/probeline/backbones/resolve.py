"""Backbone records by name: a net is built once and its record remembered, so that a warm run imports no torch."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probeline.backbones.registry import check_name, find, runs_code
from probeline.backbones.source import HasNotes, StatesPreprocess
from probeline.environment import installed
from probeline.files.memo import Memo
from probeline.identity import FEATURES_VERSION, PREPROCESS_VERSION, RECORD_VERSION, digest
from probeline.images import Decoding, Preprocess
from probeline.names import PENULTIMATE
from probeline.types import Backbone

if TYPE_CHECKING:
    from torch import nn

    from probeline.backbones.inner_taps import InnerTap
    from probeline.backbones.penultimate import Tap


@dataclass(frozen=True)
class Loaded:
    """A net in memory, with its record.

    Attributes
    ----------
    net : nn.Module
        Eval mode, float32, on the CPU, with its own head.
    tap : Tap
        The penultimate tap.
    backbone : Backbone
        The record of that tap.
    inner : mapping of str to InnerTap
        The other requested taps by name.
    taps : mapping of str to tuple of Backbone
        The records of each requested tap; ``last-2`` stands for four.
    options : mapping
        What the net was built with.
    """

    net: nn.Module
    tap: Tap
    backbone: Backbone
    inner: Mapping[str, InnerTap] = field(default_factory=dict)
    taps: Mapping[str, tuple[Backbone, ...]] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    def decoding(self, decoding: Decoding) -> Loaded:
        """Return the net with records of images that are decoded in this way."""
        taps = {tap: tuple(record.decoding(decoding) for record in records) for tap, records in self.taps.items()}
        return replace(self, backbone=self.backbone.decoding(decoding), taps=taps)


def load(
    name: str, weights: str, image_size: int | None, taps: Sequence[str] = (PENULTIMATE,)
) -> tuple[Loaded, tuple[Path, ...]]:
    """Return the net, with verified taps and hashed tensors, and the files that its weights came from.

    Raises
    ------
    ProbelineError
        As :func:`probeline.backbones.build.build`, :func:`probeline.backbones.penultimate.find_tap` and
        :func:`probeline.backbones.inner_taps.find_inner`.
    """
    import torch

    # The autograd graph shows what the features depend on, also for a caller that switched gradients off.
    with torch.inference_mode(False), torch.enable_grad():
        return _load(name, weights, image_size, taps)


def _load(name: str, weights: str, image_size: int | None, taps: Sequence[str]) -> tuple[Loaded, tuple[Path, ...]]:
    from probeline.backbones.build import build
    from probeline.backbones.inner_taps import find_inner
    from probeline.backbones.penultimate import find_tap
    from probeline.backbones.user_code.errors import reported
    from probeline.backbones.weights.state_dict import tensors_sha256

    built = build(name, weights, image_size)
    source, _ = find(name)
    notes = (*built.notes, *(source.notes(built.net) if isinstance(source, HasNotes) else ()))
    preprocess = built.preprocess if image_size is None else built.preprocess.at(image_size)
    running = reported(f"running {name}") if runs_code(name) else contextlib.nullcontext()
    with running:
        tap = find_tap(built.net, preprocess.crop, name)
    parameters = dict(built.net.named_parameters())
    head_parameters = sum(p.numel() for path, p in parameters.items() if path.startswith(tap.head + "."))

    def record(tap: Tap | InnerTap, tap_name: str, head_parameters: int = 0) -> Backbone:
        return Backbone(
            name=name,
            weights=built.weights,
            weights_sha256=tensors_sha256(built.net, tap.tensors),
            tap=tap_name,
            pooling=tap.pooling,
            dim=tap.dim,
            parameters=sum(parameters[path].numel() for path in tap.tensors if path in parameters) + head_parameters,
            head_parameters=head_parameters,
            preprocess=preprocess,
            notes=notes,
        )

    backbone = record(tap, PENULTIMATE, head_parameters)
    inner_terms = [term for term in taps if term != PENULTIMATE]
    by_term = find_inner(built.net, tap.head, preprocess.crop, inner_terms, name) if inner_terms else {}
    inner = {inner_tap.name: inner_tap for inner_taps in by_term.values() for inner_tap in inner_taps}
    records = {tap_name: record(inner_tap, tap_name) for tap_name, inner_tap in inner.items()}
    records_of = {
        term: tuple(records[inner_tap.name] for inner_tap in inner_taps) for term, inner_taps in by_term.items()
    }
    records_of = {PENULTIMATE: (backbone,), **records_of}
    return Loaded(built.net, tap, backbone, inner, records_of, built.options), built.files


def _from_json(record: dict[str, Any]) -> Backbone:
    preprocess, notes = Preprocess.from_record(record["preprocess"]), tuple(record.get("notes", ()))
    return Backbone(**{**record, "preprocess": preprocess, "notes": notes})


def _to_json(backbone: Backbone) -> dict[str, Any]:
    values = {**asdict(backbone), "preprocess": backbone.preprocess.record()}
    notes = values.pop("notes")
    return values | ({"notes": list(notes)} if notes else {})  # without notes as it was before there were any


def _is_of_library(name: str, weights: str) -> bool:
    """Return whether a net depends on the code of installed libraries alone, and on no file."""
    return weights == "none" and not isinstance(find(name)[0], StatesPreprocess)


_LIBRARIES = ("torch", "torchvision", "timm", "transformers", "open_clip_torch")
"""Whose code builds the nets."""


def resolve(name: str, weights: str, image_size: int | None, memo: Memo) -> tuple[Backbone, Loaded | None]:
    """Return the backbone's record at its penultimate tap, and the net if it had to be built."""
    records, loaded = resolve_taps(name, weights, image_size, (PENULTIMATE,), memo)
    return records[PENULTIMATE][0], loaded


def resolve_taps(
    name: str, weights: str, image_size: int | None, taps: Sequence[str], memo: Memo
) -> tuple[dict[str, tuple[Backbone, ...]], Loaded | None]:
    """Return the records that each tap stands for, and the net if it had to be built.

    A record is remembered with the request, the libraries' versions and the state of the weights file; if any of them
    changed, the net is built again. Weights whose file is unknown are never remembered, nor are nets of other packages
    and of the user's own code, which may change.
    """
    check_name(name)
    request = {
        "name": name,
        "weights": weights,
        "image_size": image_size,
        "versions": [installed(package) for package in _LIBRARIES],
        "code": [FEATURES_VERSION, PREPROCESS_VERSION, RECORD_VERSION],
    }
    label = "backbone:" + digest(request)
    where = memo.get(label + ":files", [])
    if isinstance(where, list):
        files = [Path(path) for path in where]
        known = {tap: memo.get(f"{label}:{tap}", files) for tap in taps}
        if all(isinstance(records, list) for records in known.values()):
            return {tap: tuple(map(_from_json, records or ())) for tap, records in known.items()}, None
    loaded, read = load(name, weights, image_size, taps)
    if not runs_code(name) and (read or _is_of_library(name, weights)):
        memo.put(label + ":files", [], [str(path) for path in read])
        for tap, records in loaded.taps.items():
            memo.put(f"{label}:{tap}", list(read), [_to_json(record) for record in records])
    return {tap: loaded.taps[tap] for tap in taps}, loaded
