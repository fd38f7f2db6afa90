"""Settings and their command line are equivalent."""

from __future__ import annotations

import shlex
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from probeline.cli import program as cli
from probeline.cli.parser import parse
from probeline.cli.steps import check_used, given_options, settings_of, steps_of
from probeline.console import Silence
from probeline.names import PRECISIONS, Strategy
from probeline.options.command_line import command_line
from probeline.options.settings import OPTIONS, Settings
from probeline.options.table import Option
from probeline.options.verbs import STAGES, VERBS

NAMES = st.text(string.ascii_letters + string.digits + "_.:/", min_size=1, max_size=12)
TAPS = st.sampled_from(["penultimate", "last-4", "layer3", "blocks.11:cls", "features.12+penultimate"])
NAMED = [strategy.replace("-K", "-2") for strategy in Strategy]
PATHS = (
    st.text(string.ascii_letters + " -_.~'\"$`\\é√*?[]{}()<>|&;#!=,@%", min_size=1, max_size=12)
    .filter(str.strip)
    .map(Path)
)
NUMBERS = st.integers(1, 2**31 - 1)

CONFIGS = st.builds(
    Settings.of,
    dataset=st.sampled_from(["digits", "cifar10", "hymenoptera"]) | PATHS.map(lambda path: f"folder:{path}"),
    backbones=st.lists(NAMES, min_size=1, max_size=3, unique=True).map(tuple),
    taps=st.lists(TAPS, min_size=1, max_size=3, unique=True).map(tuple),
    views=st.integers(0, 1000),
    weights=NAMES | PATHS.map(str).filter(lambda text: text != "--"),
    data=PATHS,
    cache=PATHS,
    reports=PATHS,
    device=st.sampled_from(["auto", "cpu", "cuda", "cuda:1", "mps"]),
    precision=st.sampled_from(PRECISIONS),
    image_size=st.none() | st.integers(1, 4096),
    limit=st.none() | NUMBERS,
    seed=st.integers(0, 2**31 - 1),
    seeds=NUMBERS,
    data_seed=st.integers(0, 2**31 - 1),
    batch_size=st.none() | NUMBERS,
    workers=st.none() | st.integers(1, 1024),
    epochs=NUMBERS,
    lr=st.floats(1e-12, 100.0),
    strategies=st.lists(st.sampled_from(NAMED), min_size=1, unique=True).map(tuple),
    teacher=NAMES,
    second=st.just(("warm=red", "cool=blue,light green")) | PATHS.map(lambda path: (f"{path}.csv",)),
    freeze_batchnorm=st.booleans(),
    labels=st.none() | PATHS,
    groups=st.none() | PATHS,
    fractions=st.lists(st.floats(1e-6, 100.0), min_size=1, max_size=3, unique=True).map(tuple),
    shots=st.just((0,)) | st.lists(NUMBERS, min_size=1, max_size=3, unique=True).map(tuple),
    draws=st.integers(1, 1000),
)


def read_arguments(*arguments: str) -> tuple[Settings, tuple[str, ...]]:
    """Return the settings and the verbs of a command line without a recipe."""
    namespace = parse(arguments)
    settings, steps = settings_of(namespace)
    assert steps == ()
    runs = steps_of(namespace.verb, settings, steps)
    check_used(namespace.verb, given_options(namespace), runs)
    ((step, verbs),) = runs
    assert step is settings
    return settings, verbs


@pytest.fixture(autouse=True)
def no_data_folder_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROBELINE_DATA", raising=False)


@hypothesis_settings(max_examples=40, deadline=None)
@given(settings=CONFIGS, verb=st.sampled_from(sorted(STAGES)))
def test_a_command_line_gives_all_settings(settings: Settings, verb: str) -> None:
    program, *arguments = shlex.split(command_line(settings, verb))
    assert program == "probeline"
    unused = {name: option.default for name, option in OPTIONS.items() if name not in VERBS[verb].options}
    assert read_arguments(*arguments) == (settings.changed(**unused), (verb,))


def test_options_that_a_verb_does_not_use_are_left_out() -> None:
    settings = Settings.of(mlp=("width=512",), epochs=3, strategies=("last-1",), limit=5)
    assert command_line(settings, "doctor") == "probeline doctor --dataset digits --limit 5"
    assert command_line(settings, "finetune") == (
        "probeline finetune --dataset digits --limit 5 --strategy last-1 --epochs 3"
    )
    assert "--mlp width=512" in command_line(settings, "probe")


def test_the_defaults_of_the_command_line_are_those_of_the_configuration() -> None:
    assert read_arguments("extract") == (Settings(), ("extract",))
    assert command_line(Settings(), "extract") == "probeline extract --dataset digits"


def test_changes_come_first() -> None:
    settings = Settings.of(backbones=("a", "b"), limit=5)
    changed = command_line(settings, "probe", backbones=("b",), limit=None, dataset="cifar10")
    assert changed == "probeline probe --dataset cifar10 --backbone b"


@pytest.mark.parametrize("folder", ["/elsewhere", ""])
def test_the_environment_names_the_data_folder(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROBELINE_DATA", folder)
    expected = Path(folder or "data")
    assert Settings().data.data == expected
    assert read_arguments("extract")[0].data.data == expected
    for data in (Path("data"), Path("/elsewhere"), Path("third")):
        settings = Settings.of(data=data)
        assert read_arguments(*shlex.split(command_line(settings, "extract"))[1:])[0] == settings


def test_options_may_be_repeated() -> None:
    settings, _ = read_arguments("extract", "--backbone", "a", "b", "--dataset", "digits", "--backbone", "c", "a")
    assert settings.nets.backbones == ("a", "b", "c")


def test_every_field_is_an_option_and_every_option_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        cli.main(["extract", "--help"])
    help_of = capsys.readouterr().out
    for name in VERBS["extract"].options:
        assert OPTIONS[name].flag in help_of
        assert OPTIONS[name].help.split()[0] in help_of


def test_two_dashes_are_no_value(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["extract", "--reports=--"]) == 2
    assert "no value of --reports (got --)" in capsys.readouterr().err
    assert "--reports ./--" in command_line(Settings.of(reports=Path("--")), "extract")


TEXTS = [option for option in OPTIONS.values() if option.kind in (str, Path) and option.name != "weights"]
"""Those that are refused before anything is loaded: names of weights are known with their net."""


@pytest.mark.parametrize("value", ["", " ", "\t"])
@pytest.mark.parametrize("option", TEXTS, ids=lambda option: option.name)
def test_an_empty_value_is_refused_in_one_line(option: Option, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    verb = next(name for name, verb in VERBS.items() if option.name in verb.options)
    words = ["word"] if VERBS[verb].words else []
    assert cli.main([verb, *words, option.flag, value]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert option.flag in said or said.startswith("probeline: unknown ")


@pytest.mark.parametrize("value", ["", " "])
@pytest.mark.parametrize(
    "words", [["predict", "{}", "--imagenet"], ["predict", "photo.jpg", "{}"], ["cache", "rm", "{}"]]
)
def test_an_empty_word_is_not_the_current_folder(
    words: list[str], value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([word.format(value) for word in words]) == 2
    assert capsys.readouterr().err == (
        "probeline: an empty word after the verb (expected a name; . is the current folder)\n"
    )


def test_silence_is_a_console() -> None:
    console = Silence()
    console.say("nothing")
    with console.bar("title", 3, "img") as bar:
        bar.update(3)
