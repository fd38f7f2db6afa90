"""Downloads and archives: the expected bytes under their name, or nothing at all."""

from __future__ import annotations

import dataclasses
import gzip
import io
import os
import socket
import stat
import tarfile
import threading
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from probeline.console import Silence
from probeline.data.archives.download import Archive, fetch, obtain
from probeline.data.archives.unpack import extract_tar, extract_zip
from probeline.errors import BadData, CannotWrite, DownloadFailed, MissingData
from probeline.identity import digest_bytes

BODY = bytes(range(256)) * 5000
SHA256 = digest_bytes(BODY)


class Server:
    """A web server on this machine; `answer` says what a path gets."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.bodies: dict[str, bytes] = {"/good.bin": BODY, "/longer.bin": BODY + b"x", "/other.bin": BODY[::-1]}
        self.url = ""
        self.hold = threading.Event()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.paths.append(request.path)
        if request.path == "/endless.bin":
            request.send_response(200)
            request.end_headers()
            for _ in range(10_000):
                request.wfile.write(BODY)
        elif request.path == "/cut.bin":
            request.send_response(200)
            request.send_header("Content-Length", str(len(BODY)))
            request.end_headers()
            request.wfile.write(BODY[:-1000])
        elif request.path == "/silent.bin":
            request.send_response(200)
            request.send_header("Content-Length", str(len(BODY)))
            request.end_headers()
            request.wfile.write(BODY[:1000])
            request.wfile.flush()
            self.hold.wait(20)
        elif request.path.startswith("/to/"):
            request.send_response(302)
            request.send_header("Location", request.path.removeprefix("/to/"))
            request.end_headers()
        elif request.path in self.bodies:
            request.send_response(200)
            request.send_header("Content-Length", str(len(self.bodies[request.path])))
            request.end_headers()
            request.wfile.write(self.bodies[request.path])
        else:
            request.send_error(404)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "*")
    ours = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                ours.answer(self)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.block_on_close = False
        ours.url = f"http://127.0.0.1:{http.server_port}"
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield ours
        ours.hold.set()
        http.shutdown()
        thread.join()


class Recorder(Silence):
    """A console that records its lines and the bytes of its bar."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.bytes = 0

    def say(self, line: str) -> None:
        self.lines.append(line)

    @contextmanager
    def bar(self, title: str, total: int, unit: str) -> Iterator[Recorder]:
        assert (title, total, unit) == ("downloading", len(BODY), "B")
        yield self

    def update(self, n: int) -> None:
        self.bytes += n


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def get(server: Server, name: str, destination: Path) -> None:
    fetch(server.url + name, destination, sha256=SHA256, size=len(BODY), console=Silence())


def test_a_good_file_arrives(server: Server, tmp_path: Path) -> None:
    console = Recorder()
    destination = tmp_path / "new" / "folder" / "good.bin"
    fetch(f"{server.url}/good.bin", destination, sha256=SHA256, size=len(BODY), console=console)
    assert destination.read_bytes() == BODY
    assert names(destination.parent) == ["good.bin"]
    assert console.bytes == len(BODY)
    assert console.lines == [f"downloading {server.url}/good.bin (1.3 MB)"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("/other.bin", f"expected sha256 {SHA256}, got sha256 {digest_bytes(BODY[::-1])}"),
        ("/longer.bin", f"expected {len(BODY)} bytes, got more"),
        ("/endless.bin", f"expected {len(BODY)} bytes, got more"),
        ("/cut.bin", rf"expected {len(BODY)} bytes, got {len(BODY) - 1000} bytes|IncompleteRead"),
        ("/none.bin", "server refused.*got 404"),
        ("/to/ftp://127.0.0.1/x", "ftp"),
        ("/to/file:///etc/hostname", "file"),
    ],
)
def test_nothing_else_does(server: Server, tmp_path: Path, name: str, reason: str) -> None:
    destination = tmp_path / "file.bin"
    with pytest.raises(DownloadFailed, match=reason) as caught:
        get(server, name, destination)
    assert names(tmp_path) == []
    message = str(caught.value)
    assert server.url + name in message
    assert f"put the file at {destination} by hand" in message


