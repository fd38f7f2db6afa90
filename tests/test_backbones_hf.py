"""Vision models of transformers from local folders: their embedding, their preprocessing, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from made_nets import SIZE, TIMM_DINOV2, TOWER, bit_processor, dinov2_for_timm, save_transformers, write_code
from probeline.backbones import torchvision_import as vision
from probeline.backbones.build import bare_net, build
from probeline.backbones.inner_taps import find_inner
from probeline.backbones.penultimate import find_tap
from probeline.backbones.registry import check_name
from probeline.backbones.resolve import load
from probeline.errors import BadOption, BadWeights, DownloadFailed, MissingData
from probeline.images import Preprocess
from probeline.session import Session
from small_runs import configuration, extracted, make_photos

pytest.importorskip("transformers")

DINOV2 = {"model_type": "dinov2", **TOWER}
STATED = Preprocess(32, SIZE, "bicubic", (0.5, 0.4, 0.3), (0.2, 0.25, 0.3))


@pytest.fixture(scope="module")
def dinov2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dinov2")
    save_transformers(folder, "Dinov2Model", DINOV2)
    return folder


def test_one_net_by_three_sources_gives_equal_features(dinov2: Path, tmp_path: Path) -> None:
    """DINOv2 of two blocks as transformers saved it, and its tensors in timm's, by a function and from a file."""
    pytest.importorskip("timm")
    photos = make_photos(tmp_path / "photos", n=4)
    code = write_code(tmp_path, TIMM_DINOV2)
    state = build(f"hf:{dinov2}", "DEFAULT").net.get_submodule("body").state_dict()
    save_file(dinov2_for_timm(state), tmp_path / "timm.safetensors")
    nets = (f"hf:{dinov2}", f"python:{code}:dinov2@{tmp_path / 'timm.safetensors'}")
    options = {"backbones": nets, "weights": "DEFAULT", "image_size": None, "limit": None}
    session = extracted(tmp_path / "cache", dataset=f"folder:{photos}", **options)
    records = [session.backbone(net)[0] for net in nets]
    assert [record.preprocess for record in records] == [STATED, STATED]
    assert [(record.pooling, record.dim) for record in records] == [("output", 32)] * 2
    first, second = (session.features(record, "all").features for record in records)
    assert float(np.abs(first).mean()) > 0.1
    np.testing.assert_allclose(first, second, atol=1e-5)


def test_a_net_in_a_folder_is_remembered_until_its_files_change(dinov2: Path, tmp_path: Path) -> None:
    settings = configuration(tmp_path / "cache", weights="DEFAULT", image_size=None)
    net = f"hf:{dinov2}"
    built = [Session(settings).backbone(net)[1] is not None for _ in range(2)]
    assert built[0]
    files = {path.name for path in build(net, "DEFAULT").files}
    assert files == {"config.json", "preprocessor_config.json", "model.safetensors"}
    none = [Session(settings).backbone(f"{net}@none")[1] is not None for _ in range(2)]
    assert none == [True, True], "its configuration is a file too, which may change"


def test_blocks_are_taps_and_the_class_token_is_known(dinov2: Path) -> None:
    built = build(f"hf:{dinov2}", "DEFAULT")
    tap = find_tap(built.net, SIZE, "dinov2")
    taps = find_inner(built.net, tap.head, SIZE, ["last-1", "body.encoder.layer.0:cls"], "dinov2")
    assert [tap.name for tap in taps["last-1"]] == ["body.encoder.layer.1:cls", "body.encoder.layer.1:mean"]
    assert taps["body.encoder.layer.0:cls"][0].dim == 32


@torch.no_grad()
def embedding(folder: Path, images: torch.Tensor) -> torch.Tensor:
    """Return the embeddings; the net is built where gradients are off, as in many a notebook."""
    embedded: torch.Tensor = build(f"hf:{folder}", "DEFAULT").net(images)
    return embedded


IMAGES = torch.randn(2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))

VIT = {"model_type": "vit", "intermediate_size": 48, **TOWER}
TEXT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


def test_a_pooler_is_read_if_it_was_trained_and_not_if_it_would_be_random(tmp_path: Path) -> None:
    whole = save_transformers(tmp_path / "whole", "ViTModel", VIT)
    with torch.no_grad():
        torch.testing.assert_close(embedding(tmp_path / "whole", IMAGES), whole(IMAGES).pooler_output)
    classifier = save_transformers(tmp_path / "classifier", "ViTForImageClassification", VIT)
    tokens = classifier.get_submodule("vit")(IMAGES).last_hidden_state.detach()
    torch.testing.assert_close(embedding(tmp_path / "classifier", IMAGES), tokens[:, 0])


