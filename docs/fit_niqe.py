"""Fit the pristine model of `niqe-own` to a folder of clean photographs.

python docs/fit_niqe.py DIR > sr_cli/metrics/niqe_own.json
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from sr_cli.images import find_pictures, read
from sr_cli.metrics.niqe import fit, to_json


def pictures(folder: Path) -> Iterator[torch.Tensor]:
    """All pictures of a folder, ``(3, H, W)``."""
    for path in find_pictures(folder, recursive=False):
        yield torch.from_numpy(read(path).rgb.copy()).permute(2, 0, 1)


if __name__ == "__main__":
    sys.stdout.write(to_json(fit(pictures(Path(sys.argv[1])))) + "\n")
