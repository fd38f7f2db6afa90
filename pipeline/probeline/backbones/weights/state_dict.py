"""State dicts: read from a file without running code, put into a net, and hashed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from probeline.errors import BadWeights, MissingData


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the state dict of a .pth, .pt or .safetensors file; no code of the file is run."""

    def refuse(problem: str, expected: str, got: object) -> BadWeights:
        remedy = "save it again with torch.save(net.state_dict(), ...)"
        return BadWeights(problem, where=path, expected=expected, got=type(got).__name__, remedy=remedy)

    if not path.is_file():
        raise MissingData("no weights file", where=path, remedy="check the path")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: object = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # torch and safetensors raise a dozen kinds here (pickle, zip, struct, header errors), none shared.
        raise refuse("cannot read the weights file", "a plain state dict (.pth or .safetensors)", error) from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise refuse("the weights file holds no state dict", "tensors by name", state)
    return {str(name).removeprefix("module."): tensor for name, tensor in state.items()}


def _holds_numbers(tensor: Tensor, *, like: Tensor) -> bool:
    """Return whether a tensor is dense, in memory, and like another real or whole."""
    dense = tensor.layout == torch.strided and not tensor.is_meta and not tensor.is_quantized
    return dense and not tensor.is_complex() and tensor.is_floating_point() == like.is_floating_point()


def load_state(net: nn.Module, state: Mapping[str, Tensor], *, where: Path) -> None:
    """Copy a state dict into the net, all of it, or raise BadWeights that names the first tensor that does not fit."""

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
        if not _holds_numbers(state[name], like=tensor):
            got = f"{state[name].dtype}, {state[name].layout}, on {state[name].device}"
            raise refuse(f"{name} as plain {'real' if tensor.is_floating_point() else 'whole'} numbers", got)
    extra = next((name for name in state if name not in own), None)
    if extra is not None:
        raise refuse("no more tensors", f"{extra} {list(state[extra].shape)}")
    net.load_state_dict(dict(state), strict=False)


def tensors_sha256(net: nn.Module, names: Iterable[str]) -> str:
    """Return a sha256 over the named parameters and buffers: name, dtype, shape and bytes of each, in name order."""
    tensors = {**dict(net.named_parameters(remove_duplicate=False)), **dict(net.named_buffers(remove_duplicate=False))}
    total = hashlib.sha256()
    for name in sorted(names):
        tensor = tensors[name].detach().cpu().contiguous()
        total.update(f"{name}|{tensor.dtype}|{list(tensor.shape)}|".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return total.hexdigest()
