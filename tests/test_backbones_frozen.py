"""The frozen net: torchvision's own features, whatever the batch, and nothing in it moves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from probeline.backbones.build import random_net
from probeline.backbones.fold import fold_batchnorm
from probeline.backbones.frozen import Frozen, Normalize
from probeline.backbones.penultimate import set_head
from probeline.backbones.resolve import load
from probeline.data.pixels.decode import decode, resize_crop
from probeline.errors import OutOfMemory
from probeline.images import Preprocess

CPU = torch.device("cpu")


def photos(shared: Path, count: int) -> list[Path]:
    return sorted((shared / "data" / "hymenoptera_data" / "val" / "ants").iterdir())[:count]


@pytest.mark.parametrize(
    ("name", "weights"), [("mobilenet_v2", "IMAGENET1K_V1"), ("squeezenet1_1", "PATH"), ("resnet18", "none")]
)
def test_features_are_torchvisions(name: str, weights: str, shared: Path) -> None:
    if weights == "PATH":
        weights = str(shared / "weights" / "squeezenet1_1-imagenet-rgb.pth")
    loaded, _ = load(name, weights, None)
    reference, _ = load(name, weights, None)
    set_head(reference.net, reference.tap, nn.Identity())
    from torchvision.transforms import functional as transforms

    files = photos(shared, 3)
    expected, ours = [], []
    record = loaded.backbone.preprocess
    for file in files:
        with Image.open(file) as image:
            view = transforms.center_crop(transforms.resize(image.convert("RGB"), [record.resize]), [record.crop])
        expected.append(transforms.normalize(transforms.to_tensor(view), record.mean, record.std))
        ours.append(resize_crop(decode(file), record))
    with torch.no_grad():
        target = reference.net.eval()(torch.stack(expected))
    features = Frozen(loaded, CPU, "fp32").embed(torch.from_numpy(np.stack(ours)))
    # The promise of the product: within 2e-3 of torchvision's own transforms and net.
    assert float((features - target).abs().max()) <= 2e-3


def test_frozen_means_that_nothing_moves() -> None:
    loaded, _ = load("shufflenet_v2_x0_5", "none", 64)
    frozen = Frozen(loaded, CPU, "fp32")
    before = {name: tensor.clone() for name, tensor in frozen.net.state_dict().items()}
    assert not frozen.net.training
    assert not any(parameter.requires_grad for parameter in frozen.net.parameters())
    features = frozen.embed(torch.randint(0, 256, (8, 64, 64, 3), dtype=torch.uint8))
    assert not features.requires_grad
    for name, tensor in frozen.net.state_dict().items():
        assert torch.equal(tensor, before[name]), name


def test_an_image_gives_its_feature_in_any_company() -> None:
    frozen = Frozen(load("resnet18", "none", 64)[0], CPU, "fp32")
    pixels = torch.randint(0, 256, (9, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    together = frozen.embed(pixels)
    alone = torch.cat([frozen.embed(pixels[row : row + 1]) for row in range(9)])
    # float32 sums of at most 4,608 products in another order: a relative error of about sqrt(4608) x 6e-8 a layer.
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    assert torch.equal(together, frozen.embed(pixels))


def test_raw_pixels_are_resized_as_pillow_does() -> None:
    frozen = Frozen(load("resnet18", "none", 64)[0], CPU, "fp32")
    record = load("resnet18", "none", 64)[0].backbone.preprocess
    raw = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    resized = np.stack([resize_crop(Image.fromarray(image), record) for image in raw])
    assert torch.equal(frozen.embed(torch.from_numpy(raw)), frozen.embed(torch.from_numpy(resized)))


def test_normalize_is_the_textbooks(preprocess: Preprocess) -> None:
    pixels = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8)
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (preprocess.mean, preprocess.std))
    expected = (pixels.permute(0, 3, 1, 2) / 255 - mean) / std
    ours = Normalize(preprocess, CPU)(pixels)
    # Two roundings of 6e-8 on values up to 5.
    torch.testing.assert_close(ours, expected, rtol=0, atol=2e-6)
    assert ours.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("words", ["CUDA out of memory", "DefaultCPUAllocator: can't allocate memory"])
def test_a_batch_that_does_not_fit_is_halved(words: str) -> None:
    frozen = Frozen(load("resnet18", "none", 32)[0], CPU, "fp32")
    pixels = torch.randint(0, 256, (7, 32, 32, 3), dtype=torch.uint8)
    expected = frozen.embed(pixels)
    most, sizes = 2, []

    def scarce(_: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        sizes.append(len(inputs[0]))
        if sizes[-1] > most:
            raise RuntimeError(words)

    frozen.net.register_forward_pre_hook(scarce)
    torch.testing.assert_close(frozen.embed(pixels), expected, rtol=1e-4, atol=1e-5)
    assert max(size for size in sizes if size <= 2) == 2
    most = 0
    with pytest.raises(OutOfMemory, match="one image does not fit"):
        frozen.embed(pixels)


def test_other_errors_are_not_taken_for_lack_of_memory() -> None:
    frozen = Frozen(load("resnet18", "none", 32)[0], CPU, "fp32")

    def refuse(*_: object) -> None:
        raise RuntimeError("shapes differ")

    frozen.net.register_forward_pre_hook(refuse)
    with pytest.raises(RuntimeError, match="shapes differ"):
        frozen.embed(torch.zeros(2, 32, 32, 3, dtype=torch.uint8))


@pytest.mark.parametrize("name", ["mobilenet_v2", "densenet121", "timm:tf_efficientnet_lite0"])
def test_folding_changes_no_output(name: str) -> None:
    net = random_net(name, 0).eval()
    generator = torch.Generator().manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1, generator=generator)
            nn.init.uniform_(module.running_var, 0.5, 1.5, generator=generator)
    image = torch.randn(2, 3, 64, 64, generator=generator)
    with torch.no_grad():
        before = net(image)
        norms = sum(isinstance(module, nn.BatchNorm2d) for module in net.modules())
        folded = fold_batchnorm(net, 64)
        left = sum(isinstance(module, nn.BatchNorm2d) for module in net.modules())
        after = net(image)
    assert folded > 0
    assert left == norms - folded
    if name != "densenet121":  # whose norms mostly precede their convolutions
        assert left == 0
    # Each of some 50 layers rescales its weights with a rounding of 6e-8; 1e-4 leaves room for their growth.
    assert float((after - before).abs().max()) <= 1e-4 * float(before.abs().max())


class Shared(nn.Module):
    """A convolution whose output is used beside its norm: it must not be folded."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
        nn.init.constant_(self.norm.running_mean, 0.7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        return (self.norm(y) + y).mean((2, 3))


def test_a_fold_that_would_change_the_output_is_put_back() -> None:
    net = Shared().eval()
    image = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        before = net(image)
        assert fold_batchnorm(net, 8) == 0
        assert torch.equal(net(image), before)
