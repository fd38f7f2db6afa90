"""Backbone records by name: a net is built once and its record remembered, so that a warm run imports no torch."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probeline.backbones.registry import check_name, find, runs_code
from probeline.backbones.source import HasNotes, StatesPreprocess
from probeline.environment import installed
from probeline.files.fingerprint import file_sha256
from probeline.files.memo import Memo
from probeline.files.reading import WEIGHTS
from probeline.identity import FEATURES_VERSION, PREPROCESS_VERSION, RECORD_VERSION, digest, is_digest
from probeline.images import Decoding
from probeline.names import PENULTIMATE, is_weights_file
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
    files : tuple of Path
        Those that the weights came from; empty for random weights and unknown files.
    warnings : tuple of str
        What is wrong with where the weights came from.
    """

    net: nn.Module
    tap: Tap
    backbone: Backbone
    inner: Mapping[str, InnerTap] = field(default_factory=dict)
    taps: Mapping[str, tuple[Backbone, ...]] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    warnings: tuple[str, ...] = ()

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
    from probeline.backbones.inner_taps import InnerTap, find_inner
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
            tokens=tap.tokens if isinstance(tap, InnerTap) else 0,
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
    _BUILT.setdefault(_label(name, weights, image_size), set()).update((backbone, *records.values()))
    loaded = Loaded(built.net, tap, backbone, inner, records_of, built.options, built.files, built.warnings)
    return loaded, built.files


@dataclass(frozen=True)
class Remembered:
    """What the memo holds of a net at one tap: the records, and the sha256 of each of its weights files by path."""

    files: Mapping[str, str]
    records: tuple[Backbone, ...]

    def __post_init__(self) -> None:
        is_odd = not self.records or not all(map(_is_plausible, self.records))
        if is_odd or not all(map(is_digest, self.files.values())):
            raise ValueError("not the records of a net and the digests of its files")


def _is_plausible(record: Backbone) -> bool:
    sizes = (record.dim, record.preprocess.crop, record.preprocess.resize)
    return (
        is_digest(record.weights_sha256)
        and all(0 < size < _MOST for size in sizes)
        and (record.tokens == 0 or (0 < record.tokens <= record.dim and record.dim % record.tokens == 0))
        and 0 <= record.head_parameters <= record.parameters < _MOST
        and all(deviation > 0 for deviation in record.preprocess.std)
    )


_MOST = 1 << 40
"""More than any net has of parameters or dimensions."""

_BUILT: dict[str, set[Backbone]] = {}
"""By request, the records that this process has computed from the weights themselves."""


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
    label = _label(name, weights, image_size)
    files = remembered_files(name, weights, image_size, memo)
    if files is not None:
        known = {tap: _recall(f"{label}:{tap}", files, memo) for tap in taps}
        records_of = {tap: own.records for tap, own in known.items() if own is not None}
        if len(records_of) == len(known) and _is_of_request(records_of, name, weights, image_size):
            return records_of, None
    loaded, read = load(name, weights, image_size, taps)
    if not runs_code(name) and (read or _is_of_library(name, weights)):
        memo.put(label + ":files", [], [str(path) for path in read])
        digests = {str(path): file_sha256(path, WEIGHTS) for path in read}
        for tap, records in loaded.taps.items():
            memo.put(f"{label}:{tap}", read, Remembered(digests, records))
    return {tap: loaded.taps[tap] for tap in taps}, loaded


def remembered_files(name: str, weights: str, image_size: int | None, memo: Memo) -> tuple[Path, ...] | None:
    """Return the files that the weights of a request came from, as remembered; None if that is missing or odd."""
    texts = memo.get(_label(name, weights, image_size) + ":files", [], tuple[str, ...])
    if texts is None:
        return None
    files = tuple(map(Path, texts))
    if is_weights_file(weights):
        return files if files[:1] == (Path(weights),) else None
    return files if bool(files) != (weights == "none" and _is_of_library(name, weights)) else None


def weights_digests(name: str, weights: str, image_size: int | None, tap: str, memo: Memo) -> tuple[str, ...]:
    """Return the sha256 of each file that the weights of a request come from, sorted; none of random weights.

    They are remembered with the records of a tap, which are resolved first.
    """
    files = remembered_files(name, weights, image_size, memo)
    known = None if files is None else _recall(f"{_label(name, weights, image_size)}:{tap}", files, memo)
    if known is not None:
        return tuple(sorted(known.files.values()))
    _, read = load(name, weights, image_size)
    return tuple(sorted(file_sha256(path, WEIGHTS) for path in read))


def was_built(record: Backbone, name: str, weights: str, image_size: int | None) -> bool:
    """Return whether this process has computed a record from the weights that a request names."""
    return record.decoding(Decoding()) in _BUILT.get(_label(name, weights, image_size), ())


def _label(name: str, weights: str, image_size: int | None) -> str:
    request = {
        "name": name,
        "weights": weights,
        "image_size": image_size,
        "versions": [installed(package) for package in _LIBRARIES],
        "code": [FEATURES_VERSION, PREPROCESS_VERSION, RECORD_VERSION],
    }
    return "backbone:" + digest(request)


def _recall(name: str, files: Sequence[Path], memo: Memo) -> Remembered | None:
    own = memo.get(name, files, Remembered)
    return own if own is not None and own.files.keys() == set(map(str, files)) else None


def _is_of_request(
    records_of: Mapping[str, tuple[Backbone, ...]], name: str, weights: str, image_size: int | None
) -> bool:
    """Return whether remembered records say the same as the request for them."""
    records = [record for records in records_of.values() for record in records]
    title = Path(weights).name if is_weights_file(weights) else weights
    is_named = is_weights_file(weights) or weights == "none"
    return (
        all(record.name == name for record in records)
        and all(record.weights == title for record in records if is_named)
        and all(record.preprocess.crop == image_size for record in records if image_size is not None)
        and [record.tap for record in records_of.get(PENULTIMATE, ())] in ([], [PENULTIMATE])
    )
