"""What goes wrong for reasons that users can do something about."""

from __future__ import annotations

import re

_OUT_OF_MEMORY = re.compile(
    # torch on a CPU: its allocator, in other words on each system, and oneDNN, which says no more.
    "DefaultCPUAllocator|not enough memory|could not create a primitive"
    # torch on GPUs: itself, the drivers, cuBLAS and cuDNN.
    "|out of memory|CUBLAS_STATUS_ALLOC_FAILED|CUDNN_STATUS_ALLOC_FAILED|DEVICE_ALLOCATION_FAILED"
    # ONNX Runtime
    r"|Failed to allocate|bad_?alloc|bad allocation|CUDA failure 2\b"
)


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, of the computer or of its accelerator."""
    return isinstance(error, MemoryError) or bool(_OUT_OF_MEMORY.search(str(error)))


class InferenceError(Exception):
    """A model that cannot run as asked; the message says what would do."""


def diverged(model: str, precision: str) -> InferenceError:
    """A model's numbers are infinite or none.

    Args:
        model: What to call it.
        precision: What it ran in.  What goes beyond the range of fp16 is done again in fp32, but
            features are kept in fp16 until they are used.
    """
    if precision == "fp16":
        return InferenceError(
            f"{model} gives numbers that are not finite in fp16, whose range may be too narrow "
            "for it. Take --precision fp32."
        )
    return InferenceError(
        f"{model} gives numbers that are not finite: its weights are damaged, or their training "
        "diverged. Take other weights."
    )
