"""A frozen backbone as a transformer of scikit-learn, and data objects and nets in `extract`."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks

import probeline
from probeline.errors import BadData, BadOption
from small_runs import make_coloured

pytestmark = pytest.mark.usefixtures("one_thread")

PREPROCESS: dict[str, Any] = {
    "resize": 32,
    "crop": 32,
    "interpolation": "bilinear",
    "mean": (0.5, 0.5, 0.5),
    "std": (0.5, 0.5, 0.5),
}


class Colours(torch.nn.Module):
    """Gives the mean of each channel, and of its square."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.full((3,), scale))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        means = images.mean((2, 3)) * self.scale
        return torch.cat([means, means.square()], dim=1)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    root = make_coloured(tmp_path_factory.mktemp("coloured") / "photos", n=6)
    return [str(path) for path in sorted(root.rglob("*.png"))]


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> probeline.Embedder:
    cache = tmp_path_factory.mktemp("embedder") / "cache"
    return probeline.Embedder(Colours(), preprocess=PREPROCESS, cache=cache, workers=2)


def classes_of(paths: list[str]) -> list[str]:
    return [Path(path).parent.name for path in paths]


def test_rows_come_in_the_order_of_the_images_and_repeat_as_they_do(
    embedder: probeline.Embedder, photos: list[str]
) -> None:
    X = embedder.transform(photos)
    assert X.shape == (18, 6)
    assert X.dtype == np.float32
    picked = [5, 0, 5, 17, 2]
    assert np.array_equal(embedder.transform([photos[row] for row in picked]), X[picked])
    assert np.array_equal(embedder.transform(np.array(photos, dtype=object)[:, None]), X)
    assert np.array_equal(embedder.transform(pd.DataFrame({"path": photos})), X)
    assert np.array_equal(embedder.transform([Image.open(path) for path in photos[:3]]), X[:3])
    assert embedder.get_feature_names_out().tolist() == [f"f{dim}" for dim in range(6)]


def test_it_works_in_pipelines_and_is_cloned_and_pickled(embedder: probeline.Embedder, photos: list[str]) -> None:
    y = classes_of(photos)
    model = make_pipeline(clone(embedder), LogisticRegression())
    assert model.fit(photos, y).score(photos, y) == 1.0
    assert cross_val_score(model, photos, y, cv=3).mean() == 1.0
    again = pickle.loads(pickle.dumps(embedder))  # noqa: S301 - ours
    assert np.array_equal(again.transform(photos), embedder.transform(photos))
    frame = pd.DataFrame({"path": photos, "size": range(18)})
    both = ColumnTransformer([("image", embedder, ["path"]), ("size", "passthrough", ["size"])])
    assert both.fit_transform(frame).shape == (18, 7)


CHECKS: list[Callable[[str, Any], None]] = [
    estimator_checks.check_estimator_cloneable,
    estimator_checks.check_do_not_raise_errors_in_init_or_set_params,
    estimator_checks.check_estimator_repr,
    estimator_checks.check_estimator_tags_renamed,
    estimator_checks.check_get_params_invariance,
    estimator_checks.check_mixin_order,
    estimator_checks.check_no_attributes_set_in_init,
    estimator_checks.check_parameters_default_constructible,
    estimator_checks.check_set_params,
    estimator_checks.check_valid_tag_types,
]
"""Those of scikit-learn that need no table of numbers."""


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_checks_of_scikit_learn_pass(check: Callable[[str, Any], None]) -> None:
    check("Embedder", probeline.Embedder())


