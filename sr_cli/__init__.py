"""Blind image super-resolution with the DAN family."""

__version__ = "0.1.0"
