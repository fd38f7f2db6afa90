"""Completion scripts offer the verbs, the options of each and their values, and nothing else."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from probeline.cli import program as cli
from probeline.cli.completion import SHELLS, completion_script
from probeline.names import Strategy
from probeline.options.settings import OPTIONS
from probeline.options.verbs import VERBS

needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="no bash on this system")


def complete(*words: str) -> list[str]:
    """Return what bash offers for the last of the words of a command line."""
    quoted = " ".join(f"'{word}'" for word in words)
    script = (
        completion_script("bash")
        + f"COMP_WORDS=({quoted}); COMP_CWORD={len(words) - 1}; _probeline; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.split()


@needs_bash
def test_bash_offers_every_verb() -> None:
    assert set(complete("probeline", "")) == {*VERBS, "--help", "--version"}
    assert complete("probeline", "ex") == ["extract", "explain", "export"]


@needs_bash
@pytest.mark.parametrize("verb", VERBS)
def test_bash_offers_the_options_of_a_verb(verb: str) -> None:
    flags = {OPTIONS[name].flag for name in VERBS[verb].options}
    assert set(complete("probeline", verb, "--")) == {*flags, "--help"}


@needs_bash
@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["extract", "--dataset", "d"], ["digits"]),
        (["extract", "--dataset", "t"], ["table:", "torchvision:"]),
        (["extract", "--precision", "b"], ["bf16"]),
        (["finetune", "--strategy", "full", "last"], ["last-K"]),
        (["finetune", "--strategy", ""], list(Strategy)),
        (["run", "--recipe", "chap"], ["chapter12"]),
        (["extract", "--backbone", "resnet18", "resnet15"], ["resnet152"]),
        (["pictures", "--map", ""], ["pca", "tsne"]),
        (["cache", "e"], ["export"]),
        (["list", ""], ["datasets", "backbones", "recipes", "--json", "--help"]),
        (["extract", "--cache", ""], []),
        (["extract", "--limit", ""], []),
    ],
)
def test_bash_offers_values(words: list[str], offered: list[str]) -> None:
    assert complete("probeline", *words) == offered


@pytest.mark.parametrize("shell", SHELLS)
def test_scripts_are_printed(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", shell]) == 0
    assert capsys.readouterr().out.rstrip("\n") == completion_script(shell).rstrip("\n")
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=completion_script(shell), text=True, check=True)


@pytest.mark.skipif(shutil.which("zsh") is None, reason="no zsh on this system")
@pytest.mark.parametrize("before", ["", "autoload -U compinit; compinit -u -D"])
def test_zsh_has_a_completer_of_probeline(before: str) -> None:
    script = f"{before}\n{completion_script('zsh')}\nprint $_comps[probeline]"
    shell = subprocess.run(["zsh", "-f"], input=script, capture_output=True, text=True, check=True)
    assert (shell.stderr, "_probeline" in shell.stdout) == ("", True)


def test_fish_has_every_option_of_every_verb() -> None:
    lines = completion_script("fish").splitlines()
    for verb in VERBS.values():
        own = [line for line in lines if f"__fish_seen_subcommand_from {verb.name}'" in line]
        flags = {flag for line in own for flag in re.findall(r" -l ([\w-]+)", line)}
        assert flags == {OPTIONS[name].flag.removeprefix("--") for name in verb.options}


def test_an_unknown_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["completion", "bsh"]) == 2
    assert "unknown shell 'bsh' (expected one of: bash, zsh, fish); did you mean bash" in capsys.readouterr().err
