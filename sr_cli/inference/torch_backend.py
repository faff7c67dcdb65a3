"""Networks run by torch, on CPUs, CUDA and MPS."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from sr_cli.inference.backend import Precision
from sr_cli.inference.engine import Engine
from sr_cli.inference.errors import out_of_memory
from sr_cli.inference.plan import Step, steps_of
from sr_cli.networks.stages import SuperResolver

DOUBLE = ("cpu", "cuda")
"""Kinds of devices that are known to have float64; MPS has none, nor have some of Intel's GPUs."""
HALVES: dict[Precision, torch.dtype] = {"fp16": torch.float16, "bf16": torch.bfloat16}


class TorchBackend:
    """See `sr_cli.inference.backend.Backend`."""

    name = "torch"

    def __init__(
        self,
        network: SuperResolver,
        device: torch.device,
        precision: Precision,
        model: str = "The network",
    ) -> None:
        if precision not in ("fp32", *HALVES):
            raise ValueError(f"torch runs fp32, fp16 and bf16, not {precision}")
        if device.type == "cuda":
            # Else convolutions are TF32, with the mantissa of fp16: neither `fp32` nor what is kept
            # out of half precision would be what it is called.
            torch.backends.cudnn.allow_tf32 = False
        network = network.to(device).eval()
        # The fast layout on CPUs and GPUs alike.
        self.network: SuperResolver = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.model = model
        self.place = device
        self.device = str(device)
        self.precision: Precision = precision
        self.scale = network.scale
        self.half = HALVES.get(precision)
        self.fast = self.network
        if self.half is not None:
            self.fast = _halved(self.network, self.half, narrow=device.type == "cpu")
        self.steps = steps_of(network.stages())
        self.functions = {stage.output: stage.run for stage in self.fast.stages()}
        self.careful = {stage.output: stage.run for stage in self.network.stages()}

    def load(self, pixels: NDArray[np.float32]) -> Tensor:
        # torch warns of memory that it could write to but must not.
        own = pixels if pixels.flags.writeable else pixels.copy()
        picture = torch.from_numpy(own).permute(2, 0, 1).unsqueeze(0)
        return picture.to(self.place).contiguous(memory_format=torch.channels_last)

    def run(self, step: Step, inputs: Sequence[Tensor], *, careful: bool = False) -> Tensor:
        if careful:
            inputs = [one.float() for one in inputs]
        function = (self.careful if careful else self.functions)[step.output]
        with torch.inference_mode(), self._precision(careful):
            return function(*inputs)

    def run_whole(self, picture: Tensor, *, careful: bool = False) -> tuple[Tensor, Tensor | None]:
        with torch.inference_mode(), self._precision(careful):
            return (self.network if careful else self.fast)(picture)

    def _precision(self, careful: bool) -> AbstractContextManager[object]:
        if self.half is None or careful:
            return nullcontext()
        return torch.autocast(self.place.type, self.half)

    def is_finite(self, array: Tensor) -> bool:
        return bool(torch.isfinite(array.sum(dtype=torch.float32)))

    @property
    def store_dtype(self) -> np.dtype[Any]:
        # NumPy knows no bf16; its memory is taken for 16-bit numbers and seen as bf16.
        return np.dtype(np.float32 if self.half is None else np.int16)

    @property
    def on_host(self) -> bool:
        return self.place.type == "cpu"

    def empty(self, channels: int, rows: int, columns: int) -> Tensor:
        kind = self.half or torch.float32
        memory = torch.empty((1, rows, columns, channels), dtype=kind, device=self.place)
        return memory.permute(0, 3, 1, 2)

    def wrap(self, memory: NDArray[Any], channels: int, rows: int, columns: int) -> Tensor:
        numbers = torch.from_numpy(memory)
        numbers = numbers if self.half is None else numbers.view(self.half)
        return numbers.view(rows, columns, channels).permute(2, 0, 1).unsqueeze(0)

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        if len(parts) == 1:
            return parts[0].to(self.place).contiguous(memory_format=torch.channels_last)
        _, channels, _, columns = parts[0].shape
        ends = list(itertools.accumulate(part.shape[2] for part in parts))
        # Not `cat`, whose result has to be laid out anew.
        joined = torch.empty(
            (1, channels, ends[-1], columns),
            dtype=parts[0].dtype,
            device=self.place,
            memory_format=torch.channels_last,
        )
        for part, end in zip(parts, ends, strict=True):
            joined[:, :, end - part.shape[2] : end] = part
        return joined

    def sums(self, cells: Tensor) -> NDArray[np.float64]:
        if self.place.type not in DOUBLE:
            cells = cells.cpu()
        numbers: NDArray[np.float64] = cells.double().sum((0, 2, 3)).cpu().numpy()
        return numbers

    def vector(self, numbers: NDArray[np.float64]) -> Tensor:
        return torch.from_numpy(numbers).float().to(self.place).view(1, -1, 1, 1)

    def numpy(self, array: Tensor) -> NDArray[np.float32]:
        values: NDArray[np.float32] = array.float().cpu().numpy()
        return values

    def ran_out_of_memory(self, error: Exception) -> bool:
        told = isinstance(error, MemoryError | RuntimeError) and out_of_memory(error)
        if told and self.place.type == "cuda":
            torch.cuda.empty_cache()
        if told and self.place.type == "mps":
            torch.mps.empty_cache()
        return told


class _Strided(nn.Conv2d):
    """A convolution with a stride, right where its result is a single column, too.

    There oneDNN 3.12 (torch 2.13) reads memory that is not its own in bf16 on processors with AMX:
    what comes out of a narrow picture is anything, and another time something else.  Columns of
    zeros, as the padding is of, make it two columns, of which the second goes.
    """

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        reach = self.dilation[1] * (self.kernel_size[1] - 1)
        missing = self.stride[1] + reach + 1 - input.shape[3] - 2 * int(self.padding[1])
        if missing <= 0:
            return super()._conv_forward(input, weight, bias)
        return super()._conv_forward(functional.pad(input, (0, missing)), weight, bias)[..., :1]


def _halved(network: SuperResolver, half: torch.dtype, *, narrow: bool) -> SuperResolver:
    """A copy whose convolutions have their weights in half precision already.

    Autocast would convert them anew for every tile.

    Args:
        network: Is left as it is.
        half: What their weights are to be in.
        narrow: Whether those with strides need care where pictures are narrow.
    """
    halved = copy.deepcopy(network)
    for name, module in halved.named_modules():
        careful = any(name == one or name.startswith(f"{one}.") for one in halved.single_precision)
        if isinstance(module, nn.Conv2d | nn.Linear) and not careful:
            module.to(half)
        if narrow and type(module) is nn.Conv2d and module.stride[1] > 1:
            module.__class__ = _Strided  # same weights, same names
    return halved


def torch_engine(
    network: SuperResolver,
    device: torch.device | None = None,
    precision: Precision = "fp32",
    model: str = "The network",
) -> Engine:
    """A network on a device, ready for pictures.

    Args:
        network: In any mode; it is moved and put into evaluation mode.
        device: The CPU if None.
        precision: ``"fp32"``, ``"fp16"`` or ``"bf16"``; see `sr_cli.precision.automatic_precision`.
        model: What to call it in messages.
    """
    return Engine(TorchBackend(network, device or torch.device("cpu"), precision, model))
