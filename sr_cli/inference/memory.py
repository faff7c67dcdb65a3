"""How much memory there is, and how to use it."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

from sr_cli.inference.tiles import SMALLEST_TILE

TILE = 256
"""Side of tiles where there is enough memory: halos cost 11 % with DAN, and the cores are busy."""
BYTES_PER_PIXEL = 6000
"""Of a tile's pixel at most, while it is enlarged x4 in single precision with 64 features."""
UNKNOWN = 4 << 30
GROUP = Path("/sys/fs/cgroup")
"""Where Linux says what a container may take."""


def free_memory(device: str) -> int:
    """Bytes that can still be taken on a device.

    Args:
        device: As torch names them; everything that is not CUDA shares the machine's memory.  Where
            nobody can be asked about a CUDA device (ONNX Runtime cannot say, nor can a torch that
            was built without CUDA), the machine's memory is taken for the device's as well.
    """
    torch = sys.modules.get("torch") if device.startswith("cuda") else None
    if torch is not None and torch.cuda.is_available():
        cuda = torch.cuda
        # What the allocator keeps of earlier tiles is there for the next ones.
        spare = cuda.memory_reserved(device) - cuda.memory_allocated(device)
        return int(cuda.mem_get_info(device)[0]) + int(spare)
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
    left = [
        _left_in_group("memory.max", "memory.current", "memory.stat", "inactive_file"),
        _left_in_group(
            "memory/memory.limit_in_bytes",
            "memory/memory.usage_in_bytes",
            "memory/memory.stat",
            "total_inactive_file",
        ),
    ]
    return min((bytes_ for bytes_ in (found, *left) if bytes_ is not None), default=None)


def _left_in_group(limit: str, used: str, facts: str, cache: str) -> int | None:
    """Bytes that a container may still take; None if nothing limits it.

    Args:
        limit: File with the limit.
        used: File with what is used, among that files' contents that are kept while there is room.
        facts: File that says how much of these can go at once.
        cache: Where it says so.
    """
    try:
        taken = int((GROUP / used).read_text(encoding="ascii"))
        left = int((GROUP / limit).read_text(encoding="ascii")) - taken
    except (OSError, ValueError):  # no such group, or the limit "max"
        return None
    with contextlib.suppress(OSError, ValueError):
        lines = (GROUP / facts).read_text(encoding="ascii").splitlines()
        left += sum(int(line.split()[1]) for line in lines if line.startswith(f"{cache} "))
    return max(left, 0)


def feature_limit(device: str) -> int:
    """Bytes of feature maps to keep in memory."""
    return free_memory(device) // 2


def automatic_tile(device: str) -> int:
    """Side of tiles that leaves most of the memory free."""
    side = TILE
    while side > SMALLEST_TILE and side * side * BYTES_PER_PIXEL > free_memory(device) // 4:
        side //= 2
    return side
