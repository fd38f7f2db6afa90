"""The rows of a table: one method on one backbone with all its seeds, grouped into blocks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from probeline.format import count, percent, seconds
from probeline.names import TOP1, Method, describe_tap
from probeline.report.model.differences import Difference
from probeline.report.model.two_classes import Ordered, TwoClasses
from probeline.results.methods import method_info
from probeline.results.ranking import validation_rank
from probeline.results.score import Score

NO_PROBABILITIES = {
    Method.RIDGE.value: "ridge regression",
    Method.CENTROID.value: "the nearest centroid",
    Method.CENTROID_SHRUNKEN.value: "the shrunken centroid",
}
"""Methods whose scores are no log-probabilities without temperature scaling."""


@dataclass(frozen=True)
class Row:
    """One method on one backbone: the scores of all its seeds; its numbers are their means.

    Fields that a score has too are as in :class:`probeline.results.score.Score`.
    """

    backbone: str
    weights: str
    image_size: int
    precision: str
    tap: str
    views: int
    method: str
    seeds: int
    """How many scores the row has."""
    trainable: int
    total: int
    n_train: int
    n_val: int
    n_test: int
    top1: float
    top1_by_seed: tuple[float, ...]
    """[seeds]"""
    interval: tuple[float, float]
    """Wilson's 95 % interval at the mean `top1` for other samples of `n_test` images. The effect of the seed,
    `seed_std`, is not part of it."""
    seed_std: float | None
    """Sample standard deviation of `top1` over the seeds; None for one seed."""
    macro: float
    val_top1: float
    per_class: tuple[float | None, ...]
    """[K] Top-1 of each class; None for a class without test images."""
    top5: float | None
    nll: float
    brier: float
    ece: float
    temperature: float
    temperature_limit: bool
    """Whether any seed's temperature is the lowest or the highest tried."""
    raw_nll: float
    raw_ece: float
    optimism: float | None
    """Mean over the seeds with several candidates."""
    cold_seconds: float
    warm_seconds: float
    waited: float | None
    """Mean over the seeds where it is known."""
    chosen: str
    """The hyper-parameters in words; a range if the seeds differ."""
    chosen_by: str
    edge: bool
    """Whether any seed chose a value at an edge of its grid."""
    converged: bool
    """Whether every seed's fit did."""
    diverged: int
    """Candidates that were excluded since their training diverged; the most of any seed."""
    headroom: Difference | None = None
    """On fine-tune rows: to the exact probe of the same backbone, weights, image size, class weights, test images and
    numbers of train and val rows, at the penultimate tap and without views."""
    reference: bool = False
    """Whether the other rows are compared with this one: of all exact probes, whatever their tap and views, the one
    that is best on validation, so that the test set is not used for the choice."""
    over_probe: Difference | None = None
    """To the reference; None for the reference itself, and with other test images."""
    variant: str = ""
    """How this row differs from others of its method in its block, such as ``bf16``, or ``run A``, ``run B`` if their
    options differ; it starts with `where`, even for a single row."""
    options: Mapping[str, Any] = field(default_factory=dict)
    differing: str = ""
    """The options in which it differs from other runs, in words; may be empty."""
    second: str = ""
    """The result of a second head on its own task, in words; may be empty."""
    keys: tuple[str, ...] = ()
    """[seeds] Of its scores."""
    macro_f1: float = field(kw_only=True)
    """Mean F1 score of the classes that are true or predicted anywhere, in [0, 1]."""
    weighted_f1: float = field(kw_only=True)
    """Mean F1 score of the classes, weighted by their numbers of test images, in [0, 1]."""
    two_classes: TwoClasses | None = field(kw_only=True)
    """None unless there are two classes."""
    ordered: Ordered | None = field(default=None, kw_only=True)
    """None unless an ordinal probe of the report says the order of the classes."""
    auroc: float | None = field(kw_only=True)
    """None if any seed has none."""
    metric: str = field(kw_only=True)
    """What the rows of the report are ranked by on validation."""
    val_score: float = field(kw_only=True)
    """Its value on validation, in [0, 1]: `val_top1`, or that of another metric that selected all rows."""

    @property
    def rank(self) -> tuple[object, ...]:
        """The sort key of the ranking: the lowest is best on validation."""
        return validation_rank(self, self.val_score)

    def on_validation(self, places: int) -> str:
        """Return `val_score` in words, with its metric if that is not top-1: ``95.0 %``, ``macro 75.0 %``."""
        return f"{'' if self.metric == TOP1 else self.metric + ' '}{percent(self.val_score, places)} %"

    @property
    def where(self) -> str:
        """Tap and views in words, ``at layer3, 3 views``; empty for the penultimate tap without views."""
        return describe_tap(self.tap, self.views)

    @property
    def detail(self) -> str:
        """The variant without `where`."""
        return self.variant.removeprefix(self.where).removeprefix(", ")

    @property
    def title(self) -> str:
        """The method's title with the variant."""
        return ", ".join(filter(None, (method_info(self.method).title, self.variant)))

    @property
    def short(self) -> str:
        """A shorter title without `where`, which is in the title of a block's part."""
        return ", ".join(filter(None, (method_info(self.method).short, self.detail)))


