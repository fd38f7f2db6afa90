"""The penultimate tap of every classification net, found and proven."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from probeline.backbones import torchvision_import as vision
from probeline.backbones.build import random_net
from probeline.backbones.penultimate import Tap, find_tap, set_head
from probeline.backbones.sources.torchvision import names as torchvision_names
from probeline.backbones.weights.state_dict import tensors_sha256
from probeline.errors import BadOption, BadWeights
from small_runs import smallest_size, torchvision_nets

# The published widths of the embeddings, by hand, for one net of each family.
WIDTHS = {
    "alexnet": 4096,
    "convnext_tiny": 768,
    "densenet121": 1024,
    "efficientnet_b0": 1280,
    "efficientnet_v2_s": 1280,
    "googlenet": 1024,
    "inception_v3": 2048,
    "maxvit_t": 512,
    "mnasnet1_0": 1280,
    "mobilenet_v2": 1280,
    "mobilenet_v3_large": 1280,
    "regnet_x_400mf": 400,
    "resnet18": 512,
    "resnet50": 2048,
    "resnext50_32x4d": 2048,
    "shufflenet_v2_x1_0": 1024,
    "squeezenet1_1": 512,
    "swin_t": 768,
    "swin_v2_t": 768,
    "vgg16": 4096,
    "vit_b_16": 768,
    "wide_resnet50_2": 2048,
}

QUICK = {"alexnet", "densenet121", "googlenet", "mobilenet_v2", "resnet18", "squeezenet1_1", "swin_t"}
"""The nets that differ most; the rest is slow."""


def test_the_names_are_torchvisions() -> None:
    models = vision.models()
    assert set(torchvision_names()) == set(models.list_models(module=models))
    assert len(torchvision_names()) >= 80


@pytest.mark.parametrize("name", torchvision_nets(QUICK, WIDTHS))
def test_head_of_tap_equals_logits(name: str) -> None:
    net, size = random_net(name, 0), smallest_size(name)
    tap = find_tap(net, size, name)
    assert tap.dim == WIDTHS.get(name, tap.dim)
    assert tap.pooling == ("avg" if name.startswith("squeezenet") else "none")

    # Proven once more without the finder's own means: another image, another way to read the tap.
    image = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(1)) * 2 - 1
    head = net.get_submodule(tap.head)
    with torch.no_grad():
        logits = net.eval()(image)
        seen: list[torch.Tensor] = []
        handle = head.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
        net(image)
        handle.remove()
        again = head(seen[-1])
        if tap.pooling == "avg":
            again = again.relu().mean((2, 3))
        set_head(net, tap, nn.Identity())
        embedding = net(image)
    # The same float32 operations in the same order: equal but for the blocking of another memory layout.
    torch.testing.assert_close(again, logits, rtol=1e-4, atol=1e-5 * float(logits.abs().max()))
    assert embedding.shape == (1, tap.dim)
    expected = seen[-1].mean((2, 3)) if tap.pooling == "avg" else seen[-1]
    torch.testing.assert_close(embedding, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def tapped(net: nn.Module) -> Tap:
    return find_tap(net, 32, "net")


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten())
        self.one, self.two = nn.Linear(12, 4), nn.Linear(12, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.one(self.body(x)) + self.two(self.body(x))) / 2


def test_logits_that_no_last_layer_gives_are_the_embedding() -> None:
    net = TwoHeads()
    tap = tapped(net)
    assert (tap.head, tap.pooling, tap.dim) == ("added_head", "output", 4)
    assert tap.tensors == ("one.bias", "one.weight", "two.bias", "two.weight")
    image = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    assert torch.equal(net(image), (net.one(net.body(image)) + net.two(net.body(image))) / 2)


def headless(name: str, **options: Any) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net: nn.Module = vision.timm().create_model(name, num_classes=0, **options)
        return net.eval()


@pytest.mark.parametrize(
    ("name", "size", "dim"),
    [
        ("test_vit", 160, 64),
        ("test_byobnet", 64, 256),
        ("test_convnext", 64, 64),
        ("test_efficientnet", 64, 256),  # whose last layer is a convolution that gives the output
        ("mobilenetv3_small_050", 64, 1024),
        ("vit_tiny_patch16_224", 224, 192),
    ],
)
def test_the_embedding_of_a_net_without_head_is_its_output(name: str, size: int, dim: int) -> None:
    net, stock = headless(name), headless(name)
    tap = find_tap(net, size, name)
    assert (tap.head, tap.pooling, tap.dim) == ("added_head", "output", dim)
    assert set(tap.tensors) == {path for path in stock.state_dict() if not path.endswith("num_batches_tracked")}
    assert net.state_dict().keys() == stock.state_dict().keys()
    image = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        embedding = stock(image)
        assert torch.equal(net(image), embedding)
        head = nn.Linear(dim, 5)
        set_head(net, tap, head)
        assert torch.equal(net(image), head(embedding))
        assert torch.equal(copy.deepcopy(net)(image), head(embedding))
    assert net.state_dict().keys() - stock.state_dict().keys() == {"added_head.weight", "added_head.bias"}


def test_a_sequence_of_modules_runs_an_added_head_once() -> None:
    net = nn.Sequential(nn.Conv2d(3, 6, 4, stride=4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(6))
    tap = tapped(net)
    assert (tap.head, tap.dim) == ("added_head", 6)
    image = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    embedding = net(image)
    set_head(net, tap, head := nn.Linear(6, 6))
    assert torch.equal(net(image), head(embedding))


@pytest.mark.parametrize(("name", "size"), [("deit_tiny_distilled_patch16_224", 224), ("crossvit_tiny_240", 240)])
def test_of_a_net_with_several_heads_the_embedding_is_what_they_work_on(name: str, size: int) -> None:
    net = vision.timm().create_model(name).eval()
    bare = copy.deepcopy(net)
    bare.reset_classifier(0)
    tap = find_tap(net, size, name)
    image = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(net(image), bare(image))
    assert (tap.pooling, tap.dim) == ("output", bare.num_features)


class Gives(nn.Module):
    """Gives what a function makes of a map [N, 4, 8, 8]."""

    def __init__(self, make: Callable[[torch.Tensor], Any]) -> None:
        super().__init__()
        self.conv, self.make = nn.Conv2d(3, 4, 4, stride=4), make

    def forward(self, x: torch.Tensor) -> Any:
        return self.make(self.conv(x))


@pytest.mark.parametrize(
    ("make", "got"),
    [
        (lambda maps: maps, r"an output \[N, D\], got a map \[2, 4, 8, 8\]"),
        (lambda maps: maps.flatten(2), r"an output \[N, D\], got tokens \[2, 4, 64\]"),
        (lambda maps: {"features": maps.mean((2, 3))}, r"an output \[N, D\], got a dict"),
        (lambda maps: maps.mean((0, 2, 3)), r"an output \[N, D\], got \[4\]"),
        (lambda maps: maps.mean((2, 3)) - maps.mean((0, 2, 3)), "a row for each image, got one that depends on others"),
    ],
)
def test_an_output_that_is_no_embedding_is_refused(make: Callable[[torch.Tensor], Any], got: str) -> None:
    with pytest.raises(BadOption, match=rf"^net gives no features \(expected {got}\)"):
        tapped(Gives(make))


def test_a_net_that_gives_no_finite_logits_is_refused() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 4))
    nn.init.constant_(net[1].weight, float("inf"))
    with pytest.raises(BadWeights, match="not finite"):
        tapped(net)


def test_an_impossible_size_is_one_line() -> None:
    with pytest.raises(BadOption, match=r"alexnet cannot take images of 20 pixels.*--image-size"):
        find_tap(random_net("alexnet", 0), 20, "alexnet")


def test_what_the_embedding_does_not_need_is_no_part_of_it() -> None:
    net = random_net("googlenet", 0)
    tap = find_tap(net, 64, "googlenet")
    assert not [name for name in tap.tensors if name.startswith(("aux", "fc")) or "num_batches" in name]
    assert "inception5b.branch4.1.bn.running_var" in tap.tensors
    before = tensors_sha256(net, tap.tensors)
    with torch.no_grad():
        net.get_parameter("fc.bias").add_(1)
        net.get_buffer("conv1.bn.num_batches_tracked").add_(1)
    assert tensors_sha256(net, tap.tensors) == before
    with torch.no_grad():
        weight = net.get_parameter("conv1.conv.weight").view(-1)
        weight[0] = torch.nextafter(weight[0], torch.tensor(9.0))
    assert tensors_sha256(net, tap.tensors) != before


def test_finding_the_tap_leaves_the_net_as_it_was() -> None:
    net = random_net("mobilenet_v2", 0)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    state = torch.get_rng_state()
    head = net.classifier[1]
    tap = find_tap(net, 32, "mobilenet_v2")
    assert net.get_submodule(tap.head) is head
    assert torch.equal(torch.get_rng_state(), state)
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name]), name
