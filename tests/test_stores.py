"""Stores: whatever is behind one, a file is published once, by one writer, and read as it was written."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from made_stores import BUCKET, s3_server
from probeline.errors import BadOption, MissingExtra, StoreFailed, UnknownName
from probeline.files.reading import SHARD, FileKind
from probeline.options.store import check_store
from probeline.stores.folder import FolderStore
from probeline.stores.objects import ObjectStore
from probeline.stores.store import Store, find_store

pytest.importorskip("obstore", reason="obstore is not installed")
pytest.importorskip("moto", reason="moto is not installed")


@pytest.fixture(params=["folder", "memory", "local", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    from obstore.store import LocalStore, MemoryStore

    if request.param == "folder":
        yield FolderStore(tmp_path / "store")
    elif request.param == "memory":
        yield ObjectStore(MemoryStore(), "memory://")
    elif request.param == "local":
        yield ObjectStore(LocalStore(tmp_path), "local://")
    else:
        with s3_server(monkeypatch):
            found = find_store(BUCKET)
            assert found is not None
            yield found


def test_a_file_is_read_as_it_was_published(store: Store) -> None:
    data = bytes(range(256)) * 999
    assert store.publish("v1/a b/c-1.json", data)
    assert store.read("v1/a b/c-1.json", SHARD) == data
    assert store.publish("v1/empty", b"")
    assert store.read("v1/empty", SHARD) == b""


def test_a_file_that_is_missing_is_none(store: Store) -> None:
    assert store.read("v1/a/b", SHARD) is None
    assert not store.exists("v1/a/b")
    store.publish("v1/a/b.json", b"1")
    assert store.read("v1/a/b", SHARD) is None
    assert not store.exists("v1/a/b")
    assert not store.exists("v1/a"), "a folder is no file"
    assert store.exists("v1/a/b.json")


def test_a_name_that_is_taken_keeps_its_file(store: Store) -> None:
    assert store.publish("a/b", b"first")
    assert not store.publish("a/b", b"other")
    assert not store.publish("a/b", b"first"), "also with equal bytes"
    assert store.read("a/b", SHARD) == b"first"


def test_of_many_writers_one_is_first(store: Store) -> None:
    texts = [b"%d" % number * 100_000 for number in range(8)]
    with ThreadPoolExecutor(len(texts)) as pool:
        first = list(pool.map(lambda data: store.publish("a/b", data), texts))
    assert first.count(True) == 1
    assert store.read("a/b", SHARD) == texts[first.index(True)]


def test_a_folder_lists_its_own_files(store: Store) -> None:
    assert store.names_in("a/b") == set()
    for name in ("a/b/1", "a/b/2.json", "a/bc/3", "a/4"):
        store.publish(name, b"x")
    assert store.names_in("a/b") == {"1", "2.json"}


def test_a_listing_of_more_than_a_page_is_whole(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "20")  # names of a page, of which S3 has 1,000
    names = {f"{number:04d}" for number in range(63)}
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda name: store.publish(f"a/{name}", b""), names))
    assert store.names_in("a") == names


def test_a_file_of_more_bytes_than_its_kind_has_is_refused(store: Store) -> None:
    store.publish("a/b", b"12345")
    assert store.read("a/b", FileKind("five", 5)) == b"12345"
    with pytest.raises(StoreFailed, match=r"a/b"):
        store.read("a/b", FileKind("four", 4))


def test_a_bucket_that_does_not_exist_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_server(monkeypatch):
        other = ObjectStore.of_url("s3://nobody/prefix")
        for call in (lambda: other.names_in("a"), lambda: other.publish("a", b"")):
            with pytest.raises(
                StoreFailed, match=r"s3://nobody/prefix/a .*NoSuchBucket: The specified bucket does not"
            ):
                call()
        with pytest.raises(StoreFailed, match="NoSuchBucket"):
            other.read("a", SHARD)


class Refusing(BaseHTTPRequestHandler):
    """A server that lets nobody in, and repeats the address it was asked for."""

    def do_GET(self) -> None:
        body = b"<Error><Code>AccessDenied</Code><Message>No rights.</Message></Error>"
        self.send_response(403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_PUT = do_GET  # noqa: N815 - the name that the server calls

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def refusing() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_refusal_is_said_in_the_words_of_the_service(refusing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ENDPOINT_URL": refusing, "ALLOW_HTTP": "1", "ACCESS_KEY_ID": "k"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    store = ObjectStore.of_url("s3://bucket")
    for call in (lambda: store.read("a", SHARD), lambda: store.publish("a", b""), lambda: store.names_in("a")):
        with pytest.raises(StoreFailed, match=r"s3://bucket/a .*got AccessDenied: No rights"):
            call()


SILENT = """
import sys
from probeline.files.reading import SHARD
from probeline.stores.objects import ObjectStore

