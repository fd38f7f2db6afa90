"""What a board compares: nets, data sets, and the rows of the one on the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from probeline.identity import canonical
from probeline.names import PENULTIMATE
from probeline.report.model.row import Row
from probeline.results.score import Score


@dataclass(frozen=True, order=True)
class Net:
    """A backbone with its weights and the size of its input: what is the same on all data sets."""

    backbone: str
    weights: str
    image_size: int
    """Pixels; 0 for embeddings from elsewhere."""
    content: str = ""
    """The first digits of the sha256 of its weights, which tells two files of one name apart; may be unknown."""

    @classmethod
    def of(cls, score: Score) -> Net:
        """Return the net of a score."""
        is_given = not score.image_size  # then the digest is that of the embeddings, and one of each data set
        content = "" if is_given else str(score.options.get("weights", ""))
        return cls(score.backbone, score.weights, score.image_size, content)


@dataclass(frozen=True, order=True)
class BoardData:
    """A data set with one division into train, val and test."""

    name: str
    """Of its report's folder."""
    splits: str
    """sha256 over the rows of every role, with their labels."""
    classes: int
    n_train: int
    n_val: int
    n_test: int
    chance: float
    """Share of the most frequent class of the test images: the accuracy of always answering it, in [0, 1]."""
    chosen_by: str
    """What selects on it, such as ``val (n=5000)``."""
    has_page: bool
    """Whether its folder has the page of a report."""

    @classmethod
    def of(cls, name: str, scores: Sequence[Score], *, has_page: bool) -> BoardData:
        """Return the data set of some scores of equal splits."""
        # A refit has the val images among its train images, and zero-shot has none.
        first = max(scores, key=lambda score: (score.n_val, score.n_train))
        frequent = Counter(first.labels).most_common(1)[0][1]
        return cls(
            name=name,
            splits=first.splits,
            classes=len(first.class_names),
            n_train=first.n_train,
            n_val=first.n_val,
            n_test=first.n_test,
            chance=frequent / first.n_test,
            chosen_by=next((score.chosen_by for score in scores if score.chosen_by), ""),
            has_page=has_page,
        )

    def normalised(self, top1: float) -> float:
        """Return an accuracy on a scale from 0, always answering the most frequent class, to 1, all right."""
        return (top1 - self.chance) / (1 - self.chance) if self.chance < 1 else 0.0


@dataclass(frozen=True)
class Entry:
    """One method of one net on one data set, with all its seeds."""

    data: BoardData
    net: Net
    row: Row
    """As in the report of the data set."""
    scores: tuple[Score, ...]

    @cached_property
    def method(self) -> tuple[str, str, str]:
        """What must be equal for two nets to be compared by it: method, tap and all settings but the weights."""
        settings = {name: value for name, value in self.row.options.items() if name != "weights"}
        return self.row.method, self.row.tap, canonical(settings).decode()


Cells = Mapping[tuple[Net, BoardData], Entry]
"""The entry that is shown of each net on each data set."""


def net_titles(nets: Iterable[Net]) -> dict[Net, str]:
    """Return a title of each net that tells it from the others: the backbone, and what else is needed."""
    nets = list(nets)
    several_sizes = len({net.image_size for net in nets}) > 1
    titles = {}
    for net in nets:
        same = [other for other in nets if other.backbone == net.backbone]
        parts = [net.backbone]
        if net.weights == "none":
            parts.append("untrained")
        elif len({other.weights for other in same}) > 1:
            parts.append(net.weights)
        if several_sizes and net.image_size:
            parts.append(f"{net.image_size} px")
        if (
            len({other.content for other in same if (other.weights, other.image_size) == (net.weights, net.image_size)})
            > 1
        ):
            parts.append(f"weights {net.content}")
        titles[net] = ", ".join(parts)
    return titles


def method_name(entry: Entry) -> str:
    """Return the method of an entry in a few words."""
    at = "" if entry.row.tap == PENULTIMATE else f" at {entry.row.tap}"
    return entry.row.short + at
