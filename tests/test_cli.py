"""The command line: one clear line for what is wrong, one JSON object where asked, and nothing done twice."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import URLError

import pytest
import torch
from threadpoolctl import threadpool_limits

from grids import few_l2_in
from probeline.backbones.build import random_net
from probeline.cli import program as cli
from probeline.data.registry import names as dataset_names
from probeline.errors import Diverged
from probeline.evaluate.heads import exact
from probeline.files.memory import DECODING
from probeline.names import PRECISIONS, Strategy
from probeline.options.groups.running import DEVICES
from probeline.options.settings import OPTIONS
from probeline.options.verbs import STAGES, VERBS
from probeline.recipes import names as recipe_names
from probeline.results.methods import METHODS
from probeline.session import Session
from small_runs import bomb, make_photos
from variants import slow_after

UNASKED = ("probe-mlp", "probe-attentive", "ordinal", "zero-shot", "probe-from-zero-shot")
"""Heads that are fitted only if an option says so."""

ASKED = [one.name for one in METHODS if not one.trains and one.name not in UNASKED] + ["finetune", "scratch"]
"""The methods of a run without further options."""


class Result(NamedTuple):
    """What a run left behind."""

    code: int
    out: str
    err: str


Run = Callable[..., Result]

pytestmark = pytest.mark.usefixtures("one_thread")


def words(verb: str, root: Path, **options: Any) -> list[str]:
    """Return the arguments of a small run below `root`: what the verb uses of the usual ones, and `options`."""
    small = {
        "dataset": "digits",
        "backbone": "squeezenet1_1",
        "weights": "none",
        "image_size": 32,
        "limit": 30,
        "epochs": 1,
        "cache": root / "cache",
        "reports": root / "reports",
        "data": root / "data",
    }
    flags = {OPTIONS[name].flag for name in VERBS[verb].options} if verb in VERBS else set()
    usable = {name: value for name, value in small.items() if f"--{name.replace('_', '-')}" in flags}
    arguments = [verb]
    for name, value in {**usable, **options}.items():
        if value is True:
            arguments.append("--" + name.replace("_", "-"))
        elif value is not None:
            arguments.append(f"--{name.replace('_', '-')}={value}")
    return arguments


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(verb: str, root: Path = tmp_path, **options: Any) -> Result:
        code = cli.main(words(verb, root, **options))
        return Result(code, *capsys.readouterr())

    return run


def refused(result: Result) -> str:
    """Return the one line on standard error of a run that was refused."""
    assert result.code == 2
    assert result.err.startswith("probeline: ")
    assert result.err.count("\n") == 1
    assert result.err.endswith("\n")
    return result.err[:-1]


def files(root: Path) -> dict[str, tuple[int, bytes]]:
    """Return when each file below `root` was written, and its bytes."""
    found = (path for path in sorted(root.rglob("*")) if path.is_file())
    return {str(path.relative_to(root)): (path.stat().st_mtime_ns, path.read_bytes()) for path in found}


# What is unknown


@pytest.mark.parametrize(
    ("option", "value", "valid"),
    [
        ("dataset", "mnist", dataset_names()),
        ("dataset", "", dataset_names()),
        ("dataset", "folder:", dataset_names()),
        ("backbone", "resnet19", ("did you mean resnet18", "probeline list backbones")),
        ("backbone", "", ("probeline list backbones",)),
        ("backbone", "timm:vit_nope", ("vit", "timm.list_models()")),
        ("weights", "IMAGENET21K", ("IMAGENET1K_V1", "DEFAULT", "none", "PATH of a file")),
        ("weights", "", ("IMAGENET1K_V1", "none")),
        ("weights", "wheel", ("DEFAULT", "none", "PATH of a file")),
        ("device", "tpu", DEVICES),
        ("device", "", DEVICES),
        ("device", "cuda:", DEVICES),
        ("device", "cuda:99999999999999999999", DEVICES),
        ("precision", "fp8", PRECISIONS),
        ("strategy", "half", Strategy),
        ("strategy", "last-0", Strategy),
        ("recipe", "nope", recipe_names()),
    ],
)
def test_unknown_names_list_the_valid_ones(
    option: str, value: str, valid: tuple[str, ...], run: Run, tmp_path: Path
) -> None:
    if value.startswith("timm:"):
        pytest.importorskip("timm")
    line = refused(run("finetune" if option == "strategy" else "extract", **{option: value}))
    assert "unknown" in line or "no device" in line
    assert value.removeprefix("timm:") in line
    for name in valid:
        assert name in line
    assert not [path for path in files(tmp_path) if not path.endswith(".memo.json")]


@pytest.mark.parametrize(
    ("arguments", "valid"),
    [
        ([], cli.VERBS),
        (["nope"], cli.VERBS),
        (["list", "nope"], ("datasets", "backbones", "recipes")),
        (["list"], ("WHAT",)),
        (["extract", "--nope"], ("--help",)),
        (["extract", "--data-sed", "5"], ("no option --data-sed of probeline extract; did you mean --data-seed",)),
        (["extract", "--backbone"], ("--backbone",)),
        (["extract", "digits"], ("digits",)),
    ],
)
def test_unknown_verbs_and_options(
    arguments: list[str], valid: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(Result(cli.main(arguments), *capsys.readouterr()))
    for name in valid:
        assert name in line


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["extrct"], "did you mean extract"),
        (["find-tune"], "did you mean finetune"),
        (["extract", "--batchsize", "5"], "did you mean --batch-size"),
        (["extract", "--batch_size=5"], "did you mean --batch-size"),
        (["extract", "--image_sice", "5"], "did you mean --image-size"),
        (["run", "--strategies", "full"], "did you mean --strategy"),
        (["extract", "--backbones", "resnet18"], "did you mean --backbone"),
        (["extract", "--dataset", "cifar"], "did you mean cifar10?"),
        (["extract", "--dataset", "digit"], "did you mean digits?"),
        (["extract", "--dataset", "/data/flowers"], "folder:/data/flowers"),
        (["extract", "--backbone", "resnet-50"], "did you mean resnet50"),
        (["extract", "--backbone", "ResNet50"], "did you mean resnet50"),
        (["extract", "--backbone", "mobilenetv2@none"], "did you mean mobilenet_v2"),
        (["finetune", "--strategy", "ful"], "did you mean full?"),
        (["finetune", "--strategy", "lpft"], "did you mean lp-ft?"),
        (["run", "--recipe", "chapter-12"], "did you mean chapter12?"),
        (["extract", "--precision", "bf61"], "did you mean bf16"),
        (["finetune", "--train", "optimiser=adam"], "did you mean optimizer?"),
        (["probe", "--sgd", "weight-decay=0"], "did you mean weight_decay?"),
        (["list", "backbone"], "did you mean backbones?"),
        (["extract", "--backbone", "resnet18@"], "no weights after @ (expected NAME@WEIGHTS or NAME, got resnet18@)"),
        (["cache", "rm", "zzz"], "see probeline cache ls"),
        ([], "no verb (expected one of: run, extract, "),
        (["--dataset", "digits", "extract"], "--dataset stands before the verb (expected probeline VERB OPTIONS)"),
    ],
    ids=" ".join,
)
def test_what_is_misspelt_is_answered_with_what_was_meant(
    arguments: list[str], meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert meant in refused(Result(cli.main(arguments), *capsys.readouterr()))


def test_a_misspelt_tap_is_answered_with_what_was_meant(run: Run) -> None:
    assert "did you mean penultimate?" in refused(run("extract", tap="penultimat"))
    assert "did you mean features.3" in refused(run("extract", tap="feature.3"))


def test_an_option_that_the_verb_does_not_use_names_the_verbs_that_do(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["probe", "--pt2"], ["probe", "--pt2", "--top-k", "3"], ["probe", "--limit", "60", "--pt2"]):
        line = refused(Result(cli.main(arguments), *capsys.readouterr()))
        assert "probeline probe does not use --pt2 (expected it with export); see probeline probe --help" in line
    line = refused(Result(cli.main(["run", "--map", "tsne"]), *capsys.readouterr()))
    assert "nothing that is run uses --map (expected it with pictures)" in line


def _flags(line: str) -> list[str]:
    return re.findall(r"--[\w-]+", line)


@pytest.mark.parametrize("verb", VERBS)
def test_help_fits_two_screens(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        cli.main([verb, "--help"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 100
    assert max(map(len, lines)) <= 100
    shown = {flag for line in lines for flag in re.findall(r"^  (?:-\w, )?(--[\w-]+)", line)}
    # The help of run and of compare names some that the help of a stage explains.
    named = {flag for line in lines if re.search(r": see probeline \w+ --help$", line) for flag in _flags(line)}
    assert bool(named) == (verb in ("run", "compare"))
    shown |= named - {"--help"}
    assert shown == {OPTIONS[name].flag for name in VERBS[verb].options} | {"--help"}


def test_what_is_wrong_is_told_before_a_net_is_built(run: Run, tmp_path: Path) -> None:
    (tmp_path / "garbage.pth").write_bytes(b"no weights")
    for verb in cli.VERBS.keys() - {"list", "cache", "completion", "show", "predict", "board", "similar"}:
        weights = {"weights": tmp_path / "garbage.pth"} if "weights" in VERBS[verb].options else {}
        assert "unknown data set" in refused(run(verb, dataset="mnist", **weights))
        if "backbones" in VERBS[verb].options:
            assert "unknown backbone" in refused(run(verb, backbone="resnet19", dataset="mnist", **weights))


def test_a_device_that_is_not_here(run: Run) -> None:
    if torch.cuda.device_count() > 99:
        pytest.skip("it is here")
    assert "use --device auto or --device cpu" in refused(run("extract", device="cuda:99"))


# Numbers


@pytest.mark.parametrize("option", ["image_size", "limit", "seeds", "batch_size", "workers", "epochs"])
@pytest.mark.parametrize("value", [0, -1, 10**30])
def test_numbers_out_of_range_are_refused(option: str, value: int, run: Run) -> None:
    line = refused(run("run", **{option: value}))
    assert re.search(rf"bad --{option.replace('_', '-')} \(expected 1 to \d+, got {value}\)", line)


@pytest.mark.parametrize("option", ["seed", "data_seed"])
@pytest.mark.parametrize("value", [-1, 10**30])
def test_seeds_out_of_range_are_refused(option: str, value: int, run: Run) -> None:
    assert f"--{option.replace('_', '-')} (expected 0 to 2147483647, got {value})" in refused(
        run("probe", **{option: value})
    )


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf", "1e400", "1e30"])
def test_learning_rates_out_of_range_are_refused(value: str, run: Run) -> None:
    assert "bad --lr" in refused(run("finetune", lr=value))


@pytest.mark.parametrize("option", ["image_size", "limit", "seed", "lr"])
@pytest.mark.parametrize("value", ["", "many", "1,5", "0x10"])
def test_what_is_no_number_is_refused(option: str, value: str, run: Run) -> None:
    line = refused(run("run", **{option: value}))
    assert f"--{option.replace('_', '-')}" in line
    assert repr(value) in line


def test_a_limit_that_leaves_nothing_to_test_on(run: Run) -> None:
    assert "expected 10 or more, one image of each class, got 9" in refused(run("extract", limit=9))
    assert "no image is left to test on" in refused(run("extract", limit=20))


def test_an_image_size_the_net_cannot_take(run: Run, tmp_path: Path) -> None:
    line = refused(run("extract", image_size=4))
    assert "squeezenet1_1 cannot take images of 4 pixels" in line
    assert "--image-size" in line
    assert not list(tmp_path.rglob("entry.json"))


# Folders of images


def test_folders_that_are_no_data_set(run: Run, tmp_path: Path) -> None:
    def line_for(root: Path) -> str:
        return refused(run("extract", dataset=f"folder:{root}", limit=None))

    assert f"no such folder of images: {tmp_path}/nowhere" in line_for(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert f"no images in this folder: {tmp_path}/empty" in line_for(tmp_path / "empty")
    make_photos(tmp_path / "two" / "train", n=6)
    make_photos(tmp_path / "two" / "test", ("ants", "wasps"), n=6)
    two = line_for(tmp_path / "two")
    assert "class 'wasps' of test is not in train" in two
    assert "ants, bees" in two
    assert "no image is left to test on" in line_for(make_photos(tmp_path / "few", n=2))
    assert "'ants' in folder--single/all (expected 2 or more, got 1)" in line_for(make_photos(tmp_path / "single", n=1))
    (tmp_path / "file").touch()
    assert "no such folder" in line_for(tmp_path / "file")
    assert "File name too long" in line_for(tmp_path / ("x" * 300))


def test_images_without_labels_are_extracted_and_get_labels_later(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_photos(tmp_path / "photos", ("pictures",), n=12)
    options: dict[str, Any] = {"dataset": f"folder:{root}", "limit": None, "json": True}
    (entry,) = json.loads(run("extract", **options).out)["extract"]
    for verb in ("probe", "run", "finetune", "doctor", "compare"):
        assert "the images have no labels: folder--photos; give them by --labels" in refused(run(verb, **options))
    labels = tmp_path / "labels.csv"
    labels.write_text("id;class\n" + "".join(f"{n};{'ab'[n % 2]}\n" for n in range(12)), encoding="utf-8")
    done = run("extract", **options, labels=labels)
    assert "labels: images from column 'id', by their file names without extensions, whatever the folder, " in done.err
    assert [entry["key"], 0] == [
        json.loads(done.out)["extract"][0]["key"],
        json.loads(done.out)["extract"][0]["extracted_shards"],
    ]
    assert "2 classes" in run("probe", **options, labels=labels).err
    shown = json.loads(
        Result(cli.main(["show", "all:3", *words("show", tmp_path, **options)[1:]]), *capsys.readouterr()).out
    )["show"]
    assert (shown[0]["class"], shown[0]["role"]) == (None, None)


@pytest.mark.slow
def test_an_unreadable_photo_is_named_by_every_stage(run: Run, tmp_path: Path) -> None:
    root = make_photos(tmp_path / "photos", n=6)
    spoilt = root / "ants" / "3.jpg"
    spoilt.write_bytes(spoilt.read_bytes()[:200])
    options = {"dataset": f"folder:{root}", "limit": None}
    for verb in ("finetune", "extract", "run", "compare", "doctor", "verify"):
        result = run(verb, **options)
        assert result.code == 0
        assert "1 of 12 images cannot be read and is left out: ants/3.jpg (" in result.err
    report = tmp_path / "reports" / "folder--photos" / "report.md"
    assert "1 of 12 images cannot be read and is left out: listed in unreadable.csv" in report.read_text()
    assert "ants/3.jpg" in refused(run("extract", strict=True, **options))


def test_a_training_that_meets_unreadable_photos_starts_again_without_all_of_them(run: Run, tmp_path: Path) -> None:
    root = make_photos(tmp_path / "photos", n=6)
    for number, name in enumerate(("ants/1.jpg", "bees/4.jpg", "bees/5.jpg")):
        (root / name).write_bytes(bomb(60_000 + number, 60_000))
    result = run("finetune", dataset=f"folder:{root}", limit=None)
    assert result.code == 0
    assert result.err.count("turned out to be unreadable") == 1
    assert "3 of 12 images cannot be read and are left out" in result.err


# Weights


def test_weights_of_another_net_name_the_first_mismatch(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save(random_net("squeezenet1_0", 0).state_dict(), path)
    line = refused(run("extract", weights=path))
    assert f"the weights are of another net: 28 of 50 tensors match: {path}" in line
    assert "expected features.0.weight [64, 3, 3, 3], got [96, 3, 7, 7]" in line


def test_weights_that_are_no_weights(run: Run, tmp_path: Path) -> None:
    assert "no weights file" in refused(run("extract", weights=tmp_path / "nowhere.pth"))
    assert "no weights file" in refused(run("extract", weights=tmp_path))
    (tmp_path / "text.pth").write_text("no weights")
    assert "cannot read the weights file" in refused(run("extract", weights=tmp_path / "text.pth"))


# Places that cannot be written or read


@pytest.mark.parametrize("option", ["cache", "data"])
def test_a_file_where_a_folder_should_be(option: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    dataset = "digits" if option == "cache" else "hymenoptera"
    line = refused(run("extract", **{option: tmp_path / "file", "dataset": dataset}))
    assert "cannot write" in line
    assert str(tmp_path / "file") in line


@pytest.mark.parametrize("verb", ["baselines", "compare"])
def test_reports_that_cannot_be_written(verb: str, run: Run, tmp_path: Path, finished: Path) -> None:
    (tmp_path / "file").touch()
    line = refused(run(verb, finished, reports=tmp_path / "file"))
    assert f"cannot write: {tmp_path}/file" in line
    assert "run again: what is finished is kept" in line


@pytest.mark.usefixtures("undrawn")
def test_what_diverges_keeps_no_other_stage_from_running(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    too_fast = ["--sgd", "optimizer=sgd", "lr=100", "weight_decay=1", "--lr=100"]
    result = Result(cli.main([*words("run", tmp_path), *too_fast]), *capsys.readouterr())
    line = refused(result)
    assert "diverged: probe-sgd: digits-limit30 x squeezenet1_1, seed 0 (got lr 100" in line, "the first that diverged"
    assert "finetune, seed 0: training diverged: " in result.out
    assert "scratch, seed 0: training diverged: " in result.out
    report = json.loads((tmp_path / "reports/digits-limit30/report.json").read_text(encoding="utf-8"))
    assert {row["method"] for row in report["rows"]} == set(ASKED) - {"probe-sgd", "finetune", "scratch"}


def test_what_diverges_in_extraction_keeps_all_else_from_running(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def diverge(_: Session) -> None:
        raise Diverged("extract diverged", remedy="use other --weights")

    monkeypatch.setattr("probeline.commands.extract.run", diverge)
    result = run("run")
    # Without embeddings the others could but say that there are none, or make them after all.
    assert refused(result) == "probeline: extract diverged; use other --weights"
    assert result.out == ""
    assert not list(tmp_path.rglob("scores"))


def test_reports_that_cannot_be_written_stop_a_fit_before_it_begins(run: Run, tmp_path: Path, finished: Path) -> None:
    (tmp_path / "file").touch()
    shutil.copytree(finished / "cache", tmp_path / "cache")
    (shard,) = (tmp_path / "cache").rglob("shard-*.h5")
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    assert "cannot write" in refused(run("probe", reports=tmp_path / "file"))
    assert "a shard is corrupt" in refused(run("probe"))


@pytest.mark.parametrize(
    ("call", "code"), [("open", errno.EACCES), ("write", errno.ENOSPC), ("fsync", errno.ENOSPC), ("fsync", errno.EIO)]
)
def test_disks_that_refuse_are_one_line(
    call: str, code: int, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **options: Any) -> Any:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        line = refused(run("extract"))
    assert f"got {os.strerror(code)}" in line
    assert "cannot write" in line
    assert not [path for path in files(tmp_path) if not path.endswith(".tmp")]
    assert run("extract").code == 0


def test_what_no_room_foresaw_is_one_line_too(run: Run, tmp_path: Path) -> None:
    assert run("extract").code == 0
    (path,) = tmp_path.rglob("entry.json")
    path.unlink()
    path.mkdir()
    line = refused(run("extract"))
    assert f"a file of the cache cannot be read: {path} (got a folder, not a file)" in line


@pytest.mark.parametrize(
    ("option", "line"),
    [("cache", "empty name"), ("reports", "empty name"), ("data", "empty name"), ("recipe", "unknown recipe ''")],
)
def test_empty_names_are_refused(option: str, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = cli.main(["run", f"--{option}="])
    assert line in refused(Result(code, *capsys.readouterr()))


def test_pipes_in_the_place_of_files_are_refused_and_not_waited_for(run: Run, tmp_path: Path) -> None:
    assert run("extract").code == 0
    for name in ("shard-00000.h5", "shard-00000.json", "entry.json", ".memo.json"):
        (path,) = tmp_path.rglob(name)
        whole = path.read_bytes()
        path.unlink()
        os.mkfifo(path)
        if name == ".memo.json":
            assert run("extract").code == 0, "a memo may be lost"
        else:
            assert f"{path} (got a pipe, not a plain file)" in refused(run("extract"))
            assert run("verify").code == 3
        path.unlink()
        path.write_bytes(whole)


def test_names_that_are_not_unicode(run: Run) -> None:
    assert r"\udcff" in refused(run("compare", cache=os.fsdecode(b"/\xff/cache")))


# Before and after


@pytest.mark.parametrize("verb", ["probe", "baselines", "curve", "doctor"])
def test_missing_features_are_extracted_after_a_line_that_says_so(verb: str, run: Run) -> None:
    line = f"{verb}: features of squeezenet1_1 are not extracted yet; extracting what is missing"
    options = {"fractions": 100, "shots": 0, "draws": 1} if verb == "curve" else {}
    first, second = (run(verb, **options) for _ in range(2))
    assert (first.code, second.code) == (0, 0)
    assert first.out.splitlines().count(line) == 1
    assert line not in second.out


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of all stages; its cache and reports, without figures, are there; nothing is left to do."""
    root = tmp_path_factory.mktemp("finished")
    with threadpool_limits(1), pytest.MonkeyPatch.context() as patch:
        patch.setattr("probeline.report.figures.draw", lambda *_: [])
        assert cli.main(words("run", root)) == 0
    assert not list(root.rglob("*.tmp"))
    return root


