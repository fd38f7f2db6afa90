"""The command line: the only place that reads arguments, prints, and exits."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import select
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, NoReturn, TextIO, cast

from probeline import __version__
from probeline.console import Bar
from probeline.errors import BadOption, Diverged, ProbelineError, UnknownName
from probeline.names import PRECISIONS, Strategy
from probeline.options.config import DEVICES, FORMATS, MAPS, MAY_STAND_ALONE, TAKES_WORDS, Config, Work, command_line
from probeline.options.grids import MLP, SGD, TRAIN, grid

STAGES = ("extract", "probe", "baselines", "finetune", "compare")
VERBS = {
    "run": "all stages in their order, in one process",
    "extract": "run each frozen backbone once over the data set and cache its embeddings",
    "probe": "fit linear heads on the cached embeddings",
    "baselines": "fit scikit-learn's logistic regression, ridge regression, nearest neighbours and centroids on them",
    "finetune": "train the net or its upper stages, from its weights and from scratch",
    "lrfind": "test which learning rates a fine-tune bears: its first steps while the rate rises",
    "curve": "fit the exact probe, and train on request, on growing parts of the train rows: the learning curve",
    "pictures": "draw each backbone's first filters, input and mistakes, those with train images near them, and map "
    "its embeddings: pictures [[PART:]ROW]",
    "latency": "time the forward pass of each backbone on the device, the nets in turn",
    "doctor": "examine the data with each backbone: duplicates and leaks, doubtful labels, outliers, odd files",
    "compare": "write the tables and figures of all scores of the data set",
    "verify": "check every byte of the cache, and its rows against the images and the net",
    "explain": "say which fields of the key differ from the nearest entry of the cache",
    "show": "say which image a row is: show [PART:]ROW ...",
    "export": "write one row of the report as a folder that answers for new images",
    "predict": "say what is in images: predict --artifact FOLDER, or --imagenet, IMAGE|FOLDER|- ...",
    "cache": "list, remove, tidy, export or import entries: cache ls|rm|gc|export|import ...",
    "list": "list datasets, backbones or recipes",
    "bench": "measure extraction beside a plain loop and the bare forward pass",
}

_WITHOUT_DATA = {"verify", "cache", "predict"}
"""Verbs that do without the data set where it is not at hand."""

_WITHOUT_NET = {"finetune", "lrfind", "pictures", "latency", "doctor", "compare", "cache", "predict"}
"""Verbs that no tap concerns."""

_OF_OTHERS = ("NAME=CLASS,CLASS",)
"""The very object that stands for a recipe's second task whose classes are not those of the data set that is given."""

_MOST = 2**31 - 1
_RANGES = {
    "views": (0, 1000),
    "image_size": (1, 4096),
    "limit": (1, _MOST),
    "seed": (0, _MOST),
    "seeds": (1, _MOST),
    "data_seed": (0, _MOST),
    "batch_size": (1, _MOST),
    "workers": (1, 1024),
    "epochs": (1, _MOST),
    "lr": (1e-12, 100.0),
    "canary": (0, _MOST),
    "draws": (1, 1000),
    "frozen_gb": (0.0, 1e6),
    "top_k": (1, 100_000),
    "nearest": (0, 1000),
    "train_rows": (0, _MOST),
}
"""Least and most of what is a number; beyond them lie typing errors that would cost memory or hours."""


_CHUNK = 65536
"""Bytes that are read at a time, at most, of what is piped in: as many as a pipe holds."""


def _print(line: str, stream: TextIO | None) -> None:
    if stream is None:  # closed by whoever started us
        return
    try:
        print(line, file=stream, flush=True)
    except BrokenPipeError:
        # Nobody reads any longer, as after `| head`: no reason to lose the work.
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), stream.fileno())


def _at_hand(stream: io.BufferedIOBase) -> bool:
    """Say whether a stream has more to read, or its end, without waiting for it."""
    try:
        return bool(select.select([stream], [], [], 0)[0])
    except (OSError, ValueError):  # no file of the system's, so that nobody writes to it meanwhile
        return True


