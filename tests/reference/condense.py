"""Make small copies of reference files, for tests that run everywhere.

    python tests/reference/condense.py FOLDER

FOLDER holds ``<name>.json`` and ``<name>.npz`` as `fill.py` reads them.  For each of them that is
not here as a whole, ``condensed/<name>.npz`` is written, with

- ``info``: the JSON, minified, as bytes, with ``condensed`` added: for each output its stride and
  the largest magnitude in all of it, to which errors are relative;
- constants and inputs as they are;
- of each output, flattened, one value every stride.
"""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

HERE = Path(__file__).parent
VALUES = 300
"""About as many are kept of each output."""


def stride_for(values: NDArray[Any]) -> int:
    """A stride that comes by all rows, columns and channels: it shares no factor with any side."""
    stride = max(1, values.size // VALUES)
    while any(math.gcd(stride, side) > 1 for side in values.shape):
        stride += 1
    return stride


def condense(source: Path, target: Path) -> None:
    """Write the small copy of one reference.

    Args:
        source: Its JSON file.
        target: The file to write.
    """
    info = json.loads(source.read_text(encoding="utf-8"))
    info["condensed"] = {}
    kept: dict[str, NDArray[Any]] = {}
    with np.load(source.with_suffix(".npz")) as arrays:
        for key, values in arrays.items():
            if "/out/" in key:
                stride = stride_for(values)
                info["condensed"][key] = [stride, float(np.abs(values).max())]
                values = values.reshape(-1)[::stride]
            kept[key] = values
    text = json.dumps(info, separators=(",", ":")).encode()
    np.savez_compressed(target, info=np.frombuffer(text, np.uint8), **kept)


def main() -> None:
    """Condense all references of a folder."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    target = HERE / "condensed"
    target.mkdir(exist_ok=True)
    for source in sorted(Path(sys.argv[1]).glob("*.json")):
        if not (HERE / source.name).exists():
            condense(source, target / f"{source.stem}.npz")


if __name__ == "__main__":
    main()