@dataclass(frozen=True)
class Block:
    """The rows of one backbone, its weights and image size, which a table or a figure shows together."""

    title: str
    """The backbone, with its weights and image size if several are compared."""
    rows: tuple[Row, ...]
    """Tap by tap, and for each tap in the order of the methods; training, which has no tap, is with the penultimate."""
    scores: tuple[tuple[Score, ...], ...]
    """Of each row, in the order of the seeds."""

    def parts(self) -> list[Block]:
        """Return a block for each tap and number of views, with both in its title."""
        indices: dict[str, list[int]] = defaultdict(list)
        for i, row in enumerate(self.rows):
            indices[row.where].append(i)
        return [self._of(where, members) for where, members in indices.items()]

    def leading(self) -> Block:
        """Return the part whose exact probe is best on validation, with the rows of training after it.

        For figures that have room for one tap.
        """
        probes = [row for row in self.rows if row.method == Method.PROBE] or list(self.rows)
        where = min(probes, key=lambda row: row.rank).where
        heads = [i for i, row in enumerate(self.rows) if row.where == where and not method_info(row.method).trains]
        return self._of(where, heads + [i for i, row in enumerate(self.rows) if method_info(row.method).trains])

    def _of(self, where: str, members: Sequence[int]) -> Block:
        comma = ", " if "," in self.title or not where.startswith("at ") else " "
        title = comma.join(filter(None, (self.title, where)))
        return Block(title, tuple(self.rows[i] for i in members), tuple(self.scores[i] for i in members))


class TitledRow(NamedTuple):
    """A row with the title of its block, or of its block's part, and its scores."""

    title: str
    row: Row
    scores: tuple[Score, ...]


def titled_rows(table: Sequence[Block]) -> list[TitledRow]:
    """Return every row in the order of the table, with the title of its block's part."""
    return [
        TitledRow(part.title, row, scores)
        for block in table
        for part in block.parts()
        for row, scores in zip(part.rows, part.scores, strict=True)
    ]


def row_naming(table: Sequence[Block]) -> Callable[[TitledRow], str]:
    """Return a function that names a row in a sentence: with its net if there are several, else with tap and views."""

    def name(titled: TitledRow) -> str:
        row = titled.row
        comma = " " if row.where.startswith("at ") else ", "
        if len(table) > 1:
            return f"{row.short} on {titled.title}"
        return comma.join(filter(None, (row.short, row.where)))

    return name


def reference_block(table: Sequence[Block]) -> Block:
    """Return the leading part of the block that has the reference probe, or of the first block."""
    return next((block for block in table if any(row.reference for row in block.rows)), table[0]).leading()


def uneven(rows: Iterable[Row]) -> bool:
    """Return whether the classes have different numbers of test images, so that macro differs from top-1."""
    return any(abs(row.macro - row.top1) > 1e-9 for row in rows)


def row_tip(title: str, row: Row, places: int) -> str:
    """Return a row's numbers in one line; `title` is that of its block's part, `places` are decimals of percentages."""
    low, high = (percent(end, places) for end in row.interval)
    spread = "" if row.seed_std is None else f", sd {percent(row.seed_std, places)} over {row.seeds} seeds"
    return (
        f"{row.short} on {title}: {percent(row.top1, places)} % (95 % interval {low} to {high}, n = {row.n_test:,}"
        f"{spread}); {seconds(row.cold_seconds, row.waited)} s cold, {seconds(row.warm_seconds, row.waited)} s warm; "
        f"{count(row.trainable)} of {count(row.total)} parameters trained"
    )
