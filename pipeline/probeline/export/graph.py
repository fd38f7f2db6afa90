"""The same predictor as a graph that needs no Probeline: torch.export's .pt2 and ONNX.

Inside are normalisation, net, head and temperature; outside is the resize of an arbitrary picture, which is Pillow's.
The input is uint8 [N, S, S, 3] for any N, the outputs are logits float32 [N, K] and probabilities float32 [N, K].
"""

from __future__ import annotations

import importlib.util
import io
import warnings
from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np
import torch
from torch import Tensor, nn

from probeline.backbones.frozen import Normalize
from probeline.errors import BadOption, Mismatch, MissingExtra
from probeline.export.artifact.graph_files import check_onnx_file, pickled
from probeline.export.artifact.record import Artifact, GraphFacts, GraphInput, GraphOutputs
from probeline.export.format import ONNX, PT2
from probeline.export.predictor import Predictor
from probeline.images import PixelArray
from probeline.types import FloatArray

OPSET = 18
"""The set of ONNX operators that torch's exporter is written for."""

INPUT = fields(GraphInput)[0].name
OUTPUTS = tuple(output.name for output in fields(GraphOutputs))

TOLERANCE = 1e-4
"""Largest difference of a logit, relative to an image's largest logit if that is above 1."""


def check_onnx() -> None:
    """Refuse to export if a package that ONNX needs is not installed.

    Raises
    ------
    MissingExtra
    """
    absent = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
    if absent:
        raise MissingExtra(f"{', '.join(absent)} not installed", remedy="pip install 'probeline[onnx]'")


class Graph(nn.Module):
    """Everything from a crop to its probabilities, by a predictor on the CPU in float32."""

    def __init__(self, predictor: Predictor) -> None:
        super().__init__()
        artifact = predictor.artifact
        self._frozen, self.net, self.head = predictor.net, predictor.net.net, predictor.head
        self._normalize = Normalize(artifact.preprocess, torch.device("cpu"))
        self._classes, self._temperature = len(artifact.classes), artifact.temperature

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and probabilities float32 [N, K] for crops uint8 [N, S, S, 3]."""
        read = self._frozen.features(self._normalize(pixels))
        logits = read[:, : self._classes] if self.head is None else self.head(read)
        return logits, (logits / self._temperature).softmax(1)


def graphs(predictor: Predictor, names: Sequence[str]) -> dict[str, tuple[bytes, GraphFacts]]:
    """Return the bytes of each graph file and its facts for the record, without those of a comparison.

    The predictor must be on the CPU, in float32.

    Raises
    ------
    BadOption
        The net cannot be exported.
    """
    artifact = predictor.artifact
    side, classes = artifact.preprocess.crop, len(artifact.classes)
    outputs = GraphOutputs(logits=("N", classes), probabilities=("N", classes))
    facts = GraphFacts(GraphInput(pixels=("N", side, side, 3)), outputs, str(torch.__version__))
    files: dict[str, tuple[bytes, GraphFacts]] = {}
    program = _export_program(predictor)
    for name in names:
        if name == PT2:
            files[name] = _pt2(program), facts
        else:
            data, opset = _onnx(program, artifact)
            files[name] = data, replace(facts, opset=opset)
    return files


def _export_program(predictor: Predictor) -> torch.export.ExportedProgram:
    side = predictor.artifact.preprocess.crop
    graph = Graph(predictor).eval().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    example = torch.zeros(2, side, side, 3, dtype=torch.uint8)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.export.export(graph, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    except Exception as error:  # torch raises dozens of kinds, for whatever a net does that a graph cannot say
        raise _refused(predictor.artifact, "a graph", error) from error
    program.example_inputs = None  # it would be pickled too
    return program


def _refused(artifact: Artifact, what: str, error: Exception) -> BadOption:
    return BadOption(
        f"{artifact.net.name} cannot be written as {what}",
        got=(str(error).strip().splitlines() or [type(error).__name__])[0][:200],
        remedy="export it without --pt2 and --onnx",
    )


def _pt2(program: torch.export.ExportedProgram) -> bytes:
    stream = io.BytesIO()
    torch.export.save(program, stream)
    data = stream.getvalue()
    if members := pickled(io.BytesIO(data)):
        raise ValueError(f"torch pickled {', '.join(members)}")
    return data


def _onnx(program: torch.export.ExportedProgram, artifact: Artifact) -> tuple[bytes, int]:
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            onnx_program = torch.onnx.export(
                program,
                input_names=[INPUT],
                output_names=list(OUTPUTS),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
                external_data=False,
            )
        if onnx_program is None:
            raise ValueError("torch wrote nothing")
        model = onnx_program.model_proto
        (opset,) = (used.version for used in model.opset_import if used.domain in ("", "ai.onnx"))
        data = model.SerializeToString()
        check_onnx_file(data)
        return data, opset
    except Exception as error:  # as above
        raise _refused(artifact, "ONNX", error) from error


def run_graph(name: str, data: bytes, pixels: PixelArray) -> tuple[FloatArray, FloatArray]:
    """Return logits and probabilities float32 [n, K] that a graph file's bytes give for crops uint8 [n, S, S, 3]."""
    if name == ONNX:
        import onnxruntime

        session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        logits, shares = session.run(list(OUTPUTS), {INPUT: pixels})
        return logits, shares
    with torch.no_grad():
        logits, shares = torch.export.load(io.BytesIO(data)).module()(torch.from_numpy(pixels))
    return logits.numpy(), shares.numpy()


def check_parity(name: str, got: FloatArray, expected: FloatArray) -> float:
    """Return the largest difference of logits float32 [n, K] of a graph file from those expected; see `TOLERANCE`.

    Raises
    ------
    Mismatch
        It is more than `TOLERANCE`.
    """
    scale = np.maximum(np.abs(expected).max(1), 1)
    worst = float((np.abs(got - expected).max(1) / scale).max(initial=0))
    if not worst <= TOLERANCE:
        raise Mismatch(
            f"{name} says other logits than the pipeline",
            expected=f"differences of at most {TOLERANCE:g}",
            got=f"{worst:.2g}",
            remedy="nothing is written",
        )
    return worst