def test_a_net_to_be_filled_gives_the_output_that_its_own_weights_have_trained(tmp_path: Path) -> None:
    """As an exported predictor is built, and training from scratch."""
    save_transformers(tmp_path, "ViTForImageClassification", VIT)
    trained, bare = build(f"hf:{tmp_path}", "DEFAULT").net, bare_net(f"hf:{tmp_path}", {})
    bare.load_state_dict(trained.state_dict())
    assert torch.equal(bare(IMAGES), trained(IMAGES))
    (tmp_path / "model.safetensors").unlink()
    assert not torch.equal(bare_net(f"hf:{tmp_path}", {})(IMAGES), trained(IMAGES)), "of the architecture alone"


def test_a_convolutional_classifier_gives_its_pooled_map(tmp_path: Path) -> None:
    sizes = {"embedding_size": 8, "hidden_sizes": [8, 8, 8, 16], "depths": [1, 1, 1, 1], "layer_type": "basic"}
    model = save_transformers(tmp_path, "ResNetForImageClassification", {"model_type": "resnet", **sizes})
    with torch.no_grad():
        pooled = model.get_submodule("resnet")(IMAGES).pooler_output.flatten(1)
    torch.testing.assert_close(embedding(tmp_path, IMAGES), pooled)


def test_a_masked_autoencoder_masks_nothing(tmp_path: Path) -> None:
    small = {"decoder_hidden_size": 16, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2}
    save_transformers(tmp_path, "ViTMAEForPreTraining", {**VIT, **small, "model_type": "vit_mae"})
    first, again = embedding(tmp_path, IMAGES), embedding(tmp_path, IMAGES[:1])
    torch.testing.assert_close(first[:1], again)
    changed = IMAGES.clone()
    changed[0, :, :14, :14] += 1
    assert (embedding(tmp_path, changed)[0] - first[0]).abs().max() > 1e-3, "and every patch is seen"


def test_of_images_and_texts_the_vector_before_the_projection(tmp_path: Path) -> None:
    towers = {"text_config": {**TEXT, "vocab_size": 20, "bos_token_id": 0, "eos_token_id": 1}, "projection_dim": 24}
    config = {"model_type": "clip", "vision_config": {**TOWER, "intermediate_size": 48}, **towers}
    model = save_transformers(tmp_path, "CLIPModel", config)
    built = build(f"hf:{tmp_path}", "DEFAULT")
    with torch.no_grad():
        pooled = model.get_submodule("vision_model")(IMAGES).pooler_output
        torch.testing.assert_close(built.net(IMAGES), pooled)
    assert not [name for name, _ in built.net.named_parameters() if "text" in name]
    tap = find_tap(built.net, SIZE, "clip")
    (projected,) = find_inner(built.net, tap.head, SIZE, ["projection"], "clip")["projection"]
    assert (tap.dim, projected.dim) == (32, 24)
    assert "projection.weight" in projected.tensors
    assert "projection.weight" not in tap.tensors


def test_other_image_sizes_resample_the_positions(tmp_path: Path) -> None:
    save_transformers(tmp_path, "ViTModel", VIT)
    images = torch.randn(1, 3, 42, 42, generator=torch.Generator().manual_seed(1))
    assert embedding(tmp_path, images).shape == (1, 32)
    with pytest.raises(BadOption, match=r"images of 40 pixels \(got 40 is no multiple of its patches of 14"):
        load(f"hf:{tmp_path}", "DEFAULT", 40)


# What is refused, or has another outcome


def test_missing_tensors_are_never_random(dinov2: Path, tmp_path: Path) -> None:
    for file in dinov2.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    state = load_file(tmp_path / "model.safetensors")
    del state["encoder.layer.1.mlp.fc1.weight"]
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadWeights, match=r"lack tensors of the model \(expected body\.encoder\.layer\.1\.mlp\.fc1\.w"):
        build(f"hf:{tmp_path}", "DEFAULT")


def test_weights_of_a_file_are_read_as_transformers_reads_them(dinov2: Path, tmp_path: Path) -> None:
    whole = build(f"hf:{dinov2}", "DEFAULT").net
    built = build(f"hf:{dinov2}", str(dinov2 / "model.safetensors"))
    assert built.weights == "model.safetensors"
    assert torch.equal(built.net(IMAGES), whole(IMAGES))
    torch.save(whole.get_submodule("body").state_dict(), tmp_path / "own.pth")
    assert torch.equal(build(f"hf:{dinov2}", str(tmp_path / "own.pth")).net(IMAGES), whole(IMAGES))
    torch.save({"layernorm.weight": torch.ones(32)}, tmp_path / "other.pth")
    with pytest.raises(BadWeights, match=r"the weights of hf:\S+ in \S+other.pth lack tensors of the model"):
        build(f"hf:{dinov2}", str(tmp_path / "other.pth"))


