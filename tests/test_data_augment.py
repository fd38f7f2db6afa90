"""Augmentation presets: seeded, of the same size, and not the picture itself."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from probeline.data.pixels.augment import _CHANGES, recolour


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


@pytest.mark.parametrize("number", range(1, len(_CHANGES)))
@pytest.mark.parametrize("strength", [-0.9, 0.9])
def test_every_change_changes_a_picture(number: int, strength: float, picture: Image.Image) -> None:
    changed = _CHANGES[number](picture, strength)
    assert (changed.size, changed.mode) == (picture.size, "RGB")
    assert changed.tobytes() != picture.tobytes()
