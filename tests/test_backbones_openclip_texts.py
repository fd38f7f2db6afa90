"""Text towers of open_clip: features of classes as its own loop gives them, tokenizers, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from made_nets import save_open_clip
from probeline.backbones import torchvision_import as vision
from probeline.backbones.build import build
from probeline.backbones.sources.openclip import embed_texts
from probeline.errors import BadOption, MissingData
from probeline.options.prompts import TEMPLATES

pytest.importorskip("open_clip")
pytestmark = pytest.mark.usefixtures("one_thread")

TEXTS = ("ant", "bee", "long horned beetle")
IMAGES = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("open_clip")
    save_open_clip(path, tokens=49408, context=20)
    return path


def one_by_one(folder: Path, templates: tuple[str, ...]) -> tuple[np.ndarray, float]:
    """Return the class features float32 [K, E] and the scale, prompt by prompt."""
    package = vision.open_clip()
    net = package.create_model(f"local-dir:{folder}").eval()
    tokens = package.get_tokenizer(f"local-dir:{folder}")
    rows = []
    with torch.no_grad():
        for text in TEXTS:
            each = [net.encode_text(tokens([template.format(text)]))[0] for template in templates]
            mean = torch.stack([one / one.norm() for one in each]).mean(0)
            rows.append(mean / mean.norm())
    return torch.stack(rows).numpy(), float(net.logit_scale.detach().exp())


@pytest.mark.parametrize("templates", [TEMPLATES, ("a photo of a {}.",), ("{}", "one {} of many")])
def test_features_are_those_of_a_plain_loop_and_of_open_clip(folder: Path, templates: tuple[str, ...]) -> None:
    features, scale = embed_texts(str(folder), "DEFAULT", TEXTS, templates, device="cpu")
    expected, own_scale = one_by_one(folder, templates)
    np.testing.assert_allclose(features, expected, atol=1e-6)
    assert scale == pytest.approx(own_scale)
    assert features.dtype == np.float32
    package = vision.open_clip()
    net, tokens = package.create_model(f"local-dir:{folder}"), package.get_tokenizer(f"local-dir:{folder}")
    theirs = package.build_zero_shot_classifier(net.eval(), tokens, TEXTS, templates)
    np.testing.assert_allclose(features, theirs.T.numpy(), atol=1e-6)


def test_cosines_with_the_tap_are_the_logits_of_the_whole_net(folder: Path) -> None:
    features, scale = embed_texts(str(folder), "DEFAULT", TEXTS, ("a {}.",), device="cpu")
    net = build(f"openclip:{folder}", "DEFAULT").net
    with torch.no_grad():
        images = net.get_submodule("projection")(net(IMAGES))
    logits = scale * torch.nn.functional.normalize(images, dim=1) @ torch.from_numpy(features).T
    package = vision.open_clip()
    whole = package.create_model(f"local-dir:{folder}").eval()
    tokens = package.get_tokenizer(f"local-dir:{folder}")([f"a {text}." for text in TEXTS])
    with torch.no_grad():
        expected, _ = whole.get_logits(IMAGES, tokens)
    torch.testing.assert_close(logits, expected, rtol=0, atol=2e-5)


def test_a_tower_with_its_projection_in_a_pooling_has_that_tap_too(tmp_path: Path) -> None:
    tower = {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}
    text = {"context_length": 20, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    config = {"embed_dim": 16, "vision_cfg": tower, "text_cfg": text}
    (tmp_path / "tiny-RN-texts.json").write_text(json.dumps(config), encoding="utf-8")
    package = vision.open_clip()
    package.add_model_config(tmp_path)
    torch.manual_seed(5)
    whole = package.create_model("tiny-RN-texts", pretrained=None)
    torch.save(whole.state_dict(), tmp_path / "own.pt")
    net = build("openclip:tiny-RN-texts", str(tmp_path / "own.pt")).net
    with torch.no_grad():
        torch.testing.assert_close(net.get_submodule("projection")(net(IMAGES)), whole.eval().encode_image(IMAGES))
    features, _ = embed_texts("tiny-RN-texts", str(tmp_path / "own.pt"), TEXTS, ("a {}.",), device="cpu")
    theirs = package.build_zero_shot_classifier(whole, package.get_tokenizer("tiny-RN-texts"), TEXTS, ("a {}.",))
    np.testing.assert_allclose(features, theirs.T.numpy(), atol=1e-6)


def test_a_prompt_that_would_be_cut_is_refused(folder: Path) -> None:
    long = " ".join(["ant"] * 18)
    embed_texts(str(folder), "DEFAULT", (long,), ("{}",), device="cpu")  # with its start and its end: 20 tokens
    with pytest.raises(BadOption, match=r"longer than the text tower reads: .*expected up to 20 tokens, got 'ant ant"):
        embed_texts(str(folder), "DEFAULT", (f"{long} ant",), ("{}",), device="cpu")


def hf_folder(path: Path) -> Path:
    save_open_clip(path, tokens=60, context=12, hf_tokenizer_name="nobody/bert-of-nobody", pad_id=0)
    return path


def test_a_tokenizer_of_transformers_is_read_from_the_folder(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    folder = hf_folder(tmp_path / "net")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "ant", "bee", "long", "horned", "beetle", "a", "photo", "."]
    (tmp_path / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    transformers.BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(folder)
    features, _ = embed_texts(str(folder), "DEFAULT", TEXTS, ("a {} .",), device="cpu")
    expected, _ = one_by_one(folder, ("a {} .",))
    np.testing.assert_allclose(features, expected, atol=1e-6)
    assert np.abs(features[0] - features[1]).max() > 0.01
    with pytest.raises(BadOption, match="expected up to 12 tokens"):
        embed_texts(str(folder), "DEFAULT", ("ant bee " * 6,), ("{}",), device="cpu")


def test_a_tokenizer_that_is_elsewhere_takes_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = hf_folder(tmp_path / "net")
    with pytest.raises(
        MissingData, match=r"no tokenizer for the texts of openclip:\S+: .*put the tokenizer of nobody/"
    ):
        embed_texts(str(folder), "DEFAULT", TEXTS, TEMPLATES, device="cpu")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(MissingData, match=r"openclip:ViT-B-16-SigLIP: timm/ViT-B-16-SigLIP; .*hf download timm/ViT-B"):
        embed_texts("ViT-B-16-SigLIP", "webli", TEXTS, TEMPLATES, device="cpu")
