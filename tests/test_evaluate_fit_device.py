"""Where heads are fitted: every stage hands the session's CUDA device to its solvers, and its records say so.

No GPU is needed: the solvers are told of one, and run on the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from probeline.backbones import device
from probeline.commands import baselines, curve, doctor, pictures, probe
from probeline.evaluate.exact_probe import predict_out_of_fold
from probeline.evaluate.features import CachedFeatures
from probeline.evaluate.heads.fit_device import FitDevice
from probeline.evaluate.score import refit
from probeline.finetuning.fitted_probe import Teacher
from probeline.heads.logistic import path
from probeline.heads.minibatch import mlp, sgd
from probeline.results.curve import CURVES
from probeline.results.findings import FINDINGS
from probeline.results.score import SCORES, Score
from probeline.session import Session
from small_runs import configuration, extracted

pytestmark = pytest.mark.usefixtures("one_thread")

NET, CARD = "squeezenet1_1", "NVIDIA Imaginary"
SOLVERS: dict[str, Any] = {"walk_path": path, "fit_sgd": sgd, "fit_mlp": mlp}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("fit") / "cache"
    extracted(place)
    return place


Call = tuple[str, str, str]
"""Solver, device and precision of float32 products."""


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Call]]:
    """The calls of the solvers on a machine that seems to have a GPU; they run on the CPU."""
    found: list[Call] = []
    choose: Callable[[str], torch.device] = device.choose

    def watched(name: str, solve: Callable[..., Any]) -> Callable[..., Any]:
        def fit(*arguments: Any, device: str = "default", **options: Any) -> Any:
            found.append((name, device, torch.backends.cuda.matmul.fp32_precision))
            return solve(*arguments, **options)

        return fit

    for name, module in SOLVERS.items():
        monkeypatch.setattr(module, name, watched(name, getattr(module, name)))
    monkeypatch.setattr(device, "choose", lambda name: torch.device(name) if name.startswith("cuda") else choose(name))
    monkeypatch.setattr(device, "describe", lambda one: CARD if one.type == "cuda" else "CPU")
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = "tf32"  # as a caller may have switched it on
    yield found
    torch.backends.cuda.matmul.fp32_precision = before


def session_of(cache: Path, reports: Path, name: str, **changes: Any) -> Session:
    options = {"sgd": ("lr=1e-3", "epochs=1"), "mlp": ("epochs=1", "width=4"), "fractions": (50.0,), "draws": 1}
    return Session(configuration(cache, reports=reports, device=name, **{**options, **changes}))


def scores_of(session: Session) -> dict[str, Score]:
    return {score.method: score for score in SCORES.load(session.reports)[0]}


@pytest.mark.slow
def test_every_stage_fits_on_the_sessions_device(cache: Path, tmp_path: Path, calls: list[Call]) -> None:
    session = session_of(cache, tmp_path / "there", "cuda:1")
    for verb in (probe, baselines, curve, doctor, pictures):
        calls.clear()
        verb.run(session)
        expected = {probe: set(SOLVERS), baselines: set()}.get(verb, {"walk_path"})
        assert {name for name, _, _ in calls} == expected, verb
        assert {(where, precision) for _, where, precision in calls} <= {("cuda:1", "ieee")}, verb
    devices = {method: score.environment["device"] for method, score in scores_of(session).items()}
    on_gpu = {"probe", "probe-refit", "probe-sgd", "probe-mlp"}
    assert devices == {method: CARD if method in on_gpu else "CPU" for method in devices}
    assert on_gpu < devices.keys()
    assert [record.environment["device"] for record in CURVES.load(session.reports)[0]] == [CARD]
    assert [record.environment["device"] for record in FINDINGS.load(session.reports)[0]] == [CARD]

    here = session_of(cache, tmp_path / "here", "cpu")
    calls.clear()
    for verb in (probe, baselines):
        verb.run(here)
    assert {where for _, where, _ in calls} == {"cpu"}
    for method, score in scores_of(here).items():
        other = scores_of(session)[method]
        assert (score.key, score.predictions, score.path) == (other.key, other.predictions, other.path)


@pytest.mark.slow
def test_a_teacher_and_a_head_that_is_fitted_again(cache: Path, tmp_path: Path, calls: list[Call]) -> None:
    there, here = (session_of(cache, tmp_path / name, name) for name in ("cuda", "cpu"))
    features = {session: CachedFeatures(session, session.backbone(NET)[0]) for session in (there, here)}
    for session in features:
        probe.run(session)
    calls.clear()
    Teacher(there, there.backbone(NET)[0]).facts  # noqa: B018 - it is fitted by a look at it
    assert {where for _, where, _ in calls} == {"cuda"}
    # On the device where it was fitted first, if that is at hand: so its rounding is the same.
    for fitted_on, session, expected in ((there, there, "cuda"), (here, there, "cpu"), (here, here, "cpu")):
        calls.clear()
        refit(features[session], scores_of(fitted_on)["probe"])
        assert {where for _, where, _ in calls} == {expected}


def test_mps_and_the_cpu_fit_on_the_cpu(calls: list[Call], monkeypatch: pytest.MonkeyPatch) -> None:
    choose = device.choose
    monkeypatch.setattr(device, "choose", lambda name: torch.device("mps") if name == "auto" else choose(name))
    for option in ("auto", "cpu"):
        place = FitDevice(option)
        assert place.run(lambda number, *, device: (number, device), 3) == (3, "cpu")
        assert place.label == "CPU"
    assert FitDevice("cuda").label == "CPU", "nothing ran there"


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("cusolver error: CUSOLVER_STATUS_ALLOC_FAILED")],
    ids=str,
)
def test_a_fit_that_the_device_does_not_hold_goes_on_on_the_cpu(error: RuntimeError, calls: list[Call]) -> None:
    said: list[str] = []
    place = FitDevice("cuda", said.append)
    tried: list[str] = []

    def fit(size: int, *, device: str) -> str:
        tried.append(device)
        if device != "cpu" and size > 1:
            raise error
        return device

    assert [place.run(fit, size) for size in (1, 2, 1)] == ["cuda", "cpu", "cpu"]
    assert tried == ["cuda", "cuda", "cpu", "cpu"]
    assert said == [f"heads: a fit does not fit into the memory of {CARD}; it goes on on the CPU"]
    assert place.label == f"{CARD}, CPU"


def test_a_defect_is_not_taken_for_lack_of_memory(calls: list[Call]) -> None:
    def fail(*, device: str) -> None:
        raise RuntimeError(f"shapes differ on {device}")

    with pytest.raises(RuntimeError, match="shapes differ on cuda"):
        FitDevice("cuda").run(fail)


def test_out_of_fold_predictions_use_the_device(cache: Path, tmp_path: Path, calls: list[Call]) -> None:
    session = session_of(cache, tmp_path, "cuda")
    predict_out_of_fold(CachedFeatures(session, session.backbone(NET)[0]))
    assert {(name, where) for name, where, _ in calls} == {("walk_path", "cuda")}