class Terminal:
    """A console on standard output and standard error.

    Parameters
    ----------
    quiet : bool
        Lines go to standard error, so that standard output holds one JSON object alone.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._stream = sys.stderr if quiet else sys.stdout
        self._beside: Callable[[TextIO | None], AbstractContextManager[object]] = contextlib.nullcontext

    def say(self, line: str) -> None:
        """Print one line; where its reader is gone, drop it."""
        with self._beside(self._stream):
            _print(line, self._stream)

    def warn(self, line: str) -> None:
        """Print one line on standard error."""
        with self._beside(sys.stderr):
            _print(f"probeline: {line}", sys.stderr)

    def piped(self) -> Iterator[str | None]:
        """Yield the lines of standard input, as file names are decoded; None where no more are at hand yet."""
        begun = b""
        stream = None if sys.stdin is None else cast(io.BufferedIOBase, sys.stdin.buffer)
        while stream is not None and (read := stream.read1(_CHUNK)):
            *lines, begun = (begun + read).split(b"\n")
            yield from (os.fsdecode(line.removesuffix(b"\r")) for line in lines)
            if not _at_hand(stream):
                yield None
        if begun:
            yield os.fsdecode(begun.removesuffix(b"\r"))

    def confirm(self, question: str) -> bool | None:
        """Ask on standard error and read the answer from standard input; None where that is no terminal."""
        if sys.stdin is None or not sys.stdin.isatty():
            return None
        print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    @contextlib.contextmanager
    def bar(self, title: str, total: int | None, unit: str) -> Iterator[Bar]:
        """Show a progress bar on standard error; nothing where that is no terminal."""
        from tqdm import tqdm

        with tqdm(desc=title, total=total, unit=unit, disable=None, dynamic_ncols=True, leave=False) as bar:
            # Lines that are printed meanwhile move the bar out of their way.
            self._beside = tqdm.external_write_mode
            try:
                yield bar
            finally:
                self._beside = contextlib.nullcontext


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise ProbelineError(message, remedy=f"see {self.prog} --help")

    def _print_message(self, message: str, file: Any = None) -> None:
        _print(message.rstrip("\n"), file)


def _options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--dataset", metavar="D", help="digits, cifar10, hymenoptera or folder:PATH (default digits)")
    add(
        "--backbone",
        dest="backbones",
        nargs="+",
        action="extend",
        metavar="B",
        help="torchvision's names, or timm:NAME (default resnet18)",
    )
    add(
        "--tap",
        dest="taps",
        nargs="+",
        action="extend",
        metavar="NAME",
        help="where a net is read: penultimate (default), a module such as layer3, NAME:cls or NAME:mean of tokens, "
        "last-K blocks of a transformer; a+b gives heads both side by side",
    )
    add(
        "--views",
        type=int,
        metavar="V",
        help="augmented views of the train part that heads are fitted on too (default 0); curve takes none",
    )
    add("--weights", metavar="W", help="DEFAULT, IMAGENET1K_V1 and the like, wheel, none, or the PATH of a state dict")
    add(
        "--data",
        type=_folder,
        metavar="DIR",
        help="parent of the data sets' folders (default $PROBELINE_DATA or data/)",
    )
    add("--cache", type=_folder, metavar="DIR", help="where embeddings are kept (default cache/)")
    add("--reports", type=_folder, metavar="DIR", help="where scores and reports are written (default reports/)")
    add("--recipe", metavar="NAME", help="steps and options of a packaged recipe; options given here come first")
    add("--device", metavar="auto|cpu|cuda[:N]|mps", help="where the net runs (default auto)")
    add("--precision", metavar="P", help=f"of extraction and training: {', '.join(PRECISIONS)} (default fp32)")
    add("--image-size", type=int, metavar="N", help="side of the net's input in pixels (default the weights' own)")
    add("--limit", type=int, metavar="N", help="at most N images of each part, stratified")
    add("--seed", type=int, metavar="S", help="first seed of fitting (default 0)")
    add("--seeds", type=int, metavar="N", help="how many seeds, counted up from the first (default 1)")
    add("--data-seed", type=int, metavar="S", help="seed of splits and of --limit (default 0)")
    add("--batch-size", type=int, metavar="N", help="images a batch (default by device)")
    add("--workers", type=int, metavar="N", help="threads that decode, and on a CPU run the net (default its cores)")
    add("--epochs", type=int, metavar="N", help="of fine-tuning (default 10)")
    add("--lr", type=float, metavar="R", help="peak learning rate of a fine-tune's head (default 0.001)")
    add(
        "--sgd",
        nargs="+",
        action="extend",
        metavar="NAME=V[,V...]",
        help=f"of probe: the heads trained in minibatches: {', '.join(SGD)}; several values of a name make a grid",
    )
    add(
        "--mlp",
        nargs="+",
        action="extend",
        metavar="NAME=V[,V...]",
        help=f"of probe: fit an MLP head too: {', '.join(MLP)}",
    )
    add(
        "--strategy",
        dest="strategies",
        nargs="+",
        action="extend",
        metavar="S",
        help=f"of finetune and lrfind: {', '.join(Strategy)} (default full scratch)",
    )
    add(
        "--train",
        nargs="+",
        action="extend",
        metavar="NAME=V",
        help=f"of finetune and lrfind: {', '.join(TRAIN)}; of several lr val chooses",
    )
    add("--unfreeze", type=int, nargs="+", metavar="E", help="of gradual: epochs with which one more stage is trained")
    add(
        "--teacher", metavar="BACKBONE", help="of distill and distill-head: the net whose probe teaches, once extracted"
    )
    add(
        "--second",
        nargs="+",
        metavar="NAME=CLASS,CLASS",
        help="of multi-task and multi-task-head: groups of the classes, or one FILE.csv with columns sample_id,label",
    )
    add(
        "--frozen-gb",
        type=float,
        metavar="GB",
        help="of finetune with augment=none or views: what frozen stages give is kept up to so much (default 4)",
    )
    add("--freeze-batchnorm", action="store_true", default=None, help="fine-tune with BatchNorm as it is")
    add(
        "--canary",
        type=int,
        metavar="K",
        help="rows to run again where an entry was made elsewhere or by other software (default 8, 0 for none)",
    )
    add("--labels", type=_file, metavar="FILE.csv", help="columns sample_id,label: other classes, an empty one drops")
    add("--groups", type=_file, metavar="FILE.csv", help="columns sample_id,group: images that no split may part")
    add("--fractions", type=float, nargs="+", metavar="PERCENT", help="of curve (default 1 2 5 10 20 50 100)")
    add("--shots", type=int, nargs="+", metavar="K", help="of curve: images a class (default 1 2 4 8 16, 0 for none)")
    add("--draws", type=int, metavar="N", help="of curve: how often each part is drawn (default 5)")
    add(
        "--curve-strategy",
        dest="curve_strategies",
        nargs="+",
        action="extend",
        metavar="S",
        help="of curve: strategies that are trained on each part too, beside the exact probe (default none)",
    )
    add("--map", metavar="|".join(MAPS), help="of pictures: lay the map out by t-SNE too, which is slow (default pca)")
    add("--artifact", type=_folder, metavar="FOLDER", help="of predict: what export wrote")
    add(
        "--imagenet",
        action="store_true",
        default=None,
        help="of predict: ImageNet's classes, by a stock net's own head",
    )
    add("--top-k", type=int, metavar="K", help="of predict: how many of the likeliest classes are told (default 5)")
    add(
        "--nearest", type=int, metavar="N", help="of predict: how many of the nearest train images are told (default 3)"
    )
    add("--format", metavar="|".join(FORMATS), help="of predict: one line an image (default table)")
    add(
        "--method",
        metavar="M",
        help="of export: the row, as a score calls it: probe, probe-sgd, finetune, lp-ft ..., or the first digits of "
        "its key (default the one that val prefers)",
    )
    add("--out", type=_folder, metavar="FOLDER", help="of export: where it is written (default below reports/)")
    add(
        "--train-rows",
        type=int,
        metavar="N",
        help="of export: train images whose features are put beside it (default 5000, 0 for none)",
    )
    add("--pt2", action="store_true", default=None, help="of export: write a graph of torch.export too")
    add("--onnx", action="store_true", default=None, help="of export: write an ONNX graph too")
    add("--sha256", metavar="HEX", help="of the file that cache import reads, as its sender told it")
    add("--yes", action="store_true", default=None, help="cache rm and gc: remove without asking")
    add("--repair", action="store_true", default=None, help="verify: put aside what is bad and extract it again")
    add("--json", action="store_true", help="print one JSON object")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="probeline",
        description="Cache frozen-backbone embeddings once, then compare linear probes, baselines and fine-tuning.",
    )
    parser.add_argument("--version", action="version", version=f"probeline {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", parser_class=_Parser)
    for verb, purpose in VERBS.items():
        description = purpose[0].upper() + purpose[1:] + "."
        child = verbs.add_parser(verb, help=purpose, description=description, allow_abbrev=False)
        if verb == "list":
            child.add_argument("what", help="datasets, backbones or recipes")
            child.add_argument("--json", action="store_true", help="print one JSON array")
        else:
            if verb in TAKES_WORDS:
                many = "*" if verb in MAY_STAND_ALONE else "+"
                child.add_argument("words", nargs=many, default=(), metavar=TAKES_WORDS[verb], help=argparse.SUPPRESS)
            _options(child)
    return parser


def _folder(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("an empty name of a folder")
    return Path(text)


def _file(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("an empty name of a file")
    return Path(text)


def _check(config: Config) -> None:
    from probeline.names import split_tap
    from probeline.options.strategies import check

    for tap in config.taps:
        split_tap(tap)
    grid("sgd", SGD, config.sgd)
    grid("mlp", MLP, config.mlp)
    for name, (least, most) in _RANGES.items():
        value = getattr(config, name)
        if value is not None and not least <= value <= most:
            raise BadOption(f"bad --{name.replace('_', '-')}", expected=f"{least} to {most}", got=value)
    for percent in config.fractions:
        if not 0 < percent <= 100:
            raise BadOption("bad --fractions", expected="percentages above 0, up to 100", got=f"{percent:g}")
    if config.shots != (0,) and not all(1 <= k <= _MOST for k in config.shots):
        raise BadOption("bad --shots", expected=f"numbers from 1 to {_MOST}, or 0 alone", got=min(config.shots))
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d{1,2})?", config.device):
        raise UnknownName("device", config.device, DEVICES)
    if config.format not in FORMATS:
        raise UnknownName("format", config.format, FORMATS)
    if config.precision not in PRECISIONS:
        raise UnknownName("precision", config.precision, PRECISIONS)
    if config.map not in MAPS:
        raise UnknownName("map", config.map, MAPS)
    check(config)
    try:
        command_line(config, "run").encode("utf-8")
    except UnicodeEncodeError as error:
        raise BadOption(
            "an option is not valid Unicode", got=ascii(error.object), remedy="rename that file or folder"
        ) from error


def _given(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return the options that the command line gives, as fields of a configuration."""
    known = {field.name for field in fields(Config)}
    found = {}
    for name, value in vars(arguments).items():
        if value == []:  # argparse takes the value of --option=-- away
            raise BadOption(f"no value of --{name.replace('_', '-')}", got="--", remedy="a folder of that name is ./--")
        if name in known and value is not None:
            found[name] = tuple(dict.fromkeys(value)) if isinstance(value, list) else value
    return found


