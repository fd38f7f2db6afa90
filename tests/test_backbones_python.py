"""Nets of the user's own code: functions of files and modules, and nets that a Python program registers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from made_nets import SMALL_NET, STATED, small_net, write_code
from probeline.backbones.build import bare_net, build
from probeline.backbones.registry import check_name, names
from probeline.backbones.resolve import load
from probeline.backbones.source import CLASSIC
from probeline.backbones.sources.module import register
from probeline.cli import program as cli
from probeline.errors import BadOption, MissingData, ProbelineError, UnknownName
from probeline.files.memo import Memo
from probeline.images import Preprocess
from probeline.session import Session
from small_runs import Listening, configuration, extracted

RECORD = Preprocess(32, 28, "bicubic", (0.5, 0.4, 0.3), (0.2, 0.25, 0.3))

Run = Callable[..., int]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a verb in a folder with net.py."""
    write_code(tmp_path)
    monkeypatch.chdir(tmp_path)
    return lambda verb, net, *more: cli.main([verb, "--dataset=digits", "--limit=60", "--backbone", net, *more])


# A function of a file or a module


def test_a_function_gives_a_net_with_its_preprocessing(run: Run, tmp_path: Path) -> None:
    assert run("extract", "python:net.py:small") == 0
    assert run("extract", "python:net:small") == 0, "the same file, as a module of this folder"
    assert sorted(path.name for path in (tmp_path / "cache" / "digits-limit60").iterdir()) == [
        "python--net--small-penultimate",
        "python--net.py--small-penultimate",
    ]
    built = build("python:net.py:small", "DEFAULT")
    assert (built.preprocess, built.weights, built.files) == (RECORD, "DEFAULT", ())


@pytest.mark.parametrize("owner", ["function", "net", "module", "nobody"])
def test_the_preprocessing_is_stated_by_the_function_the_net_or_the_module(owner: str, tmp_path: Path) -> None:
    code = SMALL_NET.partition("preprocess = ")[0]
    stated = {
        "function": f"small.preprocess = {STATED}",
        "net": f"def net():\n    made = small()\n    made.preprocess = {STATED}\n    return made",
        "module": f"preprocess = {STATED}",
        "nobody": "",
    }
    path = write_code(tmp_path, code + stated[owner])
    name = f"python:{path}:{'net' if owner == 'net' else 'small'}"
    loaded, _ = load(name, "DEFAULT", None)
    if owner == "nobody":
        assert loaded.backbone.preprocess == CLASSIC
        assert "no preprocessing is stated" in loaded.backbone.notes[0]
    else:
        assert (loaded.backbone.preprocess, loaded.backbone.notes) == (RECORD, ())


def test_an_assumed_preprocessing_is_said_once(tmp_path: Path) -> None:
    path = write_code(tmp_path, SMALL_NET.partition("preprocess = ")[0])
    console = Listening()
    net = f"python:{path}:small"
    session = Session(configuration(tmp_path / "cache", backbones=(net,), weights="DEFAULT", console=console))
    for _ in range(2):
        session.backbone(net)
    assert [line for line in console.said if "no preprocessing is stated" in line] == console.said
    assert len(console.said) == 1


def test_the_same_code_gives_the_same_net_and_changes_no_random_state(tmp_path: Path) -> None:
    code = SMALL_NET + "\nimport random\nimport numpy as np\n\n\ndef drawn():\n    net = small()\n"
    code += "    net[0].bias.data += random.random() + float(np.random.rand())\n    return net\n"
    name = f"python:{write_code(tmp_path, code)}:drawn"
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    np_state = np.random.get_state()[1].copy()  # noqa: NPY002
    first, second = (load(name, "DEFAULT", None)[0].backbone for _ in range(2))
    assert first.weights_sha256 == second.weights_sha256
    assert torch.equal(torch.rand(1), expected)
    assert (np.random.get_state()[1] == np_state).all()  # noqa: NPY002


def test_the_key_is_the_same_where_gradients_are_off(tmp_path: Path) -> None:
    name = f"python:{write_code(tmp_path)}:small"
    here = load(name, "DEFAULT", None)[0].backbone
    with torch.no_grad():
        assert load(name, "DEFAULT", None)[0].backbone == here
    with torch.inference_mode():
        assert load(name, "DEFAULT", None)[0].backbone == here


