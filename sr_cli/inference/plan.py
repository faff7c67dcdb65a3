"""A network's stages as plain data, for engines that run them without torch."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Literal, Protocol, get_args

LR = "lr"
POSITION = "position"
SR = "sr"
DEGRADATION = "degradation"

Kind = Literal["map", "mean", "vector"]


class StageFacts(Protocol):
    """What `sr_cli.networks.stages.Stage` says beside its function, and means there."""

    @property
    def output(self) -> str: ...
    @property
    def inputs(self) -> tuple[str, ...]: ...
    @property
    def kind(self) -> Kind: ...
    @property
    def halo(self) -> int: ...
    @property
    def stride(self) -> int: ...
    @property
    def scale(self) -> int: ...


@dataclass(frozen=True)
class Step:
    """A stage without its function; fields as in `sr_cli.networks.stages.Stage`."""

    output: str
    inputs: tuple[str, ...]
    kind: Kind = "map"
    halo: int = 0
    stride: int = 1
    scale: int = 1

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind) or not all(isinstance(i, str) for i in self.inputs):
            raise ValueError(f"{self.output}: no such kind of stage")
        if self.halo < 0 or self.stride < 1 or self.scale < 1:
            raise ValueError(f"{self.output}: sizes must be whole and positive")
        if self.halo % self.stride:
            raise ValueError(f"{self.output}: the halo must be a multiple of the stride")


def steps_of(stages: Iterable[StageFacts]) -> tuple[Step, ...]:
    """The facts of stages."""
    return tuple(Step(s.output, s.inputs, s.kind, s.halo, s.stride, s.scale) for s in stages)


def to_json(steps: Iterable[Step]) -> str:
    """Steps as text, for the header of a file."""
    return json.dumps([asdict(step) for step in steps])


def from_json(text: str) -> tuple[Step, ...]:
    """What `to_json` wrote.

    Raises:
        ValueError: It is something else.
    """
    try:
        entries = json.loads(text)
        steps = tuple(Step(**{**entry, "inputs": tuple(entry["inputs"])}) for entry in entries)
    except (TypeError, KeyError) as error:
        raise ValueError(f"not a plan of stages: {error}") from None
    if not all(isinstance(size, int) for s in steps for size in (s.halo, s.stride, s.scale)):
        raise ValueError("not a plan of stages: sizes are not whole")
    return steps
