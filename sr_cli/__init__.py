"""Blind image super-resolution with the DAN family.

import sr_cli

model = sr_cli.load("dan-real-x4")
large = model.upscale(picture)      # PIL, numpy or torch; the same kind comes back
print(model.estimate(picture))      # what had happened to it
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = ["Estimate", "Upscaler", "load"]

if TYPE_CHECKING:
    from sr_cli.api import Estimate, Upscaler, load


def __getattr__(name: str) -> Any:
    # Only now: the command line imports this package, and its help must not wait for torch.
    if name in __all__:
        from sr_cli import api

        return getattr(api, name)
    raise AttributeError(f"module 'sr_cli' has no attribute '{name}'")
