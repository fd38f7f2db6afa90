"""Images that stand twice, byte for byte, on both sides of a split."""

from __future__ import annotations

from dataclasses import replace

from made_data import dataset
from probeline.data.sampling.splits import describe_copies, split


def test_images_of_their_own_are_no_copies() -> None:
    data = dataset({"train": [600, 500], "test": [20, 30]})
    assert describe_copies(data, split(data, data_seed=0)) is None


def test_copies_are_counted_by_role() -> None:
    data = dataset({"train": [600, 500], "test": [20, 30]})
    splits = split(data, data_seed=0)
    train, test = (list(data.parts[name].content) for name in ("train", "test"))
    test[0] = train[splits.train.rows[0]]
    test[1] = test[2] = train[splits.val.rows[0]]
    train[splits.val.rows[1]] = train[splits.train.rows[5]]
    parts = {name: replace(data.parts[name], content=tuple(of)) for name, of in (("train", train), ("test", test))}
    assert describe_copies(replace(data, parts=parts), splits) == (
        "copies: 3 of 50 test images are byte for byte in train or val too; "
        "1 of 110 val images are byte for byte in train too: accuracy there may be too high"
    )
