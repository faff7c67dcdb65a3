"""Estimated degradations as a plot.  Needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sr_cli.cli.console import CommandError
from sr_cli.degradation.explain import Step

ROW = 0.28
"""Height of a row in inches."""


def plot_estimates(estimates: Sequence[tuple[str, Sequence[Step]]], path: Path) -> None:
    """Draw every known number on its range, with its mean error on held-out pictures.

    Args:
        estimates: Titles and steps, one panel each.
        path: A PNG, or what else matplotlib can write.

    Raises:
        CommandError: matplotlib is not installed, or cannot write such a file.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise CommandError(
            "Plots need matplotlib; install it with: pip install 'sr-cli[plot]'"
        ) from None
    rows = [max(1, len(_known(steps))) for _, steps in estimates]
    figure = Figure((8, sum(rows) * ROW + 0.9 * len(rows)), layout="constrained")
    panels = figure.subplots(len(rows), 1, squeeze=False, height_ratios=[n + 1 for n in rows])
    for (title, steps), panel in zip(estimates, panels[:, 0], strict=True):
        _draw(panel, title, steps)
    try:
        figure.savefig(path, dpi=130)
    except (ValueError, OSError) as error:
        raise CommandError(f"The plot cannot be written to {path}: {error}") from None


def _known(steps: Sequence[Step]) -> list[tuple[str, Any]]:
    found = [(step, one) for step in steps for one in step.findings]
    return [(f"{step.title}, {step.name}", one) for step, one in found if one.value is not None]


def _draw(panel: Any, title: str, steps: Sequence[Step]) -> None:
    known = _known(steps)
    unknown = sum(one.value is None for step in steps for one in step.findings)
    for row, (_, finding) in enumerate(known):
        low, high = finding.parameter.low, finding.parameter.high
        place = (finding.value - low) / (high - low)
        error = (finding.error or 0) / abs(high - low)
        reach = [[min(error, place)], [min(error, 1 - place)]]  # no further than the range
        panel.plot([0, 1], [row, row], color="0.85", linewidth=5, solid_capstyle="round", zorder=1)
        panel.errorbar(place, row, xerr=reach, fmt="o", color="tab:blue", capsize=3, zorder=2)
        panel.text(-0.01, row, f"{low:.3g}", ha="right", va="center", fontsize=7, color="0.5")
        panel.text(1.01, row, f"{high:.3g}", ha="left", va="center", fontsize=7, color="0.5")
    labels = [f"{label}: {finding.text}" for label, finding in known]
    panel.set_yticks(range(len(known)), labels, fontsize=8)
    panel.set_xlim(-0.1, 1.1)
    panel.set_ylim(max(len(known), 1) - 0.4, -0.6)
    panel.tick_params(left=False)
    panel.set_xticks([])
    for side in panel.spines.values():
        side.set_visible(False)
    panel.set_title(f"{title}  ({unknown} numbers not known)", fontsize=9, loc="left")
