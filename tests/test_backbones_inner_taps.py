"""Taps inside a net: what a plain hook on the stock net gives, whatever was folded, and keyed by what they need."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from probeline.backbones import torchvision_import as vision
from probeline.backbones.build import random_net
from probeline.backbones.frozen import Frozen
from probeline.backbones.inner_taps import InnerTap, find_inner
from probeline.backbones.resolve import load, resolve_taps
from probeline.backbones.weights.state_dict import tensors_sha256
from probeline.errors import BadOption, UnknownName
from probeline.files.memo import Memo
from probeline.names import split_tap

CPU = torch.device("cpu")


def stir(net: nn.Module) -> nn.Module:
    """Give BatchNorm statistics and parameters that a fold must not lose."""
    generator = torch.Generator().manual_seed(0)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_mean, module.bias):
                nn.init.uniform_(tensor, -0.1, 0.1, generator=generator)
            for tensor in (module.running_var, module.weight):
                nn.init.uniform_(tensor, 0.5, 1.5, generator=generator)
    return net


class Reached(Exception):
    """Ends a pass where nothing after is looked at."""


def hooked_output(net: nn.Module, module: str, image: Tensor) -> Tensor:
    """Return what a module of the stock net gives, as it is before anything works on it in place."""
    seen: list[Tensor] = []

    def keep(_: nn.Module, __: object, output: Tensor) -> None:
        seen.append(output.clone())
        raise Reached

    handle = net.get_submodule(module).register_forward_hook(keep)
    with torch.no_grad(), pytest.raises(Reached):
        net.eval()(image)
    handle.remove()
    (output,) = seen
    return output


def mean_of_map(output: Tensor) -> Tensor:
    return output.mean((2, 3))


def mean_channels_last(output: Tensor) -> Tensor:
    return output.mean((1, 2))


def as_it_is(output: Tensor) -> Tensor:
    return output


Pooled = Callable[[Tensor], Tensor]

CASES: list[tuple[str, int, dict[str, Pooled]]] = [
    # The first is folded away but for the tap.
    ("resnet18", 64, {"conv1": mean_of_map, "layer2.0.downsample": mean_of_map, "layer3": mean_of_map}),
    ("resnet18", 64, {"bn1": mean_of_map}),  # and the ReLU after it works in place
    ("mobilenet_v2", 64, {"features.3.conv.1.0": mean_of_map, "features.12": mean_of_map}),
    ("mobilenet_v3_small", 32, {"classifier.0": as_it_is}),  # and the Hardswish after it works in place
    ("densenet121", 64, {"features.conv0": mean_of_map, "features.denseblock2": mean_of_map}),
    ("convnext_tiny", 64, {"features.3": mean_of_map, "features.3.0.block.2": mean_channels_last}),
    ("swin_t", 64, {"features.3": mean_channels_last, "permute": mean_of_map}),
    ("timm:tf_efficientnet_lite0", 64, {"bn1.act": mean_of_map}),
    ("timm:tf_efficientnet_lite0", 64, {"conv_stem": mean_of_map}),
]

QUICK = {"resnet18", "mobilenet_v3_small", "timm:tf_efficientnet_lite0"}
"""Layers that are folded away, and that work in place; the rest is slow."""


@pytest.mark.parametrize(
    ("name", "size", "taps"),
    [
        pytest.param(*case, id=f"{case[0]}-{next(iter(case[2]))}", marks=() if case[0] in QUICK else pytest.mark.slow)
        for case in CASES
    ],
)
def test_a_tap_is_a_hook_on_the_stock_net(name: str, size: int, taps: dict[str, Pooled]) -> None:
    loaded, _ = load(name, "none", size, ("penultimate", *taps))
    stir(loaded.net)
    stock = stir(random_net(name, 0))
    has_batchnorm = any(isinstance(part, nn.BatchNorm2d) for part in stock.modules())  # those were stirred
    frozen = Frozen(loaded, CPU, "fp32", (*taps, "penultimate"))
    pixels = torch.randint(0, 256, (3, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    found, images = frozen.embed(pixels), frozen.prepare(pixels)
    dims = 0
    for module, pooled in taps.items():
        expected = pooled(hooked_output(stock, module, images))
        dims += expected.shape[1]
        # The promise of the product is 2e-3; folding rescales some 50 layers with a rounding of 6e-8 each.
        assert float((found[:, frozen.columns[module]] - expected).abs().max()) <= 1e-4 * float(expected.abs().max())
        record = loaded.taps[module][0]
        assert (record.tap, record.dim, record.head_parameters) == (module, expected.shape[1], 0)
    assert found.shape == (3, dims + loaded.tap.dim)
    if not has_batchnorm:
        alone = Frozen(load(name, "none", size)[0], CPU, "fp32")
        assert torch.equal(found[:, frozen.columns["penultimate"]], alone.embed(pixels))


def test_a_map_is_what_torchvisions_extractor_gives() -> None:
    vision.models()
    from torchvision.models.feature_extraction import create_feature_extractor

    frozen = Frozen(load("resnet18", "none", 64, ("layer2", "layer4"))[0], CPU, "fp32", ("layer2", "layer4"))
    extractor = create_feature_extractor(random_net("resnet18", 0).eval(), ["layer2", "layer4"])
    pixels = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        outputs = extractor(frozen.prepare(pixels))
    expected = torch.cat([outputs[name].mean((2, 3)) for name in ("layer2", "layer4")], 1)
    torch.testing.assert_close(frozen.embed(pixels), expected, rtol=1e-4, atol=1e-5)


def small_vit(**options: Any) -> nn.Module:
    """Return a ViT of torchvision's with 3 blocks."""
    transformer = vision.models().vision_transformer.VisionTransformer
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = transformer(
            image_size=32, patch_size=8, num_layers=3, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=4, **options
        )
        nn.init.normal_(net.heads.head.weight)
    return net.eval()


