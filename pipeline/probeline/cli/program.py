"""The program: runs the verbs of a command line and turns errors into exit codes."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from probeline.cli.parser import parse
from probeline.cli.steps import (
    Experiment,
    check_launched,
    check_used,
    experiments_of,
    given_options,
    settings_of,
    speaks,
    steps_of,
)
from probeline.commands.list import names_of
from probeline.console import print_data, print_text
from probeline.errors import Diverged, ProbelineError, RankLost
from probeline.options.settings import Settings, Step
from probeline.options.share import torchrun_share
from probeline.options.verbs import VERBS
from probeline.text import json_text, printable

if TYPE_CHECKING:
    from probeline.session import Session

SECONDS_TO_WAIT = 5.0
"""How long one of several processes waits for another's message: torchrun ends all within about a second of one."""

INTERRUPTED = 130
"""The exit code after Ctrl-C, as in shells: 128 and the number of the signal."""


def run_steps(settings: Settings, runs: Sequence[Step], steps: Sequence[Step] = ()) -> dict[str, Any]:
    """Run the verbs of `runs` in their order on one data set and return their results by verb.

    `steps` are all that the recipe has, if there is one. If a training diverges, all else is run before Diverged is
    raised.
    """
    from probeline.backbones.registry import check_name
    from probeline.files.memory import DECODING
    from probeline.names import BackboneSpec
    from probeline.session import Session, leaving_out_unreadable

    DECODING.limit(settings.compute.decode_gb)
    session = Session(settings, steps=tuple(steps))
    if session.has_images:
        # Bad names are refused before any net is built or fetched.
        nets = (text for step, _ in runs for text in (*step.nets.backbones, *filter(None, [step.training.teacher])))
        for text in dict.fromkeys(nets):
            check_name(BackboneSpec.parse(text, "DEFAULT").name)
    else:
        runs = _without_images(session, runs)
        session = session.under(session.with_embeddings(settings))
    return leaving_out_unreadable(session, lambda session: _run_verbs(session, runs))


def _check_class_options(session: Session, step: Settings) -> None:
    """Refuse options about classes that the data set does not have."""
    from probeline.options.class_order import class_order
    from probeline.options.class_weights import class_weight_options
    from probeline.options.costs import costs_of_classes

    dataset = session.dataset
    if dataset.targets is not None:
        from probeline.evaluate.targets.class_options import refuse_class_options

        refuse_class_options(step, dataset.targets.task)
    else:
        class_weight_options(step.fitting.class_weights, dataset.class_names)
        costs_of_classes(step.compare.costs, dataset.class_names)
        class_order(step.heads.ordinal, dataset.class_names)


def _run_verbs(session: Session, runs: Sequence[Step]) -> dict[str, Any]:
    from probeline.names import PENULTIMATE

    settings = session.settings
    own_dry_run = any({"cache", "board"} & {*verbs} for _, verbs in runs)
    if any(VERBS[verb].needs_labels for _, verbs in runs for verb in verbs):
        for step, _ in runs:  # refused before any net is built
            _check_class_options(session, step)
    if settings.run.dry_run and not own_dry_run:
        from probeline.commands import plan

        return {"dry_run": [plan.run(session.under(step), verbs) for step, verbs in runs if verbs != ("compare",)]}
    for step, verbs in runs:
        if step.reading.taps != (PENULTIMATE,) and any("taps" in VERBS[verb].options for verb in verbs):
            for name in step.nets.backbones:
                session.under(step).taps(name)
    needs_data = [verb for _, verbs in runs for verb in verbs if VERBS[verb].needs_data]
    if any(VERBS[verb].needs_labels for verb in needs_data):
        session.splits  # noqa: B018 - refused before any net is built
    elif needs_data:
        session.parts()
        if not session.dataset.has_labels:
            settings.console.say(f"labels: {session.dataset.name} has none; --labels can give them later")
    runs = _without_classes(session, runs)
    results: dict[str, Any] = {}
    diverged: list[Diverged] = []
    for step, verbs in runs:
        for verb in verbs:
            try:
                result = importlib.import_module(f"probeline.commands.{verb}").run(session.under(step))
            except Diverged as error:  # only that row is missing
                if verb == "extract":
                    raise
                diverged.append(error)
                continue
            results[verb] = [*results.get(verb, ()), *result] if isinstance(result, list) else result
    if any(VERBS[verb].needs_data for _, verbs in runs for verb in verbs) and session.dataset.unreadable:
        results = {"unreadable": [vars(image) for image in session.dataset.unreadable], **results}
    if diverged:
        raise diverged[0]
    return results


def _one(experiment: Experiment) -> tuple[Settings, list[Experiment]]:
    return experiment[0], [experiment]


