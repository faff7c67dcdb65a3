"""Estimated degradations as a plot.  Needs matplotlib."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sr_cli.cli import side_outputs
from sr_cli.cli.console import CommandError
from sr_cli.degradation.explain import Step

ROW, HEADING = 0.28, 0.5
"""Heights of a row, and of a title with the space around it, in inches."""
LABELS, RIGHT = 0.46, 0.99
"""Shares of the width that what is said of a number takes, and where its range ends."""


def check_plot(path: Path) -> None:
    """Make sure that a plot can be drawn into a file of this name.

    Raises:
        CommandError: matplotlib is not installed, or cannot write such a file.
    """
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except ImportError:
        raise CommandError(
            "Plots need matplotlib; install it with: pip install 'sr-cli[plot]'"
        ) from None
    kinds = FigureCanvasBase.get_supported_filetypes()
    if _kind(path) not in kinds:
        raise CommandError(
            f"The plot cannot be written to {path}: its name has to end in one of "
            f"{', '.join(sorted(kinds))}."
        )


def _kind(path: Path) -> str:
    return path.suffix.lstrip(".").lower() or "png"


def plot_estimates(
    estimates: Sequence[tuple[str, Sequence[Step]]], path: Path, *, overwrite: bool
) -> None:
    """Draw every known number on its range, with its mean error on held-out pictures.

    Args:
        estimates: Titles and steps, one panel each.
        path: What `check_plot` lets pass.
        overwrite: Whether a file that is there by then is replaced.

    Raises:
        OSError: It cannot be written.
    """
    from matplotlib.figure import Figure

    rows = [max(1, len(_known(steps))) for _, steps in estimates]
    height = sum(rows) * ROW + HEADING * len(rows)
    figure = Figure((8, height))
    top = height
    # Not laid out by matplotlib, which takes minutes over a hundred pictures.
    for (title, steps), count in zip(estimates, rows, strict=True):
        top -= HEADING + count * ROW
        place = (LABELS, (top + HEADING / 4) / height, RIGHT - LABELS, count * ROW / height)
        _draw(figure.add_axes(place), title, steps)
    drawn = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # names in letters that the font lacks
        figure.savefig(drawn, format=_kind(path), dpi=130)
    side_outputs.write(path, drawn.getvalue(), overwrite=overwrite)


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
    panel.set_yticks(range(len(known)), labels, fontsize=8, parse_math=False)
    panel.set_xlim(-0.1, 1.1)
    panel.set_ylim(max(len(known), 1) - 0.4, -0.6)
    panel.tick_params(left=False)
    panel.set_xticks([])
    for side in panel.spines.values():
        side.set_visible(False)
    heading = f"{title}  ({unknown} numbers not known)"
    left = (0.02 - LABELS) / (RIGHT - LABELS)  # of the whole figure: paths are long
    heading = heading.encode("utf-8", "backslashreplace").decode()  # names may be no UTF-8
    # Names may hold dollars.
    panel.set_title(heading, x=left, fontsize=9, loc="left", parse_math=False)
