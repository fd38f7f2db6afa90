"""Similar images from Python: the same for a path, an opened image, an array, a tensor and a row."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.distance import cdist

import probeline
from probeline.errors import BadData, BadOption
from probeline.export.images import crop_of
from small_runs import make_photos

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photos(tmp_path_factory.mktemp("api") / "toy", n=12)


def extracted(root: Path, **options: Any) -> probeline.Features:
    values = {"weights": "none", "image_size": 32, "cache": root.parent / "cache", "reports": root.parent / "reports"}
    return probeline.extract(f"folder:{root}", "squeezenet1_1", **{**values, **options})


@pytest.fixture(scope="module")
def features(root: Path) -> probeline.Features:
    return extracted(root)


def test_every_kind_of_image_has_the_same_answer(root: Path, features: probeline.Features) -> None:
    path = root / "bees" / "3.jpg"
    with Image.open(path) as opened:
        pixels = np.array(opened)
        image = opened.copy()
    kinds = (path, str(path), image, pixels, torch.from_numpy(pixels).permute(2, 0, 1))
    answers = [features.similar(kind, 4) for kind in kinds]
    for answer in answers:
        assert answer[0].sample_id == "bees/3.jpg"
        assert [one.place for one in answer] == [one.place for one in answers[0]]
        np.testing.assert_allclose([one.distance for one in answer], [one.distance for one in answers[0]], atol=1e-9)


def test_the_ranking_is_by_cosine_and_leaves_a_row_out_itself(features: probeline.Features) -> None:
    X = features.numpy().astype(np.float64)
    found = features.similar(5, 23)
    distances = cdist(X[[5]], X, "cosine")[0]
    order = [row for row in np.argsort(distances).tolist() if row != 5]
    assert [one.row for one in found] == order
    assert [one.distance for one in found] == pytest.approx(distances[order], abs=1e-12)
    assert found[0].class_name == features.classes[features.labels[order[0]]]
    assert {one.role for one in found} <= {"train", "val", "test"}
    assert len(features.similar(5)) == 10
    assert len(features.similar(5, 1000)) == 23


def test_new_features_are_those_that_extraction_gives(root: Path, features: probeline.Features, tmp_path: Path) -> None:
    # A folder of its own, extracted anew, against one image at a time.
    new = make_photos(tmp_path / "new", ("x", "y"), n=3, seed=9)
    others = extracted(new, cache=tmp_path / "cache")
    searched = features._images
    for sample_id, expected in zip(others.sample_ids, others.numpy(), strict=True):
        features.similar(new / str(sample_id), 1)
        own = cdist(expected[None].astype(np.float64), features.numpy().astype(np.float64), "cosine")[0]
        (nearest,) = searched.by_images([(new / str(sample_id)).read_bytes()], [str(sample_id)], 1)[0]
        assert nearest.distance == pytest.approx(own.min(), abs=1e-6)  # other batches round differently
        assert nearest.row == own.argmin()


def test_joined_taps_are_searched_together(root: Path) -> None:
    joined = extracted(root, tap="features.3+penultimate")
    X = joined.numpy().astype(np.float64)
    found = joined.similar(root / "ants" / "1.jpg", 3)
    row = found[0].row
    assert found[0].distance < 1e-9
    distances = cdist(X[[row]], X, "cosine")[0]
    assert [one.distance for one in found] == pytest.approx(np.sort(distances)[:3], abs=1e-6)


def test_a_function_that_makes_the_input_makes_it_of_new_images_too(root: Path, tmp_path: Path) -> None:
    def shrunk(image: Image.Image) -> np.ndarray:
        return np.asarray(image.resize((32, 32)), np.float32).transpose(2, 0, 1) / 255

    class Mean(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 6, 8, stride=8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.conv(x).flatten(1)

    torch.manual_seed(0)
    own = probeline.extract(
        f"folder:{root}", Mean().eval(), preprocess=shrunk, preprocess_name="shrunk-v1", cache=tmp_path / "cache"
    )
    found = own.similar(root / "bees" / "0.jpg", 2)
    assert found[0].sample_id == "bees/0.jpg"
    assert found[0].distance < 1e-9 < found[1].distance


def test_features_are_pickled_without_the_net_that_ran_for_a_search(root: Path, features: probeline.Features) -> None:
    before = features.similar(root / "ants" / "2.jpg", 3)
    again = pickle.loads(pickle.dumps(features))  # noqa: S301 - our own
    assert len(pickle.dumps(features._images)) < 200_000
    assert again.similar(3, 2) == features.similar(3, 2)
    assert [one.place for one in again.similar(root / "ants" / "2.jpg", 3)] == [one.place for one in before]


@pytest.mark.parametrize(
    ("image", "k", "error", "message"),
    [
        (24, 1, BadOption, "no such row"),
        (-1, 1, BadOption, "no such row"),
        (0, 0, BadOption, "bad k"),
        (0, 2.5, BadOption, "bad k"),
        ("nix.jpg", 1, BadData, "cannot be read"),
        (np.zeros((4, 4), np.float32), 1, BadData, "no image of 3 channels"),
        (object(), 1, BadData, "no image"),
        (True, 1, BadData, "no image"),
    ],
)
def test_what_is_neither_an_image_nor_a_row_is_refused(
    features: probeline.Features, image: Any, k: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        features.similar(image, k)


def test_features_from_elsewhere_have_no_net_for_a_new_image(tmp_path: Path) -> None:
    X = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    np.savez(tmp_path / "own.npz", X=X, label=np.array(list("ab") * 30))
    features = probeline.extract(f"features:{tmp_path / 'own.npz'}", reports=tmp_path / "reports")
    assert len(features.similar(3, 5)) == 5
    with pytest.raises(BadOption, match="embeddings from elsewhere, whose net is not known"):
        features.similar(Image.new("RGB", (8, 8)))
    assert repr(probeline.quality(features)).startswith("<Quality features--own, own")


def test_crops_are_those_of_predictors(root: Path, features: probeline.Features) -> None:
    # What a predictor sees of an image is what extraction sees of it: both search for the same neighbours.
    crop = crop_of(root / "ants" / "1.jpg", features.backbone.preprocess)
    engine = features._images._engine
    images = features.session.dataset.images["all"]
    row = list(features.sample_ids).index("ants/1.jpg")
    np.testing.assert_array_equal(engine.read(images, images.content, np.array([row]))[0], crop)
