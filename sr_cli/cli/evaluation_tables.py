"""What `sr-cli evaluate` found, as tables."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from sr_cli.cli import console
from sr_cli.metrics.figures import FIGURES, formatted
from sr_cli.metrics.gains import Gain
from sr_cli.metrics.published import described

Gains = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Of a figure of a method over another method's."""


def print_answer(answer: dict[str, Any], *, skill: bool) -> None:
    """One data set at one scale.

    Args:
        answer: The object that ``--json`` prints.
        skill: Whether to print the skill of every number of the estimates.
    """
    title = f"{answer['protocol']} x{answer['scale']} on {answer['data']}, {answer['cases']} cases"
    first = answer.get("over_first", {})
    if answer["by_condition"]:
        for condition, methods in answer["conditions"].items():
            gained = [one.get("condition_gains", {}).get(condition, {}) for one in (answer, first)]
            console.out.print(_quality(f"{title}, {condition}", methods, *gained))
    elif answer["methods"]:
        gained = [one.get("gains", {}) for one in (answer, first)]
        console.out.print(_quality(title, answer["methods"], *gained))
    for method, counts in answer.get("left_out", {}).items():
        for key, count in counts.items():
            figure = FIGURES[key]
            console.note(
                f"{method}: {count} of its pictures are {figure.missing}; they count in no "
                f"method's mean of {figure.heading.split()[0]}."
            )
    if "published" in answer and not answer["published"]:
        console.note("There are no figures of papers to put beside these.")
    if answer.get("published"):
        console.out.print(_published(answer["published"]))
        for line in _notes(answer["published"]):
            console.note(line)
    if skill:
        for method, numbers in answer["skill"].items():
            alone = method.removesuffix(" tta")  # which estimates from the picture as it is
            if alone == method or answer["skill"].get(alone) != numbers:
                console.out.print(_skill(method, numbers))


def _table(title: str, first: str, *others: str) -> Table:
    table = Table(title=title, box=None, pad_edge=False, title_justify="left")
    table.add_column(first, overflow="fold")  # names of files differ at their ends
    for column in others:
        table.add_column(column, justify="right")
    return table


def _quality(
    title: str, methods: Mapping[str, Mapping[str, float]], over_bicubic: Gains, over_first: Gains
) -> Table:
    """Means, and behind them what is gained, with its standard error."""
    keys = [key for key in FIGURES if any(key in means for means in methods.values())]
    columns = [FIGURES[key].heading for key in keys]
    gained = {"gain, dB": over_bicubic, "over first": over_first}
    gained = {heading: gains for heading, gains in gained.items() if gains}
    table = _table(title, "Method", *columns, *gained)
    for method, means in methods.items():
        cells = [formatted(key, means.get(key)) for key in keys]
        for gains in gained.values():
            one = gains.get(method, {}).get("psnr_y")
            cells.append(str(Gain(**one)) if one else "")
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
            FIGURES[key].heading,
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
        related = f"{one['correlation']:.2f}" if one["count"] > 1 else "-"
        error = f"{one['error']:.3g}" if one["count"] else "-"
        table.add_row(key, related, error, auc, str(one["count"]))
    return table
