"""Image towers of open_clip as nets that give one vector per image."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from probeline.backbones import torchvision_import as vision
from probeline.backbones.preprocessing.read import make_record
from probeline.backbones.preprocessing.verify import check_same
from probeline.backbones.source import Built
from probeline.backbones.weights.download import check_download_is_allowed
from probeline.backbones.weights.published import check_published
from probeline.backbones.weights.reachable import cached_hub_file, check_hub, check_url
from probeline.errors import BadOption, BadWeights, DownloadFailed, MissingData, UnknownName
from probeline.identity import is_digest
from probeline.images import Preprocess
from probeline.names import is_weights_file

FOLDER = "local-dir:"

_HUB_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")

_MODES = {"shortest": "shorter", "squash": "square"}


class Projection(nn.Module):
    """The matrix into the space that images and texts share: [N, D] to [N, E]."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.detach().clone())

    def forward(self, pooled: Tensor) -> Tensor:
        """Return [N, E] for [N, D]."""
        return pooled @ self.weight


class ImageTower(nn.Module):
    """The image tower `visual`, [N, D] for the net's input [N, 3, S, S].

    Where its projection can be taken off, the embedding is the vector before it; if not, the embedding is the tower's
    output. `projection` gives in both cases what images and texts share, for who reads its output as a tap.
    """

    num_classes = 0

    def __init__(self, visual: Any, preprocess: Preprocess) -> None:
        super().__init__()
        if hasattr(visual, "output_tokens"):
            visual.output_tokens = False
        self.visual = visual
        self.projection = _take_projection(visual)
        self.preprocess = preprocess

    def forward(self, images: Tensor) -> Tensor:
        """Return [N, D]."""
        pooled: Tensor = self.visual(images)
        self.projection(pooled)
        return pooled


def _take_projection(visual: Any) -> nn.Module:
    """Return the projection of a tower, which is then without it; nothing is left to do if it is part of a pooling."""
    matrix = getattr(visual, "proj", None)
    if isinstance(matrix, nn.Parameter):
        visual.proj = None
        return Projection(matrix)
    head = getattr(visual, "head", None)
    if isinstance(head, nn.Sequential) and isinstance(layer := getattr(head, "proj", None), nn.Linear):
        head.proj = nn.Identity()
        return layer
    return nn.Identity()


def tags_of(source: str) -> list[str]:
    """Return the tags of an architecture; none of a folder."""
    if source.startswith(FOLDER):
        return []
    return [str(tag) for tag in vision.open_clip().list_pretrained_tags_by_model(source)]


def random_tower(source: str, what: str, image_size: int | None = None) -> ImageTower:
    """Return a tower with random weights, from torch's random state, for images of its own or another size."""
    tower = _tower(_create(source, what, image_size=image_size), {}, what)
    patch = getattr(tower.visual, "patch_size", None)
    if image_size is not None and isinstance(patch, tuple) and image_size % patch[0]:
        # The last pixels would be cut off without a word.
        raise ValueError(f"{image_size} is no multiple of its patches of {patch[0]} pixels")
    return tower


