"""An estimated degradation in a sentence, for people to whom its numbers say nothing.

Coarse on purpose: what stands in it is right more often than the numbers behind it are exact
(docs/results.md, "In short").  Needs no torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from sr_cli.degradation.explain import Finding, Step

MID_GREY = 255 * math.sqrt(0.5 / 256)
"""Deviation on the 0..255 scale that Poisson noise of level 1 has on mid grey, in a picture of more
than 128 levels (`sr_cli.degradation.operators.poisson_noise`)."""

LITTLE, STRONG = 3.5, 9.5
"""Deviations, 0 to 255, at which noise begins to be some, and strong."""
POOR, FAIR = 50.0, 75.0
"""JPEG qualities up to which compression is strong, and is not light."""
SMALLER = 0.75
"""The factor below which a picture counts as enlarged before."""
FINEST = 1.15
"""Pixels: half a wavelength, below which a low-pass takes away what hardly shows."""
SURE = 0.65
"""Score from which it is said whether noise is grey; 1 less it is in colour."""
SOFT, BLURRED = 1.5, 3.0
"""Widths in pixels of the large picture at which a blur is no more slight, and is strong."""
LOPSIDED = 1.5
"""Ratio of a blur's widths from which it has a direction."""

Topic = Literal["JPEG", "noise", "size", "low-pass", "blur"]


@dataclass(frozen=True)
class Clause:
    """What is said of one thing that may be wrong with a picture."""

    topic: Topic
    grade: str
    """How bad it is, in a word or two."""
    text: str
    """The same as a part of a sentence."""


def clauses(steps: Iterable[Step]) -> tuple[Clause, ...]:
    """What there is to say of an estimate, the worst for the eye first.

    Args:
        steps: Of `sr_cli.degradation.explain.explain`.

    Returns:
        Nothing of what is not known, and nothing of resizes and low-passes that are not there.
    """
    found = {
        finding.parameter.key: finding
        for step in steps
        for finding in step.findings
        if finding.value is not None
    }
    said = (_part(found) for _part in _PARTS)
    return tuple(clause for clause in said if clause)


def summary(steps: Iterable[Step]) -> str | None:
    """``JPEG compression (quality 63 +- 2); some noise in colour (about 7 of 255)``, or None.

    Args:
        steps: Of `sr_cli.degradation.explain.explain`.

    Returns:
        None if nothing is known that could be put so.
    """
    return "; ".join(clause.text for clause in clauses(steps)) or None


_Found = dict[str, Finding]


def _value(found: _Found, key: str) -> float | None:
    finding = found.get(key)
    return None if finding is None else finding.value


def _grade(value: float, limits: Sequence[float], words: Sequence[str]) -> str:
    return words[sum(value >= limit for limit in limits)]


def _jpeg(found: _Found) -> Clause | None:
    flag, quality = _value(found, "stage2.is_jpeg"), found.get("stage2.jpeg_quality")
    if flag is None:
        return None
    if flag < 0.5:
        return Clause("JPEG", "none", "no JPEG compression that shows")
    if quality is None or quality.value is None:
        return Clause("JPEG", "some", "JPEG compression")
    grade = _grade(quality.value, (POOR, FAIR), ("strong", "some", "light"))
    word = {"strong": "strong ", "some": "", "light": "light "}[grade]
    return Clause("JPEG", grade, f"{word}JPEG compression ({quality.text})")


def _noise(found: _Found) -> Clause | None:
    """Gaussian or Poisson is hardly ever known, so both levels are asked, each as if it were so.

    A picture without noise is taught as one with a Gaussian deviation of 0.  What the other level
    would be in it is not taught, and it comes out as some noise: where the first is little, it
    counts alone.
    """
    gaussian = _value(found, "stage2.gaussian_sigma")
    poisson = _value(found, "stage2.poisson_level")
    levels = [level for level in (gaussian, poisson and poisson * MID_GREY) if level is not None]
    if not levels:
        return None
    little = gaussian is not None and gaussian < LITTLE
    level = levels[0] if little else sum(levels) / len(levels)
    grade = _grade(level, (LITTLE, STRONG), ("hardly any", "some", "strong"))
    grey = _value(found, "stage2.noise_is_grey")
    colour = ""
    if grade != "hardly any" and grey is not None:
        colour = " without colour" if grey >= SURE else " in colour" if grey < 1 - SURE else ""
    return Clause("noise", grade, f"{grade} noise{colour} (about {level:.0f} of 255)")


def _size(found: _Found) -> Clause | None:
    factor = _value(found, "stage2.scale")
    if factor is None or factor >= SMALLER:
        return None
    return Clause("size", "enlarged", f"once enlarged, from about {factor:.0%} of its width")


def _low_pass(found: _Found) -> Clause | None:
    flag, cut = _value(found, "final.is_sinc"), _value(found, "final.omega")
    if flag is None or flag < 0.5:
        return None
    if cut is None:
        return Clause("low-pass", "softened", "softened, perhaps with ringing at edges")
    finest = math.pi / max(cut, 0.1)
    if finest < FINEST:
        return None
    upto = f"no detail finer than {finest:.1f} pixels"
    return Clause("low-pass", "softened", f"softened, perhaps with ringing at edges ({upto})")


def _blur(found: _Found) -> Clause | None:
    """Of the blur-only layout; in two stages nobody can tell it."""
    down, across = _value(found, "stage1.sigma_x"), _value(found, "stage1.sigma_y")
    if down is None or across is None or "stage2.is_jpeg" in found:
        return None
    grade = _grade(math.sqrt(down * across), (SOFT, BLURRED), ("slight", "clear", "strong"))
    width = f"{down:.1f} by {across:.1f}"
    lopsided = max(down, across) >= LOPSIDED * min(down, across)
    way = ", more one way than the other" if lopsided else ""
    return Clause("blur", grade, f"{grade} blur{way} ({width} pixels of the large picture)")


_PARTS: tuple[Callable[[_Found], Clause | None], ...] = (_jpeg, _noise, _size, _low_pass, _blur)
