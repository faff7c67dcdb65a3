"""Options that several commands share, and what they mean."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated

import typer

INPUTS = "Pictures, folders or patterns; - for a picture, or a list of names, on standard input."
"""What commands that look at pictures say of theirs."""

Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="Name from `sr-cli models list`, a weights file, or hf:owner/repo/file\\[@revision]; "
        "FIRST+SECOND:0.3 mixes two of one network.",
    ),
]


def device_name(text: str) -> str:
    """A device's name; whether there is such a device is for who opens it to find out.

    Raises:
        typer.BadParameter: It is nobody's.
    """
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", text):
        raise typer.BadParameter(f"'{text}' is not one of auto, cpu, cuda, cuda:N and mps")
    return text


Device = Annotated[str, typer.Option(callback=device_name, help="auto, cpu, cuda, cuda:N or mps.")]
Brief = Annotated[bool, typer.Option("--brief", help="One line a picture, without the table.")]
Json = Annotated[bool, typer.Option("--json", help="JSON Lines on standard output.")]


class PrecisionName(StrEnum):
    """Precisions that can be asked for."""

    AUTO = "auto"
    FP32 = "fp32"
    FP16 = "fp16"
    BF16 = "bf16"
    INT8 = "int8"


class BackendName(StrEnum):
    """What can run a model."""

    AUTO = "auto"
    TORCH = "torch"
    ONNX = "onnx"


Precision = Annotated[
    PrecisionName,
    typer.Option(
        help="auto is bf16 where the processor computes in it, else fp16 on CUDA, else fp32. fp16 "
        "is for GPUs, int8 for CPUs and ONNX Runtime."
    ),
]
Backend = Annotated[BackendName, typer.Option(help="What runs the network.")]


def tile_side(text: str) -> int | None:
    """``auto`` to None, a whole number to itself.

    Raises:
        typer.BadParameter: It is neither.
    """
    if text == "auto":
        return None
    if not text.isdecimal() or len(text) > 6:
        raise typer.BadParameter(f"'{text}' is neither auto nor a whole number of pixels")
    return int(text)
