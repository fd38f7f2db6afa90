"""The parser of the command line, from the tables of verbs and options."""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Container, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from probeline import __version__
from probeline.console import print_text
from probeline.errors import BadOption, ProbelineError, UnknownName, nearest
from probeline.files.paths import path_of
from probeline.options.settings import GROUP_OF, GROUPS, OPTIONS
from probeline.options.table import Option
from probeline.options.verbs import VERBS, Verb

WIDTH = 100
"""Columns of a help text; each fits two screens of 50 lines."""

_BRIEF = ("run", "compare")
"""The verbs whose help only names rare options: they have those of all others."""

_EVERYWHERE = ("-h", "--help", "--version")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise ProbelineError(message, remedy=f"see {self.prog} --help")

    def _print_message(self, message: str, file: Any = None) -> None:
        print_text(message.rstrip("\n"), file)


class _Formatter(argparse.HelpFormatter):
    def _format_args(self, action: argparse.Action, default_metavar: str) -> str:
        return f"{action.metavar} ..." if action.nargs == "+" else super()._format_args(action, default_metavar)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(super(_Formatter, self)._fill_text(line, width, indent) for line in text.split("\n"))


_formatter = partial(_Formatter, max_help_position=32, width=WIDTH)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the verb and the options of a command line, by default the process's own; None for missing options."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    first = words[0] if words else ""
    if first.startswith("-") and first not in _EVERYWHERE:
        raise BadOption(
            f"{first} stands before the verb", expected="probeline VERB OPTIONS", remedy="see probeline --help"
        )
    if not first:
        raise BadOption("no verb", expected=f"one of: {', '.join(VERBS)}", remedy="see probeline --help")
    if not first.startswith("-") and first not in VERBS:
        raise UnknownName("verb", first, VERBS, remedy="see probeline --help")
    parsed, rest = build_parser([first]).parse_known_args(words)
    for word in rest:
        _refuse(VERBS[parsed.verb], word)
    return parsed


def _refuse(verb: Verb, word: str) -> None:
    flag = word.partition("=")[0]
    remedy = f"see probeline {verb.name} --help"
    if not flag.startswith("-"):
        raise BadOption(f"probeline {verb.name} does not know what to do with {word!r}", remedy=remedy)
    owners = {name for name, option in OPTIONS.items() if flag in (option.flag, option.short)}
    if users := [other.name for other in VERBS.values() if owners.intersection(other.options)]:
        raise BadOption(
            f"probeline {verb.name} does not use {flag}", expected=f"it with {', '.join(users)}", remedy=remedy
        )
    close = nearest(flag, [OPTIONS[name].flag for name in verb.options])
    meant = f"did you mean {' or '.join(close)}? or " if close else ""
    raise BadOption(f"no option {flag} of probeline {verb.name}", remedy=meant + remedy)


def build_parser(with_options: Container[str] = VERBS) -> argparse.ArgumentParser:
    """Return the parser of all verbs, those `with_options` with their own in groups: to add all takes a while."""
    parser = _Parser(
        prog="probeline",
        description="Cache frozen-backbone features once, then compare linear probes, baselines and fine-tuning.",
        epilog="To begin: probeline run --dataset folder:PATH --backbone resnet50 mobilenet_v2, with one folder of "
        "images per class in PATH. The options of a verb: probeline VERB --help.",
        formatter_class=_formatter,
    )
    parser.add_argument("--version", action="version", version=f"probeline {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", parser_class=_Parser)
    for verb in VERBS.values():
        description = verb.purpose[0].upper() + verb.purpose[1:] + "."
        words = f" {verb.words}{' ...' if verb.needs_words else ''}" if verb.words else ""
        child = verbs.add_parser(
            verb.name,
            usage=f"probeline {verb.name}{words} [options]",
            help=verb.purpose,
            description=description,
            allow_abbrev=False,
            formatter_class=_formatter,
        )
        if verb.name in with_options:
            _add_options(child, verb)
    return parser


def _add_options(parser: argparse.ArgumentParser, verb: Verb) -> None:
    if verb.words:
        # metavar is its name in messages; argparse wants none of its own brackets around it.
        parser.add_argument("words", nargs="+" if verb.needs_words else "*", metavar=verb.words, help=argparse.SUPPRESS)
    for group, declaration in GROUPS.items():
        if own := [OPTIONS[name] for name in GROUP_OF if GROUP_OF[name] == group and name in verb.options]:
            named = [option for option in own if option.rare and verb.name in _BRIEF]
            title = (declaration.__doc__ or "").strip().rstrip(".")
            section = parser.add_argument_group(title, _explained_elsewhere(named))
            for option in own:
                _add(section, option, is_hidden=option in named)


def _explained_elsewhere(named: Sequence[Option]) -> str | None:
    """Return which options are explained in the help of another verb, in lines that say so each."""
    if not named:
        return None
    verb = next(verb for verb in VERBS.values() if verb.name not in _BRIEF and named[0].name in verb.options)
    where = f": see probeline {verb.name} --help"
    flags = ", ".join(option.flag for option in named)
    lines = textwrap.wrap(flags, WIDTH - len(where) - _INDENT, break_on_hyphens=False)
    return "\n".join(line.rstrip(",") + where for line in lines)


_INDENT = 4
"""Of the description of a group, at most."""


def _add(section: argparse._ArgumentGroup, option: Option, *, is_hidden: bool = False) -> None:
    text = argparse.SUPPRESS if is_hidden else option.help.replace("%", "%%")
    if option.shown_default and not is_hidden:
        text += f" (default {option.shown_default})"
    flags = filter(None, (option.short, option.flag))
    if option.kind is bool:
        section.add_argument(*flags, dest=option.name, action="store_true", default=None, help=text)
        return
    several: dict[str, Any] = {"nargs": "+", "action": "extend"} if option.is_list else {}
    kind = _path if option.kind is Path else option.kind
    section.add_argument(
        *flags, dest=option.name, type=kind, metavar=option.metavar, default=None, help=text, **several
    )


def _path(text: str) -> Path:
    try:
        return path_of(text)
    except BadOption as error:
        raise argparse.ArgumentTypeError(str(error)) from error
