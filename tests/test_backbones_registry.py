"""Backbones by name: sources and their prefixes, hints for a wrong name, and the sources that other packages add."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from conftest import Install
from probeline.backbones.build import build, categories, random_net
from probeline.backbones.registry import SOURCES, check_name, find, names
from probeline.backbones.sources import timm, torchvision
from probeline.cli import program as cli
from probeline.disk import path_name
from probeline.errors import BadOption, MissingExtra, UnknownName
from probeline.names import BackboneSpec
from probeline.session import Session
from small_runs import configuration, extracted

GROUP = "probeline.backbones"

TOY = """
from probeline.backbones.source import CLASSIC, Built, no_categories
from probeline.errors import UnknownName

SPEC = "toy:NAME"
SIZES = {"small": 4, "large": 8}


def names():
    return tuple(sorted(SIZES))


def knows(name):
    return name in SIZES


def weights(name):
    return ("ones",)


def create(name, options, *, init=False):
    from torch import nn

    if name not in SIZES:
        raise UnknownName("net of toy", name, names())
    size = SIZES[name]
    stem = nn.Conv2d(3, size, 3, stride=2)
    return nn.Sequential(stem, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(size, 5))


def pretrained(name, weights):
    net = create(name, {})
    if weights not in ("DEFAULT", "ones"):
        raise UnknownName(f"weights of toy:{name}", weights, ["ones"])
    for parameter in net.parameters():
        parameter.data.fill_(1)
    return Built(net, "ones", CLASSIC, ())


def preprocess(net):
    return CLASSIC


def options(name, weights):
    return {}


def categories(name, weights):
    raise no_categories(f"toy:{name}", weights)
"""


# Names


def test_names_without_a_prefix_are_torchvisions() -> None:
    assert find("resnet18") == (torchvision, "resnet18")
    assert find("timm:vit_tiny_patch16_224") == (timm, "vit_tiny_patch16_224")
    listed = names()
    assert listed[0] == "alexnet"
    assert listed[-1] == "timm:NAME"


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("resnet19", r"^unknown backbone 'resnet19'; did you mean resnet\d+ or resnet\d+ or resnet\d+\? see probeline"),
        ("mobilnet_v2", r"did you mean mobilenet_v2 or "),
        ("torchvision:resnet18", r"did you mean resnet18\?$"),
        ("tim:resnet18", r"^unknown backbone 'tim:resnet18'"),
        ("timm:", r"^unknown backbone 'timm:'"),
        ("", r"^unknown backbone ''"),
    ],
)
def test_a_wrong_name_gets_the_nearest_few(name: str, line: str) -> None:
    with pytest.raises(UnknownName, match=line) as caught:
        check_name(name)
    assert len(str(caught.value)) < 200, "and never all of them"


@pytest.mark.parametrize("name", ["python:a\nb.py:f", "hf:a\\b", "python:\u202efile.py:f"])
def test_a_name_that_no_path_should_have_is_refused(name: str) -> None:
    with pytest.raises(BadOption, match=r"bad --backbone .*without control characters and backslashes, got '"):
        check_name(name)


def test_a_long_name_is_shortened_in_paths_and_stays_unique() -> None:
    long, other = (f"python:{'a/long/folder/' * 20}net.py:{function}" for function in ("one", "two"))
    assert path_name(long) != path_name(other)
    assert len(path_name(long).encode()) == 120
    assert path_name("timm:vit_small_patch14_dinov2.lvd142m") == "timm--vit_small_patch14_dinov2.lvd142m"


def test_a_name_of_timm_gets_its_prefix() -> None:
    pytest.importorskip("timm")
    for name in ("vit_small_patch16_224", "vit_small_patch14_dinov2.lvd142m"):
        with pytest.raises(UnknownName, match=rf"did you mean timm:{name}\?$"):
            check_name(name)


def test_a_wrong_name_of_timm_is_refused_without_importing_it() -> None:
    """In a process of its own, and within a second, where importing timm alone takes longer."""
    pytest.importorskip("timm")
    code = """
import sys
from probeline.backbones.registry import check_name
from probeline.errors import UnknownName
for name in sys.argv[1:]:
    try:
        check_name(name)
        print("accepted")
    except UnknownName as error:
        print(error)
