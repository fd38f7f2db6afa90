"""timm's nets, whose names include a set of weights."""

from __future__ import annotations

import contextlib
import functools
import re
import sys
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from probeline.backbones.source import Built, no_categories
from probeline.backbones.weights.wheel import other_weights
from probeline.environment import package_folder
from probeline.errors import DownloadFailed, MissingExtra, UnknownName
from probeline.files.reading import TEXT, read_text
from probeline.images import Preprocess
from probeline.names import TIMM

if TYPE_CHECKING:
    from torch import Tensor, nn

SPEC = "timm:NAME"


def names() -> tuple[str, ...]:
    """Return nothing, as timm has more than a thousand names."""
    return ()


_REGISTERED = re.compile(r"^@register_model\ndef (\w+)\(", re.MULTILINE)


@functools.cache
def _sources() -> str:
    """Return the text of timm's models, as importing them takes seconds; empty if timm is not installed."""
    with contextlib.suppress(MissingExtra):
        files = sorted((package_folder("timm") / "models").glob("*.py"))
        return "\n".join(read_text(file, TEXT) for file in files)
    return ""


def _has_string(text: str) -> bool:
    return any(f"{quote}{text}{quote}" in _sources() for quote in "'\"")


def knows(name: str) -> bool:
    """Return whether timm's sources define a net of this name without its tag; False if timm is not installed."""
    return f"def {name.partition('.')[0]}(" in _sources()


def check(name: str) -> None:
    """Refuse a name that timm's sources do not define, and a tag that is not among those of the net."""
    bare, dot, tag = name.partition(".")
    if not _sources():  # what needs the net says that timm is missing
        return
    if not knows(name) and not _has_string(bare):  # an old name is a string that leads to the new one
        raise UnknownName("timm net", bare, _REGISTERED.findall(_sources()), remedy="see timm.list_models()")
    tags = dict.fromkeys(re.findall(rf"['\"]{re.escape(bare)}\.(\w+)['\"]", _sources()))
    if dot and tags and tag not in tags:
        raise _unknown_tag(bare, tag, [f"{bare}.{known}" for known in tags])


def _unknown_tag(bare: str, tag: str, known: Iterable[str]) -> UnknownName:
    return UnknownName(f"set of weights of {TIMM}{bare}", tag, [TIMM + name for name in known])


def weights(_: str) -> tuple[str, ...]:
    """Return ``DEFAULT`` alone."""
    return ("DEFAULT",)


def create(name: str, options: Mapping[str, Any], *, init: bool = False) -> nn.Module:  # noqa: ARG001
    """Return a net without pretrained weights."""
    from probeline.backbones import torchvision_import as vision

    timm = vision.timm()
    if not timm.is_model(name):
        raise UnknownName("timm net", name, timm.list_models(), remedy="see timm.list_models()")
    try:
        timm.models.get_pretrained_cfg(name)
    except RuntimeError as error:
        bare, _, tag = name.partition(".")
        raise _unknown_tag(bare, tag, timm.list_models(f"{bare}.*", pretrained=True)) from error
    size = {"img_size": options["image_size"]} if "image_size" in options else {}
    return cast("nn.Module", timm.create_model(name, pretrained=False, **size))


def adapt(net: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict's tensors as timm would load them: with its names, and tables of the net's image size."""
    convert = getattr(sys.modules[type(net).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return state
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            converted: dict[str, Tensor] = convert(dict(state), net)
    except Exception:  # it takes for granted that the tensors are those of such a net
        return state
    return converted


def pretrained(name: str, weights: str) -> Built:
    """Return a net with the weights of its name, which timm downloads if they are missing."""
    from probeline.backbones import torchvision_import as vision
    from probeline.backbones.weights.download import check_download_is_allowed
    from probeline.backbones.weights.published import check_published

    full = TIMM + name
    if weights != "DEFAULT":
        remedy = f"a set of weights is part of timm's name: {full}.TAG"
        raise UnknownName(f"weights of {full}", weights, ["DEFAULT", *other_weights(full)], remedy=remedy)
    create(name, {})
    path = _cached_file(name)
    if path is None:
        check_download_is_allowed(full)
        _check_host(name)
        path = _download(name)
    doubts = () if path is None else check_published(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # From the file that was checked: timm would download without a check, and ask the hub for a newer one.
            overlay = {} if path is None else {"pretrained_cfg_overlay": {"file": str(path), **_format(name)}}
            net = cast("nn.Module", vision.timm().create_model(name, pretrained=True, **overlay))
    except (OSError, RuntimeError) as error:
        raise _not_loaded(name, error) from error
    tag = cast(dict[str, Any], net.pretrained_cfg).get("tag")
    return Built(net, str(tag or "DEFAULT"), preprocess(net), () if path is None else (path,), warnings=doubts)


def preprocess(net: nn.Module) -> Preprocess:
    """Return the preprocessing of a net's own weights, most likely also that of weights from a file."""
    from probeline.backbones import torchvision_import as vision

    config = vision.timm().data.resolve_model_data_config(net)
    crop = int(config["input_size"][1])
    return Preprocess(
        resize=int(crop / config["crop_pct"]),
        crop=crop,
        interpolation="bicubic" if config["interpolation"] == "bicubic" else "bilinear",
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        resize_mode="square" if config["crop_mode"] == "squash" else "shorter",
    )


def options(_name: str, _weights: str) -> dict[str, Any]:
    """Return nothing, as the name includes everything."""
    return {}


def categories(name: str, weights: str) -> tuple[str, ...]:
    """Refuse, as timm does not record them with its weights."""
    raise no_categories(TIMM + name, weights)


def _config(name: str) -> Any:
    """Return timm's record of a net's weights, or None."""
    from probeline.backbones import torchvision_import as vision

    return vision.timm().models.get_pretrained_cfg(name)


def _checkpoint(url: str) -> Path:
    import torch

    return Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]


