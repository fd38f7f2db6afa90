"""Pictures of a net: its stages against torchvision's own modules, and the values of an input against its tensor."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from probeline.analysis.net_pictures import anatomy_text, count_values, moments, read_anatomy
from probeline.backbones.frozen import Normalize
from probeline.backbones.resolve import load
from probeline.images import Preprocess
from probeline.report.figures import net as figures
from probeline.report.figures.pictures import rendered

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_stages_of_a_resnet_are_its_layers() -> None:
    loaded = load("resnet18", "none", 64)[0]
    head = 512 * 7 + 7
    anatomy = read_anatomy(loaded.net, loaded.tap, 64, head)
    shapes = {}
    hooks = [
        module.register_forward_hook(lambda *call, name=name: shapes.update({name: tuple(call[2].shape[1:])}))
        for name, module in loaded.net.named_children()
    ]
    with torch.no_grad():
        loaded.net(torch.zeros(2, 3, 64, 64))
    for hook in hooks:
        hook.remove()
    layers = [stage for stage in anatomy.stages if stage.module.startswith("layer")]
    for stage in layers:
        layer = stage.module.partition(".")[0]
        assert stage.shape == shapes[layer]
        if layer != "layer1":  # the first stage may hold the stem as well
            assert stage.parameters == sum(p.numel() for p in loaded.net.get_submodule(layer).parameters())
    backbone = loaded.backbone
    assert sum(stage.parameters for stage in anatomy.stages) == backbone.parameters - backbone.head_parameters
    assert anatomy.stages[0].trained == backbone.parameters - backbone.head_parameters + head
    assert anatomy.stages[-1].trained == anatomy.stages[-1].parameters + head
    assert [stage.strategy for stage in anatomy.stages[-2:]] == ["last-2", "last-1"]
    assert anatomy.stages[0].strategy == "full"
    assert (
        "with a head of 7 classes on 512 features, which alone has 3,591" in anatomy_text(backbone, anatomy, 7).caption
    )


@pytest.mark.parametrize("name", ["mobilenet_v2", "squeezenet1_1"])
def test_the_parameters_of_the_stages_are_all_below_the_head(name: str) -> None:
    loaded = load(name, "none", 64)[0]
    anatomy = read_anatomy(loaded.net, loaded.tap, 64, 10)
    below = loaded.backbone.parameters - loaded.backbone.head_parameters
    assert sum(stage.parameters for stage in anatomy.stages) == below
    assert all(stage.shape for stage in anatomy.stages)
    sides = [stage.shape[-1] for stage in anatomy.stages]
    assert sides == sorted(sides, reverse=True)


def test_a_histogram_is_of_the_nets_own_input() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    pixels[..., 2] //= 4
    preprocess = Preprocess(
        resize=32, crop=32, interpolation="bilinear", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
    )
    histogram = count_values(pixels, preprocess)
    tensor = Normalize(preprocess, torch.device("cpu"))(torch.from_numpy(pixels)[None])[0].double()
    for channel in range(3):
        mean, sd = moments(histogram.counts[channel], histogram.values[channel])
        assert mean == pytest.approx(float(tensor[channel].mean()), abs=1e-5)
        assert sd == pytest.approx(float(tensor[channel].std(correction=0)), abs=1e-5)
        before, _ = moments(histogram.counts[channel], np.arange(256.0))
        assert before == pytest.approx(pixels[..., channel].mean())
    other = count_values(pixels, replace(preprocess, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)))
    assert np.allclose(other.values, np.arange(256) / 255)


def test_figures_show_every_stage_and_each_channel() -> None:
    lines = [figures.StageLine("a." + "long" * 20, (64, 56, 56), 1000, 3000, "full")]
    lines.append(figures.StageLine("layer2", (197, 768), 2000, 2010, "last-1"))
    sheet = figures.anatomy("Anatomy", lines, 10)
    texts = [text.get_text() for text in sheet.axes[0].texts]
    assert "64 x 56 x 56" in texts
    assert "3k  full" in texts
    assert any(text.startswith("…") for text in texts)
    assert [bar.get_width() for bar in sheet.axes[0].patches] == pytest.approx([0.08, 0.16, 0.0008])
    counts = np.zeros((3, 256), np.int64)
    counts[:, 8:16] = 5
    values = np.stack([np.linspace(-2, 2, 256)] * 3)
    drawn = figures.input_values("Values", counts, values)
    before, after = drawn.axes
    assert len(before.patches) == len(after.patches) == 3
    for axes in (before, after):
        shares, edges, _ = axes.patches[0].get_data()
        assert shares.sum() == pytest.approx(100)
        assert shares[1] == pytest.approx(100)
    assert edges[0] == pytest.approx(-2 - 2 / 255)
    assert rendered(lambda: figures.anatomy("Anatomy", lines, 10)).startswith(b"\x89PNG")