assert not {"torch", "timm"} & set(sys.modules)
"""
    names = ["timm:vit_smal_patch14_dinov2", "timm:nosuch", "timm:resnet18.nosuch"]
    valid = ["timm:resnet18.a1_in1k", "timm:resnet18", "timm:tf_efficientnet_b0_ap"]
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code, *names, *valid], capture_output=True, text=True, check=True)
    assert time.perf_counter() - started < 5, "a busy machine may take longer than the usual third of a second"
    near, none, tag, *accepted = done.stdout.splitlines()
    assert "did you mean vit_small_patch14_dinov2 or" in near
    assert none == "unknown timm net 'nosuch'; see timm.list_models()"
    assert "unknown set of weights of timm:resnet18 'nosuch' (expected one of: timm:resnet18.a1_in1k, " in tag
    assert accepted == ["accepted"] * 3


def test_a_tag_that_timm_makes_up_at_import_is_refused_with_those_that_exist() -> None:
    pytest.importorskip("timm")
    with pytest.raises(UnknownName, match=r"'nosuch'.*one of: timm:vit_base_patch32_clip_quickgelu_224\."):
        build("timm:vit_base_patch32_clip_quickgelu_224.nosuch", "none")


def test_every_source_is_what_the_seam_asks_for() -> None:
    assert SOURCES.own() == ("hf", "hub", "module", "openclip", "python", "timm", "torchvision")
    for source in map(SOURCES.load, SOURCES.own()):
        assert all(hasattr(source, need) for need in SOURCES.needs)
        assert list(inspect.signature(source.create).parameters.values())[-1].name == "init"


# Sources that other packages add


def test_nets_of_another_package_are_extracted(install: Install, tmp_path: Path) -> None:
    install("toy_nets", GROUP, "toy = toy_nets", TOY)
    assert names()[-3:] == ("timm:NAME", "toy:large", "toy:small")
    nets = ("toy:small", "toy:large@none")
    session = extracted(tmp_path / "cache", backbones=nets, weights="DEFAULT")
    records = [session.backbone(net)[0] for net in nets]
    assert [(record.name, record.weights, record.dim) for record in records] == [
        ("toy:small", "ones", 4),
        ("toy:large", "none", 8),
    ]
    for record in records:
        assert session.features(record, "all").features.shape == (60, record.dim)
    with pytest.raises(UnknownName, match=r"unknown net of toy 'huge'.*one of: large, small"):
        build("toy:huge", "none")
    with pytest.raises(UnknownName, match=r"unknown weights of toy:small 'twos'"):
        build("toy:small", "twos")
    with pytest.raises(BadOption, match="no ImageNet categories: toy:small"):
        categories("toy:small", "ones")


def test_a_net_of_another_package_is_not_remembered(install: Install, tmp_path: Path) -> None:
    """Its code may change, and nobody here would know."""
    install("toy_changing", GROUP, "changing = toy_changing", TOY)
    settings = configuration(tmp_path / "cache", backbones=("changing:small",))
    assert [Session(settings).backbone("changing:small")[1] is None for _ in range(2)] == [False, False]


def test_a_source_that_does_not_load_is_named(install: Install) -> None:
    install("toy_broken", GROUP, "brittle = toy_broken", "SPEC = 'brittle:NAME'")
    with pytest.raises(
        MissingExtra, match=r"'brittle' cannot be loaded: toy_broken of toy_broken \(got one without na"
    ):
        build("brittle:net", "none")
    assert "brittle" in names()
    assert build("squeezenet1_1", "none").weights == "none"


# NAME@WEIGHTS


@pytest.mark.parametrize(
    ("text", "name", "weights"),
    [
        ("resnet18", "resnet18", "DEFAULT"),
        ("resnet18@none", "resnet18", "none"),
        ("timm:vit.tag@my@file.pth", "timm:vit.tag", "my@file.pth"),
    ],
)
def test_a_spec_is_a_name_and_weights(text: str, name: str, weights: str) -> None:
    assert BackboneSpec.parse(text, "DEFAULT") == BackboneSpec(name, weights)


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread", "undrawn")
def test_one_net_with_different_weights_in_one_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own, default = tmp_path / "own.pth", tmp_path / "default.pth"
    for seed, path in enumerate((own, default)):
        torch.save(random_net("squeezenet1_1", seed + 1).state_dict(), path)
    nets = ["squeezenet1_1@none", f"squeezenet1_1@{own}", "squeezenet1_1"]
    options = ["--limit=60", "--image-size=32", f"--cache={tmp_path / 'cache'}"]
    fitting = [f"--reports={tmp_path / 'reports'}", "--sgd", "lr=1e-3", "epochs=1"]
    given = ["--backbone", *nets, f"--weights={default}", *options]
    for verb in ("extract", "probe", "compare"):
        assert cli.main([verb, *given, *([] if verb == "extract" else fitting)]) == 0
    assert len(list((tmp_path / "cache").glob("*/*/*/entry.json"))) == 3
    folder = tmp_path / "reports" / "digits-limit60"
    rows = json.loads((folder / "report.json").read_text(encoding="utf-8"))["rows"]
    assert {row["weights"] for row in rows if row["method"] == "probe"} == {"none", "own.pth", "default.pth"}
    assert len({row["val_top1"] for row in rows if row["method"] == "probe"}) > 1, "and their numbers differ"
    not_run = (folder / "report.md").read_text(encoding="utf-8").partition("## Not run")[2]
    assert "probeline probe" not in not_run, "each is known as scored"
    capsys.readouterr()
    assert cli.main(["extract", *given]) == 0
    assert "extracted" not in capsys.readouterr().out
