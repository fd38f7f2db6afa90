"""Crews: several workers that extract together, started by one command."""
