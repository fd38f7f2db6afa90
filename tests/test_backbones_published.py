"""Weights that others publish are held against the digest that comes with them, before they are loaded."""

from __future__ import annotations

import hashlib
import http.server
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from probeline.backbones import torchvision_import as vision
from probeline.backbones.build import build, random_net
from probeline.backbones.sources import timm as timm_source
from probeline.backbones.weights.published import check_published
from probeline.console import Silence
from probeline.errors import BadWeights, DownloadFailed
from probeline.files.fingerprint import anybody_may_replace
from probeline.session import Session
from small_runs import configuration

CLOSED = "http://127.0.0.1:9"
TIMM = "timm:test_vit.r160_in1k"


@pytest.fixture(autouse=True)
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    return tmp_path / "user" / "probeline" / "weights.json"


def in_hub(cache: Path, repository: str, name: str, data: bytes, digest: str) -> Path:
    """Put a file into a cache of the hub, with the digest that the hub stated for it; return where it is found."""
    root = cache / f"models--{repository.replace('/', '--')}"
    for folder in ("refs", "blobs", "snapshots/0123"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "refs" / "main").write_text("0123")
    (root / "blobs" / digest).write_bytes(data)
    (root / "snapshots" / "0123" / name).symlink_to(f"../../blobs/{digest}")
    return root / "snapshots" / "0123" / name


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def tensors(tmp_path: Path) -> bytes:
    """A safetensors file of a small net of timm."""
    pytest.importorskip("timm")
    save_file(random_net("timm:test_vit", 3).state_dict(), tmp_path / "made.safetensors")
    return (tmp_path / "made.safetensors").read_bytes()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of a hub that cannot be reached."""
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", CLOSED)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def test_timms_weights_are_those_that_the_hub_named(tensors: bytes, hub: Path) -> None:
    path = in_hub(hub, "timm/test_vit.r160_in1k", "model.safetensors", tensors, sha256(tensors))
    built = build(TIMM, "DEFAULT")
    assert (built.files, built.warnings) == ((path,), ())
    loaded = built.net.state_dict()
    assert all(
        torch.equal(tensor, loaded[name]) for name, tensor in random_net("timm:test_vit", 3).state_dict().items()
    )


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_other_weights_in_the_hubs_cache_are_refused_before_they_are_loaded(
    name: str, tensors: bytes, hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = in_hub(hub, "timm/test_vit.r160_in1k", name, tensors[:-1] + b"\x00", sha256(tensors))
    monkeypatch.setattr("timm.models._builder.load_pretrained", lambda *_, **__: pytest.fail("they were loaded"))
    with pytest.raises(BadWeights, match=rf"is corrupt: {path.resolve()} \(expected sha256 {sha256(tensors)}"):
        build(TIMM, "DEFAULT")


class Host(http.server.BaseHTTPRequestHandler):
    """A hub that has one file."""

    content = b""
    digest = ""

    def do_HEAD(self) -> None:
        self.answer(b"")

    def do_GET(self) -> None:
        self.answer(self.content)

    def answer(self, body: bytes) -> None:
        found = self.path == "/" or self.path.endswith(".safetensors")
        self.send_response(200 if found else 404)
        for name, value in {
            "ETag": f'"{self.digest}"',
            "X-Repo-Commit": "0" * 40,
            "Content-Length": str(len(self.content) if found else 0),
            **({} if found else {"X-Error-Code": "EntryNotFound"}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body if found else b"")

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def served(tensors: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Host]]:
    """A hub on this machine, with timm's library led to it."""
    handler = type("Handler", (Host,), {"content": tensors, "digest": sha256(tensors)})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        endpoint = f"http://127.0.0.1:{running.server_port}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", endpoint)
        template = f"{endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_PROGRESS_BARS", True)
        yield handler
        running.shutdown()
        thread.join()


def test_a_download_of_timms_weights_is_checked(served: type[Host], tensors: bytes) -> None:
    built = build(TIMM, "DEFAULT")
    (path,) = built.files
    assert path.read_bytes() == tensors
    assert Path(os.readlink(path)).name == sha256(tensors)  # noqa: PTH115


def test_a_download_with_other_bytes_than_promised_is_refused(served: type[Host], tensors: bytes) -> None:
    served.content = tensors[:-1] + b"\x00"
    with pytest.raises(
        BadWeights, match=r"^the weights file is corrupt: .*/blobs/.*; delete it and run again"
    ) as caught:
        build(TIMM, "DEFAULT")
    served.content = tensors
    (blob,) = [word for word in str(caught.value).split() if "/blobs/" in word]
    Path(blob).unlink()
    assert build(TIMM, "DEFAULT").warnings == (), "as the message says"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (None, ("model.safetensors", "pytorch_model.bin")),
        ("open_clip_pytorch_model.bin", ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")),
        ("eva.bin", ("eva.safetensors", "eva.bin")),
        ("flexivit.npz", ("flexivit.npz",)),
    ],
)
def test_safetensors_come_first(name: str | None, expected: tuple[str, ...]) -> None:
    pytest.importorskip("timm")
    config = vision.timm().models.get_pretrained_cfg("test_vit.r160_in1k")
    known = replace(config, hf_hub_id="org/net@v2", hf_hub_filename=name)
    assert timm_source._hub_place(known) == ("org/net", expected, "v2")


