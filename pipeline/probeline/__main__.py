"""``python -m probeline``."""

from probeline.cli.program import entry_point

entry_point()
