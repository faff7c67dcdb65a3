"""An estimated degradation as a table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sr_cli.cli.console import harmless
from sr_cli.degradation.explain import NOT_KNOWN, Step
from sr_cli.degradation.summary import summary

HEADS = ("Stage", "Step", "What the Estimator found")


def degradation_rows(steps: Sequence[Step]) -> Iterator[tuple[str, str, str]]:
    """One row a step of what had happened to the picture, or a stage of which nothing is known.

    The cells are those below `HEADS`; a stage is named once.
    """
    for title, group in groupby(steps, key=lambda step: step.title):
        found = list(group)
        if all(step.text == NOT_KNOWN for step in found):
            yield title, "all", NOT_KNOWN
            continue
        for number, step in enumerate(found):
            yield "" if number else title, step.name, step.text


def print_degradation(place: Console, title: str, steps: Sequence[Step]) -> None:
    """The rows as a table, with the same in a line below."""
    place.print(_table(title, steps))
    if line := in_short(steps):
        place.print(line)


def _table(title: str, steps: Sequence[Step]) -> Table:
    table = Table(title=Text(harmless(title)), title_justify="left", box=None, pad_edge=False)
    table.add_column(HEADS[0], style="dim")
    for head in HEADS[1:]:
        table.add_column(head)
    for row in degradation_rows(steps):
        table.add_row(*row)
    return table


def in_short(steps: Sequence[Step]) -> str | None:
    """The line below the table, if there is anything to say in a line."""
    said = summary(steps)
    return f"In short: {said}." if said else None
