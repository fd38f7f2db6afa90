"""``python -m probeline``."""

from probeline.cli import entry_point

entry_point()
