"""Checkpoints as trainers write them: what matters are the tensors below the tap, whatever is around them."""

from __future__ import annotations

import argparse
import copy
import json
import os
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from probeline.backbones.build import build, random_net
from probeline.backbones.penultimate import find_tap
from probeline.backbones.resolve import load, resolve
from probeline.backbones.weights.checkpoint import load_checkpoint
from probeline.errors import BadWeights, MissingData
from probeline.files.memo import Memo
from probeline.names import is_weights_file
from probeline.types import Backbone
from variants import slow_after

NET, SIZE, HEAD = "shufflenet_v2_x0_5", 32, "fc"

State = dict[str, Tensor]

pytestmark = pytest.mark.usefixtures("one_thread")


def state(seed: int = 0) -> State:
    return dict(random_net(NET, seed).state_dict())


def body(seed: int = 0) -> State:
    return {name: tensor for name, tensor in state(seed).items() if not name.startswith(HEAD)}


def under(prefix: str, tensors: Mapping[str, Tensor]) -> State:
    return {prefix + name: tensor for name, tensor in tensors.items()}


def head(outputs: int) -> State:
    return {"fc.weight": torch.zeros(outputs, 1024), "fc.bias": torch.zeros(outputs)}


def record_of(content: object, folder: Path, file: str = "weights.pth") -> Backbone:
    torch.save(content, folder / file)
    return load(NET, str(folder / file), SIZE)[0].backbone


@pytest.mark.parametrize(
    ("first", "second"),
    slow_after(
        3,
        [
            ("module.", ""),
            ("", "module."),
            ("_orig_mod.", ""),
            ("module._orig_mod.", "module."),
            ("backbone.", ""),
            ("model.", "model.module."),
            ("state_dict.", "state_dict.model."),
            ("model.", "net."),
        ],
    ),
)
def test_two_tensors_that_become_one_are_an_error(first: str, second: str, tmp_path: Path) -> None:
    name = "conv1.0.weight"
    content = under(first, state()) | {second + name: state(1)[name]}
    with pytest.raises(BadWeights) as caught:
        record_of(content, tmp_path)
    assert first + name in str(caught.value)
    assert f"{second}{name}" in str(caught.value)
    assert record_of(under(first, state()) | {second + name: state()[name]}, tmp_path, "same.pth")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    """The record of a plain state dict."""
    return record_of(state(), tmp_path_factory.mktemp("plain"))


def optimizer() -> dict[str, Any]:
    """Return the state of an Adam that has taken a step, which has tensors of the net's shapes."""
    net = random_net(NET, 0)
    adam = torch.optim.Adam(net.parameters())
    net(torch.randn(2, 3, SIZE, SIZE)).sum().backward()
    adam.step()
    return adam.state_dict()


NO_HEAD = "no head (fc), which features do not need"

WRAPPED: dict[str, tuple[Callable[[], object], str | None]] = {
    "without a head": (body, NO_HEAD),
    "another head": (
        lambda: body() | head(10),
        "another head (fc.weight [10, 1024], not [1000, 1024]), which features do not need",
    ),
    "a head of two layers": (
        lambda: body() | {"fc.0.weight": torch.zeros(9, 1024), "fc.0.bias": torch.zeros(9)},
        f"{NO_HEAD}; not used: fc",
    ),
    "model": (lambda: {"model": state(), "epoch": 3, "args": argparse.Namespace(lr=0.1)}, None),
    "model_state_dict": (lambda: {"model_state_dict": state(), "optimizer_state_dict": {}}, None),
    "mixed with others": (lambda: {**state(), "optimizer": optimizer(), "best": np.float64(0.5), "epoch": 1}, None),
    "Lightning": (
        lambda: {
            "state_dict": under("model.backbone.", body()) | {"model.head.weight": torch.zeros(2, 1024)},
            "optimizer_states": [optimizer()],
            "hyper_parameters": argparse.Namespace(depth=2),
        },
        NO_HEAD,
    ),
    "data parallel": (lambda: under("module.", state()), None),
    "compiled": (lambda: {"net": under("_orig_mod.", state())}, None),
    "compiled inside": (lambda: {n.replace("conv1.", "conv1._orig_mod."): t for n, t in state().items()}, None),
    "deeply nested": (lambda: {"a": {"network": {"encoder": under("module.", body())}}}, NO_HEAD),
    "a whole net": (lambda: random_net(NET, 0), None),
    "DINO": (
        lambda: {
            "student": under("module.backbone.", body(1)),
            "teacher": under("backbone.", body()) | {"head.mlp.0.weight": torch.zeros(4, 1024)},
        },
        f"teacher.backbone is used, as its authors do; student.module.backbone would fit as well; {NO_HEAD}",
    ),
    "timm's averaged weights": (
        lambda: {"state_dict": state(1), "state_dict_ema": state(), "arch": NET},
        "state_dict_ema is used, as its authors do; state_dict would fit as well",
    ),
    "MoCo": (
        lambda: {
            "state_dict": under("module.encoder_q.", body())
            | under("module.encoder_k.", body(1))
            | {"module.queue": torch.zeros(128, 9)}
        },
        "state_dict.module.encoder_q is used, as its authors do; state_dict.module.encoder_k would fit as well; "
        + NO_HEAD,
    ),
    "three copies, two of them equal": (
        lambda: {"model": state(1), "last": state(1), "model_ema": state()},
        "model_ema is used, as its authors do; model would fit as well",
    ),
    "twice the same": (lambda: {"model": state(), "model_last": state()}, None),
    "with a decoder": (
        lambda: body() | {"mask_token": torch.zeros(1, 1, 9), "decoder.0.bias": torch.zeros(9)},
        f"{NO_HEAD}; not used: mask_token, decoder",
    ),
}


