"""The command line: the only room that reads arguments, prints, and exits."""

from probeline.cli.program import entry_point, main

__all__ = ["entry_point", "main"]
