"""An estimated degradation as the ``degradation`` object of the command line's JSON.

docs/json.md says what its keys mean.  Needs no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sr_cli.degradation.explain import explain
from sr_cli.degradation.layout import Layout
from sr_cli.degradation.summary import summary


def to_json(
    layout: Layout | None, vector: Sequence[float], skill: Mapping[str, Mapping[str, float]]
) -> dict[str, Any]:
    """The object.

    ``vector`` holds the network's numbers, whatever they are worth; ``stages`` what is to be made
    of them: ``value`` is null for a number that is not known, ``limit`` says at which end of its
    range one lies, and ``if`` holds the flags, not known themselves, that must be so for a number
    to mean anything; ``summary`` is the whole in a sentence.  Nothing is made of numbers without a
    layout.

    Args:
        layout: What the numbers are; None if nobody knows.
        vector: Normalised, as a network gives it.
        skill: As of `sr_cli.degradation.explain.explain`.
    """
    if layout is None:
        return {"layout": None, "vector": _rounded(vector), "stages": [], "summary": None}
    stages: dict[str, dict[str, Any]] = {stage: {} for stage in layout.stages}
    steps = explain(layout, vector, skill)
    for step in steps:
        for finding in step.findings:
            stages[step.stage][finding.parameter.name] = {
                "value": finding.value,
                "error": finding.error,
                "unit": finding.parameter.unit,
                "known": finding.value is not None,
                **({"limit": finding.limit} if finding.limit else {}),
                **({"if": dict(finding.conditions)} if finding.conditions else {}),
            }
    return {
        "layout": layout.name,
        "vector": _rounded(vector),
        "stages": [{"stage": stage, "numbers": numbers} for stage, numbers in stages.items()],
        "summary": summary(steps),
    }


def _rounded(vector: Sequence[float]) -> list[float]:
    return [round(float(number), 6) for number in vector]