def test_blocks_of_a_transformer_give_class_token_and_patches() -> None:
    net = small_vit()
    found = find_inner(net, "heads.head", 32, ["last-2", "encoder.layers.encoder_layer_0:mean"], "vit")
    names = [tap.name for tap in found["last-2"]]
    assert names == [f"encoder.layers.encoder_layer_{block}:{token}" for block in (1, 2) for token in ("cls", "mean")]
    image = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    tokens = hooked_output(net, "encoder.layers.encoder_layer_2", image)
    assert tokens.shape == (2, 17, 16)
    cls, mean = found["last-2"][2:]
    assert torch.equal(cls.read(tokens), tokens[:, 0])
    torch.testing.assert_close(mean.read(tokens), tokens[:, 1:].mean(1))
    assert not [name for name in mean.tensors if name.startswith("encoder.ln")], "before the final norm"


@pytest.mark.parametrize(
    ("name", "options", "prefix", "tokens"),
    [
        ("vit_tiny_patch16_224", {}, 1, ("cls", "mean")),
        ("vit_tiny_patch16_224", {"reg_tokens": 4}, 5, ("cls", "mean")),
        ("vit_tiny_patch16_224", {"class_token": False, "global_pool": "avg"}, 0, ("mean",)),
        ("vit_tiny_patch16_224", {"class_token": False, "reg_tokens": 2, "global_pool": "avg"}, 2, ("mean",)),
    ],
)
def test_tokens_that_are_no_patches_are_found(
    name: str, options: dict[str, Any], prefix: int, tokens: tuple[str, ...]
) -> None:
    net = vision.timm().create_model(name, img_size=32, depth=2, num_classes=3, **options)
    found = find_inner(net, "head", 32, ["last-1"], name)["last-1"]
    assert [tap.name for tap in found] == [f"blocks.1:{token}" for token in tokens]
    assert {tap.prefix for tap in found} == {prefix}
    if "cls" not in tokens:
        with pytest.raises(BadOption, match="without class token"):
            find_inner(net, "head", 32, ["blocks.0:cls"], name)


# What a tap depends on


def sha256(net: nn.Module, tap: InnerTap) -> str:
    return tensors_sha256(net, tap.tensors)


def test_the_key_of_a_tap_knows_what_comes_before_it_alone() -> None:
    net = random_net("resnet18", 0)
    (tap,) = find_inner(net, "fc", 32, ["layer3"], "resnet18")["layer3"]
    assert "layer3.1.bn2.running_var" in tap.tensors
    assert not [name for name in tap.tensors if name.startswith(("layer4", "fc")) or "num_batches" in name]
    before = sha256(net, tap)
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if name.startswith(("layer4", "fc")):
                tensor.add_(1)
    assert sha256(net, tap) == before
    for name in ("conv1.weight", "layer1.0.bn1.running_mean", "layer3.1.bn2.running_var", "layer3.0.downsample.1.bias"):
        kept = net.state_dict()[name].clone()
        net.state_dict()[name].view(-1)[0] += 1
        assert sha256(net, tap) != before, name
        net.state_dict()[name].copy_(kept)


def test_branches_beside_a_tap_are_no_part_of_it() -> None:
    net = random_net("inception_v3", 0)
    (tap,) = find_inner(net, "fc", 96, ["Mixed_5b.branch5x5_2"], "inception_v3")["Mixed_5b.branch5x5_2"]
    inside = {name.split(".")[1] for name in tap.tensors if name.startswith("Mixed_5b")}
    assert inside == {"branch5x5_1", "branch5x5_2"}, "branch1x1 runs before them and gives them nothing"
    assert "Mixed_5b.branch5x5_1.bn.running_mean" in tap.tensors
    assert not [name for name in tap.tensors if name.startswith(("Mixed_5c", "AuxLogits"))]


