"""What a device computes in by itself."""

from __future__ import annotations

from typing import Literal

import torch


def automatic_precision(device: torch.device) -> Literal["fp32", "fp16", "bf16"]:
    """The fastest precision that a device computes in by itself.

    bf16 where the processor has instructions for it, else fp16 on CUDA, else fp32.
    """
    if device.type == "cuda":
        with torch.cuda.device(device):
            return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    if device.type == "cpu" and cpu_has_bf16():
        return "bf16"
    return "fp32"


def cpu_has_bf16() -> bool:
    """Whether this processor multiplies bf16 faster than fp32."""
    known = torch.backends.cpu.get_cpu_capability() if hasattr(torch.backends, "cpu") else ""
    if "AVX512" not in known and "AMX" not in known:
        return False
    probes = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, probe, bool)()) for probe in probes)
