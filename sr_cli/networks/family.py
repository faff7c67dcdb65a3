"""What a file in this folder says of the network that it holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from sr_cli.networks.stages import SuperResolver

Estimate = Literal["vector", "code", "kernel"]


@dataclass(frozen=True)
class Family:
    """What the rest of the house has to know of a network."""

    name: str
    """As written in manifests and headers."""
    build: Callable[..., SuperResolver]
    """Constructor, taking the options as keywords: counts from 1 to 1024, numbers, texts, true or
    false, None, and lists of these.  One of them is ``scale``."""
    detect: Callable[[Mapping[str, Tensor]], dict[str, Any] | None]
    """Options deduced from a state dict in our names, or None if it is another network's."""
    convert: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
    """Published key names to ours; ours pass unchanged."""
    needed: tuple[str, ...]
    """Keys, in our names, without which `detect` sees another network."""
    estimates: Estimate | None = None
    """What its second output is: a degradation ``vector`` in the units of a layout, a blur kernel's
    ``code`` in principal components, the ``kernel`` itself row by row, or nothing.  The option
    ``degradation_size`` is a vector's length; ``kernel_size`` is the side of a kernel.
    Codes are trained of DANv1 alone, whose ``encode`` makes the true ones."""

    def options(self, state: Mapping[str, Tensor]) -> dict[str, Any] | None:
        """As `detect`, for any tensors: sizes that no such network has are another network's."""
        try:
            return self.detect(state)
        except (LookupError, ValueError, ArithmeticError):
            return None
