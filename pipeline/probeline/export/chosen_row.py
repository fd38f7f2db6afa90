"""Which row of a report is meant: by the options of the run, a method's name and a seed, or else by val."""

from __future__ import annotations

import re
from collections.abc import Sequence

from probeline.errors import BadOption, MissingData
from probeline.format import listing
from probeline.names import Method
from probeline.options.config import Config, command_line
from probeline.results.current import current_scores
from probeline.results.methods import method_info
from probeline.results.ranking import best_by_validation
from probeline.results.score import Score
from probeline.session import Inputs

KEY = re.compile("[0-9a-f]{6,64}")
"""The first digits of a score's key, as it names a row."""


def chosen_row(inputs: Inputs, verb: str) -> Score:
    """Return the score of the run's options that ``--method`` names, or whose row val prefers, with the run's seed.

    Of several runs of one method, and of several backbones, val prefers one too. Test has no say. The first digits of
    a score's key name that very score, whatever its training and seed.

    Parameters
    ----------
    inputs : Inputs
    verb : str
        Who asks.

    Raises
    ------
    UnknownName
        A method that there is not.
    MissingData
        No such score.
    BadOption
        No score of that seed.
    """
    config = inputs.config
    if config.method is not None and KEY.fullmatch(config.method):
        return _of_key(inputs, verb, config.method)
    if config.method is not None:
        method_info(config.method)
    asked = [score for score in _asked(inputs, current_scores(inputs, verb)) if config.method in (None, score.method)]
    row = best_by_validation(asked)
    if row is None:
        plain = {name: getattr(Config(), name) for name in ("method", "out", "pt2", "onnx", "train_rows")}
        what = config.method or "score"
        maker = method_info(config.method).verb if config.method else "probe"
        raise MissingData(
            f"no {what} to {verb}",
            where=f"{inputs.dataset.title} x {' '.join(config.backbones)}",
            got=listing(sorted({score.method for score in asked})) or "no score of these options",
            remedy=f"run: {command_line(config, maker, **plain)}",
        )
    found = next((score for score in row if score.seed in (None, config.seed)), None)
    if found is None:
        seeds = listing([str(score.seed) for score in row])
        raise BadOption(f"no score of that seed of {row[0].method}", expected=f"--seed {seeds}", got=config.seed)
    return found


def _of_key(inputs: Inputs, verb: str, digits: str) -> Score:
    scores = _asked(inputs, current_scores(inputs, verb))
    found = [score for score in scores if score.key.startswith(digits)]
    if len(found) != 1:
        raise MissingData(
            f"no one score to {verb}" if not found else f"several scores to {verb}",
            where=inputs.scores,
            expected=f"one whose key begins {digits}",
            got=f"{len(found)} of {len(scores)}",
            remedy="the keys are on the page; taps, views, weights and sizes are asked for as for any row",
        )
    return found[0]


def _asked(inputs: Inputs, scores: Sequence[Score]) -> list[Score]:
    """Return the scores of the nets, weights, input size, precision, taps and views that the run asks for."""
    config = inputs.config
    nets = {name: inputs.backbone(name)[0] for name in config.backbones}
    taps = {name: {"+".join(tap.tap for tap in taps) for taps in inputs.taps(name)[0]} for name in config.backbones}

    def is_asked(score: Score) -> bool:
        net = nets.get(score.backbone)
        if net is None or score.precision != config.precision or score.image_size != net.preprocess.crop:
            return False
        if score.weights != ("none" if score.method == Method.SCRATCH else net.weights):
            return False
        return method_info(score.method).trains or (score.tap in taps[net.name] and score.views == config.views)

    return [score for score in scores if is_asked(score)]