store = ObjectStore.of_url("s3://bucket")
print("asking", flush=True)
{"read": lambda: store.read("a", SHARD), "publish": lambda: store.publish("a", b""),
 "exists": lambda: store.exists("a"), "names_in": lambda: store.names_in("a")}[sys.argv[1]]()
"""


@pytest.mark.parametrize("call", ["read", "publish", "exists", "names_in"])
def test_an_interrupt_does_not_wait_for_a_server(call: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        environment = {"ENDPOINT_URL": f"http://127.0.0.1:{silent.getsockname()[1]}", "ALLOW_HTTP": "1"}
        environment |= {"ACCESS_KEY_ID": "k", "SECRET_ACCESS_KEY": "s", "REGION": "us-east-1"}
        with subprocess.Popen(
            [sys.executable, "-c", SILENT, call],
            env={**os.environ, **{f"AWS_{name}": value for name, value in environment.items()}},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                assert process.stdout is not None
                assert process.stdout.readline() == "asking\n"
                silent.settimeout(30)
                with silent.accept()[0]:
                    process.send_signal(signal.SIGINT)
                    assert "KeyboardInterrupt" in process.communicate(timeout=30)[1], "its own limit is 10 minutes"
            finally:
                process.kill()


def test_no_key_in_an_address_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    from obstore.store import MemoryStore

    def fail(*_: object) -> None:
        raise OSError("Error performing GET https://account.blob.core.windows.net/c/a?sv=2024&sig=verysecret in 2 ms")

    monkeypatch.setattr("obstore.get", fail)
    with pytest.raises(StoreFailed, match=r"windows\.net/c/a in 2 ms") as failed:
        ObjectStore(MemoryStore(), "az://c").read("a", SHARD)
    assert "secret" not in str(failed.value)


def test_a_profile_of_the_users_own_gives_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_server(monkeypatch):
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        (tmp_path / "credentials").write_text("[work]\naws_access_key_id = key\naws_secret_access_key = secret\n")
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
        monkeypatch.setenv("AWS_PROFILE", "work")
        assert ObjectStore.of_url(BUCKET).publish("a", b"")


def test_a_bucket_that_everybody_may_use_needs_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    with s3_server(monkeypatch):
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
        store = ObjectStore.of_url(BUCKET)
        assert store.publish("a", b"1"), "the server asks for rights when reading alone"


@pytest.mark.parametrize(
    ("address", "error", "words"),
    [
        ("http://bucket/x", UnknownName, "unknown store 'http://'"),
        ("S3://bucket/x", UnknownName, "did you mean s3://"),
        ("s3://", BadOption, "without a bucket"),
        ("gs:///prefix", BadOption, "without a bucket"),
        ("s3:/bucket/x", BadOption, "expected s3://BUCKET/PREFIX, or the path of a folder"),
        ("GS:bucket", BadOption, "expected gs://BUCKET/PREFIX, or the path of a folder"),
        *(
            (f"s3://{rest}", BadOption, "bad --store .expected s3://BUCKET/PREFIX without")
            for rest in (
                "key:pw@b/x",
                "b:9000/x",
                "b/x?y",
                "b/x#y",
                "b/a%20b",
                "b//x",
                "b/x/../y",
                "b/./x",
                "b/..",
                "b/a\tb",
            )
        ),
        ("cache", BadOption, "one folder, or one is in the other"),
        ("cache/store", BadOption, "one is in the other"),
        (".", BadOption, "one is in the other"),
    ],
)
def test_an_address_of_no_store_is_refused(
    address: str, error: type[Exception], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=words):
        check_store(address, Path("cache"))


@pytest.mark.parametrize("address", ["s3://b", "gs://b/", "az://b.c/a dir/é/a..b/.c/d./", "folder:s3", "c:/x", "100%"])
def test_an_address_that_says_where_it_is_is_taken(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if "://" not in address:
        Path(address).mkdir(parents=True)
    check_store(address, Path("cache"))


def test_a_password_in_an_address_is_not_shown() -> None:
    with pytest.raises(BadOption) as refused:
        check_store("s3://key:verysecret@bucket/x", Path("cache"))
    assert "verysecret" not in str(refused.value)


def test_a_folder_that_does_not_exist_is_no_store(tmp_path: Path) -> None:
    with pytest.raises(BadOption, match=r"no such folder for --store: .*make it first"):
        check_store(str(tmp_path / "sotre"), tmp_path / "cache")
    assert not (tmp_path / "sotre").exists()


def test_a_bucket_needs_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    check_store(str(tmp_path), Path("cache"))
    with pytest.raises(MissingExtra, match=r"pip install 'probeline\[object-store\]'"):
        check_store("s3://bucket", Path("cache"))
