"""The penultimate tap: the input of the last Linear or Conv2d that runs in an eval forward pass, or the net's output.

It is found by watching one pass, and verified: the head applied to it gives the net's logits, and the net without its
head gives it. A net without a head gives the embedding itself. There is no table of names.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from probeline.backbones.forward_pass import buffers_of, graph, hook_modules, hooked, parameters_in, random_images
from probeline.errors import BadOption, BadWeights
from probeline.names import ADDED_HEAD, OUTPUT


@dataclass(frozen=True)
class Tap:
    """The penultimate tap of a net whose head has the path `head`.

    `pooling` is ``none`` if it is the head's input; ``avg`` if that is a map [N, D, H, W] whose spatial mean is stored;
    ``output`` if it is the output of a net without a head, which :func:`set_head` adds. `dim` is D. `tensors` are the
    names of the parameters and buffers that the embedding depends on.
    """

    head: str
    pooling: str
    dim: int
    tensors: tuple[str, ...]

    @property
    def is_input_of_head(self) -> bool:
        """Whether the head takes the stored vectors as they are, and no map."""
        return self.pooling != "avg"


def _is_close(a: Tensor, b: Tensor) -> bool:
    # Two float32 evaluations of one expression: a few hundred roundings of 6e-8, relative to the largest value.
    return a.shape == b.shape and bool((a - b).abs().max() <= 1e-4 * b.abs().max().clamp(min=1e-6))


def find_tap(net: nn.Module, image_size: int, name: str) -> Tap:
    """Return the penultimate tap of `net`, verified on random images of `image_size` pixels.

    That is the input of the last layer if this gives the logits, and the output [N, D] of any other net, such as one
    that timm builds with ``num_classes=0``; such a net gets an empty head (see :func:`set_head`). The net is put into
    eval mode; its tensors and the global random state stay as they are.

    Raises
    ------
    BadOption
        The net cannot take this image size, its output is no [N, D], or an image's output depends on other images.
    BadWeights
        The net's output is not finite.
    """
    net.eval().requires_grad_(True)
    calls: list[tuple[str, Tensor]] = []
    entered: set[str] = set()

    def enter(path: str, first: Any) -> None:
        entered.add(path)
        if isinstance(net.get_submodule(path), nn.Linear | nn.Conv2d):
            calls.append((path, first))

    images = random_images(2, image_size)
    try:
        with hooked(hook_modules(net, enter)):
            output = net(images)
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadOption(
            f"{name} cannot take images of {image_size} pixels", got=reason, remedy="choose another --image-size"
        ) from error
    finally:
        net.requires_grad_(False)
    if not isinstance(output, Tensor) or output.ndim != 2 or len(output) != len(images):
        raise BadOption(f"{name} gives no features", expected="an output [N, D]", got=describe_output(output))
    if not bool(output.isfinite().all()):
        raise BadWeights(f"{name} gives an output that is not finite", remedy="use other --weights")

    def tensors_of(embedding: Tensor, without: str) -> tuple[str, ...]:
        used = parameters_in(net, graph(embedding)[1]) | buffers_of(net, entered)
        return tuple(sorted(name for name in used if not name.startswith(without + ".")))

    if calls and getattr(net, "num_classes", None) != 0:
        head, reaching = calls[-1]
        embedding = reaching.mean((2, 3)) if reaching.ndim == 4 else reaching
        if _is_proven_head(net, head, reaching, embedding, output, images):
            pooling = "avg" if reaching.ndim == 4 else "none"
            return Tap(head, pooling, embedding.shape[1], tensors_of(embedding, head))
    if take_heads_away(net):
        return find_tap(net, image_size, name)
    with torch.no_grad():
        alone = net(images[:1])
    if not _is_close(alone, output[:1]):
        raise BadOption(f"{name} gives no features", expected="a row for each image", got="one that depends on others")
    tap = Tap(ADDED_HEAD, OUTPUT, output.shape[1], tensors_of(output, ADDED_HEAD))
    set_head(net, tap, nn.Identity())
    return tap


def _is_proven_head(
    net: nn.Module, head: str, reaching: Tensor, embedding: Tensor, logits: Tensor, images: Tensor
) -> bool:
    """Return whether the layer `head` gives the logits from `reaching`, its input, and the net without it that input.

    `embedding` is that input, averaged over its positions if it is a map.
    """
    original = net.get_submodule(head)
    with torch.no_grad():
        again = original(reaching)
        candidates = [again.mean((2, 3)), again.relu().mean((2, 3))] if reaching.ndim == 4 else [again]
        if embedding.ndim != 2 or not any(_is_close(candidate, logits) for candidate in candidates):
            return False
        net.set_submodule(head, nn.Identity())
        try:
            return _is_close(net(images), embedding)
        except RuntimeError:  # what follows needs that layer's width
            return False
        finally:
            net.set_submodule(head, original)


def tensors_behind_output(net: nn.Module, tap: Tap, image_size: int) -> tuple[str, ...]:
    """Return the names of the parameters and buffers that the output of a net without its head depends on.

    Those are the `tensors` of a tap that :func:`find_tap` found in the same net. The net is put into eval mode; nothing
    of the pass is kept for gradients.
    """
    net.eval().requires_grad_(True)
    entered: set[str] = set()
    try:
        with (
            hooked(hook_modules(net, lambda path, _: entered.add(path))),
            torch.autograd.graph.saved_tensors_hooks(lambda _: torch.empty(0), lambda nothing: nothing),
        ):
            output = net(random_images(1, image_size))
    finally:
        net.requires_grad_(False)
    used = parameters_in(net, graph(output)[1]) | buffers_of(net, entered)
    return tuple(sorted(name for name in used if not name.startswith(tap.head + ".")))


def describe_output(output: object) -> str:
    """Return what a net gives, in words: shape or type."""
    if not isinstance(output, Tensor):
        return f"a {type(output).__name__}"
    kinds = {4: "a map ", 3: "tokens "}
    return f"{kinds.get(output.ndim, '')}{list(output.shape)}"


def take_heads_away(net: nn.Module) -> bool:
    """Have a net of timm's give its pre-logits, and return whether it had heads.

    Of a net with several heads (DeiT with distillation, CrossViT) these are what the heads work on, put together as its
    authors do.
    """
    if not getattr(net, "num_classes", 0) or not hasattr(net, "reset_classifier"):
        return False
    net.reset_classifier(0)  # type: ignore[operator]
    return bool(net.num_classes == 0)


def set_head(net: nn.Module, tap: Tap, head: nn.Module) -> None:
    """Replace the net's head; with ``nn.Identity()`` the net gives embeddings [N, D].

    A net without a head, or with several, is given one that works on its output.
    """
    if tap.head == ADDED_HEAD and not hasattr(net, ADDED_HEAD):
        take_heads_away(net)
        net.add_module(ADDED_HEAD, head)
        if type(net).forward is not nn.Sequential.forward:  # which runs what is added by itself
            net.register_forward_hook(_run_added_head)
    net.set_submodule(tap.head, head)


def _run_added_head(net: nn.Module, _: Any, output: Tensor) -> Any:
    return net.get_submodule(ADDED_HEAD)(output)