def test_weights_from_a_file_and_random_ones(tmp_path: Path) -> None:
    name = f"python:{write_code(tmp_path)}:small"
    state = {key: tensor + 1 for key, tensor in build(name, "DEFAULT").net.state_dict().items()}
    torch.save(state, tmp_path / "own.pth")
    built = build(name, str(tmp_path / "own.pth"))
    assert (built.weights, built.preprocess) == ("own.pth", RECORD)
    assert all(torch.equal(tensor, state[key]) for key, tensor in built.net.state_dict().items())
    assert build(name, "none").preprocess == RECORD, "its own, as for every net of such a source"
    trained = SMALL_NET + "\n\ndef trained():\n    net = small()\n    net[0].weight.data.fill_(1)\n    return net\n"
    with pytest.raises(BadOption, match=r"has no random weights.*got 1 equal tensors for two seeds, such as 0.weight"):
        build(f"python:{write_code(tmp_path, trained)}:trained", "none")
    with pytest.raises(UnknownName, match=r"unknown weights of python:\S+ 'V1'.*DEFAULT, none"):
        build(name, "V1")


def test_a_file_imports_its_neighbours_and_another_folders_are_not_mixed_up(tmp_path: Path) -> None:
    for width in (4, 6):
        folder = tmp_path / str(width)
        write_code(folder, f"WIDTH = {width}", "settings_of_nets.py")
        code = "from torch import nn\n\n\ndef net():\n    from settings_of_nets import WIDTH\n"
        code += "    return nn.Sequential(nn.Conv2d(3, WIDTH, 3), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten())\n"
        write_code(folder, code + f"\n\npreprocess = {STATED}")
    assert [load(f"python:{tmp_path / str(w)}/net.py:net", "DEFAULT", None)[0].backbone.dim for w in (4, 6)] == [4, 6]


def test_a_function_that_returns_one_net_each_time_keeps_it(tmp_path: Path) -> None:
    code = SMALL_NET + "\nONE = small()\n\n\ndef one():\n    return ONE\n"
    name = f"python:{write_code(tmp_path, code)}:one"
    taps = [load(name, "DEFAULT", None)[0].backbone.pooling for _ in range(2)]
    assert taps == ["none", "none"]


@pytest.mark.parametrize(
    ("code", "function", "line"),
    [
        (
            "def net():\n    return nn.Linear(1, 2)",
            "net",
            r"calling python:\S+:net failed: \S+net.py:2 \(got NameError: ",
        ),
        (
            "import nowhere_to_be",
            "net",
            r"importing \S+net.py failed: \S+net.py:1 \(got ModuleNotFoundError: No module",
        ),
        ("x = (", "net", r"importing \S+net.py failed: \S+net.py:1 \(got SyntaxError"),
        ("def net():\n    return 3", "net", r"returns no net \(expected a torch.nn.Module, got int\)"),
        ("def net():\n    pass", "nett", r"unknown function of \S+ 'nett'.*did you mean net\?"),
        (
            "import torch\n\n\nclass Net(torch.nn.Module):\n    def forward(self, x):\n        return x.shap",
            "Net",
            r"running python:\S+:Net failed: \S+net.py:6 \(got AttributeError: ",
        ),
        (
            f"import torch\npreprocess = {STATED}\nnet = torch.nn.Identity",
            "net",
            r"gives no features.*got a map \[2, 3,",
        ),
    ],
)
def test_errors_of_the_code_are_one_line_with_its_place(code: str, function: str, line: str, tmp_path: Path) -> None:
    path = write_code(tmp_path, code)
    with pytest.raises(ProbelineError, match=line) as caught:
        load(f"python:{path}:{function}", "DEFAULT", None)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("name", "error", "line"),
    [
        ("python:net.py", BadOption, r"bad --backbone: python:net.py \(expected python:FILE.py:FUNCTION or"),
        ("python:nowhere.py:net", MissingData, "no such file: nowhere.py"),
    ],
)
def test_a_wrong_name_is_refused_before_anything_is_loaded(name: str, error: type[Exception], line: str) -> None:
    with pytest.raises(error, match=line):
        check_name(name)


def test_a_module_that_does_not_exist() -> None:
    with pytest.raises(MissingData, match=r"no such module: nowhere_to_be \(expected an installed module"):
        build("python:nowhere_to_be:net", "DEFAULT")


