"""Parity: the exported predictor, its .pt2 and its ONNX graph say what the pipeline says, for a CNN and a ViT."""

from __future__ import annotations

import importlib.util
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

import probeline
from probeline.commands import baselines, export, extract, finetune, probe
from probeline.data.pixels.decode import resize_crop
from probeline.data.pixels.loading import open_image
from probeline.errors import BadOption, Mismatch, MissingExtra
from probeline.evaluate.features import CachedFeatures
from probeline.export import graph
from probeline.export.artifact.graph_files import pickled
from probeline.export.format import ONNX, PT2
from probeline.export.graph import check_parity, graphs, run_graph
from probeline.export.modules import Votes
from probeline.export.predictor import Predictor
from probeline.heads.linear import decision
from probeline.heads.logistic.path import fit_path
from probeline.heads.select import L2_GRID
from probeline.images import PixelArray
from probeline.options.settings import Settings
from probeline.session import Session
from probeline.types import FloatArray
from small_runs import make_coloured

HAS_ONNX = all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime"))
needs_onnx = pytest.mark.skipif(
    not HAS_ONNX, reason="no onnx, onnxscript or onnxruntime: pip install 'probeline[onnx]'"
)

CLOSE = 1e-4
"""Of a logit, absolute: what the artifact promises."""

CNN, VIT = "squeezenet1_1", "timm:test_vit"

pytestmark = pytest.mark.usefixtures("one_thread", "every_l2")


def config_of(place: Path, net: str, **options: Any) -> Settings:
    small = {"weights": "none", "limit": 30, "device": "cpu", "workers": 1, "batch_size": 16, "epochs": 1}
    sizes = {CNN: 32, VIT: 160}
    facts: dict[str, Any] = {"sgd": ("epochs=1", "lr=1e-3"), "image_size": sizes.get(net), **small, **options}
    return Settings.of(backbones=(net,), cache=place / "cache", reports=place / "reports", **facts)


@pytest.fixture(scope="module", params=[CNN, pytest.param(VIT, marks=pytest.mark.slow)])
def shipped(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, Path]:
    """A probe on the digits of scikit-learn by a net of random weights (the smallest ViT of timm), with its graphs.

    The CNN's has no ONNX, which takes seconds: that of its votes says the same of the net and more of the head.
    """
    if request.param == VIT:
        pytest.importorskip("timm")
    place = tmp_path_factory.mktemp("shipped")
    config = config_of(place, request.param)
    with threadpool_limits(1):
        extract.run(Session(config))
        probe.run(Session(config))
        export.run(
            Session(config.changed(method="probe", out=place / "out", pt2=True, onnx=HAS_ONNX and request.param == VIT))
        )
    return config, place / "out"


def by_the_pipeline(config: Settings) -> tuple[FloatArray, PixelArray, list[Any]]:
    """Return the probe's logits for the test images, from cached features, their crops, and the images."""
    session = Session(config)
    backbone, _ = session.backbone(config.nets.backbones[0])
    task = CachedFeatures(session, backbone)
    held = task.load_selection_folds()[0]
    (score,) = [score for score in _scores(session) if score.method == "probe"]
    heads = fit_path(held.X, held.y, task.classes, L2_GRID)
    logits = decision(heads[L2_GRID.index(score.chosen["l2"])], task.load_test(held))
    test = session.splits.test
    images = session.dataset.images[test.part]
    pictures = [open_image(images, row) for row in test.rows]
    return logits, np.stack([resize_crop(picture, backbone.preprocess) for picture in pictures]), pictures


def _scores(session: Session) -> list[Any]:
    from probeline.results.score import SCORES

    return SCORES.load(session.reports)[0]


def softmax(logits: FloatArray, temperature: float) -> Any:
    shares = np.exp((logits - logits.max(1, keepdims=True)).astype(np.float64) / temperature)
    return shares / shares.sum(1, keepdims=True)


def test_load_says_what_the_pipeline_says(shipped: tuple[Settings, Path]) -> None:
    config, out = shipped
    logits, _, pictures = by_the_pipeline(config)
    found = probeline.load(out, "cpu").predict(pictures)
    assert np.abs(found.logits - logits).max() <= CLOSE


