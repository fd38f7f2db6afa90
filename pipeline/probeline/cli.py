"""The command line: the only place that reads arguments, prints, and exits."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from probeline import __version__
from probeline.config import PRECISIONS, STRATEGIES, Bar, Config
from probeline.errors import ProbelineError, UnknownName

STAGES = ("extract", "probe", "baselines", "finetune", "compare")
VERBS = {
    "run": "all stages in their order, in one process",
    "extract": "run each frozen backbone once over the data set and cache its embeddings",
    "probe": "fit linear heads on the cached embeddings",
    "baselines": "fit scikit-learn's logistic regression, nearest neighbours and centroids on them",
    "finetune": "train the whole net, from its weights and from scratch",
    "compare": "write the tables and figures of all scores of the data set",
    "list": "list datasets, backbones or recipes",
    "bench": "measure extraction beside a plain loop and the bare forward pass",
}


class Terminal:
    """A console on standard output and standard error.

    Parameters
    ----------
    quiet : bool
        Lines go to standard error, so that standard output holds one JSON object alone.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._stream = sys.stderr if quiet else sys.stdout

    def say(self, line: str) -> None:
        """Print one line."""
        print(line, file=self._stream, flush=True)

    @contextlib.contextmanager
    def bar(self, title: str, total: int, unit: str) -> Iterator[Bar]:
        """Show a progress bar on standard error; nothing where that is no terminal."""
        from tqdm import tqdm

        with tqdm(desc=title, total=total, unit=unit, disable=None, dynamic_ncols=True, leave=False) as bar:
            yield bar


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> Any:
        raise ProbelineError(message, remedy=f"see {self.prog} --help")


def _options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--dataset", metavar="D", help="digits, cifar10, hymenoptera or folder:PATH (default digits)")
    add(
        "--backbone",
        dest="backbones",
        nargs="+",
        metavar="B",
        help="torchvision's names, or timm:NAME (default resnet18)",
    )
    add("--weights", metavar="W", help="DEFAULT, IMAGENET1K_V1 and the like, wheel, none, or the PATH of a state dict")
    add("--data", type=Path, metavar="DIR", help="parent of the data sets' folders (default $PROBELINE_DATA or data/)")
    add("--cache", type=Path, metavar="DIR", help="where embeddings are kept (default cache/)")
    add("--reports", type=Path, metavar="DIR", help="where scores and reports are written (default reports/)")
    add("--recipe", metavar="NAME", help="options from a packaged recipe; those given here come first")
    add("--device", metavar="auto|cpu|cuda[:N]|mps", help="where the net runs (default auto)")
    add("--precision", metavar="P", help=f"of extraction: {', '.join(PRECISIONS)} (default fp32)")
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
        "--strategy",
        dest="strategies",
        nargs="+",
        metavar="S",
        help=f"of finetune: {', '.join(STRATEGIES)} (default both)",
    )
    add("--freeze-batchnorm", action="store_true", default=None, help="fine-tune with BatchNorm as it is")
    add("--json", action="store_true", help="print one JSON object")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="probeline",
        description="Cache frozen-backbone embeddings once, then compare linear probes, baselines and fine-tuning.",
    )
    parser.add_argument("--version", action="version", version=f"probeline {__version__}")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", parser_class=_Parser)
    for verb, purpose in VERBS.items():
        child = verbs.add_parser(verb, help=purpose, description=purpose[0].upper() + purpose[1:] + ".")
        if verb == "list":
            child.add_argument("what", help="datasets, backbones or recipes")
            child.add_argument("--json", action="store_true", help="print one JSON array")
        else:
            _options(child)
    return parser


def _positive(config: Config) -> None:
    for name in ("image_size", "limit", "seeds", "batch_size", "workers", "epochs"):
        value = getattr(config, name)
        if value is not None and value < 1:
            raise ProbelineError(f"--{name.replace('_', '-')} must be at least 1", got=value)
    for name in ("seed", "data_seed"):
        if getattr(config, name) < 0:
            raise ProbelineError(f"--{name.replace('_', '-')} must not be negative", got=getattr(config, name))
    if config.precision not in PRECISIONS:
        raise UnknownName("precision", config.precision, PRECISIONS)
    for strategy in config.strategies:
        if strategy not in STRATEGIES:
            raise UnknownName("strategy", strategy, STRATEGIES)


def _config(arguments: argparse.Namespace) -> Config:
    from probeline.recipes import read

    options: dict[str, Any] = {}
    if "PROBELINE_DATA" in os.environ:
        options["data"] = Path(os.environ["PROBELINE_DATA"])
    if arguments.recipe:
        options |= read(arguments.recipe)
    known = {field.name for field in fields(Config)}
    given = {name: value for name, value in vars(arguments).items() if name in known and value is not None}
    options |= {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    config = Config(**options, console=Terminal(quiet=arguments.json))
    _positive(config)
    return config


def _list(what: str) -> Sequence[str]:
    if what == "datasets":
        from probeline.images.datasets import NAMES

        return NAMES
    if what == "backbones":
        from probeline.backbones.names import torchvision_names

        return (*torchvision_names(), "timm:NAME")
    if what == "recipes":
        from probeline.recipes import names

        return names()
    raise UnknownName("list", what, ["datasets", "backbones", "recipes"])


def _run_stages(config: Config, verbs: Sequence[str]) -> dict[str, Any]:
    import importlib

    from probeline.stages.inputs import Inputs

    inputs = Inputs(config)
    result: dict[str, Any] = {}
    for verb in verbs:
        result[verb] = importlib.import_module(f"probeline.stages.{verb}").run(inputs)
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        Without the program's name; None for the process's own.

    Returns
    -------
    int
        0 done; 2 the input is wrong, said in one line on standard error; 3 verification found something bad.
    """
    try:
        parsed = _parser().parse_args(arguments)
        if parsed.verb is None:
            raise UnknownName("verb", "", VERBS, remedy="see probeline --help")
        if parsed.verb == "list":
            found = _list(parsed.what)
            print(json.dumps(found) if parsed.json else "\n".join(found))
            return 0
        config = _config(parsed)
        result = _run_stages(config, STAGES if parsed.verb == "run" else (parsed.verb,))
        if parsed.json:
            print(json.dumps(result))
    except ProbelineError as error:
        print(f"probeline: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(
            "probeline: interrupted; what is finished is kept, and the same command goes on from there", file=sys.stderr
        )
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return 0


def entry_point() -> None:
    """Run the process's command line and exit."""
    sys.exit(main())