SECOND = f"""
import json, sys
{few_l2_in(exact)}
from probeline.cli.program import main
for verb, *options in json.loads(sys.argv[1]):
    assert main([verb, *options]) == 0, verb
    heavy = {{"torch", "torchvision", "timm", "matplotlib"}} & set(sys.modules)
    assert not heavy, (verb, heavy)
"""


def test_a_second_run_of_any_stage_computes_nothing_and_writes_nothing(finished: Path) -> None:
    before = files(finished)
    assert sum(name.endswith(".h5") for name in before) == 1
    assert sum(name.startswith("reports/digits-limit30/scores/") for name in before) == len(ASKED)
    commands = json.dumps([words(verb, finished) for verb in (*STAGES, "run")])
    done = subprocess.run([sys.executable, "-c", SECOND, commands], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.count("already scored, skipped") == 2 * len(ASKED)
    assert done.stdout.count("(checksums of ") == 2
    assert done.stdout.count("the report is up to date in") == 2
    assert files(finished) == before


SCORED = f"""
import sys
{few_l2_in(exact)}
from probeline.cli import main
assert main(sys.argv[1:]) == 0
assert not [name for name in sys.modules if name.startswith("probeline.report")]
"""


def test_scores_are_made_and_saved_without_the_report(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "reports" / "digits-limit30" / "scores", tmp_path / "reports/digits-limit30/scores")
    removed = [
        path for method in ("ridge", "centroid") for path in tmp_path.rglob(f"scores/*/{method}-seedless-*.json")
    ]
    assert len(removed) == 2
    for path in removed:
        path.unlink()
    arguments = words("baselines", finished, reports=tmp_path / "reports")
    done = subprocess.run([sys.executable, "-c", SCORED, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert all(path.is_file() for path in removed)


@pytest.mark.usefixtures("undrawn")
def test_comparing_needs_no_net(finished: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise URLError("no network")

    shutil.copytree(finished / "reports" / "digits-limit30" / "scores", tmp_path / "reports/digits-limit30/scores")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    result = run("compare", cache=finished / "cache", backbone="resnet18", weights="DEFAULT", image_size=None)
    assert result.code == 0
    assert "linear probe (exact)" in result.out
    assert "Not run: linear probe (exact) of resnet18: probeline probe" in result.out
    (entry,) = finished.rglob("entry.json")
    assert str(entry.parent) in (tmp_path / "reports/digits-limit30/report.md").read_text(encoding="utf-8")


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("options", "missing"),
    [
        ({}, 0),
        ({"image_size": None}, 0),
        ({"image_size": 48}, len(ASKED)),
        ({"seeds": 3}, 3),
        ({"mlp": "width=16"}, 1),
        ({"precision": "bf16"}, len(ASKED)),
        ({"weights": "DEFAULT"}, 0),
        ({"weights": "IMAGENET1K_V1"}, len(ASKED) - 1),
        ({"weights": "/any/none.pth"}, len(ASKED) - 1),
    ],
)
def test_what_was_not_run_is_named_with_its_command(
    options: dict[str, Any], missing: int, finished: Path, run: Run, tmp_path: Path
) -> None:
    shutil.copytree(finished / "reports" / "digits-limit30" / "scores", tmp_path / "reports/digits-limit30/scores")
    result = run("compare", **options)  # a net from scratch has no weights, so that one counts for all of them
    assert result.code == 0
    assert result.out.count("Not run: ") == missing


@pytest.mark.parametrize("verb", ["extract", "probe", "baselines", "finetune", "compare", "run"])
def test_json_is_one_object_and_all_else_goes_to_standard_error(verb: str, finished: Path, run: Run) -> None:
    told = run(verb, finished)
    assert (told.code, told.err) == (0, "")
    result = run(verb, finished, json=True)
    assert result.code == 0
    assert result.out.count("\n") == 1
    found = json.loads(result.out)
    assert found.keys() == set(STAGES if verb == "run" else (verb,))
    assert result.err == told.out
    for part in found.get("extract", ()):
        assert (Path(part["folder"]) / "entry.json").exists()
        assert part["extracted_shards"] == 0
        assert part["shape"] == [30, 512]
    for stage in ("probe", "baselines", "finetune"):
        for outcome in found.get(stage, ()):
            score = json.loads(Path(outcome["file"]).read_text(encoding="utf-8"))["score"]
            assert {**{name: score.get(name) for name in outcome}, "file": outcome["file"]} == outcome
    methods = [outcome["method"] for stage in ("probe", "baselines", "finetune") for outcome in found.get(stage, ())]
    assert verb != "run" or methods == ASKED


@pytest.mark.parametrize(
    ("verb", "results"),
    slow_after(
        2,
        [
            ("extract", []),
            ("probe", ["test top-1"] * 3),
            ("baselines", ["test top-1"] * sum(one.verb == "baselines" for one in METHODS)),
            ("finetune", ["test top-1"] * 2),
        ],
    ),
)
def test_quiet_leaves_results_alone(verb: str, results: list[str], finished: Path, run: Run, tmp_path: Path) -> None:
    shutil.copytree(finished / "cache", tmp_path / "cache")
    loud, quiet = (run(verb, reports=tmp_path / name, quiet=name == "b" or None) for name in ("a", "b"))
    assert (loud.code, quiet.code, quiet.err) == (0, 0, "")
    lines = quiet.out.splitlines()
    assert len(lines) == len(results)
    assert all(result in line for line, result in zip(lines, results, strict=True))
    assert loud.out


@pytest.mark.usefixtures("undrawn")
def test_quiet_shows_the_table_and_no_progress(finished: Path, run: Run) -> None:
    loud, quiet = run("compare", finished), run("compare", finished, quiet=True)
    table, progress = (
        [line for line in loud.out.splitlines() if line.startswith("compare: ") == wanted] for wanted in (False, True)
    )
    assert quiet.out.splitlines() == table
    assert progress


def test_json_of_a_refusal_is_none(run: Run) -> None:
    result = run("extract", dataset="mnist", json=True)
    refused(result)
    assert result.out == ""


@pytest.mark.parametrize("what", ["datasets", "backbones", "recipes"])
def test_lists_are_the_same_as_json(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list", what]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert cli.main(["list", what, "--json"]) == 0
    names = json.loads(capsys.readouterr().out)
    assert [line.split()[0] for line in lines] == names
    assert lines == names or what == "recipes", "a recipe's line ends in its title"
    assert len(lines) == len(set(lines)) > 0


def test_an_interrupt_is_one_line(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", interrupt)
        result = run("extract")
    assert result.code == 130
    assert result.err == "probeline: interrupted; what is finished is kept, and the same command goes on from there\n"
    assert run("extract").code == 0


INTERRUPTED = """
import os, signal
from probeline.cli import entry_point
open_file, started = os.open, []

def open_and_interrupt(path, *arguments, **options):
    if ".h5" in str(path) and not started:
        started.append(os.kill(os.getpid(), signal.SIGINT))
    return open_file(path, *arguments, **options)

os.open = open_and_interrupt
entry_point()
"""
"""Ctrl-C in the middle of an extraction, when its first shard is written."""


@pytest.mark.slow
def test_ctrl_c_ends_the_process_with_130_and_the_same_command_goes_on(run: Run, tmp_path: Path) -> None:
    arguments = words("extract", tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, *arguments], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 130, done.stderr
    assert done.stderr == "probeline: interrupted; what is finished is kept, and the same command goes on from there\n"
    assert not list(tmp_path.rglob("*.tmp"))
    assert run("extract").code == 0


# The process


def process(arguments: list[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
    """Run ``python -m probeline`` with its standard output and error in pipes."""
    command = [sys.executable, "-m", "probeline", *arguments]
    return subprocess.run(command, stdin=subprocess.DEVNULL, check=False, **options)


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_a_terminal_of_any_encoding_shows_the_table(encoding: str, finished: Path) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "LC_ALL": "C", "PYTHONUTF8": "0"}
    done = process(words("compare", finished), env=environment, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")
    table = done.stdout.decode(encoding)
    assert "linear probe (exact)" in table
    assert ("–" in table) == (encoding == "utf-8")


def test_wrong_input_gives_the_process_code_2() -> None:
    done = process(["extract", "--dataset", "mnist"], capture_output=True)
    assert done.returncode == 2
    assert done.stdout == b""
    assert refused(Result(done.returncode, "", done.stderr.decode()))


@pytest.mark.parametrize("verb", ["cache ls", "list backbones", "--help", "extract --help"])
def test_a_reader_who_leaves_does_no_harm(verb: str, finished: Path) -> None:
    arguments = [*verb.split(), *([f"--cache={finished}/cache"] if verb == "cache ls" else [])]
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as nobody:
        done = process(arguments, stdout=nobody, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (0, b"")


def test_work_goes_on_where_nobody_reads(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as nobody:
        monkeypatch.setattr(sys, "stdout", nobody)
        assert cli.main(words("extract", tmp_path)) == 0
        monkeypatch.undo()
    assert "(checksums of " in run("extract").out


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize(
    "command", slow_after(2, ["list datasets", "list datasets --json", "--help", "completion bash"])
)
def test_an_output_that_is_full_is_one_line(command: str) -> None:
    with Path("/dev/full").open("wb") as full:
        done = process(command.split(), stdout=full, stderr=subprocess.PIPE)
        line = refused(Result(done.returncode, "", done.stderr.decode()))
        assert line == f"probeline: the system refused: <stdout> (got {os.strerror(errno.ENOSPC)})"
        assert process(command.split(), stdout=full, stderr=full).returncode == 2


def test_closed_streams_do_no_harm() -> None:
    def close_both() -> None:
        os.close(1)
        os.close(2)

    assert process(["list", "datasets"], preexec_fn=close_both).returncode == 0
    assert process(["list", "nothing"], preexec_fn=close_both).returncode == 2


def test_the_memory_for_decoding_is_set_for_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DECODING, "_most", None)
    assert cli.main(["extract", "--dataset", f"folder:{tmp_path}/missing", "--decode-gb", "0.5"]) == 2
    assert DECODING.most == 500_000_000
    assert cli.main(["extract", "--dataset", f"folder:{tmp_path}/missing"]) == 2
    assert DECODING.most == DECODING.machine // 4
    assert cli.main(["extract", "--dataset", f"folder:{tmp_path}/missing", "--decode-gb", "0"]) == 2


def test_too_little_memory_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(_: object) -> None:
        raise MemoryError("it takes 9 bytes")

    monkeypatch.setattr(cli, "_run", fail)
    assert cli.main(["extract"]) == 2
    assert capsys.readouterr().err == "probeline: not enough memory (got it takes 9 bytes)\n"
