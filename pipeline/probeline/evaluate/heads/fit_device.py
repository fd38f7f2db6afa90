"""The device that heads are fitted on: the session's if it is a CUDA device, else the CPU."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import torch

Result = TypeVar("Result")


class FitDevice:
    """Runs fits on the device that an option names, and knows where they ran.

    A solver needs float64, which MPS lacks: it is on the CPU unless the device is a CUDA device. If the memory of that
    does not hold a fit, this and all later fits are on the CPU, after a line that says so. TF32 is off.

    Parameters
    ----------
    option : str
        As ``--device`` has it; it is resolved when the first fit runs.
    say : callable
        Prints a line.
    """

    def __init__(self, option: str = "cpu", say: Callable[[str], None] = lambda _: None) -> None:
        self._option, self._say = option, say
        self._used: dict[str, None] = {}
        self._is_full = False

    @cached_property
    def _chosen(self) -> torch.device:
        from probeline.backbones.device import choose

        chosen = choose(self._option)
        return chosen if chosen.type == "cuda" else choose("cpu")

    @property
    def label(self) -> str:
        """The names of the devices that fits ran on; ``CPU`` if none of them ran here."""
        return ", ".join(self._used) or "CPU"

    def run(self, fit: Callable[..., Result], *arguments: Any, **options: Any) -> Result:
        """Return what `fit` gives for these arguments; its option `device` is added to them."""
        from probeline.backbones.device import describe, empty_cache, exact_float32, is_out_of_memory

        chosen = self._chosen
        if chosen.type == "cuda" and not self._is_full:
            try:
                with exact_float32("fp32"):
                    result = fit(*arguments, **options, device=str(chosen))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            else:
                self._used[describe(chosen)] = None
                return result
            # Outside of the handler: the exception's traceback keeps tensors alive.
            empty_cache(chosen)
            self._is_full = True
            self._say(f"heads: a fit does not fit into the memory of {describe(chosen)}; it goes on on the CPU")
        self._used["CPU"] = None
        return fit(*arguments, **options, device="cpu")