def test_an_image_that_cannot_be_read_is_an_error(
    embedder: probeline.Embedder, photos: list[str], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(Path(photos[0]).read_bytes()[:100])
    with pytest.raises(BadData, match=r"broken\.png"):
        embedder.transform([*photos[:3], str(broken)])
    with pytest.raises(BadData, match="one column of paths"):
        embedder.transform(pd.DataFrame({"a": photos, "b": photos}))


def test_a_net_is_named_by_its_class_and_its_tensors(photos: list[str], tmp_path: Path) -> None:
    options: dict[str, Any] = {"labels": classes_of(photos), "preprocess": PREPROCESS, "cache": tmp_path / "cache"}
    one, other = (probeline.extract(photos, Colours(scale), **options) for scale in (1.0, 2.0))
    assert one.backbone.name.startswith("module:Colours-")
    assert one.backbone.name != other.backbone.name
    assert one.key != other.key
    assert np.allclose(2 * one[:, :3], other[:, :3])
    assert one.key == probeline.extract(photos, Colours(1.0), **options).key
    with pytest.raises(BadOption, match="no backbone"):
        probeline.extract(photos, object())
    with pytest.raises(TypeError, match="features already"):
        probeline.extract(one)


def test_labels_of_objects_are_classes_and_may_lack(photos: list[str], tmp_path: Path) -> None:
    labels: list[str | None] = [*classes_of(photos)]
    labels[4] = None
    features = probeline.extract(photos, Colours(), labels=labels, preprocess=PREPROCESS, cache=tmp_path / "cache")
    assert features.labels[4] == -1
    assert features.classes == ("blue", "green", "red")
    result = probeline.probe(features, reports=tmp_path / "reports")
    assert result.row.n_train + result.row.n_val + result.row.n_test == 17
    bare = probeline.extract(photos, Colours(), preprocess=PREPROCESS, cache=tmp_path / "cache")
    assert bare.key == features.key, "labels are no part of a key"
    assert (bare.labels == -1).all()
    assert probeline.probe(bare, labels, reports=tmp_path / "reports").top1 == result.top1
    with pytest.raises(BadData, match="no labels"):
        probeline.probe(bare, reports=tmp_path / "reports")


def halved(image: Image.Image) -> torch.Tensor:
    """What no record says: the image at half its brightness, and only then of one size."""
    pixels = torch.from_numpy(np.array(image.resize((32, 32)), np.float32))
    return (pixels / 510).permute(2, 0, 1)


def test_a_function_may_make_the_input_under_a_name(photos: list[str], tmp_path: Path) -> None:
    options: dict[str, Any] = {"labels": classes_of(photos), "cache": tmp_path / "cache", "reports": tmp_path / "r"}
    features = probeline.extract(photos, Colours(), preprocess=halved, preprocess_name="halved", **options)
    with torch.no_grad():
        expected = Colours()(torch.stack([halved(Image.open(path).convert("RGB")) for path in photos]))
    assert np.allclose(features, expected, atol=1e-6)
    assert features.backbone.preprocess.function == "halved"
    other = probeline.extract(photos, Colours(), preprocess=halved, preprocess_name="other", **options)
    assert other.key != features.key
    assert probeline.probe(features).top1 == 1.0
    for refused, message in (
        (lambda: probeline.finetune(features, strategy="head", epochs=1), "fine-tuning needs a preprocessing"),
        (lambda: probeline.extract(photos, Colours(), preprocess=halved, **options), "preprocess_name"),
        (
            lambda: probeline.extract(
                photos, Colours(), preprocess=halved, preprocess_name="halved", image_size=64, **options
            ),
            "one size",
        ),
    ):
        with pytest.raises(BadOption, match=message):
            refused()


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda image: image, "floats"),
        (lambda image: np.zeros((3, 8, 9), np.float32), "floats"),
        (lambda image: np.full((3, 8, 8), np.nan, np.float32), "finite"),
        (lambda image: np.zeros((3, image.width, image.width), np.float32), "several sizes"),
        (lambda image: 1 / 0, "ZeroDivisionError"),
        ("no function", "a function of an image"),
    ],
)
def test_functions_that_give_no_input_are_refused(
    function: Any, message: str, photos: list[str], tmp_path: Path
) -> None:
    with pytest.raises(BadOption, match=message):
        probeline.extract(photos, Colours(), preprocess=function, preprocess_name="bad", cache=tmp_path / "cache")
