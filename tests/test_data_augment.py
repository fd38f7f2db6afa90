"""Augmentation presets: seeded, of the same size, and not the picture itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from probeline.data.pixels.augment import recolour

KINDS = 14
"""Of RandAugment's changes; the first changes nothing."""


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    values = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    # Of less than full contrast, which some changes give it.
    return Image.fromarray(values // 2 + 40).resize((48, 36), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("preset", ["jitter", "randaugment"])
def test_a_preset_depends_on_its_generator_alone(preset: str, picture: Image.Image) -> None:
    def draw(seed: int) -> bytes:
        found = recolour(picture, preset, np.random.default_rng(seed))
        assert (found.size, found.mode) == (picture.size, "RGB")
        return found.tobytes()

    assert draw(1) == draw(1)
    assert len({draw(seed) for seed in range(20)}) > 15


@pytest.mark.parametrize("preset", ["none", "flip-crop"])
def test_others_leave_the_colours_as_they_are(preset: str, picture: Image.Image) -> None:
    assert recolour(picture, preset, np.random.default_rng(0)) is picture


class FixedDraws(np.random.Generator):
    """Draws two kinds of change and their sign as given."""

    def __init__(self, kinds: tuple[int, int], uniform: float) -> None:
        super().__init__(np.random.PCG64(0))
        self._kinds, self._uniform = kinds, uniform

    def integers(self, high: int, *, size: int) -> Any:  # type: ignore[override]
        assert (high, size) == (KINDS, 2)
        return np.array(self._kinds)

    def random(self) -> Any:  # type: ignore[override]
        return self._uniform


@pytest.mark.parametrize("kind", range(1, KINDS))
@pytest.mark.parametrize("uniform", [0.1, 0.9], ids=["plus", "minus"])
def test_each_kind_of_randaugment_but_the_identity_changes_a_picture(
    kind: int, uniform: float, picture: Image.Image
) -> None:
    assert recolour(picture, "randaugment", FixedDraws((0, 0), uniform)).tobytes() == picture.tobytes()
    changed = recolour(picture, "randaugment", FixedDraws((kind, 0), uniform))
    assert (changed.size, changed.mode) == (picture.size, "RGB")
    assert changed.tobytes() != picture.tobytes()
