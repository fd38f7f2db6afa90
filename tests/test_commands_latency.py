"""The latency stage: who takes turns, when passes are timed anew, and what compare says of them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from threadpoolctl import threadpool_limits
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from made_records import make_latency
from made_scores import judged, make_score
from probeline.analysis.latency import Passes, TimedNet, measure_latency, peak_bytes
from probeline.commands import compare, latency
from probeline.environment import conditions, environment
from probeline.errors import CannotWrite, OutOfMemory
from probeline.files.reading import read_text
from probeline.format import escape
from probeline.identity import HEADS_VERSION, digest, unseal
from probeline.report.records.loading import load_latencies
from probeline.report.sections.scores.latency import cost_table, costs, hardware, latency_notes, sessions
from probeline.results.latency import LATENCIES
from probeline.results.score import SCORES
from probeline.session import Session
from small_runs import Listening, configuration

NETS = ("squeezenet1_1", "mnasnet0_5")

pytestmark = pytest.mark.usefixtures("one_thread")


FEW = Passes(batches=(1, 2), warm_up=1, timed=4)


def inputs_of(root: Path, **changes: Any) -> tuple[Session, Listening]:
    console = Listening()
    options = {"backbones": NETS, "device": "cpu", "workers": 1, "console": console, **changes}
    return Session(configuration(root / "cache", **options)), console


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which two nets were timed together; leave it as it is."""
    root = tmp_path_factory.mktemp("latency")
    with threadpool_limits(1):
        time_few(inputs_of(root)[0])
    return root


@pytest.fixture
def timed(root: Path, tmp_path: Path) -> Path:
    """Reports of their own, with what was timed in them."""
    reports = tmp_path / "reports"
    for record in LATENCIES.load(inputs_of(root)[0].reports)[0]:
        LATENCIES.save(reports / "digits-limit60", record)
    return reports


def time_few(session: Session) -> list[dict[str, Any]]:
    return latency.run(session, FEW)


def is_timed(session: Session) -> bool:
    """Return whether passes are timed in a run of this session; if not, its records stay as they are."""
    before = {path: path.stat().st_mtime_ns for path in session.reports.glob("latency-*")}
    _, is_new = measure_latency(session, FEW)
    after = {path: path.stat().st_mtime_ns for path in session.reports.glob("latency-*")}
    assert is_new == (after != before)
    return is_new


class Watch:
    """Sees every timed pass of a net before it begins: what is given `seen` the net and its input."""

    def __init__(self, seen: Callable[[nn.Module, torch.Tensor], None]) -> None:
        self.seen, self.depth = seen, 0

    def enter(self, module: nn.Module, inputs: Any) -> None:
        self.depth += 1
        # Nets run in inference mode only to be timed.
        if self.depth == 1 and torch.is_inference_mode_enabled():
            self.seen(module, inputs[0])

    def leave(self, *_: Any) -> None:
        self.depth -= 1


class Timed(Exception):
    """A pass is timed."""


def stop(*_: Any) -> None:
    raise Timed