@pytest.mark.parametrize("form", WRAPPED)
def test_a_checkpoint_gives_the_features_of_its_body(form: str, plain: Backbone, tmp_path: Path) -> None:
    make, note = WRAPPED[form]
    record = record_of(make(), tmp_path)
    assert record.weights_sha256 == plain.weights_sha256
    assert record.notes == (() if note is None else (f"weights.pth: {note}",))


def test_a_head_that_fits_is_taken(tmp_path: Path) -> None:
    torch.save({"model": under("module.", state(3))}, tmp_path / "weights.pth")
    net = build(NET, str(tmp_path / "weights.pth")).net
    assert torch.equal(net.get_parameter("fc.weight"), state(3)["fc.weight"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    content = {name: t.to(dtype) if t.is_floating_point() else t for name, t in state().items()}
    torch.save(content, tmp_path / "weights.pth")
    net = build(NET, str(tmp_path / "weights.pth")).net
    assert {tensor.dtype for tensor in net.parameters()} == {torch.float32}
    assert torch.equal(net.get_parameter("conv1.0.weight"), content["conv1.0.weight"].float())


def write_shards(folder: Path, kind: str) -> Path:
    names = list(state())
    index = {name: f"part-{number % 3}.{kind}" for number, name in enumerate(names)}
    for file in set(index.values()):
        part = {name: tensor.contiguous() for name, tensor in state().items() if index[name] == file}
        if kind == "safetensors":
            save_file(part, folder / file)
        else:
            torch.save(part, folder / file)
    path = folder / f"model.{kind}.index.json"
    path.write_text(json.dumps({"metadata": {}, "weight_map": index}))
    return path


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_shards_are_read_by_their_index(kind: str, plain: Backbone, tmp_path: Path) -> None:
    path = write_shards(tmp_path, kind)
    loaded, files = load(NET, str(path), SIZE)
    assert loaded.backbone.weights_sha256 == plain.weights_sha256
    assert [file.name for file in files] == [path.name, *(f"part-{number}.{kind}" for number in range(3))]
    (tmp_path / f"part-1.{kind}").unlink()
    with pytest.raises(MissingData, match=rf"^a file that the index of weights names is missing: .*part-1\.{kind}$"):
        build(NET, str(path))


def test_an_index_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "inner"
    folder.mkdir()
    torch.save(state(), tmp_path / "weights.bin")
    path = folder / "model.bin.index.json"
    path.write_text(json.dumps({"weight_map": {"conv1.0.weight": "../weights.bin"}}))
    with pytest.raises(MissingData, match="index of weights"):
        build(NET, str(path))
    path.write_text(json.dumps(["weights.bin"]))
    with pytest.raises(BadWeights, match="no index of shards"):
        build(NET, str(path))


def test_a_file_of_any_name_is_read_by_its_content(
    plain: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(state(), "lightning.ckpt")
    torch.save(state(), "epoch.best")
    save_file({name: tensor.contiguous() for name, tensor in state().items()}, "model.bin")
    torch.save(state(), "old.pth", _use_new_zipfile_serialization=False)
    for file in ("lightning.ckpt", "epoch.best", "model.bin", "old.pth"):
        assert is_weights_file(file)
        assert load(NET, file, SIZE)[0].backbone.weights_sha256 == plain.weights_sha256
    assert is_weights_file("nowhere.ckpt")
    for name in ("DEFAULT", "none", "IMAGENET1K_V1", "openai", "v1.0"):
        assert not is_weights_file(name)


def without(name: str) -> Callable[[], object]:
    return lambda: {key: tensor for key, tensor in state().items() if not key.startswith(name)}


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (
            without("stage4.3"),
            r"lacks tensors of the net: \d+ of 280 tensors match; missing: (stage4\.3\.\S+, ){3}\S+ and \d+ more",
        ),
        (
            lambda: random_net("shufflenet_v2_x1_0", 0).state_dict(),
            r"of another net: \d+ of 280 tensors match.*\(expected stage2\S+ \[24, 24, 1, 1\], got \[58, 24, 1, 1\]\)",
        ),
        (
            lambda: random_net("squeezenet1_1", 0).state_dict(),
            r"of another net: none matches.*expected tensors such as conv1\.0\.weight \[24, 3, 3, 3\], got 52",
        ),
        (
            lambda: state() | {"stage4.4.branch2.0.weight": torch.zeros(96, 96, 1, 1)},
            r"of another net.*expected no more tensors, got stage4\.4\.branch2\.0\.weight \[96, 96, 1, 1\]",
        ),
        (lambda: state() | {"norm.weight": torch.zeros(9)}, r"expected no more tensors, got norm\.weight \[9\]"),
        (lambda: state() | {"register_tokens": torch.zeros(1, 4, 9)}, "expected no more tensors, got register_tokens"),
        (
            lambda: {**state(), "conv1.0.weight": state()["conv1.0.weight"].int()},
            r"279 of 280 tensors match.*expected conv1\.0\.weight as plain real numbers, got torch\.int32",
        ),
        (
            lambda: {"one": state(), "two": state(1)},
            r"has this net more than once, with other numbers.*\(expected one net, got one and two\)",
        ),
        (lambda: {"optimizer": optimizer()}, "holds no state dict"),
    ],
    ids=["missing", "other shapes", "other names", "deeper", "a norm", "a token", "whole numbers", "two", "no net"],
)
def test_what_is_not_this_net_is_refused(make: Callable[[], object], problem: str, tmp_path: Path) -> None:
    with pytest.raises(BadWeights, match=problem):
        record_of(make(), tmp_path)


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("code of a weights file ran",)


def test_no_code_of_a_checkpoint_runs(plain: Backbone, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = record_of({"state_dict": state(), "config": Evil(), "more": {"deep": [Evil()]}}, tmp_path)
    assert record.weights_sha256 == plain.weights_sha256
    assert capsys.readouterr().out == ""
    (tmp_path / "bare.ckpt").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(BadWeights, match="cannot read the weights file"):
        build(NET, str(tmp_path / "bare.ckpt"))
    assert capsys.readouterr().out == ""


def test_a_file_of_one_child_of_the_net_is_put_there(tmp_path: Path) -> None:
    net = random_net("mobilenet_v2", 4)
    features = net.get_submodule("features")
    torch.save(features.state_dict(), tmp_path / "features.pth")
    built = build("mobilenet_v2", str(tmp_path / "features.pth"), SIZE)
    assert torch.equal(
        built.net.get_submodule("features").get_parameter("0.0.weight"), features.get_parameter("0.0.weight")
    )
    assert built.notes == ("features.pth: no head (classifier.1), which features do not need",)


def test_auxiliary_heads_are_not_needed(tmp_path: Path) -> None:
    whole = random_net("googlenet", 0).state_dict()
    torch.save({n: t for n, t in whole.items() if not n.startswith(("aux", "fc"))}, tmp_path / "body.pth")
    loaded, _ = load("googlenet", str(tmp_path / "body.pth"), SIZE)
    assert loaded.backbone.weights_sha256 == load("googlenet", "none", SIZE)[0].backbone.weights_sha256
    assert loaded.backbone.notes == (
        "body.pth: no head (fc), which features do not need; not in the file, and not needed by features: aux1, aux2",
    )


def test_a_note_is_remembered(tmp_path: Path) -> None:
    torch.save(body(), tmp_path / "body.pth")
    os.utime(tmp_path / "body.pth", (1_000_000_000, 1_000_000_000))
    memo = Memo(tmp_path / "memo.json")
    first, loaded = resolve(NET, str(tmp_path / "body.pth"), SIZE, memo)
    again, nothing = resolve(NET, str(tmp_path / "body.pth"), SIZE, memo)
    assert (loaded is not None, nothing) == (True, None)
    assert again == first
    assert again.notes == (f"body.pth: {NO_HEAD}",)


@pytest.mark.parametrize("name", ["timm:test_convnext", "timm:test_vit"])
def test_a_classifiers_file_fits_its_net_without_head(name: str, tmp_path: Path) -> None:
    """And one of more blocks or with a norm of its own does not."""
    net = random_net(name, 0)
    headless = copy.deepcopy(net)
    headless.reset_classifier(0)  # type: ignore[operator]
    tap = find_tap(headless, 160, name)

    def fill(content: State) -> tuple[str, ...]:
        return load_checkpoint(headless, content, where=tmp_path, find_tap=lambda: tap, adapt=None)

    whole = dict(net.state_dict())
    assert fill(whole) == ("not used: head",)
    deeper = "stages.3.blocks.9.gamma" if "convnext" in name else "blocks.9.norm1.bias"
    for further in (deeper, "norm_pre.weight", "fc_norm.weight", "dist_token"):
        with pytest.raises(BadWeights, match=rf"expected no more tensors, got {further}"):
            fill({**whole, further: torch.zeros(7)})
    assert fill({**whole, "projector.0.bias": torch.zeros(7)}) == ("not used: head, projector",)
