"""An estimated degradation vector in words and units, with what is not known left unsaid.

Every number is judged by its measured skill (correlation with the truth on held-out pictures).
Needs no torch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sr_cli.degradation.layout import Layout, Parameter

KNOWN_FROM = 0.3
"""A number whose estimates correlate less than this with the truth is called not known."""
CHANCE = 1.96
"""So many standard errors a correlation must be from none (by Fisher's z): of a dozen cases even
numbers that nobody can tell correlate at 0.3."""

NOT_KNOWN = "not known"

_STAGE_TITLES = {"stage1": "First stage", "stage2": "Second stage", "final": "Final resize"}
_UNITS = {
    "px": " px",
    "deg": "\N{DEGREE SIGN}",
    "sigma/255": " of 255",
    "rad": " rad/px",
    "1": "",
    "quality": "",
    "flag": "",
}
_STEPS: dict[str, tuple[tuple[str, str], ...]] = {
    "Blur": (
        ("is_sinc", "low-pass ringing"),
        ("omega", "cut-off"),
        ("is_gaussian", "Gaussian"),
        ("sigma_x", "sigma down"),
        ("sigma_y", "sigma across"),
        ("theta", "angle"),
        ("beta", "shape"),
        ("radius", "radius"),
    ),
    "Resize": (
        ("scale", "factor"),
        ("mode_area", "area"),
        ("mode_bicubic", "bicubic"),
        ("mode_bilinear", "bilinear"),
    ),
    "Noise": (
        ("noise_is_gaussian", "Gaussian"),
        ("noise_is_grey", "grey"),
        ("gaussian_sigma", "sigma"),
        ("poisson_level", "Poisson level"),
    ),
    "JPEG": (("is_jpeg", "compressed"), ("jpeg_quality", "quality")),
}
"""Which numbers belong to which step of a stage, with the words people use for them."""


Limit = Literal["low", "high"]


@dataclass(frozen=True)
class Finding:
    """One number of the vector, decoded."""

    parameter: Parameter
    label: str
    value: float | None
    """In units and limited to the layout's range; None if not known."""
    error: float | None
    """Mean absolute error on held-out pictures, in the same unit."""
    conditions: tuple[tuple[str, bool], ...] = ()
    """Flags of the stage that are not known, and what they must be for the number to apply."""
    limit: Limit | None = None
    """The end of the range that the value has been limited to: the truth may lie beyond."""

    @property
    def text(self) -> str:
        """As people read it: ``quality 43 +- 8``, ``sigma 9 +- 3 of 255 or more if Gaussian``."""
        if self.value is None:
            return f"{self.label} {NOT_KNOWN}"
        if self.parameter.is_flag:
            answer = "yes" if self.value >= 0.5 else "no"
            return f"{self.label}: {answer} (score {self.value:.2f})"
        digits = 0 if self.parameter.unit in ("quality", "deg") else 1
        if self.parameter.unit == "1":
            digits = 2
        error = "" if self.error is None else f" \N{PLUS-MINUS SIGN} {self.error:.{digits}f}"
        number = f"{self.label} {self.value:.{digits}f}{error}{_UNITS[self.parameter.unit]}"
        beyond = {None: (), "low": ("or less",), "high": ("or more",)}[self.limit]
        return " ".join((number, *beyond, *(_condition(flag, to) for flag, to in self.conditions)))


@dataclass(frozen=True)
class Step:
    """One step of a stage with its findings; what does not apply has been left out."""

    stage: str
    name: str
    findings: tuple[Finding, ...]

    @property
    def title(self) -> str:
        """``First stage``, ``Second stage`` or ``Final resize``."""
        return _STAGE_TITLES[self.stage]

    @property
    def text(self) -> str:
        """The findings in one line; what is not known is said once."""
        known = [finding.text for finding in self.findings if finding.value is not None]
        unknown = len(known) < len(self.findings)
        if not known:
            return NOT_KNOWN
        return ", ".join(known) + (f"; rest {NOT_KNOWN}" if unknown else "")


def explain(
    layout: Layout, vector: Sequence[float], skill: Mapping[str, Mapping[str, float]]
) -> tuple[Step, ...]:
    """A vector as steps of findings, in the order in which the picture went through them.

    A number that depends on a flag is shown if the flag is known and set; if the flag itself is not
    known, the number is shown with that condition: its skill is measured where it applies.

    Args:
        layout: What the numbers are.
        vector: Normalised, as a network gives it.
        skill: Per ``stage.name``: ``correlation``, ``error`` and ``count``, as in the manifest.
            Numbers that are missing here are not known.
    """
    values = layout.decode(vector)
    ranges = layout.ranges(vector)
    applicable = layout.applicable(vector)
    steps: list[Step] = []
    for stage in layout.stages:
        by_name = {p.name: p for p in layout.of_stage(stage)}
        for name, members in _STEPS.items():
            findings = tuple(
                _finding(by_name[key], label, values, ranges, skill)
                for key, label in members
                if key in by_name and _shown(by_name[key], applicable, skill)
            )
            if findings:
                shown = "Low-pass" if (stage, name) == ("final", "Blur") else name
                steps.append(Step(stage, shown, findings))
    return tuple(steps)


def is_known(key: str, skill: Mapping[str, Mapping[str, float]]) -> bool:
    """Whether estimates of a number are worth showing.

    Args:
        key: ``stage.name``.
        skill: As of `explain`; where it has the ``count`` of cases, these must be enough.
    """
    if key not in skill or skill[key]["correlation"] < KNOWN_FROM:
        return False
    count = skill[key].get("count")
    if count is None:
        return True
    certain = min(skill[key]["correlation"], 1 - 1e-9)
    return count > 3 and math.atanh(certain) * math.sqrt(count - 3) >= CHANCE


def _shown(
    parameter: Parameter, applicable: Sequence[bool], skill: Mapping[str, Mapping[str, float]]
) -> bool:
    """Left out only if a flag that is known says that the number does not apply."""
    if applicable[parameter.index]:
        return True
    return bool(_unsure(parameter, skill))


def _unsure(
    parameter: Parameter, skill: Mapping[str, Mapping[str, float]]
) -> tuple[tuple[str, bool], ...]:
    """Of the flags that a number depends on, those that are not known, and what they must be."""
    return tuple(
        (flag, wanted)
        for flag, wanted in parameter.applies
        if not is_known(f"{parameter.stage}.{flag}", skill)
    )


def _finding(
    parameter: Parameter,
    label: str,
    values: Mapping[str, float],
    ranges: Sequence[tuple[float, float]],
    skill: Mapping[str, Mapping[str, float]],
) -> Finding:
    if not is_known(parameter.key, skill):
        return Finding(parameter, label, None, None)
    low, high = sorted(ranges[parameter.index])
    raw = values[parameter.key]
    limit: Limit | None = None
    if not parameter.is_flag:
        limit = "low" if raw < low else "high" if raw > high else None
    error = skill[parameter.key]["error"]
    value = min(max(raw, low), high)
    return Finding(parameter, label, value, error, _unsure(parameter, skill), limit)


def _condition(flag: str, wanted: bool) -> str:
    label = next(label for step in _STEPS.values() for key, label in step if key == flag)
    return f"if {label}" if wanted else f"if not {label}"
