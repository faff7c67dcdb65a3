"""Bridges to other programs, each working only where that program is installed."""