def test_redirects_are_followed(server: Server, tmp_path: Path) -> None:
    get(server, f"/to/{server.url}/good.bin", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == BODY


def test_a_silent_server_is_given_up(server: Server, tmp_path: Path) -> None:
    url, console = f"{server.url}/silent.bin", Silence()
    with pytest.raises(DownloadFailed, match="timed out"):
        fetch(url, tmp_path / "a", sha256=SHA256, size=len(BODY), console=console, timeout=0.2)
    assert names(tmp_path) == []


def test_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and nobody listens
        with pytest.raises(DownloadFailed, match=r"Connection refused.*by hand"):
            fetch(f"http://127.0.0.1:{taken.getsockname()[1]}/x", tmp_path / "a", sha256="", size=1, console=Silence())


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/x", "data:,x", "/etc/hostname", ""])
def test_only_web_addresses_are_opened(tmp_path: Path, url: str) -> None:
    with pytest.raises(DownloadFailed, match="expected http or https"):
        fetch(url, tmp_path / "a", sha256="", size=1, console=Silence())


def test_a_file_that_was_there_stays_until_the_new_one_is_verified(server: Server, tmp_path: Path) -> None:
    destination = tmp_path / "a"
    destination.write_bytes(b"old")
    with pytest.raises(DownloadFailed):
        get(server, "/other.bin", destination)
    assert destination.read_bytes() == b"old"
    get(server, "/good.bin", destination)
    assert destination.read_bytes() == BODY


def test_a_folder_that_cannot_be_made(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CannotWrite):
        get(server, "/good.bin", tmp_path / "file" / "a")


# ---------------------------------------------------------------------------------------------------------------------

Entries = list[tuple[str, bytes]]


def tar_gz(path: Path, entries: Entries, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, content in entries:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for member in members:
            tar.addfile(member)
    return path


def zipped(path: Path, entries: Entries, *, mode: int = stat.S_IFREG | 0o644) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as pack:
        for name, content in entries:
            member = zipfile.ZipInfo(name)
            member.external_attr = mode << 16
            pack.writestr(member, content, zipfile.ZIP_DEFLATED)
    return path


def special(kind: bytes, name: str = "top/x", target: str = "/etc/passwd") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type = kind
    member.linkname = target
    return member


FORMS = pytest.mark.parametrize(
    ("pack", "extract", "name"), [(tar_gz, extract_tar, "a.tar.gz"), (zipped, extract_zip, "a.zip")], ids=["tar", "zip"]
)
Pack = Callable[..., Path]
Extract = Callable[..., None]


def refused(extract: Extract, archive: Path, folder: Path, *, entries: int = 10, size: int = 10_000) -> str:
    """Expect that an archive is refused and leaves nothing behind; return why."""
    before = sorted(folder.parent.parent.rglob("*"))
    with pytest.raises(BadData, match="archive cannot be unpacked") as caught:
        extract(archive, folder, entries=entries, size=size)
    assert sorted(folder.parent.parent.rglob("*")) == before
    assert str(archive) in str(caught.value)
    return str(caught.value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data" / "top"


@FORMS
def test_a_good_archive_is_unpacked(pack: Pack, extract: Extract, name: str, tmp_path: Path, folder: Path) -> None:
    archive = pack(tmp_path / name, [("top/a.txt", b"one"), ("top/deep/er/b c.txt", b"two" * 1000), ("top/empty", b"")])
    extract(archive, folder, entries=3, size=3003)
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert found == {"a.txt": b"one", "deep/er/b c.txt": b"two" * 1000, "empty": b""}
    assert names(folder.parent) == ["top"]


def test_folders_and_rights_in_archives(tmp_path: Path, folder: Path) -> None:
    directory = special(tarfile.DIRTYPE, "top/empty")
    directory.mode = 0
    tar_gz(tmp_path / "a.tar.gz", [("top/a", b"x")], special(tarfile.DIRTYPE, "top"), directory)
    extract_tar(tmp_path / "a.tar.gz", folder, entries=3, size=1)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as pack:
        pack.mkdir("top")
        pack.writestr("top/a", "x")
    extract_zip(tmp_path / "a.zip", folder.parent / "other" / "top", entries=2, size=1)
    for path in (folder, folder.parent / "other" / "top"):
        assert [item.name for item in path.iterdir()] == ["a"]
        assert (path / "a").stat().st_mode & 0o7111 == 0


@FORMS
@pytest.mark.parametrize(
    "bad",
    [
        "../x",
        "top/../../x",
        "/elsewhere/x",
        "//top/x",
        "x",
        "topper/x",
        "top/../x",
        "..\\x",
        "top\\x",
        "top/..\\..\\x",
        "top",
        "",
    ],
)
def test_names_that_lead_elsewhere_are_refused(
    pack: Pack, extract: Extract, name: str, bad: str, tmp_path: Path, folder: Path
) -> None:
    archive = pack(tmp_path / name, [("top/good", b"x"), (bad, b"x")])
    refused(extract, archive, folder)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
@pytest.mark.parametrize("target", ["/etc/passwd", "good", "../.."])
def test_links_and_devices_in_a_tar_are_refused(kind: bytes, target: str, tmp_path: Path, folder: Path) -> None:
    archive = tar_gz(tmp_path / "a.tar.gz", [("top/good", b"x")], special(kind, target=target))
    assert "link or a device" in refused(extract_tar, archive, folder)


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_links_and_devices_in_a_zip_are_refused(mode: int, tmp_path: Path, folder: Path) -> None:
    archive = zipped(tmp_path / "a.zip", [("top/x", b"/etc/passwd")], mode=mode | 0o777)
    assert "link or a device" in refused(extract_zip, archive, folder)


@FORMS
def test_too_many_entries_or_bytes_are_refused(
    pack: Pack, extract: Extract, name: str, tmp_path: Path, folder: Path
) -> None:
    archive = pack(tmp_path / name, [(f"top/{number}", b"x" * 100) for number in range(5)])
    assert "more than 4 entries" in refused(extract, archive, folder, entries=4)
    assert "more than 499 bytes" in refused(extract, archive, folder, size=499)
    extract(archive, folder, entries=5, size=500)


@FORMS
def test_bombs_are_refused_without_being_unpacked(
    pack: Pack, extract: Extract, name: str, tmp_path: Path, folder: Path
) -> None:
    archive = pack(tmp_path / name, [("top/bomb", bytes(30_000_000))])
    assert archive.stat().st_size < 100_000
    assert "more than 10000 bytes" in refused(extract, archive, folder)


def test_a_bomb_among_the_headers_is_refused(tmp_path: Path, folder: Path) -> None:
    """A pax header of 30 MB belongs to no file, so that the files' sizes do not show it."""
    archive = tmp_path / "a.tar.gz"
    with tarfile.open(archive, "w:gz", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo("top/a")
        member.pax_headers = {"comment": "x" * 30_000_000}
        tar.addfile(member)
    assert "more bytes than expected" in refused(extract_tar, archive, folder)


def test_a_zip_that_understates_its_size_is_refused(tmp_path: Path, folder: Path) -> None:
    archive = zipped(tmp_path / "a.zip", [("top/a", bytes(5_000_000))])
    data = archive.read_bytes()
    archive.write_bytes(data.replace((5_000_000).to_bytes(4, "little"), (100).to_bytes(4, "little")))
    refused(extract_zip, archive, folder)


@FORMS
def test_damaged_archives_are_refused(pack: Pack, extract: Extract, name: str, tmp_path: Path, folder: Path) -> None:
    archive = pack(tmp_path / name, [("top/a", os.urandom(5000)), ("top/b", b"x")])
    whole = archive.read_bytes()
    for content in (
        b"",
        b"nothing of the kind",
        whole[: len(whole) // 2],
        whole[:-30],
        whole[:2000] + bytes([whole[2000] ^ 1]) + whole[2001:],
    ):
        archive.write_bytes(content)
        refused(extract, archive, folder)


@FORMS
def test_the_same_name_twice_is_refused(pack: Pack, extract: Extract, name: str, tmp_path: Path, folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Duplicate name")  # of zipfile, which writes it nevertheless
        archive = pack(tmp_path / name, [("top/a", b"one"), ("top/a", b"two")])
    assert "comes twice" in refused(extract, archive, folder)
    archive = pack(tmp_path / name, [("top/a", b"one"), ("top/a/b", b"two")])
    with pytest.raises((BadData, CannotWrite)):
        extract(archive, folder, entries=9, size=99)
    assert names(folder.parent) == []


@FORMS
def test_an_archive_without_the_folder_is_refused(
    pack: Pack, extract: Extract, name: str, tmp_path: Path, folder: Path
) -> None:
    refused(extract, pack(tmp_path / name, []), folder)


def test_a_gzip_of_no_tar_is_refused(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(b"no tar" * 1000))
    refused(extract_tar, tmp_path / "a.tar.gz", folder)


def test_an_encrypted_zip_is_refused(tmp_path: Path, folder: Path) -> None:
    archive = zipped(tmp_path / "a.zip", [("top/a", b"x")])
    data = bytearray(archive.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(data)
    assert "encrypted" in refused(extract_zip, archive, folder)


@FORMS
def test_a_folder_that_came_into_being_meanwhile_stays(
    pack: Pack, extract: Extract, name: str, tmp_path: Path, folder: Path
) -> None:
    folder.mkdir()
    (folder / "theirs").touch()
    extract(pack(tmp_path / name, [("top/ours", b"x")]), folder, entries=1, size=1)
    assert names(folder) == ["theirs"]
    assert names(folder.parent) == ["top"]


# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def archive(server: Server, tmp_path: Path) -> Archive:
    content = zipped(tmp_path / "made.zip", [("top/a", b"x")]).read_bytes()
    server.bodies["/top.zip"] = content
    return Archive(f"{server.url}/top.zip", digest_bytes(content), len(content), "top", entries=1, unpacked=1)


def test_what_is_there_is_neither_unpacked_nor_downloaded(server: Server, archive: Archive, tmp_path: Path) -> None:
    (tmp_path / "top").mkdir()
    assert obtain((archive,), tmp_path, Silence(), download=True) == tmp_path / "top"
    assert server.paths == []


def test_an_archive_at_hand_is_unpacked(server: Server, archive: Archive, tmp_path: Path) -> None:
    (tmp_path / "top.zip").write_bytes(server.bodies["/top.zip"])
    assert obtain((archive,), tmp_path, Silence(), download=False) == tmp_path / "top"
    assert (tmp_path / "top" / "a").read_bytes() == b"x"
    assert server.paths == []


def test_what_is_missing_is_downloaded_once(server: Server, archive: Archive, tmp_path: Path) -> None:
    other = dataclasses.replace(archive, url=f"{server.url}/other.zip", folder="other")
    data = tmp_path / "data"
    for _ in range(2):
        assert obtain((archive, other), data, Silence(), download=True) == data / "top"
    assert server.paths == ["/top.zip"]
    assert names(data) == ["top", "top.zip"]


def test_another_form_at_hand_is_as_good(server: Server, archive: Archive, tmp_path: Path) -> None:
    missing = dataclasses.replace(archive, url=f"{server.url}/missing.zip", folder="missing")
    (tmp_path / "top").mkdir()
    assert obtain((missing, archive), tmp_path, Silence(), download=True) == tmp_path / "top"
    assert server.paths == []


def test_an_archive_with_other_bytes_is_not_unpacked(archive: Archive, tmp_path: Path) -> None:
    (tmp_path / "top.zip").write_bytes(b"x" * archive.size)
    with pytest.raises(BadData, match=f"top.zip.*expected sha256 {archive.sha256}"):
        obtain((archive,), tmp_path, Silence(), download=True)
    assert not (tmp_path / "top").exists()


def test_without_a_download_the_error_says_what_to_put_where(server: Server, archive: Archive, tmp_path: Path) -> None:
    with pytest.raises(MissingData) as caught:
        obtain((archive,), tmp_path / "data", Silence(), download=False)
    message = str(caught.value)
    for part in (str(tmp_path / "data"), "top/ or top.zip", archive.url):
        assert part in message
    assert server.paths == []
