"""Hostile archives: whatever they hold, nothing is written but one folder of plain files, all of it or none."""

from __future__ import annotations

import gzip
import io
import random
import shutil
import stat
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from faults import producer
from faults.children import sweep
from faults.figures import Figures, summed
from probeline.data.archives.unpack import extract_tar, extract_zip
from probeline.errors import BadData, CannotWrite

ENTRIES, SIZE = 20, 100_000
BOMB = 10 << 20
"""Bytes that a bomb unpacks to."""

MEMORY = 256 << 20
"""Bytes of address space that unpacking may take."""

OUTSIDE = "OUTSIDE"
"""Stands for the absolute path of a folder that nothing may be written to."""

ELSEWHERE = (
    "../x",
    "../../outside/x",
    "top/../../x",
    "top/../x",
    "OUTSIDE/x",
    "/OUTSIDE/x",
    "top/./../../outside/canary",
    "..\\x",
    "top\\..\\..\\x",
    "C:\\x",
    "C:/x",
    "top/a\\..\\..\\x",
    "toppled/x",
    "top",
    "x",
    "",
    ".",
    "..",
    "~/x",
)
LINKS = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)


@dataclass(frozen=True)
class Hostile:
    """An archive.

    Attributes
    ----------
    kind : str
        ``tar`` or ``zip``.
    data : bytes
    plain : dict of str to bytes, or None
        What it must unpack to; None where it must be refused.
    either : bool
        Whether it may also be refused, or be another one that is harmless: bytes were changed at random, or files
        compressed in an unusual way.
    description : str
        What was done, for a complaint.
    """

    kind: str
    data: bytes
    plain: dict[str, bytes] | None
    either: bool
    description: str


def run(count: int, seed: int) -> Figures:
    """Unpack `count` seeded archives next to files that must stay as they are."""
    with producer.workplace() as place:
        outside = str(place / "outside")
        corpus = [_make(random.Random(f"{seed} {number}"), outside) for number in range(count)]
        results = sweep(corpus, lambda hostile: _attempt(place, hostile), limit=20, memory=MEMORY)
    complaints = [
        "" if line in ("refused", "unpacked") else f"{hostile.description}: {line}"
        for line, hostile in zip(results, corpus, strict=True)
    ]
    note = (
        "tar.gz and zip: paths that lead out, links, devices, bombs, contents cut or changed before and after "
        f"compression; {results.count('refused'):,} refused, {results.count('unpacked'):,} harmless and unpacked"
    )
    return summed("Hostile archives", complaints, note)


def _attempt(place: Path, hostile: Hostile) -> str:
    for name in ("outside", "data"):
        shutil.rmtree(place / name, ignore_errors=True)
        (place / name).mkdir()
        (place / name / "canary").write_text("untouched")
    archive = place / "archive"
    archive.write_bytes(hostile.data)
    before = _tree(place)
    top = place / "data" / "top"
    try:
        (extract_tar if hostile.kind == "tar" else extract_zip)(archive, top, entries=ENTRIES, size=SIZE)
    except (BadData, CannotWrite) as error:
        if _tree(place) != before:
            return "refused, and left something behind"
        if hostile.plain is not None and not hostile.either:
            return f"a good archive refused: {error}"
        return "refused"
    except Exception as error:
        return f"an error without a name: {error!r}"
    after = _tree(place)
    inside = {name: what for name, what in after.items() if name == "data/top" or name.startswith("data/top/")}
    if any(after.get(name) != what for name, what in before.items()) or after.keys() - inside.keys() - before.keys():
        return f"escaped: {sorted(after.items() - before.items())}"
    if any(what == "neither file nor folder" for what in inside.values()):
        return f"a link or a device: {inside}"
    files = {name.removeprefix("data/"): what for name, what in inside.items() if isinstance(what, bytes)}
    if sum(map(len, files.values())) > SIZE:
        return "more bytes than allowed"
    if not hostile.either and files != hostile.plain:
        return f"unpacked to {sorted(files)}"
    return "unpacked"


def _tree(folder: Path) -> dict[str, bytes | str]:
    """Return what is below a folder: the content of files, and what else there is."""
    found: dict[str, bytes | str] = {}
    for path in folder.rglob("*"):
        mode = path.lstat().st_mode
        what = (
            path.read_bytes() if stat.S_ISREG(mode) else "folder" if stat.S_ISDIR(mode) else "neither file nor folder"
        )
        found[path.relative_to(folder).as_posix()] = what
    return found