def _cached_file(name: str) -> Path | None:
    """Return the file of a net's weights, if this machine has it."""
    from probeline.backbones.weights.reachable import cached_hub_file

    known = _config(name)
    if known is None:
        return None
    if known.hf_hub_id:
        return cached_hub_file(*_hub_place(known))
    path = _checkpoint(known.url) if known.url else None
    return path if path is not None and path.exists() else None


def _hub_place(known: Any) -> tuple[str, tuple[str, ...], str | None]:
    """Return the repository of a net's weights, the names that their file may have, and the revision if any.

    Files of safetensors come first, by the names that timm looks for.
    """
    repository, _, revision = known.hf_hub_id.partition("@")
    name = known.hf_hub_filename or "pytorch_model.bin"
    safe = _SAFE_NAMES.get(name, name.removesuffix(".bin") + ".safetensors" if name.endswith(".bin") else name)
    return repository, tuple(dict.fromkeys((safe, name))), revision or None


_SAFE_NAMES = {
    "pytorch_model.bin": "model.safetensors",
    "open_clip_pytorch_model.bin": "open_clip_model.safetensors",
}


def _download(name: str) -> Path | None:
    """Return the file of a net's weights, downloaded; None if timm knows none."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    from probeline.backbones.weights.download import download

    known = _config(name)
    if known is None or not (known.hf_hub_id or known.url):
        return None
    if not known.hf_hub_id:
        download(known.url, _checkpoint(known.url))
        return _checkpoint(known.url)
    repository, names, revision = _hub_place(known)
    try:
        for file in names[:-1]:
            with contextlib.suppress(EntryNotFoundError):
                return Path(hf_hub_download(repository, file, revision=revision))
        return Path(hf_hub_download(repository, names[-1], revision=revision))
    except (OSError, EntryNotFoundError) as error:
        raise _not_loaded(name, error) from error


def _not_loaded(name: str, error: Exception) -> DownloadFailed:
    reason = next(iter(str(error).splitlines()), type(error).__name__)
    return DownloadFailed("timm could not get the weights", where=TIMM + name, got=reason, remedy=_to_fetch(name))


def _format(name: str) -> dict[str, Any]:
    """Return what timm must be told of a file's format, which it records for the place that the file is from."""
    known = _config(name)
    is_custom = known.custom_load == "hf" if known.hf_hub_id else bool(known.custom_load)
    return {"custom_load": is_custom}


def _check_host(name: str) -> None:
    """Refuse weights whose host does not answer, where timm would ask again for a minute."""
    from probeline.backbones.weights.reachable import check_hub, check_url

    known, what = _config(name), f"the weights of {TIMM}{name}"
    if known is not None and known.hf_hub_id:
        check_hub(what, _to_fetch(name))
    elif known is not None and known.url:
        check_url(known.url, what, _to_fetch(name))


def _to_fetch(name: str) -> str:
    """Return the command that downloads timm's weights to its cache, if there are any."""
    from probeline.backbones.weights.download import OTHER_WEIGHTS, fetch_by_hand

    known = _config(name)
    if known is not None and known.hf_hub_id:
        file = known.hf_hub_filename or "model.safetensors"
        fetch = f"hf download {known.hf_hub_id} {file}"
        return f"run where there is a network: {fetch}, and bring its cache here, or {OTHER_WEIGHTS}"
    if known is not None and known.url:
        return fetch_by_hand(known.url, _checkpoint(known.url))
    return OTHER_WEIGHTS
