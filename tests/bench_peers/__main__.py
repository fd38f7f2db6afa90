"""Probeline and its peers on the same jobs, in the same run.

    python tests/bench_peers [--only number,cache,extraction,fits,labels,copies] [--contender NAME ...] [--out FILE]

Each contender runs in a process of its own, in turn, with the versions of ``requirements.txt``. Seconds are those of
the wall and of the processor; the latter change less if the machine has other work. ``--table FILE`` prints the tables
of a result.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench_peers.contests import CONTESTS, Options
from bench_peers.tables import tables
from probeline.environment import environment
from probeline.options.settings import Settings

PEERS = (
    *("visbench", "torchgeo-bench", "scikit-learn-intelex", "lightly", "embetter", "cleanlab", "imagededup"),
    *("cleanvision", "pandas"),
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python tests/bench_peers", description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(CONTESTS), help="contests, with commas between them")
    parser.add_argument("--contender", nargs="+", default=(), metavar="NAME", help="run these contenders alone")
    parser.add_argument("--rounds", type=int, default=Options.rounds)
    parser.add_argument("--trials", type=int, default=Options.trials, help="damaged caches of each kind")
    parser.add_argument("--planted-images", type=int, default=Options.planted_images)
    parser.add_argument("--copies", type=int, default=Options.copies, help="planted copies of each kind")
    parser.add_argument("--share", type=float, default=Options.share, help="share of labels that are made wrong")
    parser.add_argument("--image-size", type=int, default=Options.image_size, help="side of the net's input")
    parser.add_argument("--workers", type=int, default=Options.workers, help="processes of loaders that have them")
    parser.add_argument("--cores", type=int, default=0, help="cores that everything runs on, of Linux; 0 for all")
    parser.add_argument("--data", type=Path, default=Settings().data.data)
    parser.add_argument("--work", type=Path, default=Path("cache/bench-peers"), help="what is written on the way")
    parser.add_argument("--out", type=Path, default=Path("reports/bench-peers.json"), help="contests are added to it")
    parser.add_argument("--table", type=Path, metavar="FILE", help="print the tables of a result, and run nothing")
    given = vars(parser.parse_args())
    shown, only, out = given.pop("table"), given.pop("only").split(","), given.pop("out")
    if shown is not None:
        print("\n\n".join(tables(json.loads(shown.read_text(encoding="utf-8"))).values()))
        return
    contenders = tuple(given.pop("contender"))
    options = Options(contenders=contenders, **{**given, **{name: given[name].resolve() for name in ("data", "work")}})
    os.environ["PROBELINE_DATA"] = str(options.data)  # a function of Python calls its own first argument ``data``
    if options.cores:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-options.cores :])
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    found["environment"] = {**environment("CPU"), **versions()}
    for name in only:
        print(f"{name}: {CONTESTS[name].__doc__}", flush=True)
        result = CONTESTS[name](options)
        found[name] = merge(found.get(name, {}), result) if options.contenders else result
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"written: {out}")


def merge(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Return what was found earlier with what was found now: other contenders keep their results."""
    both = {**old, **new}
    for name in old.keys() & new.keys():
        if isinstance(old[name], dict) and isinstance(new[name], dict):
            both[name] = merge(old[name], new[name])
    return both


def versions() -> dict[str, str]:
    """Return the version of each peer that is installed."""
    found = {}
    for name in PEERS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


if __name__ == "__main__":
    main()