def _laid(options: Mapping[str, Any], given: Mapping[str, Any], console: Terminal) -> Config:
    """Return a recipe's options with those of the command line laid over them."""
    config = Config(**{**options, **given}, console=console)
    cut_short = config.unfreeze and max(config.unfreeze) >= config.epochs
    if cut_short and "epochs" in given and "unfreeze" not in given:
        epochs = " ".join(map(str, config.unfreeze))
        console.say(
            f"recipe: --epochs {config.epochs} ends before --unfreeze {epochs}: stages follow at equal distances"
        )
        config = replace(config, unfreeze=())
    if config.teacher and "backbones" in given and "teacher" not in given and config.teacher not in config.backbones:
        console.say(f"recipe: --backbone {config.backbones[0]} takes the place of the teacher {config.teacher} too")
        config = replace(config, teacher=config.backbones[0])
    _check(config)
    return config


def _config(arguments: argparse.Namespace) -> tuple[Config, tuple[Work, ...]]:
    """Return the configuration of the run, and what each step of its recipe asks for, where it has one."""
    given, console = _given(arguments), Terminal(quiet=arguments.json)
    if arguments.recipe is None:
        return _laid({}, given, console), ()
    from probeline.recipes import read

    recipe = read(arguments.recipe)
    steps = []
    for step in recipe.steps:
        laid = _laid({**recipe.options, **step.options}, given, console)
        if laid.second and "second" not in given and laid.dataset != recipe.options.get("dataset", Config.dataset):
            console.say("recipe: its second task is of other classes, so it is left out; --second gives one of these")
            laid = replace(laid, second=_OF_OTHERS)
        steps.append((laid, step.verbs))
    return _laid(recipe.options, given, console), tuple(steps)


