"""Curves of a run, drawn from its log.  Needs matplotlib."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

BLUE, GREY = "#3b7dd8", "grey"
LABELS = {
    "jpeg_auc": "last JPEG present: AUC",
    "jpeg_correlation": "its quality: correlation",
    "mean_correlation": "all numbers: mean correlation",
    "sigma_x": "width along x: correlation",
    "sigma_y": "width along y: correlation",
    "kernel_error": "kernel: sum of absolute errors",
    "code_error": "code: mean absolute error",
}
"""What validation tells of an estimate, by its key in the log."""

Line = Mapping[str, Any]


def surviving(lines: Iterable[Line]) -> list[Line]:
    """A log's lines without those that a resumed run has taken back.

    A run that was killed goes on from its last state, and its log then says some steps twice.
    """
    kept: list[Line] = []
    for line in lines:
        while kept and _taken_back(kept[-1], line):
            kept.pop()
        kept.append(line)
    return kept


def _taken_back(before: Line, line: Line) -> bool:
    """Whether a run has gone on from a state older than a line, whose step or time comes again."""
    if before.get("step", 0) != line.get("step", 0):
        return bool(before.get("step", 0) > line.get("step", 0))
    earlier, later = before.get("total_seconds"), line.get("total_seconds")
    return earlier is not None and later is not None and bool(earlier > later)


def draw(lines: Iterable[Line], path: Path) -> None:
    """Draw the loss, PSNR-Y over bicubic and the worth of the estimate against training time.

    Args:
        lines: Objects of ``log.jsonl``; what they do not hold is left out.
        path: A PNG.

    Raises:
        ImportError: matplotlib is not installed.
        OSError: The file cannot be written.
    """
    from matplotlib.figure import Figure

    log = [line for line in surviving(lines) if "step" in line]
    measured = [line for line in log if "validation" in line]
    wanted = {
        _loss: [line for line in log if "loss" in line],
        _gain: [line for line in measured if line["validation"].get("psnr_y") is not None],
        _estimate: [line for line in measured if LABELS.keys() & line["validation"].keys()],
    }
    panels = [(draw_one, told) for draw_one, told in wanted.items() if told]
    figure = Figure((4.5 * max(len(panels), 1), 3.2), layout="constrained")
    for number, (draw_one, told) in enumerate(panels, 1):
        axes = figure.add_subplot(1, len(panels), number)
        draw_one(axes, told)
        axes.set_xlabel("minutes of training")
    # Without the version of what wrote it, so that the file changes only with its content.
    figure.savefig(path, dpi=100, metadata={"Software": None})


def _minutes(lines: Sequence[Line]) -> list[float]:
    return [line["total_seconds"] / 60 for line in lines]


def _loss(axes: Any, lines: Sequence[Line]) -> None:
    # Phases weigh their losses differently, so each has a line of its own.
    phases = list(dict.fromkeys(line.get("phase", "") for line in lines))
    for phase in phases:
        mine = [line for line in lines if line.get("phase", "") == phase]
        axes.plot(
            _minutes(mine),
            [line["loss"] for line in mine],
            linewidth=1,
            marker="." if len(mine) == 1 else None,
            label=phase,
        )
    axes.set(title="Loss", yscale="log")
    if len(phases) > 1:
        axes.legend(fontsize=8)


def _gain(axes: Any, lines: Sequence[Line]) -> None:
    scores = [line["validation"] for line in lines]
    gains = [score["psnr_y"] - score["bicubic"] for score in scores]
    axes.plot(_minutes(lines), gains, marker=".", color=BLUE)
    axes.axhline(0, color=GREY, linewidth=0.8)
    axes.set(title="Picture", ylabel="PSNR-Y over bicubic, dB")
    if min(gains) < -1 < max(gains):
        axes.set_ylim(bottom=-1.0)  # the first steps would hide the rest


def _estimate(axes: Any, lines: Sequence[Line]) -> None:
    keys = [key for key in LABELS if any(key in line["validation"] for line in lines)]
    for key in keys:
        mine = [line for line in lines if key in line["validation"]]
        values = [line["validation"][key] for line in mine]
        axes.plot(_minutes(mine), values, marker=".", label=LABELS[key])
    axes.set_title("Estimate")
    axes.set_ylim(bottom=0, top=None if any(key.endswith("error") for key in keys) else 1.02)
    axes.legend(fontsize=8)
