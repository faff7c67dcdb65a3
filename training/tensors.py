"""Dataclasses of tensors: a part of them, and the way to a device that nobody waits for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")


def part(drawn: T, which: slice) -> T:
    """The parameters of some pictures of a batch."""
    return mapped(drawn, lambda tensor: tensor[which])


def on(device: torch.device, drawn: T) -> T:
    """The same parameters on a device, without waiting for it."""
    return mapped(drawn, lambda tensor: send(tensor, device))


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on a device; the copy to a GPU is queued, not waited for."""
    if device.type != "cuda" or tensor.device.type == "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def mapped(drawn: T, change: Callable[[Tensor], Tensor]) -> T:
    """A dataclass, and those within it, with every tensor changed."""
    changed: dict[str, Any] = {}
    for item in dataclasses.fields(drawn):  # type: ignore[arg-type]
        value = getattr(drawn, item.name)
        if isinstance(value, Tensor):
            changed[item.name] = change(value)
        elif dataclasses.is_dataclass(value):
            changed[item.name] = mapped(value, change)
    return dataclasses.replace(drawn, **changed)  # type: ignore[type-var]
