"""From what a user calls a model to an engine that runs it.  Imports torch only where it must."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sr_cli.degradation.layout import Layout
from sr_cli.inference.engine import Engine

if TYPE_CHECKING:
    import torch

PrecisionChoice = Literal["auto", "fp32", "fp16", "bf16", "int8"]
BackendChoice = Literal["auto", "torch", "onnx"]


class InferenceError(Exception):
    """A model that cannot run as asked; the message says what would do."""


@dataclass(frozen=True)
class OpenModel:
    """A model on a device, ready for pictures, with what is known of its estimates."""

    name: str
    engine: Engine
    layout: Layout | None
    """Of the degradation vector; None if the model estimates nothing that people have words for."""
    estimate: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Measured skill a number, as in the manifest."""

    @property
    def scale(self) -> int:
        """Enlargement."""
        return self.engine.scale


def open_model(
    name: str,
    device: str = "auto",
    precision: PrecisionChoice = "auto",
    backend: BackendChoice = "auto",
) -> OpenModel:
    """Load a model and put it on a device.

    Args:
        name: From the manifest, a path, or ``hf:owner/repo/file[@revision]``.
        device: ``auto``, or as torch names it.
        precision: ``auto`` for the fastest that the device computes in by itself.
        backend: What runs it.

    Raises:
        ZooError: There is no such model, or its weights cannot be had or read.
        InferenceError: The device, the precision or the backend is not to be had here.
    """
    if Path(name).suffix.lower() == ".onnx" or backend == "onnx":
        raise InferenceError("There is no ONNX backend in this version.")
    return _with_torch(name, device, precision)


def _with_torch(name: str, device: str, precision: PrecisionChoice) -> OpenModel:
    from sr_cli.inference.torch_backend import automatic_precision, torch_engine
    from sr_cli.zoo.loading import load

    if precision == "int8":
        raise InferenceError("torch runs fp32, fp16 and bf16; int8 needs --backend onnx.")
    place = torch_device(device)
    if precision == "fp16" and place.type == "cpu":
        raise InferenceError("fp16 is slow on CPUs; use --precision bf16 or fp32.")
    loaded = load(name)
    chosen = automatic_precision(place) if precision == "auto" else precision
    engine = torch_engine(loaded.network, place, chosen)
    return OpenModel(loaded.name, engine, loaded.layout, loaded.estimate)


def torch_device(name: str) -> torch.device:
    """The torch device of a name; ``auto`` takes the fastest there is.

    Raises:
        InferenceError: There is no such device here.
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
        raise InferenceError(
            f"The device '{name}' is not usable here. Try --device auto or --device cpu."
        ) from None
    return device
