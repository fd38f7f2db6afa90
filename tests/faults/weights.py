"""Hostile weights files: each is refused in one line, or read with no more memory and time than its bytes need."""

from __future__ import annotations

import io
import json
import pickle
import random
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from faults import producer
from faults.children import sweep
from faults.figures import Figures, summed
from probeline.backbones.weights.state_dict import read_state
from probeline.errors import ProbelineError

MEMORY = 768 << 20
"""Bytes of address space that reading may take; the bombs ask for 1 GiB to some TiB."""

SECONDS = 20
"""For one file. The largest kinds take one or two: a pickle of 32 MiB would take a minute."""

BOMB = 1 << 30

STATE = {"conv.weight": torch.arange(24.0).reshape(2, 3, 2, 2), "conv.bias": torch.ones(2)}

Maker = Callable[[Path], Path]


def run(count: int, seed: int) -> Figures:
    """Read every kind, and `count` seeded damages of them, in children that may crash, hang or run out of memory."""
    kinds = dict(_kinds())
    trials: list[tuple[str, int | None]] = [(name, None) for name in kinds]
    chance = random.Random(seed)
    good = [name for name in kinds if name.startswith("good")]
    trials += [(chance.choice(chance.choice([good, list(kinds)])), chance.randrange(1 << 32)) for _ in range(count)]
    with producer.workplace() as place:
        results = sweep(trials, lambda trial: _attempt(place, kinds[trial[0]], *trial), limit=SECONDS, memory=MEMORY)
    complaints = [
        "" if line in ("read", "refused") else f"{name}{'' if damage is None else ', damaged'}: {line}"
        for line, (name, damage) in zip(results, trials, strict=True)
    ]
    note = (
        f"{len(kinds)} kinds (archives that unpack to more, pickles that grow, tensors of no bytes, indexes, twins) "
        f"and their changed copies, in {MEMORY >> 20} MiB; {results.count('read'):,} read, "
        f"{results.count('refused'):,} refused in one line"
    )
    return summed("Hostile weights", complaints, note)


def _attempt(place: Path, make: Maker, name: str, damage: int | None) -> str:
    path = make(place)
    if damage is not None:
        _change(path, random.Random(damage))
    try:
        state = read_state(path)
    except ProbelineError as error:
        if name.startswith("good") and damage is None:
            return f"a good file refused: {error}"
        return "refused" if "\n" not in str(error) and len(str(error)) < 1000 else f"not in one line: {error}"
    except Exception as error:
        return f"an error without a name: {error!r}"
    if name.startswith("good") and damage is None:
        names = {written.rpartition("net.")[2] for written in state}
        return "read" if names == STATE.keys() else f"other tensors: {sorted(names)}"
    if damage is None:
        return f"accepted: {sorted(state)!r:.100}"
    most = path.stat().st_size + 4096 if path.suffix != ".json" else 1 << 20
    large = [written for written, tensor in state.items() if tensor.layout == torch.strided and tensor.numel() > most]
    return f"larger than the file: {large}" if large else "read"


def _change(path: Path, chance: random.Random) -> None:
    """Change some bytes, at the beginning and the end, where headers are, more often than elsewhere; or cut it."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        if chance.random() < 0.1:
            file.truncate(chance.randrange(size))
            return
        for _ in range(chance.choice([1, 1, 2, 5])):
            reach = min(size, chance.choice([64, 1024, size]))
            place = chance.choice([chance.randrange(reach), size - 1 - chance.randrange(reach)])
            file.seek(place)
            file.write(bytes([chance.randrange(256)]))


class Net(nn.Module):
    """A module that is pickled whole."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 2, 2)


def _kinds() -> Iterator[tuple[str, Maker]]:
    def written(data: bytes, name: str = "weights.pth") -> Maker:
        def make(place: Path) -> Path:
            (place / name).write_bytes(data)
            return place / name

        return make

    yield "good: torch", written(_saved(STATE))
    yield "good: before torch 1.6", written(_saved(STATE, is_old=True))
    yield "good: wrapped", written(_saved({"state_dict": {f"net.{name}": part for name, part in STATE.items()}}))
    yield "good: a module", written(_saved(Net()))
    yield "good: safetensors", written(save_safetensors(dict(STATE)), "weights.safetensors")
    yield "good: an index", _index(["a.safetensors", "b.safetensors"], existing=True)
    yield from ((name, written(data)) for name, data in _archives())
    yield from ((name, written(_packed(data))) for name, data in _pickles())
    yield "a tensor of 10^13 numbers", written(_saved({"w": torch.ones(1).expand(10**13)}))
    yield "a sparse tensor of 10^12 equal places", written(_saved({"w": _sparse()}))
    for name, state in _twins():
        yield name, written(_saved(state))
    yield (
        "an old file with a storage of 10^12",
        written(_saved(STATE, is_old=True).replace(_pickled(24), _pickled(10**12))),
    )
    header = json.dumps({"w": {"dtype": "F32", "shape": [10**13], "data_offsets": [0, 4]}}).encode()
    yield "safetensors of 10^13 numbers", written(struct.pack("<Q", len(header)) + header + bytes(4), "w.safetensors")
    yield "safetensors with a header of 10^17", written(struct.pack("<Q", 10**17) + b"{}", "w.safetensors")
    yield "an index of 100,000 files", _index([f"{i}.safetensors" for i in range(100_000)])
    yield "an index that leads out", _index(["../outside.safetensors"])
    yield "an index with a name of 100,000 letters", _index(["a" * 100_000])
    yield "an index with a name with a zero", _index(["a\0b"])
    yield "an index that nests", written(b'{"weight_map":' + b"[" * 100_000, "nested.json")
    yield "an index of no names", written(b'{"weight_map": {"a": 1, "b": [2]}}', "numbers.json")

    def sparse(place: Path) -> Path:
        path = place / "sparse.pth"
        with path.open("wb") as file:
            file.truncate(200 << 30)
        return path

    yield "200 GiB of a file without any", sparse