def test_pt2_says_what_the_pipeline_says(shipped: tuple[Settings, Path]) -> None:
    config, out = shipped
    wanted, crops, _ = by_the_pipeline(config)
    run = torch.export.load(out / PT2).module()
    temperature = probeline.load(out, "cpu").artifact.temperature
    for n in (1, 3, len(crops)):
        with torch.no_grad():
            logits, shares = run(torch.from_numpy(crops[:n]))
        assert logits.dtype == shares.dtype == torch.float32
        assert np.abs(logits.numpy() - wanted[:n]).max() <= CLOSE
        assert shares.numpy() == pytest.approx(softmax(logits.numpy(), temperature), abs=1e-5)


def check_onnx(out: Path, crops: PixelArray, wanted: FloatArray) -> None:
    """Hold the ONNX file of an artifact against logits of crops, and against what the artifact tells of it."""
    import onnx
    import onnxruntime

    session = onnxruntime.InferenceSession(out / ONNX, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    side = crops.shape[1]
    assert (given.name, given.type, given.shape[1:]) == ("pixels", "tensor(uint8)", [side, side, 3])
    temperature = probeline.load(out, "cpu").artifact.temperature
    for n in (1, 3, len(crops)):
        logits, shares = session.run(["logits", "probabilities"], {"pixels": crops[:n]})
        assert np.abs(logits - wanted[:n]).max() <= CLOSE
        assert shares == pytest.approx(softmax(logits, temperature), abs=1e-5)
    told = probeline.load(out, "cpu").artifact.graphs[ONNX]
    assert told.opset == next(one.version for one in onnx.load(out / ONNX).opset_import if not one.domain)
    assert f"opset {told.opset}" in (out / "README.md").read_text()


@needs_onnx
@pytest.mark.parametrize("shipped", [pytest.param(VIT, marks=pytest.mark.slow)], indirect=True)
def test_onnx_runtime_says_what_the_pipeline_says(shipped: tuple[Settings, Path]) -> None:
    config, out = shipped
    wanted, crops, _ = by_the_pipeline(config)
    check_onnx(out, crops, wanted)


def test_a_pt2_holds_no_pickle(shipped: tuple[Settings, Path]) -> None:
    data = (shipped[1] / PT2).read_bytes()
    assert pickled(io.BytesIO(data)) == []
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert not [name for name in archive.namelist() if name.endswith((".pkl", ".pickle"))]
        for name in archive.namelist():
            if "/data/weights/" not in name and "/data/constants/" not in name:
                assert archive.read(name)[:1] != b"\x80", name  # what every pickle of protocol 2 or more begins with


def test_a_pickle_in_a_pt2_is_seen() -> None:
    stream = io.BytesIO()
    torch.export.save(torch.export.export(nn.Linear(2, 2), (torch.zeros(1, 2),)), stream)
    assert pickled(stream) == ["data/sample_inputs/model.pt"]


def test_the_record_tells_how_far_a_graph_was_off(shipped: tuple[Settings, Path]) -> None:
    config, out = shipped
    record = probeline.load(out, "cpu").artifact
    assert set(record.graphs) == {PT2, ONNX} & {path.name for path in out.iterdir()}
    n = min(64, len(Session(config).splits.test))
    for facts in record.graphs.values():
        assert 0 <= facts.difference <= CLOSE
        assert facts.images == n
        assert facts.torch == torch.__version__


def test_the_graph_of_a_trained_net(tmp_path: Path) -> None:
    """SqueezeNet's own head is a convolution inside of the net."""
    make_coloured(tmp_path / "pictures", n=8)
    options = {"dataset": f"folder:{tmp_path / 'pictures'}", "limit": None, "strategies": ("full",)}
    config = config_of(tmp_path, CNN, **options)
    finetune.run(Session(config))
    export.run(Session(config.changed(method="finetune", out=tmp_path / "out", pt2=True)))
    crops = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    wanted = probeline.load(tmp_path / "out", "cpu").outputs(crops).logits.numpy()
    logits, _ = run_graph(PT2, (tmp_path / "out" / PT2).read_bytes(), crops)
    assert check_parity("model.pt2", logits, wanted) <= CLOSE


@pytest.mark.slow
@pytest.mark.parametrize("method", ["knn", "knn-weighted"])
def test_graphs_of_votes_and_of_inner_taps(method: str, shipped: tuple[Settings, Path], tmp_path: Path) -> None:
    """Inner taps are read by hooks."""
    config = shipped[0].changed(taps=("features.9+penultimate" if shipped[0].nets.backbones == (CNN,) else "last-2",))
    extract.run(Session(config))
    baselines.run(Session(config))
    export.run(Session(config.changed(method=method, out=tmp_path / "out", pt2=True, onnx=HAS_ONNX)))
    predictor = probeline.load(tmp_path / "out", "cpu")
    _, crops, _ = by_the_pipeline(config)
    outputs = predictor.outputs(crops)
    assert isinstance(predictor.head, Votes)
    sure = ~predictor.head.undecided(outputs.features, 1e-4).numpy()
    assert sure[0], "or the pass of one image proves nothing"
    wanted = outputs.logits.numpy()
    logits, _ = run_graph(PT2, (tmp_path / "out" / PT2).read_bytes(), crops)
    assert np.abs(logits - wanted)[sure].max() <= CLOSE
    facts = predictor.artifact.graphs
    assert set(facts) == ({PT2, ONNX} if HAS_ONNX else {PT2})
    for graph_facts in facts.values():
        assert 0 < graph_facts.images <= len(crops)
        assert 0 <= graph_facts.difference <= CLOSE
    if HAS_ONNX:
        check_onnx(tmp_path / "out", crops[sure], wanted[sure])


@pytest.mark.slow
@pytest.mark.parametrize(("net", "weights", "side"), [("mobilenet_v2", "IMAGENET1K_V1", 64), (VIT, "none", 160)])
def test_photographs(net: str, weights: str, side: int, shared: Path, tmp_path: Path) -> None:
    """By real weights where there are any at hand; by a ViT of random ones."""
    if net == VIT:
        pytest.importorskip("timm")
    options = {"dataset": "hymenoptera", "data": shared / "data", "weights": weights, "image_size": side, "limit": 30}
    config = config_of(tmp_path, net, **options)
    extract.run(Session(config))
    probe.run(Session(config))
    export.run(Session(config.changed(method="probe", out=tmp_path / "out", pt2=True, onnx=HAS_ONNX)))
    wanted, crops, pictures = by_the_pipeline(config)
    assert np.abs(probeline.load(tmp_path / "out", "cpu").predict(pictures).logits - wanted).max() <= CLOSE
    for name in (PT2, ONNX)[: 1 + HAS_ONNX]:
        logits, _ = run_graph(name, (tmp_path / "out" / name).read_bytes(), crops)
        assert np.abs(logits - wanted).max() <= CLOSE


def test_a_graph_that_says_something_else_is_refused() -> None:
    wanted = np.array([[3.0, -40.0]], np.float32)
    assert check_parity("model.onnx", wanted + 0.0039, wanted) == pytest.approx(0.0039 / 40, rel=1e-2)
    with pytest.raises(
        Mismatch, match=r"^model.onnx says other logits than the pipeline \(expected differences of at most"
    ):
        check_parity("model.onnx", wanted + 0.0041, wanted)
    with pytest.raises(Mismatch, match="got nan"):
        check_parity("model.onnx", wanted * np.float32("nan"), wanted)


def test_without_the_packages_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        MissingExtra, match=r"^onnx, onnxscript, onnxruntime not installed; pip install 'probeline\[onnx\]'$"
    ):
        export.run(Session(config_of(tmp_path, CNN, onnx=True)))


class Counting(nn.Module):
    """A net that a graph cannot say: what it does depends on its numbers."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.inner = net

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.inner(images)
        return found if float(found.sum()) > 0 else -found


@pytest.mark.parametrize("shipped", [CNN], indirect=True)
def test_a_net_that_no_graph_can_say_is_one_line(shipped: tuple[Settings, Path]) -> None:
    predictor = probeline.load(shipped[1], "cpu")
    assert isinstance(predictor, Predictor)
    predictor.net.net = Counting(predictor.net.net)
    with pytest.raises(
        BadOption, match=r"cannot be written as a graph \(got .*\); export it without --pt2 and"
    ) as caught:
        graphs(predictor, [PT2])
    assert "\n" not in str(caught.value)
    assert graph.OPSET >= 18