def _works(verb: str, config: Config, asked: Sequence[Work]) -> Sequence[Work]:
    """Return what a verb runs: ``run`` all steps of a recipe and then ``compare``, any other its own share of them."""
    if verb == "run":
        works = (*asked, (config, ("compare",))) if asked else ((config, STAGES),)
    else:
        works = tuple((step, (verb,)) for step, verbs in asked if verb in verbs) or ((config, (verb,)),)
    return [(step, verbs) for step, verbs in works if step.second is not _OF_OTHERS]


def _list(what: str) -> Mapping[str, str]:
    """Return each name with the line that tells of it."""
    if what == "datasets":
        from probeline.data.sources.registry import NAMES

        return {name: name for name in NAMES}
    if what == "backbones":
        from probeline.backbones.names import torchvision_names

        return {name: name for name in (*torchvision_names(), "timm:NAME")}
    if what == "recipes":
        from probeline import recipes

        longest = max(map(len, recipes.names()))
        return {name: f"{name:{longest}}  {recipes.read(name).title}" for name in recipes.names()}
    raise UnknownName("list", what, ["datasets", "backbones", "recipes"])


def _run_stages(config: Config, works: Sequence[Work], asked: Sequence[Work] = ()) -> dict[str, Any]:
    import importlib

    from probeline.backbones.names import check_name
    from probeline.session import Inputs

    # What is wrong is told before a net is built, let alone fetched.
    named = (name for step, _ in works for name in (*step.backbones, *filter(None, [step.teacher])))
    for name in dict.fromkeys(named):
        check_name(name)
    inputs = Inputs(config, asked=asked)
    for step, verbs in works:
        if step.taps != Config.taps and not _WITHOUT_NET.issuperset(verbs):
            for name in step.backbones:
                inputs.under(step).taps(name)
    if not _WITHOUT_DATA.issuperset(verb for _, verbs in works for verb in verbs):
        inputs.parts()
    result: dict[str, Any] = {}
    diverged: list[Diverged] = []
    for step, verbs in works:
        here = inputs.under(step)
        for verb in verbs:
            try:
                found = importlib.import_module(f"probeline.commands.{verb}").run(here)
            except Diverged as error:  # that row is lacking, the others and the report need not be
                if verb == "extract":
                    raise
                diverged.append(error)
                continue
            result[verb] = [*result.get(verb, ()), *found] if isinstance(found, list) else found
    if diverged:
        raise diverged[0]
    return result


