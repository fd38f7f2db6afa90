"""The tables of a result, as Markdown: one for each contest, and nothing in them that is not in the result."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from bench_peers.objective import excesses

Result = Mapping[str, Any]

TITLES = {
    "probeline": "Probeline, from Python",
    "probeline_commands": "Probeline, two commands",
    "visbench": "VisBench",
    "plain_loop": "plain DataLoader",
    "timm": "timm's loader",
    "lightly": "lightly's `embed`",
    "embetter": "embetter's `TimmEncoder`",
    "probeline_dino": "Probeline's solver",
    "dinov3": "DINOv3's protocol, scikit-learn",
    "dinov3_intelex": "the same, scikit-learn-intelex",
    "probeline_torchgeo": "Probeline's solver",
    "torchgeo": "torchgeo-bench",
    "probeline_whole": "`probe-refit` as Probeline has it",
    "cleanlab": "Cleanlab, by default",
    "cleanlab_confident": "Cleanlab, `confident_learning`",
    "cleanlab_tuned": "Cleanlab on Probeline's probabilities",
    "imagededup_phash": "imagededup PHash, by default (10 bits)",
    "imagededup_phash_strict": "imagededup PHash, 4 bits",
    "imagededup_dhash": "imagededup DHash, by default (10 bits)",
    "imagededup_cnn": "imagededup's cosine search, 0.9, Probeline's features",
    "cleanvision": "cleanvision, by default",
}

DOCTOR = "`probeline doctor`"

JOBS = {"dino": "45 values, 1e-6 to 1e5", "torchgeo": "40 values, 1e-6 to 1e4", "whole": "45 values of l2"}


def tables(found: Result) -> dict[str, str]:
    """Return the Markdown table of each contest that a result has."""
    return {name: make(found[name]) for name, make in MAKERS.items() if name in found}


def _number(found: Result) -> str:
    header = (
        *("contender", "cold, work: CPU s (wall s)", "cold, whole process", "warm, work", "warm, whole process"),
        "test top-1 %",
    )
    lines = []
    for name in found["cold"]:
        cold, warm = (_finished(found[state].get(name, ())) for state in ("cold", "warm"))
        if not cold or not warm:
            lines.append((TITLES[name], *["failed"] * 5))
            continue
        # What two commands do besides their imports is not timed by itself.
        work = [["–"] if name == "probeline_commands" else [_both(runs)] for runs in (cold, warm)]
        top1 = f"{100 * cold[0]['top1']:.1f}" if "top1" in cold[0] else "the same"
        lines.append((TITLES[name], *work[0], _both(_process(cold)), *work[1], _both(_process(warm)), top1))
    return table(header, lines)


def _cache(found: Result) -> str:
    header = ("", *(TITLES[name].split(",")[0] for name in found))
    rows: list[tuple[str, Callable[[Result], str]]] = [
        ("files for 64 images", lambda run: f"{run['damage']['files']}"),
        ("**one flipped bit**, trials", lambda run: f"{run['damage']['flip']['trials']}"),
        ("right features", lambda run: f"{run['damage']['flip']['same']}"),
        ("wrong features, nothing said", lambda run: f"{run['damage']['flip']['wrong']}"),
        ("of these by more than 0.1 %", lambda run: f"{run['damage']['flip']['notably_wrong']}"),
        ("refused with an error", lambda run: f"{run['damage']['flip']['refused']}"),
        ("of these repaired by `verify --repair`", lambda run: _repaired(run, "flip")),
        ("images run again, on average", lambda run: _average(run, "flip")),
        ("**one deleted file**, trials", lambda run: f"{run['damage']['delete']['trials']}"),
        ("right features", lambda run: f"{run['damage']['delete']['same']}"),
        ("refused with an error", lambda run: f"{run['damage']['delete']['refused']}"),
        ("of these repaired by `verify --repair`", lambda run: _repaired(run, "delete")),
        ("images run again, on average", lambda run: _average(run, "delete")),
        ("**killed** after images, of 397", lambda run: f"{run['kill_at']}"),
        ("images run by the next extraction", lambda run: f"{run['after_kill']['run']}"),
        ("files left over", lambda run: f"{run['after_kill']['files_left_over']}"),
    ]
    return table(header, [(title, *(get(run) for run in found.values())) for title, get in rows])


def _repaired(run: Result, kind: str) -> str:
    tried = run["damage"][kind]["repairs"]
    return f"{run['damage'][kind]['repaired']} of {tried} tried" if tried else "–"


def _average(run: Result, kind: str) -> str:
    return f"{run['damage'][kind]['run_again'] / run['damage'][kind]['trials']:.1f}"


def _extraction(found: Result) -> str:
    own = [run["cpu_seconds"] for run in _finished(found.get("probeline", ()))]
    lines = []
    for name, all_runs in found.items():
        runs = _finished(all_runs)
        if not runs:
            lines.append((TITLES[name], *["failed"] * 5))
            continue
        cpu = statistics.median(run["cpu_seconds"] for run in runs)
        whole = statistics.median(run["process"]["cpu_seconds"] for run in runs)
        peak = max(run["process"]["peak_bytes"] for run in runs) / 1e6
        lines.append(
            (
                TITLES[name],
                _both(runs),
                f"{cpu / statistics.median(own):.2f}" if own else "–",
                f"{whole:.1f}",
                f"{peak:.0f}",
                _cosine(runs),
            )
        )
    header = ("contender", "CPU s (wall s)", "CPU, ratio to ours", "whole process, CPU s", "peak MB", "least cosine")
    return table(header, lines)


def _cosine(runs: Sequence[Result]) -> str:
    return f"{min(run['least_cosine'] for run in runs):.6f}"


def _fits(found: Result) -> str:
    header = (
        *("job", "contender", "path, CPU s (wall s)", "with selection and refit", "at the minimum"),
        *("worst excess", "it says it converged", "test top-1 %"),
    )
    lines = []
    for job, runs in found.items():
        if job not in JOBS:
            continue
        judged = excesses({name: run["objectives"] for name, run in runs.items() if "objectives" in run})
        for name, run in runs.items():
            own = judged.get(name, {})
            if "error" in run:
                lines.append((JOBS[job], TITLES[name], *["failed"] * 6))
                continue
            path = f"{run['path_cpu_seconds']:.1f} ({run['path_seconds']:.1f})" if "path_seconds" in run else "–"
            lines.append(
                (
                    JOBS[job],
                    TITLES[name],
                    path,
                    f"{run['cpu_seconds']:.1f} ({run['seconds']:.1f})",
                    f"{own['at_minimum']} of {run['fits']}" if own else "–",
                    _relative(own["worst_excess"]) if own else "–",
                    f"{run['said_converged']} of {run['fits']}" if "said_converged" in run else "–",
                    f"{100 * run['test_top1']:.2f}",
                )
            )
    return table(header, lines, words=2)


def _relative(excess: float) -> str:
    return f"{excess:.0e}" if excess < 0.01 else f"{100 * excess:.0f} %"


def _labels(found: Result) -> str:
    header = ("contender", "CPU s (wall s)", "flagged", "recall %", "precision %", "right among the first {}, %")
    runs = {name: run for name, run in found.items() if isinstance(run, dict)}
    planted = next((run["planted"] for run in runs.values() if "planted" in run), 0)
    lines = [
        (
            DOCTOR if name == "probeline" else TITLES[name],
            _both([run]),
            f"{run['flagged']:.0f}",
            *(_percent(run[key]) for key in ("recall", "precision", "precision_at_planted")),
        )
        for name, run in runs.items()
        if "error" not in run
    ]
    return table(tuple(title.format(f"{planted:.0f}") for title in header), lines)


def _copies(found: Result) -> str:
    runs = {name: run for name, run in found.items() if isinstance(run, dict) and "error" not in run}
    kinds = [key for key in next(iter(runs.values()), {}) if key.startswith("recall_")]
    header = (
        *("contender", "CPU s (wall s)", "recall %"),
        *(kind.removeprefix("recall_") + " %" for kind in kinds),
        *("pairs", "not planted", "planted, % of pairs"),
    )
    lines = [
        (
            DOCTOR if name == "probeline" else TITLES[name],
            _both([run]),
            _percent(run["recall"]),
            *(_percent(run[kind]) for kind in kinds),
            f"{run['pairs']:,.0f}",
            f"{run['not_planted']:,.0f}",
            _percent(run["precision"]),
        )
        for name, run in runs.items()
    ]
    return table(header, lines)


MAKERS: dict[str, Callable[[Result], str]] = {
    "number": _number,
    "cache": _cache,
    "extraction": _extraction,
    "fits": _fits,
    "labels": _labels,
    "copies": _copies,
}


def table(header: Sequence[str], lines: Iterable[Sequence[str]], words: int = 1) -> str:
    """Return a Markdown table, all columns with numbers but so many of the first."""
    rule = [*[":--"] * words, *["--:"] * (len(header) - words)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *lines))


def _finished(runs: Iterable[Result]) -> list[Result]:
    return [run for run in runs if "error" not in run]


def _process(runs: Sequence[Result]) -> list[Result]:
    return [run["process"] for run in runs]


def _both(runs: Sequence[Result]) -> str:
    cpu, wall = (statistics.median(run[name] for run in runs) for name in ("cpu_seconds", "seconds"))
    return f"{_seconds(cpu)} ({_seconds(wall)})"


def _seconds(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"
