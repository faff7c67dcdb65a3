"""Plots, as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from PIL import Image

from results_page.compute import Floats, Outlook
from results_page.stored import Answer
from sr_cli.metrics.gains import differences

mpl.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.ticker import FixedLocator

BETTER, WORSE = "#3b7dd8", "#d1495b"
TICKS = (-5, -2, -1, -0.5, -0.25, 0, 0.25, 0.5, 1, 2, 5)
"""Decibels."""


def per_picture(model: str, answers: Sequence[Answer], path: Path) -> None:
    """What a model gains over bicubic on every picture, a panel a data set, worst to the left."""
    figure, panels = plt.subplots(
        1, len(answers), figsize=(10, 3), constrained_layout=True, sharey=True, squeeze=False
    )
    for panel, answer in zip(panels[0], answers, strict=True):
        gains = sorted(differences(answer["pictures"], model).values())
        colours = [BETTER if gain >= 0 else WORSE for gain in gains]
        panel.bar(range(len(gains)), gains, color=colours, width=0.9)
        panel.axhline(0, color="grey", linewidth=0.8)
        behind = sum(gain < 0 for gain in gains)
        # Linear near zero, so that small harm is seen beside large gains.
        panel.set_yscale("symlog", linthresh=0.5)
        panel.yaxis.set_major_locator(FixedLocator(TICKS))
        panel.yaxis.set_major_formatter("{x:g}")
        conditions = len(answer.get("condition_gains", ()))
        means = f" (means of {conditions})" if conditions > 1 else ""
        title = f"{answer['protocol']}, {answer['data']}{means}\n{behind} of {len(gains)} worse"
        panel.set_title(title, fontsize=10)
        panel.set(xlabel="pictures, by gain", xticks=[])
    panels[0][0].set_ylabel("PSNR-Y over bicubic, dB\n(logarithmic beyond 0.5)")
    _save(figure, path)


def iterations(answer: Answer, path: Path) -> None:
    """Quality against the number of iterations, ours and the paper's."""
    from sr_cli.metrics.published import compare

    methods = [name for name in answer["methods"] if " T=" in name]
    turns = [int(name.split(" T=")[1]) for name in methods]
    figure, panels = plt.subplots(1, 2, figsize=(8, 2.8), constrained_layout=True)
    entries = compare(answer)
    for panel, key, title in zip(
        panels, ("psnr_y", "ssim_y"), ("PSNR-Y, dB", "SSIM-Y"), strict=True
    ):
        panel.plot(
            turns,
            [answer["methods"][name][key] for name in methods],
            marker="o",
            color=BETTER,
            label=f"ours, {answer['data']}",
        )
        paper = [
            (int(e.method.split(" T=")[1]), e)
            for e in entries
            if e.measure == key and " T=" in e.method
        ]
        if paper:
            panel.plot(
                [t for t, _ in paper],
                [e.paper for _, e in paper],
                marker="s",
                color="grey",
                label=f"paper, {paper[0][1].data}",
            )
        panel.axhline(
            answer["methods"]["bicubic"][key],
            color="grey",
            linestyle=":",
            linewidth=1,
            label=f"bicubic, {answer['data']}",
        )
        panel.set(xlabel="iterations T", title=title, xticks=turns)
        panel.legend(fontsize=8)
    _save(figure, path)


def operations(spent: Floats, gains: Floats, found: Outlook, path: Path) -> None:
    """Quality against the operations of training, with both ways on to the published number."""
    figure, panel = plt.subplots(figsize=(6, 3.2), constrained_layout=True)
    panel.plot(spent / 1e15, gains, marker=".", color=BETTER, label="measured")
    ends = [found.spent / 1e15, found.published / 1e15]
    panel.plot(
        ends, [found.gain, found.line], "--", color=BETTER, linewidth=1, label="if it went on so"
    )
    panel.vlines(
        ends[1], found.lowest, found.highest, color="grey", linewidth=4, label="if it flattens"
    )
    panel.set(
        xscale="log",
        xlabel="operations of training, P",
        ylabel="PSNR-Y over bicubic, dB",
        title="Validation crops; to the right, the published recipe",
    )
    panel.legend(fontsize=8, loc="upper left")
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    # Without the version of what wrote it, so that the file changes only with its content.
    figure.savefig(path, dpi=80, metadata={"Software": None})
    plt.close(figure)
    pack(path)


def pack(path: Path) -> None:
    """Make a plot's file a third as large: lines and letters need no more than 64 colours."""
    with Image.open(path) as image:
        few = image.convert("RGB").quantize(64, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
