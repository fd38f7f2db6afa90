"""What heads read of a net's text tower: features of the classes' prompts, embedded once and then kept as a record."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

from probeline import disk
from probeline.backbones.registry import find
from probeline.backbones.resolve import weights_digests
from probeline.backbones.source import EmbedsTexts
from probeline.environment import environment
from probeline.evaluate.heads.fit_device import FitDevice
from probeline.format import plural
from probeline.identity import TEXTS_VERSION, digest
from probeline.names import JOINT
from probeline.options.prompts import class_texts, prompt_options
from probeline.results.store import SkippedFile
from probeline.results.texts import TEXTS, TextFeatures
from probeline.session import Session
from probeline.types import Backbone

WITH_TEXTS = f"an openclip net with trained weights, at --tap {JOINT}"
"""What has texts, in words."""

_CODE = re.compile(r"[\W\d_]*|n\d{8}")
"""Names of classes that say nothing: numbers, and WordNet's."""


def has_texts(backbone: Backbone) -> bool:
    """Return whether rows of a tap are in the space that the net's texts share; random weights have learned none."""
    if backbone.tap != JOINT or backbone.weights == "none":
        return False
    return isinstance(find(backbone.name)[0], EmbedsTexts)


def text_options(session: Session, backbone: Backbone) -> dict[str, Any]:
    """Return what the options of a score say of its texts: the prompts, and the weights that read them.

    Raises
    ------
    BadOption, UnknownName
        Classes that are called the same, or texts for other classes.
    """
    names = session.dataset.class_names
    prompts = prompt_options(session.settings.heads, names)
    texts = class_texts(prompts, names)
    if codes := [text for text in texts if _CODE.fullmatch(text)]:
        session.note_once(
            f"zero-shot: {plural(len(codes), 'class', 'classes')} called {codes[0]!r} or the like, which says nothing "
            "to a text tower; say what they are by --class-text CLASS=TEXT"
        )
    return {**prompts, "texts": digest([*_files(session, backbone), *texts])[:12]}


def find_or_embed(session: Session, backbone: Backbone, options: Mapping[str, Any], device: FitDevice) -> TextFeatures:
    """Return the features of the prompts in the options of a score, from their record or by the net's text tower.

    Raises
    ------
    ProbelineError
        As :meth:`probeline.backbones.source.EmbedsTexts.embed_texts`.
    """
    templates, texts = tuple(options["templates"]), class_texts(options, session.dataset.class_names)
    files = _files(session, backbone)
    key = digest({"version": TEXTS_VERSION, "files": files, "templates": templates, "texts": texts})
    found = TEXTS.find(session.reports, backbone.name, backbone.weights, key)
    if isinstance(found, TextFeatures):
        return found
    if isinstance(found, SkippedFile):
        session.console.say(f"zero-shot: embedded again, as {found.path.name} {found.reason}")
    disk.check_writable(session.reports / "texts", session.settings.folders.reports)
    source, name = find(backbone.name)
    if not isinstance(source, EmbedsTexts):
        raise TypeError(f"{backbone.name} has no text tower")
    prompts = plural(len(texts) * len(templates), "prompt")
    session.console.say(f"zero-shot: {backbone.name}: embedding {prompts} of {len(texts):,} classes")
    started = time.perf_counter()
    spec = session.spec(session.asked_as(backbone.name, backbone.weights))
    features, scale = device.run(source.embed_texts, name, spec.weights, texts, templates)
    seconds = time.perf_counter() - started
    record = TextFeatures(
        dataset=session.dataset.title,
        backbone=backbone.name,
        weights=backbone.weights,
        key=key,
        templates=templates,
        texts=texts,
        dim=features.shape[1],
        features=tuple(features.ravel().tolist()),
        scale=scale,
        seconds=seconds,
        environment=environment(device.label),
    )
    TEXTS.save(session.reports, record)
    return record


def _files(session: Session, backbone: Backbone) -> tuple[str, ...]:
    spec = session.spec(session.asked_as(backbone.name, backbone.weights))
    return weights_digests(spec.name, spec.weights, session.settings.nets.image_size, backbone.tap, session.memo)
