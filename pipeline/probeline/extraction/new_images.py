"""The features of images that are in no data set: those that extraction would give them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from probeline.data.pixels.loading import Unreadable
from probeline.extraction.engine import Engine
from probeline.images import ImageItems
from probeline.types import Backbone, FloatArray


def embed_new_images(engine: Engine, taps: Sequence[Backbone], images: ImageItems, precision: str) -> FloatArray:
    """Return the features float32 [n, D] of images by an engine's net at some of its taps, which are concatenated.

    They are decoded, cropped and resized as the records of the net say, in one pass for all taps. Nothing is written.

    Raises
    ------
    BadData
        An image cannot be read.
    OutOfMemory
    """
    import torch

    from probeline.backbones.device import exact_float32

    blocks, rows = [], np.arange(len(images.content))
    with exact_float32(precision):
        for start in range(0, len(rows), engine.batch_size):
            pixels = engine.read(images, images.content, rows[start : start + engine.batch_size])
            if isinstance(pixels, Unreadable):
                raise pixels.errors[0]
            features = engine.frozen.embed(torch.from_numpy(pixels)).cpu().numpy()
            blocks.append(np.concatenate([features[:, engine.frozen.columns[tap.tap]] for tap in taps], axis=1))
    return np.concatenate(blocks)
