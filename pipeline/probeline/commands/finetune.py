"""Fine-tune: train a net, or its upper stages, from its weights or from scratch, on the probe's very rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from probeline.errors import Diverged
from probeline.evaluate.requests import find_finished, outcome, test_fields
from probeline.finetune.objectives import Goal, goals
from probeline.finetune.run import Run, Solution, ask, begun_with, checkpoints, of_candidate, train, training_options
from probeline.format import option
from probeline.names import Strategy, method_of
from probeline.options.grids import TRAIN, Grid
from probeline.results.score import SCORES, Score
from probeline.results.second_task_words import second_task
from probeline.session import Session
from probeline.types import Backbone


def run(session: Session) -> list[dict[str, Any]]:
    """Train what the configuration asks for, with every seed, where there is no score of it yet; return all outcomes.

    Raises
    ------
    Diverged
        A training came to no end; the others have.
    ProbelineError
    """
    settings = session.settings
    towards = goals(session, settings.training.strategies)
    scores: list[Score] = []
    diverged: list[Diverged] = []
    for name in settings.nets.backbones:
        pretrained, _ = session.backbone(name)
        solution = Solution(session, pretrained)
        for strategy in settings.training.strategies:
            backbone = begun_with(pretrained, strategy)
            for seed in range(settings.seeding.seed, settings.seeding.seed + settings.seeding.seeds):
                try:
                    scores.append(_score(session, backbone, strategy, seed, solution, towards[strategy]))
                except Diverged as error:
                    diverged.append(error)
                    settings.console.say(f"finetune: {name}, {strategy}, seed {seed}: {error}")
    if diverged:
        raise diverged[0]
    return [outcome(session, score) for score in scores]


def _score(session: Session, backbone: Backbone, strategy: str, seed: int, solution: Solution, goal: Goal) -> Score:
    settings, splits, method = session.settings, session.splits, method_of(strategy)
    options = training_options(settings, strategy)
    asked = ask(session, backbone, strategy, seed, options, goal)
    title = f"{session.dataset.name} x {backbone.name}, {method}, seed {seed}"
    if found := find_finished(session, backbone, asked, f"finetune: {title}"):
        return found

    from probeline.finetune import checkpoint

    tries = Grid(options, TRAIN)
    candidates = tries.candidates()
    several = len(candidates) > 1
    folder = checkpoints(session, backbone, strategy, seed, asked.key)
    tried: list[dict[str, Any]] = []
    diverged: list[str] = []
    best: Run | None = None
    chosen = candidates[0]
    for candidate in candidates:
        once = {**tries.fixed(), **candidate, "seed": seed}
        place = of_candidate(folder, candidate)
        try:
            run = train(
                session,
                backbone,
                strategy,
                once,
                solution,
                goal,
                key=asked.key,
                folder=place,
                title=f"finetune {title}",
            )
        except Diverged:
            if not several:
                raise
            diverged.append(", ".join(option(name, value) for name, value in candidate.items()))
            continue
        point = {**candidate, "top1": run.epoch["val_top1"], "nll": run.epoch["val_loss"]}
        tried.append({"point": point, "folder": place, "seconds": run.trained.seconds})
        if best is None or run.merit > best.merit:
            best, chosen = run, candidate
    if best is None:
        raise Diverged(f"{title}: every training that was tried diverged", remedy="use a lower --lr")
    labels = session.dataset.parts[splits.val.part].labels[splits.val.rows]
    for said in (best.val, test := best.predict()):
        if not np.isfinite(said.logits).all() or not np.isfinite(said.second).all():
            raise Diverged(f"{title}: the trained net's output is not finite on every image", remedy="use a lower --lr")
    seconds = sum(each["seconds"] for each in tried)
    score = Score(
        **test_fields(session, test.logits, best.device, labels, best.val.logits),
        backbone=backbone.name,
        weights=backbone.weights,
        method=method,
        key=asked.key,
        options=asked.options,
        image_size=backbone.preprocess.crop,
        precision=settings.nets.precision,
        seed=seed,
        val_top1=best.epoch["val_top1"],
        chosen={**chosen, "epoch": best.trained.best_epoch},
        chosen_by=f"val (n={len(splits.val)})",
        trainable=best.trained.trainable,
        total=best.trained.total,
        warm_seconds=seconds,
        cold_seconds=seconds + best.seconds[1],
        converged=True,
        certificate={
            "precision": settings.nets.precision,
            "backbone": backbone.weights_sha256 if strategy != Strategy.SCRATCH else "own",
            "edge": tries.edge(chosen),
            "diverged": diverged,
            "parts": best.epoch["parts"],
            "cut": best.cut,
            **goal.certificate(best.val, test),
        },
        history=best.trained.history,
        path=tuple(each["point"] for each in tried) if several else (),
    )
    SCORES.save(session.reports, score)
    for each in tried:
        checkpoint.remove(each["folder"], "last")
        if each["folder"] != best.folder:
            checkpoint.remove(each["folder"], "best")
    settings.console.say(f"finetune: {title}: test top-1 {score.top1:.4f} in {seconds:.0f} s")
    if told := second_task([score.certificate]):
        settings.console.say(f"finetune: {title}: {told}")
    return score
