"""Nets on the line between the weights that a training began with and those that it ended with."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from probeline.finetuning.training.setup import ValidationSet
from probeline.finetuning.training.trainer import Trainer


class WeightLine:
    """The line from some tensors of a trainer's net, by name, to those that the net has.

    The point at `alpha`, in [0, 1], is (1 - alpha) times the beginning plus alpha times the end, for each parameter and
    for BatchNorm's running means and variances as well; whole numbers, such as its counts of batches, are those of the
    end. So both ends are exactly the nets that they come from, and no image is read to find a point.
    """

    def __init__(self, trainer: Trainer, start: Mapping[str, Tensor]) -> None:
        self._trainer, self._start = trainer, start
        self._end = copies(trainer.net.state_dict())

    def tensors(self, alpha: float) -> dict[str, Tensor]:
        """Return the tensors at a point, on the CPU."""
        return {
            # Exact at both ends, as long as the other end is finite.
            name: torch.lerp(self._start[name], end, alpha) if end.is_floating_point() else end
            for name, end in self._end.items()
        }

    def move_to(self, alpha: float) -> None:
        """Give the net the tensors of a point."""
        self._trainer.net.load_state_dict(self.tensors(alpha))

    def measure(self, alpha: float, val: ValidationSet) -> dict[str, float]:
        """Return what the training's loss measures on val at a point: val_loss, val_top1 ...; the net stays there."""
        self.move_to(alpha)
        output = self._trainer.predict(val.rows, val.feed)
        return self._trainer.setup.loss.measure(output, torch.from_numpy(val.labels[val.rows]), val.rows)


def copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return copies of tensors on the CPU."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}
