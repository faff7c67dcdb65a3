"""What `sr-cli evaluate` found, as tables."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from rich.table import Table

from sr_cli.cli import console
from sr_cli.metrics.gains import Gain
from sr_cli.metrics.published import described

HEADINGS = {
    "psnr_y": "PSNR-Y dB",
    "ssim_y": "SSIM-Y",
    "psnr_rgb": "PSNR-RGB dB",
    "ssim_rgb": "SSIM-RGB",
    "lpips_squeeze": "lpips-squeeze",
    "lpips_alex": "lpips-alex",
    "niqe_own": "niqe-own",
    "kernel_mse": "kernel MSE",
    "lr_psnr": "LR-PSNR dB",
}
"""What is measured, in the order of columns."""


def print_answer(answer: dict[str, Any], *, skill: bool) -> None:
    """One data set at one scale.

    Args:
        answer: The object that ``--json`` prints.
        skill: Whether to print the skill of every number of the estimates.
    """
    title = f"{answer['protocol']} x{answer['scale']} on {answer['data']}, {answer['cases']} cases"
    if answer["by_condition"]:
        for condition, methods in answer["conditions"].items():
            gains = answer.get("condition_gains", {}).get(condition, {})
            console.out.print(_quality(f"{title}, {condition}", methods, gains))
    elif answer["methods"]:
        console.out.print(_quality(title, answer["methods"], answer.get("gains", {})))
    for method, counts in answer.get("left_out", {}).items():
        for key, count in counts.items():
            why = "flat, without a NIQE" if key == "niqe_own" else "equal to the truth"
            console.note(
                f"{method}: {count} of its pictures are {why}; they count in no method's mean of "
                f"{HEADINGS[key].split()[0]}."
            )
    if answer.get("published"):
        console.out.print(_published(answer["published"]))
        for line in _notes(answer["published"]):
            console.note(line)
    if skill:
        for method, numbers in answer["skill"].items():
            console.out.print(_skill(method, numbers))


def formatted(key: str, value: float | None) -> str:
    """A figure with the digits that papers give it."""
    if value is None:
        return "-"
    if key == "kernel_mse":
        return f"{value:.2e}"
    return f"{value:.2f}" if "psnr" in key or key == "niqe_own" else f"{value:.4f}"


def _table(title: str, first: str, *others: str) -> Table:
    table = Table(title=title, box=None, pad_edge=False, title_justify="left")
    table.add_column(first)
    for column in others:
        table.add_column(column, justify="right")
    return table


def _quality(
    title: str,
    methods: Mapping[str, Mapping[str, float]],
    gains: Mapping[str, Mapping[str, Mapping[str, Any]]] = MappingProxyType({}),
) -> Table:
    """Means, and behind them what is gained over bicubic interpolation, with its standard error."""
    keys = [key for key in HEADINGS if any(key in means for means in methods.values())]
    columns = [HEADINGS[key] for key in keys]
    table = _table(title, "Method", *columns, *(["gain, dB"] if gains else []))
    for method, means in methods.items():
        cells = [formatted(key, means.get(key)) for key in keys]
        if gains:
            gained = gains.get(method, {}).get("psnr_y")
            cells.append(str(Gain(**gained)) if gained else "")
        table.add_row(method, *cells)
    return table


def _published(entries: list[dict[str, Any]]) -> Table:
    table = _table("Beside the papers", "Method", "figure", "ours", "paper", "difference")
    table.add_column("of the paper")
    for one in entries:
        key, difference = one["measure"], one["difference"]
        sign = "" if difference is None else "+" if difference >= 0 else "-"
        shown = "-" if difference is None else sign + formatted(key, abs(difference))
        table.add_row(
            f"{one['method']} {one['condition']}".strip(),
            HEADINGS[key],
            formatted(key, one["ours"]),
            formatted(key, one["paper"]),
            shown,
            one["source"],
        )
    return table


def _notes(entries: list[dict[str, Any]]) -> list[str]:
    """What stands between the papers' figures and ours, once each."""
    other = sorted({one["data"] for one in entries if not one["same_data"]})
    notes = [f"The papers' figures are of other pictures: {described(data)}." for data in other]
    remarks = dict.fromkeys((one["source"], one["note"]) for one in entries if one["note"])
    return notes + [f"{source}: {note}." for source, note in remarks]


def _skill(method: str, numbers: Mapping[str, Mapping[str, float]]) -> Table:
    table = _table(f"Estimates of {method}", "Number", "correlation", "mean error", "AUC", "cases")
    for key, one in numbers.items():
        auc = f"{one['auc']:.3f}" if "auc" in one else ""
        table.add_row(
            key, f"{one['correlation']:.2f}", f"{one['error']:.3g}", auc, str(one["count"])
        )
    return table
