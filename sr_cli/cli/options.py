"""Options that several commands share, and what they mean."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sr_cli.cli.console import CommandError

if TYPE_CHECKING:
    import torch

Model = Annotated[
    str,
    typer.Option(
        "--model",
        "-m",
        help="Name from `sr-cli models list`, a weights file, or hf:owner/repo/file\\[@revision].",
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")]
Json = Annotated[bool, typer.Option("--json", help="JSON Lines on standard output.")]


class PrecisionName(StrEnum):
    """Precisions that can be asked for."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"


Precision = Annotated[
    PrecisionName, typer.Option(help="auto is fp32; bf16 is faster where the processor has it.")
]


def precision_of(name: PrecisionName) -> Literal["fp32", "bf16"]:
    """What the engine is to compute in."""
    return "bf16" if name is PrecisionName.BF16 else "fp32"


def choose_device(name: str) -> torch.device:
    """The torch device of a name; ``auto`` takes the fastest there is.

    Raises:
        CommandError: There is no such device here.
    """
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError):
        raise CommandError(
            f"The device '{name}' is not usable here. Try --device auto or --device cpu."
        ) from None
    return device


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