def _saved(content: object, *, is_old: bool = False) -> bytes:
    out = io.BytesIO()
    torch.save(content, out, _use_new_zipfile_serialization=not is_old)
    return out.getvalue()


def _pickled(number: int) -> bytes:
    return pickle.dumps(number, 2)[2:-1]


def _sparse() -> Tensor:
    places, values = torch.zeros(1, 1, dtype=torch.int64).expand(1, 10**12), torch.zeros(1).expand(10**12)
    return torch.sparse_coo_tensor(places, values, (1,), check_invariants=False)


def _twins() -> Iterator[tuple[str, Mapping[str, Tensor]]]:
    other = STATE["conv.bias"] + 1
    yield "twins: _orig_mod", {"_orig_mod.conv.bias": other, **STATE}
    yield "twins: a name and a nest", {**STATE, "conv": {"bias": other}}  # type: ignore[dict-item]


def _index(names: list[str], *, existing: bool = False) -> Maker:
    def make(place: Path) -> Path:
        if existing:
            for name, (key, tensor) in zip(names, STATE.items(), strict=True):
                (place / name).write_bytes(save_safetensors({key: tensor}))
        path = place / "model.safetensors.index.json"
        path.write_text(json.dumps({"weight_map": {f"w{i}": name for i, name in enumerate(names)}}))
        return path

    return make


def _archives() -> Iterator[tuple[str, bytes]]:
    """Yield archives that torch would read, which unpack to more than they have."""
    good = _saved({"w": torch.zeros(1)})
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(good)) as given, zipfile.ZipFile(out, "w") as pack:
        for member in given.infolist():
            is_data = "/data/" in member.filename
            data = (
                bytes(BOMB) if is_data else given.read(member).replace(_pickled(1) + b"t", _pickled(BOMB // 4) + b"t")
            )
            pack.writestr(member.filename, data, zipfile.ZIP_DEFLATED if is_data else zipfile.ZIP_STORED)
    yield "an archive of 1 GiB of zeros", out.getvalue()
    yield "an archive with a beginning of its own", b"PK\3\4" + bytes(60) + good
    yield "an archive with a comment", good[:-2] + struct.pack("<H", 7) + b"comment"
    yield "an archive that lists one member 1,000 times", _repeated(1 << 20, 1000)
    start, length = struct.unpack("<L", good[-6:-2])[0], struct.unpack("<L", good[-10:-6])[0]
    yield "an archive of two lists", good[:-22] + good[start : start + length] + good[-22:]


def _repeated(size: int, times: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as pack:
        pack.writestr("a/data.pkl", pickle.dumps({}, 2))
        pack.writestr("a/data/0", bytes(size))
    data = out.getvalue()
    start = struct.unpack("<L", data[-6:-2])[0]
    entry = data[data.rindex(b"PK\1\2") : -22]
    listed = data[start:-22] + b"".join(entry[:-1] + bytes([i % 256]) for i in range(times))
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, times + 2, times + 2, len(listed), start, 0)
    return data[:start] + listed + end


def _packed(pickled: bytes) -> bytes:
    """Return an archive of torch without tensors beside its pickle."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as pack:
        for name, data in (("data.pkl", pickled), ("byteorder", b"little"), ("version", b"3\n")):
            pack.writestr(f"archive/{name}", data)
    return out.getvalue()


def _text(text: str) -> bytes:
    return b"X" + struct.pack("<L", len(text)) + text.encode()


def _pickles() -> Iterator[tuple[str, bytes]]:
    """Yield pickles of a few bytes that ask for far more."""

    def whole(value: bytes) -> bytes:
        return b"\x80\x02}" + _text("w") + value + b"s."

    encode, array = b"c_codecs\nencode\n", b"c__builtin__\nbytearray\n"
    value = encode + _text("a" * 8) + _text("latin1") + b"\x86R"
    for _ in range(30):
        value = encode + value + _text("hex") + b"\x86R"
    yield "a text that is encoded 30 times", whole(value)
    yield "a text in punycode", whole(encode + _text("é" * 100_000) + _text("punycode") + b"\x86R")
    long = b"\x8a\x06" + (10**13).to_bytes(6, "little")
    yield "10^13 zeros", whole(array + long + b"\x85R")
    yield (
        "10^10 zeros, counted",
        whole(b"ccollections\nCounter\n" + array + b"\x8a\x05" + (10**10).to_bytes(5, "little") + b"\x85R\x85R"),
    )
    yield "a tensor of 10^13 by its class", whole(b"ctorch\nFloatTensor\n" + long + b"\x85R")
    yield "a byte array of a class, built anew", whole(array + long + b"\x85\x81")
    yield "a place in the memo of 2^31", whole(b"Nr\xff\xff\xff\x7f")
    yield "a text of 4 GiB that is not there", whole(b"X\xff\xff\xff\xffaa")
    yield "texts of 33 MiB", whole(_text("a" * (33 << 20)))
    nested = b"}" + _text("t") + _text("x") + b"sq\0"
    for depth in range(1, 11):
        nested = b"}(" + b"".join(_text(str(i)) + (nested if not i else b"h" + bytes([depth - 1])) for i in range(10))
        nested += b"uq" + bytes([depth])
    yield "10^10 entries of one mapping", whole(nested)
    yield "100,000 lists in each other", whole(b"]" * 100_000 + b"a" * 99_999)
    yield "no pickle", b"no pickle"
    yield "nothing", b""