def test_wrappers_of_trainers_around_a_model_are_looked_through(dinov2: Path, tmp_path: Path) -> None:
    whole = build(f"hf:{dinov2}", "DEFAULT").net
    state = whole.get_submodule("body").state_dict()
    wrapped = {"epoch": 3, "model": {f"module.dinov2.{name}": tensor for name, tensor in state.items()}}
    torch.save(wrapped, tmp_path / "trained.pth")
    assert torch.equal(build(f"hf:{dinov2}", str(tmp_path / "trained.pth")).net(IMAGES), whole(IMAGES))
    torch.save({"student": state, "teacher": state}, tmp_path / "two.pth")
    with pytest.raises(BadWeights, match="the file has the network several times"):
        build(f"hf:{dinov2}", str(tmp_path / "two.pth"))


def test_random_weights_are_the_same_ones_each_time(dinov2: Path) -> None:
    first, second = (build(f"hf:{dinov2}", "none") for _ in range(2))
    assert first.preprocess == STATED, "the model's own, as it is built for one size"
    for name, tensor in first.net.state_dict().items():
        assert torch.equal(tensor, second.net.state_dict()[name]), name


def test_a_folder_without_processor_names_it(dinov2: Path, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_bytes((dinov2 / name).read_bytes())
    with pytest.raises(MissingData, match=r"has no image processor \(expected preprocessor_config.json\); save there"):
        build(f"hf:{tmp_path}", "DEFAULT")


def test_a_model_of_texts_is_refused(tmp_path: Path) -> None:
    save_transformers(tmp_path, "BertModel", {"model_type": "bert", "vocab_size": 20, **TEXT}, bit_processor())
    with pytest.raises(BadOption, match="is no vision model"):
        build(f"hf:{tmp_path}", "DEFAULT")


def test_code_of_a_repository_is_not_run(dinov2: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        '{"model_type": "own", "auto_map": {"AutoConfig": "own.C", "AutoModel": "own.M"}}'
    )
    (tmp_path / "own.py").write_text("raise SystemExit('it ran')")
    (tmp_path / "preprocessor_config.json").write_bytes((dinov2 / "preprocessor_config.json").read_bytes())
    with pytest.raises(DownloadFailed, match="needs code of its repository, which is not run"):
        build(f"hf:{tmp_path}", "DEFAULT")


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("hf:dinov2", r"bad --backbone: hf:dinov2 \(expected hf:ORG/NAME or hf:FOLDER"),
        ("hf:/no/such/folder", "bad --backbone"),
        ("facebook/dinov2-small", r"unknown backbone.*did you mean hf:facebook/dinov2-small\?$"),
    ],
)
def test_names_are_checked_before_anything_is_loaded(name: str, line: str) -> None:
    with pytest.raises(Exception, match=line):
        check_name(name)


def test_an_empty_folder_says_what_to_save(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match=r"no model of transformers in the folder.*save_pretrained\(folder\)"):
        check_name(f"hf:{tmp_path}")


@pytest.mark.parametrize("offline", [False, True])
def test_a_hub_out_of_reach_takes_a_line_and_no_minute(
    offline: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", offline)
    reason = "HF_HUB_OFFLINE" if offline else "127.0.0.1:9"
    with pytest.raises(DownloadFailed, match=rf"cannot fetch the weights of hf:org/net.*{reason}.*hf download org/net"):
        build("hf:org/net", "DEFAULT")


def test_a_net_in_the_hubs_cache_needs_no_network(
    dinov2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = tmp_path / "models--org--net" / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    (tmp_path / "models--org--net" / "refs").mkdir()
    (tmp_path / "models--org--net" / "refs" / "main").write_text("0123")
    for file in dinov2.iterdir():
        (snapshot / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    built = build("hf:org/net", "DEFAULT")
    assert not waits, "nothing is asked again and again, as transformers does for an adapter"
    assert {path.parent for path in built.files} == {snapshot}
    assert torch.equal(built.net(IMAGES), build(f"hf:{dinov2}", "DEFAULT").net(IMAGES))


def test_progress_and_warnings_of_transformers_are_as_before(dinov2: Path) -> None:
    logging = vision.transformers().utils.logging
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    build(f"hf:{dinov2}", "DEFAULT")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
