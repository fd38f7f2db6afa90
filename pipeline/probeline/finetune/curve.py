"""A training on parts of the train rows, each from its beginning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probeline.data.sampling.fractions import Portion
from probeline.evaluate.curve_points import Points, point
from probeline.evaluate.requests import ScoreRequest, result_key
from probeline.finetune.objectives import goals
from probeline.finetune.run import Solution, ask, begun_with, checkpoints, single, train, training_options
from probeline.metrics.scores import top1
from probeline.names import Strategy
from probeline.session import Session
from probeline.types import Backbone


@dataclass(frozen=True)
class Runs:
    """The trainings of a curve as they are asked for.

    Attributes
    ----------
    backbone : Backbone
    strategy : str
    options : mapping
        One value of each of its training options.
    asked : tuple of ScoreRequest
        For each draw, whose number is added to the seed: draws differ in the images and in all that is random.
    """

    backbone: Backbone
    strategy: str
    options: dict[str, Any]
    asked: tuple[ScoreRequest, ...]


def runs(session: Session, backbone: Backbone, strategy: str) -> Runs:
    """Return what is asked of a strategy's learning curve.

    Raises
    ------
    BadOption
        Several values of an option: a curve chooses none.
    """
    settings = session.settings
    options = training_options(settings, strategy)
    alone = single(options, "curve")
    begun = begun_with(backbone, strategy)
    goal = goals(session, [strategy])[strategy]
    asked = tuple(
        ask(session, begun, strategy, settings.seeding.seed + draw, options, goal)
        for draw in range(settings.curve.draws)
    )
    return Runs(begun, strategy, alone, asked)


def trained(session: Session, some: Runs, wanted: Sequence[Portion], *, key: str, title: str) -> Points:
    """Return the points of a training on each part, its epoch chosen on val.

    Parameters
    ----------
    session : Session
    some : Runs
    wanted : sequence of Portion
    key : str
        Of the curve; with the part's rows it is that of a training's checkpoints, so that an interrupted curve goes on.
    title : str

    Raises
    ------
    Diverged
    ProbelineError
    """
    from probeline.finetune import checkpoint

    test = session.splits.test
    truth = session.dataset.parts[test.part].labels[test.rows]
    found: dict[tuple[bytes, int], dict[str, Any]] = {}
    folders: list[Path] = []
    seconds, before, device = 0.0, 0.0, ""
    for one in wanted:
        seed = some.asked[one.draw].seed or 0
        place = one.rows.tobytes(), seed
        if place in found:
            continue
        here = session.fitted_on(one.rows)
        run_key = result_key(here, "curve", curve=key, seed=seed)
        folders.append(checkpoints(session, some.backbone, some.strategy, seed, run_key))
        solution = Solution(here, some.backbone)
        run = train(
            here,
            some.backbone,
            some.strategy,
            {**some.options, "seed": seed},
            solution,
            goals(here, [some.strategy])[some.strategy],
            key=run_key,
            folder=folders[-1],
            title=f"{title}, {len(one.rows):,} images",
        )
        found[place] = {
            "val_top1": run.epoch["val_top1"],
            "test_top1": top1(truth, run.predict().logits.argmax(1)),
            "epoch": run.trained.best_epoch,
        }
        device = run.device
        fitted = solution.seconds[0] if some.strategy == Strategy.LP_FT else 0.0  # of this part alone
        seconds += run.seconds[0] + fitted
        before = max(before, run.seconds[1] - fitted)  # frozen stages are run, and features extracted, once for all

    def tidy() -> None:
        for folder in folders:
            for name in ("last", "best"):
                checkpoint.remove(folder, name)

    points = tuple(
        point(one, l2=None, edge=False, converged=True, **found[one.rows.tobytes(), some.asked[one.draw].seed or 0])
        for one in wanted
    )
    return Points(points, (seconds, before), device, f"{len(found)} trainings", tidy)
