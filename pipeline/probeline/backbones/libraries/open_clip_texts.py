"""Text towers of open_clip: what they give for the classes of a data set."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from probeline.backbones import torchvision_import as vision
from probeline.backbones.libraries.open_clip import FOLDER, load_towers, quiet
from probeline.backbones.weights.reachable import cached_hub_file
from probeline.errors import BadOption, MissingData
from probeline.files.reading import RECORD, read_bytes
from probeline.types import FloatArray

_AT_ONCE = 64
"""Prompts of one forward pass, or the templates of one class if those are more."""

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "spiece.model")
"""Of which a tokenizer of transformers has one at least."""


def embed_texts(
    source: str, weights: str, what: str, texts: Sequence[str], templates: Sequence[str], *, device: str
) -> tuple[FloatArray, float]:
    """Return the features of the classes, float32 [K, E] of unit length, and the scale of their cosines.

    Each class's is the mean over the templates of features of unit length (Radford et al. 2021, section 3.1.4), as
    open_clip's ``build_zero_shot_classifier`` computes it.

    Raises
    ------
    BadOption
        A prompt is longer than the tower reads, or the model has no tokens for texts.
    MissingData
        The tokenizer is not on this machine.
    ProbelineError
        As :func:`probeline.backbones.libraries.open_clip.load_towers`.
    """
    package = vision.open_clip()
    tokenizer = _tokenizer(source, what)
    model = load_towers(source, weights, what).model.eval().to(device)
    prompts = [template.format(text) for text in texts for template in templates]
    _check_length(tokenizer, prompts, what)
    columns = package.build_zero_shot_classifier(
        model,
        tokenizer,
        list(texts),
        list(templates),
        num_classes_per_batch=max(1, _AT_ONCE // len(templates)),
        device=device,
    )
    features = np.ascontiguousarray(columns.T.float().cpu().numpy())
    return features, float(model.logit_scale.detach().exp())


def _tokenizer(source: str, what: str) -> Any:
    """Return the tokenizer of a model, from files that are on this machine."""
    package = vision.open_clip()
    config = package.factory.get_model_config(source) if not source.startswith(FOLDER) else _config_of(source)
    named = str((config or {}).get("text_cfg", {}).get("hf_tokenizer_name") or "")
    remedy = f"run where there is a network: hf download {named} --include 'tokenizer*' 'vocab*' '*.model', and bring "
    if named and source.startswith(FOLDER):
        folder = Path(source.removeprefix(FOLDER))
        if not any((folder / file).is_file() for file in _TOKENIZER_FILES):
            remedy = f"put the tokenizer of {named} into the folder"
            raise MissingData(f"no tokenizer for the texts of {what}", where=folder, remedy=remedy)
    elif named and not Path(named).is_dir() and cached_hub_file(named, _TOKENIZER_FILES) is None:
        raise MissingData(f"no tokenizer for the texts of {what}", where=named, remedy=f"{remedy}its cache here")
    try:
        with quiet():
            return package.get_tokenizer(source, **({"local_files_only": True} if named else {}))
    except (OSError, ValueError, ImportError) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise MissingData(f"no tokenizer for the texts of {what}", where=named or source, got=reason) from error


def _config_of(source: str) -> dict[str, Any]:
    config = json.loads(read_bytes(Path(source.removeprefix(FOLDER)) / "open_clip_config.json", RECORD))
    return dict(config.get("model_cfg") or {})


def _check_length(tokenizer: Any, prompts: Sequence[str], what: str) -> None:
    """Refuse prompts whose end would be cut off: one token more of room must change nothing."""
    length = int(tokenizer.context_length)
    for prompt in prompts:
        tokens, longer = tokenizer([prompt]), tokenizer([prompt], context_length=length + 1)
        if not bool((longer[:, :length] == tokens).all()):
            raise BadOption(
                "a prompt is longer than the text tower reads",
                where=what,
                expected=f"up to {length} tokens",
                got=repr(prompt),
                remedy="give a shorter --class-text or --template",
            )
