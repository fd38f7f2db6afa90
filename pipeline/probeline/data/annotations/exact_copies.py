"""Images that are in a data set twice, byte for byte, and so may be both fitted on and tested on."""

from __future__ import annotations

from probeline.types import DataSet, Split, Splits


def copies(dataset: DataSet, splits: Splits) -> str | None:
    """Return one line about test images that are in train or val too, and val images in train; None without any.

    Nothing is moved: the splits are the data set's own, and its owner knows which copy is one too many.
    """

    def content(split: Split) -> list[str]:
        part = dataset.parts[split.part]
        return [part.content[row] for row in split.rows.tolist()]

    train, val, test = (content(split) for split in (splits.train, splits.val, splits.test))
    notes = []
    for name, images, others, where in (
        ("test", test, {*train, *val}, "train or val"),
        ("val", val, {*train}, "train"),
    ):
        if twice := sum(one in others for one in images):
            notes.append(f"{twice:,} of {len(images):,} {name} images are byte for byte in {where} too")
    return "copies: " + "; ".join(notes) + ": accuracy there may be too high" if notes else None
