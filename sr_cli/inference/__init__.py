"""Running a network over a picture of any size."""

GROWING_FROM = 32_000_000
"""Pixels from which on an enlarged picture is written row by row: it would take 0.4 GB."""