def test_changing_any_tensor_that_moves_a_tap_changes_its_key() -> None:
    net = stir(random_net("shufflenet_v2_x0_5", 0)).eval()
    (tap,) = find_inner(net, "fc", 32, ["stage2.1"], "shufflenet_v2_x0_5")["stage2.1"]
    image = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    before = hooked_output(net, "stage2.1", image)
    for name, tensor in net.state_dict().items():
        if tensor.is_floating_point():
            kept = tensor.clone()
            tensor.mul_(1.5).add_(0.1)
            moved = not torch.equal(hooked_output(net, "stage2.1", image), before)
            assert moved == (name in tap.tensors), name
            tensor.copy_(kept)


def test_looking_for_taps_leaves_the_net_as_it_was() -> None:
    net = random_net("mobilenet_v2", 0)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    state = torch.get_rng_state()
    find_inner(net, "classifier.1", 32, ["features.3", "features.0.0"], "mobilenet_v2")
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    assert not any(parameter.requires_grad for parameter in net.parameters())
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name]), name


# What is refused


@pytest.mark.parametrize(
    ("term", "error", "words"),
    [
        ("layer5", UnknownName, r"'layer5'.*layer4"),
        ("layer3.0.relu", BadOption, r"layer3\.0\.relu.*once.*2 times"),
        ("layer3:mean", BadOption, r"layer3 alone.*no tokens"),
        ("fc", BadOption, r"before the head.*needs fc"),
        ("last-1", BadOption, r"a sequence of blocks.*last-1"),
    ],
)
def test_what_is_no_tap_is_refused_by_name(term: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words) as caught:
        find_inner(random_net("resnet18", 0), "fc", 32, [term], "resnet18")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("term", "words"),
    [
        ("encoder.layers.encoder_layer_1", "encoder_layer_1:cls or .*:mean"),
        ("encoder.layers.encoder_layer_1.self_attention", "got no tensor"),
        ("encoder.layers.encoder_layer_1.self_attention.out_proj", "not at all"),
        ("last-4", "last-1 to last-3, got last-4"),
    ],
)
def test_a_transformers_taps_are_refused_by_name(term: str, words: str) -> None:
    with pytest.raises(BadOption, match=words):
        find_inner(small_vit(), "heads.head", 32, [term], "vit")


class Cube(nn.Module):
    """A map whose channels are as many as its rows and columns."""

    def __init__(self, *, channels_last: bool, any_size: bool) -> None:
        super().__init__()
        self.conv, self.inner, self.fc = nn.Conv2d(3, 8, 4, 4), nn.Identity(), nn.Linear(8, 4)
        self.channels_last, self.any_size = channels_last, any_size

    def forward(self, x: Tensor) -> Tensor:
        if not self.any_size and x.shape[2] != 32:
            raise AssertionError("wrong size")
        x = self.conv(x)
        x = self.inner(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) if self.channels_last else self.inner(x)
        return self.fc(x.mean((2, 3)))


@pytest.mark.parametrize("channels_last", [False, True])
def test_channels_that_look_like_positions_are_variant_another_size(channels_last: bool) -> None:
    net = Cube(channels_last=channels_last, any_size=True)
    (tap,) = find_inner(net, "fc", 32, ["inner"], "cube")["inner"]
    assert tap.reading == ("map-last" if channels_last else "map")
    with pytest.raises(BadOption, match="distinguished from positions"):
        find_inner(Cube(channels_last=channels_last, any_size=False), "fc", 32, ["inner"], "cube")


class Mixing(nn.Module):
    """A net whose inner features of an image depend on the image beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.fc = nn.Identity(), nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = x.mean((2, 3))
        self.inner(x - x.mean(0))
        return self.fc(x)


def test_features_that_depend_on_other_images_are_refused() -> None:
    with pytest.raises(BadOption, match="a row for each image"):
        find_inner(Mixing(), "fc", 32, ["inner"], "mixing")


@pytest.mark.parametrize("tap", ["", "a+", "+a", "a b", "a..b", ".a", "a:max", "../a", "a/b", "last-", "é"])
def test_what_cannot_be_a_tap_is_refused_before_a_net_is_built(tap: str) -> None:
    with pytest.raises(BadOption, match="bad --tap"):
        split_tap(tap)
    assert split_tap("a.b_1:cls+last-3+penultimate") == ("a.b_1:cls", "last-3", "penultimate")


def test_a_tap_is_remembered(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    memo = Memo(tmp_path / "memo.json")
    first, loaded = resolve_taps("squeezenet1_1", "none", 64, ("features.3", "penultimate"), memo)
    assert loaded is not None
    again, nothing = resolve_taps("squeezenet1_1", "none", 64, ("penultimate", "features.3"), memo)
    assert nothing is None
    assert again == first
    assert resolve_taps("squeezenet1_1", "none", 64, ("features.6",), memo)[1] is not None
