"""Probeline and its peers on the same jobs, each contender in a process of its own: ``make bench-peers``."""
