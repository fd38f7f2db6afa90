"""Vision models of transformers as nets that give one vector per image."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from probeline.backbones import torchvision_import as vision
from probeline.backbones.forward_pass import buffers_of, graph, parameters_in, random_images
from probeline.backbones.inner_taps import CLASS_TOKENS
from probeline.backbones.preprocessing.processor import read_processor
from probeline.backbones.weights.checkpoint import unwrapped
from probeline.backbones.weights.download import check_download_is_allowed, without_downloads
from probeline.backbones.weights.reachable import cached_hub_file, check_hub
from probeline.backbones.weights.state_dict import check_weights, read_state
from probeline.errors import BadOption, BadWeights, DownloadFailed, MissingData
from probeline.images import Preprocess

_CONFIG = "config.json"


class Encoder(nn.Module):
    """The vision model `body`, whose output is read as one vector per image, [N, D].

    That is its pooled output, or else its class token or the mean over all positions. The `projection` of a model of
    images and texts runs on that vector too, for who reads its output as a tap; the embedding is the vector before it.
    """

    num_classes = 0

    def __init__(self, body: nn.Module, projection: nn.Module | None, preprocess: Preprocess) -> None:
        super().__init__()
        self.body = body
        self.projection = projection
        self.preprocess = preprocess
        self.reads_pooler = True
        self._parameters_of_forward = set(inspect.signature(body.forward).parameters)
        config: Any = body.config
        self._own_size = getattr(config, "image_size", None)
        names = (name.rpartition(".")[2] for name, _ in body.named_parameters())
        self.has_class_token = any(name in CLASS_TOKENS for name in names)

    def forward(self, images: Tensor) -> Tensor:
        """Return [N, D] for the net's input [N, 3, S, S]."""
        output = self.run_body(images)
        pooled = output.pooler_output.flatten(1) if self.reads_pooler else self._pool(output.last_hidden_state)
        if self.projection is not None:
            self.projection(pooled)
        return pooled

    def run_body(self, images: Tensor) -> Any:
        """Return the model's output with all its fields."""
        # By position, where hooks see it.
        return self.body(images, **self._options(images))

    def _options(self, images: Tensor) -> dict[str, Any]:
        options: dict[str, Any] = {}
        if "interpolate_pos_encoding" in self._parameters_of_forward and images.shape[-1] != self._own_size:
            options["interpolate_pos_encoding"] = True
        patch, size = getattr(self.body.config, "patch_size", None), images.shape[-1]
        if self.has_class_token and isinstance(patch, int) and size != self._own_size and size % patch:
            # The last pixels would be cut off without a word.
            raise ValueError(f"{size} is no multiple of its patches of {patch} pixels")
        if "noise" in self._parameters_of_forward and isinstance(patch, int):
            # A masked autoencoder, which masks nothing here, keeps the order of the patches.
            patches = (images.shape[-2] // patch) * (images.shape[-1] // patch)
            options["noise"] = torch.arange(patches, device=images.device).expand(len(images), -1)
        return options

    def _pool(self, hidden: Tensor) -> Tensor:
        if hidden.ndim == 4:
            return hidden.mean((2, 3))
        return hidden[:, 0] if self.has_class_token else hidden.mean(1)


def pretrained_encoder(source: str, revision: str | None, what: str) -> tuple[Encoder, tuple[Path, ...]]:
    """Return a model with its trained weights, and the files it came from.

    `source` is a folder or a name of the hub, whose cache is used without asking the hub. A pooling layer that the
    weights lack is not used.

    Raises
    ------
    MissingExtra, DownloadFailed, MissingData
    BadWeights
        Other tensors are missing, which transformers would initialise at random.
    BadOption
        No vision model, or an image processor that no record can say.
    """
    package = vision.transformers()

    folder = Path(source)
    if folder.is_dir():
        check_weights(sorted(folder.glob("model*.safetensors")) or sorted(folder.glob("pytorch_model*.bin")))

    def load(config: Any, common: dict[str, Any]) -> tuple[Any, Any]:
        # Where peft is installed, transformers looks for an adapter too, and would ask the hub for it.
        here = {name: common[name] for name in ("local_files_only",) if name in common}
        loaded = package.AutoModel.from_pretrained(
            source, config=config, output_loading_info=True, dtype=torch.float32, adapter_kwargs=here, **common
        )
        return tuple(loaded)

    encoder, model, info = _load_encoder(load, source, revision, what)
    _choose_output(encoder, _missing(encoder, model, info), what)
    config = None if Path(source).is_dir() else cached_hub_file(source, (_CONFIG,), revision)
    folder = Path(source) if config is None else config.parent
    files = sorted(file for file in folder.glob("*") if file.suffix in (".json", ".safetensors", ".bin"))
    return encoder, tuple(files)


def encoder_from_file(source: str, path: Path, what: str) -> Encoder:
    """Return a model with the weights of a file that transformers or torch saved; missing tensors are reported."""
    package = vision.transformers()
    tensors = read_state(path)

    def load(config: Any, _: dict[str, Any]) -> tuple[Any, Any]:
        random = package.AutoModel.from_config(config, trust_remote_code=False)
        state = unwrapped(random.state_dict(), tensors, path)
        return tuple(type(random).from_pretrained(None, config=config, state_dict=state, output_loading_info=True))

    encoder, model, info = _load_encoder(load, source, None, what)
    _choose_output(encoder, _missing(encoder, model, info), f"{what} in {path}")
    return encoder


def _config(package: ModuleType, source: str, options: dict[str, Any]) -> Any:
    """Return a model's configuration; that of a masked autoencoder masks nothing."""
    config = package.AutoConfig.from_pretrained(source, **options)
    if hasattr(config, "mask_ratio"):
        config.mask_ratio = 0.0
    return config


def random_encoder(source: str, what: str) -> Encoder:
    """Return a model with random weights, as its configuration and torch's random state give it.

    Its embedding is the output that its own weights have trained, if they are on this machine.
    """
    package = vision.transformers()

    def load(config: Any, _: dict[str, Any]) -> tuple[Any, Any]:
        return package.AutoModel.from_config(config, trust_remote_code=False), None

    encoder, _, _ = _load_encoder(load, source, None, what)
    _choose_output(encoder, set(), what)
    if _depends_on_pooler(encoder):
        # As with the model's own weights, if this machine has them: the tensors may come from a file or an artifact.
        with contextlib.suppress(DownloadFailed, MissingData, BadWeights), without_downloads():
            encoder.reads_pooler = pretrained_encoder(source, None, what)[0].reads_pooler
    return encoder


def preprocess_of(net: nn.Module) -> Preprocess:
    """Return the record of a model's image processor."""
    if not isinstance(net, Encoder):
        raise TypeError(f"{type(net).__name__} is none of transformers' models")
    return net.preprocess


def notes_of(net: nn.Module) -> tuple[str, ...]:
    """Return which output of a model is the embedding."""
    if not isinstance(net, Encoder):
        return ()
    output = "its pooled output"
    if not net.reads_pooler:
        output = "its class token" if net.has_class_token else "the mean of its last map or tokens"
    projected = "; --tap projection reads it after the projection" if net.projection is not None else ""
    return (f"the embedding is {output}{projected}",)


def _load_processor(package: ModuleType, source: str, what: str, options: dict[str, Any]) -> Any:
    try:
        return package.AutoImageProcessor.from_pretrained(source, **options)
    except (OSError, ValueError) as error:
        if "trust_remote_code" in str(error) or not _is_cached(source, options["revision"]):
            raise
        remedy = (
            "save there the one that it was trained with: AutoImageProcessor.from_pretrained(...).save_pretrained()"
        )
        expected = "preprocessor_config.json"
        raise MissingData(f"{what} has no image processor", expected=expected, remedy=remedy) from error


def _is_cached(source: str, revision: str | None) -> bool:
    return Path(source).is_dir() or cached_hub_file(source, (_CONFIG,), revision) is not None


_Load = Callable[..., tuple[Any, Any, Any]]


def _load_encoder(
    load_model: Callable[[Any, dict[str, Any]], tuple[Any, Any]], source: str, revision: str | None, what: str
) -> tuple[Encoder, Any, Any]:
    """Return an encoder, its whole model, and what transformers says of the loading.

    `load_model` gets the configuration and the options of transformers, and returns the last two.
    """
    package = vision.transformers()

    def load(**options: Any) -> tuple[Any, Any, Any]:
        common = {"revision": revision, "trust_remote_code": False, **options}
        processor = _load_processor(package, source, what, common)
        return processor, *load_model(_config(package, source, common), common)

    if Path(source).is_dir():
        processor, model, info = _loaded(load, what, local_files_only=True)
    else:
        processor, model, info = _load_from_hub(load, source, revision, what)
    return _encoder(model, read_processor(processor, what), what), model, info


def _load_from_hub(load: _Load, source: str, revision: str | None, what: str) -> tuple[Any, Any, Any]:
    """Return what `load` returns, from the hub's cache if possible."""
    if cached_hub_file(source, (_CONFIG,), revision) is not None:
        with contextlib.suppress(DownloadFailed):  # some of the files are missing
            return _loaded(load, what, local_files_only=True)
    fetch = f"hf download {source}" + (f" --revision {revision}" if revision else "")
    remedy = f"run where there is a network: {fetch}, and bring its cache here, or use hf:FOLDER of a saved model"
    check_download_is_allowed(what)
    check_hub(f"the weights of {what}", remedy)
    return _loaded(load, what)


def _loaded(load: _Load, what: str, **options: Any) -> tuple[Any, Any, Any]:
    try:
        with _quiet():
            return load(**options)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        if isinstance(error, MissingData | BadWeights):
            raise
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        if "trust_remote_code" in str(error):
            reason = "it needs code of its repository, which is not run"
        raise DownloadFailed(f"transformers cannot load {what}", got=reason) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers from printing progress and warnings; what matters of these is checked here."""
    logging = vision.transformers().utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _encoder(model: nn.Module, preprocess: Preprocess, what: str) -> Encoder:
    """Return the vision part of a model."""
    body: nn.Module = getattr(model, "vision_model", model)
    projection = getattr(model, "visual_projection", None)
    if next(iter(inspect.signature(body.forward).parameters), None) != "pixel_values":
        raise BadOption(f"{what} is no vision model", expected="a model of images", got=type(model).__name__)
    if hasattr(body.config, "return_dict"):
        body.config.return_dict = True
    return Encoder(body, projection if isinstance(projection, nn.Linear) else None, preprocess).float().eval()


def _missing(encoder: Encoder, model: nn.Module, info: Any) -> set[str]:
    """Return the encoder's names of the tensors that the weights do not have, or have in another shape."""
    names = {str(name) for name in info["missing_keys"]}
    names |= {str(key[0]) if isinstance(key, tuple) else str(key) for key in info["mismatched_keys"]}
    of_model = dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers(remove_duplicate=False))
    ids = {id(of_model[name]) for name in names if name in of_model}
    own = [*encoder.named_parameters(remove_duplicate=False), *encoder.named_buffers(remove_duplicate=False)]
    return {name for name, tensor in own if id(tensor) in ids}


