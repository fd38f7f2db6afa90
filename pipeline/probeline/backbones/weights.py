"""Weights files: fetched and checked, read without running code, and told apart by what is in them."""

from __future__ import annotations

import hashlib
import re
import shlex
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.error import URLError

import torch
from torch import Tensor, nn

from probeline.errors import BadWeights, CannotWrite, DownloadFailed, MissingData

OTHER_WEIGHTS = "choose --weights none or --weights PATH"

_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.")


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file as hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def check_file_hash(path: Path, sha256: str | None = None) -> None:
    """Refuse a file whose sha256 does not begin with `sha256`, or with what its own name promises.

    Raises
    ------
    BadWeights
    """
    promised = _HASH_IN_NAME.search(path.name)
    expected = sha256 or (promised.group(1) if promised else "")
    got = file_sha256(path)
    if not got.startswith(expected):
        raise BadWeights(
            "the weights file is damaged",
            where=path,
            expected=f"sha256 {expected}...",
            got=got[: max(len(expected), 8)] + "...",
            remedy="delete it and run again to fetch it anew",
        )


def fetch_by_hand(url: str, path: Path) -> str:
    """Return the command that puts weights at `path` by hand, and what else can be done."""
    return f"run: curl -fL --create-dirs -o {shlex.quote(str(path))} {url}, or {OTHER_WEIGHTS}"


def download(url: str, path: Path) -> None:
    """Fetch a weights file to `path`; its name holds the first digits of its sha256, which are checked.

    Raises
    ------
    DownloadFailed
        Names the address and where to put the file by hand.
    """
    promised = _HASH_IN_NAME.search(path.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWrite("cannot make the weights folder", where=path.parent, got=error.strerror) from error
    try:
        torch.hub.download_url_to_file(
            url, str(path), hash_prefix=promised.group(1) if promised else None, progress=sys.stderr.isatty()
        )
    except (URLError, OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DownloadFailed(
            "cannot fetch the weights", where=url, got=reason, remedy=fetch_by_hand(url, path)
        ) from error


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the state dict of a .pth, .pt or .safetensors file; no code of the file is run.

    Raises
    ------
    MissingData, BadWeights
    """
    if not path.is_file():
        raise MissingData("no weights file", where=path, remedy="check --weights")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: object = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # torch and safetensors raise a dozen kinds here (pickle, zip, struct, header errors), none shared.
        raise BadWeights(
            "cannot read the weights file",
            where=path,
            expected="a plain state dict (.pth or .safetensors)",
            got=type(error).__name__,
            remedy="save it again with torch.save(net.state_dict(), ...)",
        ) from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise BadWeights(
            "the weights file holds no state dict",
            where=path,
            expected="tensors by name",
            got=type(state).__name__,
            remedy="save it again with torch.save(net.state_dict(), ...)",
        )
    return {str(name).removeprefix("module."): tensor for name, tensor in state.items()}


def _holds_numbers(tensor: Tensor, *, like: Tensor) -> bool:
    """Say whether a tensor is dense, in memory, and of the kind of number that `like` is."""
    dense = tensor.layout == torch.strided and not tensor.is_meta and not tensor.is_quantized
    return dense and not tensor.is_complex() and tensor.is_floating_point() == like.is_floating_point()


def load_state(net: nn.Module, state: Mapping[str, Tensor], *, where: Path) -> None:
    """Copy a state dict into the net, all of it, or name the first tensor that does not fit.

    Raises
    ------
    BadWeights
    """

    def refuse(expected: str, got: str) -> BadWeights:
        remedy = "choose the --backbone that these weights belong to"
        return BadWeights("the weights are of another net", where=where, expected=expected, got=got, remedy=remedy)

    wanted = net.state_dict()
    for name, tensor in wanted.items():
        if name not in state:
            if name.endswith("num_batches_tracked"):
                continue
            raise refuse(f"{name} {list(tensor.shape)}", "no such tensor")
        if state[name].shape != tensor.shape:
            raise refuse(f"{name} {list(tensor.shape)}", str(list(state[name].shape)))
        if not _holds_numbers(state[name], like=tensor):
            got = f"{state[name].dtype}, {state[name].layout}, on {state[name].device}"
            raise refuse(f"{name} as plain {'real' if tensor.is_floating_point() else 'whole'} numbers", got)
    extra = next((name for name in state if name not in wanted), None)
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