@contextmanager
def watched(seen: Callable[[nn.Module, torch.Tensor], None]) -> Iterator[None]:
    watch = Watch(seen)
    hooks = [
        register_module_forward_pre_hook(watch.enter),
        register_module_forward_hook(watch.leave, always_call=True),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def name_of(net: nn.Module) -> str:
    return {"SqueezeNet": "squeezenet1_1", "MNASNet": "mnasnet0_5"}[type(net).__name__]


# What is recorded


def test_a_record_says_what_was_timed_and_on_what(root: Path) -> None:
    session, _ = inputs_of(root)
    found, ignored = LATENCIES.load(session.reports)
    assert ignored == []
    assert {one.backbone for one in found} == set(NETS)
    assert len({one.session for one in found}) == 1
    for one in found:
        record, _ = session.backbone(one.backbone)
        assert (one.weights, one.precision, one.image_size) == ("none", "fp32", 32)
        assert (one.parameters, one.threads, one.warm_up) == (record.parameters, 1, 1)
        assert [passes.batch for passes in one.passes] == [1, 2]
        for passes in one.passes:
            assert len(passes.seconds) == 4
            assert min(passes.seconds) > 0
            assert passes.peak_bytes is None, "a CPU does not tell"
        assert one.environment["device"] == "CPU"
        assert one.environment["torch"] == torch.__version__
    by = {one.backbone: one for one in found}
    assert (by["squeezenet1_1"].norms, by["squeezenet1_1"].folded) == (0, 0)
    assert by["mnasnet0_5"].folded == by["mnasnet0_5"].norms > 0
    (path,) = session.reports.glob("latency-mnasnet0_5-*.json")
    assert path.name == f"latency-mnasnet0_5-{by['mnasnet0_5'].key[:12]}.json"
    assert unseal(path.read_bytes()) is not None


def test_nets_take_turns_and_are_the_stock_ones(root: Path, tmp_path: Path) -> None:
    turns: list[tuple[str, int]] = []
    nets = {}

    def watch(net: nn.Module, images: torch.Tensor) -> None:
        assert torch.get_num_threads() == 1
        turns.append((name_of(net), len(images)))
        nets[name_of(net)] = net

    session, _ = inputs_of(root, reports=tmp_path / "reports")
    with watched(watch):
        time_few(session)
    first, second = NETS
    warm = [(name, batch) for batch in (1, 2) for name in NETS]
    assert turns == [
        *warm[:2],
        *[(first, 1), (second, 1)] * 4,
        *warm[2:],
        *[(first, 2), (second, 2)] * 4,
    ]
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    for name, net in nets.items():
        stock = session.net(name).net
        with torch.no_grad():
            logits, wanted = net(images), stock(images)
        assert logits.shape == (2, 1000)
        # Folding may change the rounding of a deep net, 1e-3 of the largest value at most: that is where it stops.
        assert (logits - wanted).abs().max() <= 1e-3 * wanted.abs().max()


def test_one_net_under_two_weights_is_timed_apart(root: Path, tmp_path: Path) -> None:
    net = inputs_of(root)[0].net(NETS[0]).net
    torch.save({name: tensor + 1 for name, tensor in net.state_dict().items()}, tmp_path / "other.pth")
    backbones = (NETS[0], f"{NETS[0]}@{tmp_path / 'other.pth'}")
    first, second = time_few(inputs_of(root, backbones=backbones, reports=tmp_path / "reports")[0])
    assert (first["weights"], second["weights"]) == ("none", "other.pth")
    assert [len(one["passes"]) for one in (first, second)] == [2, 2]
    for record in LATENCIES.load(inputs_of(root, reports=tmp_path / "reports")[0].reports)[0]:
        assert [len(passes.seconds) for passes in record.passes] == [4, 4]


def test_a_batch_that_does_not_fit_is_left_out(root: Path, tmp_path: Path) -> None:
    def refuse(net: nn.Module, images: torch.Tensor) -> None:
        if name_of(net) == "mnasnet0_5" and len(images) > 1:
            raise RuntimeError("CUDA out of memory, made up")

    session, console = inputs_of(root, reports=tmp_path / "reports")
    with watched(refuse):
        told = {one["backbone"]: [passes["batch"] for passes in one["passes"]] for one in time_few(session)}
    assert told == {"squeezenet1_1": [1, 2], "mnasnet0_5": [1]}
    assert "latency: mnasnet0_5: a batch of 2 does not fit the device, left out" in console.said


def test_peak_memory_is_that_of_one_net_among_several(monkeypatch: pytest.MonkeyPatch) -> None:
    told = {"memory_allocated": 5_000, "max_memory_allocated": 5_700, "reset_peak_memory_stats": None}
    for name, value in told.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: None)
    net = torch.nn.Conv2d(3, 2, 1)
    one = TimedNet(None, net, 0, 0, 32)  # type: ignore[arg-type]
    images = torch.zeros(2, 3, 4, 4)
    # The other nets' weights are among the 5,000 that were there before; of one's own pass are 700.
    assert peak_bytes(one, images, torch.device("cuda")) == 32 + images.nbytes + 700
    assert peak_bytes(one, images, torch.device("cpu")) is None


