"""The degradation vector: what each number means, in which unit, and when it applies.

One table a layout; everything else asks it.  Needs no torch, so that an estimate can be explained
wherever the vector came from.  Networks speak *normalised* numbers, people read *units*;
`Layout.decode` and `Layout.encode` are the bridge.

RealDAN's 42 numbers are listed in Sec. 3.5 of the paper as 36 in another order; the layout here is
the published code's, which interleaves the stages and adds six numbers of the final resize.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Unit = Literal["px", "deg", "1", "flag", "sigma/255", "quality", "rad"]


@dataclass(frozen=True)
class Parameter:
    """One number of a degradation vector."""

    index: int
    """Position in the vector."""
    name: str
    """Name within its stage, as `sr_cli.degradation.two_stage.Stage` calls it."""
    stage: str
    """``"stage1"``, ``"stage2"`` or ``"final"`` (the resize back to size and its low-pass)."""
    low: float
    """Value, in units, that is normalised to 0."""
    high: float
    """Value, in units, that is normalised to 1."""
    unit: Unit
    """Unit of `low`, `high` and of decoded values."""
    applies: tuple[tuple[str, bool], ...] = ()
    """Flags of the same stage that must all have these values for the number to mean anything."""
    choice: str | None = None
    """Name of the one-of-several choice that this flag is a member of."""
    alternative: tuple[str, float, float] | None = None
    """``(flag, low, high)``: the range used instead while that flag of the stage is not set."""

    @property
    def key(self) -> str:
        """``stage.name``, unique in a layout."""
        return f"{self.stage}.{self.name}"

    @property
    def is_flag(self) -> bool:
        """Whether the number is a 0/1 indicator."""
        return self.unit == "flag"

    def range(self, flags: Mapping[str, bool]) -> tuple[float, float]:
        """The values in units that stand for 0 and 1, given the flags by key."""
        if self.alternative is not None:
            flag, low, high = self.alternative
            if not flags[f"{self.stage}.{flag}"]:
                return low, high
        return self.low, self.high


@dataclass(frozen=True)
class Layout:
    """An ordered degradation vector."""

    name: str
    """``"two-stage"`` (42 numbers) or ``"blur"`` (8 numbers)."""
    parameters: tuple[Parameter, ...]

    def __len__(self) -> int:
        return len(self.parameters)

    @property
    def stages(self) -> tuple[str, ...]:
        """Stage names in the order in which a picture goes through them."""
        return tuple(dict.fromkeys(p.stage for p in sorted(self.parameters, key=_stage_order)))

    def of_stage(self, stage: str) -> tuple[Parameter, ...]:
        """The parameters of one stage, in vector order."""
        return tuple(p for p in self.parameters if p.stage == stage)

    def decode(self, vector: Sequence[float]) -> dict[str, float]:
        """A normalised vector to ``{"stage.name": value in units}``, every number included.

        Raises:
            ValueError: The vector's length is not the layout's.
        """
        ranges = zip(self.parameters, self.ranges(vector), strict=True)
        return {p.key: low + float(vector[p.index]) * (high - low) for p, (low, high) in ranges}

    def ranges(self, vector: Sequence[float]) -> list[tuple[float, float]]:
        """For every number the values in units that 0 and 1 stand for, by the vector's own flags.

        Raises:
            ValueError: The vector's length is not the layout's.
        """
        self._check(vector)
        flags = self._flags(vector)
        return [p.range(flags) for p in self.parameters]

    def encode(self, values: Mapping[str, float]) -> list[float]:
        """The inverse of `decode`.

        Raises:
            ValueError: A value is missing or its name is unknown.
        """
        names = {p.key for p in self.parameters}
        if wrong := names.symmetric_difference(values):
            raise ValueError(f"missing or unknown degradation numbers: {', '.join(sorted(wrong))}")
        flags = self._flags([values[p.key] for p in self.parameters])
        vector: list[float] = []
        for p in self.parameters:
            low, high = p.range(flags)
            vector.append((values[p.key] - low) / (high - low))
        return vector

    def applicable(self, vector: Sequence[float]) -> list[bool]:
        """For every number whether it means anything, judged by the vector's own flags.

        A flag counts as set from 0.5.
        """
        self._check(vector)
        flags = self._flags(vector)
        return [
            all(flags[f"{p.stage}.{flag}"] == wanted for flag, wanted in p.applies)
            for p in self.parameters
        ]

    def _flags(self, numbers: Sequence[float]) -> dict[str, bool]:
        return {p.key: numbers[p.index] >= 0.5 for p in self.parameters if p.is_flag}

    def _check(self, vector: Sequence[float]) -> None:
        if len(vector) != len(self):
            raise ValueError(
                f"a {self.name} degradation vector has {len(self)} numbers, not {len(vector)}"
            )


_STAGES = ("stage1", "stage2", "final")


def _stage_order(parameter: Parameter) -> int:
    return _STAGES.index(parameter.stage)


_NOT_SINC = (("is_sinc", False),)
_SINC = (("is_sinc", True),)


def _pair(
    first: int,
    name: str,
    range1: tuple[float, float],
    range2: tuple[float, float] | None = None,
    unit: Unit = "1",
    applies: tuple[tuple[str, bool], ...] = (),
    choice: str | None = None,
    alternative: tuple[str, float, float] | None = None,
) -> tuple[Parameter, Parameter]:
    """The same number of both stages, at ``first`` and ``first + 1``."""
    low2, high2 = range2 or range1
    return (
        Parameter(first, name, "stage1", *range1, unit, applies, choice, alternative),
        Parameter(first + 1, name, "stage2", low2, high2, unit, applies, choice, alternative),
    )


_FLAG = (0.0, 1.0)

TWO_STAGE = Layout(
    "two-stage",
    (
        *_pair(0, "sigma_x", (0.2, 3.0), (0.2, 1.5), "px", _NOT_SINC),
        *_pair(2, "sigma_y", (0.2, 3.0), (0.2, 1.5), "px", _NOT_SINC),
        *_pair(4, "theta", (0.0, 90.0), None, "deg", _NOT_SINC),
        # A plateau kernel's beta has a range of its own.
        *_pair(6, "beta", (0.5, 4.0), None, "1", _NOT_SINC, alternative=("is_gaussian", 1.0, 2.0)),
        *_pair(8, "is_gaussian", _FLAG, None, "flag", _NOT_SINC),
        *_pair(10, "radius", (3.0, 11.0), None, "px"),
        *_pair(12, "is_sinc", _FLAG, None, "flag"),
        *_pair(14, "omega", (0.0, 3.141592653589793), None, "rad", _SINC),
        *_pair(16, "scale", (0.15, 1.5), (0.3, 1.2), "1"),
        *_pair(18, "mode_area", _FLAG, None, "flag", choice="resize"),
        *_pair(20, "mode_bicubic", _FLAG, None, "flag", choice="resize"),
        *_pair(22, "mode_bilinear", _FLAG, None, "flag", choice="resize"),
        *_pair(24, "noise_is_gaussian", _FLAG, None, "flag"),
        *_pair(26, "noise_is_grey", _FLAG, None, "flag"),
        *_pair(28, "gaussian_sigma", (1, 30), (1, 25), "sigma/255", (("noise_is_gaussian", True),)),
        *_pair(30, "poisson_level", (0.05, 3.0), (0.05, 2.5), "1", (("noise_is_gaussian", False),)),
        *_pair(32, "is_jpeg", _FLAG, None, "flag"),
        *_pair(34, "jpeg_quality", (30.0, 95.0), None, "quality", (("is_jpeg", True),)),
        Parameter(36, "radius", "final", 3.0, 11.0, "px", _SINC),
        Parameter(37, "is_sinc", "final", 0.0, 1.0, "flag"),
        Parameter(38, "omega", "final", 0.0, 3.141592653589793, "rad", _SINC),
        Parameter(39, "mode_area", "final", 0.0, 1.0, "flag", choice="resize"),
        Parameter(40, "mode_bicubic", "final", 0.0, 1.0, "flag", choice="resize"),
        Parameter(41, "mode_bilinear", "final", 0.0, 1.0, "flag", choice="resize"),
    ),
)
"""RealDAN's 42 numbers (blur, resize, noise, JPEG, twice, then a final resize and low-pass)."""


def blur_layout(kernel_radius: int) -> Layout:
    """KernelDAN's 8 numbers; only the sigmas and the angle vary, the rest are constants.

    Args:
        kernel_radius: 5 for the x2 models (11x11 kernels), 15 for x4 (31x31).
    """
    low = float(kernel_radius)
    return Layout(
        "blur",
        (
            Parameter(0, "sigma_x", "stage1", 0.6, 5.0, "px"),
            Parameter(1, "sigma_y", "stage1", 0.6, 5.0, "px"),
            Parameter(2, "theta", "stage1", 0.0, 90.0, "deg"),
            Parameter(3, "beta", "stage1", 0.5, 4.0, "1"),
            Parameter(4, "is_gaussian", "stage1", 0.0, 1.0, "flag"),
            Parameter(5, "radius", "stage1", low, low + 1.0, "px"),
            Parameter(6, "is_sinc", "stage1", 0.0, 1.0, "flag"),
            Parameter(7, "omega", "stage1", 0.0, 3.141592653589793, "rad", _SINC),
        ),
    )
