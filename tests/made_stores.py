"""Stores as tests need them: on a local S3 server, slow ones, and those that list late."""

from __future__ import annotations

import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

import pytest

from probeline.files.reading import FileKind
from probeline.stores.store import Store

BUCKET = "s3://bucket/some/prefix"


@contextmanager
def s3_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Serve an empty bucket on 127.0.0.1, and let the environment name the server as a user would."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
        }.items():
            monkeypatch.setenv(name, value)
        for address, method in (("moto-api/reset", "POST"), ("bucket", "PUT")):
            urllib.request.urlopen(urllib.request.Request(f"http://{host}:{port}/{address}", method=method))
        yield
    finally:
        server.stop()


class Watched:
    """A store that counts its calls, waits in each, and may list nothing of what was written since it was made."""

    def __init__(self, store: Store, *, seconds: float = 0.0, lists_late: bool = False) -> None:
        self._store, self._seconds, self._lists_late = store, seconds, lists_late
        self._lock, self.calls = Lock(), Counter[str]()
        self._old: dict[str, set[str]] = {}

    def read(self, name: str, kind: FileKind) -> bytes | None:
        self._count("read")
        return self._store.read(name, kind)

    def publish(self, name: str, data: bytes) -> bool:
        self._count("publish")
        return self._store.publish(name, data)

    def exists(self, name: str) -> bool:
        self._count("exists")
        return self._store.exists(name)

    def names_in(self, folder: str) -> set[str]:
        self._count("names_in")
        names = self._store.names_in(folder)
        return self._old.setdefault(folder, names) if self._lists_late else names

    def address(self, name: str) -> str:
        return self._store.address(name)

    def _count(self, call: str) -> None:
        with self._lock:
            self.calls[call] += 1
        time.sleep(self._seconds)
