"""Quality against the operations of training, and where that would lead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

POWERS = np.linspace(0.02, 2.0, 100)
RECENT = 4.0
"""Only points of the last so many times of the operations are looked at: a network's first steps,
which are quick, say nothing of its last."""
FEWEST = 5
"""But never fewer points than these last ones."""
TOLERANCE = 0.02
"""dB: what 80 crops tell apart.  A curve with no larger error fits..."""
NEARLY = 1.1
"""... and so does one with at most so many times the error of the best."""


@dataclass(frozen=True)
class Outlook:
    """What the points let expect at another number of operations."""

    spent: float
    """Operations at the last point."""
    published: float
    """Operations of the recipe with the published numbers."""
    gain: float
    """PSNR-Y over bicubic at the last point, dB."""
    slope: float
    """dB for twice the operations, of the straight line."""
    line: float
    """dB at `published` if every doubling went on to give as much."""
    lowest: float
    """dB at `published` of the curves ``limit - b * operations**-p`` that fit: the lowest..."""
    highest: float
    """... and the highest."""


def points(log: Sequence[dict[str, Any]]) -> tuple[Floats, Floats]:
    """Operations and gain over bicubic (dB) of a kept training log's validations.

    Args:
        log: The first line's ``run`` has ``operations``: pairs of a step and of what every step up
            to it cost.  Of the others, those count that ran as many ``iterations`` as the last.
    """
    costs = log[0]["run"]["operations"]
    spent, gains = [], []
    for line in log[1:]:
        scores = line["validation"]
        if scores["psnr_y"] is not None and line["iterations"] == log[-1]["iterations"]:
            spent.append(_operations(costs, line["step"]))
            gains.append(scores["psnr_y"] - scores["bicubic"])
    return np.array(spent), np.array(gains)


def _operations(costs: Sequence[Sequence[float]], step: int) -> float:
    total, begin = 0.0, 0.0
    for end, each in costs:
        total += each * max(0.0, min(step, end) - begin)
        begin = end
    return total


def measured(log: Sequence[dict[str, Any]]) -> tuple[Floats, Floats, Outlook] | None:
    """The `points` of a kept training log and their outlook; None if its costs were not kept."""
    published = log[0]["run"].get("published")
    if published is None:
        return None
    spent, gains = points(log)
    return spent, gains, outlook(spent, gains, published)


def outlook(spent: Floats, gains: Floats, published: float) -> Outlook:
    """Extrapolate in two ways: doublings that go on giving as much, and curves that flatten.

    Args:
        spent: Operations, rising, ``(N,)``.
        gains: dB over bicubic, ``(N,)``.
        published: Operations to extrapolate to.

    Raises:
        ValueError: There are too few points.
    """
    if len(spent) < FEWEST:
        raise ValueError("an extrapolation needs five points")
    recent = max(FEWEST, int((spent >= spent[-1] / RECENT).sum()))
    spent, gains = spent[-recent:], gains[-recent:]
    slope, offset = np.polyfit(np.log2(spent), gains, 1)
    found = []
    for power in POWERS:
        shape = np.stack([np.ones_like(spent), -((spent / spent[-1]) ** -power)], 1)
        (limit, drop), *_ = np.linalg.lstsq(shape, gains, rcond=None)
        error = float(np.sqrt(np.mean((shape @ (limit, drop) - gains) ** 2)))
        if drop > 0:
            found.append((error, float(limit - drop * (published / spent[-1]) ** -power)))
    best = min(error for error, _ in found)
    fitting = [gain for error, gain in found if error <= max(TOLERANCE, NEARLY * best)]
    return Outlook(
        spent=float(spent[-1]),
        published=published,
        gain=float(gains[-1]),
        slope=float(slope),
        line=float(slope * np.log2(published) + offset),
        lowest=min(fitting),
        highest=max(fitting),
    )


def described(found: Outlook) -> str:
    """The paragraph of the results page."""
    return (
        f"After {found.spent / 1e15:.1f} P operations (a multiply-add counted as two, forward and "
        f"backward, of the network alone) it is {found.gain:+.2f} dB over bicubic on the "
        f"validation crops. The published recipe spends {found.published / 1e15:,.0f} P, "
        f"{found.published / found.spent:,.0f} times as much. Of late, twice the operations gave "
        f"{found.slope:.2f} dB. If every doubling went on to give that, the published recipe would "
        f"reach {found.line:+.2f} dB on these crops; curves that flatten (a limit less a power of "
        f"the operations) and fit the points about as well as the best end between "
        f"{found.lowest:+.2f} and {found.highest:+.2f} dB there. So far ahead, this says what "
        "the order is, not what will be measured."
    )
