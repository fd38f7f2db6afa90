"""Nets that exist in this process only: any `nn.Module` of a Python program, under a name that it registers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from probeline.backbones.source import Built, no_categories, no_names, no_options, only_default, refuse_options
from probeline.errors import BadOption, UnknownName
from probeline.identity import digest
from probeline.images import Preprocess

if TYPE_CHECKING:
    from torch import nn

SPEC = "module:NAME"
OWN_PREPROCESS = True
names, weights, options = no_names, only_default, no_options


@dataclass(frozen=True)
class _Registered:
    net: nn.Module
    preprocess: Preprocess


_NETS: dict[str, _Registered] = {}

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,79}")


def register(net: nn.Module, *, name: str | None = None, preprocess: Any = None) -> str:
    """Return the backbone text, ``module:NAME``, by which this process can name a net.

    The net itself is neither changed nor kept: a copy is, float32 and on the CPU, as the net is now.

    Parameters
    ----------
    net : nn.Module
        Gives features or logits [N, D] for float32 images [N, 3, S, S].
    name : str, optional
        Letters, digits and ``._+-``; by default the net's class with eight digits of its tensors, modules and
        preprocessing. A name that was registered before then stands for this net.
    preprocess : optional
        A :class:`probeline.images.Preprocess`, a mapping of its fields, a transform of torchvision that can be read, or
        an image processor of transformers. By default the net's own: its attribute `preprocess`, or what timm records.

    Raises
    ------
    BadOption, UnknownName
        No such name, something that is no net or cannot be copied, or a preprocessing that is missing or cannot be
        read.
    """
    import copy

    from torch import nn
    from torch.nn.parameter import is_lazy

    from probeline.backbones.weights.state_dict import tensors_sha256

    if not isinstance(net, nn.Module):
        raise BadOption("no net", expected="a torch.nn.Module", got=type(net).__name__)
    kind = type(net).__name__
    if name is not None and not _NAME.fullmatch(name):
        raise BadOption("bad name of a net", expected="up to 80 letters, digits and ._+-", got=repr(name))
    record = _read_record(net, preprocess, f"module:{name or kind}")
    tensors = dict((*net.named_parameters(), *net.named_buffers()))
    if lazy := [path for path, tensor in tensors.items() if is_lazy(tensor)]:
        raise BadOption(f"{kind} has tensors without a shape", got=lazy[0], remedy="call it once on a batch of images")
    try:
        copied = copy.deepcopy(net)
    except Exception as error:  # of any module's own code
        got = f"{type(error).__name__}: {error}"
        raise BadOption(
            f"module:{name or kind} cannot be copied", expected="a net that copy.deepcopy takes", got=got
        ) from error
    if name is None:
        modules = [[path, type(module).__name__] for path, module in copied.named_modules()]
        name = f"{kind}-{digest([tensors_sha256(copied, tensors), modules, record.identity()])[:8]}"
    _NETS[name] = _Registered(copied.cpu().float().eval().requires_grad_(False), record)
    return f"module:{name}"


def _read_record(net: nn.Module, preprocess: Any, name: str) -> Preprocess:
    """Return the record of a net's preprocessing, the one given or the net's own."""
    from probeline.backbones.preprocessing.read import STATED, read_preprocess
    from probeline.backbones.user_code.stated import own_preprocess

    what = f"the preprocessing of {name}"
    record = own_preprocess(net, what) if preprocess is None else read_preprocess(preprocess, what)
    if record is None:
        raise BadOption(f"no preprocessing of {name}", expected=STATED, remedy="give preprocess=")
    return record


def knows(name: str) -> bool:
    """Return whether this process has registered the name."""
    return name in _NETS


def check(name: str) -> None:
    """Refuse a name that this process has not registered."""
    if name not in _NETS:
        remedy = "such nets exist in Python only; on the command line, name a function: python:FILE.py:FUNCTION"
        raise UnknownName("registered net", f"module:{name}", [f"module:{known}" for known in _NETS], remedy=remedy)


def create(name: str, options: Mapping[str, Any], *, init: bool = False) -> nn.Module:
    """Return a copy of the net with the tensors that it had; it cannot be initialised anew."""
    import copy

    from probeline.backbones.user_code.stated import state_preprocess

    refuse_options(options)
    if init:
        raise BadOption(
            f"module:{name} has no random weights",
            expected="its weights as they are",
            remedy="leave --weights none and --strategy scratch out for this net",
        )
    return state_preprocess(copy.deepcopy(_NETS[name].net), _NETS[name], what=f"module:{name}")


def pretrained(name: str, weights: str) -> Built:
    """Return a copy of the net with the tensors that it had when it was registered."""
    if weights != "DEFAULT":
        raise UnknownName(f"weights of module:{name}", weights, ["DEFAULT", "PATH of a file"])
    return Built(create(name, {}), "DEFAULT", _NETS[name].preprocess, ())


def preprocess(net: nn.Module) -> Preprocess:
    """Return the preprocessing that the net was registered with."""
    from probeline.backbones.user_code.stated import preprocess_of

    return preprocess_of(net)


def categories(name: str, weights: str) -> tuple[str, ...]:
    """Refuse, as a net does not know them."""
    raise no_categories(f"module:{name}", weights)