@pytest.mark.parametrize(
    ("error", "raised", "line"),
    [
        (
            RuntimeError("not enough memory: you tried"),
            OutOfMemory,
            "one image does not fit into the memory of cpu with squeezenet1_1; "
            "time fewer nets at once, or use a smaller --image-size",
        ),
        (RuntimeError("something else"), RuntimeError, "something else"),
    ],
)
def test_errors_of_a_pass(error: Exception, raised: type[Exception], line: str, root: Path, tmp_path: Path) -> None:
    def fail(*_: Any) -> None:
        raise error

    session, _ = inputs_of(root, reports=tmp_path / "reports")
    with watched(fail), pytest.raises(raised) as caught:
        time_few(session)
    assert str(caught.value) == line
    assert not session.reports.exists()


# When it is timed anew


SECOND = """
import sys
from pathlib import Path
from probeline.analysis.latency import Passes
from probeline.commands import latency
from probeline.console import Silence
from probeline.options.settings import Settings
from probeline.session import Session
class Printing(Silence):
    def say(self, line):
        print(line)
root, *nets = sys.argv[1:]
places = {"cache": Path(root) / "cache", "reports": Path(root) / "reports"}
options = {"weights": "none", "image_size": 32, "limit": 60, "device": "cpu", "workers": 1}
latency.run(Session(Settings.of(console=Printing(), backbones=tuple(nets), **places, **options)), Passes((1, 2), 1, 4))
heavy = {"torch", "torchvision", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
"""


def test_a_second_run_times_nothing_and_imports_no_torch(root: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    command = [sys.executable, "-c", SECOND, str(root), *NETS]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in NETS:
        assert f"latency: {name}: up to date, skipped; timed on 1 thread, fp32: " in done.stdout
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()} == before


def test_one_of_several_is_there_too(root: Path) -> None:
    session, console = inputs_of(root, backbones=NETS[:1])
    (told,) = time_few(session)
    assert [line.partition(";")[0] for line in console.said] == [f"latency: {NETS[0]}: up to date, skipped"]
    assert told["passes"][0]["ratio"] == 1


@pytest.mark.parametrize(
    "changes",
    [{"image_size": 64}, {"workers": 2}, {"precision": "bf16"}, {"weights": "{}/other.pth"}],
    ids=["image size", "threads", "precision", "weights"],
)
def test_other_conditions_are_timed_anew(changes: dict[str, Any], root: Path, timed: Path, tmp_path: Path) -> None:
    one = {"backbones": NETS[:1], "reports": timed}
    assert not is_timed(inputs_of(root, **one)[0])
    if "weights" in changes:
        net = inputs_of(root)[0].net(NETS[0]).net
        torch.save({name: tensor + 1 for name, tensor in net.state_dict().items()}, tmp_path / "other.pth")
        changes = {"weights": changes["weights"].format(tmp_path)}
    with watched(stop), pytest.raises(Timed):
        time_few(inputs_of(root, **one, **changes)[0])


