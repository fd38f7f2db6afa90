"""How far features may be from the mean of the fitted rows where numbers are predicted."""

from __future__ import annotations

LIMIT = 10.0
"""Standard deviations to which features are limited where numbers are fitted.

A feature that is nearly always 0 in the train images may be at thousands of its own standard deviations in another
image, and unlike a probability a number has no bound: of 800 turned digits at 64 pixels one such image of 160 took R²
from 0.55 to -2.4.
"""
