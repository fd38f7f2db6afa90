"""Completion scripts for shells, from the tables of verbs and options."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence

from probeline import recipes
from probeline.backbones.registry import names as backbone_names
from probeline.commands.list import KINDS
from probeline.data.registry import names as dataset_names
from probeline.errors import UnknownName
from probeline.names import Strategy
from probeline.options.groups.running import DEVICES
from probeline.options.settings import OPTIONS
from probeline.options.verbs import VERBS

SHELLS = ("bash", "zsh", "fish")

_WORDS = {"cache": ("ls", "rm", "gc", "export", "import", "upgrade"), "list": KINDS, "completion": SHELLS}
"""The words that may follow a verb, where they are few."""

_ZSH = """\
(( $+functions[compdef] )) || { autoload -U compinit && compinit; }
autoload -U +X bashcompinit && bashcompinit
"""

_BASH = """\
_probeline() {
    local cur=${COMP_WORDS[COMP_CWORD]} i=COMP_CWORD-1 words=
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W "@VERBS@ --help --version" -- "$cur"))
        return
    fi
    if [[ $cur != -* ]]; then
        # The option that the word belongs to: the last one before it.
        while ((i > 1)) && [[ ${COMP_WORDS[i]} != -* ]]; do ((i--)); done
        case ${COMP_WORDS[i]} in
@VALUES@
            -*) return ;;
        esac
    fi
    if [ -z "$words" ]; then
        case ${COMP_WORDS[1]} in
@OPTIONS@
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -o default -F _probeline probeline
"""


def completion_script(shell: str) -> str:
    """Return the completion script of a shell."""
    if shell not in SHELLS:
        raise UnknownName("shell", shell, SHELLS)
    if shell == "fish":
        return "\n".join(_fish()) + "\n"
    values = [_case(OPTIONS[name].flag, choices) for name, choices in _values().items()]
    options = []
    for verb in VERBS.values():
        flags = [flag for name in verb.options for flag in (OPTIONS[name].flag, OPTIONS[name].short) if flag]
        options.append(_case(verb.name, (*_WORDS.get(verb.name, ()), *flags, "--help")))
    script = _BASH.replace("@VERBS@", " ".join(VERBS)).replace("@VALUES@", "\n".join(values))
    script = script.replace("@OPTIONS@", "\n".join(options))
    return _ZSH + script if shell == "zsh" else script


def _values() -> Mapping[str, tuple[str, ...]]:
    """Return the values to offer, by the name of the option."""
    return {
        **{name: option.choices for name, option in OPTIONS.items() if option.choices},
        "dataset": tuple(prefix + colon for prefix, colon, _ in (name.partition(":") for name in dataset_names())),
        "backbones": backbone_names(),
        "device": DEVICES,
        "strategies": tuple(Strategy),
        "curve_strategies": tuple(Strategy),
        "recipe": tuple(recipes.names()),
    }


def _case(pattern: str, words: Sequence[str]) -> str:
    return f"            {pattern}) words={shlex.quote(' '.join(words))} ;;"


def _fish() -> Iterator[str]:
    values = _values()
    yield "complete -c probeline -f"
    for verb in VERBS.values():
        yield f"complete -c probeline -n __fish_use_subcommand -a {verb.name} -d {shlex.quote(verb.purpose)}"
        here = f"complete -c probeline -n '__fish_seen_subcommand_from {verb.name}'"
        if verb.name in _WORDS:
            yield f"{here} -a {shlex.quote(' '.join(_WORDS[verb.name]))}"
        for option in (OPTIONS[name] for name in verb.options):
            words = [here, f"-l {option.flag.removeprefix('--')}", f"-d {shlex.quote(option.help)}"]
            words += [f"-s {option.short.removeprefix('-')}"] if option.short else []
            if option.name in values:
                words.append(f"-x -a {shlex.quote(' '.join(values[option.name]))}")
            elif option.kind is not bool:
                words.append("-r -F")
            yield " ".join(words)
