"""Galleries and maps, from photos and embeddings to what compare shows of them."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from conftest import make_part
from made_scores import judged
from probeline.analysis import gallery
from probeline.analysis.embedding_map import make_map
from probeline.analysis.gallery import MAX_BYTES
from probeline.analysis.probe_features import TIE, ProbeFeatures
from probeline.analysis.thumbnails import make_thumbnails
from probeline.cli import program as cli
from probeline.commands import baselines, compare, extract, pictures, probe
from probeline.data.pixels.loading import open_image
from probeline.data.pixels.tiles import scale
from probeline.errors import BadData
from probeline.files.decode import encode
from probeline.identity import canonical, seal, unseal
from probeline.images import ImageArray
from probeline.results.illustrations.embedding_map import MAPS, EmbeddingMap
from probeline.results.illustrations.gallery import GALLERIES, Gallery
from probeline.results.ranking import best_by_validation, best_probe, rank_by_validation
from probeline.results.score import SCORES, Score
from probeline.session import Session
from probeline.types import DataSet
from small_runs import Listening, configuration, extracted, make_photos

NET = "squeezenet1_1"
GALLERY, MAP = f"gallery-{NET}.json", f"map-{NET}.json"

pytestmark = pytest.mark.usefixtures("one_thread")


def inputs_of(root: Path, **changes: Any) -> tuple[Session, Listening]:
    console = Listening()
    options = {"dataset": f"folder:{root / 'photos'}", "limit": None, "sgd": ("epochs=1", "lr=0.001"), **changes}
    return Session(configuration(root / "cache", console=console, **options)), console


def make_tinted(root: Path) -> Path:
    """Make a folder of three classes of 20 images of noise, each brighter in a channel: a fifth in another class's."""
    rng = np.random.default_rng(0)
    for channel, name in enumerate(("ants", "bees", "cats")):
        (root / name).mkdir(parents=True)
        for number in range(20):
            tint = rng.normal(scale=25, size=3)
            tint[(channel + (number % 5 == 0)) % 3] += 50
            pixels = rng.integers(40, 160, (40, 50, 3)) + tint
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(root / name / f"{number:02d}.png")
    return root


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the report's own figures out, which take long to draw."""
    monkeypatch.setattr("probeline.report.figures.draw", lambda *_: [])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of photos that are hard to tell apart, with embeddings, scores, gallery and map; leave it as it is."""
    root = tmp_path_factory.mktemp("gallery")
    for photo in make_tinted(root / "photos").rglob("*.png"):
        os.utime(photo, (1_000_000_000, 1_000_000_000))  # the hash of what has just been written is not remembered
    with threadpool_limits(1):
        extracted(root / "cache", dataset=f"folder:{root / 'photos'}", limit=None)
        for stage in (probe, baselines, pictures):
            stage.run(inputs_of(root)[0])
    return root


@pytest.fixture
def world(finished: Path, tmp_path: Path) -> Path:
    """A copy of it to change; the photos are where they were."""
    shutil.copytree(finished / "reports", tmp_path / "reports")
    shutil.copytree(finished / "cache", tmp_path / "cache")
    (tmp_path / "photos").symlink_to(finished / "photos")
    return tmp_path


def scores_of(session: Session) -> list[Score]:
    return SCORES.load(session.reports)[0]


def probe_of(session: Session) -> Score:
    found = best_probe(scores_of(session))
    assert found is not None
    return found


def gallery_of(session: Session) -> Gallery:
    found = GALLERIES.find(session.reports, NET)
    assert isinstance(found, Gallery)
    return found


def map_of(session: Session) -> EmbeddingMap:
    found = MAPS.find(session.reports, NET)
    assert isinstance(found, EmbeddingMap)
    return found


def standardised(session: Session) -> tuple[np.ndarray, np.ndarray]:
    """Return train and test embeddings in float64, standardised by the train rows."""
    splits = session.splits
    backbone, _ = session.backbone(NET)
    features = session.features(backbone, "all").features.astype(np.float64)
    train, test = features[splits.train.rows], features[splits.test.rows]
    std = np.where(np.ptp(train, axis=0) > 0, train.std(0), 1)
    return (train - train.mean(0)) / std, (test - train.mean(0)) / std


# The gallery


def test_what_most_rows_have_wrong_comes_first(finished: Path) -> None:
    session, _ = inputs_of(finished)
    found, rows = gallery_of(session), rank_by_validation(scores_of(session))
    assert [judge.key for judge in found.rows] == [row[0].key for row in rows]
    assert {judge.method for judge in found.rows} == {
        *("probe", "probe-refit", "probe-sgd", "logistic", "ridge"),
        *("knn", "knn-weighted", "centroid", "centroid-shrunken"),
    }
    assert found.rows[found.probe].key == probe_of(session).key
    part, test, names = session.dataset.parts["all"], session.splits.test.rows, session.dataset.class_names
    counts = {
        place: sum(row[0].predictions[place] != part.labels[row_number] for row in rows)
        for place, row_number in enumerate(test)
    }
    assert len(rows) in counts.values(), "some are shared by all"
    assert len(set(counts.values())) > 2, "and some are not"
    wrong = [place for place in counts if counts[place]]
    assert any(counts[place] == 1 for place in wrong), "some are one row's alone"
    expected = sorted((place for place in wrong if counts[place] > 1), key=lambda place: (-counts[place], place))
    assert [image.name for image in found.images] == [f"all:{test[place]}" for place in expected]
    assert [image.wrong for image in found.images] == [counts[place] for place in expected]
    assert (found.wrong, found.shared, found.n_test) == (
        len(wrong),
        sum(count == len(rows) for count in counts.values()),
        len(test),
    )
    for image, place in zip(found.images, expected, strict=True):
        assert image.sample_id == part.sample_ids[test[place]]
        assert image.true == names[part.labels[test[place]]]
        assert image.predicted == tuple(names[row[0].predictions[place]] for row in rows)


def test_the_neighbours_are_the_nearest_by_brute_force(finished: Path) -> None:
    session, _ = inputs_of(finished)
    train, test = standardised(session)
    part, splits = session.dataset.parts["all"], session.splits
    unit = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (train, test)]
    places = {f"all:{row}": place for place, row in enumerate(splits.test.rows)}
    for image in gallery_of(session).images:
        cosines = unit[0] @ unit[1][places[image.name]]
        nearest = np.argsort(-cosines)[:3]
        assert [near.name for near in image.neighbours] == [f"all:{splits.train.rows[place]}" for place in nearest]
        # Half a ten-thousandth of rounding, and float32's own.
        assert [near.cosine for near in image.neighbours] == pytest.approx(cosines[nearest].tolist(), abs=5e-5 + 1e-6)
        for near in image.neighbours:
            row = int(near.name.partition(":")[2])
            assert row in splits.train.rows
            assert near.sample_id == part.sample_ids[row]
            assert near.sample_id.startswith(near.true)


def test_the_chances_are_those_of_scikit_learns_probe_at_the_scores_temperature(finished: Path) -> None:
    session, _ = inputs_of(finished)
    found, score = gallery_of(session), probe_of(session)
    assert found.refit.held
    assert found.refit.same == found.refit.n_test == score.n_test
    assert found.refit.nll == pytest.approx(score.nll, abs=1e-4)
    train, test = standardised(session)
    labels = session.dataset.parts["all"].labels[session.splits.train.rows]
    solver = LogisticRegression(C=1 / (score.chosen["l2"] * len(labels)), tol=1e-8, max_iter=10_000).fit(train, labels)
    logits = solver.decision_function(test) / score.temperature
    shares = np.exp(logits - logits.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    names = session.dataset.class_names
    places = {f"all:{row}": place for place, row in enumerate(session.splits.test.rows)}
    for image in found.images:
        row = shares[places[image.name]]
        assert image.predicted[found.probe] == names[int(row.argmax())]
        # Measured: 3e-4 at most, as both solvers stop near the minimum, not at it.
        assert image.chance == pytest.approx(row.max(), abs=5e-3)
        assert image.true_chance == pytest.approx(row[names.index(image.true)], abs=5e-3)


def test_each_image_has_one_thumbnail_of_its_own(finished: Path) -> None:
    session, _ = inputs_of(finished)
    found = gallery_of(session)
    named = {name for image in found.images for name in (image.name, *(near.name for near in image.neighbours))}
    assert set(found.thumbnails) == named
    for name, small in found.thumbnails.items():
        read = Image.open(BytesIO(base64.b64decode(small.webp))).convert("RGB")
        image = scale(open_image(session.dataset.images["all"], int(name.partition(":")[2])), 96)
        assert read.size == image.size == (small.width, small.height) == (50, 40)
        # Noise is what WebP drops: of 74 grey levels that two noises differ by in the mean, most must be gone.
        assert np.abs(np.array(read, float) - np.array(image, float)).mean() < 35


def images_of(pixels: np.ndarray, n: int) -> tuple[DataSet, list[str]]:
    """Return a data set of an image shifted by 0 to n - 1 values, and the names of its rows."""
    part = make_part(n, name="all")
    images = ImageArray(np.stack([np.roll(pixels, row) for row in range(n)]))
    dataset = DataSet("toy", {"all": part}, {"all": images}, part.class_names, train="all", test="all")
    return dataset, [f"all:{row}" for row in range(n)]


def test_a_record_stays_below_its_limit(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session, _ = inputs_of(world)
    path = session.reports / "pictures" / GALLERY
    limit = path.stat().st_size * 3 // 4
    monkeypatch.setattr(gallery, "MAX_BYTES", limit)
    path.unlink()
    pictures.run(session)
    assert path.stat().st_size < limit


def test_thumbnails_of_the_worst_images_stay_small() -> None:
    # 24 images and three near ones of each, all of them noise.
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    dataset, names = images_of(noise, 96)
    limit = MAX_BYTES // 2
    thumbnails = make_thumbnails(dataset, names, limit)
    assert len(thumbnails) == 96
    assert len(canonical({name: asdict(thumbnail) for name, thumbnail in thumbnails.items()})) <= limit


def test_small_images_are_enlarged_without_loss() -> None:
    digit = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    dataset, names = images_of(digit, 12)
    thumbnails = make_thumbnails(dataset, names, MAX_BYTES)
    assert list(thumbnails) == sorted(names)
    for name, thumbnail in thumbnails.items():
        read = np.array(Image.open(BytesIO(base64.b64decode(thumbnail.webp))).convert("RGB"))
        rolled = np.roll(digit, int(name.partition(":")[2]))
        np.testing.assert_array_equal(read, np.kron(rolled, np.ones((12, 12, 1), np.uint8)))


def test_chances_of_another_head_are_not_told(world: Path) -> None:
    session, _ = inputs_of(world)
    score = probe_of(session)
    other = tuple((said + 1) % 3 for said in score.predictions)
    SCORES.save(session.reports, judged(score, predictions=other))
    pictures.run(session)
    found = gallery_of(session)
    assert found.refit.held is False
    assert found.refit.same == 0
    assert all(image.chance is image.true_chance is None for image in found.images)
    assert "No probabilities: the exact linear probe, l2" in found.caption


def test_a_likelihood_that_is_another_is_not_believed_either(finished: Path) -> None:
    session, _ = inputs_of(finished)
    score = probe_of(session)
    assert ProbeFeatures(session, score).refit[1].held
    assert not ProbeFeatures(session, replace(score, nll=score.nll + 0.02)).refit[1].held
    # A tie may turn: the other class of an image whose two likeliest are as good as equal.
    shares = ProbeFeatures(session, score).refit[0]
    second, first = np.argsort(shares, axis=1)[:, -2:].T
    every = np.arange(len(shares))
    near = shares[every, first] - shares[every, second]
    for place in (int(near.argmin()), int(near.argmax())):
        said = tuple(int(second[i]) if i == place else one for i, one in enumerate(score.predictions))
        held = ProbeFeatures(session, judged(score, predictions=said)).refit[1]
        assert held.held == (near[place] <= TIE)
        assert held.same == len(said) - 1


def test_a_probe_of_several_taps_and_views_is_read_as_it_was_fitted(world: Path) -> None:
    tap = "features.6+penultimate"
    session, _ = inputs_of(world, taps=(tap,), views=1)
    extract.run(session)
    probe.run(session)
    (score,) = [one for one in scores_of(session) if one.method == "probe" and one.tap == tap]
    SCORES.save(session.reports, replace(score, val_top1=1.0))
    pictures.run(inputs_of(world)[0])
    found = gallery_of(session)
    assert (found.tap, found.rows[0].key) == (tap, score.key)
    assert found.refit.held
    assert "the exact linear probe at features.6+penultimate, 1 view, l2" in found.caption
    assert map_of(session).tap == tap
    # Neighbours are images, so that the views of train images are none.
    splits = session.splits
    parts = [session.features(one, "all").features.astype(np.float64) for one in session.taps(NET)[0][0]]
    features = np.concatenate(parts, axis=1)
    train = features[splits.train.rows]
    scaled_rows = (features - train.mean(0)) / np.where(np.ptp(train, axis=0) > 0, train.std(0), 1)
    unit = scaled_rows / np.linalg.norm(scaled_rows, axis=1, keepdims=True)
    for image in found.images:
        cosines = unit[splits.train.rows] @ unit[int(image.name.partition(":")[2])]
        rows = splits.train.rows[np.argsort(-cosines)[:3]]
        assert [near.name for near in image.neighbours] == [f"all:{row}" for row in rows]


def test_where_every_row_is_right_there_is_no_gallery(world: Path) -> None:
    session, console = inputs_of(world)
    for score in scores_of(session):
        SCORES.save(session.reports, judged(score, predictions=score.labels))
    kinds = [one["kind"] for one in pictures.run(session)]
    assert kinds == ["anatomy", "filters", "input", "histogram", "map"]
    assert not ((session.reports / "pictures") / GALLERY).exists()
    line = f"pictures: folder--photos x {NET}: no gallery, as every row predicts all test images correctly"
    assert line in console.said


# The map


def test_the_map_is_the_test_rows_in_the_train_rows_components(finished: Path) -> None:
    session, _ = inputs_of(finished)
    found, splits = map_of(session), session.splits
    train, test = standardised(session)
    mean = train.mean(0)
    _, singular, axes = np.linalg.svd(train - mean, full_matrices=False)
    axes *= np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])[:, None]
    (plane,) = found.planes
    expected = (test - mean) @ axes[:2].T
    # Rounded to a ten-thousandth of the range or better; float32 turns close axes by less than that.
    np.testing.assert_allclose(plane.xy, expected, atol=2e-3 * np.abs(expected).max())
    shares = (singular**2 / (singular**2).sum())[:2]
    assert plane.facts["explained"] == pytest.approx(shares.tolist(), abs=1e-5)
    judge = best_by_validation(scores_of(session))
    assert judge is not None
    part = session.dataset.parts["all"]
    assert found.rows == tuple(splits.test.rows.tolist())
    assert found.sample_ids == tuple(part.sample_ids[row] for row in splits.test.rows)
    assert found.labels == judge[0].labels
    assert found.predicted == judge[0].predictions
    assert any(found.wrong)
    assert not all(found.wrong)


def test_many_test_images_are_sampled(world: Path) -> None:
    whole = map_of(inputs_of(world)[0])
    session, _ = inputs_of(world)
    ((session.reports / "pictures") / MAP).unlink()
    best = best_by_validation(scores_of(session))
    assert best is not None
    make_map(session, ProbeFeatures(session, probe_of(session)), best[0], max_points=6)
    found = map_of(session)
    assert np.bincount(found.labels).tolist() == [2, 2, 2]
    assert found.n_test == 12
    assert found.caption.startswith("6 of 12 test images (stratified sample, data seed 0): features of ")
    at = [whole.rows.index(row) for row in found.rows]
    assert found.planes[0].xy == tuple(whole.planes[0].xy[place] for place in at)
    assert found.predicted == tuple(whole.predicted[place] for place in at)


def test_tsne_comes_beside_and_stays(world: Path) -> None:
    session, console = inputs_of(world, map="tsne")
    plain = map_of(session)
    pictures.run(session)
    found = map_of(session)
    assert found.methods == ("pca", "tsne")
    assert found.planes[0] == plain.planes[0]
    assert len(found.planes[1].xy) == 12
    assert found.planes[1].facts["perplexity"] == pytest.approx(11 / 3, abs=1e-3)
    assert "perplexity 3.667, seed 0" in found.caption
    assert sum("up to date" in line for line in console.said) == 6
    before = ((session.reports / "pictures") / MAP).read_bytes()
    for changes in ({}, {"map": "tsne"}):
        session, console = inputs_of(world, **changes)
        pictures.run(session)
        assert sum("up to date" in line for line in console.said) == 7
    assert ((session.reports / "pictures") / MAP).read_bytes() == before
    ((session.reports / "pictures") / MAP).unlink()
    pictures.run(session)
    assert ((session.reports / "pictures") / MAP).read_bytes() == before


def test_tsne_of_next_to_no_images_is_refused(tmp_path: Path) -> None:
    make_photos(tmp_path / "photos", n=4)
    with pytest.raises(BadData) as caught:
        pictures.run(inputs_of(tmp_path, map="tsne")[0])
    assert str(caught.value) == (
        "too few test images for --map tsne: folder--photos (expected 4 or more, got 2); leave --map out"
    )


def test_other_maps_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["pictures", "--map", "umap"]) == 2
    assert capsys.readouterr().err.strip().endswith("unknown map 'umap' (expected one of: pca, tsne)")


# Both


SECOND = """
import sys
from probeline.cli.program import main
assert main(["pictures", *sys.argv[1:]]) == 0
assert main(["compare", *sys.argv[1:-4], "--sgd", "epochs=1", "lr=0.001"]) == 0
heavy = {"torch", "torchvision", "matplotlib", "sklearn"} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.mark.slow
def test_a_second_run_imports_nothing_heavy_and_writes_nothing(world: Path) -> None:
    def state() -> dict[str, tuple[int, int]]:
        files = (path for path in world.rglob("*") if path.is_file())
        return {str(path): (path.stat().st_mtime_ns, path.stat().st_ino) for path in files}

    compare.run(inputs_of(world, batch_size=None, workers=None)[0])
    before = state()
    words = f"--dataset folder:{world}/photos --backbone {NET} --weights none --image-size 32"
    folders = [f"--cache={world}/cache", f"--reports={world}/reports"]
    command = [*words.split(), *folders, "--batch-size", "6", "--workers", "2"]
    done = subprocess.run([sys.executable, "-c", SECOND, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("is up to date, skipped") == 7
    assert "the report is up to date" in done.stdout
    assert state() == before


def test_what_is_made_again_is_the_same_to_the_byte(world: Path) -> None:
    session, _ = inputs_of(world)
    before = {name: ((session.reports / "pictures") / name).read_bytes() for name in (GALLERY, MAP)}
    for name in before:
        ((session.reports / "pictures") / name).unlink()
    told = pictures.run(session)
    assert {name: ((session.reports / "pictures") / name).read_bytes() for name in before} == before
    assert [one["kind"] for one in told] == ["anatomy", "filters", "input", "histogram", "mistakes", "gallery", "map"]
    assert told[5]["file"] == str((session.reports / "pictures") / GALLERY)
    assert told[6]["caption"] == map_of(session).caption


def shown(session: Session) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(Path(str(compare.run(session)["json"])).read_text(encoding="utf-8"))
    return record


def left_out(record: dict[str, Any]) -> dict[str, str]:
    return {one["what"]: one["command"] for one in record["missing"] if one["what"].startswith(("gallery-", "map-"))}


def test_compare_shows_gallery_and_map_without_an_embedding(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr("probeline.report.figures.draw", lambda content: drawn.extend(content.maps) or [])
    session, _ = inputs_of(world)
    for shard in (world / "cache").rglob("shard-*.h5"):
        shard.unlink()
    record = shown(session)
    (found,), (mapped,) = record["galleries"], record["maps"]
    assert found["file"] == f"pictures/{GALLERY}"
    assert "thumbnails" not in found
    assert found["images"] == json.loads(json.dumps(encode(gallery_of(session))["images"]))
    assert mapped["file"] == f"pictures/{MAP}"
    assert mapped["planes"][0]["facts"] == map_of(session).planes[0].facts
    assert drawn == [map_of(session)]
    assert left_out(record) == {}


@pytest.mark.parametrize("name", [GALLERY, MAP])
def test_what_is_damaged_is_left_out_named_and_made_again(name: str, world: Path) -> None:
    session, _ = inputs_of(world)
    path = (session.reports / "pictures") / name
    data = path.read_bytes()
    path.write_bytes(data[:100] + bytes([data[100] ^ 1]) + data[101:])
    record = shown(session)
    (what,) = left_out(record)
    assert what == f"{name}, which is damaged: its bytes are not those its sha256 was taken of"
    assert left_out(record)[what].startswith("probeline pictures --dataset folder:")
    assert (len(record["galleries"]), len(record["maps"])) == ((0, 1) if name == GALLERY else (1, 0))
    session, console = inputs_of(world)
    pictures.run(session)
    assert path.read_bytes() == data
    (told,) = [line for line in console.said if "recomputed" in line]
    assert told.startswith(f"pictures: folder--photos x {NET}: recomputed, as {name} is damaged")


def test_what_is_of_other_scores_is_left_out_named_and_made_again(world: Path) -> None:
    session, _ = inputs_of(world, map="tsne")
    pictures.run(session)
    judge = best_by_validation(scores_of(session))
    assert judge is not None
    flipped = tuple((said + 1) % 3 for said in judge[0].predictions)
    SCORES.save(session.reports, judged(judge[0], predictions=flipped))
    session, _ = inputs_of(world)
    record = shown(session)
    assert record["galleries"] == record["maps"] == []
    found = left_out(record)
    assert list(found) == [f"{GALLERY}, as its scores have changed", f"{MAP}, as its scores have changed"]
    assert "--map tsne" not in found[f"{GALLERY}, as its scores have changed"]
    assert "--map tsne" in found[f"{MAP}, as its scores have changed"]
    pictures.run(session)
    assert map_of(session).predicted == flipped
    record = shown(session)
    assert (len(record["galleries"]), len(record["maps"]), left_out(record)) == (1, 1, {})


def test_without_an_exact_probe_there_is_neither(world: Path) -> None:
    session, console = inputs_of(world)
    for path in (session.reports / "scores").glob("*/probe-seedless-*.json"):
        path.unlink()
    assert [one["kind"] for one in pictures.run(session)] == ["anatomy", "filters", "input", "histogram", "mistakes"]
    (told,) = [line for line in console.said if "no gallery" in line]
    assert told.startswith(
        f"pictures: {NET}: no gallery and no map, as it has no exact probe yet; run: probeline probe --dataset"
    )
    assert list(left_out(shown(session))) == [
        f"{GALLERY}, as its exact probe is gone",
        f"{MAP}, as its exact probe is gone",
    ]


def test_missing_features_are_extracted_first(world: Path) -> None:
    session, _ = inputs_of(world)
    before = {name: ((session.reports / "pictures") / name).read_bytes() for name in (GALLERY, MAP)}
    for shard in (world / "cache").rglob("shard-*"):
        shard.unlink()
    session, console = inputs_of(world)
    pictures.run(session)
    line = f"pictures: features of {NET} are not extracted yet; extracting what is missing"
    assert line not in console.said, "what is up to date needs no features"
    for name in (GALLERY, MAP):
        ((session.reports / "pictures") / name).unlink()
    session, console = inputs_of(world)
    kinds = [one["kind"] for one in pictures.run(session)]
    assert kinds == ["anatomy", "filters", "input", "histogram", "mistakes", "gallery", "map"]
    assert console.said.count(line) == 1
    assert {name: ((session.reports / "pictures") / name).read_bytes() for name in before} == before


def test_of_another_nets_probe_nothing_is_made(world: Path) -> None:
    session, console = inputs_of(world, image_size=40)
    pictures.run(session)
    assert sum("up to date" in line for line in console.said) == 4, "gallery and map are of the scores alone"
    ((session.reports / "pictures") / GALLERY).unlink()
    session, console = inputs_of(world, image_size=40)
    pictures.run(session)
    (told,) = [line for line in console.said if "no gallery" in line]
    assert told.startswith(
        f"pictures: {NET}: no gallery, as the exact probe that is best on validation is of another net, size, "
        f"precision or version than this run's: {NET}, weights none, 32 pixels, fp32; ask for those, "
        "or run: probeline probe "
    )


def test_a_record_is_sealed(finished: Path) -> None:
    session, _ = inputs_of(finished)
    for name in (GALLERY, MAP):
        data = ((session.reports / "pictures") / name).read_bytes()
        record = unseal(data)
        assert record is not None
        assert seal(record) == data
        assert len(data) < MAX_BYTES