def _make(chance: random.Random, outside: str) -> Hostile:
    kind = chance.choice(["tar", "zip"])
    good = {
        f"top/{name}": chance.randbytes(chance.randrange(200)) for name in chance.sample(_NAMES, chance.randint(1, 3))
    }
    evil = chance.choice(list(_EVIL[kind])) if chance.random() < 0.6 else None
    data = (_tar if kind == "tar" else _zip)(good, evil, outside, chance)
    hurt = chance.choice(["", "", "cut", "bytes", "bytes", "first"])
    if kind == "tar":
        if hurt in ("bytes", "first"):
            data = _changed(data, chance, hurt)
        data = gzip.compress(data, mtime=0)
        if hurt == "bytes" and chance.random() < 0.3:
            data = _changed(data, chance, hurt)
    elif hurt in ("bytes", "first"):
        data = _changed(data, chance, hurt)
    if hurt == "cut":
        data = data[: chance.randrange(len(data))]
    unusual = evil == "an unusual compression"
    plain = good if evil is None or unusual else None
    return Hostile(kind, data, plain, bool(hurt) or unusual, f"{kind}, {evil or 'good'}, {hurt or 'whole'}")


def _changed(data: bytes, chance: random.Random, where: str) -> bytes:
    """Change some bytes: anywhere, or in the first header and the last kilobyte."""
    changed = bytearray(data)
    for _ in range(chance.choice([1, 1, 1, 2, 8])):
        near = chance.choice([chance.randrange(min(512, len(data))), -1 - chance.randrange(min(1024, len(data)))])
        changed[near if where == "first" else chance.randrange(len(data))] = chance.randrange(256)
    return bytes(changed)


_EXTENDED = "a path that leads out, in an extended header"
_NAMES = ("a.txt", "b c.txt", "deep/er/é.txt", "empty/0", "UPPER", "x" * 120)


def _tar(good: dict[str, bytes], evil: str | None, outside: str, chance: random.Random) -> bytes:
    out = io.BytesIO()
    form = tarfile.PAX_FORMAT if evil == _EXTENDED else chance.choice([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
    members = [(tarfile.TarInfo(name), data) for name, data in good.items()]
    if evil is not None:
        members.insert(chance.randrange(len(members) + 1), _evil_member(evil, outside, chance))
    if evil == "a file through a link":
        members.append((tarfile.TarInfo("top/way/x"), b"through"))
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for member, data in members:
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


def _evil_member(evil: str, outside: str, chance: random.Random) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo("top/way")
    if evil == "a path that leads out":
        member.name = chance.choice(ELSEWHERE).replace(OUTSIDE, outside)
    elif evil == _EXTENDED:
        member.pax_headers = {"path": chance.choice([name for name in ELSEWHERE if name]).replace(OUTSIDE, outside)}
    elif evil in ("a link or a device", "a file through a link"):
        member.type = tarfile.SYMTYPE if evil == "a file through a link" else chance.choice(LINKS)
        member.linkname = chance.choice([outside, "../../outside", "../..", "a.txt", "."])
    elif evil == "a bomb":
        return member, bytes(BOMB) if chance.random() < 0.8 else bytes(SIZE + 1)
    return member, b"" if member.type in LINKS else b"x"


def _zip(good: dict[str, bytes], evil: str | None, outside: str, chance: random.Random) -> bytes:
    out = io.BytesIO()
    usual, unusual = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED), (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    ways = unusual if evil == "an unusual compression" else usual
    with zipfile.ZipFile(out, "w") as pack:
        for name, data in good.items():
            pack.writestr(name, data, chance.choice(ways))
        if evil == "a path that leads out":
            member = zipfile.ZipInfo("placeholder")
            member.filename = chance.choice(ELSEWHERE).replace(OUTSIDE, outside)
            pack.writestr(member, b"x")
        elif evil == "a link or a device":
            member = zipfile.ZipInfo("top/way")
            kinds = (stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK)
            member.external_attr = (chance.choice(kinds) | 0o777) << 16
            pack.writestr(member, chance.choice([outside.encode(), b"../../outside"]))
        elif evil == "a bomb":
            pack.writestr("top/way", bytes(BOMB), chance.choice([zipfile.ZIP_DEFLATED, *unusual]))
    data = out.getvalue()
    if evil == "an understated size":
        with zipfile.ZipFile(out, "a") as pack:
            pack.writestr("top/way", bytes(3 * SIZE), zipfile.ZIP_DEFLATED)
        data = out.getvalue().replace((3 * SIZE).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    return data


_EVIL = {
    "tar": (
        "a path that leads out",
        _EXTENDED,
        "a link or a device",
        "a file through a link",
        "a bomb",
    ),
    "zip": (
        "a path that leads out",
        "a link or a device",
        "a bomb",
        "an understated size",
        "an unusual compression",
    ),
}
