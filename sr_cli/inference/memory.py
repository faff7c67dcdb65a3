"""How much memory there is, and how to use it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from sr_cli.inference.walk import SMALLEST_TILE

TILE = 256
"""Side of tiles where there is enough memory: halos cost 11 % with DAN, and the cores are busy."""
BYTES_PER_PIXEL = 6000
"""Of a tile's pixel at most, while it is enlarged x4 in single precision with 64 features."""
UNKNOWN = 4 << 30


def free_memory(device: str) -> int:
    """Bytes that can still be taken on a device.

    Args:
        device: As torch names them; everything that is not CUDA shares the machine's memory.
    """
    if device.startswith("cuda") and "torch" in sys.modules:
        return int(sys.modules["torch"].cuda.mem_get_info(device)[0])
    available = _linux_available()
    if available is not None:
        return available
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return UNKNOWN


def _linux_available() -> int | None:
    found: int | None = None
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                found = int(line.split()[1]) * 1024
    except (OSError, ValueError):
        return None
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        group = Path("/sys/fs/cgroup")
        try:
            left = int((group / limit).read_text()) - int((group / used).read_text())
        except (OSError, ValueError):  # no such group, or the limit "max"
            continue
        found = max(left, 0) if found is None else min(found, max(left, 0))
    return found


def feature_limit(device: str) -> int:
    """Bytes of feature maps to keep in memory."""
    return free_memory(device) // 2


def automatic_tile(device: str) -> int:
    """Side of tiles that leaves most of the memory free."""
    side = TILE
    while side > SMALLEST_TILE and side * side * BYTES_PER_PIXEL > free_memory(device) // 4:
        side //= 2
    return side
