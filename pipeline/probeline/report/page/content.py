"""What a page is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probeline.format import decimals
from probeline.report.figures.drawn import Drawn
from probeline.report.model.beside import Beside
from probeline.report.model.conditions import Conditions
from probeline.report.model.pairs import Matrix
from probeline.report.model.rows import Block, Row, Titled, titled

View = Mapping[str, Any]
"""What a template is given."""


@dataclass(frozen=True)
class Content:
    """All that a report says.

    Attributes
    ----------
    blocks : sequence of Block
    pairs : Matrix
        Of those blocks.
    conditions : mapping
    missing : sequence of (str, str)
        Rows that have not been run: what, and the command that would run it.
    figures : mapping of str to Drawn
        By their names.
    beside : Beside
    folder : Path
        Of the report; pictures are read from it.
    nets : int
        How many nets have a gallery and a map on the page, which has to stay small; the others have theirs in the
        records.
    """

    blocks: Sequence[Block]
    pairs: Matrix
    conditions: Conditions
    missing: Sequence[tuple[str, str]]
    figures: Mapping[str, Drawn]
    beside: Beside
    folder: Path
    nets: int = 3

    @property
    def titled(self) -> list[Titled]:
        """Every row in the order of the table."""
        return titled(self.blocks)

    @property
    def rows(self) -> list[Row]:
        """The same without titles."""
        return [row for _, row, _ in self.titled]

    @property
    def places(self) -> int:
        """Decimals that percentages of these test images deserve."""
        return decimals(row.n_test for row in self.rows)