def test_weights_of_an_address_are_downloaded_by_the_digits_in_their_name(
    served: type[Host], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of timm's nets without a repository, whose weights timm would download unchecked."""
    from huggingface_hub import constants

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    address = f"{constants.ENDPOINT}/test_vit-{served.digest[:8]}.safetensors"
    config = vision.timm().models.get_pretrained_cfg("test_vit.r160_in1k")
    monkeypatch.setattr(
        "probeline.backbones.sources.timm._config", lambda _: replace(config, hf_hub_id=None, url=address)
    )
    served.content += b"\x00"
    with pytest.raises(DownloadFailed, match=r"^cannot fetch the weights.*invalid hash value"):
        build(TIMM, "DEFAULT")
    served.content = served.content[:-1]
    (path,) = build(TIMM, "DEFAULT").files
    assert path == tmp_path / "hub" / "checkpoints" / address.rpartition("/")[2]
    path.write_bytes(served.content + b"\x00")
    with pytest.raises(BadWeights, match="is corrupt"):
        build(TIMM, "DEFAULT")


def test_small_files_of_the_hub_are_held_against_gits_digest(tmp_path: Path) -> None:
    data = b'{"hidden_size": 8}'
    git = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()  # noqa: S324
    assert check_published(in_hub(tmp_path, "a/b", "config.json", data, git)) == ()
    with pytest.raises(BadWeights, match=rf"corrupt: .*/blobs/{git} \(expected git's digest"):
        check_published(in_hub(tmp_path, "c/d", "config.json", data + b" ", git))


def test_a_file_without_a_whole_digest_is_recorded_and_another_of_its_name_is_told(tmp_path: Path, user: Path) -> None:
    one, other = b"weights", b"others"
    files = []
    for number, data in enumerate((one, other)):
        folder = tmp_path / f"copies{number}" / "models--org--net" / "snapshots" / "0123"
        folder.mkdir(parents=True)
        files.append(folder / "model.safetensors")
        files[-1].write_bytes(data)
    assert check_published(files[0]) == check_published(files[0]) == ()
    assert user.stat().st_mode & 0o777 == 0o600
    (line,) = check_published(files[1])
    assert f"its sha256 was {sha256(one)} and is {sha256(other)}; its features get a key of their own" in line
    assert check_published(files[1]) == (), "it is told once"
    elsewhere = tmp_path / "model.safetensors"
    elsewhere.write_bytes(one)
    assert check_published(elsewhere) == (), "of no repository"


def test_torchvisions_weights_are_recorded_and_a_change_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The digits in the name are of the file that is there, as those of a forger are."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    place = tmp_path / "hub" / "checkpoints" / "squeezenet1_1-b8a52dc0.pth"
    place.parent.mkdir(parents=True)
    # A forger needs 2^32 tries for a file that fits the name; here every file does.
    monkeypatch.setattr("probeline.backbones.weights.published.check_file_hash", lambda *_: None)
    keys, shown = [], []

    class Warned(Silence):
        def warn(self, line: str) -> None:
            shown.append(line)

    for seed in (1, 2):
        torch.save(random_net("squeezenet1_1", seed).state_dict(), place)
        session = Session(configuration(tmp_path / f"cache{seed}", weights="DEFAULT", console=Warned()))
        keys.append(session.entry(session.backbone("squeezenet1_1")[0], "all").key)
        assert len(shown) == seed - 1
    assert keys[0] != keys[1]
    assert f"{place} is another file than the one of this name that was used before" in shown[0]


@pytest.mark.parametrize("mode", [0o666, 0o777])
def test_weights_that_anybody_may_change_are_told(mode: int, tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    file = tmp_path / "weights" / "net.pth"
    file.write_bytes(b"weights")
    assert check_published(file) == ()
    (file if mode == 0o666 else file.parent).chmod(mode)
    (line,) = check_published(file)
    assert line == f"{file} can be changed by every user of this machine; its sha256 now: {sha256(b'weights')}"


def test_a_sticky_folder_keeps_files_of_their_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "like-tmp" / "own"
    folder.mkdir(parents=True)
    (folder / "net.pth").write_bytes(b"")
    (tmp_path / "like-tmp").chmod(0o1777)
    assert not anybody_may_replace(folder / "net.pth")
    (tmp_path / "like-tmp").chmod(0o777)
    assert anybody_may_replace(folder / "net.pth")


def test_a_stated_digest_decides(tmp_path: Path, user: Path) -> None:
    """OpenAI's addresses have it; nothing needs to be recorded then."""
    file = tmp_path / "ViT-B-32.pt"
    file.write_bytes(b"weights")
    assert check_published(file, sha256=sha256(b"weights")) == ()
    assert not user.exists()
    with pytest.raises(BadWeights, match=f"expected sha256 {sha256(b'other')}"):
        check_published(file, sha256=sha256(b"other"))