def _choose_output(encoder: Encoder, missing: set[str], what: str) -> None:
    """Have the encoder read the pooled output if there is one and the weights have all that it depends on."""
    if not _has_pooler(encoder) or _used(encoder) & missing:
        encoder.reads_pooler = False
    if lacking := sorted(_used(encoder) & missing):
        raise BadWeights(
            f"the weights of {what} lack tensors of the model",
            expected=", ".join(lacking[:3]) + (f" and {len(lacking) - 3} more" if len(lacking) > 3 else ""),
            got="none of this name and shape, which would be random",
        )


def _has_pooler(encoder: Encoder) -> bool:
    with torch.no_grad():
        output = encoder.run_body(random_images(1, encoder.preprocess.crop))
    return isinstance(getattr(output, "pooler_output", None), Tensor)


def _depends_on_pooler(encoder: Encoder) -> bool:
    """Return whether the pooled output depends on tensors that the tokens or the map before it do not."""
    if not encoder.reads_pooler:
        return False
    pooled = _used(encoder)
    encoder.reads_pooler = False
    hidden = _used(encoder)
    encoder.reads_pooler = True
    return bool(pooled - hidden)


def _used(encoder: Encoder) -> set[str]:
    """Return the names of the tensors that the embedding depends on."""
    encoder.requires_grad_(True)
    with torch.inference_mode(False), torch.enable_grad():  # whatever the caller is in
        used = parameters_in(encoder, graph(encoder(random_images(1, encoder.preprocess.crop)))[1])
    encoder.requires_grad_(False)
    return used | buffers_of(encoder, {name.rpartition(".")[0] for name in used})
