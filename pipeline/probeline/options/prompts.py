"""The prompts of zero-shot classification: sentences with the class's name in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import Formatter
from typing import Any

from probeline.errors import BadOption
from probeline.names import JOINT
from probeline.options.class_weights import name_classes
from probeline.options.groups.fitting import HeadOptions

TEMPLATES = (
    "itap of a {}.",
    "a bad photo of the {}.",
    "a origami {}.",
    "a photo of the large {}.",
    "a {} in a video game.",
    "art of the {}.",
    "a photo of the small {}.",
)
"""Those that CLIP's authors found best on ImageNet by forward selection among 80, in their order.

https://github.com/openai/CLIP/blob/main/notebooks/Prompt_Engineering_for_ImageNet.ipynb
"""


def check_prompts(heads: HeadOptions, backbones: Sequence[str], taps: Sequence[str]) -> None:
    """Refuse zero-shot of other nets and taps alone, templates without a place for the class, words that are no texts.

    Raises
    ------
    BadOption
    """
    if heads.zero_shot and not any(name.startswith("openclip:") for name in backbones):
        got = " ".join(("--backbone", *backbones))
        raise BadOption("--zero-shot needs a net with a text tower", expected="--backbone openclip:NAME", got=got)
    if heads.zero_shot and JOINT not in taps:
        expected, got = f"--tap {JOINT}, alone or with others", " ".join(("--tap", *taps))
        raise BadOption("--zero-shot without the space that images and texts share", expected=expected, got=got)
    for flag, words in (("--template", heads.templates), ("--class-text", heads.class_texts)):
        if words and not heads.zero_shot:
            raise BadOption(f"{flag} without --zero-shot", expected=f"--zero-shot --tap {JOINT} {flag} ...")
    for template in heads.templates:
        if not _is_template(template):
            expected = "text with one {}, where the class is, such as 'a photo of a {}.'"
            raise BadOption("bad --template", expected=expected, got=template)
    _parse_class_texts(heads.class_texts)


def _is_template(text: str) -> bool:
    try:
        fields = [field for _, *field in Formatter().parse(text) if field[0] is not None]
    except ValueError:
        return False
    return fields == [["", "", None]]


def _parse_class_texts(words: Sequence[str]) -> dict[str, str]:
    """Return the text of each class in words such as ``n02084071=dog``."""
    texts: dict[str, str] = {}
    for word in words:
        name, _, text = word.partition("=")
        if not name or not text.strip() or name in texts:
            got = f"{name} twice" if name in texts else word
            raise BadOption("bad --class-text", expected="CLASS=TEXT, each class once", got=got)
        texts[name] = " ".join(text.split())
    return texts


def prompt_options(heads: HeadOptions, class_names: Sequence[str]) -> dict[str, Any]:
    """Return what the options of a score say of its prompts; classes called as they are by default are left out.

    Raises
    ------
    UnknownName
        A text for a class that the data set does not have.
    """
    given = name_classes(_parse_class_texts(heads.class_texts), "--class-text", class_names)
    own = {name: text for name, text in given.items() if text != _default_text(name)}
    in_order = {name: own[name] for name in class_names if name in own}
    return {"templates": list(heads.templates or TEMPLATES), **({"class_texts": in_order} if in_order else {})}


def prompt_words(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of the command line that request the prompts in the options of a score."""
    templates = tuple(options.get("templates", TEMPLATES))
    texts = tuple(f"{name}={text}" for name, text in options.get("class_texts", {}).items())
    return {"zero_shot": True, "templates": () if templates == TEMPLATES else templates, "class_texts": texts}


def class_texts(options: Mapping[str, Any], class_names: Sequence[str]) -> tuple[str, ...]:
    """Return what each class is called in the prompts, by the options of a score.

    Raises
    ------
    BadOption
        Two classes are called the same, or one has no text.
    """
    own = options.get("class_texts", {})
    texts = tuple(own.get(name, _default_text(name)) for name in class_names)
    by_text: dict[str, str] = {}
    for name, text in zip(class_names, texts, strict=True):
        read = text.lower()  # tokenizers of CLIP know no capitals
        if not text or read in by_text:
            got = f"{by_text[read]} and {name} are both {read!r}" if text else f"none of {name!r}"
            remedy = "say how each is called by --class-text CLASS=TEXT"
            raise BadOption("zero-shot needs a text for each class", expected="different ones", got=got, remedy=remedy)
        by_text[read] = name
    return texts


def _default_text(name: str) -> str:
    return " ".join(name.replace("_", " ").split())