def _run(arguments: Sequence[str] | None) -> None:
    parsed = _parser().parse_args(arguments)
    if parsed.verb is None:
        raise UnknownName("verb", "", VERBS, remedy="see probeline --help")
    if parsed.verb == "list":
        found = _list(parsed.what)
        _print(json.dumps(list(found)) if parsed.json else "\n".join(found.values()), sys.stdout)
        return
    config, asked = _config(parsed)
    result = _run_stages(config, _works(parsed.verb, config, asked), asked)
    if parsed.json:
        _print(json.dumps(result), sys.stdout)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        Without the program's name; None for the process's own.

    Returns
    -------
    int
        0 done; 2 the input is wrong or the world did not cooperate, said in one line on standard error;
        3 verification found something bad.

    Raises
    ------
    SystemExit
        After ``--help`` and ``--version``.
    """
    try:
        _run(arguments)
    except ProbelineError as error:
        _print(f"probeline: {error}", sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        _print("probeline: interrupted; what is finished is kept, and the same command goes on from there", sys.stderr)
        return 2
    except OSError as error:
        # What no room foresaw: a folder in a file's place, a name too long, a disk that fails.
        reason = error.strerror or str(error) or type(error).__name__
        _print(f"probeline: {ProbelineError('the system refused', where=error.filename, got=reason)}", sys.stderr)
        return 2
    return 0


def _interrupt_once(*_: object) -> NoReturn:
    # The first Ctrl-C waits for the batches under way; a second one meanwhile would turn that into a crash.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def entry_point() -> None:
    """Run the process's command line and exit."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # None where it was closed
            stream.reconfigure(errors="replace")
    signal.signal(signal.SIGINT, _interrupt_once)
    sys.exit(main())
