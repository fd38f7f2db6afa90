"""pandas data frames, for those who have pandas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from probeline.errors import MissingExtra

if TYPE_CHECKING:
    import pandas as pd


def frame(columns: Mapping[str, Any]) -> pd.DataFrame:
    """Return a data frame of columns by name, or raise MissingExtra."""
    try:
        import pandas as pd
    except ImportError as error:
        raise MissingExtra("a data frame needs pandas", remedy="pip install pandas") from error
    return pd.DataFrame(dict(columns))