def test_code_that_changed_with_equal_tensors_is_noticed(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its key stays the same, so that the canary must run rows again in each run."""
    assert run("extract", "python:net.py:small") == 0
    assert run("extract", "python:net.py:small", "-v") == 0
    assert "its code may have changed; 8 rows were run again" in capsys.readouterr().out
    write_code(tmp_path, SMALL_NET.replace("nn.ReLU()", "nn.Tanh()"))
    assert run("extract", "python:net.py:small") == 3
    line = capsys.readouterr().err
    assert "the code of python:net.py:small gives other features than before, with equal tensors" in line
    assert "delete that folder" in line


def test_an_artifact_alone_has_no_code_run(tmp_path: Path) -> None:
    name = f"python:{write_code(tmp_path)}:small"
    with pytest.raises(BadOption, match=r"the net of this artifact is code.*python:"):
        bare_net(name, {})
    build(name, "DEFAULT")
    assert isinstance(bare_net(name, {}), nn.Module), "somebody named it in this process"


# The same net under two names


def test_features_are_shared_by_names_with_equal_tensors_and_equal_outputs(tmp_path: Path) -> None:
    first, same = write_code(tmp_path / "a"), write_code(tmp_path / "b")
    other = write_code(tmp_path / "c", SMALL_NET.replace("nn.ReLU()", "nn.Tanh()"))
    cache, said = tmp_path / "cache", []
    for path, options in ((first, {}), (same, {}), (other, {}), (write_code(tmp_path / "d"), {"canary": 0})):
        console = Listening()
        extracted(cache, backbones=(f"python:{path}:small",), weights="DEFAULT", console=console, **options)
        said.append(" ".join(console.said))
    assert "reused" not in said[0]
    assert "60 rows of identical images reused from another entry" in said[1]
    assert "no rows are reused: " in said[2], "equal tensors with another activation"
    assert "60 images on" in said[2]
    assert "reused" not in said[3], "without the canary nobody would notice"


# Nets that a Python program registers


def test_a_registered_net_is_a_copy_and_a_backbone_of_this_process(tmp_path: Path) -> None:
    net = small_net().train()
    text = register(net, name="mine", preprocess=RECORD)
    assert text == "module:mine"
    session = extracted(tmp_path / "cache", backbones=(text,), weights="DEFAULT", image_size=None)
    record, _ = session.backbone(text)
    assert (record.name, record.dim, record.pooling) == ("module:mine", 8, "none")
    assert session.features(record, "all").features.shape == (60, 8)
    assert net.training
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert [name for name, _ in net.named_children()] == ["0", "1", "2", "3", "4", "5"]


def test_a_name_that_is_registered_again_is_the_new_net(tmp_path: Path) -> None:
    keys = []
    for shift in (0, 1):
        net = small_net()
        net[0].weight.data += shift
        keys.append(load(register(net, name="again", preprocess=RECORD), "DEFAULT", None)[0].backbone.weights_sha256)
    assert keys[0] != keys[1]
    settings = configuration(tmp_path / "cache", backbones=("module:again",), weights="DEFAULT")
    built = [Session(settings).backbone("module:again")[1] for _ in range(2)]
    assert None not in built, "and its record is not remembered"


def test_the_preprocessing_of_a_registered_net_is_its_own_or_must_be_given() -> None:
    pytest.importorskip("timm")
    import timm

    assert build(register(timm.create_model("test_vit"), name="of_timm"), "DEFAULT").preprocess.crop == 160
    net = small_net()
    with pytest.raises(BadOption, match=r"no preprocessing of module:Sequential.*give preprocess="):
        register(net)
    net.preprocess = {**vars(RECORD), "antialias": True}
    with pytest.raises(UnknownName, match="antialias"):
        register(net)
    with pytest.raises(BadOption, match="a function, whose steps nobody can see"):
        register(net, preprocess=lambda image: image)


def test_what_cannot_be_registered() -> None:
    with pytest.raises(BadOption, match=r"no net \(expected a torch.nn.Module, got str\)"):
        register("resnet18", preprocess=RECORD)  # type: ignore[arg-type]
    with pytest.raises(BadOption, match="bad name of a net"):
        register(small_net(), name="a/b", preprocess=RECORD)
    text = register(small_net(), name="plain", preprocess=RECORD)
    with pytest.raises(BadOption, match="module:plain has no random weights"):
        build(text, "none")


def test_the_command_line_says_that_such_nets_exist_in_python_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["extract", "--backbone", "module:never"]) == 2
    line = capsys.readouterr().err
    assert line.startswith("probeline: unknown registered net 'module:never'")
    assert "such nets exist in Python only" in line
    assert not [name for name in names() if name.startswith("module")]


def test_a_memo_knows_nothing_of_own_code(tmp_path: Path) -> None:
    from probeline.backbones.resolve import resolve

    name, memo = f"python:{write_code(tmp_path)}:small", Memo(tmp_path / "memo.json")
    assert all(resolve(name, weights, None, memo)[1] is not None for weights in ("DEFAULT", "none") * 2)
