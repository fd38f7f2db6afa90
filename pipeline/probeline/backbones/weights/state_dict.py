"""State dicts: read from a file without running code, put into a net, and hashed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from probeline.backbones.weights.rehearsal import Inert, TooLarge, check_safetensors, check_torch_file
from probeline.errors import BadWeights, MissingData
from probeline.files.reading import (
    TEXT,
    WEIGHTS,
    check,
    is_file,
    memory_bytes,
    read_beginning,
    read_bytes,
    why_unreachable,
)

_WRAPPED = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
"""Modules that torch puts around others when it compiles, shards or checkpoints them."""

_NO_NET = ("optimizer", "optimizers", "optimizer_states", "lr_scheduler", "lr_schedulers", "scheduler", "scaler")
"""Entries of a checkpoint that hold tensors of no net."""

_DEEPEST = 12
"""Levels of nested mappings and modules."""

MOST_ENTRIES = 250_000
"""Entries of a file's nested mappings: each may be in many others, so that a few kilobytes unfold to 10^12."""

MOST_SHARDS = 10_000
"""Files of an index; the largest published nets have some hundred."""


def read_state(path: Path) -> dict[str, Tensor]:
    """Return all tensors of a weights file by name; no code of the file is run.

    Names of nested mappings and modules are joined by dots: ``model.conv1.weight``. The file is one of torch or of
    safetensors, or the index of several (see :func:`shards_of`).

    Raises
    ------
    MissingData
        No such file.
    BadWeights
        It is none of these, is larger than the memory, asks for more memory than it has bytes, or has two tensors of
        one name.
    """
    if not is_file(path):
        raise MissingData("no weights file", where=path, got=why_unreachable(path), remedy="check the path")
    files = shards_of(path) or [path]
    check_weights(files)
    state: dict[str, Tensor] = {}
    origins: dict[str, str] = {}
    for file in files:
        for name, written, tensor in _tensors(_load(file), file):
            origin = written if file == path else f"{written} of {file.name}"
            if name in state and differ(state[name], tensor):
                raise two_tensors(path, origins[name], origin)
            state[name], origins[name] = tensor, origin
    if not state:
        raise _refused("the weights file holds no state dict", path, "tensors by name", "none")
    return state


def two_tensors(path: Path, *names: str) -> BadWeights:
    """Return the error for a file with two tensors that are the same one of the net, with other numbers."""
    remedy = "save the one that you want with torch.save"
    return BadWeights(
        "two tensors of the weights file are one of the net", where=path, got=" and ".join(names), remedy=remedy
    )


def differ(one: Tensor, other: Tensor) -> bool:
    """Return whether two tensors have other numbers; those that have none at all always differ."""
    if one is other:
        return False
    if one.shape != other.shape or not (holds_numbers(one, like=one) and holds_numbers(other, like=other)):
        return True
    return not torch.equal(one.float(), other.float())


def check_weights(files: Sequence[Path]) -> None:
    """Refuse weights files that are larger than the memory, or ask for more of it than they have bytes.

    Raises
    ------
    BadWeights
    """
    try:
        size = sum(check(file, WEIGHTS) for file in files)
    except OSError as error:
        raise BadWeights("cannot read the weights file", where=error.filename, got=error.strerror) from error
    if size > (memory := memory_bytes()):
        raise BadWeights(
            "the weights are larger than the memory",
            where=files[0] if len(files) == 1 else f"{len(files):,} files, {files[0]} first",
            expected=f"at most {memory:,} bytes",
            got=f"{size:,}",
        )
    for file in files:
        with _named_refusals(file):
            (check_safetensors if _is_safetensors(file) else check_torch_file)(file)


