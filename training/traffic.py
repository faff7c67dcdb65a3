"""What work on a device costs before it is run there: operations called, and the bytes they move.

A large GPU takes as long as its memory for what is done to pictures number by number, and some
microseconds a call.  Both can be counted on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


@dataclass(frozen=True)
class Traffic:
    """What was called for."""

    operations: int
    """On large tensors; views are none."""
    moved: int
    """Bytes that these read and write if each does it once."""


class _Counter(TorchDispatchMode):
    def __init__(self, large: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.large = large
        self.operations = 0
        self.moved = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        read, written = list(_tensors(args)), list(_tensors(out))
        there = {tensor.untyped_storage().data_ptr() for tensor in read}
        new = [t for t in written if t.untyped_storage().data_ptr() not in there]
        changed = [] if new else [t for t in written if func._schema.is_mutable]
        touched = [*read, *new, *changed]
        if (new or changed) and max(map(Tensor.numel, touched)) >= self.large:
            self.operations += 1
            self.moved += sum(map(_bytes, touched))
        return out


def _tensors(found: Any) -> Iterator[Tensor]:
    if isinstance(found, Tensor):
        yield found
    elif isinstance(found, list | tuple):
        for item in found:
            yield from _tensors(item)


def _bytes(tensor: Tensor) -> int:
    """What there is to read: a view may show a number many times, or have few of many."""
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())


def count(work: Callable[[], Any], large: int) -> Traffic:
    """Do some work and count what it calls for.

    Args:
        work: Anything that torch does.
        large: Numbers that a tensor must have for an operation on it to count.
    """
    with _Counter(large) as counter:
        work()
    return Traffic(counter.operations, counter.moved)