def fit_positions(net: nn.Module, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a state dict whose table of positions is interpolated to a tower's image size, as open_clip does."""
    import open_clip.model

    fitted = dict(state)
    with quiet():
        open_clip.model.resize_pos_embed(fitted, net)
    return fitted


@dataclass(frozen=True)
class BothTowers:
    """A model of open_clip with its weights.

    Attributes
    ----------
    model : nn.Module
        float32.
    weights : str
        Their resolved name.
    config : mapping
        What their publisher says of the preprocessing; empty if nobody does.
    files : tuple of Path
    warnings : tuple of str
        What is wrong with where the weights came from.
    """

    model: Any
    weights: str
    config: Mapping[str, Any]
    files: tuple[Path, ...]
    warnings: tuple[str, ...] = ()


def load_towers(source: str, weights: str, what: str) -> BothTowers:
    """Return both towers with the weights of a tag, those in a folder, or those of a file.

    Raises
    ------
    UnknownName, BadOption
        No such tag, several of them and none named, or one that was trained with another activation.
    DownloadFailed, MissingData, MissingExtra
    """
    if is_weights_file(weights):
        return _from_file(source, Path(weights), what)
    if source.startswith(FOLDER):
        return _from_folder(source, weights, what)
    tags = tags_of(source)
    if weights == "DEFAULT":
        if len(tags) != 1:
            known = f"@TAG, with TAG one of: {', '.join(tags)}" if tags else "@none or @PATH of a file"
            raise BadOption("no weights are named", where=what, expected=f"{what}{known}")
        (weights,) = tags
    if weights not in tags:
        raise UnknownName(f"weights of {what}", weights, [*tags, "none", "PATH of a file"])
    config = vision.open_clip().get_pretrained_cfg(source, weights)
    _check_activation(source, config, weights, what)
    path = _weights_file(config, f"{what}@{weights}")
    warnings = check_published(path, sha256=_stated_digest(config, path))
    return BothTowers(_create(source, what, str(path)), weights, config, (path,), warnings)


def load_tower(source: str, weights: str, what: str) -> Built:
    """Return the image tower with the weights of a tag, those in a folder, or those of a file.

    Raises
    ------
    ProbelineError
        As :func:`load_towers`.
    """
    both = load_towers(source, weights, what)
    net = _tower(both.model, both.config, what)
    return Built(net, both.weights, net.preprocess, both.files, warnings=both.warnings)


def _from_file(source: str, path: Path, what: str) -> BothTowers:
    """Return the weights of a file; the preprocessing is that of the architecture's tags if they agree."""
    if not path.is_file():
        raise MissingData("no weights file", where=path, remedy="check the path")
    config: Mapping[str, Any] = {}
    if tags := tags_of(source):
        stated = [_stated(vision.open_clip().get_pretrained_cfg(source, tag)) for tag in tags]
        config = stated[0] if all(other == stated[0] for other in stated) else {}
    if source.startswith(FOLDER):
        raise BadOption("a folder has its own weights", where=what, expected=f"{what} or {what}@none", got=path)
    return BothTowers(_create(source, what, str(path)), path.name, config, (path,))


def _from_folder(source: str, weights: str, what: str) -> BothTowers:
    if weights != "DEFAULT":
        raise UnknownName(f"weights of {what}", weights, ["DEFAULT", "none"])
    folder = Path(source.removeprefix(FOLDER))
    files = [file for file in sorted(folder.iterdir()) if file.suffix in (".safetensors", ".bin", ".pt", ".pth")]
    if not files:
        raise MissingData("no weights in the folder", where=folder, expected=" or ".join(_HUB_FILES))
    model = _create(source, what, load_weights=True)
    return BothTowers(model, "DEFAULT", {}, (*sorted(folder.glob("*.json")), *files))


def _create(
    source: str, what: str, pretrained: str | None = None, *, load_weights: bool = False, image_size: int | None = None
) -> Any:
    """Return both towers; weights are loaded if they are named, or if a folder's are wanted."""
    package = vision.open_clip()
    try:
        with quiet():
            return package.create_model(
                source,
                pretrained=pretrained,
                load_weights=load_weights or pretrained is not None,
                pretrained_text=False,
                force_image_size=image_size,
                device=torch.empty(0).device,  # the default one, which a caller may have changed
            )
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, ImportError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        if pretrained is not None or load_weights:
            raise BadWeights(f"open_clip cannot load the weights of {what}", where=pretrained, got=reason) from error
        raise BadOption(f"open_clip cannot build {what}", got=reason) from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep open_clip from logging what is checked here."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _stated(config: Mapping[str, Any]) -> dict[str, Any]:
    names = ("mean", "std", "interpolation", "resize_mode", "fill_color")
    return {name: config[name] for name in names if config.get(name) is not None}


def _tower(model: nn.Module, config: Mapping[str, Any], what: str) -> ImageTower:
    """Return the image tower of a model; what `config` says of the preprocessing comes first."""
    package = vision.open_clip()
    fields = {**package.get_model_preprocess_cfg(model), **_stated(config)}
    sides = {fields["size"]} if isinstance(fields["size"], int) else set(fields["size"])
    mode = _MODES.get(fields["resize_mode"])
    if len(sides) != 1 or mode is None:
        expected, got = "squares, and resize_mode shortest or squash", f"{fields['size']}, {fields['resize_mode']}"
        raise BadOption(f"images for {what} cannot be prepared", expected=expected, got=got)
    side = int(sides.pop())
    interpolation = "bilinear" if fields["interpolation"] == "bilinear" else "bicubic"  # as open_clip does
    record = make_record(
        f"the preprocessing of {what}",
        resize=side,
        crop=side,
        interpolation=interpolation,
        mean=fields["mean"],
        std=fields["std"],
        resize_mode=mode,
    )
    reference = package.image_transform(
        side,
        is_train=False,
        **{name: fields[name] for name in ("mean", "std", "interpolation", "resize_mode")},
    )
    with torch.device("cpu"):
        check_same(record, reference, f"the preprocessing of {what}")
    return ImageTower(model.visual, record).float().eval()


def _check_activation(source: str, config: Mapping[str, Any], tag: str, what: str) -> None:
    """Refuse weights that were trained with another activation, where open_clip only warns."""
    own = bool((vision.open_clip().get_model_config(source) or {}).get("quick_gelu", False))
    trained = bool(config.get("quick_gelu", False))
    if own != trained:
        other = f"{source}-quickgelu" if trained else source.removesuffix("-quickgelu")
        names = {True: "QuickGELU", False: "GELU"}
        raise BadOption(
            f"{what} computes other features than @{tag} was trained for",
            expected=names[trained],
            got=names[own],
            remedy=f"use openclip:{other}@{tag}",
        )


def _weights_file(config: Mapping[str, Any], what: str) -> Path:
    """Return the file of a tag's weights, which is downloaded if it is missing and the host answers."""
    hub, url = str(config.get("hf_hub") or ""), str(config.get("url") or "")
    repository, _, filename = hub.rpartition("/")
    if hub and (path := cached_hub_file(repository, _hub_names(filename))) is not None:
        return path
    cached = Path("~/.cache/clip").expanduser() / url.rpartition("/")[2]
    if url and not hub and cached.is_file():
        return cached
    check_download_is_allowed(what)
    other = "or use @none or @PATH of a file"
    if hub:
        fetch = f"hf download {repository}" + (f" {filename}" if filename else "")
        remedy = f"run where there is a network: {fetch}, and bring its cache here, {other}"
        check_hub(f"the weights of {what}", remedy)
    else:
        remedy = f"run: curl -fL --create-dirs -o {cached} {url}, {other}"
        check_url(url, f"the weights of {what}", remedy)
    try:
        return Path(vision.open_clip().download_pretrained(config))
    except (OSError, RuntimeError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DownloadFailed(f"cannot fetch the weights of {what}", got=reason, remedy=remedy) from error


def _stated_digest(config: Mapping[str, Any], path: Path) -> str | None:
    """Return the whole sha256 that is a folder's name in the address of a file, as OpenAI has it."""
    folder, _, name = str(config.get("url") or "").rpartition("/")
    digest = folder.rpartition("/")[2]
    return digest if name == path.name and is_digest(digest) else None


def _hub_names(filename: str) -> tuple[str, ...]:
    if not filename:
        return _HUB_FILES
    stem, dot, suffix = filename.rpartition(".")
    return (f"{stem}.safetensors", filename) if dot and suffix in ("bin", "pth") else (filename,)


def preprocess_of(net: nn.Module) -> Preprocess:
    """Return the preprocessing of a tower."""
    if not isinstance(net, ImageTower):
        raise TypeError(f"{type(net).__name__} is none of open_clip's towers")
    return net.preprocess


def notes_of(net: nn.Module) -> tuple[str, ...]:
    """Return where a tower's embedding is read."""
    if isinstance(net, ImageTower) and not isinstance(net.projection, nn.Identity):
        return ("the embedding is read before the projection; --tap projection reads it after",)
    return ("the embedding is the tower's output, after its projection",)