def shards_of(path: Path) -> list[Path]:
    """Return the files that an index names, such as ``model.safetensors.index.json``; none of any other file.

    Raises
    ------
    BadWeights
        It is no index, or one of too many files.
    MissingData
        One of the files is missing.
    """
    if path.suffix != ".json":
        return []
    try:
        names = set(json.loads(read_bytes(path, TEXT))["weight_map"].values())
    except OSError as error:
        raise BadWeights("cannot read the index of weights", where=path, got=error.strerror) from error
    except (ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:
        raise _refused("the weights file is no index of shards", path, "weight_map", type(error).__name__) from error
    if len(names) > MOST_SHARDS:
        raise _refused("the index of weights names too many files", path, f"at most {MOST_SHARDS:,}", f"{len(names):,}")
    for name in sorted(map(str, names)):
        if Path(name).name != name or not is_file(path.parent / name):
            raise MissingData("a file that the index of weights names is missing", where=path.parent / name)
    return [path.parent / name for name in sorted(names)]


def _refused(problem: str, path: Path, expected: str, got: str) -> BadWeights:
    remedy = "save it again with torch.save(net.state_dict(), ...)"
    return BadWeights(problem, where=path, expected=expected, got=got, remedy=remedy)


def _load(path: Path) -> object:
    with _named_refusals(path):
        if _is_safetensors(path):
            from safetensors.torch import load_file

            return load_file(path)
        try:
            unknown = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        except ValueError:  # torch's format before 1.6
            unknown = []
        with torch.serialization.safe_globals([(Inert, name) for name in unknown]):
            return torch.load(path, map_location="cpu", weights_only=True)


def _is_safetensors(path: Path) -> bool:
    return read_beginning(path, WEIGHTS, 9)[8:] == b"{"


@contextmanager
def _named_refusals(path: Path) -> Iterator[None]:
    try:
        yield
    except TooLarge as error:
        remedy = "save it again with torch.save(net.state_dict(), ...)"
        raise BadWeights("the weights file is not read", where=path, got=error, remedy=remedy) from error
    except Exception as error:
        # torch and safetensors raise a dozen kinds here (pickle, zip, struct, header errors), none shared.
        expected = "a state dict of torch or safetensors"
        raise _refused("cannot read the weights file", path, expected, type(error).__name__) from error


def _tensors(content: object, where: Path) -> Iterator[tuple[str, str, Tensor]]:
    """Yield each tensor of a file by its name, without what torch puts around modules, and its name in the file."""
    visited = 0

    def walk(value: object, path: tuple[str, ...], written: tuple[str, ...]) -> Iterator[tuple[str, str, Tensor]]:
        nonlocal visited
        visited += 1
        if visited > MOST_ENTRIES:
            raise _refused("the weights file has too many entries", where, f"at most {MOST_ENTRIES:,}", "more")
        if isinstance(value, Tensor):
            yield ".".join(path), ".".join(written), value
            return
        if isinstance(value, Inert):
            value = _module_state(value)
        if isinstance(value, Mapping) and len(path) < _DEEPEST:
            for name, part in value.items():
                if name not in _NO_NET:
                    inner = (word for word in str(name).split(".") if word not in _WRAPPED)
                    yield from walk(part, (*path, *inner), (*written, str(name)))

    return walk(content, (), ())


def _module_state(value: Inert) -> dict[Any, Any]:
    """Return the parameters, buffers and children of a pickled module."""
    state = value.state if isinstance(value.state, Mapping) else {}
    kinds = (state.get(kind) for kind in ("_parameters", "_buffers", "_modules"))
    return {name: part for kind in kinds if isinstance(kind, Mapping) for name, part in kind.items()}


def holds_numbers(tensor: Tensor, *, like: Tensor) -> bool:
    """Return whether a tensor is dense, in memory, and like another real or whole."""
    dense = tensor.layout == torch.strided and not tensor.is_meta and not tensor.is_quantized
    return dense and not tensor.is_complex() and tensor.is_floating_point() == like.is_floating_point()


def describe_tensor(tensor: Tensor, *, like: Tensor) -> str:
    """Return what is wrong with a tensor that does not fit another: its shape or its kind."""
    if tensor.shape != like.shape:
        return str(list(tensor.shape))
    return f"{tensor.dtype}, {tensor.layout}, on {tensor.device}"


def load_state(net: nn.Module, state: Mapping[str, Tensor], *, where: object) -> None:
    """Copy a state dict into the net, all of it, or raise BadWeights that names the first tensor that does not fit."""
    check_state(net, state, where=where)
    own = net.state_dict()  # it has the versions of the modules, which some of them ask for
    own.update(state)
    net.load_state_dict(own)


def check_state(net: nn.Module, state: Mapping[str, Tensor], *, where: object) -> None:
    """Raise BadWeights that names the first tensor of a state dict that does not fit the net, which may have no values.

    ``num_batches_tracked`` may be missing.
    """

    def refuse(expected: str, got: str) -> BadWeights:
        remedy = "choose the --backbone that these weights belong to"
        return BadWeights("the weights are of another net", where=where, expected=expected, got=got, remedy=remedy)

    own = net.state_dict()
    for name, tensor in own.items():
        if name not in state:
            if name.endswith("num_batches_tracked"):
                continue
            raise refuse(f"{name} {list(tensor.shape)}", "no such tensor")
        if state[name].shape != tensor.shape:
            raise refuse(f"{name} {list(tensor.shape)}", str(list(state[name].shape)))
        if not holds_numbers(state[name], like=tensor):
            kind = "real" if tensor.is_floating_point() else "whole"
            raise refuse(f"{name} as plain {kind} numbers", describe_tensor(state[name], like=tensor))
    extra = next((name for name in state if name not in own), None)
    if extra is not None:
        raise refuse("no more tensors", f"{extra} {list(state[extra].shape)}")


def tensors_sha256(net: nn.Module, names: Iterable[str]) -> str:
    """Return a sha256 over the named parameters and buffers: name, dtype, shape and bytes of each, in name order."""
    tensors = {**dict(net.named_parameters(remove_duplicate=False)), **dict(net.named_buffers(remove_duplicate=False))}
    total = hashlib.sha256()
    for name in sorted(names):
        tensor = tensors[name].detach().cpu().contiguous()
        total.update(f"{name}|{tensor.dtype}|{list(tensor.shape)}|".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()
