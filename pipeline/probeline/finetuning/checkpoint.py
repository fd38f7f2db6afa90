"""Checkpoints: tensors as safetensors, everything else as sealed JSON next to them; no pickle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from probeline.errors import CannotWrite
from probeline.finetuning import checkpoint_files as sealed


def write(folder: Path, name: str, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Write a checkpoint, whole or not at all."""
    # Copies: safetensors refuses tensors that share memory, as tied weights do.
    data = save(
        {key: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for key, tensor in tensors.items()}
    )
    sealed.write(folder, name, data, facts)


def read(folder: Path, name: str, key: str) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Return the tensors and facts of a checkpoint of the run `key`, or None if there is no complete one."""
    files = sealed.read(folder, name)
    if files is None or files[1].get("key") != key:
        return None
    try:
        return load(files[0]), files[1]
    except (SafetensorError, ValueError, KeyError):  # a record vouches for bytes, not for tensors
        return None


def remove(folder: Path, name: str) -> None:
    """Remove a checkpoint, its records first."""
    try:
        for path in sealed.files(folder, name):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise CannotWrite(
            "cannot remove a checkpoint", where=folder, got=error.strerror, remedy="remove it by hand"
        ) from error


def training_tensors(net: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return all tensors that the next step depends on, by name: the net's and the optimizer's."""
    tensors = {f"net.{name}": tensor for name, tensor in net.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in state.items()}
    return tensors


def net_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the net's tensors among those that :func:`training_tensors` returns, as its state dict names them."""
    return {name.removeprefix("net."): tensor for name, tensor in tensors.items() if name.startswith("net.")}


def is_of_net(net: nn.Module, tensors: Mapping[str, Tensor]) -> bool:
    """Return whether tensors are those of a net, by name, type and shape, so that all or none are loaded."""
    own = net.state_dict()
    return own.keys() == tensors.keys() and all(
        (tensor.shape, tensor.dtype) == (own[name].shape, own[name].dtype) for name, tensor in tensors.items()
    )


def is_of_training(net: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> bool:
    """Return whether tensors are what :func:`training_tensors` returns of a net and an optimizer after some steps."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    of_net: dict[str, Tensor] = {}
    fields: dict[int, set[str]] = {}
    for name, tensor in tensors.items():
        whose, _, rest = name.partition(".")
        index, _, member = rest.partition(".")
        if whose == "net":
            of_net[rest] = tensor
        elif whose == "optimizer" and index.isdecimal() and len(index) < 10 and int(index) < len(parameters):
            if tensor.shape not in (torch.Size(()), parameters[int(index)].shape):
                return False
            fields.setdefault(int(index), set()).add(member)
        else:
            return False
    return is_of_net(net, of_net) and len({frozenset(members) for members in fields.values()}) <= 1


def restore(net: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Put back copies of what :func:`training_tensors` returned, in the memory layout of the net's own tensors."""
    net.load_state_dict(net_tensors(tensors))
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, field = name.split(".", 2)
            state.setdefault(int(index), {})[field] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if value.shape == parameter.shape:
                values[name] = torch.empty_like(parameter, requires_grad=False).copy_(value)
            else:
                values[name] = value.clone()