def _run_board(settings: Settings, experiments: Sequence[Experiment]) -> dict[str, Any]:
    """Run the steps of each data set and then the board of all, and return their results.

    A data set that cannot be run costs its own column alone; its error is raised at the end.
    """
    failed: list[ProbelineError] = []
    results: dict[str, Any] = {}
    for number, (own, steps) in enumerate(experiments, start=1):
        limit = "" if own.data.limit is None else f"-limit{own.data.limit}"
        title = f"{own.data.dataset}{limit}"
        settings.console.say(f"board: {title}, {number} of {len(experiments)} data sets")
        try:
            results[title] = run_steps(own, steps_of("board", own, steps), steps)
        except ProbelineError as error:
            settings.console.warn(f"board: {title}: {error}")
            failed.append(error)
    every_step = tuple(step for _, steps in experiments for step in steps)
    results |= run_steps(settings, [(settings, ("board",))], every_step)
    if failed:
        raise failed[0]
    return results


def _without_images(session: Session, runs: Sequence[Step]) -> list[Step]:
    """Return the runs for a data set of embeddings, without the verbs that need images, if others are left."""
    verbs = [verb for _, own in runs for verb in own]
    left_out = [verb for verb in dict.fromkeys(verbs) if VERBS[verb].needs_images]
    if left_out and len(left_out) == len(set(verbs)):
        session.require_images(left_out[0])
    for verb in left_out:
        session.console.say(f"{verb}: left out, as it needs images")
    return [(session.with_embeddings(step), tuple(verb for verb in own if verb not in left_out)) for step, own in runs]


def _without_classes(session: Session, runs: Sequence[Step]) -> Sequence[Step]:
    """Return the runs for a data set of several labels or of numbers, without the verbs that need classes.

    Those are refused if no others are left.
    """
    verbs = list(dict.fromkeys(verb for _, own in runs for verb in own))
    left_out = [verb for verb in verbs if VERBS[verb].needs_classes]
    if not left_out or session.dataset.targets is None:
        return runs
    if len(left_out) == len([verb for verb in verbs if verb != "compare"]):
        from probeline.data.annotations.targets import require_classes

        require_classes(session.dataset, left_out[0])
    for verb in left_out:
        session.console.say(f"{verb}: left out, as it needs one class for each image")
    return [(step, tuple(verb for verb in own if verb not in left_out)) for step, own in runs]


def _run(arguments: Sequence[str] | None) -> None:
    parsed = parse(arguments)
    if parsed.verb in ("list", "completion"):
        words = " ".join(parsed.words)
        if parsed.verb == "completion":
            from probeline.cli.completion import completion_script

            print_text(completion_script(words), sys.stdout)
        elif parsed.json:
            print_data(json_text(list(names_of(words))), sys.stdout)
        else:
            print_text("\n".join(map(printable, names_of(words).values())), sys.stdout)
        return
    settings, experiments = experiments_of(parsed) if parsed.verb == "board" else _one(settings_of(parsed))
    for own, steps in experiments or [(settings, ())]:
        runs = steps_of(parsed.verb, own, steps)
        check_used(parsed.verb, given_options(parsed), runs)
        check_launched(parsed.verb, runs)
    results = _run_board(settings, experiments) if parsed.verb == "board" else run_steps(settings, runs, steps)
    if settings.run.json and speaks(parsed.verb):
        print_data(json_text(results), sys.stdout)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line, by default the process's own, and return its exit code.

    0 done; 2 the input is wrong or the system refused, said in one line on standard error; 3 verification found
    something bad; 130 interrupted.
    """
    try:
        _run(arguments)
    except ProbelineError as error:
        _wait_for_the_cause(error)
        return _end(str(error), error.exit_code)
    except KeyboardInterrupt:
        if _is_follower():
            return INTERRUPTED
        return _end("interrupted; what is finished is kept, and the same command goes on from there", INTERRUPTED)
    except MemoryError as error:
        return _end(str(ProbelineError("not enough memory", got=str(error) or None)), 2)
    except OSError as error:
        # Not foreseen elsewhere: a folder in a file's place, a name too long, a disk that fails.
        reason = error.strerror or str(error) or type(error).__name__
        return _end(str(ProbelineError("the system refused", where=error.filename, got=reason)), 2)
    return 0


def _is_follower() -> bool:
    """Return whether this is one of several processes of torchrun, and not the first of them."""
    share = torchrun_share(os.environ)
    return share is not None and share.index > 0


def _wait_for_the_cause(error: ProbelineError) -> None:
    """Wait before an error is said that another process has most likely said by then.

    What is wrong is mostly wrong in all processes of torchrun. The first one says it at once, and torchrun then ends
    the others while they wait here; if it does not, the error is theirs alone. A connection is lost because another
    process has ended, which says why.
    """
    if _is_follower() or isinstance(error, RankLost):
        with contextlib.suppress(KeyboardInterrupt):  # who waits no longer wants to know as well
            time.sleep(SECONDS_TO_WAIT)


def _end(line: str, code: int) -> int:
    """Say why a command ends, if standard error takes it, and return its exit code."""
    with contextlib.suppress(OSError):
        print_text(f"probeline: {line}", sys.stderr)
    return code


def _interrupt_once(*_: object) -> NoReturn:
    # The first Ctrl-C waits for the current batches; a second one meanwhile would turn that into a crash.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def entry_point() -> None:
    """Run the process's command line and exit."""
    signal.signal(signal.SIGINT, _interrupt_once)
    sys.exit(main())
