"""Completion scripts for shells, from the tables of verbs and options."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping

from probeline import recipes
from probeline.backbones.registry import names as backbone_names
from probeline.commands.list import KINDS
from probeline.data.registry import names as dataset_names
from probeline.errors import UnknownName
from probeline.names import Strategy
from probeline.options.settings import DEVICES, OPTIONS
from probeline.options.table import Option
from probeline.options.verbs import VERBS

SHELLS = ("bash", "zsh", "fish")

_WORDS = {"cache": ("ls", "rm", "gc", "export", "import"), "list": KINDS, "completion": SHELLS}
"""What may follow a verb, of those whose words are few."""

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
    """Return the completion script of a shell.

    Raises
    ------
    UnknownName
    """
    if shell not in SHELLS:
        raise UnknownName("shell", shell, SHELLS)
    if shell == "fish":
        return "\n".join(_fish()) + "\n"
    values = [
        f"            {OPTIONS[name].flag}) words={shlex.quote(' '.join(some))} ;;" for name, some in _values().items()
    ]
    options = [
        f"            {verb.name}) words={shlex.quote(' '.join([*_WORDS.get(verb.name, ()), *flags, '--help']))} ;;"
        for verb in VERBS.values()
        for flags in [[flag for name in verb.options for flag in _flags(OPTIONS[name])]]
    ]
    script = _BASH.replace("@VERBS@", " ".join(VERBS)).replace("@VALUES@", "\n".join(values))
    script = script.replace("@OPTIONS@", "\n".join(options))
    return f"autoload -U +X bashcompinit && bashcompinit\n{script}" if shell == "zsh" else script


def _values() -> Mapping[str, tuple[str, ...]]:
    """Return the values to offer, by the name of the option."""
    strategies = tuple(Strategy)
    return {
        **{name: option.choices for name, option in OPTIONS.items() if option.choices},
        "dataset": tuple(prefix + colon for prefix, colon, _ in (name.partition(":") for name in dataset_names())),
        "backbones": backbone_names(),
        "device": DEVICES,
        "strategies": strategies,
        "curve_strategies": strategies,
        "recipe": tuple(recipes.names()),
    }


def _flags(option: Option) -> tuple[str, ...]:
    return tuple(filter(None, (option.flag, option.short)))


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