def another_fact(fact: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let another processor, driver or version of a package be found."""
    files = {
        "processor": (Path("/proc/cpuinfo"), "model name : another"),
        "driver": (Path("/proc/driver/nvidia/version"), "NVRM version: 999.99"),
    }
    if fact in files:
        path, text = files[fact]
        read = read_text
        monkeypatch.setattr(
            "probeline.environment.read_text", lambda own, kind: text if own == path else read(own, kind)
        )
    else:
        (folder / f"{fact}-0.0.dist-info").mkdir(parents=True)
        metadata = f"Metadata-Version: 2.1\nName: {fact}\nVersion: 0.0\n"
        (folder / f"{fact}-0.0.dist-info" / "METADATA").write_text(metadata, encoding="utf-8")
        monkeypatch.syspath_prepend(folder)


@pytest.mark.parametrize("fact", ["processor", "driver", "torch"])
def test_other_hardware_and_versions_are_timed_anew(
    fact: str, root: Path, timed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, _ = inputs_of(root, reports=timed)
    assert not is_timed(session)
    another_fact(fact, tmp_path / "site", monkeypatch)
    assert is_timed(session)


def test_another_device_is_another_condition() -> None:
    assert conditions(environment("another")) != conditions(environment("CPU"))


def test_nets_that_were_timed_apart_are_timed_together(root: Path, timed: Path) -> None:
    session, _ = inputs_of(root, reports=timed)
    (one, _), _ = LATENCIES.load(session.reports)
    LATENCIES.save(session.reports, replace(one, session=digest("another")))
    for name in NETS:
        assert not is_timed(inputs_of(root, reports=timed, backbones=(name,))[0])
    assert is_timed(session)


def test_what_is_damaged_is_timed_anew(root: Path, timed: Path) -> None:
    session, console = inputs_of(root, reports=timed)
    (path,) = session.reports.glob("latency-squeezenet1_1-*.json")
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"warm_up":1', b'"warm_up":2'))
    (ignored,) = LATENCIES.load(session.reports)[1]
    assert ignored.path == path
    assert is_timed(session)
    assert any(f"recomputed, as {path.name} is damaged" in line for line in console.said)
    assert LATENCIES.load(session.reports)[1] == []


def test_a_record_under_another_name_is_not_used(timed: Path) -> None:
    (path,) = (timed / "digits-limit60").glob("latency-squeezenet1_1-*.json")
    other = path.with_name("latency-squeezenet1_1-000000000000.json")
    path.rename(other)
    (ignored,) = LATENCIES.load(timed / "digits-limit60")[1]
    assert ignored.reason == f"holds the latency that belongs at {path.name}"
    assert LATENCIES.find(timed / "digits-limit60", "squeezenet1_1", "f" * 64) is None


def test_a_folder_that_cannot_be_written_is_told_before_a_pass(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    session, _ = inputs_of(root, reports=tmp_path / "file")
    with watched(lambda *_: pytest.fail("a pass is timed")), pytest.raises(CannotWrite):
        time_few(session)


# What is said of it


def test_ratios_are_of_passes_in_one_turn() -> None:
    nets = [make_latency("slow", 3.0), make_latency("fast", 1.0)]
    # A turn in which one net alone was held up changes no median over the turns.
    first, *rest = nets[0].passes[0].seconds
    nets[0] = replace(nets[0], passes=(replace(nets[0].passes[0], seconds=(100 * first, *rest)), nets[0].passes[1]))
    lines = costs(nets)
    assert [(line.backbone, line.batch) for line in lines] == [("fast", 1), ("slow", 1), ("fast", 32), ("slow", 32)]
    assert [line.ratio for line in lines] == pytest.approx([1, 3, 1, 3], rel=1e-12)
    for line, passes in zip(lines[::2], nets[1].passes, strict=True):
        ordered = sorted(passes.seconds)
        assert line.median == pytest.approx((ordered[49] + ordered[50]) / 2)
        # Of 100 values the 5th percentile lies between the fifth and the sixth.
        assert ordered[4] <= line.low <= ordered[5]
        assert ordered[94] <= line.high <= ordered[95]
        assert line.images_per_second == line.batch / line.median


def test_only_nets_of_one_session_are_compared() -> None:
    nets = [make_latency("a", 2.0, "one"), make_latency("b", 1.0, "two"), make_latency("c", 4.0, "one")]
    found = sessions(nets)
    assert [[net.backbone for net in some] for some in found] == [["a", "c"], ["b"]]
    assert [line.ratio for line in costs(found[0])] == pytest.approx([1, 2, 1, 2])
    assert {line.ratio for line in costs(found[1])} == {1}


def test_nets_with_other_numbers_of_passes_did_not_take_turns() -> None:
    net, other = make_latency("a", 2.0, "one"), make_latency("b", 1.0, "one")
    passes = tuple(replace(one, seconds=one.seconds[1:]) for one in other.passes)
    assert [len(some) for some in sessions([net, replace(other, passes=passes)])] == [1, 1]


def test_the_probe_beside_it_is_that_of_the_very_net() -> None:
    net = make_latency()
    probe = make_score(accuracy=0.75, top5=0.95)
    assert probe.top1 == 0.75
    others = [
        replace(probe, **changes)
        for changes in (
            {"weights": "none"},
            {"image_size": 96},
            {"precision": "bf16"},
            {"tap": "layer3"},
            {"views": 2},
            {"method": "ridge"},
            {"backbone": "resnet18"},
        )
    ]
    assert [line.top1 for line in costs([net], others)] == [None, None]
    lines = costs([net], [*others, probe])
    assert {(line.top1, line.top5, line.n_test) for line in lines} == {(0.75, 0.95, 500)}
    text = cost_table(lines).markdown()
    assert re.search(r"Probe top-1 % \| Probe top-5 % \|", text)
    assert re.search(r" 75\.0 \| +95\.0 \|", text)
    assert "Probe" not in cost_table(costs([net])).markdown()
    few = costs([net], [replace(probe, top5=None)])
    assert "top-5" not in cost_table(few).markdown()


def test_hardware_and_folding_are_told_in_words() -> None:
    nets = [make_latency(), make_latency("vit_b_16", norms=0, folded=0, peak=500_000_000)]
    assert hardware(nets) == "2 threads, fp32: Linux x86_64, Xeon, 2 cores, CPU; " + (
        "numpy 2.4.1, python 3.12.3, torch 2.13.0"
    )
    told = " ".join(latency_notes(nets))
    assert "(52 of 52 of mobilenet_v2; vit_b_16 has none)" in told
    assert "10 warm-up passes, then 100 " in told
    assert "on batches of 1 and 32" in told
    assert "Peak MB" in told
    assert "Peak MB" not in " ".join(latency_notes(nets[:1]))
    assert re.search(r"\| vit_b_16 .* 500 \|", cost_table(costs(nets)).markdown())


@pytest.mark.usefixtures("undrawn")
def test_compare_tables_what_was_timed(root: Path, timed: Path) -> None:
    session, console = inputs_of(root, reports=timed)
    result = compare.run(session)
    text = Path(str(result["report"])).read_text(encoding="utf-8")
    assert "## Latency" in text
    found, _ = LATENCIES.load(session.reports)
    assert f"On {escape(hardware(found))}." in text
    for line in costs(found):
        assert f"| {line.title}" in text
    (told,) = json.loads(Path(str(result["json"])).read_text(encoding="utf-8"))["latencies"]
    assert [(row["batch"], row["top1"]) for row in told["rows"]] == [(1, None), (1, None), (2, None), (2, None)]
    # With a score of the net's exact probe its accuracy stands beside it.
    size = {"weights": "none", "image_size": 32, "class_names": session.dataset.class_names}
    version = {"version": HEADS_VERSION}
    probe = make_score("probe", NETS[0], dataset="digits-limit60", splits=session.splits_sha256, n_test=12, **size)
    labels = session.dataset.parts[session.splits.test.part].labels[session.splits.test.rows]
    probe = judged(probe, labels=tuple(labels.tolist()))
    SCORES.save(session.reports, replace(probe, options={**probe.options, **version}))
    text = Path(str(compare.run(session)["report"])).read_text(encoding="utf-8")
    assert "Probe top-1 %" in text
    assert text.count("- The probe is the exact one") == 1
    (path,) = session.reports.glob("latency-mnasnet0_5-*.json")
    path.write_bytes(b"")
    compare.run(session)
    assert f"compare: left out {path}: is damaged: its bytes are not those its sha256 was taken of" in console.said


def test_of_one_net_on_one_device_the_last_times_are_shown(root: Path, timed: Path) -> None:
    session, _ = inputs_of(root, reports=timed)
    (one, _), _ = LATENCIES.load(session.reports)
    later = replace(one, key=digest("a later version of torch"), session=digest("later"))
    LATENCIES.save(session.reports, later)
    LATENCIES.save(session.reports, replace(later, key=digest("elsewhere"), threads=7))
    shown = load_latencies(session)
    assert sorted((net.backbone, net.threads) for net in shown) == sorted(
        [*((name, 1) for name in NETS), (one.backbone, 7)]
    )
    assert later in shown
    assert one not in shown


@pytest.mark.usefixtures("undrawn")
def test_compare_without_times_says_nothing_of_them(root: Path, tmp_path: Path) -> None:
    session, _ = inputs_of(root, reports=tmp_path / "reports")
    result = compare.run(session)
    assert "forward pass" not in Path(str(result["report"])).read_text(encoding="utf-8")
    assert json.loads(Path(str(result["json"])).read_text(encoding="utf-8"))["latencies"] == []
